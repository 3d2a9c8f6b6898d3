"""Topics on a broker against the table of topics: what is missing, what differs, and making it so."""

import time
from collections.abc import Collection, Container, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewTopic,
    ResourceType,
)

from schemas.topics import TOPICS, TopicSpec
from stream.settings import SettingsError

TIMEOUT_S = 15.0
_UNREACHABLE = frozenset(("_TRANSPORT", "_ALL_BROKERS_DOWN", "_TIMED_OUT", "_RESOLVE", "_SSL", "_AUTHENTICATION"))


class BrokerError(Exception):
    """The broker cannot be reached or refuses; one line for a person."""


@dataclass(frozen=True)
class Difference:
    """One thing in which the broker differs from the table."""

    topic: str
    what: str
    found: str
    wanted: str
    fixable: bool
    """`apply` can mend it; what cannot be mended needs a drain and a person."""


def diff(properties: dict[str, Any], specs: Sequence[TopicSpec] = TOPICS) -> list[Difference]:
    """Compare the broker with the table. Raises BrokerError when it does not answer."""
    admin = _admin(properties)
    found: list[Difference] = []
    try:
        known = admin.list_topics(timeout=TIMEOUT_S).topics
        present = [spec for spec in specs if spec.name in known and known[spec.name].error is None]
        configs = _configs(admin, [spec.name for spec in present])
    except KafkaException as error:
        raise BrokerError(_line(error, properties)) from None
    counts = {spec.name: len(known[spec.name].partitions) for spec in present}
    for spec in specs:
        if spec.name not in counts:
            found.append(Difference(spec.name, "topic", "missing", f"{spec.partitions} partitions", fixable=True))
            continue
        partner = spec.co_partitioned_with
        if partner in counts and counts[partner] != counts[spec.name]:
            found.append(
                Difference(
                    spec.name, "partitions", str(counts[spec.name]), f"{counts[partner]} as {partner}", fixable=False
                )
            )
        for key, wanted in spec.config.items():
            value = configs.get(spec.name, {}).get(key)
            if value is not None and value != wanted:
                found.append(Difference(spec.name, key, value, wanted, fixable=True))
    return found


def apply(
    properties: dict[str, Any],
    specs: Sequence[TopicSpec] = TOPICS,
    partitions: int | None = None,
    replication_factor: int = -1,
) -> list[Difference]:
    """Create missing topics and mend their configuration; return what was mended.

    `partitions` overrides the table for topics that share the telemetry's partitioning; where the telemetry topic is
    there already, its count holds. Partition counts of existing topics are never changed: that is part of the state's
    version and needs a drain.
    """
    admin = _admin(properties)
    leaders = {spec.co_partitioned_with for spec in specs if spec.co_partitioned_with is not None}
    there = partition_counts(properties, sorted(leaders))
    mended = [difference for difference in diff(properties, specs) if difference.fixable]
    missing = {difference.topic for difference in mended if difference.what == "topic"}
    new = [
        NewTopic(
            spec.name,
            num_partitions=_wanted_partitions(spec, leaders, there, partitions),
            replication_factor=replication_factor,
            config=dict(spec.config),
        )
        for spec in specs
        if spec.name in missing
    ]
    changed = {difference.topic for difference in mended} - missing
    try:
        if new:
            for future in admin.create_topics(new, operation_timeout=TIMEOUT_S, request_timeout=TIMEOUT_S).values():
                future.result()
            _await_topics(admin, missing)
        for spec in specs:
            if spec.name in changed:
                entries = [
                    ConfigEntry(key, value, incremental_operation=AlterConfigOpType.SET)
                    for key, value in spec.config.items()
                ]
                resource = ConfigResource(ResourceType.TOPIC, spec.name, incremental_configs=entries)
                for future in admin.incremental_alter_configs([resource], request_timeout=TIMEOUT_S).values():
                    future.result()
    except KafkaException as error:
        raise BrokerError(_line(error, properties)) from None
    return mended


def _await_topics(admin: AdminClient, names: Collection[str]) -> None:
    """Wait until the broker shows what it created: its metadata lags behind its answer."""
    deadline = time.monotonic() + TIMEOUT_S
    while time.monotonic() < deadline:
        known = admin.list_topics(timeout=TIMEOUT_S).topics
        if all(name in known and known[name].error is None and known[name].partitions for name in names):
            return
        time.sleep(0.05)


def partition_counts(properties: dict[str, Any], names: Sequence[str]) -> dict[str, int]:
    """Return the partition count of each topic that exists. Raises BrokerError when the broker does not answer."""
    admin = _admin(properties)
    try:
        known = admin.list_topics(timeout=TIMEOUT_S).topics
    except KafkaException as error:
        raise BrokerError(_line(error, properties)) from None
    return {name: len(known[name].partitions) for name in names if name in known and known[name].error is None}


def _admin(properties: dict[str, Any]) -> AdminClient:
    try:
        return AdminClient(properties)
    except KafkaException as error:
        refused = " ".join(error.args[0].str().split())
        raise SettingsError(f"kafka.properties (TELLWIRE_KAFKA__PROPERTIES): {refused}") from None


def _wanted_partitions(
    spec: TopicSpec, leaders: Container[str], there: Mapping[str, int], partitions: int | None
) -> int:
    """Partitions of a topic to make; `leaders` are topics that others go with, `there` the counts of present ones."""
    leader = spec.co_partitioned_with
    if leader is not None and leader in there:
        return there[leader]
    goes_together = leader is not None or spec.name in leaders
    return partitions if partitions is not None and goes_together else spec.partitions


def _configs(admin: AdminClient, names: Sequence[str]) -> dict[str, dict[str, str]]:
    if not names:
        return {}
    futures = admin.describe_configs(
        [ConfigResource(ResourceType.TOPIC, name) for name in names], request_timeout=TIMEOUT_S
    )
    return {
        resource.name: {key: entry.value for key, entry in future.result().items()}
        for resource, future in futures.items()
    }


def _line(error: KafkaException, properties: dict[str, Any]) -> str:
    detail = error.args[0]
    line = f"broker {properties.get('bootstrap.servers', '?')}: {detail.str() if hasattr(detail, 'str') else detail}"
    if isinstance(detail, KafkaError) and detail.name() in _UNREACHABLE:
        return f"{line}; is it running and reachable from here, with this kafka.security_protocol and credentials?"
    return line
