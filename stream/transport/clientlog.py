"""Loggers for librdkafka clients that repeat themselves for as long as a broker is away."""

from __future__ import annotations

import logging
import re

from .part import clock

_EVERY_S = 10.0
_REMEMBERED = 256
_VARYING = re.compile(r"\(after \d+ms in state \w+(?:, \d+ identical error\(s\) suppressed)?\)|\d+/\d+ brokers")


class RepeatFilter(logging.Filter):
    """Lets a message through once in ten seconds, with a count of those it kept back."""

    def __init__(self) -> None:
        super().__init__()
        self._seen: dict[str, tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether to log this one."""
        text = record.getMessage()
        key = _VARYING.sub("", text)
        now = clock()
        since, kept_back = self._seen.get(key, (float("-inf"), 0))
        if now - since < _EVERY_S:
            self._seen[key] = (since, kept_back + 1)
            return False
        if len(self._seen) >= _REMEMBERED:
            self._seen.clear()
        self._seen[key] = (now, 0)
        if kept_back:
            record.msg, record.args = f"{text} ({kept_back} more like it)", ()
        return True


def client_log(name: str) -> logging.Logger:
    """Return a logger, named below ``name``, to be given to a client and used for its errors."""
    logger = logging.getLogger(f"{name}.client")
    if not any(isinstance(f, RepeatFilter) for f in logger.filters):
        logger.addFilter(RepeatFilter())
    return logger
