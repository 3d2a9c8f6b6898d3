"""Sends dead letters again: chooses them, says what would become of each, sends them once and leaves a note.

A record goes back to its own topic and partition with its own headers and the place that it first had, which keeps its
id (ADR 0006). A note in the dead-letter topic follows each record that was delivered, so that a second run skips it. A
run that is cut off between the two may send a record twice; the pipeline filters the second one as a repeat.
"""

import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import Any, Final

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from schemas.deadletter import DeadLetterHeader as Header
from schemas.deadletter import DeadLetterReason
from schemas.envelope import Rejected, decode, decode_signal
from schemas.topics import SIGNALS_TOPIC, TELEMETRY_TOPIC
from stream.dead_letter_index import DeadLetter, DeadLetterIndex, Filter, Id, Known
from stream.dead_letter_log import read_whole
from stream.deadletter import DEADLETTER_TOPIC
from stream.origin import without_origin
from stream.records import offset_of
from stream.topics import BrokerError, line_of
from stream.transport.headers import headers_of

DECODERS: Final[Mapping[str, Callable[[bytes | None, bytes | None], Any]]] = {
    TELEMETRY_TOPIC: decode,
    SIGNALS_TOPIC: decode_signal,
}
"""Topics that a dead letter may go back to, with what their reader checks first."""
DANGEROUS: Final = frozenset({DeadLetterReason.CRASHES_PROCESS.value})
"""Reasons that are sent only where somebody asks for just these."""
WINDOW: Final = 100
"""Most records in flight."""
WINDOWS_PER_S: Final = 10
READ_AT_ONCE: Final = 10_000
"""Dead letters whose bytes are read in one go, one after the other."""
DELIVERY_S: Final = 30.0
"""Longest wait for a delivery."""

BY_KEY: Final = -1

GONE: Final = "no dead letter is there (any more)"
SENT_BEFORE: Final = "sent again before"


@dataclass(frozen=True, slots=True)
class Choice:
    """Which dead letters to send: these ids, or else all that the filters let through."""

    ids: Collection[Id] = ()
    """Partitions and offsets in the dead-letter topic."""
    reasons: Collection[str] = ()
    partitions: Collection[int] = ()
    """Of the input topic."""
    again: bool = False
    """Also what was sent again before."""


@dataclass(frozen=True, slots=True)
class Mend:
    """What is done to a record before it is sent."""

    value: bytes | None = None
    """Sent instead of the record's own; None: as it was."""
    key_from_value: bool = False
    """Take the key from the value's `session_id`, and the partition from that key."""
    checked: bool = True
    """Don't send what its reader would refuse again."""


@dataclass(slots=True)
class Outcome:
    """What became of the chosen dead letters; ids with why."""

    planned: list[DeadLetter] = field(default_factory=list)
    """Ready to be sent."""
    sent: list[tuple[DeadLetter, int, int]] = field(default_factory=list)
    """With the partition and offset where the record is now."""
    skipped: list[tuple[str, str]] = field(default_factory=list)
    """Nothing has to be done."""
    refused: list[tuple[str, str]] = field(default_factory=list)
    """Can't be sent, or would fail again."""
    failed: list[tuple[str, str]] = field(default_factory=list)
    """The broker did not take it, or did not say so."""
    unnoted: list[str] = field(default_factory=list)
    """Sent, but the note of it could not be written: a later run sends these again."""
    repeats_total: int = 0
    """Further dead letters of the same records: each record is sent once."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """One record as it will be sent."""

    letter: DeadLetter
    partition: int
    """BY_KEY: where the key belongs."""
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, str | bytes | None]]


class NotSendableError(Exception):
    """A dead letter that can't be sent again; the message says why, without a value from the input."""


def choose(found: DeadLetterIndex, choice: Choice, outcome: Outcome) -> Iterator[Known]:
    """Yield what is to be sent, oldest first within a partition; what is left out goes to the outcome with its why."""
    for known in _chosen(found, choice, outcome):
        letter = known.letter
        if known.redriven and not choice.again:
            outcome.skipped.append((letter.id, SENT_BEFORE))
        elif letter.reason in DANGEROUS and not choice.ids and letter.reason not in choice.reasons:
            outcome.skipped.append((letter.id, f"{letter.reason}: only by id, or with --reason {letter.reason}"))
        else:
            yield known


def _chosen(found: DeadLetterIndex, choice: Choice, outcome: Outcome) -> Iterable[Known]:
    if not choice.ids:
        return found.records(Filter(choice.reasons, choice.partitions))
    # Two ids of one record are one record.
    chosen: dict[Id, Known] = {}
    for partition, offset in choice.ids:
        known = found.at((partition, offset))
        if known is None:
            outcome.refused.append((f"{partition}:{offset}", GONE))
        else:
            chosen[known.letter.partition, known.letter.offset] = known
    return [chosen[place] for place in sorted(chosen)]


class Redrive:
    """Prepares dead letters and sends them. One instance a run."""

    def __init__(
        self,
        *,
        consumer_properties: dict[str, Any],
        producer_properties: dict[str, Any],
        topic_ids: Mapping[str, str],
        partition_counts: Mapping[str, int],
        mend: Mend,
    ) -> None:
        """`topic_ids` and `partition_counts` are those of the topics in DECODERS, as they are on the broker now."""
        self._consumer_properties = consumer_properties
        self._producer_properties = producer_properties
        self._topic_ids = topic_ids
        self._counts = partition_counts
        self._mend = mend

    def plan(self, chosen: Iterable[Known], outcome: Outcome, limit: int | None = None) -> None:
        """Say of each record whether it can be sent; nothing is. Stops at `limit` that can be. Raises BrokerError."""
        repeats: dict[str, int] = {}

        def letters() -> Iterator[DeadLetter]:
            for known in chosen:
                repeats[known.letter.id] = known.repeats
                yield known.letter

        for prepared in islice(self._prepared(letters(), outcome), limit):
            outcome.planned.append(prepared.letter)
            outcome.repeats_total += repeats[prepared.letter.id]

    def send(
        self,
        letters: Sequence[DeadLetter],
        outcome: Outcome,
        *,
        records_per_s: float,
        now_ms: Callable[[], int],
        advance: Callable[[], None] = lambda: None,
    ) -> None:
        """Send, window by window: delivered, noted, then the next. Stops at the first window that fails.

        Raises BrokerError, and KeyboardInterrupt after what was delivered is noted; the outcome is right either way.
        """
        producer = self._producer()
        prepared = self._prepared(letters, outcome)
        size = max(1, min(WINDOW, int(records_per_s / WINDOWS_PER_S)))
        while window := list(islice(prepared, size)):
            due = time.monotonic() + len(window) / records_per_s
            run = _Window(producer)
            try:
                run.deliver(window)
            finally:
                # Also where a person interrupts: what was delivered is noted, or the next run would send it again.
                run.settle()
                outcome.sent += run.delivered
                outcome.failed += run.failed
                outcome.unnoted += run.note(now_ms())
            for _ in window:
                advance()
            if outcome.failed:
                # What comes behind in the same partition must not overtake it.
                return
            time.sleep(max(0.0, due - time.monotonic()))

    def prepare(self, letter: DeadLetter, record: Message) -> Prepared:
        """Return the record as it will be sent. Raises NotSendableError."""
        topic, topic_id, partition, _ = letter.source
        decoder = DECODERS.get(topic)
        if decoder is None or topic not in self._counts:
            raise NotSendableError("its input topic is none that a dead letter goes back to, or is not on this broker")
        if self._topic_ids.get(topic) != topic_id:
            raise NotSendableError(f"{topic} was deleted and made anew since: the place means another record there")
        mended = self._mend.value is not None
        if letter.truncated and not mended:
            raise NotSendableError("only a part of its bytes was kept: give the whole record with --value-file")
        key, value = record.key(), self._mend.value if mended else record.value()
        if self._mend.checked or self._mend.key_from_value:
            try:
                event = decoder(value, None if self._mend.key_from_value else key)
            except Rejected as rejected:
                raise NotSendableError(f"would fail again: {rejected.reason} at {rejected.path}") from None
            if self._mend.key_from_value:
                key = event.session_id.encode()
        said = _place_of(letter)
        if letter.source_time_ms is not None:
            said[Header.TIME] = str(letter.source_time_ms)
        by_key = self._mend.key_from_value or partition >= self._counts[topic]
        headers = [*without_origin(headers_of(record)), *_encoded(said)]
        return Prepared(letter, BY_KEY if by_key else partition, key, value, headers)

    def _prepared(self, letters: Iterable[DeadLetter], outcome: Outcome) -> Iterator[Prepared]:
        """Yield what can be sent, reading each record's bytes when its turn comes; `letters` are in order."""
        upcoming = iter(letters)
        while batch := list(islice(upcoming, READ_AT_ONCE)):
            waiting = deque(batch)
            for record in read_whole(self._consumer_properties, [(one.partition, one.offset) for one in batch]):
                place = (record.partition() or 0, offset_of(record))
                letter = waiting.popleft()
                while (letter.partition, letter.offset) != place:
                    outcome.refused.append((letter.id, GONE))
                    letter = waiting.popleft()
                try:
                    yield self.prepare(letter, record)
                except NotSendableError as error:
                    outcome.refused.append((letter.id, str(error)))
            outcome.refused += [(letter.id, GONE) for letter in waiting]

    def _producer(self) -> Producer:
        fixed = {"enable.idempotence": True, "acks": "all", "partitioner": "murmur2_random", "linger.ms": 5}
        try:
            return Producer(
                self._producer_properties | fixed | {"message.timeout.ms": int(DELIVERY_S * 1000), "log_level": 0}
            )
        except KafkaException as error:
            raise BrokerError(line_of(error, self._producer_properties)) from None


class _Window:
    """Some records on their way, and what became of each."""

    def __init__(self, producer: Producer) -> None:
        self._producer = producer
        self._waiting: dict[str, DeadLetter] = {}
        self._noted: set[str] = set()
        self.delivered: list[tuple[DeadLetter, int, int]] = []
        self.failed: list[tuple[str, str]] = []

    def deliver(self, window: Sequence[Prepared]) -> None:
        """Hand all over and wait for the broker's answers."""
        for prepared in window:
            letter = prepared.letter
            self._waiting[letter.id] = letter
            try:
                # A window is far below the client's buffer, so that this never waits.
                self._producer.produce(
                    letter.source[0],
                    value=prepared.value,
                    key=prepared.key,
                    partition=prepared.partition,
                    headers=prepared.headers,
                    on_delivery=partial(self._answered, letter),
                )
            except KafkaException as error:
                self._answered(letter, error.args[0], None)
        self._wait()

    def settle(self) -> None:
        """Wait for what is still on its way; what has no answer by then counts as failed."""
        self._wait()
        self.failed += [(letter_id, "the broker did not answer in time") for letter_id in sorted(self._waiting)]
        self._waiting.clear()

    def note(self, at_ms: int) -> list[str]:
        """Leave a note for each delivered record: places, and nothing of the input. Return what could not be noted."""
        for letter, partition, offset in self.delivered:
            said = _place_of(letter) | {
                Header.REDRIVEN_PARTITION: str(partition),
                Header.REDRIVEN_OFFSET: str(offset),
                Header.REDRIVEN_AT: str(at_ms),
            }
            self._producer.produce(
                DEADLETTER_TOPIC,
                partition=letter.partition,
                headers=_encoded(said),
                on_delivery=partial(self._told, letter.id),
            )
        self._wait()
        return [letter.id for letter, _, _ in self.delivered if letter.id not in self._noted]

    def _wait(self) -> None:
        self._producer.flush(DELIVERY_S + 5.0)

    def _answered(self, letter: DeadLetter, error: KafkaError | None, message: Message | None) -> None:
        if self._waiting.pop(letter.id, None) is None:
            return
        if error is None and message is not None:
            self.delivered.append((letter, message.partition() or 0, offset_of(message)))
        else:
            self.failed.append((letter.id, " ".join(error.str().split()) if error is not None else "no answer"))

    def _told(self, letter_id: str, error: KafkaError | None, _: Message) -> None:
        if error is None:
            self._noted.add(letter_id)


def _place_of(letter: DeadLetter) -> dict[Header, str]:
    """Return the headers that name the first place of a record, and how often it was tried."""
    topic, topic_id, partition, offset = letter.source
    return {
        Header.TOPIC: topic,
        Header.TOPIC_ID: topic_id,
        Header.PARTITION: str(partition),
        Header.OFFSET: str(offset),
        Header.ATTEMPTS: str(letter.attempts),
    }


def _encoded(said: Mapping[Header, str]) -> list[tuple[str, str | bytes | None]]:
    return [(name.value, text.encode()) for name, text in said.items()]
