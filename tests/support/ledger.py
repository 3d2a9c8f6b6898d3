"""The independent verifier: reads the whole input and output topics by itself and says where every input record went.

It imports nothing of the project, so that a mistake there cannot hide itself here. What it checks (observable I1): each
input offset has exactly one outcome - a risk event, a dead letter, or a declared filter ("duplicate", "erasure") as
this module itself finds it in the input - with the right identity, in the same partition, in order, and with untouched
bytes. A redriven record is an input of its own; its outcome names the place that the record first had.

As a script it audits the standard topics: `python -m tests.support.ledger BOOTSTRAP`, exit status 1 on a violation.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from tests.support.log_reader import (
    Record,
    again_at,
    answered_by,
    is_part,
    number_of,
    object_of,
    place_of,
    plain_id,
    read_topic,
    topic_id,
)

__all__ = ["Kind", "Place", "Record", "Report", "Violation", "answered_by", "audit", "check", "read_topic", "topic_id"]

Kind = Literal[
    "missing",  # an input record without any outcome
    "doubled",  # a second event of a record or id that is not marked `replayed`, or an event and a dead letter for one
    "duplicate_scored",  # the input repeats what its session already sent, and was scored all the same
    "erasure_scored",  # a request to forget a session was answered like telemetry
    "unknown_source",  # an outcome for an offset that the input topic does not have
    "wrong_partition",  # a risk event that is not in its source's partition
    "wrong_identity",  # id, headers, source, session or key contradict one another or the input
    "out_of_order",  # first events of a partition whose source offsets go backwards
    "altered",  # a dead letter whose key or value is not the input's
    "malformed",  # an outcome that cannot be read, or lacks what it must have
    "unexpected_dead_letter",  # only where the caller says which dead letters are right
    "expected_dead_letter",  # likewise: named by the caller, and not there
]
HELD_UP_MS = 5_000
"""Longer than anything but a freeze keeps a scored event from the log: nobody takes over sooner, epoch ms apart."""
Place = tuple[int, int]
"""Partition and offset in the input topic."""

_ERASURE = "capture.erasure.v1"
DOOR_TOPIC = "capture.signals"
_DEAD_LETTER_HEADERS = ("dlq_topic", "dlq_partition", "dlq_offset", "dlq_reason", "dlq_path")


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
    erasures: int = 0
    """Requests to forget a session: what it sends behind one is no repeat of what it sent before."""
    replayed_repeats: int = 0
    """Further events of an id, marked `replayed`: none after a graceful stop."""
    late_repeats: int = 0
    """Further events that could not be marked: scored before the first was there, and held up on the way to the log.

    A worker that is frozen with events in its client's buffers sends them when it wakes, behind those of its heir.
    """
    redriven: int = 0
    """Inputs that are dead letters sent again, whatever became of them."""
    redrive_notes: int = 0
    """Records of the dead-letter topic that only say that a dead letter was sent again."""
    dead_letter_repeats: int = 0
    """Further dead letters of a record, equal to the first: none after a graceful stop."""
    reasons: Counter[str] = field(default_factory=Counter)
    """Dead letters by `dlq_reason`."""
    door_dead_letters: int = 0
    """Dead letters of the door's topic, which is another input: counted, not judged here."""
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
            f"+ {self.duplicates} duplicates + {self.erasures} erasures; "
            f"repeats {self.replayed_repeats} + {self.dead_letter_repeats}"
            + (f", late {self.late_repeats}" if self.late_repeats else "")
        )
        shown = [f"  {violation}" for violation in self.violations[:20]]
        more = len(self.violations) - len(shown)
        return "\n".join(
            [counts, f"violations {dict(self.kinds())}", *shown, *([f"  ... {more} more"] if more else [])]
        )


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
    ledger = _Ledger(input_topic, plain_id(input_topic_id))
    ledger.take_inputs(inputs)
    for record in dead_letters:
        ledger.take_dead_letter(record)
    for record in events:
        ledger.take_event(record)
    return ledger.close(expected_dead_letters)


def _repeat_key(body: dict[str, Any]) -> tuple[str, str, int | str] | None:
    """Return what makes two records of a partition one: session and sequence, or session and the result's own id."""
    session = body.get("session_id")
    if not isinstance(session, str):
        return None
    sequence, event_id = body.get("sequence"), body.get("event_id")
    if isinstance(sequence, int) and not isinstance(sequence, bool):
        return ("sequence", session, sequence)
    return ("event_id", session, event_id) if isinstance(event_id, str) else None


class _Sessions:
    """What each session has sent so far: which records repeat it, and which ask to forget it."""

    def __init__(self) -> None:
        self._sent: dict[str, set[tuple[str, str, int | str]]] = {}
        self._tenants: dict[str, str] = {}

    def take(self, body: dict[str, Any]) -> Literal["new", "repeat", "erasure"]:
        """Say what a record is, in offset order, and remember it."""
        session, tenant = str(body.get("session_id")), str(body.get("tenant"))
        known = self._tenants.setdefault(session, tenant)
        if body.get("type") == _ERASURE and tenant == known:
            del self._tenants[session]
            self._sent.pop(session, None)
            return "erasure"
        repeat = _repeat_key(body)
        sent = self._sent.setdefault(session, set())
        if repeat in sent:
            return "repeat"
        if repeat is not None:
            sent.add(repeat)
        return "new"


def _source_place(body: dict[str, Any]) -> Place | None:
    """Return the input place that a risk event's source names."""
    source = body.get("source")
    return place_of(source.get("partition"), source.get("offset")) if isinstance(source, dict) else None


@dataclass(frozen=True, slots=True)
class _First:
    """The first place of a redriven record, and how often it was tried before."""

    place: Place
    attempts: int


@dataclass(slots=True)
class _Ledger:
    topic: str
    topic_id: str
    report: Report = field(default_factory=Report)
    inputs: dict[Place, Record] = field(default_factory=dict)
    firsts: dict[Place, _First] = field(default_factory=dict)
    """By the place of a redriven record: the one that it first had."""
    dead: dict[Place, Record] = field(default_factory=dict)
    events: dict[Place, Record] = field(default_factory=dict)
    answered: dict[Place, Place] = field(default_factory=dict)
    """By the place that an evaluation id names: the input that the first event of this id answers."""
    last: dict[int, int] = field(default_factory=dict)
    """Highest source offset that each output partition has shown so far."""

    def fault(self, kind: Kind, place: Place, detail: str) -> None:
        self.report.violations.append(Violation(kind, place, detail))

    def take_inputs(self, records: Iterable[Record]) -> None:
        for record in records:
            place = (record.partition, record.offset)
            self.inputs[place] = record
            first = self.first_of(record)
            if first is not None:
                self.firsts[place] = first
        self.report.inputs = len(self.inputs)
        self.report.redriven = len(self.firsts)

    def first_of(self, record: Record) -> _First | None:
        """Return the first place that an input's headers name; None unless it could be true."""
        names = [name for name, _ in record.headers if name.startswith("dlq_")]
        place = self.named(record)
        if place is None or len(names) != len(set(names)):
            return None
        if plain_id(record.header("dlq_topic_id") or "") != self.topic_id:
            return None
        if place[0] >= 2**31 or place[1] >= 2**63 or (place[0] == record.partition and place[1] >= record.offset):
            return None
        return _First(place, number_of(record.header("dlq_attempts")) or 1)

    def named(self, record: Record) -> Place | None:
        """Return the input place that `dlq_*` headers name, None where they do not name one of this topic."""
        partition, offset = number_of(record.header("dlq_partition")), number_of(record.header("dlq_offset"))
        if record.header("dlq_topic") != self.topic or partition is None or offset is None:
            return None
        return (partition, offset)

    def identity(self, place: Place) -> Place:
        """Return the place that the outcome of an input must name."""
        first = self.firsts.get(place)
        return place if first is None else first.place

    def take_dead_letter(self, record: Record) -> None:
        here = (record.partition, record.offset)
        if record.header("dlq_redriven_at") is not None:
            self.take_note(record, here)
            return
        lacks = [name for name in _DEAD_LETTER_HEADERS if record.header(name) is None]
        if not lacks and record.header("dlq_topic") == DOOR_TOPIC != self.topic:
            self.report.door_dead_letters += 1
            return
        named = self.named(record)
        if lacks or named is None:
            self.fault("malformed", here, f"dead letter without valid {', '.join(lacks) or 'dlq_* origin'}")
            return
        place = again_at(record) or named
        source = self.inputs.get(place)
        if source is None:
            self.fault("unknown_source", place, f"dead letter {here}")
            return
        if record.key != source.key or not (record.value == source.value or is_part(record, source)):
            self.fault("altered", place, f"dead letter {here} has other bytes than the input")
        first = self.firsts.get(place)
        wanted = (place, 1) if first is None else (first.place, first.attempts + 1)
        said = (named, number_of(record.header("dlq_attempts")) or 1)
        if said != wanted:
            self.fault("wrong_identity", place, f"dead letter {here} names {said}, place and attempts are {wanted}")
        if place in self.dead:
            self.report.dead_letter_repeats += 1
            return
        self.dead[place] = record
        self.report.reasons[record.header("dlq_reason") or ""] += 1

    def take_note(self, record: Record, here: Place) -> None:
        self.report.redrive_notes += 1
        named, sent_to = self.named(record), again_at(record)
        if named is None or sent_to is None or record.value is not None or record.key is not None:
            self.fault("malformed", here, "a redrive's note without its two places, or with more than these")
        elif sent_to not in self.inputs or self.identity(sent_to) != named:
            self.fault("unknown_source", sent_to, f"redrive's note {here}: there is no record that first was {named}")

    def take_event(self, record: Record) -> None:
        here = (record.partition, record.offset)
        body = object_of(record.value)
        place = _source_place(body)
        if place is None:
            self.fault("malformed", here, "risk event without a readable source")
            return
        source = self.inputs.get(place)
        if source is None:
            self.fault("unknown_source", place, f"risk event {here}")
            return
        self.compare(record, body, source, place)
        identity = self.identity(place)
        other = self.answered.setdefault(identity, place)
        if other != place:
            self.fault("doubled", place, f"risk event {here} has the id of {identity}, as that of input {other} has")
        if place in self.events:
            if body.get("replayed") is True:
                self.report.replayed_repeats += 1
            elif _was_held_up(record, body, self.events[place]):
                self.report.late_repeats += 1
            else:
                self.fault("doubled", place, f"risk event {here} repeats an earlier one and is not marked replayed")
            return
        self.events[place] = record
        if place[1] <= self.last.get(record.partition, -1):
            self.fault("out_of_order", place, f"risk event {here} comes after source offset {self.last[here[0]]}")
        self.last[record.partition] = max(place[1], self.last.get(record.partition, -1))

    def compare(self, record: Record, body: dict[str, Any], source: Record, place: Place) -> None:
        if record.partition != place[0]:
            self.fault("wrong_partition", place, f"its risk event is in partition {record.partition}")
        said = body["source"]
        if said.get("topic") != self.topic or plain_id(str(said.get("topic_id"))) != self.topic_id:
            self.fault("wrong_identity", place, f"source {said} is not of the input topic")
        identity = body.get("evaluation_id")
        topic_id, _, rest = identity.partition(":") if isinstance(identity, str) else ("", "", "")
        wanted = self.identity(place)
        if plain_id(topic_id) != self.topic_id or rest != f"{wanted[0]}:{wanted[1]}":
            self.fault("wrong_identity", place, f"evaluation_id {identity!r} is not that of {wanted}")
        if record.header("ce_id") != identity:
            self.fault("wrong_identity", place, f"header ce_id {record.header('ce_id')!r} is not the evaluation id")
        if (body.get("redriven") is True) != (place in self.firsts):
            self.fault("wrong_identity", place, f"`redriven` is {body.get('redriven')}, and the input's headers differ")
        session = object_of(source.value).get("session_id")
        if body.get("session_id") != session:
            self.fault("wrong_identity", place, "session_id is not the input's")
        if record.key != (session.encode() if isinstance(session, str) else None):
            self.fault("wrong_identity", place, "the key is not the session_id")

    def close(self, expected_dead_letters: Collection[Place] | None) -> Report:
        """Give every input record its one outcome, and report those that have none or two."""
        sessions = _Sessions()
        for place in sorted(self.inputs):
            if place in self.dead:
                self.report.dead_letters += 1
                if place in self.events:
                    self.fault("doubled", place, "it has a risk event and a dead letter")
                continue
            kind = sessions.take(object_of(self.inputs[place].value))
            if kind == "erasure":
                self.report.erasures += 1
                if place in self.events:
                    self.fault("erasure_scored", place, "it has a risk event")
            elif kind == "repeat":
                self.report.duplicates += 1
                if place in self.events:
                    self.fault("duplicate_scored", place, "its session sent this before")
            elif place in self.events:
                self.report.scored += 1
            else:
                self.fault("missing", place, "no risk event, no dead letter, no duplicate")
        self.close_expected(expected_dead_letters)
        return self.report

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


def _was_held_up(record: Record, body: Mapping[str, Any], first: Record) -> bool:
    """Whether a repeat was scored before the first copy was appended, long before it was appended itself."""
    scored_at = body.get("scored_at")
    if not isinstance(scored_at, int):
        return False
    return scored_at < first.time_ms and record.time_ms - scored_at >= HELD_UP_MS
