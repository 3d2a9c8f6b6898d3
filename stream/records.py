"""Typed access to a consumed record: what librdkafka's bindings leave optional is certain for records of a chunk."""

from confluent_kafka import Message


def offset_of(record: Message) -> int:
    """Offset in its partition."""
    offset = record.offset()
    assert offset is not None
    return offset


def append_ms_of(record: Message) -> int:
    """Broker's append time, epoch ms (the topic is set to LogAppendTime); the producer's where a broker keeps that."""
    return int(record.timestamp()[1])
