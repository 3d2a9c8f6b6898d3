"""Lets the event loop look after everything else between the work of several chunks.

All chunks whose answers came in together would otherwise be worked on in one round of the loop, each within its own
bound, while timers, heartbeats and other answers wait for all of them.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Final

ROOM_S: Final = 0.002
"""Work of chunks begins in one round of the loop for so long; what began is done to its end."""


class Turns:
    """Hands out turns to work. One instance a loop. A turn ends with the task's next wait, unasked."""

    __slots__ = ("_began", "_clock", "_is_used")

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._is_used = False
        """Somebody has had a turn in this round."""
        self._began = 0.0

    def begin(self) -> bool:
        """Take a turn where this round of the loop has room; whether it has."""
        if self._is_used:
            return self._clock() - self._began < ROOM_S
        self._is_used = True
        self._began = self._clock()
        asyncio.get_running_loop().call_soon(self._next_round)
        return True

    async def take(self) -> None:
        """Return at once where this round of the loop has room; otherwise in a later one."""
        # An event would wake all that wait in the same round, which is what must not be.
        while not self.begin():  # noqa: ASYNC110
            await asyncio.sleep(0)

    def _next_round(self) -> None:
        self._is_used = False
