"""Times the stages of a chunk: wall time for metrics and events, the loop's own work for the size of chunks."""

import time
from collections.abc import Mapping
from typing import Final

from stream.metrics import Metrics, Stage

SMALL_RECORDS: Final = 8
"""With fewer records a chunk is small: it never stalls the loop, whatever the bound of the next one is."""
SMALL_EVERY: Final = 8
"""Of so many small chunks the first is measured: the fixed cost of a chunk is known from them."""
_NEXT: Final[Mapping[Stage, Stage]] = {
    "decode": "read",
    "read": "features",
    "features": "models",
    "models": "decide",
    "decide": "features",  # of the batch's next segment
    "publish": "write",
    "write": "decode",
}


class StageClock:
    """Times the stages of a chunk: wall time for the metrics, and the loop's own work for the size of chunks.

    Work is CPU time of this thread, so that a machine that is busy with something else doesn't shrink the chunks. The
    kernel is asked for it at both ends of each stretch of work, which costs more than all observations of a chunk: so
    not for every small chunk (see `MeasuredChunks`).
    """

    __slots__ = (
        "_is_measured",
        "_mark",
        "_series",
        "_work_s",
        "_working_since",
        "began",
        "decode_ms",
        "read_ms",
        "stage",
    )

    def __init__(self, metrics: Metrics, *, is_measured: bool = True) -> None:
        self._series = metrics.stage_seconds.series
        self.began = self._mark = time.perf_counter()
        self._is_measured = is_measured
        self._working_since: float | None = None
        self._work_s = 0.0
        self.decode_ms = 0.0
        self.read_ms = 0.0
        self.stage: Stage = "decode"
        """The stage that runs, or that failed."""

    @property
    def loop_s(self) -> float | None:
        """The loop's own work so far, s; None where it is not measured."""
        return self._work_s if self._is_measured else None

    def start(self) -> None:
        """Begin a batch, with work."""
        self.stage = "decode"
        self._mark = time.perf_counter()
        self.resume()

    def lap(self, stage: Stage) -> float:
        """End a stage; return its seconds."""
        now = time.perf_counter()
        passed = now - self._mark
        self._series[stage].observe(passed)
        self._mark = now
        self.stage = _NEXT[stage]
        return passed

    def pause(self) -> None:
        """Count the work so far: a wait begins, in which the loop works for others."""
        if self._working_since is not None:
            self._work_s += time.thread_time() - self._working_since
            self._working_since = None

    def go_on(self) -> None:
        """Another turn of the same stage: the wait for it was no part of the stage."""
        self._mark = time.perf_counter()
        self.resume()

    def resume(self) -> None:
        """A wait is over, and work goes on."""
        if self._is_measured:
            self._working_since = time.thread_time()


class MeasuredChunks:
    """Says which chunks' work is measured: all that have records enough to matter, and a share of the small ones."""

    __slots__ = ("_small",)

    def __init__(self) -> None:
        self._small = 0

    def measures(self, records: int) -> bool:
        """Whether to measure the next chunk, which has so many records."""
        if records >= SMALL_RECORDS:
            return True
        self._small += 1
        return self._small % SMALL_EVERY == 1
