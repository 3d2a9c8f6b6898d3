"""The doctor on a Kafka that asks who is there: what a process's user lacks is told, what it need not have is not."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from confluent_kafka import Producer

from schemas.topics import TOPICS
from stream import topics
from stream.doctor.broker import NEEDS
from stream.doctor.finding import Finding, Level, Role
from stream.doctor.run import examine
from stream.settings import Settings
from tests.support.process import Deadline
from tests.support.redis import RedisServer
from tests.support.secured import SecuredKafka

pytestmark = pytest.mark.timeout(240)
seeds = pytest.mark.seeds
GROUPS = {"worker": "guarded", "learner": "guarded-learner"}


@pytest.fixture(scope="module")
def secured() -> Iterator[SecuredKafka]:
    with SecuredKafka() as made:
        topics.apply({"bootstrap.servers": made.broker.bootstrap}, replication_factor=1)
        yield made


@pytest.fixture
def settings(secured: SecuredKafka, redis_server: RedisServer) -> Settings:
    for spec in TOPICS:
        secured.deny("topic", spec.name, ["READ", "WRITE", "DESCRIBE", "DESCRIBE_CONFIGS"])
    for group in GROUPS.values():
        secured.deny("group", group, ["READ"])
    names = {name.lower(): value for name, value in secured.settings.items()}
    kafka = {name.removeprefix("kafka__"): value for name, value in names.items()}
    return Settings(
        kafka=kafka | {"group": GROUPS["worker"], "learner_group": GROUPS["learner"]},
        redis={"url": redis_server.url},
        keys={"ref_key": "a-long-and-secret-one"},
        gateway={"token_key": "7f" * 16, "tenants": {"shop": "5e" * 16}},
    )


def grant(secured: SecuredKafka, role: Role) -> None:
    """What docs/how-to/run-under-an-orchestrator.md says that a process's user needs, and nothing more."""
    for topic, operations in NEEDS[role].items():
        secured.allow("topic", topic, [one.name for one in operations])
    if role in GROUPS:
        secured.allow("group", GROUPS[role], ["READ"])


def errors(settings: Settings, role: Role) -> dict[str, Finding]:
    found = [finding for finding in examine(settings, role) if finding.level is Level.ERROR]
    return {f"{finding.check} {finding.where}": finding for finding in found}


def settled(settings: Settings, role: Role, expected: set[str]) -> dict[str, Finding]:
    """Rules reach the broker a moment after they were made."""
    found: dict[str, Finding] = {}
    deadline = Deadline(20)
    while deadline.waits():
        found = errors(settings, role)
        if set(found) == expected:
            break
    assert set(found) == expected
    return found


@pytest.mark.parametrize(
    ("role", "expected"),
    [
        ("worker", {"group.members group guarded"}),
        ("learner", {"group.members group guarded-learner"}),
        ("gateway", set()),
    ],
)
def test_a_user_with_just_the_rights_that_its_process_needs(
    secured: SecuredKafka, settings: Settings, role: Role, expected: set[str]
) -> None:
    grant(secured, role)
    settled(settings, role, expected)


@seeds("error acl.topic", "error acl.group", "warning topic.config")
def test_rights_that_were_taken_away(secured: SecuredKafka, settings: Settings) -> None:
    grant(secured, "worker")
    secured.deny("topic", "risk.features", ["WRITE"])
    secured.allow("topic", "risk.features", ["READ"])
    secured.deny("topic", "risk.deadletter", ["WRITE"])
    secured.deny("group", "guarded", ["READ"])
    expected = {"acl.topic topic risk.features", "acl.topic topic risk.deadletter", "acl.group group guarded"}
    found = settled(settings, "worker", expected)
    assert found["acl.topic topic risk.features"].what == "this user lacks WRITE"
    assert found["acl.topic topic risk.deadletter"].what == "this user may not even describe it"
    assert "READ" in found["acl.group group guarded"].do


def test_telemetry_that_a_worker_may_not_read_hides_nothing_else(secured: SecuredKafka, settings: Settings) -> None:
    grant(secured, "worker")
    secured.deny("topic", "capture.telemetry", ["READ"])
    producer = Producer({"bootstrap.servers": secured.broker.bootstrap})
    producer.produce("capture.telemetry", b"{}", b"key")
    assert producer.flush(20) == 0
    expected = {"acl.topic topic capture.telemetry", "group.members group guarded"}
    where = f"broker {settings.kafka.bootstrap_servers}"
    found = settled(settings, "worker", expected | {f"traffic.partitioner {where}", "group.stuck group guarded"})
    assert found["acl.topic topic capture.telemetry"].what == "this user lacks READ"
