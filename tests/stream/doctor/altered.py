"""Changes the configuration of a topic behind its table's back."""

from __future__ import annotations

from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ResourceType,
)

from tests.support.kafka import KafkaBroker


def alter(broker: KafkaBroker, topic: str, **config: str) -> None:
    """Set options of a topic; underscores stand for dots."""
    entries = [
        ConfigEntry(key.replace("_", "."), value, incremental_operation=AlterConfigOpType.SET)
        for key, value in config.items()
    ]
    resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=entries)
    for future in broker.admin.incremental_alter_configs([resource], request_timeout=15).values():
        future.result()
