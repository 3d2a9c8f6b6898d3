"""What leaves the bindings with a hole in it is mended before anybody touches it."""

from __future__ import annotations

from confluent_kafka import Consumer, Message, Producer, TopicPartition

from stream.embedded import EmbeddedBroker
from stream.records import headers_of
from stream.transport.weight import weights
from tests.support.odd_header import send_odd_header


def test_a_header_whose_name_is_not_utf8_does_not_end_the_process() -> None:
    with EmbeddedBroker({"t": 1}) as broker:
        send_odd_header(broker.bootstrap, "t", 0, b"value")
        consumer = Consumer(
            {"bootstrap.servers": broker.bootstrap, "group.id": "none", "fetch.wait.max.ms": 10, "log_level": 0}
        )
        consumer.assign([TopicPartition("t", 0, 0)])
        message = consumer.poll(20)
        assert message is not None
        assert message.error() is None
        # Read as often as the pipeline does: together, alone, and for a dead letter.
        for _ in range(3):
            assert headers_of(message) == []
        assert message.value() == b"value"
        consumer.close()


def test_nor_does_it_end_the_transports_thread() -> None:
    """Whichever of several records it is, the transport asks all of them for their size before anybody else."""
    with EmbeddedBroker({"t": 1}) as broker:
        producer = Producer({"bootstrap.servers": broker.bootstrap, "log_level": 0})
        cases: list[list[tuple[str, str | bytes | None]] | None] = [None, [("own", b"123")], None]
        for headers in cases:
            send_odd_header(broker.bootstrap, "t", 0, b"value")
            producer.produce("t", b"other", headers=headers)
            assert producer.flush(10) == 0
        consumer = Consumer(
            {"bootstrap.servers": broker.bootstrap, "group.id": "none", "fetch.wait.max.ms": 10, "log_level": 0}
        )
        consumer.assign([TopicPartition("t", 0, 0)])
        records: list[Message] = []
        while len(records) < 6:
            records += [one for one in consumer.consume(6, 1.0) if one.error() is None]
        for _ in range(2):
            assert weights(records) == [5, 5, 5, 5 + 6, 5, 5]
        assert [headers_of(one) for one in records] == [[], [], [], [("own", b"123")], [], []]
        consumer.close()
