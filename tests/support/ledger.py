"""The independent verifier: reads the whole input and output topics by itself and says where every input record went.

It imports nothing of the project, so that a mistake there cannot hide itself here. What it checks (observable I1): each
input offset has exactly one outcome - a risk event, a dead letter, or the declared filter "duplicate" as this module
itself finds it in the input - with the right identity, in the same partition, in order, and with untouched bytes.

As a script it audits the standard topics: `python -m tests.support.ledger BOOTSTRAP`, exit status 1 on a violation.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

import orjson
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicCollection, TopicPartition
from confluent_kafka.admin import AdminClient

Kind = Literal[
    "missing",  # an input record without any outcome
    "doubled",  # a second event of an id that is not marked `replayed`, or an event and a dead letter for one record
    "duplicate_scored",  # the input repeats what its session already sent, and was scored all the same
    "unknown_source",  # an outcome for an offset that the input topic does not have
    "wrong_partition",  # a risk event that is not in its source's partition
    "wrong_identity",  # id, headers, source, session or key contradict one another or the input
    "out_of_order",  # first events of a partition whose source offsets go backwards
    "altered",  # a dead letter whose key or value is not the input's
    "malformed",  # an outcome that cannot be read, or lacks what it must have
    "unexpected_dead_letter",  # only where the caller says which dead letters are right
    "expected_dead_letter",  # likewise: named by the caller, and not there
]
Place = tuple[int, int]
"""Partition and offset in the input topic."""

_DEAD_LETTER_HEADERS = ("dlq_topic", "dlq_partition", "dlq_offset", "dlq_reason", "dlq_path")


@dataclass(frozen=True, slots=True)
class Record:
    """One record as it is on the broker."""

    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, str | bytes | None], ...] = ()

    def header(self, name: str) -> str | None:
        """Return the last header called `name` as text, None where it is absent."""
        value = next((value for key, value in reversed(self.headers) if key == name), None)
        return value.decode(errors="replace") if isinstance(value, bytes) else value


@dataclass(frozen=True, slots=True)
class Violation:
    """One thing that must not be; `place` is in the input topic where it is known, else in the output topic."""

    kind: Kind
    place: Place
    detail: str

    def __str__(self) -> str:
        return f"{self.kind} at partition {self.place[0]} offset {self.place[1]}: {self.detail}"


@dataclass(slots=True)
class Report:
    """What became of the input. `ok` is the verdict; the counts let a test assert that something was checked."""

    inputs: int = 0
    scored: int = 0
    dead_letters: int = 0
    duplicates: int = 0
    replayed_repeats: int = 0
    """Further events of an id, marked `replayed`: none after a graceful stop."""
    dead_letter_repeats: int = 0
    """Further dead letters of a record, equal to the first: none after a graceful stop."""
    reasons: Counter[str] = field(default_factory=Counter)
    """Dead letters by `dlq_reason`."""
    violations: list[Violation] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether nothing was found."""
        return not self.violations

    def kinds(self) -> Counter[str]:
        """Count the violations by kind."""
        return Counter(violation.kind for violation in self.violations)

    def __str__(self) -> str:
        counts = (
            f"{self.inputs} inputs = {self.scored} scored + {self.dead_letters} dead letters "
            f"+ {self.duplicates} duplicates; repeats {self.replayed_repeats} + {self.dead_letter_repeats}"
        )
        shown = [f"  {violation}" for violation in self.violations[:20]]
        more = len(self.violations) - len(shown)
        return "\n".join(
            [counts, f"violations {dict(self.kinds())}", *shown, *([f"  ... {more} more"] if more else [])]
        )


def read_topic(bootstrap: str, topic: str) -> Iterator[Record]:
    """Read every committed record of `topic`, partition by partition in offset order, up to its end as of now.

    Raises `KafkaException`.
    """
    consumer = Consumer({
        "bootstrap.servers": bootstrap,
        "group.id": "ledger-reads-without-a-group",
        "enable.auto.commit": False,
        "enable.partition.eof": True,
        "auto.offset.reset": "error",
        "isolation.level": "read_committed",
        "fetch.wait.max.ms": 10,
        "log_level": 0,
    })  # fmt: skip
    try:
        described = consumer.list_topics(topic, timeout=15).topics[topic]
        if described.error is not None:
            raise KafkaException(described.error)
        for partition in sorted(described.partitions):
            low, high = consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=15)
            consumer.assign([TopicPartition(topic, partition, low)])
            yield from _read_partition(consumer, high)
    finally:
        consumer.close()


def _read_partition(consumer: Consumer, high: int) -> Iterator[Record]:
    while True:
        # `consume` waits for a full batch, so wait for one record and then take what is there.
        first = consumer.poll(30)
        if first is None:
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT))
        batch: list[Message] = [first, *consumer.consume(5000, timeout=0)]
        for message in batch:
            error = message.error()
            if error is not None:
                if error.code() == KafkaError._PARTITION_EOF:
                    return
                raise KafkaException(error)
            partition, offset = message.partition(), message.offset()
            assert partition is not None
            assert offset is not None
            if offset >= high:
                return
            headers = message.headers() or []
            pairs = headers.items() if isinstance(headers, dict) else headers
            yield Record(partition, offset, message.key(), message.value(), tuple(pairs))


def topic_id(bootstrap: str, topic: str) -> str:
    """Return the broker's id of `topic`. Raises `KafkaException`."""
    admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0})
    described = admin.describe_topics(TopicCollection([topic]), request_timeout=15)
    return str(described[topic].result().topic_id)


def audit(
    bootstrap: str,
    *,
    input_topic: str = "capture.telemetry",
    events_topic: str = "risk.events",
    dead_letters_topic: str = "risk.deadletter",
    input_topic_id: str | None = None,
    expected_dead_letters: Collection[Place] | None = None,
) -> Report:
    """Read three whole topics and check I1.

    Pass `input_topic_id` for a broker that has no topic ids, and `expected_dead_letters` where the test knows exactly
    which input records are bad. Raises `KafkaException`.
    """
    return check(
        read_topic(bootstrap, input_topic),
        read_topic(bootstrap, events_topic),
        read_topic(bootstrap, dead_letters_topic),
        input_topic=input_topic,
        input_topic_id=topic_id(bootstrap, input_topic) if input_topic_id is None else input_topic_id,
        expected_dead_letters=expected_dead_letters,
    )


def check(
    inputs: Iterable[Record],
    events: Iterable[Record],
    dead_letters: Iterable[Record],
    *,
    input_topic: str,
    input_topic_id: str,
    expected_dead_letters: Collection[Place] | None = None,
) -> Report:
    """Check I1 on records that were read already; each iterable is in offset order within a partition."""
    ledger = _Ledger(input_topic, _plain_id(input_topic_id))
    ledger.take_inputs(inputs)
    for record in dead_letters:
        ledger.take_dead_letter(record)
    for record in events:
        ledger.take_event(record)
    return ledger.close(expected_dead_letters)


def _plain_id(text: str) -> str:
    # Kafka prints topic ids in url-safe base64, librdkafka in the standard alphabet: the same id.
    return text.replace("-", "+").replace("_", "/").rstrip("=")


def _object(value: bytes | None) -> dict[str, Any]:
    """Return the JSON object in `value`, an empty one where there is none."""
    try:
        decoded = orjson.loads(value or b"")
    except orjson.JSONDecodeError:
        return {}
    return decoded if isinstance(decoded, dict) else {}


def _repeat_key(body: dict[str, Any]) -> tuple[str, str, int | str] | None:
    """Return what makes two records of a partition one: session and sequence, or session and the result's own id."""
    session = body.get("session_id")
    if not isinstance(session, str):
        return None
    sequence, event_id = body.get("sequence"), body.get("event_id")
    if isinstance(sequence, int) and not isinstance(sequence, bool):
        return ("sequence", session, sequence)
    return ("event_id", session, event_id) if isinstance(event_id, str) else None


@dataclass(slots=True)
class _Ledger:
    topic: str
    topic_id: str
    report: Report = field(default_factory=Report)
    inputs: dict[Place, Record] = field(default_factory=dict)
    identity: dict[Place, Place] = field(default_factory=dict)
    """A redriven record answers for the place it first had."""
    redriven: dict[Place, Place] = field(default_factory=dict)
    """From those first places to the redriven record."""
    dead: dict[Place, Record] = field(default_factory=dict)
    events: dict[Place, Record] = field(default_factory=dict)
    last: dict[int, int] = field(default_factory=dict)
    """Highest source offset that each output partition has shown so far."""

    def fault(self, kind: Kind, place: Place, detail: str) -> None:
        self.report.violations.append(Violation(kind, place, detail))

    def take_inputs(self, records: Iterable[Record]) -> None:
        for record in records:
            place = (record.partition, record.offset)
            self.inputs[place] = record
            first = self.origin(record)
            if first is not None:
                self.identity[place] = first
                self.redriven[first] = place
        self.report.inputs = len(self.inputs)

    def origin(self, record: Record) -> Place | None:
        """Return the input place that `dlq_*` headers name, None where they do not name one of this topic."""
        partition, offset = record.header("dlq_partition"), record.header("dlq_offset")
        if record.header("dlq_topic") != self.topic or partition is None or offset is None:
            return None
        return (int(partition), int(offset)) if partition.isdigit() and offset.isdigit() else None

    def take_dead_letter(self, record: Record) -> None:
        here = (record.partition, record.offset)
        lacks = [name for name in _DEAD_LETTER_HEADERS if record.header(name) is None]
        place = self.origin(record)
        if lacks or place is None:
            self.fault("malformed", here, f"dead letter without valid {', '.join(lacks) or 'dlq_* origin'}")
            return
        source = self.inputs.get(place)
        if source is None:
            self.fault("unknown_source", place, f"dead letter {here}")
            return
        if (record.key, record.value) != (source.key, source.value):
            self.fault("altered", place, f"dead letter {here} has other bytes than the input")
        if place in self.dead:
            self.report.dead_letter_repeats += 1
            return
        self.dead[place] = record
        self.report.reasons[record.header("dlq_reason") or ""] += 1

    def take_event(self, record: Record) -> None:
        here = (record.partition, record.offset)
        body = _object(record.value)
        place = self.event_place(record, body)
        if place is None:
            self.fault("malformed", here, "risk event without a readable evaluation_id")
            return
        source = self.inputs.get(place)
        if source is None:
            self.fault("unknown_source", place, f"risk event {here}")
            return
        # A redriven record may have been mended: it is the one that was answered.
        self.compare(record, body, self.inputs[self.redriven.get(place, place)], place)
        if place in self.events:
            if body.get("replayed") is True:
                self.report.replayed_repeats += 1
            else:
                self.fault("doubled", place, f"risk event {here} repeats an earlier one and is not marked replayed")
            return
        self.events[place] = record
        # A redriven record is answered late, under its old offset.
        if place not in self.redriven:
            if place[1] <= self.last.get(record.partition, -1):
                self.fault("out_of_order", place, f"risk event {here} comes after source offset {self.last[here[0]]}")
            self.last[record.partition] = max(place[1], self.last.get(record.partition, -1))

    def event_place(self, record: Record, body: dict[str, Any]) -> Place | None:
        """Return the input place that the event's id names; report what contradicts it."""
        identity = body.get("evaluation_id")
        topic_id, _, rest = identity.partition(":") if isinstance(identity, str) else ("", "", "")
        partition, _, offset = rest.partition(":")
        if not (partition.isdigit() and offset.isdigit()):
            return None
        place = (int(partition), int(offset))
        if _plain_id(topic_id) != self.topic_id:
            self.fault("wrong_identity", place, f"topic id {topic_id!r} is not the input topic's")
        if record.header("ce_id") != identity:
            self.fault("wrong_identity", place, f"header ce_id {record.header('ce_id')!r} is not the evaluation id")
        return place

    def compare(self, record: Record, body: dict[str, Any], source: Record, place: Place) -> None:
        if record.partition != place[0]:
            self.fault("wrong_partition", place, f"its risk event is in partition {record.partition}")
        said = body.get("source")
        said = said if isinstance(said, dict) else {}
        if (said.get("topic"), said.get("partition"), said.get("offset")) != (self.topic, *place):
            self.fault("wrong_identity", place, f"source {said} is not what the id says")
        elif _plain_id(str(said.get("topic_id"))) != self.topic_id:
            self.fault("wrong_identity", place, "source.topic_id is not the input topic's")
        session = _object(source.value).get("session_id")
        if body.get("session_id") != session:
            self.fault("wrong_identity", place, "session_id is not the input's")
        if record.key != (session.encode() if isinstance(session, str) else None):
            self.fault("wrong_identity", place, "the key is not the session_id")

    def close(self, expected_dead_letters: Collection[Place] | None) -> Report:
        """Give every input record its one outcome, and report those that have none or two."""
        seen: set[tuple[str, str, int | str]] = set()
        for place in sorted(self.inputs):
            if place in self.identity:
                self.close_redriven(place)
                continue
            if place in self.dead:
                self.report.dead_letters += 1
                if place in self.events and place not in self.redriven:
                    self.fault("doubled", place, "it has a risk event and a dead letter")
                continue
            repeat = _repeat_key(_object(self.inputs[place].value))
            if repeat is not None and repeat in seen:
                self.report.duplicates += 1
                if place in self.events:
                    self.fault("duplicate_scored", place, f"its session sent this {repeat[0]} before")
                continue
            if repeat is not None:
                seen.add(repeat)
            if place in self.events:
                self.report.scored += 1
            else:
                self.fault("missing", place, "no risk event, no dead letter, no duplicate")
        self.close_expected(expected_dead_letters)
        return self.report

    def close_redriven(self, place: Place) -> None:
        first = self.identity[place]
        if place in self.events:
            self.fault("wrong_identity", place, f"a redriven record keeps the identity of {first}")
        if first in self.events:
            self.report.scored += 1
        elif place in self.dead:
            self.report.dead_letters += 1
        else:
            self.fault("missing", place, f"redriven from {first}, and neither scored nor dead again")

    def close_expected(self, expected: Collection[Place] | None) -> None:
        if expected is None:
            return
        for place in sorted(set(self.dead) - set(expected)):
            self.fault("unexpected_dead_letter", place, self.dead[place].header("dlq_reason") or "")
        for place in sorted(set(expected) - set(self.dead)):
            self.fault("expected_dead_letter", place, "not among the dead letters")


if __name__ == "__main__":
    audited = audit(sys.argv[1])
    print(audited)
    sys.exit(0 if audited.ok else 1)
