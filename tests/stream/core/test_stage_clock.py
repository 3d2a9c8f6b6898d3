"""The clock of a chunk: work is CPU time between waits, and small chunks are measured now and then."""

from __future__ import annotations

import pytest

from stream.metrics import Metrics
from stream.stage_clock import SMALL_EVERY, SMALL_RECORDS, MeasuredChunks, StageClock
from stream.transport.limiter import ChunkLimiter


class Times:
    """Both clocks, moved by hand; `asked` counts how often the kernel was."""

    wall_s = 5.0
    work_s = 1.0
    asked = 0

    def thread_time(self) -> float:
        self.asked += 1
        return self.work_s

    def pass_by(self, wall_s: float, work_s: float) -> None:
        self.wall_s += wall_s
        self.work_s += work_s


@pytest.fixture
def times(monkeypatch: pytest.MonkeyPatch) -> Times:
    made = Times()
    monkeypatch.setattr("stream.stage_clock.time.perf_counter", lambda: made.wall_s)
    monkeypatch.setattr("stream.stage_clock.time.thread_time", made.thread_time)
    return made


def one_chunk(clock: StageClock, times: Times) -> None:
    clock.start()
    times.pass_by(3.0, 2.0)
    assert clock.lap("decode") == 3.0
    clock.pause()
    times.pass_by(10.0, 4.0)  # the loop works for others
    assert clock.lap("read") == 10.0
    clock.resume()
    times.pass_by(1.0, 0.5)
    clock.lap("features")
    times.pass_by(1.0, 0.5)
    clock.pause()
    clock.pause()  # nothing more to count
    times.pass_by(7.0, 7.0)


def test_waits_are_no_work(times: Times) -> None:
    metrics = Metrics()
    clock = StageClock(metrics)
    clock.pause()  # before any work
    one_chunk(clock, times)
    assert clock.loop_s == 3.0
    assert metrics.stage_seconds.series["read"].total == 10.0


def test_a_chunk_that_is_not_measured_never_asks_the_kernel(times: Times) -> None:
    metrics = Metrics()
    clock = StageClock(metrics, is_measured=False)
    one_chunk(clock, times)
    assert clock.loop_s is None
    assert times.asked == 0
    assert metrics.stage_seconds.series["read"].total == 10.0


def test_every_large_chunk_is_measured_and_a_share_of_the_small_ones() -> None:
    measured = MeasuredChunks()
    assert all(measured.measures(SMALL_RECORDS) for _ in range(20))
    assert [measured.measures(1) for _ in range(2 * SMALL_EVERY)] == 2 * ([True] + [False] * (SMALL_EVERY - 1))


def test_the_bound_of_chunks_still_follows_their_cost() -> None:
    """A quiet hour of single records, then a backlog: as many as fit the target, as if all had been measured."""
    measured, limiter = MeasuredChunks(), ChunkLimiter(0.005, 4096, SMALL_RECORDS)
    for _ in range(200):
        if measured.measures(1):
            limiter.measured(1, 0.0003)
    for _ in range(50):
        records = limiter.limit
        if measured.measures(records):
            limiter.measured(records, 0.0003 + 0.00004 * records)
    assert 80 <= limiter.limit <= 2 * 120
