"""Topics on a broker against the table of topics: what is missing, what differs, and making it so."""

import re
import time
from collections.abc import Collection, Container, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewTopic,
    ResourceType,
    TopicMetadata,
)

from schemas.topics import TOPICS, TopicSpec
from stream.settings import SettingsError, variable_of

TIMEOUT_S = 15.0
_FIRST_SLICE_S, _LAST_SLICE_S = 1.0, 5.0
_STATE = re.compile(r" \(after \d+ms in state \w+(, \d+ identical error\(s\) suppressed)?\)")
_WITHOUT_IDS = frozenset(("_TIMED_OUT", "_UNSUPPORTED_FEATURE"))
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
        known = admin.topics()
        present = [spec for spec in specs if spec.name in known and known[spec.name].error is None]
        configs = _configs(admin, [spec.name for spec in present])
    except KafkaException as error:
        raise BrokerError(line_of(error, properties, admin.why())) from None
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
        raise BrokerError(line_of(error, properties, admin.why())) from None
    return mended


def _await_topics(admin: "_Asking", names: Collection[str]) -> None:
    """Wait until the broker shows what it created: its metadata lags behind its answer."""
    deadline = time.monotonic() + TIMEOUT_S
    while time.monotonic() < deadline:
        known = admin.topics()
        if all(name in known and known[name].error is None and known[name].partitions for name in names):
            return
        time.sleep(0.05)


def partition_counts(properties: dict[str, Any], names: Sequence[str]) -> dict[str, int]:
    """Return the partition count of each topic that exists. Raises BrokerError when the broker does not answer."""
    admin = _admin(properties)
    try:
        known = admin.topics()
    except KafkaException as error:
        raise BrokerError(line_of(error, properties, admin.why())) from None
    return {name: len(known[name].partitions) for name in names if name in known and known[name].error is None}


def topic_ids(properties: dict[str, Any], names: Sequence[str]) -> dict[str, str]:
    """Return the broker's id of each topic that exists. Raises BrokerError when the broker does not answer."""
    # Kept until the answers are in: they end with their client.
    admin = _admin(properties)
    found: dict[str, str] = {}
    for name, future in admin.describe_topics(TopicCollection(list(names)), request_timeout=TIMEOUT_S).items():
        try:
            found[name] = str(future.result().topic_id)
        except KafkaException as error:
            if error.args[0].name() in _WITHOUT_IDS and not admin.why():
                broker = properties.get("bootstrap.servers", "?")
                msg = (
                    f"broker {broker}: tells no topic ids; where it has none, as the embedded one, set "
                    f"kafka.fixed_topic_id ({variable_of('kafka', 'fixed_topic_id')})"
                )
                raise BrokerError(msg) from None
            if error.args[0].code() != KafkaError.UNKNOWN_TOPIC_OR_PART:
                raise BrokerError(line_of(error, properties, admin.why())) from None
    return found


class _Asking(AdminClient):
    """An admin client that can be interrupted while it waits, and knows why it could not connect."""

    def __init__(self, properties: dict[str, Any]) -> None:
        self._said: list[KafkaError] = []
        super().__init__(properties | {"error_cb": self._said.append})

    def topics(self) -> dict[str, TopicMetadata]:
        """Return all topics. Raises KafkaException when no broker answers in time, or none takes the credentials."""
        deadline = time.monotonic() + TIMEOUT_S
        # In slices: Python answers no signal in a call of the library. Growing ones, for a broker that is slow.
        slice_s = _FIRST_SLICE_S
        while True:
            try:
                return self.list_topics(timeout=max(0.1, min(slice_s, deadline - time.monotonic()))).topics
            except KafkaException:
                if time.monotonic() > deadline or self._reason("_AUTHENTICATION", "_SSL"):
                    raise
            slice_s = min(2 * slice_s, _LAST_SLICE_S)

    def why(self) -> str | None:
        """Return what the library said of its connections, the most telling kind first; None where nothing."""
        return self._reason("_AUTHENTICATION") or self._reason("_SSL") or self._reason("_RESOLVE", "_TRANSPORT")

    def _reason(self, *kinds: str) -> str | None:
        self.poll(0)
        found = [error.str() for error in self._said if error.name() in kinds]
        return _STATE.sub("", found[-1]) if found else None


def _admin(properties: dict[str, Any]) -> _Asking:
    try:
        return _Asking(properties)
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


def line_of(error: KafkaException, properties: dict[str, Any], why: str | None = None) -> str:
    """Return one line for a person: which broker, what it says, and what to look at where it can't be reached.

    `why` is what the library said of its connections: it tells more than a call that ran out of time.
    """
    detail = error.args[0]
    is_away = isinstance(detail, KafkaError) and detail.name() in _UNREACHABLE
    said = why if is_away and why else detail.str() if hasattr(detail, "str") else detail
    line = f"broker {properties.get('bootstrap.servers', '?')}: {said}"
    if is_away:
        return f"{line}; is it running and reachable from here, with this kafka.security_protocol and credentials?"
    return line
