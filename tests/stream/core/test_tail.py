"""What the end of the output says was published, and what looking at it costs; on a real broker: test_on_kafka.py."""

from __future__ import annotations

import contextlib
import json
import weakref
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream import tail
from stream.topic_reader import Stretch
from tests.stream.core.doubles import FakeRecord

ID, OTHER = "T", "an earlier topic"
Event = tuple[str, int, bool]
"""Topic id, input offset, whether it is marked as a repeat."""
events = st.lists(st.tuples(st.sampled_from([ID, ID, ID, OTHER]), st.integers(0, 9), st.booleans()), max_size=8)


def value_of(event: Event) -> bytes:
    topic_id, offset, replayed = event
    source = {"topic": "capture.telemetry", "topic_id": topic_id, "partition": 0, "offset": offset}
    return json.dumps({"source": source, "replayed": replayed, "more": "x" * 2_000}).encode()


@given(events)
def test_a_reach_is_what_its_naive_twin_says(log: list[Event]) -> None:
    of_before = [place for place, event in enumerate(log) if event[0] == OTHER]
    behind = log[of_before[-1] + 1 :] if of_before else log
    reach = tail.Reach(ID)
    for event in log:
        reach.add(value_of(event))
    assert reach.offset == max((offset for _, offset, _ in behind), default=None)
    assert reach.is_sure == (bool(of_before) or any(not replayed for _, _, replayed in behind))


class Log:
    """Output partitions in memory, in place of a broker; records come into being when they are read."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **partitions: list[Event]) -> None:
        self._events = {int(name[1:]): log for name, log in partitions.items()}
        self._alive: weakref.WeakSet[FakeRecord] = weakref.WeakSet()
        self.most_alive = 0
        self.read_total = 0
        monkeypatch.setattr(tail, "reading", lambda *_: contextlib.nullcontext())
        monkeypatch.setattr(tail, "ends_of", lambda _, at, __: (0, len(self._events[at.partition])))
        monkeypatch.setattr(tail, "records_in", self._records_in)

    def _records_in(self, _: Any, __: str, stretches: Mapping[int, Stretch], ___: float) -> Iterator[Any]:
        for partition, (start, end) in stretches.items():
            assert end is None
            for event in self._events[partition][start:]:
                record = Tracked(value_of(event), the_partition=partition)
                self._alive.add(record)
                self.most_alive = max(self.most_alive, len(self._alive))
                self.read_total += 1
                yield record


class Tracked(FakeRecord):
    __hash__ = object.__hash__


def test_a_long_look_back_keeps_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a second crash within what was published again, as much as 20 000 events a partition are looked at."""
    repeats: list[Event] = [(ID, offset % 900, True) for offset in range(5_000)]
    log = Log(monkeypatch, p0=[(ID, 2_000, False), *repeats], p1=[(ID, 7, False)], p2=[])
    assert tail.last_published({}, "risk.events", ID, [0, 1, 2]) == {0: 2_000, 1: 7}
    assert log.read_total == 500 + 1 + 5_001
    assert log.most_alive <= 2


def test_nearly_always_the_last_few_hundred_do(monkeypatch: pytest.MonkeyPatch) -> None:
    log = Log(monkeypatch, p0=[(ID, offset, False) for offset in range(3_000)])
    assert tail.last_published({}, "risk.events", ID, [0]) == {0: 2_999}
    assert log.read_total == 500
