"""What leaves the bindings with a hole in it is mended before anybody touches it."""

from __future__ import annotations

from confluent_kafka import Consumer, Message, Producer, TopicPartition

from stream.embedded import EmbeddedBroker
from stream.transport.headers import headers_of
from stream.transport.weight import weights
from tests.support.odd_header import send_odd_header


def read(bootstrap: str, count: int) -> list[Message]:
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "none", "fetch.wait.max.ms": 10, "log_level": 0})
    try:
        consumer.assign([TopicPartition("t", 0, 0)])
        records: list[Message] = []
        while len(records) < count:
            got = consumer.consume(count, 20)
            assert got, f"{len(records)} of {count} records"
            assert [one.error() for one in got] == [None] * len(got)
            records += got
        return records
    finally:
        consumer.close()


def test_a_header_whose_name_is_not_utf8_does_not_end_the_process() -> None:
    with EmbeddedBroker({"t": 1}) as broker:
        send_odd_header(broker.bootstrap, "t", 0, b"value")
        (message,) = read(broker.bootstrap, 1)
    # Read as often as the pipeline does: together, alone, and for a dead letter.
    for _ in range(3):
        assert headers_of(message) == []
    assert message.value() == b"value"


def test_nor_once_the_interpreter_has_warmed_up() -> None:
    """Its specialised calls don't look at the exception that the bindings leave beside the list with the hole."""
    warm = 100
    with EmbeddedBroker({"t": 1}) as broker:
        producer = Producer({"bootstrap.servers": broker.bootstrap, "log_level": 0})
        for _ in range(warm):
            producer.produce("t", b"other", headers=[("own", b"123")])
        assert producer.flush(10) == 0
        for _ in range(2):
            send_odd_header(broker.bootstrap, "t", 0, b"value")
        *others, first, second = read(broker.bootstrap, warm + 2)
    assert all(headers_of(one) == [("own", b"123")] for one in others)
    assert headers_of(first) == []
    assert all(weights([one]) == [5 + 6] for one in others)
    assert weights([second]) == [5]


def test_nor_does_it_end_the_transports_thread() -> None:
    """Whichever of several records it is, the transport asks all of them for their size before anybody else."""
    with EmbeddedBroker({"t": 1}) as broker:
        producer = Producer({"bootstrap.servers": broker.bootstrap, "log_level": 0})
        cases: list[list[tuple[str, str | bytes | None]] | None] = [None, [("own", b"123")], None]
        for headers in cases:
            send_odd_header(broker.bootstrap, "t", 0, b"value")
            producer.produce("t", b"other", headers=headers)
            assert producer.flush(10) == 0
        records = read(broker.bootstrap, 6)
    for _ in range(2):
        assert weights(records) == [5, 5, 5, 5 + 6, 5, 5]
    assert [headers_of(one) for one in records] == [[], [], [], [("own", b"123")], [], []]
