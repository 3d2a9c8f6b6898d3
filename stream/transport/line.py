"""One assignment of one partition: its waiting records, its chunk in flight, its commit state.

Two threads look at a line. The poll thread sets ``gone``; everything else belongs to the event loop.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from .limiter import ChunkLimiter
from .pending import Pending
from .tracker import CommitTracker
from .weight import weights

if TYPE_CHECKING:
    from confluent_kafka import Message


class LineOwner(Protocol):
    """What a line needs of the consumer that owns it."""

    def is_trusted(self) -> bool:
        """Whether this process can be sure that it is still a member of the group."""

    def chunk_ended(self, line: Line, flight: InFlight, outcome: str) -> None:
        """A chunk ended: ``done``, ``stale``, or why it was abandoned."""

    def call_soon(self, callback: Callable[..., object], *args: object) -> bool:
        """Run on the event loop; from any thread, never raising."""


class Line:
    """State of a partition from its assignment to its loss."""

    __slots__ = (
        "_owner",
        "attempts",
        "committed_at_start",
        "drained",
        "epoch",
        "gone",
        "high",
        "in_flight",
        "is_draining",
        "is_held",
        "is_ready",
        "key",
        "last_progress",
        "limiter",
        "not_before",
        "partition",
        "pending",
        "serial",
        "taken_bytes",
        "taken_records",
        "topic",
        "topic_id",
        "tracker",
    )

    def __init__(self, owner: LineOwner, topic: str, partition: int, epoch: int) -> None:
        self._owner = owner
        self.topic = topic
        self.partition = partition
        self.key = (topic, partition)
        self.topic_id = ""
        self.epoch = epoch
        self.gone = False
        """Revoked or lost: nothing of this line counts any more. Set by the poll thread, never unset."""
        self.is_ready = False
        """The start offset is set and Faust knows of the partition."""
        self.is_draining = False
        """Being revoked: no more chunks."""
        self.is_held = False
        """The user wants no chunks of it now; ends with the assignment."""
        self.drained: list[Callable[[], object]] = []
        """To be called when no chunk is in flight any more."""
        self.committed_at_start: int | None = None
        self.high: int | None = None
        self.last_progress: float | None = None
        self.pending: Pending[Message] = Pending(weights)
        self.tracker = CommitTracker(0, None)
        self.limiter: ChunkLimiter | None = None
        self.serial = 0
        """Number of the last chunk made."""
        self.in_flight: InFlight | None = None
        self.attempts = 0
        """How often the next chunk was abandoned before."""
        self.not_before = 0.0
        """Loop time before which no chunk is handed over."""
        self.taken_records = 0
        """Records that left the waiting line in whatever way; the poll thread compares with what it gave."""
        self.taken_bytes = 0

    def __repr__(self) -> str:
        return f"<Line {self.topic}[{self.partition}] epoch {self.epoch}>"

    @property
    def finished(self) -> int | None:
        """Everything below was done in this assignment or committed before it."""
        return self.tracker.committable

    # --- what a chunk asks and tells ---------------------------------------------------------------

    def is_open(self, serial: int) -> bool:
        """Whether this chunk is the one in flight and has not ended."""
        flight = self.in_flight
        return flight is not None and flight.serial == serial

    def is_current(self, serial: int) -> bool:
        """See :meth:`Chunk.is_current`."""
        flight = self.in_flight
        return (
            not self.gone
            and flight is not None
            and flight.serial == serial
            and flight.epoch == self.epoch
            and self._owner.is_trusted()
        )

    def done(self, serial: int, loop_s: float | None) -> bool:
        """See :meth:`Chunk.done`."""
        flight = self.in_flight
        if flight is None or flight.serial != serial:
            return False
        self.in_flight = None
        counts = not self.gone and flight.epoch == self.epoch
        if counts:
            counts = self.tracker.done(flight.first_offset, flight.next_offset)
        if counts:
            self.attempts = 0
            if loop_s is not None and self.limiter is not None:
                self.limiter.measured(len(flight.records), loop_s)
        self._owner.chunk_ended(self, flight, "done" if counts else "stale")
        return counts

    def abandon(self, serial: int, reason: str) -> None:
        """See :meth:`Chunk.abandon`."""
        flight = self.in_flight
        if flight is None or flight.serial != serial:
            return
        self.in_flight = None
        if self.gone or flight.epoch != self.epoch:
            self._owner.chunk_ended(self, flight, "stale")
            return
        self.attempts += 1
        self.give_back(flight.records)
        self._owner.chunk_ended(self, flight, f"abandoned: {reason}")

    def dropped(self, serial: int) -> None:
        """The chunk object is no more (any thread); a no-op where it had ended."""
        if self.is_open(serial):
            self._owner.call_soon(self.abandon, serial, "dropped without done()")

    # --- records -----------------------------------------------------------------------------------

    def take(self, max_records: int, max_bytes: int) -> list[Message]:
        """Take the records of the next chunk: at most so many, and so many bytes, as its limiter allows."""
        limit = min(max_records, self.limiter.limit) if self.limiter is not None else 1
        before = self.pending.byte_count
        records = self.pending.take(limit, max_bytes)
        self.taken_records += len(records)
        self.taken_bytes += before - self.pending.byte_count
        return records

    def give_back(self, records: list[Message]) -> None:
        """Put the records of an abandoned chunk back to the front."""
        before = self.pending.byte_count
        self.pending.push_front(records)
        self.taken_records -= len(records)
        self.taken_bytes -= self.pending.byte_count - before

    def drop_pending(self) -> int:
        """Forget all waiting records; returns how many."""
        self.taken_bytes += self.pending.byte_count
        dropped = self.pending.clear()
        self.taken_records += dropped
        return dropped


class InFlight:
    """The chunk in flight, without a reference to the chunk itself: its loss must be noticed."""

    __slots__ = ("epoch", "first_offset", "next_offset", "note", "records", "serial", "since", "warned_at")

    def __init__(
        self,
        serial: int,
        epoch: int,
        records: list[Message],
        first_offset: int,
        next_offset: int,
        since: float,
    ) -> None:
        self.serial = serial
        self.epoch = epoch
        self.records = records
        self.first_offset = first_offset
        self.next_offset = next_offset
        self.since = since
        self.warned_at = since
        self.note: object = None
        """What the receiver returned for it."""
