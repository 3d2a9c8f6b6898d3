"""The poll thread's steps, run by hand on a consumer that fails."""

from __future__ import annotations

import time
from typing import Any, cast

from confluent_kafka import KafkaError, KafkaException, Message, TopicPartition

from stream.transport import Counters, TransportOptions
from stream.transport.line import Line
from stream.transport.ownership import Ownership
from stream.transport.part import Part
from stream.transport.poller import Poller
from stream.transport.tracker import CommitTracker


class Broken:
    """A consumer that gets nothing, and fails at once when it is asked for bounds."""

    def __init__(self) -> None:
        self.asked: list[float] = []

    def poll(self, timeout: float) -> None:
        time.sleep(min(timeout, 0.01))

    def get_watermark_offsets(self, partition: Any, timeout: float = 0, *, cached: bool = False) -> tuple[int, int]:
        if cached:
            return 0, 0
        self.asked.append(time.monotonic())
        if len(self.asked) < 3:
            raise KafkaException(KafkaError(KafkaError._TRANSPORT))
        return 5, 9


def test_asking_for_bounds_backs_off() -> None:
    told: list[tuple[Any, ...]] = []

    def tell(callback: Any, *args: object) -> bool:
        told.append(args)
        return True

    class Side:
        out_of_range = None

    consumer, options, side = Broken(), TransportOptions(), cast("Any", Side())
    poller = Poller({}, options, side, cast("Any", None), tell, Counters())
    poller._consumer = cast("Any", consumer)
    ownership = Ownership(cast("Any", consumer), options, side, cast("Any", None), tell, Counters())
    poller.ownership = ownership
    line = Line(cast("Any", None), "t", 0, 1)
    part = Part(line, 1, 3, options)
    ownership.lines[line.key], ownership.parts[line.key] = line, part
    poller._out_of_range(part, KafkaError(KafkaError.OFFSET_OUT_OF_RANGE))
    deadline = time.monotonic() + 3
    while not told and time.monotonic() < deadline:
        poller._step(ownership)
    assert told == [(line, 1, 3, 5, 9)]
    assert part.is_stopped
    first, second, third = consumer.asked
    assert 0.2 <= second - first < 0.35
    assert 0.4 <= third - second < 0.55


class RevokesInConsume:
    """A consumer that serves a revoke while the record polled just before is still in the caller's hand."""

    def __init__(self) -> None:
        self.ownership: Any = None
        self.committed: list[int] = []

    def poll(self, timeout: float) -> Message:
        del timeout
        return Message("t", 0, 7, None, b"value")

    def consume(self, count: int, timeout: float) -> list[Message]:
        del count, timeout
        self.ownership.on_revoke(self, [TopicPartition("t", 0)])
        return []

    def position(self, partitions: list[TopicPartition]) -> list[TopicPartition]:
        return [TopicPartition(tp.topic, tp.partition, 8) for tp in partitions]

    def commit(self, *, offsets: list[TopicPartition], asynchronous: bool) -> list[TopicPartition]:
        assert not asynchronous
        self.committed += [tp.offset for tp in offsets]
        return offsets

    def unassign(self) -> None:
        pass

    def get_watermark_offsets(self, partition: Any, *, cached: bool) -> None:
        del partition, cached


def test_a_record_in_hand_at_a_revoke_is_not_committed() -> None:
    """The client's position counts it already; the next owner must read and publish it."""

    def tell(callback: Any, *args: object) -> bool:
        if callback == "drain":
            cast("Any", args[1])()
        return True

    class Side:
        begin_drain = "drain"
        revoked = receive = confirmed = None

    consumer, options, side = RevokesInConsume(), TransportOptions(), cast("Any", Side())
    poller = Poller({}, options, side, cast("Any", None), tell, Counters())
    poller._consumer = cast("Any", consumer)
    ownership = Ownership(cast("Any", consumer), options, side, cast("Any", None), tell, Counters())
    poller.ownership = consumer.ownership = ownership
    line = Line(cast("Any", None), "t", 0, 1)
    line.tracker = CommitTracker(5, 5)
    assert line.tracker.done(5, 7)
    part = Part(line, 1, 7, options)
    ownership.lines[line.key], ownership.parts[line.key] = line, part
    poller._step(ownership)
    assert consumer.committed == [7]


class Pauses:
    """A consumer that knows what is paused."""

    def __init__(self) -> None:
        self.paused: set[tuple[str, int]] = set()

    def pause(self, partitions: list[TopicPartition]) -> None:
        self.paused |= {(tp.topic, tp.partition) for tp in partitions}

    def resume(self, partitions: list[TopicPartition]) -> None:
        self.paused -= {(tp.topic, tp.partition) for tp in partitions}


def test_a_partition_whose_records_are_taken_while_it_is_being_paused_is_resumed() -> None:
    """The event loop may take a chunk between two runs of one partition in the same poll."""

    def tell(callback: Any, *args: object) -> bool:
        del callback, args
        return True

    class Side:
        receive = None

    class Elsewhere(Line):
        """Whoever looks at it is interrupted: the loop takes of the first partition what it had waiting."""

        @property
        def taken_records(self) -> int:
            first.taken_records = 10
            return 0

        @taken_records.setter
        def taken_records(self, value: int) -> None:
            pass

    consumer, side = Pauses(), cast("Any", Side())
    options = TransportOptions(pause_high_records=20, pause_low_records=15)
    poller = Poller({}, options, side, cast("Any", None), tell, Counters())
    poller._consumer = cast("Any", consumer)
    poller._all_topics.add("t")
    ownership = Ownership(cast("Any", consumer), options, side, cast("Any", None), tell, Counters())
    first, second = Line(cast("Any", None), "t", 0, 1), Elsewhere(cast("Any", None), "t", 1, 1)
    for line in (first, second):
        ownership.parts[line.key] = Part(line, 1, 0, options)
    ownership.parts[first.key].handed_records = 10

    def records(partition: int, offsets: range) -> list[Message]:
        return [Message("t", partition, offset, None, b"value") for offset in offsets]

    poller._hand_over(ownership, [*records(0, range(10)), *records(1, range(1)), *records(0, range(10, 11))])
    poller._allowance(ownership)
    assert not ownership.parts[first.key].marks.is_paused
    assert consumer.paused == set()
