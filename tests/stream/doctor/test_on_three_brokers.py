"""The doctor on a cluster of three brokers: copies, those in sync, and brokers that are away."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from confluent_kafka import KafkaException
from confluent_kafka.admin import NewTopic  # type: ignore[attr-defined]

from schemas.topics import TOPICS
from stream import topics
from stream.doctor.broker import Brokers
from stream.doctor.finding import Level
from tests.stream.doctor.altered import alter
from tests.support.kafka import KafkaBroker
from tests.support.process import Deadline

pytestmark = pytest.mark.timeout(240)
seeds = pytest.mark.seeds


@pytest.fixture(scope="module")
def cluster() -> Iterator[KafkaBroker]:
    with KafkaBroker(brokers=3, heap_mb=256) as made:
        topics.apply({"bootstrap.servers": made.bootstrap})
        yield made


def told(cluster: KafkaBroker) -> set[str]:
    brokers = Brokers({"bootstrap.servers": cluster.bootstrap, "log_level": 0}, "worker", has_fixed_ids=False)
    try:
        found = [*brokers.reach(), *brokers.replicas()]
    except KafkaException as failed:  # a broker has just gone, and the others have not noticed
        return {str(failed)}
    assert all(finding.why and finding.do for finding in found if finding.level is not Level.OK)
    return {f"{one.level} {one.check} {one.where}" for one in found if one.level is not Level.OK}


def until(cluster: KafkaBroker, holds: Callable[[set[str]], bool]) -> set[str]:
    """What the brokers agree upon a moment after it happened."""
    found: set[str] = set()
    deadline = Deadline(120, pause_s=0.3)
    while deadline.waits():
        found = told(cluster)
        if holds(found):
            break
    return found


@seeds("warning topic.min_insync", "warning topic.replication", "warning topic.insync", "error topic.insync")
def test_copies_that_are_too_few_or_behind(cluster: KafkaBroker) -> None:
    names = [spec.name for spec in TOPICS]
    assert told(cluster) == {f"warning topic.min_insync topic {name}" for name in names}
    for name in names:
        alter(cluster, name, min_insync_replicas="2")
    assert until(cluster, lambda found: not found) == set()

    alter(cluster, "risk.features", min_insync_replicas="3")
    cluster.delete_topic("risk.labels")
    alone = NewTopic("risk.labels", num_partitions=1, replica_assignment=[[2]])
    cluster.admin.create_topics([alone], request_timeout=15)["risk.labels"].result()
    expected = {"warning topic.min_insync topic risk.features", "warning topic.replication topic risk.labels"}
    assert until(cluster, lambda found: found == expected) == expected

    cluster.kill(2)
    expected = {
        # Two copies of three write on; three of three do not; one of one is away.
        *(f"warning topic.insync topic {name}" for name in names if name not in {"risk.features", "risk.labels"}),
        "error topic.insync topic risk.features",
        "error topic.insync topic risk.labels",
        "warning topic.replication topic risk.labels",
        "warning topic.min_insync topic risk.features",
    }
    assert until(cluster, lambda found: found == expected) == expected
