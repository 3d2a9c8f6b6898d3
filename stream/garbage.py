"""When the garbage collector looks: rarely and at little under load, at everything while there is nothing to do.

What a chunk makes goes by its reference count, failed tries at the store included; the collector is for cycles that
nobody thought of. Its pauses stop the event loop: 2 ms for `YOUNG_OBJECTS`, more than half a second for everything
that a worker with a million sessions holds.
"""

import gc
import time
from collections.abc import Callable, Mapping
from typing import Final

YOUNG_OBJECTS: Final = 25_000
"""Objects that may be made, and not freed, before the garbage collector looks at them."""
REST_S: Final = 30.0
"""Nothing could be done for so long: a pause keeps nobody waiting, s."""
WHOLE_LOOK_EVERY_S: Final = 600.0
"""Least time between two looks at everything, s."""


def quiet_garbage_collector() -> None:
    """Look for cycles rarely, and under load never twice in the same objects: each look stops the loop.

    What survives a look (sessions, mostly) is frozen: no collection sees it again, not even `gc.collect()`, and it goes
    by its reference count. So a cycle that was in use during a look, and is given up later, stays until `Rests` finds
    the process at rest. There is no such moment while any partition works: a collection can't be done in parts.

    What a start has made stays: it is frozen unseen. A look at it takes a tenth of the start, for which others wait,
    and finds some thousand small objects.
    """
    gc.freeze()
    gc.enable()
    gc.set_threshold(YOUNG_OBJECTS, 1_000, 1_000)
    if _keep_survivors not in gc.callbacks:
        gc.callbacks.append(_keep_survivors)


def _keep_survivors(phase: str, _: object) -> None:
    if phase == "stop":
        gc.freeze()


class Rests:
    """Looks at everything, frozen or not, where the process has been at rest for `REST_S`.

    At rest is who owns nothing, or each of whose partitions waits for the store or the broker or has no record left.
    `clock` gives seconds. Use it on the event loop.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._looked_at = clock()
        self._since: float | None = None
        self._before: dict[str, tuple[int, int]] = {}

    def observe(self, places: Mapping[str, tuple[int, int]], waits: Mapping[str, object]) -> bool:
        """Take in position and waiting records of each partition, and who waits; return whether it looked."""
        now = self._clock()
        before, self._before = self._before, dict(places)
        if not all(name in waits or (found == before.get(name) and not found[1]) for name, found in places.items()):
            self._since = None
            return False
        if self._since is None:
            self._since = now
        if now - self._since < REST_S or now - self._looked_at < WHOLE_LOOK_EVERY_S:
            return False
        gc.unfreeze()
        gc.collect()
        gc.freeze()
        self._looked_at = self._clock()
        return True
