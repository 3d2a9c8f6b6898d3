"""Reads the end of an output topic: up to which input offset risk events were already published.

Between a publish and its state write a worker may die. The next owner reads the last risk events of each partition it
takes over; what it publishes again up to the highest offset that they answer is marked `replayed`, and nothing else is.
"""

from collections.abc import Sequence
from typing import Any, Final

import msgspec
from confluent_kafka import TopicPartition

from stream.records import place
from stream.topic_reader import ends_of, reading, records_in

PATIENCE_S: Final = 10.0
"""Longest wait for the broker's next answer, s."""


class _Source(msgspec.Struct):
    topic: str
    topic_id: str
    partition: int
    offset: int


class _Tail(msgspec.Struct):
    source: _Source
    replayed: bool = False


_decoder = msgspec.json.Decoder(_Tail)
_READ_BACK: Final = (500, 20_000)
"""How many of the last records are looked at, until one is among them that was published for the first time: some
chunks, as what a frozen worker had handed to its client is appended when it wakes, behind its heir's. Further back only
after a crash within what was published again."""


class Reach:
    """How far the last risk events of one partition reach; give it them in order.

    All of them are looked at, not only the last first publication: it need not be above what came before it, as a
    worker that was frozen while it published does so late. A redriven record counts like any other: its source is where
    it is now.
    """

    __slots__ = ("_topic_id", "is_sure", "offset")

    def __init__(self, topic_id: str) -> None:
        self._topic_id = topic_id
        self.offset: int | None = None
        """The highest input offset that they answer; None where they answer none of the input topic with this id."""
        self.is_sure = False
        """Whether none before them answers a higher one."""

    def add(self, value: bytes | str | None) -> None:
        """Take the next event's value; what is none is passed over."""
        try:
            event = _decoder.decode(value or b"")
        except msgspec.MsgspecError:
            return
        if event.source.topic_id != self._topic_id:
            # An event of an earlier input topic: it and all before it say nothing about this one.
            self.offset, self.is_sure = None, True
            return
        self.offset = max(event.source.offset, -1 if self.offset is None else self.offset)
        self.is_sure = self.is_sure or not event.replayed


def last_published(
    properties: dict[str, Any],
    events_topic: str,
    source_topic_id: str,
    partitions: Sequence[int],
    timeout_s: float = PATIENCE_S,
) -> dict[int, int]:
    """Return, by partition, the last input offset that a risk event answers; partitions without one are absent.

    Blocks as long as the broker goes on answering within `timeout_s` (s): call it from a worker thread. Raises
    BrokerError when it does not.
    """
    found: dict[int, int] = {}
    with reading(properties, events_topic) as consumer:
        ends = {p: ends_of(consumer, TopicPartition(events_topic, p), timeout_s) for p in partitions}
        unsure = {partition for partition, (low, high) in ends.items() if high > low}
        for size in _READ_BACK:
            starts = {p: max(ends[p][0], ends[p][1] - size) for p in unsure}
            reaches = {p: Reach(source_topic_id) for p in unsure}
            # Up to where each partition ends by now: a worker that was frozen may be adding to it.
            stretches = {p: (start, None) for p, start in starts.items()}
            for record in records_in(consumer, events_topic, stretches, timeout_s):
                reaches[record.partition() or 0].add(record.value())
            for partition, reach in reaches.items():
                if reach.offset is not None:
                    found[partition] = reach.offset
                if reach.is_sure or starts[partition] == ends[partition][0]:
                    unsure.discard(partition)
    return found


def offset_at(
    properties: dict[str, Any], topic: str, partition: int, time_ms: int, timeout_s: float = PATIENCE_S
) -> int | None:
    """Return the first offset appended at or after `time_ms` (epoch ms), None when there is none. Blocks."""
    with reading(properties, place(topic, partition)) as consumer:
        found = consumer.offsets_for_times([TopicPartition(topic, partition, max(0, time_ms))], timeout=timeout_s)[0]
    return found.offset if found.offset >= 0 else None


def first_offset(properties: dict[str, Any], topic: str, partition: int, timeout_s: float = PATIENCE_S) -> int:
    """Return the first offset that the log still holds. Blocks. Raises BrokerError."""
    with reading(properties, place(topic, partition)) as consumer:
        return ends_of(consumer, TopicPartition(topic, partition), timeout_s)[0]


def record_at(
    properties: dict[str, Any], topic: str, partition: int, offset: int, timeout_s: float = PATIENCE_S
) -> bytes | None:
    """Return the value of one record; None where there is none at that offset. Blocks. Raises BrokerError."""
    with reading(properties, place(topic, partition), reset="error") as consumer:
        for record in records_in(consumer, topic, {partition: (offset, offset + 1)}, timeout_s):
            return record.value()
    return None
