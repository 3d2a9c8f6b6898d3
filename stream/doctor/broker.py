"""Looks at the brokers and the topics: reachable, new enough, replicated, configured as the table of topics says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from confluent_kafka import KafkaException, TopicCollection
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ConfigResource,
    ResourcePatternType,
    ResourceType,
    TopicDescription,
)

from schemas.topics import TELEMETRY_TOPIC, TOPIC, TOPICS
from stream import topics
from stream.doctor.finding import Findings, error, ok, warning

APPLY: Final = "run `tellwire topics apply`"
_WAIT_S: Final = 15.0
_GRAVE: Final = {
    "cleanup.policy": "records are removed before they are read, or kept for ever",
    "message.timestamp.type": "windows and counters go by the broker's append time, which nobody can forge",
    "max.message.bytes": "records that the contract allows are refused",
}
_NOTABLE: Final = {
    "retention.ms": "records are gone earlier or later than the table of topics promises",
    "compression.type": "the broker compresses again what producers sent, at the cost of its processor",
    "delete.retention.ms": "a reader that was away misses what was deleted",
}
WORKER_NEEDS: Final[Mapping[str, frozenset[AclOperation]]] = {
    "capture.telemetry": frozenset({AclOperation.READ, AclOperation.WRITE}),
    "capture.signals": frozenset({AclOperation.READ}),
    "models.snapshots": frozenset({AclOperation.READ}),
    "risk.events": frozenset({AclOperation.READ, AclOperation.WRITE}),
    "risk.deadletter": frozenset({AclOperation.WRITE}),
    "risk.features": frozenset({AclOperation.WRITE}),
}
LEARNER_NEEDS: Final[Mapping[str, frozenset[AclOperation]]] = {
    "risk.features": frozenset({AclOperation.READ}),
    "models.snapshots": frozenset({AclOperation.READ, AclOperation.WRITE}),
}
GATEWAY_NEEDS: Final[Mapping[str, frozenset[AclOperation]]] = {
    "capture.telemetry": frozenset({AclOperation.WRITE}),
}
NEEDS: Final = {"worker": WORKER_NEEDS, "learner": LEARNER_NEEDS, "gateway": GATEWAY_NEEDS}


class Brokers:
    """The brokers that some properties lead to. Raises BrokerError where none answers."""

    def __init__(self, properties: dict[str, Any], role: str, *, has_fixed_ids: bool) -> None:
        """`role`: whose access is looked at. `has_fixed_ids`: the settings give topics ids of their own."""
        self._where = f"broker {properties['bootstrap.servers']}"
        self._properties = properties
        self._needs = NEEDS[role]
        self._role = role
        self._has_fixed_ids = has_fixed_ids
        self.admin = AdminClient(properties)
        self.topics: dict[str, TopicDescription] = {}

    def reach(self) -> Findings:
        """Find the brokers, and what they can."""
        topics.partition_counts(self._properties, [])
        cluster = self.admin.describe_cluster(request_timeout=_WAIT_S).result()
        names = ", ".join(f"{node.id} at {node.host}:{node.port}" for node in cluster.nodes)
        yield ok("broker.reachable", self._where, f"{len(cluster.nodes)} answer: {names}")
        if len(cluster.nodes) in {1, 2} and not _is_local(self._properties["bootstrap.servers"]):
            yield warning(
                "broker.count",
                self._where,
                f"{len(cluster.nodes)} broker(s)",
                "an acknowledged record may be on one disk only",
                "run three brokers or more where events matter",
            )
        described = self.admin.describe_topics(
            TopicCollection([spec.name for spec in TOPICS]), include_authorized_operations=True, request_timeout=_WAIT_S
        )
        for name, future in described.items():
            try:
                self.topics[name] = future.result()
            except KafkaException as failed:
                code = failed.args[0].name()
                if code == "TOPIC_AUTHORIZATION_FAILED":
                    yield self._hidden(name)
                elif code != "UNKNOWN_TOPIC_OR_PART":
                    raise
        yield from self._versions()

    def _hidden(self, name: str) -> Any:
        if name in self._needs:
            return error(
                "acl.topic",
                f"topic {name}",
                "this user may not even describe it",
                f"a {self._role} can't start",
                f"grant {_names(self._needs[name])} on it",
            )
        return ok("acl.topic", f"topic {name}", f"hidden from this user; a {self._role} does not need it")

    def _versions(self) -> Findings:
        described = self.topics.get(TELEMETRY_TOPIC)
        if described is None:
            return
        topic_id = str(described.topic_id)
        has_ids = bool(topic_id.strip("A="))
        if not has_ids and not self._has_fixed_ids:
            yield error(
                "broker.version",
                self._where,
                "tells no topic ids: Kafka before 2.8, or something that only speaks its protocol",
                "a topic that is made anew would not be noticed, and its records skipped as known",
                "upgrade the brokers; only where topics are never made anew, set kafka.fixed_topic_id",
            )
        elif has_ids and self._has_fixed_ids:
            yield error(
                "broker.version",
                self._where,
                "kafka.fixed_topic_id is set, though the broker tells topic ids",
                "a topic that is made anew is not noticed, and its records are skipped as known",
                "unset it (TELLWIRE_KAFKA__FIXED_TOPIC_ID)",
            )
        else:
            yield ok("broker.version", self._where, "tells topic ids (Kafka 2.8 or newer)" if has_ids else "fixed ids")

    def table(self) -> Findings:
        """Compare the topics with the table of topics."""
        visible = [spec for spec in TOPICS if spec.name in self.topics or not self._is_hidden(spec.name)]
        different = topics.diff(self._properties, visible)
        for found in different:
            where = f"topic {found.topic}"
            what = f"{found.what} is {found.found}, wanted {found.wanted}"
            if found.what == "topic":
                why = "workers do not start without it" if found.topic != "risk.labels" else "labels have no place"
                yield error("topic.missing", where, "missing", why, APPLY)
            elif found.what == "partitions":
                why = "a risk event goes to the partition of its source: workers refuse to start"
                yield error("topic.partitions", where, what, why, "drain, then make it anew with as many partitions")
            elif found.what in _GRAVE:
                yield error(f"topic.{found.what}", where, what, _GRAVE[found.what], APPLY)
            else:
                why = _NOTABLE.get(found.what, "it is not what the table of topics says")
                yield warning(f"topic.{found.what}", where, what, why, APPLY)
        if not different:
            yield ok("topic.config", self._where, f"{len(visible)} topics are as the table says")

    def _is_hidden(self, name: str) -> bool:
        return name not in self.topics and name in self.admin.list_topics(timeout=_WAIT_S).topics

    def replicas(self) -> Findings:
        """Look at copies, those in sync, and how many must be."""
        brokers = len(self.admin.list_topics(timeout=_WAIT_S).brokers)
        configs = self._configs([*self.topics])
        for name, topic in self.topics.items():
            where = f"topic {name}"
            copies = min(len(part.replicas) for part in topic.partitions)
            needed = int(configs[name].get("min.insync.replicas", "1"))
            headless = [part.id for part in topic.partitions if not _has_leader(part)]
            behind = [part.id for part in topic.partitions if len(part.isr) < len(part.replicas)]
            below = [part.id for part in topic.partitions if len(part.isr) < needed]
            if headless or below:
                yield error(
                    "topic.insync",
                    where,
                    f"partitions {headless or below}: "
                    + ("no leader" if headless else f"fewer than {needed} replicas in sync (min.insync.replicas)"),
                    "nothing can be written there: workers wait",
                    "bring the missing brokers back",
                )
            elif behind:
                yield warning(
                    "topic.insync",
                    where,
                    f"partitions {behind}: replicas behind",
                    "one broker more away and writes stop, or copies are lost",
                    "look at the brokers that lag",
                )
            wanted = min(TOPIC[name].replicas, brokers)
            if copies < wanted:
                yield warning(
                    "topic.replication",
                    where,
                    f"{copies} cop{'y' if copies == 1 else 'ies'} of each partition, {brokers} brokers",
                    "with its broker the partition is away, and with its disk lost",
                    f"add replicas up to {wanted} (kafka-reassign-partitions.sh); new topics: --replication-factor 3",
                )
            if copies >= 3 and needed < 2:
                yield warning(
                    "topic.min_insync",
                    where,
                    "min.insync.replicas is 1",
                    "what was acknowledged may be on one broker only, and goes with it",
                    f"set min.insync.replicas=2 on {name} (kafka-configs.sh --alter)",
                )
            if copies > 1 and needed >= copies:
                yield warning(
                    "topic.min_insync",
                    where,
                    f"min.insync.replicas is {needed}, of {copies} copies",
                    "one broker away stops all writes",
                    f"set min.insync.replicas={copies - 1}",
                )
            if configs[name].get("unclean.leader.election.enable") == "true":
                yield warning(
                    "topic.unclean",
                    where,
                    "unclean.leader.election.enable is true",
                    "a replica that is behind may become leader: acknowledged records vanish",
                    "set it to false",
                )
        yield ok("topic.replicas", self._where, f"{len(self.topics)} topics on {brokers} broker(s) looked at")

    def _configs(self, names: Sequence[str]) -> dict[str, dict[str, str]]:
        found: dict[str, dict[str, str]] = {name: {} for name in names}
        asked = self.admin.describe_configs([ConfigResource(ResourceType.TOPIC, name) for name in names])
        for resource, future in asked.items():
            try:
                found[resource.name] = {key: entry.value for key, entry in future.result().items()}
            except KafkaException:
                continue  # a user without DESCRIBE_CONFIGS: what the table wants was told of already
        return found

    def access(self) -> Findings:
        """Look whether this user may do what its process does, and whether anybody may do anything."""
        for name, needed in self._needs.items():
            if name not in self.topics:
                continue
            granted = self.topics[name].authorized_operations
            missing = needed - set(granted) if granted else frozenset()
            if missing:
                yield error(
                    "acl.topic",
                    f"topic {name}",
                    f"this user lacks {_names(missing)}",
                    f"a {self._role} waits until it is granted",
                    f"grant {_names(missing)} on {name} to the {self._role}'s user",
                )
        try:
            anything = AclBindingFilter(
                ResourceType.ANY,
                None,  # type: ignore[arg-type] # any name; its own annotation forbids what its documentation asks for
                ResourcePatternType.ANY,
                None,  # type: ignore[arg-type] # any user
                None,  # type: ignore[arg-type] # any host
                AclOperation.ANY,
                AclPermissionType.ANY,
            )
            self.admin.describe_acls(anything, request_timeout=_WAIT_S).result()
        except KafkaException as failed:
            if failed.args[0].name() == "SECURITY_DISABLED" and not _is_local(self._properties["bootstrap.servers"]):
                yield warning(
                    "acl.open",
                    self._where,
                    "has no authorizer",
                    "whoever reaches it may read telemetry and dead letters, and write risk events",
                    "set authorizer.class.name and grant each process what it needs",
                )
                return
        yield ok("acl", self._where, f"access of a {self._role} looked at")


def _has_leader(partition: Any) -> bool:
    return partition.leader is not None and partition.leader.id >= 0


def _names(operations: frozenset[AclOperation]) -> str:
    return ", ".join(sorted(one.name for one in operations))


def _is_local(servers: str) -> bool:
    return all(part.strip().rpartition(":")[0] in {"127.0.0.1", "localhost", "[::1]"} for part in servers.split(","))
