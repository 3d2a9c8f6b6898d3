"""Runs of a pipeline that has no faults, as the three topics that the ledger reads."""

from __future__ import annotations

from dataclasses import dataclass, field

import orjson
from hypothesis import strategies as st

from tests.support.ledger import Record, Report, check

TOPIC = "capture.telemetry"
TOPIC_ID = "qfnGC9uKQ9mK06E/9DuAKg"


@dataclass
class Run:
    """Three topics as lists, made by a pipeline that has no faults."""

    inputs: list[Record] = field(default_factory=list)
    events: list[Record] = field(default_factory=list)
    dead: list[Record] = field(default_factory=list)

    def report(self, **options: object) -> Report:
        return check(self.inputs, self.events, self.dead, input_topic=TOPIC, input_topic_id=TOPIC_ID, **options)  # type: ignore[arg-type]


def event_of(source: Record, *, at: int, replayed: bool = False, first: tuple[int, int] | None = None) -> Record:
    """The risk event that a faultless pipeline publishes for `source`, as offset `at` of its partition.

    `first` is the place that a redriven record first had.
    """
    session = orjson.loads(source.value or b"")["session_id"]
    partition, offset = first or (source.partition, source.offset)
    identity = f"{TOPIC_ID.replace('/', '_')}:{partition}:{offset}"
    place = {"topic": TOPIC, "topic_id": TOPIC_ID, "partition": source.partition, "offset": source.offset}
    body = {"evaluation_id": identity, "source": place, "session_id": session} | ({"redriven": True} if first else {})
    value = orjson.dumps(body | ({"replayed": True} if replayed else {}))
    return Record(source.partition, at, session.encode(), value, (("ce_id", identity.encode()),))


def dead_letter_of(source: Record, *, at: int, first: tuple[int, int] | None = None, attempts: int = 1) -> Record:
    partition, offset = first or (source.partition, source.offset)
    said = {"topic": TOPIC, "topic_id": TOPIC_ID, "partition": partition, "offset": offset, "attempts": attempts}
    if first:
        said |= {"redriven_partition": source.partition, "redriven_offset": source.offset}
    headers = [(f"dlq_{name}", str(value).encode()) for name, value in said.items()]
    return Record(
        source.partition, at, source.key, source.value, (*headers, ("dlq_reason", b"schema"), ("dlq_path", b"$.flow"))
    )


def note_of(sent_to: Record, *, at: int, first: tuple[int, int]) -> Record:
    """What a redrive leaves in the dead-letter topic."""
    said = {"topic": TOPIC, "topic_id": TOPIC_ID, "partition": first[0], "offset": first[1], "redriven_at": 1}
    said |= {"redriven_partition": sent_to.partition, "redriven_offset": sent_to.offset}
    return Record(first[0], at, None, None, tuple((f"dlq_{name}", str(value).encode()) for name, value in said.items()))


def run_of(choices: list[tuple[int, int, int, bool]]) -> Run:
    """Make a faultless run of inputs `(partition, session, sequence, bad)`."""
    run, seen = Run(), set()
    for number, (partition, session_number, sequence, bad) in enumerate(choices):
        # Offsets have gaps, as in a log with transactions.
        offset, session = 3 * number, f"s{session_number}-{partition}"
        body = orjson.dumps({"session_id": session, "sequence": sequence, "event_id": f"e{number}"})
        source = Record(partition, offset, session.encode(), body[:-1] if bad else body)
        run.inputs.append(source)
        if bad:
            run.dead.append(dead_letter_of(source, at=number))
        elif (session, sequence) not in seen:
            run.events.append(event_of(source, at=number))
            seen.add((session, sequence))
    return run


runs = st.lists(
    st.tuples(st.integers(0, 2), st.integers(0, 3), st.integers(0, 4), st.booleans()), min_size=1, max_size=40
).map(run_of)
