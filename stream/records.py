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


def headers_of(record: Message) -> list[tuple[str, bytes]]:
    """Headers in their order; a missing value is empty. None at all where a name is not UTF-8.

    librdkafka's bindings raise for such a name once, and then hand out a list with a hole that ends the process when it
    is touched. So the hole is replaced before anybody can.
    """
    try:
        headers = record.headers()
    except (SystemError, UnicodeError):
        record.set_headers([])
        return []
    if not headers:
        return []
    pairs = headers.items() if isinstance(headers, dict) else headers
    return [(name, value.encode() if isinstance(value, str) else value or b"") for name, value in pairs]
