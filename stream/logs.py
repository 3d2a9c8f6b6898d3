"""Structured logs on standard error: one JSON object a line, or text for people. Never an identifier, never raw input.

Standard logging with one formatter, because Faust and the standard library log there too. What callers pass as `extra`
becomes fields of the line.
"""

import json
import logging
import sys
import time
from traceback import extract_tb
from typing import Final

import orjson

from stream.settings import LogSettings

_STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "color_message"}
_OWN: Final = frozenset({"time", "level", "logger", "error"})
"""Names of the line's own fields; an extra of that name stands beside it."""


class JsonFormatter(logging.Formatter):
    """One record as one JSON object: time, level, logger, message, extra fields, error."""

    def format(self, record: logging.LogRecord) -> str:
        """Render; a value that JSON does not know is written as text."""
        line: dict[str, object] = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        for name, value in vars(record).items():
            if name not in _STANDARD:
                line[f"extra_{name}" if name in _OWN else name] = value
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        try:
            return orjson.dumps(line, default=str, option=orjson.OPT_NON_STR_KEYS | orjson.OPT_SERIALIZE_NUMPY).decode()
        except TypeError:
            # Lone surrogates, integers beyond 64 bits: a line is never lost for what it holds.
            return json.dumps({key: str(value) for key, value in line.items()})


class TextFormatter(logging.Formatter):
    """One record as one line for a person, extra fields at its end."""

    def format(self, record: logging.LogRecord) -> str:
        """Render as `HH:MM:SS level logger: message key=value`."""
        clock = time.strftime("%H:%M:%S", time.localtime(record.created))
        extra = " ".join(f"{k}={v}" for k, v in vars(record).items() if k not in _STANDARD)
        text = f"{clock} {record.levelname.lower():<7} {record.name}: {record.getMessage()}"
        text = f"{text} {extra}" if extra else text
        return f"{text}\n{self.formatException(record.exc_info)}" if record.exc_info else text


def configure(settings: LogSettings) -> None:
    """Send all logging of this process to standard error in the chosen format; replaces earlier handlers."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if settings.format == "json" else TextFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(settings.level.upper())
    for name in ("faust", "mode", "aiokafka", "stream.transport"):
        # Their banners and service trees are noise at info; their warnings are not.
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))


def frames(error: BaseException) -> list[str]:
    """Return where an error came from, innermost last, without its text: that may hold what may not be logged."""
    return [
        f"{frame.filename.rsplit('/', 2)[-1]}:{frame.lineno} {frame.name}" for frame in extract_tb(error.__traceback__)
    ]
