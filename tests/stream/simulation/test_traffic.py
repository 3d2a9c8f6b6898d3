"""The traffic process: open loop, nothing before it is due, every record counted, truth told once a session."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import msgspec

from schemas.telemetry import Telemetry
from stream.simulation.population import Due, population
from stream.simulation.traffic import Counts, Line, Traffic

START_MS = 1_790_000_000_000


class FakeClock:
    def __init__(self) -> None:
        self.ms = float(START_MS)

    def now_ms(self) -> int:
        return int(self.ms)

    def sleep_ms(self, ms: float) -> None:
        assert ms > 0
        self.ms += ms


class FakeProducer:
    """Acknowledges at the next poll; refuses every seventh record once, as a full queue does."""

    def __init__(self, clock: FakeClock, fail_each: int = 0) -> None:
        self.clock, self.fail_each = clock, fail_each
        self.sent: list[tuple[int, bytes, bytes]] = []
        self._waiting: list[Callable[[Any, Any], None]] = []
        self._calls = itertools.count(1)

    def produce(self, topic: str, *, key: bytes, value: bytes, on_delivery: Callable[[Any, Any], None]) -> None:
        assert topic == "capture.telemetry"
        if next(self._calls) % 7 == 0:
            raise BufferError
        self.sent.append((self.clock.now_ms(), key, value))
        self._waiting.append(on_delivery)

    def poll(self, timeout: float) -> int:
        waiting, self._waiting = self._waiting, []
        for k, report in enumerate(waiting):
            report("failed" if self.fail_each and (len(self.sent) + k) % self.fail_each == 0 else None, None)
        return len(waiting)

    def flush(self, timeout: float) -> int:
        self.poll(0)
        return 0


def crowd(seconds: float = 10.0) -> list[Due]:
    return list(population(2, start_ms=START_MS, sessions_per_s=3, bot_ratio=0.5, arrivals_s=seconds))


def run(dues: list[Due], until_ms: int | None = None, fail_each: int = 0) -> tuple[FakeProducer, list[Line], Counts]:
    clock = FakeClock()
    producer, lines = FakeProducer(clock, fail_each), list[Line]()

    def report(line: Line) -> None:
        lines.append(msgspec.json.decode(msgspec.json.encode(line), type=Line))

    counts = Traffic(producer, clock, report).run(dues, lambda: False, until_ms)
    return producer, lines, counts


def test_all_is_sent_in_order_when_it_is_due_and_counted() -> None:
    dues = crowd()
    producer, lines, counts = run(dues)
    assert [msgspec.json.decode(value, type=Telemetry) for _, _, value in producer.sent] == [d.event for d in dues]
    assert all(key == due.event.session_id.encode() for (_, key, _), due in zip(producer.sent, dues, strict=True))
    assert all(0 <= at - due.due_ms <= 1 for (at, _, _), due in zip(producer.sent, dues, strict=True))
    assert (counts.sent, counts.acked, counts.failed, counts.done) == (len(dues), len(dues), 0, True)
    assert counts.sessions == len({due.truth.session_id for due in dues})
    assert lines[-1].counts == counts


def test_the_truth_of_each_session_is_told_once_and_before_anything_else_of_it() -> None:
    dues = crowd()
    _, lines, _ = run(dues)
    told = [line.truth for line in lines if line.truth is not None]
    assert [t.session_id for t in told] == list(dict.fromkeys(due.truth.session_id for due in dues))
    families = {due.truth.session_id: due.truth.family for due in dues}
    assert all(t.family == families[t.session_id] for t in told)


def test_it_stops_at_its_end_and_when_it_is_asked_to() -> None:
    dues = crowd()
    producer, _, counts = run(dues, until_ms=START_MS + 5_000)
    assert len(producer.sent) == sum(due.due_ms < START_MS + 5_000 for due in dues)
    assert counts.done
    clock = FakeClock()
    producer = FakeProducer(clock)
    stopped = iter([False] * 40)
    counts = Traffic(producer, clock, lambda _: None).run(dues, lambda: next(stopped, True))
    assert counts.done
    assert 0 < counts.sent == counts.acked < len(dues)


def test_a_failed_delivery_is_counted_as_failed() -> None:
    dues = crowd()
    _, _, counts = run(dues, fail_each=5)
    assert counts.failed > 0
    assert counts.acked + counts.failed == counts.sent == len(dues)
