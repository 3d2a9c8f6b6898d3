"""Records made by hand for a row: what is sent, where it ended up, and a topic's configuration while it lasts."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass, field

from confluent_kafka import KafkaError, Message, Producer
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ResourceType,
)

from schemas.envelope import encode
from schemas.telemetry import Telemetry
from tests.fault.load import simulated
from tests.fault.observe import INPUT
from tests.support.kafka import KafkaBroker
from tests.support.ledger import Place
from tests.support.pipeline import Pipeline, Process

Headers = list[tuple[str, str | bytes | None]]


@dataclass(frozen=True)
class Given:
    """One record to send; `reason` and `path` where it must become a dead letter."""

    value: bytes | None
    key: bytes | None = None
    reason: str = ""
    path: str = "$"
    headers: Headers = field(default_factory=list)
    partition: int = -1


def good(event: Telemetry) -> Given:
    """A record that must be scored."""
    return Given(encode(event), event.session_id.encode())


def send(
    broker: KafkaBroker, records: Iterable[Given], topic: str = INPUT, compression: str = "none"
) -> list[Place | str]:
    """Send records in order; return where each is, or the name of the error with which the broker refused it."""
    producer = Producer({
        "bootstrap.servers": broker.bootstrap, "partitioner": "murmur2_random", "enable.idempotence": True,
        "linger.ms": 5, "message.max.bytes": 20_000_000, "compression.type": compression,
    })  # fmt: skip
    found: dict[int, Place | str] = {}

    def delivered(number: int, error: KafkaError | None, message: Message) -> None:
        found[number] = error.name() if error is not None else (message.partition() or 0, message.offset() or 0)

    for number, one in enumerate(records):
        producer.produce(
            topic, one.value, one.key, one.partition, headers=one.headers,
            on_delivery=lambda error, message, number=number: delivered(number, error, message),  # type: ignore[misc]
        )  # fmt: skip
        producer.poll(0)
    assert producer.flush(60) == 0
    return [found[number] for number in sorted(found)]


def events(count: int, seed: int) -> list[Telemetry]:
    """Simulated telemetry."""
    return list(itertools.islice(simulated(seed, sessions_per_s=4.0, bot_ratio=0.3), count))


def started(pipeline: Pipeline, **settings: str) -> Process:
    """A worker that is ready."""
    worker = pipeline.start("worker", **settings)
    worker.wait_ready()
    return worker


def configure(broker: KafkaBroker, topic: str, **entries: str) -> None:
    """Set configuration of a topic; `_` in a name stands for a dot."""
    made = [
        ConfigEntry(name.replace("_", "."), value, incremental_operation=AlterConfigOpType.SET)
        for name, value in entries.items()
    ]
    resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=made)
    for future in broker.admin.incremental_alter_configs([resource]).values():
        future.result()
