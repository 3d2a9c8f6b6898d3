"""The poll thread's half of group membership: gaining, draining, losing and committing partitions.

From where each is fetched is fetching.py.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import count
from typing import TYPE_CHECKING

from confluent_kafka import KafkaException, TopicPartition

from .errors import TransportFatalError
from .fetching import Fetching
from .line import Line, LineOwner
from .options import TransportOptions
from .part import LoopSide, Part, clock

if TYPE_CHECKING:
    from confluent_kafka import Consumer, KafkaError

    from .hooks import PartitionKey
    from .stats import Counters

log = logging.getLogger(__name__)

_NOTHING_AFTER_S = 2.0
_LAST_COMMIT_TRIES = 4
_LAST_COMMIT_PAUSE_S = 0.1
_TRANSIENT = frozenset(
    {
        "_TIMED_OUT",
        "_TRANSPORT",
        "_WAIT_COORD",
        "COORDINATOR_LOAD_IN_PROGRESS",
        "COORDINATOR_NOT_AVAILABLE",
        "NOT_COORDINATOR",
        "REQUEST_TIMED_OUT",
        "STALE_MEMBER_EPOCH",
    }
)

Tell = Callable[..., bool]
"""Runs a callback on the event loop; False where there is no loop any more."""


class Ownership:
    """Owned partitions and their commits. Every method runs on the poll thread."""

    def __init__(
        self,
        consumer: Consumer,
        options: TransportOptions,
        loop_side: LoopSide,
        owner: LineOwner,
        tell: Tell,
        counters: Counters,
    ) -> None:
        self._consumer = consumer
        self._options = options
        self._loop_side = loop_side
        self._owner = owner
        self._tell = tell
        self._counters = counters
        self._epochs = count(1)
        self.lines: dict[PartitionKey, Line] = {}
        """Everything owned, fetched or not."""
        self.fetching = Fetching(consumer, options, self.lines)
        self.parts = self.fetching.parts
        """What is being fetched."""
        self._to_announce: list[Line] = []
        self._announce_after = 0.0
        self._nothing_after: float | None = None
        self.last_poll: float | None = None
        self.is_suspect = False
        """Membership is in doubt: this thread did not poll for a session timeout."""
        self._probe_after = 0.0
        self.is_any_refused = False
        """Reading some partition may be refused: where none is, not all are looked at between two polls."""
        self.is_in_hand = False
        """The poll thread holds records that it has not handed over: the client's position is ahead of what was."""

    @property
    def is_settling(self) -> bool:
        """Whether some owned partitions are not fetched yet."""
        return len(self.lines) > len(self.parts)

    def next_epoch(self) -> int:
        """A number higher than every epoch before (any thread)."""
        return next(self._epochs)

    # --- callbacks of librdkafka; nothing may raise out of them ------------------------------------

    def on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        """Partitions were gained. They are fetched only from :meth:`Fetching.start` on."""
        try:
            # Said explicitly, since the client would otherwise fetch them from where it likes.
            if self._options.is_incremental:
                consumer.incremental_assign([])
            else:
                consumer.assign([])
            lines = []
            for tp in partitions:
                line = Line(self._owner, tp.topic, tp.partition, self.next_epoch())
                self.lines[line.key] = line
                lines.append(line)
            self._to_announce.extend(lines)
            self._announce_after = 0.0
            self._counters.assigns_total += len(lines)
            if self.lines:
                self._nothing_after = None
        except Exception as exc:  # noqa: BLE001 - nothing may raise into librdkafka
            self._fail("assign", exc)

    def on_revoke(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        """Wait for chunks in flight, with a deadline; commit; give the partitions up."""
        try:
            self.polled()
            lines = self._leave(partitions, drain=True)
            self._counters.revokes_total += len(lines)
            self._unassign(consumer, lines)
            if lines:
                self._tell(self._loop_side.revoked, lines)
            self.polled()
        except Exception as exc:  # noqa: BLE001 - nothing may raise into librdkafka
            self._fail("revoke", exc)

    def on_lost(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        """The partitions already belong to somebody else: wait for nothing, commit nothing."""
        try:
            lines = self._leave(partitions, drain=False)
            self._counters.losses_total += len(lines)
            self._unassign(consumer, lines)
            if lines:
                self._tell(self._loop_side.lost, lines)
            self.is_suspect = False
            self.polled()
        except Exception as exc:  # noqa: BLE001 - nothing may raise into librdkafka
            self._fail("loss", exc)

    def on_commit(self, error: KafkaError | None, partitions: list[TopicPartition]) -> None:
        """An asynchronous commit came back."""
        try:
            self._take_commit_result(error, partitions)
        except Exception as exc:  # noqa: BLE001 - nothing may raise into librdkafka
            self._fail("commit", exc)

    def _fail(self, what: str, exc: Exception) -> None:
        error = TransportFatalError(f"{what} failed: {exc!r}")
        error.__cause__ = exc
        self._tell(self._loop_side.fatal, error)

    # --- gaining -----------------------------------------------------------------------------------

    def subscribed(self) -> None:
        """The group is being joined. If nothing is gained soon, the event loop is told that.

        With more members than partitions some gain nothing, and not every protocol calls back then; but the
        process waits for word before it calls itself started.
        """
        if not self.lines:
            self._nothing_after = clock() + _NOTHING_AFTER_S

    def announce(self) -> None:
        """Read the committed offsets of what was gained and tell the event loop."""
        if self._nothing_after is not None and clock() > self._nothing_after:
            self._nothing_after = None
            self._tell(self._loop_side.assigned, [], {})
        if not self._to_announce or clock() < self._announce_after:
            return
        lines = [line for line in self._to_announce if not line.gone]
        if not lines:
            self._to_announce.clear()
            return
        try:
            found = self._consumer.committed(
                [TopicPartition(*line.key) for line in lines],
                timeout=self._options.committed_timeout_s,
            )
        except KafkaException as exc:
            self._announce_later(exc.args[0])
            return
        failed = [tp.error for tp in found if tp.error is not None]
        if failed:
            self._announce_later(failed[0])
            return
        self._to_announce.clear()
        committed = {(tp.topic, tp.partition): tp.offset for tp in found if tp.offset >= 0}
        self._tell(self._loop_side.assigned, lines, committed)

    def _announce_later(self, error: KafkaError) -> None:
        self._counters.committed_failures_total += 1
        self._announce_after = clock() + 0.2
        log.warning("reading the committed offsets failed, trying again: %s", error)

    # --- leaving -----------------------------------------------------------------------------------

    def _leave(self, partitions: Sequence[TopicPartition], *, drain: bool) -> list[Line]:
        keys = [(tp.topic, tp.partition) for tp in partitions]
        lines = [self.lines[key] for key in keys if key in self.lines]
        if drain and lines:
            self._drain(lines)
        # From here on nothing that a chunk of these lines says counts; so what is committed now is
        # what the next owner goes by.
        for line in lines:
            line.gone = True
        if drain:
            self.commit_now(lines)
        for line in lines:
            self.lines.pop(line.key, None)
        return lines

    def _unassign(self, consumer: Consumer, lines: Sequence[Line]) -> None:
        fetched = [line.key for line in lines if self.parts.pop(line.key, None) is not None]
        if self._options.is_incremental:
            consumer.incremental_unassign([TopicPartition(*key) for key in fetched])
        else:
            consumer.unassign()

    def _drain(self, lines: Sequence[Line]) -> None:
        drained = threading.Event()
        if not self._tell(self._loop_side.begin_drain, lines, drained.set):
            return
        if not drained.wait(self._options.drain_deadline_s):
            late = [line for line in lines if line.in_flight is not None]
            self._counters.drain_timeouts_total += len(late)
            log.warning("revoked with a chunk still in flight, to be read again: %s", late)

    # --- commits -----------------------------------------------------------------------------------

    def commit_soon(self, idle: Mapping[PartitionKey, tuple[Line, int, int]]) -> None:
        """Commit, without waiting, what is finished.

        ``idle``: lines with nothing waiting and nothing in flight, with epoch and position. Where the
        consumer is further, it passed offsets without records (markers, aborted transactions); the
        event loop is told, and the next commit has them.
        """
        for key, (line, epoch, position) in idle.items():
            part = self.parts.get(key)
            if part is not None and part.line is line and part.epoch == epoch:
                end = self._empty_end(part, position)
                if end is not None:
                    self._tell(self._loop_side.moved, line, epoch, end)
        offsets = self._offsets(self.lines.values())
        if offsets:
            self._commit(offsets, asynchronous=True)

    def commit_now(self, lines: Sequence[Line]) -> None:
        """Commit what is finished on lines that are gone, and wait for it."""
        for line in lines:
            part = self.parts.get(line.key)
            if part is not None and line.in_flight is None:
                end = self._empty_end(part, line.tracker.position)
                if end is not None:
                    line.tracker.skip_to(end)  # gone, so the event loop leaves the tracker alone
        offsets = self._offsets(lines)
        for _ in range(_LAST_COMMIT_TRIES):
            if not offsets or self._commit(offsets, asynchronous=False):
                return
            time.sleep(_LAST_COMMIT_PAUSE_S)  # there is no later commit that could make up for this one

    def _empty_end(self, part: Part, position: int) -> int | None:
        """How far the consumer is beyond ``position``, if all it handed over is below that.

        None where that can't be said: with records in hand (a revoke can be served inside ``consume()``), and after
        a batch that could not be read, the client's position is beyond records that nobody has seen.
        """
        if self.is_in_hand or part.is_stopped or part.hole is not None or part.next_offset != position:
            return None
        (found,) = self._consumer.position([TopicPartition(*part.line.key)])
        if found.offset <= position:
            return None
        part.next_offset = found.offset
        return found.offset

    def _offsets(self, lines: Iterable[Line]) -> list[TopicPartition]:
        offsets = []
        for line in lines:
            offset = line.tracker.to_commit()
            if offset is not None and line.key in self.parts:
                offsets.append(TopicPartition(*line.key, offset))
        return offsets

    def _commit(self, offsets: list[TopicPartition], *, asynchronous: bool) -> bool:
        """Return False where another try may help."""
        try:
            if asynchronous:
                self._consumer.commit(offsets=offsets, asynchronous=True)
                return True
            stored = self._consumer.commit(offsets=offsets, asynchronous=False)
        except KafkaException as exc:
            failed = self._take_commit_result(exc.args[0], offsets)
        else:
            failed = self._take_commit_result(None, stored or [])
        return not failed & _TRANSIENT

    def _take_commit_result(self, error: KafkaError | None, partitions: Sequence[TopicPartition]) -> set[str]:
        failed = {tp.error.name() for tp in partitions if tp.error is not None}
        if error is not None:
            failed.add(error.name())
        for name in failed:
            self._counters.commit_failures[name] += 1
        if failed:
            log.warning("commit failed: %s", ", ".join(sorted(failed)))
            return failed
        self._counters.commits_total += 1
        # The coordinator took it from this member in this generation: the membership is alive.
        self.is_suspect = False
        for tp in partitions:
            part = self.parts.get((tp.topic, tp.partition))
            if part is not None:
                part.is_refused = False
        self._tell(self._loop_side.confirmed, {(tp.topic, tp.partition): tp.offset for tp in partitions})
        return failed

    # --- doubt -------------------------------------------------------------------------------------

    def polled(self) -> None:
        """This thread has just polled. After too long a silence, membership is in doubt."""
        now = clock()
        last = self.last_poll
        if last is not None and now - last > self._options.session_s and self.lines:
            self.is_suspect = True  # before last_poll: the event loop must not see a gap of trust
            self._probe_after = 0.0
            self._counters.stalls_total += 1
            log.warning("did not poll for %.1f s, so membership is in doubt", now - last)
        self.last_poll = now

    def probe(self) -> None:
        """While in doubt, or refused: a commit that is taken proves the membership, and the right to read."""
        is_refused = self.is_any_refused and any(part.is_refused for part in self.parts.values())
        self.is_any_refused = is_refused
        if not (self.is_suspect or is_refused) or clock() < self._probe_after:
            return
        if not self.parts:
            self.is_suspect = bool(self.lines)
            return
        self._probe_after = clock() + 0.5
        offsets = []
        for key, part in self.parts.items():
            committable = part.line.tracker.committable
            offsets.append(TopicPartition(*key, part.start if committable is None else committable))
        self._commit(offsets, asynchronous=True)
