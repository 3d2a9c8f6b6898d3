"""Runs all checks in order: what can't be reached costs the checks behind it, and nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

from confluent_kafka import KafkaException

from schemas.topics import SIGNALS_TOPIC, TELEMETRY_TOPIC
from stream import kafka_properties
from stream.doctor.broker import Brokers
from stream.doctor.files import look_at_artefacts, look_at_settings, look_at_snapshots
from stream.doctor.finding import Finding, Findings, Role, error
from stream.doctor.groups import Group, warn_of_name
from stream.doctor.store import look_at_store
from stream.doctor.traffic import Traffic
from stream.process import store_options
from stream.settings import Settings, SettingsError
from stream.topics import BrokerError, line_of


def examine(settings: Settings, role: Role = "worker") -> Iterator[Finding]:
    """Yield all findings, as they come. `role`: whose access and settings are looked at."""
    yield from look_at_settings(settings, role)
    yield from warn_of_name(settings.kafka.group, settings.kafka.learner_group)
    yield from look_at_artefacts(settings)
    yield from _look_at_kafka(settings, role)
    if role == "worker":  # nobody else needs it, or may reach it
        yield from asyncio.run(look_at_store(store_options(settings.redis)))


def _look_at_kafka(settings: Settings, role: Role) -> Findings:
    kafka = settings.kafka
    where = f"broker {kafka.bootstrap_servers}"
    try:
        properties = kafka_properties.consumer(kafka)
        kafka_properties.check(kafka)
        brokers = Brokers(kafka_properties.common(kafka), role, has_fixed_ids=kafka.fixed_topic_id is not None)
        yield from brokers.reach()
    except (BrokerError, SettingsError, KafkaException) as failed:
        yield _unreached("broker.reachable", where, failed, properties_of(kafka.bootstrap_servers))
        return
    checks: list[tuple[str, Callable[[], Findings]]] = [
        ("topic.config", brokers.table),
        ("topic.replicas", brokers.replicas),
        ("acl", brokers.access),
    ]
    counts = {name: len(topic.partitions) for name, topic in brokers.topics.items()}
    if TELEMETRY_TOPIC in counts and brokers.may_read(TELEMETRY_TOPIC):
        traffic = Traffic(properties, counts[TELEMETRY_TOPIC])
        checks.append(("traffic.partitioner", traffic.partitioner))
        if counts.get("risk.events") == counts[TELEMETRY_TOPIC] and brokers.may_read("risk.events"):
            checks.append(("clock.worker", traffic.clocks))
    if "models.snapshots" in counts and brokers.may_read("models.snapshots"):
        checks.append(("models.snapshots", lambda: look_at_snapshots(properties)))
    for group, process, names in (
        (kafka.group, "worker", (TELEMETRY_TOPIC, SIGNALS_TOPIC)),
        (kafka.learner_group, "learner", ("risk.features",)),
    ):
        places = [(name, number) for name in names for number in range(counts.get(name, 0))]
        if places:
            found = Group(brokers.admin, properties, group, process, places, is_needed=process == role)
            checks += [("group.members", found.members), ("group.lag", found.lag)]
    for name, check in checks:
        try:
            yield from check()
        except (BrokerError, KafkaException) as failed:
            yield _unreached(name, where, failed, properties_of(kafka.bootstrap_servers))


def properties_of(bootstrap: str) -> dict[str, str]:
    """Return what a line about a broker names of it."""
    return {"bootstrap.servers": bootstrap}


def _unreached(check: str, where: str, failed: Exception, properties: dict[str, str]) -> Finding:
    text = line_of(failed, properties) if isinstance(failed, KafkaException) else str(failed)
    return error(
        check,
        where,
        text.removeprefix(f"{where}: "),
        "this could not be looked at, and what needs it does not work either",
        "is it running and reachable from here, with these credentials and rights?",
    )
