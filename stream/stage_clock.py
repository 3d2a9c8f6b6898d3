"""Times the stages of a chunk: wall time for metrics and events, the loop's own work for the size of chunks."""

import time

from stream.metrics import Metrics, Stage


class StageClock:
    """Times the stages of a chunk: wall time for the metrics, and the loop's own work for the size of chunks.

    Work is CPU time of this thread, so that a machine that is busy with something else doesn't shrink the chunks.
    """

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self.began = self._mark = time.perf_counter()
        self._work = time.thread_time()
        self.loop_s = 0.0
        self.decode_ms = 0.0
        self.read_ms = 0.0

    def start(self) -> None:
        """Begin a batch."""
        self._mark = time.perf_counter()
        self._work = time.thread_time()

    def lap(self, stage: Stage) -> float:
        """End a stage of work; return its seconds."""
        passed = self._passed(stage)
        self.pause()
        return passed

    def pause(self) -> None:
        """Count the work so far: a wait begins, in which the loop works for others."""
        now = time.thread_time()
        self.loop_s += now - self._work
        self._work = now

    def lap_waited(self, stage: Stage) -> float:
        """End a stage that was mostly waiting; it does not count as work. Return its seconds."""
        self._work = time.thread_time()
        return self._passed(stage)

    def _passed(self, stage: Stage) -> float:
        now = time.perf_counter()
        passed = now - self._mark
        self._metrics.stage[stage].observe(passed)
        self._mark = now
        return passed
