"""Reads the end of an output topic: up to which input offset risk events were already published.

Between a publish and its state write a worker may die. The next owner reads the last risk events of each partition it
takes over; what it publishes again up to the highest offset that they answer is marked `replayed`, and nothing else is.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import msgspec
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from stream.topics import BrokerError, line_of


class _Source(msgspec.Struct):
    topic: str
    topic_id: str
    partition: int
    offset: int


class _Tail(msgspec.Struct):
    source: _Source
    replayed: bool = False


_decoder = msgspec.json.Decoder(_Tail)
_READ_BACK = (1, 200, 20_000)
"""How many of the last records are looked at, until one is found that was published for the first time: nearly always
the last one is. After a crash within what was published again, as many as two chunks may be in front of it."""


def last_published(
    properties: dict[str, Any],
    events_topic: str,
    source_topic_id: str,
    partitions: Sequence[int],
    timeout_s: float = 10.0,
) -> dict[int, int]:
    """Return, by partition, the last input offset that a risk event answers; partitions without one are absent.

    Blocks for at most `timeout_s` (s): call it from a worker thread. Raises BrokerError when a tail cannot be read in
    time. An event of an earlier input topic (another topic id) says nothing about this one and is ignored.
    """
    found: dict[int, int] = {}
    more = {"enable.partition.eof": True, "auto.offset.reset": "earliest", "fetch.wait.max.ms": 10}
    with reading(properties | more, events_topic) as consumer:
        deadline = time.monotonic() + timeout_s
        ends = {p: ends_of(consumer, TopicPartition(events_topic, p), deadline) for p in partitions}
        unsure = {partition for partition, (low, high) in ends.items() if high > low}
        for size in _READ_BACK:
            starts = {p: max(ends[p][0], ends[p][1] - size) for p in unsure}
            for partition, values in _read_on(consumer, events_topic, starts, deadline, timeout_s).items():
                offset, is_sure = reach_of(values, source_topic_id)
                if offset is not None:
                    found[partition] = offset
                if is_sure or starts[partition] == ends[partition][0]:
                    unsure.discard(partition)
    return found


def reach_of(values: Sequence[bytes | str | None], topic_id: str) -> tuple[int | None, bool]:
    """Return the highest input offset that the last risk events answer, and whether none before answers a higher one.

    `values` are the last records of one partition, in order. A first publication is above all that came before it. What
    was published again need not be, if the process died once more on the way. A redriven record counts like any other:
    its source is where it is now.
    """
    reach: int | None = None
    for value in reversed(values):
        try:
            event = _decoder.decode(value or b"")
        except msgspec.MsgspecError:
            continue
        if event.source.topic_id != topic_id:
            return reach, True
        reach = event.source.offset if reach is None else max(reach, event.source.offset)
        if not event.replayed:
            return reach, True
    return reach, False


def _read_on(
    consumer: Consumer, topic: str, starts: dict[int, int], deadline: float, timeout_s: float
) -> dict[int, list[bytes | str | None]]:
    """Return the values of each partition from its start to its end."""
    found: dict[int, list[bytes | str | None]] = {partition: [] for partition in starts}
    waiting = set(starts)
    # Offsets of transaction markers hold no records, and this topic has none of ours.
    consumer.assign([TopicPartition(topic, p, starts[p]) for p in sorted(waiting)])
    while waiting:
        message = consumer.poll(max(0.0, min(0.5, deadline - time.monotonic())))
        if time.monotonic() > deadline:
            late = f"partitions {sorted(waiting)} could not be read in {timeout_s:g} s"
            raise BrokerError(f"{topic}: the last events of {late}")
        if message is None:
            continue
        partition = message.partition() or 0
        problem = message.error()
        if problem is None:
            found[partition].append(message.value())
        elif problem.code() == KafkaError._PARTITION_EOF:
            waiting.discard(partition)
        # Other errors (a broker is away) are the client's, not a partition's: it tries again until the deadline.
    return found


@contextmanager
def reading(properties: dict[str, Any], place: str) -> Iterator[Consumer]:
    """Yield a consumer that joins no group and commits nothing; what Kafka refuses becomes a BrokerError."""
    # The library asks for a group id; nothing of it reaches a broker.
    consumer = Consumer(properties | {"group.id": "tellwire-tail", "enable.auto.commit": False})
    try:
        yield consumer
    except KafkaException as error:
        msg = f"{place}: {line_of(error, properties)}"
        raise BrokerError(msg) from None
    finally:
        consumer.close()


def ends_of(consumer: Consumer, partition: TopicPartition, deadline: float) -> tuple[int, int]:
    """Return first and next offset; waits out a leader election, which a new topic goes through too.

    `deadline` is of the monotonic clock, s. Raises KafkaException after it.
    """
    while True:
        try:
            return consumer.get_watermark_offsets(partition, timeout=max(0.1, deadline - time.monotonic()))
        except KafkaException:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def offset_at(
    properties: dict[str, Any], topic: str, partition: int, time_ms: int, timeout_s: float = 10.0
) -> int | None:
    """Return the first offset appended at or after `time_ms` (epoch ms), None when there is none. Blocks."""
    with reading(properties, f"{topic}[{partition}]") as consumer:
        found = consumer.offsets_for_times([TopicPartition(topic, partition, max(0, time_ms))], timeout=timeout_s)[0]
    return found.offset if found.offset >= 0 else None


def first_offset(properties: dict[str, Any], topic: str, partition: int, timeout_s: float = 10.0) -> int:
    """Return the first offset that the log still holds. Blocks. Raises BrokerError."""
    with reading(properties, f"{topic}[{partition}]") as consumer:
        return ends_of(consumer, TopicPartition(topic, partition), time.monotonic() + timeout_s)[0]


def record_at(
    properties: dict[str, Any], topic: str, partition: int, offset: int, timeout_s: float = 10.0
) -> bytes | None:
    """Return the value of one record; None where there is none at that offset. Blocks. Raises BrokerError."""
    more = {"enable.partition.eof": True, "auto.offset.reset": "error", "fetch.wait.max.ms": 10}
    with reading(properties | more, f"{topic}[{partition}]") as consumer:
        consumer.assign([TopicPartition(topic, partition, offset)])
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            message = consumer.poll(0.5)
            problem = message.error() if message is not None else None
            if message is None:
                continue
            if problem is None:
                return message.value() if message.offset() == offset else None
            if problem.name() in ("_PARTITION_EOF", "_AUTO_OFFSET_RESET"):
                return None
    raise BrokerError(f"{topic}[{partition}]: offset {offset} could not be read in {timeout_s:g} s")
