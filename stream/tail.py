"""Reads the end of an output topic: up to which input offset risk events were already published.

Between a publish and its state write a worker may die. The next owner reads the last risk event of each partition it
takes over; what it publishes again up to that offset is marked `replayed`, and nothing else is.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import msgspec
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from stream.topics import BrokerError


class _Source(msgspec.Struct):
    topic: str
    topic_id: str
    partition: int
    offset: int


class _Tail(msgspec.Struct):
    source: _Source


_decoder = msgspec.json.Decoder(_Tail)


def last_published(
    properties: dict[str, Any],
    events_topic: str,
    source_topic_id: str,
    partitions: Sequence[int],
    timeout_s: float = 10.0,
) -> dict[int, int]:
    """Return, by partition, the input offset that the last risk event answers; partitions without one are absent.

    Blocks for at most `timeout_s` (s): call it from a worker thread. Raises BrokerError when a tail cannot be read in
    time. An event of an earlier input topic (another topic id) says nothing about this one and is ignored.
    """
    found: dict[int, int] = {}
    more = {"enable.partition.eof": True, "auto.offset.reset": "earliest", "fetch.wait.max.ms": 10}
    with _reading(properties | more, events_topic) as consumer:
        deadline = time.monotonic() + timeout_s
        ends = {p: _ends(consumer, TopicPartition(events_topic, p), deadline) for p in partitions}
        waiting = {partition for partition, (low, high) in ends.items() if high > low}
        # One back from the end; transaction markers would need more, and this topic has none of ours.
        consumer.assign([TopicPartition(events_topic, p, ends[p][1] - 1) for p in sorted(waiting)])
        while waiting:
            message = consumer.poll(max(0.0, min(0.5, deadline - time.monotonic())))
            if message is None:
                if time.monotonic() > deadline:
                    late = f"partitions {sorted(waiting)} could not be read in {timeout_s:g} s"
                    raise BrokerError(f"{events_topic}: the last events of {late}")
                continue
            partition = message.partition() or 0
            problem = message.error()
            if problem is None:
                offset = _source_offset(message.value(), source_topic_id)
                if offset is not None:
                    found[partition] = offset
            elif problem.code() == KafkaError._PARTITION_EOF:
                waiting.discard(partition)
            # Other errors (a broker is away) are the client's, not a partition's: it tries again until the deadline.
    return found


@contextmanager
def _reading(properties: dict[str, Any], place: str) -> Iterator[Consumer]:
    """Yield a consumer that joins no group and commits nothing; what Kafka refuses becomes a BrokerError."""
    # The library asks for a group id; nothing of it reaches a broker.
    consumer = Consumer(properties | {"group.id": "tellwire-tail", "enable.auto.commit": False})
    try:
        yield consumer
    except KafkaException as error:
        msg = f"{place}: {error.args[0].str()}"
        raise BrokerError(msg) from None
    finally:
        consumer.close()


def _ends(consumer: Consumer, partition: TopicPartition, deadline: float) -> tuple[int, int]:
    """Return first and next offset; waits out a leader election, which a new topic goes through too."""
    while True:
        try:
            return consumer.get_watermark_offsets(partition, timeout=max(0.1, deadline - time.monotonic()))
        except KafkaException:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def _source_offset(value: bytes | str | None, topic_id: str) -> int | None:
    try:
        source = _decoder.decode(value or b"").source
    except msgspec.MsgspecError:
        return None
    return source.offset if source.topic_id == topic_id else None


def offset_at(
    properties: dict[str, Any], topic: str, partition: int, time_ms: int, timeout_s: float = 10.0
) -> int | None:
    """Return the first offset appended at or after `time_ms` (epoch ms), None when there is none. Blocks."""
    with _reading(properties, f"{topic}[{partition}]") as consumer:
        found = consumer.offsets_for_times([TopicPartition(topic, partition, max(0, time_ms))], timeout=timeout_s)[0]
    return found.offset if found.offset >= 0 else None


def first_offset(properties: dict[str, Any], topic: str, partition: int, timeout_s: float = 10.0) -> int:
    """Return the first offset that the log still holds. Blocks. Raises BrokerError."""
    with _reading(properties, f"{topic}[{partition}]") as consumer:
        return _ends(consumer, TopicPartition(topic, partition), time.monotonic() + timeout_s)[0]
