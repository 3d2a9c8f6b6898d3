"""Everything that can be set on the transport, and the librdkafka properties made from it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from .conductor import NoTables
from .errors import TransportConfigurationError

Property = str | int | float | bool | Callable[..., Any]
"""Value of one librdkafka property (a callable for those that are callbacks, such as ``oauth_cb``)."""

GroupProtocol = Literal["classic", "cooperative", "consumer"]
"""``classic``: eager, ``range``; ``cooperative``: ``cooperative-sticky``; ``consumer``: KIP-848."""

_RESERVED = frozenset(
    {
        "auto.offset.reset",
        "bootstrap.servers",
        "enable.auto.commit",
        "enable.auto.offset.store",
        "enable.partition.eof",
        "error_cb",
        "group.id",
        "group.instance.id",
        "group.protocol",
        "on_commit",
    }
)


_AFTER_DEADLINE_S = 5.0
_SESSION_S = 6.0
ANSWER_MS = 10_000
"""A connection on which a request is not answered for so long is given up and made anew, ms.

librdkafka's default is a minute: for so long a connection whose other end has gone without a word holds up a group.
"""
JOIN_MS = 20_000
"""A request to join the group is given up when it is not answered for so long, and 3 s, ms."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TransportOptions:
    """Settings of one transport; immutable, checked when made.

    Times are in seconds, sizes in bytes. Raises :class:`TransportConfigurationError` where a value
    is out of its range or two values contradict each other.
    """

    common_properties: Mapping[str, Property] = field(default_factory=dict)
    """librdkafka properties for consumer, producer and admin client: TLS, SASL, client id, ..."""
    consumer_properties: Mapping[str, Property] = field(default_factory=dict)
    """librdkafka properties of the consumer; they win over every default of this class."""
    producer_properties: Mapping[str, Property] = field(default_factory=dict)
    """librdkafka properties of the producer; they win over every default of this class."""

    group_id: str | None = None
    """Consumer group; None: the id of the Faust app."""
    group_protocol: GroupProtocol = "classic"
    group_instance_id: str | None = None
    """Set: static membership. Such a member keeps its partitions for a session timeout after it stopped."""
    session_timeout_s: float | None = None
    """None: 6 s. After so long without a poll membership is in doubt, and nothing is published until it is proved.

    The broker is told it, but with ``consumer``, where it has its own (``group.consumer.session.timeout.ms``): give
    that or less. A doubt costs one commit; a value above the broker's would let a frozen process publish once it wakes.
    """
    heartbeat_interval_s: float = 0.5
    """Not used with ``consumer``: the broker decides there."""
    start_at: Literal["earliest", "latest", "error"] = "earliest"
    """Where the default start hook begins a partition that has no committed offset."""

    poll_wait_s: float = 0.05
    """Longest block in one ``poll()``, so the longest that a command (rewind, commit) waits when idle."""
    poll_batch_records: int = 1000
    """Most records taken from librdkafka at once."""
    max_chunk_records: int = 4096
    max_chunk_bytes: int = 4 * 1024 * 1024
    """Bound of the bytes in a chunk: values, keys, headers; a single record may be bigger and is then alone."""
    max_in_flight_records: int = 8192
    """Records in chunks over all owned partitions: each may have its equal share, and `initial_chunk_records` anyhow.

    Each record in a chunk takes some 10 kB of memory until the chunk is done.
    """
    initial_chunk_records: int = 64
    """Most records in a chunk until the first cost was measured."""
    target_loop_s: float = 0.005
    """Event-loop time that one chunk should use."""

    pause_high_records: int = 10_000
    """A partition with this many records waiting is paused ..."""
    pause_low_records: int = 5_000
    """... until it has this many again."""
    pause_high_bytes: int = 16 * 1024 * 1024
    pause_low_bytes: int = 8 * 1024 * 1024
    hold_records: int = 20_000
    """With this many waiting over all partitions, records stay in librdkafka's (bounded) queue.

    Pausing throws prefetched records away; holding keeps them. Polling goes on, slowly.
    """

    commit_interval_s: float = 1.0
    drain_deadline_s: float = 4.0
    """How long a revoke waits for chunks in flight; must be less than the session timeout."""
    stop_deadline_s: float = 20.0
    """How long a stop waits for chunks in flight, before it gives them up; about two seconds to leave come on top."""
    retry_min_s: float = 0.05
    """Wait before the second repeat of an abandoned chunk (the first is at once), doubled each time ..."""
    retry_max_s: float = 5.0
    """... up to this."""
    committed_timeout_s: float = 4.0
    """Longest block while the committed offsets of an assignment are read."""
    admin_timeout_s: float = 10.0

    topic_ids: Mapping[str, str] = field(default_factory=dict)
    """Fixed topic ids by topic name, for brokers that have none (before 2.8, librdkafka's mock)."""

    linger_ms: float = 0.0
    """Producer: how long a batch waits for company; 0 sends at once."""
    max_in_flight_bytes: int = 32 * 1024 * 1024
    """Producer: more than this and ``produce_batch`` waits before it goes on."""
    produce_deadline_s: float = 60.0
    """Producer: how long a batch may take, librdkafka's own tries included; then nothing more of it is sent."""

    def __post_init__(self) -> None:
        problems = [f"{name} must be > 0" for name in _POSITIVE if not getattr(self, name) > 0]
        if self.linger_ms < 0:
            problems.append("linger_ms must be >= 0")
        if self.group_protocol not in ("classic", "cooperative", "consumer"):
            problems.append(f"group_protocol {self.group_protocol!r} is not known")
        if self.pause_low_records >= self.pause_high_records:
            problems.append("pause_low_records must be below pause_high_records")
        if self.pause_low_bytes >= self.pause_high_bytes:
            problems.append("pause_low_bytes must be below pause_high_bytes")
        if self.drain_deadline_s >= self.session_s:
            problems.append("drain_deadline_s must be below the session timeout")
        if self.retry_min_s > self.retry_max_s:
            problems.append("retry_min_s must not be above retry_max_s")
        for name in ("common_properties", "consumer_properties", "producer_properties"):
            taken = sorted(_RESERVED & set(getattr(self, name)))
            if taken:
                problems.append(f"{name} may not set {', '.join(taken)}")
        if problems:
            raise TransportConfigurationError("; ".join(problems))

    @property
    def session_s(self) -> float:
        """Session timeout in force, in seconds."""
        return _SESSION_S if self.session_timeout_s is None else self.session_timeout_s

    @property
    def is_incremental(self) -> bool:
        """Whether rebalances hand over differences (True) or whole assignments (False)."""
        strategy = str(self.consumer_properties.get("partition.assignment.strategy", ""))
        return self.group_protocol != "classic" or strategy.startswith("cooperative")

    @property
    def isolation_level(self) -> str:
        """``read_committed`` or ``read_uncommitted``."""
        merged = {**self.common_properties, **self.consumer_properties}
        return str(merged.get("isolation.level", "read_committed"))

    def consumer_config(self, bootstrap: str, group_id: str) -> dict[str, Any]:
        """Librdkafka configuration of the consumer (without callbacks)."""
        config: dict[str, Any] = {
            "bootstrap.servers": bootstrap,
            # A waiting fetch blocks seek, resume and new partitions of the same broker: keep it short.
            "fetch.wait.max.ms": 100,
            "fetch.min.bytes": 1,
            # The default, one second, stalls a partition whenever the prefetch queue was full.
            "fetch.queue.backoff.ms": 5,
            "queued.max.messages.kbytes": 16 * 1024,
            # That bound counts values only: records with large headers are bounded by their number.
            "queued.min.messages": 2_000,
            "reconnect.backoff.ms": 50,
            "reconnect.backoff.max.ms": 2000,
            "socket.timeout.ms": ANSWER_MS,
            "check.crcs": True,
            # librdkafka waits that long, and 3 s more, for the answer to a request to join, also on a connection that
            # is half open: with its default of five minutes a worker would stand still behind a healed network. Polls
            # are never further apart than a chunk's hand-over.
            "max.poll.interval.ms": max(JOIN_MS, int(self.session_s * 1000)),
        }
        if self.group_protocol == "consumer":
            config["group.protocol"] = "consumer"
            # Puts partition n of every topic on the same member, as `range` does.
            config["group.remote.assignor"] = "range"
        else:
            config["session.timeout.ms"] = int(self.session_s * 1000)
            config["heartbeat.interval.ms"] = int(self.heartbeat_interval_s * 1000)
            config["partition.assignment.strategy"] = (
                "cooperative-sticky" if self.group_protocol == "cooperative" else "range"
            )
        config.update(self.common_properties)
        config.update(self.consumer_properties)
        if self.group_instance_id is not None:
            config["group.instance.id"] = self.group_instance_id
        config.update(
            {
                "group.id": self.group_id or group_id,
                "enable.auto.commit": False,
                "enable.auto.offset.store": False,
                "auto.offset.reset": "error",
            }
        )
        return config

    def producer_config(self, bootstrap: str) -> dict[str, Any]:
        """Librdkafka configuration of the producer (without callbacks)."""
        config: dict[str, Any] = {
            "bootstrap.servers": bootstrap,
            "enable.idempotence": True,
            "acks": "all",
            # librdkafka's own default places most keys elsewhere than the Java client does.
            "partitioner": "murmur2_random",
            "linger.ms": self.linger_ms,
            # The deadline is kept by purging the client, which cuts all its partitions at one point. A message's
            # own timeout comes a little later, for what is no batch: one by one, it could let a later one through.
            "message.timeout.ms": int((self.produce_deadline_s + _AFTER_DEADLINE_S) * 1000),
            "queue.buffering.max.messages": 1_000_000,
            "socket.timeout.ms": ANSWER_MS,
            # The broker gives up waiting for its replicas, and says so, before we give up waiting for the broker.
            "request.timeout.ms": ANSWER_MS - 2_000,
            "reconnect.backoff.ms": 50,
            "reconnect.backoff.max.ms": 2000,
            **self.common_properties,
            **self.producer_properties,
        }
        if str(config["enable.idempotence"]).lower() == "true":
            # Where a broker refuses a record, those behind it must not follow.
            config.setdefault("enable.gapless.guarantee", True)
        return config

    def admin_config(self, bootstrap: str) -> dict[str, Any]:
        """Librdkafka configuration of the admin client."""
        # Its log would go to standard error; what it asks for fails with an exception anyway.
        return {"bootstrap.servers": bootstrap, "log_level": 0, **self.common_properties}


_POSITIVE = (
    "admin_timeout_s",
    "commit_interval_s",
    "committed_timeout_s",
    "drain_deadline_s",
    "heartbeat_interval_s",
    "hold_records",
    "initial_chunk_records",
    "max_chunk_bytes",
    "max_chunk_records",
    "max_in_flight_records",
    "max_in_flight_bytes",
    "pause_high_bytes",
    "pause_high_records",
    "pause_low_bytes",
    "pause_low_records",
    "poll_batch_records",
    "poll_wait_s",
    "produce_deadline_s",
    "retry_max_s",
    "retry_min_s",
    "session_s",
    "stop_deadline_s",
    "target_loop_s",
)


def faust_settings() -> dict[str, Any]:
    """Settings that a ``faust.App`` on this transport needs, to be passed as keyword arguments.

    They switch off what would open connections of Faust's own Kafka client or an open web port:
    the leader topic, topic creation, and the web server (start the worker with ``--without-web``
    as well; Faust ignores ``web_enabled=False`` there). And a second that Faust sleeps at each start for its tables.
    """
    return {
        "TableManager": NoTables,
        "topic_disable_leader": True,
        "topic_allow_declare": False,
        "reply_create_topic": False,
        "web_enabled": False,
        "stream_wait_empty": True,
        "processing_guarantee": "at_least_once",
        "stream_recovery_delay": 0.0,
    }
