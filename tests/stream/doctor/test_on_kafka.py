"""The doctor on a real Kafka: silent about one that is as it should be, and each seeded fault is told."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    ResourceType,
)

from schemas.topics import TELEMETRY_TOPIC, TOPICS
from stream import kafka_properties, topics
from stream.doctor.broker import Brokers
from stream.doctor.finding import Finding, Level
from stream.doctor.groups import Group
from stream.doctor.run import examine
from stream.settings import Settings
from tests.support.kafka import KafkaBroker
from tests.support.process import Deadline
from tests.support.redis import RedisServer
from tests.support.secured import SecuredKafka

pytestmark = pytest.mark.timeout(240)
KEYS = [f"session-{number}".encode() for number in range(400)]


@pytest.fixture(scope="module")
def broker() -> Iterator[KafkaBroker]:
    """A broker of its own: its topics are broken one after another."""
    with KafkaBroker() as made:
        yield made


@pytest.fixture
def settings(broker: KafkaBroker, redis_server: RedisServer) -> Settings:
    properties = {"bootstrap.servers": broker.bootstrap}
    for name in list(broker.admin.list_topics(timeout=10).topics):
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


def alter(broker: KafkaBroker, topic: str, **config: str) -> None:
    entries = [
        ConfigEntry(key.replace("_", "."), value, incremental_operation=AlterConfigOpType.SET)
        for key, value in config.items()
    ]
    resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=entries)
    for future in broker.admin.incremental_alter_configs([resource], request_timeout=15).values():
        future.result()


def produce(broker: KafkaBroker, partitioner: str) -> None:
    producer = Producer({"bootstrap.servers": broker.bootstrap, "partitioner": partitioner})
    for key in KEYS:
        producer.produce(TELEMETRY_TOPIC, b'{"collector":{"name":"acme-web","version":"7"}}', key)
    assert producer.flush(20) == 0


def test_a_deployment_that_is_well_but_for_its_missing_workers(broker: KafkaBroker, settings: Settings) -> None:
    produce(broker, "murmur2_random")
    assert set(told(settings)) == GROUPS | {"group.stuck group doctored"}
    assert [name for name in told(settings, Level.WARNING) if not name.startswith("redis.")] == []
    well = {finding.check for finding in examine(settings) if finding.level is Level.OK}
    assert {"broker.reachable", "broker.version", "topic.config", "traffic.partitioner", "clock.broker"} <= well
    assert {"models.files", "policy.file", "acl", "redis.reachable", "clock.redis"} <= well


def test_keys_of_librdkafkas_default_partitioner(broker: KafkaBroker, settings: Settings) -> None:
    produce(broker, "consistent_random")
    finding = told(settings)[f"traffic.partitioner topic {TELEMETRY_TOPIC}"]
    assert "librdkafka's default" in finding.what
    assert "acme-web 7" in finding.what
    assert "murmur2_random" in finding.do


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


def test_topics_that_differ(broker: KafkaBroker, settings: Settings) -> None:
    alter(broker, "models.snapshots", cleanup_policy="delete", max_message_bytes="1000")
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
        "topic.unclean topic risk.events",
    } <= set(told(settings, Level.WARNING))


def test_a_broker_that_is_not_there(redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stream.topics.TIMEOUT_S", 1.0)
    found = told(settings_of("127.0.0.1:1", redis_server.url))
    assert list(found) == ["broker.reachable broker 127.0.0.1:1"]


def test_topic_ids_that_are_made_up_though_there_are_some(broker: KafkaBroker, settings: Settings) -> None:
    fixed = settings.model_copy(update={"kafka": settings.kafka.model_copy(update={"fixed_topic_id": "mine"})})
    assert f"broker.version broker {broker.bootstrap}" in told(fixed)


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


def test_members_that_own_everything_and_do_nothing_are_stuck(broker: KafkaBroker, settings: Settings) -> None:
    produce(broker, "murmur2_random")
    group = looked_at(broker, settings.kafka.group, "worker", places(TELEMETRY_TOPIC))
    members = Members(broker, settings.kafka.group, TELEMETRY_TOPIC, 1)
    try:
        assert [finding.level for finding in group.members()] == [Level.OK]
        (stuck,) = group.lag()
        assert (stuck.check, stuck.level) == ("group.stuck", Level.ERROR)
        assert f"{TELEMETRY_TOPIC}[0]" in stuck.what
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


def test_two_learners_take_from_each_other(broker: KafkaBroker, settings: Settings) -> None:
    members = Members(broker, settings.kafka.learner_group, "risk.features", 2)
    try:
        group = looked_at(broker, settings.kafka.learner_group, "learner", places("risk.features"))
        (finding,) = group.members()
        assert (finding.level, finding.do) == (Level.ERROR, "run one learner")
    finally:
        members.close()


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


def test_access_that_was_taken_away() -> None:
    """What a worker may not do is told; what it needs not is left alone."""
    with SecuredKafka() as secured:
        topics.apply({"bootstrap.servers": secured.broker.bootstrap}, replication_factor=1)
        for spec in TOPICS:
            secured.allow("topic", spec.name, ["READ", "WRITE", "DESCRIBE", "DESCRIBE_CONFIGS"])
        names = {name.lower(): value for name, value in secured.settings.items()}
        kafka = {name.removeprefix("kafka__"): value for name, value in names.items()}
        settings = Settings(kafka=kafka, keys={"ref_key": "a-long-and-secret-one"})
        properties = kafka_properties.common(settings.kafka)

        def missing() -> dict[str, str]:
            brokers = Brokers(properties, "worker", has_fixed_ids=False)
            found = [*brokers.reach(), *brokers.access()]
            return {finding.where: finding.what for finding in found if finding.check == "acl.topic"}

        # Rules reach the broker a moment after they were taken.
        deadline = Deadline(20)
        while deadline.waits() and missing():
            pass
        assert missing() == {}
        secured.deny("topic", "risk.events", ["WRITE"])
        secured.deny("topic", "risk.deadletter", ["READ", "WRITE", "DESCRIBE", "DESCRIBE_CONFIGS"])
        deadline = Deadline(20)
        while deadline.waits() and len(missing()) < 2:
            pass
        found = missing()
        assert found["topic risk.events"] == "this user lacks WRITE"
        assert found["topic risk.deadletter"] == "this user may not even describe it"
