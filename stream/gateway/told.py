"""One log line for many refusals: the code and how many, at most every ten seconds a code, never who or what."""

import logging
import time
from collections.abc import Callable
from typing import Final

from stream.gateway.wire import CODES

log = logging.getLogger(__name__)

EVERY_S: Final = 10.0


class Told:
    """Counts refusals and tells of them. What strangers send must not be able to fill a disk."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._counts: dict[str, int] = {}
        self._told_at: dict[str, float] = {}

    def refused(self, code: str) -> None:
        """A request was refused."""
        self._counts[code] = self._counts.get(code, 0) + 1
        now = self._clock()
        if now - self._told_at.get(code, -EVERY_S) >= EVERY_S:
            self._told_at[code] = now
            status, title = CODES[code]
            log.warning(
                "refused: %s", title, extra={"code": code, "status": status, "requests": self._counts.pop(code)}
            )
