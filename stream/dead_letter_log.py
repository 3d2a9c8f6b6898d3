"""Reads the dead-letter topic: what its headers say, and its records whole.

Nothing here keeps an input's bytes but `fetch` and `read_whole`.
"""

from collections.abc import Collection, Iterable, Iterator
from contextlib import ExitStack
from typing import Any, Final

from confluent_kafka import Consumer, KafkaError, Message, TopicPartition

from schemas.deadletter import DeadLetterHeader as Header
from stream.dead_letter_index import DeadLetter, DeadLetterIndex, Id, Identity
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


def read(properties: dict[str, Any], since_ms: int | None = None, named: Collection[Id] = ()) -> DeadLetterIndex:
    """Read the topic up to its end as of now; with `since_ms` (epoch ms) only what was published from then on.

    `named` are dead letters that the index, which is the caller's to close, will be asked for. Blocks. Raises
    BrokerError when the topic is missing or a broker does not answer.
    """
    with ExitStack() as on_failure:
        found = on_failure.enter_context(DeadLetterIndex(named))
        with reading(properties, DEADLETTER_TOPIC) as consumer:
            for record in records_in(consumer, DEADLETTER_TOPIC, _stretches(consumer, properties, since_ms), IDLE_S):
                add(found, record)
        on_failure.pop_all()
    return found


def add(index: DeadLetterIndex, record: Message) -> None:
    """Put a record of the topic into an index, whatever it is."""
    headers = dict(headers_of(record))
    source = _source(headers)
    if source is None:
        index.unreadable_total += 1
    elif Header.REDRIVEN_AT in headers:
        index.add_note(source, _attempts(headers))
    else:
        index.add(_letter(record, headers, source))


def fetch(properties: dict[str, Any], partition: int, offset: int) -> Message | None:
    """Return the record at this place of the topic, None where there is none (any more). Raises BrokerError."""
    return next(read_whole(properties, [(partition, offset)]), None)


def read_whole(properties: dict[str, Any], places: Iterable[Id]) -> Iterator[Message]:
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
    return _letter(record, headers, source)


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


def _attempts(headers: dict[str, bytes]) -> int:
    return number(headers.get(Header.ATTEMPTS), MAX_ATTEMPTS) or 1


def _letter(record: Message, headers: dict[str, bytes], source: Identity) -> DeadLetter:
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
        attempts=_attempts(headers),
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
