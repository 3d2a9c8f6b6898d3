"""The poll thread: it alone calls the Kafka consumer, from its making to its close."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING, Any, cast

from confluent_kafka import Consumer, KafkaException, Message, TopicPartition

from .clientlog import client_log
from .errors import TransportFatalError
from .hooks import Gap
from .ownership import Ownership, Tell
from .part import HandOver, LoopSide, Part, clock
from .reach import Reach
from .weight import weights

if TYPE_CHECKING:
    from confluent_kafka import KafkaError

    from .line import LineOwner
    from .options import TransportOptions
    from .stats import Counters

log = logging.getLogger(__name__)
_client = client_log(__name__)

_OUT_OF_RANGE = frozenset({"_AUTO_OFFSET_RESET", "OFFSET_OUT_OF_RANGE"})
_UNREADABLE = frozenset(
    {
        "_BAD_COMPRESSION",
        "_BAD_MSG",
        "_NOT_IMPLEMENTED",
        "_UNDERFLOW",
        "INVALID_MSG",
        "INVALID_MSG_SIZE",
        "INVALID_RECORD",
        "MSG_SIZE_TOO_LARGE",
    }
)
_SETTLING_POLL_S = 0.005
_HOLD_S = 0.005
_HOLD_BATCH = 64
_ASK_MIN_S = 0.2
_ASK_MAX_S = 5.0
_STATISTICS_MS = 1000


class Poller(threading.Thread):
    """Owns the ``confluent_kafka.Consumer``. Other threads use :meth:`post` and the plain fields."""

    def __init__(
        self,
        config: dict[str, Any],
        options: TransportOptions,
        loop_side: LoopSide,
        owner: LineOwner,
        tell: Tell,
        counters: Counters,
    ) -> None:
        super().__init__(name="kafka-poll", daemon=True)
        self._config = config
        self._options = options
        self._loop_side = loop_side
        self._owner = owner
        self._tell = tell
        self._counters = counters
        self._commands: deque[Callable[[], None]] = deque()
        self._later: list[tuple[float, Callable[[], None]]] = []
        self._is_closing = threading.Event()
        self._all_topics: set[str] = set()
        self._was_burst = False
        self._is_any_paused = False
        """Some partition may be paused: where none is, not all are looked at between two polls."""
        self._next_watermarks = 0.0
        self._fatal: TransportFatalError | None = None
        self.ownership: Ownership | None = None
        """There once the thread runs."""
        self.reach = Reach()

    # --- for other threads -------------------------------------------------------------------------

    def post(self, command: Callable[[], None]) -> None:
        """Have a command run on this thread, between two polls."""
        self._commands.append(command)

    def subscribe(self, topics: Sequence[str]) -> None:
        """Set the topics (replaces what was set before)."""

        def command() -> None:
            self._all_topics.update(topics)
            ownership = self._owned()
            self._consumer.subscribe(
                sorted(topics),
                on_assign=ownership.on_assign,
                on_revoke=ownership.on_revoke,
                on_lost=ownership.on_lost,
            )
            ownership.subscribed()

        self.post(command)

    def close(self) -> None:
        """Drain, commit, leave the group and end the thread. Returns at once: join the thread."""
        self._is_closing.set()

    # --- the thread --------------------------------------------------------------------------------

    def run(self) -> None:
        """Poll until :meth:`close`; any failure is fatal for the process."""
        try:
            self._consumer = Consumer(
                {
                    "statistics.interval.ms": _STATISTICS_MS,
                    **self._config,
                    "error_cb": self._on_error,
                    "on_commit": self._on_commit,
                    "stats_cb": self._on_statistics,
                },
                logger=_client,
            )
        except Exception as exc:  # noqa: BLE001 - said on the event loop
            self._end(TransportFatalError(f"cannot make the Kafka consumer: {exc}"), exc)
            return
        try:
            self.ownership = Ownership(
                self._consumer,
                self._options,
                self._loop_side,
                self._owner,
                self._tell,
                self._counters,
            )
            while not self._is_closing.is_set() and self._fatal is None:
                self._step(self.ownership)
        except Exception as exc:  # noqa: BLE001 - said on the event loop
            self._end(TransportFatalError(f"the poll thread failed: {exc!r}"), exc)
        finally:
            try:
                if self._fatal is None:
                    # Drains and commits by way of the revoke callback, then leaves the group.
                    self._consumer.close()
                # After a fatal error the broker's session timeout ends the membership: a close
                # would wait for chunks and commit in a group that refuses this member.
            except Exception as exc:  # noqa: BLE001 - the end of the thread either way
                log.warning("closing the consumer failed: %s", exc)

    def _owned(self) -> Ownership:
        assert self.ownership is not None
        return self.ownership

    def _end(self, error: TransportFatalError, cause: BaseException | None = None) -> None:
        if self._fatal is None:
            self._fatal = error
            error.__cause__ = cause
            self._tell(self._loop_side.fatal, error)

    def _step(self, ownership: Ownership) -> None:
        for _ in range(len(self._commands)):  # what they post in turn waits for the next round
            self._commands.popleft()()
        if self._later:
            self._post_due()
        ownership.announce()
        ownership.probe()
        self._watermarks(ownership)
        timeout, batch_size = self._allowance(ownership)
        first = self._consumer.poll(timeout)
        ownership.polled()
        if first is None:
            self._was_burst = False
            return
        # A revoke served in here must not take what was just polled for something without records.
        ownership.is_in_hand = True
        batch = self._consumer.consume(batch_size, 0)
        batch.insert(0, first)
        self._was_burst = len(batch) > 8
        self._hand_over(ownership, batch)
        ownership.is_in_hand = False

    def _post_due(self) -> None:
        now = clock()
        due = [command for when, command in self._later if when <= now]
        self._later = [(when, command) for when, command in self._later if when > now]
        self._commands.extend(due)

    def _allowance(self, ownership: Ownership) -> tuple[float, int]:
        """How long to block and how many records to take, by what waits already."""
        options = self._options
        paused = self._resume(ownership)
        if self._was_burst and self._waiting(ownership) >= options.hold_records:
            # The loop is behind everywhere: leave records in librdkafka's bounded queue rather than
            # pause, which throws them away. Still polling, slowly, for the group's sake.
            self._counters.holds_total += 1
            self._is_closing.wait(_HOLD_S)
            if self._waiting(ownership) >= options.hold_records:
                return 0.0, _HOLD_BATCH
        if paused or ownership.is_settling:
            return min(_SETTLING_POLL_S, options.poll_wait_s), options.poll_batch_records
        return options.poll_wait_s, options.poll_batch_records

    @staticmethod
    def _waiting(ownership: Ownership) -> int:
        return sum(p.waiting_records for p in ownership.parts.values() if not p.marks.is_paused)

    def _resume(self, ownership: Ownership) -> bool:
        if not self._is_any_paused:
            return False
        resumed = []
        paused = False
        for key, part in ownership.parts.items():
            if part.marks.is_paused:
                if part.marks.update(part.waiting_records, part.waiting_bytes):
                    resumed.append(TopicPartition(*key))
                else:
                    paused = True
        if resumed:
            self._counters.resumes_total += len(resumed)
            self._consumer.resume(resumed)
        self._is_any_paused = paused
        return paused

    # --- records -----------------------------------------------------------------------------------

    def _hand_over(self, ownership: Ownership, batch: list[Message]) -> None:
        if any(map(Message.error, batch)):
            batch = self._without_errors(ownership, batch)
        items: list[HandOver] = []
        full: list[TopicPartition] = []
        for key, records in _runs(batch, self._all_topics):
            part = ownership.parts.get(key)
            if part is None or part.is_stopped:
                self._counters.records_unowned_total += len(records)
                continue
            first = _offset(records[0])
            if part.hole is not None:
                if first > part.next_offset:
                    self._tell(self._loop_side.gap, Gap(*key, part.next_offset, first - 1, part.hole))
                part.hole = None
            if first < part.next_offset:
                # From before a seek; the client filters these, this is the second line.
                self._counters.records_unowned_total += len(records)
                continue
            part.next_offset = _offset(records[-1]) + 1
            byte_count = sum(weights(records))
            part.handed_records += len(records)
            part.handed_bytes += byte_count
            items.append((part.line, part.epoch, records, byte_count))
            # One run of it may fill it, and the loop take a chunk before the next: only `_resume` ends a pause.
            if not part.marks.is_paused and part.marks.update(part.waiting_records, part.waiting_bytes):
                full.append(TopicPartition(*key))
        if items:
            self._tell(self._loop_side.receive, items)
        if full:
            self._counters.pauses_total += len(full)
            self._consumer.pause(full)
            self._is_any_paused = True

    def _without_errors(self, ownership: Ownership, batch: list[Message]) -> list[Message]:
        good: list[Message] = []
        broken: set[tuple[str | None, int | None]] = set()
        for message in batch:
            error = message.error()
            topic, partition = message.topic(), message.partition()
            if error is None:
                # After a batch that it cannot read, librdkafka goes on amid its bytes, at made-up offsets.
                if (topic, partition) not in broken:
                    good.append(message)
                continue
            part = None
            if topic is not None and partition is not None:
                part = ownership.parts.get((topic, partition))
            if part is None:
                self._on_error(error)
                continue
            self._counters.partition_errors[error.name()] += 1
            if error.name() in _OUT_OF_RANGE:
                # What came before it is still good, and is handed over with the rest.
                self._out_of_range(part, error)
            else:
                _client.warning("%s[%s]: %s: %s", topic, partition, error.name(), error.str())
                # A commit needs the same right, so one that is taken says that it is given again.
                if error.name() == "TOPIC_AUTHORIZATION_FAILED":
                    part.is_refused = ownership.is_any_refused = True
                if error.name() in _UNREADABLE and (topic, partition) not in broken:
                    broken.add((topic, partition))
                    part.hole = part.hole or error.name()
                    part.is_asked = True
                    self.post(partial(ownership.fetching.step_over, part))
        return good

    def _out_of_range(self, part: Part, error: KafkaError) -> None:
        if part.is_asked:
            return
        part.is_asked = True
        key = part.line.key
        log.warning("%s[%s] at %s: %s", *key, part.next_offset, error.str())

        pause = _ASK_MIN_S

        def ask() -> None:
            nonlocal pause
            # After the good records of this batch, so that `next_offset` is the real position.
            if self._owned().parts.get(key) is not part:
                return
            part.is_stopped = True
            try:
                low, high = self._consumer.get_watermark_offsets(
                    TopicPartition(*key), timeout=self._options.committed_timeout_s
                )
            except KafkaException as exc:
                log.warning("%s[%s]: reading its bounds failed, trying again in %.1f s: %s", *key, pause, exc)
                self._later.append((clock() + pause, ask))
                pause = min(2 * pause, _ASK_MAX_S)
                return
            self._tell(self._loop_side.out_of_range, part.line, part.epoch, part.next_offset, low, high)

        self.post(ask)

    def _watermarks(self, ownership: Ownership) -> None:
        now = clock()
        if now < self._next_watermarks:
            return
        self._next_watermarks = now + 1.0
        for key, part in ownership.parts.items():
            found = self._consumer.get_watermark_offsets(TopicPartition(*key), cached=True)
            bounds = cast("tuple[int, int] | None", found)  # None: nothing was fetched yet
            if bounds is not None and bounds[1] >= 0:
                # Behind an open transaction there is nothing to read: waiting for its end is no lag.
                part.line.high = min(bounds[1], self.reach.stable_ends.get(key, bounds[1]))

    # --- errors ------------------------------------------------------------------------------------

    def _on_error(self, error: KafkaError) -> None:
        """An error of the client as a whole."""
        try:
            self._counters.client_errors[error.name()] += 1
            if error.name() == "GROUP_AUTHORIZATION_FAILED":
                self.reach.refused()
            if error.fatal() or error.name() in ("_FATAL", "FENCED_INSTANCE_ID"):
                self._end(TransportFatalError(f"Kafka consumer: {error.name()}: {error.str()}"))
            else:
                _client.warning("Kafka consumer: %s: %s", error.name(), error.str())
        except Exception:
            log.exception("handling a client error failed")

    def _on_statistics(self, statistics: str) -> None:
        try:
            self.reach.take(statistics)
        except Exception:
            log.exception("reading the client's statistics failed")

    def _on_commit(self, error: KafkaError | None, partitions: list[TopicPartition]) -> None:
        if self.ownership is not None:
            self.ownership.on_commit(error, partitions)


def _offset(message: Message) -> int:
    offset = message.offset()
    assert offset is not None
    return offset


def _runs(batch: list[Message], topics: set[str]) -> list[tuple[tuple[str, int], list[Message]]]:
    """Split into runs of one partition. Little Python per record: this is the hot path."""
    if len(topics) == 1:
        (topic,) = topics
        return [((topic, p), list(run)) for p, run in groupby(batch, key=Message.partition)]  # type: ignore[misc]
    return [(key, list(run)) for key, run in groupby(batch, key=_key)]


def _key(message: Message) -> tuple[str, int]:
    return message.topic(), message.partition()  # type: ignore[return-value]
