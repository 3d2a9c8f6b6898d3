"""How long an exchange with a server may take: a base, longer while the server is slow rather than dead."""

from __future__ import annotations

from typing import Final

LONGEST: Final = 8
"""The limit grows to this many times its base."""
MARGIN: Final = 3.0
"""The limit stays above this many times the last answer's time."""


class TimeLimit:
    """The limit of the next exchange with one server, `seconds`.

    A fixed limit below a slow server's answering time would never be met: every try would be given up and made anew.
    So each miss doubles it, to at most `LONGEST` times the base; an answer brings it back to what answers take.
    """

    __slots__ = ("_base_s", "seconds")

    def __init__(self, base_s: float) -> None:
        self._base_s = base_s
        self.seconds = base_s

    def answered(self, took_s: float) -> None:
        """An exchange of `took_s` seconds was within its limit."""
        self.seconds = min(max(self._base_s, MARGIN * took_s), LONGEST * self._base_s)

    def missed(self, limit_s: float) -> None:
        """An exchange was given up after `limit_s`; of several that ran at the same time, one counts."""
        if limit_s >= self.seconds:
            self.seconds = min(2.0 * limit_s, LONGEST * self._base_s)
