"""The doctor on a real Kafka: silent about one that is as it should be, and each seeded fault is told."""

from __future__ import annotations

import re
import time
import zlib
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import NewPartitions  # type: ignore[attr-defined]

from schemas.topics import TELEMETRY_TOPIC, TOPICS
from stream import topics
from stream.doctor.broker import GRAVE, NOTABLE, Brokers, _is_local
from stream.doctor.files import look_at_snapshots
from stream.doctor.finding import Finding, Findings, Level
from stream.doctor.groups import Group
from stream.doctor.run import examine
from stream.doctor.traffic import Traffic
from stream.settings import Settings
from tests.stream.doctor.altered import alter
from tests.support.kafka import KafkaBroker
from tests.support.redis import RedisServer

pytestmark = pytest.mark.timeout(240)
seeds = pytest.mark.seeds
KEYS = [f"session-{number}".encode() for number in range(400)]


@pytest.fixture(scope="module")
def broker() -> Iterator[KafkaBroker]:
    """A broker of its own: its topics are broken one after another."""
    with KafkaBroker() as made:
        yield made


@pytest.fixture
def settings(broker: KafkaBroker, redis_server: RedisServer) -> Settings:
    properties = {"bootstrap.servers": broker.bootstrap}
    for name in list(broker.admin.list_topics(timeout=30).topics):
        if not name.startswith("__"):
            broker.delete_topic(name)
    topics.apply(properties, replication_factor=1)
    return settings_of(broker.bootstrap, redis_server.url)


def settings_of(bootstrap: str, redis_url: str) -> Settings:
    return Settings(
        kafka={"bootstrap_servers": bootstrap, "group": "doctored", "learner_group": "doctored-learner"},
        redis={"url": redis_url},
        keys={"ref_key": "a-long-and-secret-one"},
    )


def told(settings: Settings, level: Level = Level.ERROR) -> dict[str, Finding]:
    found = [finding for finding in examine(settings) if finding.level is level]
    for finding in found:
        assert finding.why, finding
        assert finding.do, finding
    return {f"{finding.check} {finding.where}": finding for finding in found}


GROUPS = {"group.members group doctored", "group.members group doctored-learner"}
"""Nobody reads in these tests, which is told of, too."""


def produce(broker: KafkaBroker, partitioner: str) -> None:
    producer = Producer({"bootstrap.servers": broker.bootstrap, "partitioner": partitioner})
    for key in KEYS:
        producer.produce(TELEMETRY_TOPIC, b'{"collector":{"name":"acme-web","version":"7"}}', key)
    assert producer.flush(20) == 0


@seeds("error group.members", "error group.stuck")
def test_a_deployment_that_is_well_but_for_its_missing_workers(broker: KafkaBroker, settings: Settings) -> None:
    produce(broker, "murmur2_random")
    assert set(told(settings)) == GROUPS | {"group.stuck group doctored"}
    assert [name for name in told(settings, Level.WARNING) if not name.startswith("redis.")] == []
    well = {finding.check for finding in examine(settings) if finding.level is Level.OK}
    assert {"broker.reachable", "broker.version", "topic.config", "traffic.partitioner", "clock.broker"} <= well
    assert {"models.files", "policy.file", "acl", "redis.reachable", "clock.redis"} <= well


@seeds("error traffic.partitioner")
def test_keys_of_librdkafkas_default_partitioner(broker: KafkaBroker, settings: Settings) -> None:
    produce(broker, "consistent_random")
    finding = told(settings)[f"traffic.partitioner topic {TELEMETRY_TOPIC}"]
    assert "librdkafka's default" in finding.what
    assert "acme-web 7" in finding.what
    assert "murmur2_random" in finding.do


@seeds("error traffic.partitioner", "warning traffic.keys")
def test_keys_that_lie_anywhere(broker: KafkaBroker, settings: Settings) -> None:
    producer = Producer({"bootstrap.servers": broker.bootstrap})
    for number, key in enumerate(KEYS):
        producer.produce(TELEMETRY_TOPIC, b"x", key, partition=number % 4)
    producer.produce(TELEMETRY_TOPIC, b"x", None, partition=0)
    assert producer.flush(20) == 0
    assert any(zlib.crc32(key) % 4 != number % 4 for number, key in enumerate(KEYS))
    finding = told(settings)[f"traffic.partitioner topic {TELEMETRY_TOPIC}"]
    assert "librdkafka" not in finding.what
    assert "unreadable" in finding.what
    assert f"traffic.keys topic {TELEMETRY_TOPIC}" in told(settings, Level.WARNING)


@seeds(
    "error topic.cleanup.policy",
    "error topic.max.message.bytes",
    "error topic.message.timestamp.type",
    "error topic.insync",
    "error topic.missing",
    "error topic.partitions",
    "warning topic.compression.type",
    "warning topic.retention.ms",
    "warning topic.delete.retention.ms",
    "warning topic.unclean",
)
def test_topics_that_differ(broker: KafkaBroker, settings: Settings) -> None:
    alter(broker, "models.snapshots", cleanup_policy="delete", max_message_bytes="1000", delete_retention_ms="1000")
    alter(broker, TELEMETRY_TOPIC, message_timestamp_type="CreateTime", compression_type="gzip", retention_ms="1000")
    alter(broker, "risk.events", min_insync_replicas="2", unclean_leader_election_enable="true")
    broker.delete_topic("risk.labels")
    future = broker.admin.create_partitions([NewPartitions("risk.features", 6)], request_timeout=15)
    future["risk.features"].result()
    assert {
        "topic.cleanup.policy topic models.snapshots",
        "topic.max.message.bytes topic models.snapshots",
        f"topic.message.timestamp.type topic {TELEMETRY_TOPIC}",
        "topic.insync topic risk.events",
        "topic.missing topic risk.labels",
        "topic.partitions topic risk.features",
    } <= set(told(settings))
    assert {
        f"topic.compression.type topic {TELEMETRY_TOPIC}",
        f"topic.retention.ms topic {TELEMETRY_TOPIC}",
        "topic.delete.retention.ms topic models.snapshots",
        "topic.unclean topic risk.events",
    } <= set(told(settings, Level.WARNING))


@seeds("error broker.reachable")
def test_a_broker_that_is_not_there(redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stream.topics.TIMEOUT_S", 1.0)
    found = told(settings_of("127.0.0.1:1", redis_server.url))
    assert list(found) == ["broker.reachable broker 127.0.0.1:1"]


@seeds("error broker.version")
def test_topic_ids_that_are_made_up_though_there_are_some(broker: KafkaBroker, settings: Settings) -> None:
    fixed = settings.model_copy(update={"kafka": settings.kafka.model_copy(update={"fixed_topic_id": "mine"})})
    assert f"broker.version broker {broker.bootstrap}" in told(fixed)


@seeds("error broker.version")
def test_a_broker_without_topic_ids(broker: KafkaBroker, settings: Settings) -> None:
    brokers = Brokers({"bootstrap.servers": broker.bootstrap}, "worker", has_fixed_ids=False)
    assert "broker.version" in {finding.check for finding in brokers.reach() if finding.level is Level.OK}
    old: Any = SimpleNamespace(topic_id="AAAAAAAAAAAAAAAAAAAAAA")
    brokers.topics[TELEMETRY_TOPIC] = old
    (finding,) = brokers._versions()
    assert (finding.check, finding.level) == ("broker.version", Level.ERROR)


@seeds("warning broker.count", "warning acl.open")
def test_one_open_broker_on_another_machine(
    broker: KafkaBroker, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    brokers = Brokers({"bootstrap.servers": broker.bootstrap}, "worker", has_fixed_ids=False)

    def warned() -> set[str]:
        return {found.check for found in [*brokers.reach(), *brokers.access()] if found.level is Level.WARNING}

    assert warned() == set()
    monkeypatch.setattr("stream.doctor.broker._is_local", lambda _: False)
    assert warned() == {"broker.count", "acl.open"}


def test_what_is_on_this_machine() -> None:
    assert _is_local("127.0.0.1:9092, localhost:9093,[::1]:9094")
    assert not _is_local("127.0.0.1:9092,kafka.example.org:9092")


@seeds("warning clock.worker")
def test_workers_whose_clock_is_behind(broker: KafkaBroker, settings: Settings) -> None:
    events = Producer({"bootstrap.servers": broker.bootstrap})
    events.produce("risk.events", b'{"ingested_at": 1790000000900, "scored_at": 1790000000000}', b"s", 0)
    events.produce("risk.events", b"no JSON", b"s", 0)
    assert events.flush(20) == 0
    where = "clock.worker topic risk.events"
    assert where not in told(settings, Level.WARNING)
    events.produce("risk.events", b'{"ingested_at": 1790000005500, "scored_at": 1790000000000}', b"s", 0)
    assert events.flush(20) == 0
    assert "5.5 s before" in told(settings, Level.WARNING)[where].what


@seeds("warning models.snapshots")
def test_snapshots_that_are_old(broker: KafkaBroker, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    snapshots = Producer({"bootstrap.servers": broker.bootstrap})
    snapshots.produce("models.snapshots", b"{}", b"anomaly_hst/signup/latest")
    assert snapshots.flush(20) == 0
    properties = {"bootstrap.servers": broker.bootstrap}
    assert [finding.level for finding in look_at_snapshots(properties)] == [Level.OK]
    later_s = time.time() + 2 * 86_400
    monkeypatch.setattr("stream.doctor.files.time", SimpleNamespace(time=lambda: later_s))
    (finding,) = look_at_snapshots(properties)
    assert (finding.level, finding.what) == (Level.WARNING, "the newest of 1 is 48 h old")


def test_what_the_table_configures_is_known_to_be_grave_or_not() -> None:
    assert GRAVE.keys() | NOTABLE.keys() == {key for spec in TOPICS for key in spec.config}


def test_what_can_not_be_looked_at_is_told_and_the_rest_goes_on(
    broker: KafkaBroker, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> Findings:
        raise KafkaException(KafkaError(KafkaError._TIMED_OUT))

    monkeypatch.setattr(Traffic, "partitioner", refused)
    monkeypatch.setattr(Group, "lag", refused)
    found = told(settings)
    where = f"broker {broker.bootstrap}"
    assert {f"traffic.partitioner {where}", f"group.lag {where}"} | GROUPS == set(found)
    assert found[f"group.lag {where}"].do.startswith("is it running and reachable")


class Members:
    """Consumers of a group, polled while the doctor looks."""

    def __init__(self, broker: KafkaBroker, group: str, topic: str, count: int) -> None:
        common = {"bootstrap.servers": broker.bootstrap, "group.id": group, "enable.auto.commit": False}
        self.consumers = [Consumer(common | {"client.id": f"member-{i}"}) for i in range(count)]
        for consumer in self.consumers:
            consumer.subscribe([topic])
        while sum(len(consumer.assignment()) for consumer in self.consumers) < 4:
            for consumer in self.consumers:
                consumer.poll(0.1)

    def close(self) -> None:
        for consumer in self.consumers:
            consumer.close()


def places(topic: str) -> list[tuple[str, int]]:
    return [(topic, number) for number in range(4)]


def looked_at(broker: KafkaBroker, name: str, process: str, where: list[tuple[str, int]]) -> Group:
    return Group(broker.admin, {"bootstrap.servers": broker.bootstrap}, name, process, where)


@seeds("error group.stuck", "error group.owners")
def test_members_that_own_everything_and_do_nothing_are_stuck(broker: KafkaBroker, settings: Settings) -> None:
    produce(broker, "murmur2_random")
    group = looked_at(broker, settings.kafka.group, "worker", places(TELEMETRY_TOPIC))
    members = Members(broker, settings.kafka.group, TELEMETRY_TOPIC, 1)
    try:
        assert [finding.level for finding in group.members()] == [Level.OK]
        (stuck,) = group.lag()
        assert (stuck.check, stuck.level) == ("group.stuck", Level.ERROR)
        assert re.search(r"capture\.telemetry\[0\] \(\d+ behind, held by member-0 at /127\.0\.0\.1\)", stuck.what)
        ends = [TopicPartition(topic, number, 1_000) for topic, number in places(TELEMETRY_TOPIC)]
        members.consumers[0].commit(offsets=ends, asynchronous=False)
        assert [(finding.check, finding.what) for finding in group.lag()] == [("group.lag", "no lag")]
        more = [*places(TELEMETRY_TOPIC), ("capture.signals", 0)]
        wider = looked_at(broker, settings.kafka.group, "worker", more)
        (left,) = wider.members()
        assert (left.check, left.level) == ("group.owners", Level.ERROR)
        assert "capture.signals[0]" in left.what
    finally:
        members.close()


@seeds("error group.members")
def test_two_learners_take_from_each_other(broker: KafkaBroker, settings: Settings) -> None:
    members = Members(broker, settings.kafka.learner_group, "risk.features", 2)
    try:
        group = looked_at(broker, settings.kafka.learner_group, "learner", places("risk.features"))
        (finding,) = group.members()
        assert (finding.level, finding.do) == (Level.ERROR, "run one learner")
    finally:
        members.close()


@seeds("error group.lost")
def test_input_that_was_removed_before_it_was_read(broker: KafkaBroker, settings: Settings) -> None:
    produce(broker, "murmur2_random")
    start = [TopicPartition(topic, number, 0) for topic, number in places(TELEMETRY_TOPIC)]
    consumer = Consumer({"bootstrap.servers": broker.bootstrap, "group.id": settings.kafka.group})
    consumer.commit(offsets=start, asynchronous=False)
    consumer.close()
    gone = [TopicPartition(TELEMETRY_TOPIC, 1, 5)]
    for future in broker.admin.delete_records(gone, request_timeout=15).values():
        future.result()
    assert f"{TELEMETRY_TOPIC}[1]" in told(settings)["group.lost group doctored"].what
