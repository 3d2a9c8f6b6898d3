"""An embedded broker with a dead-letter topic, and `tellwire dlq` against it; no worker needed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from confluent_kafka import Consumer, KafkaError, Message, Producer, TopicPartition

from schemas.deadletter import DeadLetterReason as Reason
from schemas.envelope import Rejected
from schemas.examples import examples_of
from schemas.telemetry import Telemetry
from stream.deadletter import dead_letter
from stream.embedded import EmbeddedBroker
from stream.origin import Origin
from tests.support.command_line import CommandLine

TOPICS = {"capture.telemetry": 4, "capture.signals": 4, "risk.deadletter": 4}
GOOD = next(example.message for example in examples_of(Telemetry) if isinstance(example.message, Telemetry))
SECRET = "alice@example.com"
TOPIC_ID = "mock-capture.telemetry"


class Bench:
    """A broker with a dead-letter topic, and the command line against it."""

    def __init__(self, bootstrap: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        self.bootstrap = bootstrap
        self.run = CommandLine("dlq", capsys, monkeypatch, columns=140)
        self._producer = Producer({"bootstrap.servers": bootstrap, "log_level": 0})

    def give_up(
        self,
        offset: int,
        *,
        reason: Reason = Reason.SCHEMA,
        value: bytes | None = b"{",
        key: bytes | None = b"k",
        partition: int = 1,
        origin: Origin | None = None,
        topic: str = "capture.telemetry",
        topic_id: str = TOPIC_ID,
        more: tuple[tuple[str, bytes], ...] = (("traceparent", b"00-ab"),),
    ) -> None:
        """Publish a dead letter as a worker does."""
        letter = dead_letter(
            topic=topic,
            topic_id=topic_id,
            source_partition=partition,
            partition=partition,
            offset=offset,
            append_time_ms=1_700_000_000_000,
            key=key,
            value=value,
            headers=more,
            rejected=Rejected(reason, "$.flow", "not one of the values"),
            origin=origin,
        )
        self.publish(letter.value, letter.key, list(letter.headers or []), partition)

    def publish(
        self, value: bytes | None, key: bytes | None, headers: list[tuple[str, bytes | None]], partition: int
    ) -> None:
        self._producer.produce("risk.deadletter", value, key, partition, headers=headers)  # type: ignore[arg-type]
        assert self._producer.flush(10) == 0

    def told(self, *arguments: str, code: int = 0) -> Any:
        return json.loads(self.run(*arguments, "--json", code=code)[0])

    def sent(self, topic: str = "capture.telemetry") -> list[Message]:
        """Read what is in an input topic now."""
        consumer = Consumer({
            "bootstrap.servers": self.bootstrap, "group.id": "none", "enable.partition.eof": True,
            "fetch.wait.max.ms": 10,
        })  # fmt: skip
        consumer.assign([TopicPartition(topic, number, 0) for number in range(TOPICS[topic])])
        found, ends = [], 0
        while ends < TOPICS[topic]:
            for message in consumer.consume(100, 0.2):
                error = message.error()
                if error is None:
                    found.append(message)
                else:
                    assert error.code() == KafkaError._PARTITION_EOF
                    ends += 1
        consumer.close()
        return found


@contextmanager
def opened_bench(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    with EmbeddedBroker(TOPICS) as broker:
        monkeypatch.setenv("TELLWIRE_KAFKA__BOOTSTRAP_SERVERS", broker.bootstrap)
        monkeypatch.setenv("TELLWIRE_KAFKA__FIXED_TOPIC_ID", "mock")
        yield Bench(broker.bootstrap, capsys, monkeypatch)
