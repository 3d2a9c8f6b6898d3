"""Counters of the transport, as plain numbers; exporting them is the user's matter."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from .hooks import PartitionKey


@dataclass(slots=True)
class Counters:
    """Running totals since the start; each is written by one thread only."""

    records_total: int = 0
    """Records handed to agents in chunks, repeats included."""
    chunks_total: int = 0
    chunks_done_total: int = 0
    chunks_abandoned_total: int = 0
    """Given up, dropped, raised or cancelled; read again."""
    chunks_stale_total: int = 0
    """Ended after a rewind, a revoke's deadline or a loss; moved nothing."""
    records_done_total: int = 0
    bytes_total: int = 0
    """Bytes of the values received."""
    records_received_total: int = 0
    records_stale_total: int = 0
    """Handed over before a rewind, revoke or loss and dropped after it."""
    records_unowned_total: int = 0
    """Polled for a partition that was just revoked, lost, rewound or stopped; dropped."""
    commits_total: int = 0
    commit_failures: Counter[str] = field(default_factory=Counter)
    """By librdkafka error name, such as ``UNKNOWN_MEMBER_ID``."""
    partition_errors: Counter[str] = field(default_factory=Counter)
    """Errors in place of records, by librdkafka error name."""
    client_errors: Counter[str] = field(default_factory=Counter)
    """Errors of the client as a whole (brokers down, authentication), by name."""
    gaps_total: int = 0
    gap_records_total: int = 0
    pauses_total: int = 0
    resumes_total: int = 0
    holds_total: int = 0
    assigns_total: int = 0
    revokes_total: int = 0
    losses_total: int = 0
    drain_timeouts_total: int = 0
    """Partitions revoked with a chunk still in flight."""
    rewinds_total: int = 0
    stalls_total: int = 0
    """Times the process did not poll for a session timeout."""
    start_failures_total: int = 0
    """Failed tries to find the start offsets of an assignment (``resolve_start``, topic ids, log bounds)."""
    committed_failures_total: int = 0
    """Failed tries to read the committed offsets of an assignment."""


@dataclass(frozen=True, slots=True)
class PartitionStats:
    """One owned partition."""

    topic: str
    partition: int
    epoch: int
    position: int
    """Next offset that is not finished."""
    committed: int | None
    high: int | None
    """One past the log's last offset, as last seen."""
    lag: int | None
    """``high - position``, at least 0."""
    pending_records: int
    pending_bytes: int
    is_in_flight: bool
    in_flight_age_s: float | None
    last_progress_age_s: float | None
    """Seconds since a chunk was last done; None before the first."""
    is_paused: bool
    """The marks of waiting records hold it back."""
    is_held: bool = False
    """``pause_partition`` holds it back."""
    is_out_of_reach: bool = False
    """It has no leader, its leader does not answer, or reading it is not permitted."""


@dataclass(frozen=True, slots=True)
class TransportStats:
    """A snapshot, made on demand."""

    counters: Counters
    """Running totals (a copy)."""
    partitions: Mapping[PartitionKey, PartitionStats]
    last_poll_age_s: float | None
    """Seconds since the poll thread last polled; None before the first poll."""
    is_trusted: bool
    """False while membership in the group is in doubt."""
    pending_records: int
    pending_bytes: int
    producer: ProducerCounters
    """A copy."""
    producer_in_flight_records: int
    producer_in_flight_bytes: int
    starting_partitions: int = 0
    """Assigned, and their start offsets are not known yet."""
    brokers_away_s: float = 0.0
    """How long no broker has answered, or the group could not be joined; 0 while all is well."""

    @property
    def lag(self) -> int:
        """Sum over the partitions whose lag is known."""
        return sum(p.lag for p in self.partitions.values() if p.lag is not None)


@dataclass(slots=True)
class ProducerCounters:
    """Running totals of the producer."""

    batches_total: int = 0
    records_total: int = 0
    """Delivered."""
    clients_replaced_total: int = 0
    """Times a client was purged, with all that it had not yet delivered, and a fresh one made."""
    failures: Counter[str] = field(default_factory=Counter)
    """Records not delivered, by librdkafka error name."""
    client_errors: Counter[str] = field(default_factory=Counter)
    buffer_waits_total: int = 0
    """Waits for room in librdkafka's queue."""
    room_waits_total: int = 0
    """Waits because of ``max_in_flight_bytes``."""
