"""What a partition's chunk is waiting for: the store or the broker. So an outage is told apart from being stuck.

A wait begins with the first call that is not answered and ends with the first that is, for each dependency by itself: a
chunk that can't be published is done again, and talks to the store meanwhile. Noting it costs a third of a microsecond
a call, and a chunk makes three calls.
"""

import time
from typing import Final, Literal

from stream.state.time_limit import LONGEST

Dependency = Literal["store", "broker"]

NOTICED_S: Final = 5.0
"""A call that is answered sooner is no wait worth a word, s."""
CALL_LIMIT_S: Final = 150.0
"""No single call takes so long: each has a time limit of its own below it. One that does is stuck, not waiting, s."""
_EXCHANGES: Final = 3
"""What one call to the store may need: the call, the script that the server has forgotten, and the call again."""


def call_limit_s(store_timeout_s: float) -> float:
    """Return the longest time of a single call, s, where the store's own limit is set to this for one exchange."""
    return max(CALL_LIMIT_S, _EXCHANGES * LONGEST * store_timeout_s + NOTICED_S)


class Wait:
    """The waits of one partition. Written and read on the event loop."""

    __slots__ = ("_called_at", "_since")

    def __init__(self) -> None:
        self._since: dict[Dependency, float] = {}
        self._called_at: dict[Dependency, float] = {}

    def begin(self, dependency: Dependency) -> None:
        """A call is made; a wait that an earlier, failed call began goes on."""
        self._called_at[dependency] = now = time.monotonic()
        self._since.setdefault(dependency, now)

    def end(self, dependency: Dependency) -> None:
        """A call was answered."""
        self._since.pop(dependency, None)

    def noticed(self, call_limit_s: float = CALL_LIMIT_S) -> Dependency | None:
        """Return what it has been waiting for, for at least `NOTICED_S`; None where it isn't, or where a call hangs.

        A call hangs that takes longer than `call_limit_s`.
        """
        now = time.monotonic()
        for dependency, since in self._since.items():
            if now - since >= NOTICED_S and now - self._called_at[dependency] <= call_limit_s:
                return dependency
        return None
