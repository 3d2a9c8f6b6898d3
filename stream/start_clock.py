"""Where the time from the start of a process to its readiness goes: phases one after the other, told once."""

import logging
import os
import time
from collections.abc import Callable
from typing import Final

log = logging.getLogger(__name__)

PHASES: Final = ("interpreter", "settings", "imports", "artefacts", "broker", "kernels", "parts", "store", "joining")
"""In order. Made ready in each:

interpreter: Python and the command line, before the command began; settings: read, and the log; imports: modules;
artefacts: models and policy, with their trial; broker: its answer to which topics there are; kernels: loaded, or
compiled at a first start; parts: clients and the Faust app; store: Redis, and the live models that were waited for;
joining: until partitions are owned, with where each goes on.
"""


def process_age_s() -> float:
    """Seconds since this process began, to a hundredth; 0 where the system does not say."""
    try:
        with open("/proc/self/stat", encoding="ascii", errors="replace") as file:  # noqa: PTH123 - pathlib is not loaded yet
            began = int(file.read().rpartition(")")[2].split()[19]) / os.sysconf("SC_CLK_TCK")
        return max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - began)
    except (AttributeError, IndexError, OSError, ValueError):
        return 0.0


class StartClock:
    """Notes when each phase ends. `clock` gives seconds; `age_s`: how old the process is now."""

    def __init__(self, age_s: float | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._last = clock()
        self.seconds: dict[str, float] = {"interpreter": process_age_s() if age_s is None else age_s}
        """By phase, of those that have ended."""

    def ended(self, phase: str) -> None:
        """What ran since the phase before was this one. The same phase again adds to it."""
        now = self._clock()
        self.seconds[phase] = self.seconds.get(phase, 0.0) + now - self._last
        self._last = now

    @property
    def total_s(self) -> float:
        """From the start of the process to the end of the last phase."""
        return sum(self.seconds.values())

    def tell(self, name: str) -> None:
        """Log that the process is ready, and where the time went."""
        told = {f"{phase}_s": round(seconds, 3) for phase, seconds in self.seconds.items()}
        log.info("%s ready after %.2f s", name, self.total_s, extra=told)
