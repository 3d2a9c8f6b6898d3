"""A consumed record and its partition, typed and named: what librdkafka's bindings leave optional is certain here."""

from confluent_kafka import Message


def place(topic: str, partition: int) -> str:
    """Return how a partition is named to people."""
    return f"{topic}[{partition}]"


def offset_of(record: Message) -> int:
    """Offset in its partition."""
    offset = record.offset()
    assert offset is not None
    return offset


def append_ms_of(record: Message) -> int:
    """Broker's append time, epoch ms (the topic is set to LogAppendTime); the producer's where a broker keeps that."""
    return int(record.timestamp()[1])
