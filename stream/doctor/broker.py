"""Looks at the brokers and the topics: reachable, new enough, replicated, configured as the table of topics says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

from confluent_kafka import KafkaException, TopicCollection
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AclOperation,
    AdminClient,
    ConfigResource,
    ResourceType,
    TopicDescription,
)

from schemas.topics import TELEMETRY_TOPIC, TOPIC, TOPICS
from stream import topics
from stream.doctor.finding import Finding, Findings, error, ok, warning

APPLY: Final = "run `tellwire topics apply`"
_WAIT_S: Final = 15.0
GRAVE: Final = {  # with NOTABLE all that the table of topics configures
    "cleanup.policy": "records are removed before they are read, or kept for ever",
    "message.timestamp.type": "windows and counters go by the broker's append time, which nobody can forge",
    "max.message.bytes": "records that the contract allows are refused",
}
NOTABLE: Final = {
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
        self._unseen: set[str] = set()

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
                if code == "TOPIC_AUTHORIZATION_FAILED":  # also of one that is not there: nobody is told which
                    self._unseen.add(name)
                    yield self._hidden(name)
                elif code != "UNKNOWN_TOPIC_OR_PART":
                    raise
        yield from self._versions()

    def _hidden(self, name: str) -> Finding:
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
        counts = {name: len(topic.partitions) for name, topic in self.topics.items()}
        for spec in TOPICS:
            found, wanted = counts.get(spec.name), counts.get(spec.co_partitioned_with or "")
            if found is not None and wanted is not None and found != wanted:
                what = f"partitions is {found}, wanted {wanted} as {spec.co_partitioned_with}"
                why = "a risk event goes to the partition of its source: workers refuse to start"
                do = "drain, then make it anew with as many partitions"
                yield error("topic.partitions", f"topic {spec.name}", what, why, do)
        secret = [name for name, config in self._configs([*self.topics]).items() if config is None]
        if secret:
            yield warning(
                "topic.config",
                self._where,
                f"this user may not see the configuration of {', '.join(secret)}",
                "what differs there from the table of topics, such as their retention, is not told",
                "grant DESCRIBE_CONFIGS on them, or look as a user who has it",
            )
        visible = [spec for spec in TOPICS if spec.name not in {*secret, *self._unseen}]
        different = [one for one in topics.diff(self._properties, visible) if one.what != "partitions"]
        for one in different:
            where, what = f"topic {one.topic}", f"{one.what} is {one.found}, wanted {one.wanted}"
            if one.what == "topic":
                why = "workers do not start without it" if one.topic != "risk.labels" else "labels have no place"
                yield error("topic.missing", where, "missing", why, APPLY)
            elif one.what in GRAVE:
                yield error(f"topic.{one.what}", where, what, GRAVE[one.what], APPLY)
            else:
                yield warning(f"topic.{one.what}", where, what, NOTABLE[one.what], APPLY)
        if not different:
            yield ok("topic.config", self._where, f"{len(visible)} topics are as the table says")

    def replicas(self) -> Findings:
        """Look at copies, those in sync, and how many must be."""
        brokers = len(self.admin.list_topics(timeout=_WAIT_S).brokers)
        configs: dict[str, dict[str, str] | None] = dict.fromkeys(self.topics)
        with suppress(KafkaException):  # while brokers go, it may not be told; `table` says so
            configs = self._configs([*self.topics])
        for name, topic in self.topics.items():
            where = f"topic {name}"
            copies = min(len(part.replicas) for part in topic.partitions)
            config = configs[name]
            # Where it may not be seen, it is taken for what is no reason to complain.
            needed = min(2, copies) if config is None else int(config.get("min.insync.replicas", "1"))
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
            if config is not None and copies > 1 and needed >= copies:
                yield warning(
                    "topic.min_insync",
                    where,
                    f"min.insync.replicas is {needed}, of {copies} copies",
                    "one broker away stops all writes",
                    f"set min.insync.replicas={copies - 1}",
                )
            if config is not None and config.get("unclean.leader.election.enable") == "true":
                yield warning(
                    "topic.unclean",
                    where,
                    "unclean.leader.election.enable is true",
                    "a replica that is behind may become leader: acknowledged records vanish",
                    "set it to false",
                )
        yield ok("topic.replicas", self._where, f"{len(self.topics)} topics on {brokers} broker(s) looked at")

    def _configs(self, names: Sequence[str]) -> dict[str, dict[str, str] | None]:
        """Return the configuration of topics; None where this user may not see it."""
        found: dict[str, dict[str, str] | None] = dict.fromkeys(names)
        asked = self.admin.describe_configs(
            [ConfigResource(ResourceType.TOPIC, name) for name in names], request_timeout=_WAIT_S
        )
        for resource, future in asked.items():
            try:
                found[resource.name] = {key: entry.value for key, entry in future.result().items()}
            except KafkaException as failed:
                if failed.args[0].name() != "TOPIC_AUTHORIZATION_FAILED":
                    raise
        return found

    def may_read(self, name: str) -> bool:
        """Whether to read a topic: not where this user may not and need not. `access` tells of who needs to."""
        granted = self.topics[name].authorized_operations
        return not granted or AclOperation.READ in granted or AclOperation.READ in self._needs.get(name, ())

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
        if self._is_open() and not _is_local(self._properties["bootstrap.servers"]):
            yield warning(
                "acl.open",
                self._where,
                "has no authorizer",
                "whoever reaches it may read telemetry and dead letters, and write risk events",
                "set authorizer.class.name and grant each process what it needs",
            )
            return
        yield ok("acl", self._where, f"access of a {self._role} looked at")

    def _is_open(self) -> bool:
        """Whether a broker says that it asks nobody for rights; who may not see its configuration was asked."""
        broker = min(self.admin.list_topics(timeout=_WAIT_S).brokers)
        asked = self.admin.describe_configs([ConfigResource(ResourceType.BROKER, str(broker))], request_timeout=_WAIT_S)
        try:
            (found,) = [future.result() for future in asked.values()]
        except KafkaException:
            return False
        told = found.get("authorizer.class.name")
        return told is not None and not told.value


def _has_leader(partition: Any) -> bool:
    return partition.leader is not None and partition.leader.id >= 0


def _names(operations: frozenset[AclOperation]) -> str:
    return ", ".join(sorted(one.name for one in operations))


def _is_local(servers: str) -> bool:
    return all(part.strip().rpartition(":")[0] in {"127.0.0.1", "localhost", "[::1]"} for part in servers.split(","))
