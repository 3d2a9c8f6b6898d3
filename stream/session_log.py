"""What files and topics hold of sessions: risk events, and the telemetry and upstream results that they answer.

For people who look back (`explain`, `policy diff`): outside any consumer group, one record in memory at a time. A risk
event names the very record that it answers, so that of the input only the stretch between a session's first and last
record is read.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec
from confluent_kafka import Consumer, KafkaError, Message, TopicPartition

from models.dataset import lines_of
from schemas.envelope import Rejected, decode, decode_risk_event
from schemas.erasure import Erasure
from schemas.risk import RiskEvent
from schemas.signals import Signal
from schemas.telemetry import Telemetry
from schemas.topics import TELEMETRY_TOPIC
from stream.records import append_ms_of, offset_of
from stream.topic_reader import Stretch, ends_of, reading, records_in
from stream.topics import BrokerError
from stream.transport.murmur2 import partition_of

Held = Telemetry | Signal | RiskEvent
EVENTS_TOPIC: Final = "risk.events"
IDLE_S: Final = 20.0
"""Longest wait for the broker's next record, s."""


class _Named(msgspec.Struct):
    """What a line says of itself."""

    type: str = ""
    session_id: str = ""


_name = msgspec.json.Decoder(_Named).decode
_OTHERS: Final = ("capture.erasure.", "risk.features.", "risk.label.", "models.")
"""Types of records that say nothing here."""


class Lines:
    """Records of JSON-lines files (also .gz), in their order; telemetry, signals and risk events may be mixed."""

    def __init__(self, paths: Iterable[Path], session_id: str | None = None) -> None:
        """Of one session only, where `session_id` is given."""
        self._paths = list(paths)
        self._session_id = session_id
        self.unreadable_total = 0
        """Lines that are no record of ours: such as what became a dead letter."""

    def __iter__(self) -> Iterator[Held]:
        """Yield each record. Raises DatasetError where a file cannot be read."""
        for path in self._paths:
            for _, line in lines_of(path):
                record = line.strip()
                if record and (found := self._record(record)) is not None:
                    yield found

    def _record(self, line: bytes) -> Held | None:
        try:
            named = _name(line)
            if self._session_id is not None and named.session_id != self._session_id:
                self.unreadable_total += not named.session_id
                return None
            if named.type.startswith(_OTHERS):
                return None
            found = decode_risk_event(line, None) if named.type.startswith("risk.") else decode(line, None)
        except (Rejected, msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            self.unreadable_total += 1
            return None
        return None if isinstance(found, Erasure) else found


def events_since(
    properties: dict[str, Any], since_ms: int, session_id: str | None = None, *, everywhere: bool = False
) -> Iterator[RiskEvent]:
    """Yield the risk events that were published since then (epoch ms) up to now, each partition in order.

    Of one session only, where `session_id` is given: its partition is that of its key, unless a producer places keys in
    another way than Java's clients do (`everywhere` looks in all of them). Blocks. Raises BrokerError.
    """
    key = None if session_id is None else session_id.encode()

    def wanted(count: int) -> Collection[int]:
        return range(count) if key is None or everywhere else (partition_of(key, count),)

    for record in _records(properties, EVENTS_TOPIC, since_ms, wanted):
        if key is not None and record.key() != key:
            continue
        found = _decoded(record, decode_risk_event)
        if isinstance(found, RiskEvent) and session_id in {None, found.session_id}:
            yield found


def telemetry_since(properties: dict[str, Any], since_ms: int) -> Iterator[Telemetry | Signal]:
    """Yield telemetry and upstream results appended since then (epoch ms) up to now. Blocks. Raises BrokerError."""
    for record in _records(properties, TELEMETRY_TOPIC, since_ms, range):
        found = _decoded(record, decode)
        if isinstance(found, Telemetry | Signal):
            yield found


def answered(properties: dict[str, Any], events: Iterable[RiskEvent]) -> Iterator[Telemetry | Signal]:
    """Yield the records that these events answer, as far as the log still holds them. Blocks. Raises BrokerError."""
    places: dict[str, dict[int, set[int]]] = {}
    sessions = set()
    for event in events:
        sessions.add(event.session_id)
        source = event.source
        places.setdefault(source.topic, {}).setdefault(source.partition, set()).add(source.offset)
    for topic, partitions in places.items():
        with reading(properties, topic) as consumer:
            there = _partitions(consumer, topic, properties)
            stretches: dict[int, Stretch] = {}
            for partition in sorted(set(partitions) & there):
                low, high = ends_of(consumer, TopicPartition(topic, partition), IDLE_S)
                offsets = partitions[partition]
                first, end = max(low, min(offsets)), min(high, max(offsets) + 1)
                if first < end:
                    stretches[partition] = (first, end)
            for record in records_in(consumer, topic, stretches, IDLE_S):
                if offset_of(record) not in partitions[record.partition() or 0]:
                    continue
                found = _decoded(record, decode)
                # A topic that was made anew has other records at these places.
                if isinstance(found, Telemetry | Signal) and found.session_id in sessions:
                    yield found


def _records(
    properties: dict[str, Any], topic: str, since_ms: int, wanted: Callable[[int], Collection[int]]
) -> Iterator[Message]:
    with reading(properties, topic) as consumer:
        there = _partitions(consumer, topic, properties)
        stretches = _stretches(consumer, topic, there & set(wanted(len(there))), since_ms)
        yield from records_in(consumer, topic, stretches, IDLE_S)


def _stretches(consumer: Consumer, topic: str, partitions: Collection[int], since_ms: int) -> Mapping[int, Stretch]:
    found: dict[int, Stretch] = {}
    for partition in sorted(partitions):
        low, high = ends_of(consumer, TopicPartition(topic, partition), IDLE_S)
        asked = TopicPartition(topic, partition, max(0, since_ms))
        (answer,) = consumer.offsets_for_times([asked], timeout=IDLE_S)
        start = answer.offset
        if start < 0:
            start = low if low < high and _is_newer(consumer, topic, partition, high - 1, since_ms) else high
        if start < high:
            found[partition] = (start, high)
    return found


def _is_newer(consumer: Consumer, topic: str, partition: int, offset: int, since_ms: int) -> bool:
    """Whether a record is of that time or later all the same: the embedded broker finds no offset for any time."""
    records = records_in(consumer, topic, {partition: (offset, offset + 1)}, IDLE_S)
    return any(append_ms_of(record) >= since_ms for record in records)


def _partitions(consumer: Consumer, topic: str, properties: dict[str, Any]) -> set[int]:
    metadata = consumer.list_topics(topic, timeout=IDLE_S).topics[topic]
    if metadata.error is not None:
        refused = metadata.error.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED
        hint = "this user needs READ on it" if refused else "run `tellwire topics diff`"
        broker = properties.get("bootstrap.servers", "?")
        raise BrokerError(f"broker {broker}: {topic}: {metadata.error.str()}; {hint}")
    return set(metadata.partitions)


def _decoded(record: Message, decoder: Callable[[bytes | None, bytes | None], msgspec.Struct]) -> msgspec.Struct | None:
    try:
        return decoder(record.value(), None)
    except Rejected:
        return None
