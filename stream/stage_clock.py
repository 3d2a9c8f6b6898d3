"""Times the stages of a chunk: wall time for metrics and events, the loop's own work for the size of chunks."""

import time

from stream.metrics import Metrics, Stage


class StageClock:
    """Times the stages of a chunk: wall time for the metrics, and the loop's own work for the size of chunks.

    Work is CPU time of this thread, so that a machine that is busy with something else doesn't shrink the chunks. It is
    read at the two ends of a stretch of work only: the kernel is asked for it, which costs as much as ten observations.
    """

    __slots__ = ("_mark", "_series", "_working_since", "began", "decode_ms", "loop_s", "read_ms")

    def __init__(self, metrics: Metrics) -> None:
        self._series = metrics.stage_seconds.series
        self.began = self._mark = time.perf_counter()
        self._working_since: float | None = None
        self.loop_s = 0.0
        self.decode_ms = 0.0
        self.read_ms = 0.0

    def start(self) -> None:
        """Begin a batch, with work."""
        self._mark = time.perf_counter()
        self._working_since = time.thread_time()

    def lap(self, stage: Stage) -> float:
        """End a stage; return its seconds."""
        now = time.perf_counter()
        passed = now - self._mark
        self._series[stage].observe(passed)
        self._mark = now
        return passed

    def pause(self) -> None:
        """Count the work so far: a wait begins, in which the loop works for others."""
        if self._working_since is not None:
            self.loop_s += time.thread_time() - self._working_since
            self._working_since = None

    def resume(self) -> None:
        """A wait is over, and work goes on."""
        self._working_since = time.thread_time()
