"""Reading from outside a group: what a consumer may say on the way, in which order, and how long it may keep silent."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException, Message

from stream import topic_reader
from stream.records import offset_of
from stream.topic_reader import Stretch, records_in
from stream.topics import BrokerError
from tests.stream.core.doubles import record

TOPIC = "some.topic"


class Said:
    """An error in place of a record."""

    def __init__(self, code: int, partition: int | None) -> None:
        self._error, self._partition = KafkaError(code), partition

    def error(self) -> KafkaError:
        return self._error

    def partition(self) -> int | None:
        return self._partition


class Clock:
    """A clock that goes on as it is told."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


class Script:
    """A consumer that hands out batches as they are written down; each wait takes some time."""

    def __init__(self, clock: Clock, *batches: list[Any], call_s: float = 1.0) -> None:
        self._clock, self._batches, self._call_s = clock, list(batches), call_s
        self.assigned: list[tuple[int, int]] = []
        self._arrived: list[Any] = []

    def assign(self, partitions: list[Any]) -> None:
        self.assigned = [(each.partition, each.offset) for each in partitions]

    def poll(self, timeout_s: float) -> Any:
        assert timeout_s < 1
        self._clock.now += self._call_s
        self._arrived = self._batches.pop(0) if self._batches else []
        return self._arrived.pop(0) if self._arrived else None

    def consume(self, count: int, timeout_s: float) -> list[Any]:
        assert count > 0
        assert timeout_s == 0, "it would wait until it has as many, or until the time is over"
        return self._arrived


def at(offset: int, partition: int = 0) -> Message:
    return record(b"v", the_offset=offset, the_partition=partition)


def eof(partition: int = 0) -> Said:
    return Said(KafkaError._PARTITION_EOF, partition)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr(topic_reader, "time", found)
    return found


def read(consumer: Any, stretches: dict[int, Stretch], patience_s: float = 10.0) -> list[tuple[int, int]]:
    found: Iterator[Message] = records_in(consumer, TOPIC, stretches, patience_s)
    return [(each.partition() or 0, offset_of(each)) for each in found]


def test_each_partition_is_read_from_its_start_to_its_end(clock: Clock) -> None:
    consumer = Script(
        clock,
        [at(5), at(6), at(0, 2), at(7)],  # 7 lies behind the stretch
        [at(1, 2), eof(2), at(3, 1)],
        [at(9, 1), at(10, 1)],  # 4 to 8 are gone: what comes behind the end ends it
    )
    assert read(consumer, {2: (0, None), 0: (5, 7), 1: (3, 8)}) == [(0, 5), (0, 6), (2, 0), (2, 1), (1, 3)]
    assert consumer.assigned == [(0, 5), (1, 3), (2, 0)]


def test_nothing_to_read_asks_nobody(clock: Clock) -> None:
    assert read(Script(clock), {}) == []


def test_a_partition_without_records_ends_where_the_log_does(clock: Clock) -> None:
    assert read(Script(clock, [eof()]), {0: (5, 100)}) == []
    assert read(Script(clock, [Said(KafkaError._AUTO_OFFSET_RESET, 0)]), {0: (5, 6)}) == []


@pytest.mark.parametrize("code", [KafkaError._ALL_BROKERS_DOWN, KafkaError.GROUP_AUTHORIZATION_FAILED])
@pytest.mark.parametrize("partition", [0, None])
def test_an_error_of_the_client_ends_no_partition(clock: Clock, code: int, partition: int | None) -> None:
    """Such an error stands in place of a record and may name partition 0, which has nothing to do with it."""
    consumer = Script(clock, [Said(code, partition)], [at(5), eof()])
    assert read(consumer, {0: (5, None)}) == [(0, 5)]


def test_a_topic_that_may_not_be_read_is_told_at_once(clock: Clock) -> None:
    with pytest.raises(KafkaException):
        read(Script(clock, [Said(KafkaError.TOPIC_AUTHORIZATION_FAILED, 0)]), {0: (5, None)})
    assert clock.now < 102


def test_a_broker_that_goes_on_answering_has_all_the_time_it_needs(clock: Clock) -> None:
    """Each answer takes 9 of the 10 seconds that it may; all of them together take far longer."""
    consumer = Script(clock, *([at(offset)] for offset in range(50)), [eof()], call_s=9.0)
    assert len(read(consumer, {0: (0, None)})) == 50
    assert clock.now > 500


def test_what_the_caller_does_is_not_the_brokers_time(clock: Clock) -> None:
    found = []
    for each in records_in(Script(clock, [at(0)], [at(1)], [at(2)]), TOPIC, {0: (0, 3)}, 10.0):  # type: ignore[arg-type]
        found.append(offset_of(each))
        clock.now += 1_000
    assert found == [0, 1, 2]


def test_silence_ends_it_with_one_line_that_says_why(clock: Clock) -> None:
    consumer = Script(clock, [at(5), eof(1)], [Said(KafkaError._ALL_BROKERS_DOWN, None)])
    with pytest.raises(
        BrokerError, match=r"^some\.topic: partitions \[0\] could not be read: no answer in 10 s: Local"
    ):
        read(consumer, {0: (5, None), 1: (0, None)})
    assert 110 < clock.now < 120
