"""Reads the dead-letter topic: which input records are in it, how often they failed, which were sent again.

The unit is the input record: a dead letter that was published twice counts once, one that failed again after a redrive
is the same record with one attempt more. Nothing here keeps an input's bytes but `fetch` and `read_whole`.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from confluent_kafka import Consumer, KafkaError, Message, TopicPartition

from schemas.deadletter import DeadLetterHeader as Header
from stream.deadletter import DEADLETTER_TOPIC
from stream.origin import MAX_ATTEMPTS, MAX_OFFSET, MAX_PARTITION, MAX_TIME_MS, number
from stream.records import append_ms_of, offset_of
from stream.topic_reader import Stretch, ends_of, reading, records_in
from stream.topics import BrokerError
from stream.transport.headers import headers_of

MAX_TEXT_CHARS: Final = 300
"""Longest reason, path or detail that is kept."""
IDLE_S: Final = 20.0
"""Longest wait for the broker's next record."""

Identity = tuple[str, str, int, int]
"""Input topic, its id, partition and offset: the first place of an input record."""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One dead letter, without the input's bytes."""

    partition: int
    offset: int
    time_ms: int
    """When it was published, epoch ms."""
    source: Identity
    source_time_ms: int | None
    """Append time of the input record, epoch ms."""
    attempts: int
    """How often the record was tried, from 1."""
    reason: str
    path: str
    detail: str
    app_version: str
    size_bytes: int
    """Of the whole value, also where only a part of it was kept."""
    truncated: bool
    failed_at: tuple[int, int] | None
    """Partition and offset at which a redriven record failed again."""

    @property
    def id(self) -> str:
        """What a person calls it: `<partition>:<offset>` in the dead-letter topic."""
        return f"{self.partition}:{self.offset}"


@dataclass(slots=True)
class Known:
    """What the topic says of one input record: its latest dead letter, and whether that was sent again."""

    letter: DeadLetter
    ids: list[tuple[int, int]] = field(default_factory=list)
    """Places in the dead-letter topic of all dead letters of the record, repeats included."""
    tries: set[int] = field(default_factory=set)
    """Attempts that they name."""
    redriven_attempts: int = 0
    """Attempts of the latest dead letter that was sent again."""
    redriven_ms: int = 0
    """When that was, epoch ms; 0 for never."""

    @property
    def redriven(self) -> bool:
        """Whether the latest dead letter was sent again, and did not fail again since."""
        return self.redriven_attempts >= self.letter.attempts

    @property
    def repeats(self) -> int:
        """Dead letters of the record beyond one for each attempt that is known."""
        return len(self.ids) - len(self.tries)


@dataclass(slots=True)
class Found:
    """What was read of the dead-letter topic, oldest first within a partition."""

    records: dict[Identity, Known] = field(default_factory=dict)
    letters_total: int = 0
    notes_total: int = 0
    unreadable_total: int = 0
    """Records of the topic that name no input place: not written by a worker."""

    def add(self, record: Message) -> None:
        """Take one record of the topic."""
        headers = dict(headers_of(record))
        source = _source(headers)
        if source is None:
            self.unreadable_total += 1
            return
        attempts = number(headers.get(Header.ATTEMPTS), MAX_ATTEMPTS) or 1
        if Header.REDRIVEN_AT in headers:
            self.notes_total += 1
            known = self.records.get(source)
            if known is not None and attempts >= known.redriven_attempts:
                known.redriven_attempts = attempts
                known.redriven_ms = number(headers[Header.REDRIVEN_AT], MAX_TIME_MS) or append_ms_of(record)
            return
        self.letters_total += 1
        letter = _letter(record, headers, source, attempts)
        known = self.records.setdefault(source, Known(letter))
        known.ids.append((letter.partition, letter.offset))
        known.tries.add(attempts)
        if attempts > known.letter.attempts:
            # It was sent again, whether or not the note of that could be written.
            known.redriven_attempts = max(known.redriven_attempts, known.letter.attempts)
            known.letter = letter


def read(properties: dict[str, Any], since_ms: int | None = None) -> Found:
    """Read the topic up to its end as of now; with `since_ms` (epoch ms) only what was published from then on.

    Blocks. Raises BrokerError when the topic is missing or a broker does not answer.
    """
    found = Found()
    with reading(properties, DEADLETTER_TOPIC) as consumer:
        for record in records_in(consumer, DEADLETTER_TOPIC, _stretches(consumer, properties, since_ms), IDLE_S):
            found.add(record)
    return found


def fetch(properties: dict[str, Any], partition: int, offset: int) -> Message | None:
    """Return the record at this place of the topic, None where there is none (any more). Raises BrokerError."""
    return next(read_whole(properties, [(partition, offset)]), None)


def read_whole(properties: dict[str, Any], places: Iterable[tuple[int, int]]) -> Iterator[Message]:
    """Yield the records at these places of the topic, bytes included, each partition in order. Raises BrokerError."""
    wanted: dict[int, set[int]] = {}
    for partition, offset in places:
        wanted.setdefault(partition, set()).add(offset)
    with reading(properties, DEADLETTER_TOPIC) as consumer:
        partitions = _partitions(consumer, properties)
        for partition, offsets in sorted(wanted.items()):
            if partition not in partitions:
                continue
            # Asked when its turn comes: what the caller did with the partition before is not the broker's time.
            low, high = ends_of(consumer, TopicPartition(DEADLETTER_TOPIC, partition), IDLE_S)
            there = [offset for offset in offsets if low <= offset < high]
            if there:
                stretch = {partition: (min(there), max(there) + 1)}
                for record in records_in(consumer, DEADLETTER_TOPIC, stretch, IDLE_S):
                    if offset_of(record) in offsets:
                        yield record


def letter_of(record: Message) -> DeadLetter | None:
    """Return what a record of the topic says; None for a note, and for what names no input place."""
    headers = dict(headers_of(record))
    source = _source(headers)
    if source is None or Header.REDRIVEN_AT in headers:
        return None
    return _letter(record, headers, source, number(headers.get(Header.ATTEMPTS), MAX_ATTEMPTS) or 1)


def _stretches(consumer: Consumer, properties: dict[str, Any], since_ms: int | None) -> dict[int, Stretch]:
    """Return what every partition has to read, up to its end as of now."""
    found: dict[int, Stretch] = {}
    for partition in _partitions(consumer, properties):
        start, high = ends_of(consumer, TopicPartition(DEADLETTER_TOPIC, partition), IDLE_S)
        if since_ms is not None:
            asked = TopicPartition(DEADLETTER_TOPIC, partition, max(0, since_ms))
            (answer,) = consumer.offsets_for_times([asked], timeout=IDLE_S)
            start = answer.offset if answer.offset >= 0 else high
        if start < high:
            found[partition] = (start, high)
    return found


def _partitions(consumer: Consumer, properties: dict[str, Any]) -> list[int]:
    metadata = consumer.list_topics(DEADLETTER_TOPIC, timeout=IDLE_S).topics[DEADLETTER_TOPIC]
    if metadata.error is not None:
        broker = properties.get("bootstrap.servers", "?")
        refused = metadata.error.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED
        hint = "this user needs READ on it" if refused else "run `tellwire topics diff`"
        msg = f"broker {broker}: {DEADLETTER_TOPIC}: {metadata.error.str()}; {hint}"
        raise BrokerError(msg)
    return sorted(metadata.partitions)


def _source(headers: dict[str, bytes]) -> Identity | None:
    partition = number(headers.get(Header.PARTITION), MAX_PARTITION)
    offset = number(headers.get(Header.OFFSET), MAX_OFFSET)
    topic = _text(headers, Header.TOPIC)
    if partition is None or offset is None or not topic:
        return None
    return topic, _text(headers, Header.TOPIC_ID), partition, offset


def _letter(record: Message, headers: dict[str, bytes], source: Identity, attempts: int) -> DeadLetter:
    whole = number(headers.get(Header.TRUNCATED), MAX_OFFSET)
    again = (
        number(headers.get(Header.REDRIVEN_PARTITION), MAX_PARTITION),
        number(headers.get(Header.REDRIVEN_OFFSET), MAX_OFFSET),
    )
    return DeadLetter(
        partition=record.partition() or 0,
        offset=offset_of(record),
        time_ms=append_ms_of(record),
        source=source,
        source_time_ms=number(headers.get(Header.TIME), MAX_TIME_MS),
        attempts=attempts,
        reason=_text(headers, Header.REASON),
        path=_text(headers, Header.PATH),
        detail=_text(headers, Header.DETAIL),
        app_version=_text(headers, Header.APP_VERSION),
        size_bytes=len(record.value() or b"") if whole is None else whole,
        truncated=Header.TRUNCATED in headers,
        failed_at=(again[0], again[1]) if again[0] is not None and again[1] is not None else None,
    )


def _text(headers: dict[str, bytes], name: str) -> str:
    return headers.get(name, b"")[: 4 * MAX_TEXT_CHARS].decode(errors="replace")[:MAX_TEXT_CHARS]
