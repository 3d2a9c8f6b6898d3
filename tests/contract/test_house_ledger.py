"""The ledger sees: a clean run passes, and each seeded fault is found under its own name."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable

import orjson
import pytest
from confluent_kafka import Producer
from hypothesis import assume, given
from hypothesis import strategies as st

from tests.contract.ledger_runs import TOPIC, TOPIC_ID, Run, dead_letter_of, event_of, note_of, run_of, runs
from tests.support import ledger
from tests.support.kafka import KafkaBroker
from tests.support.ledger import Record, audit


@given(run=runs)
def test_a_clean_run_passes_and_every_input_is_counted_once(run: Run) -> None:
    report = run.report(expected_dead_letters={(bad.partition, 3 * bad.offset) for bad in run.dead})
    assert report.ok, str(report)
    assert report.inputs == len(run.inputs) == report.scored + report.dead_letters + report.duplicates
    assert (report.scored, report.dead_letters) == (len(run.events), len(run.dead))


@given(run=runs, data=st.data())
def test_marked_repeats_are_counted_and_allowed(run: Run, data: st.DataObject) -> None:
    repeated = data.draw(st.lists(st.sampled_from(run.inputs), max_size=5))
    scored = {(event.partition, 3 * event.offset) for event in run.events}
    again = [source for source in repeated if (source.partition, source.offset) in scored]
    run.events += [event_of(source, at=1000 + number, replayed=True) for number, source in enumerate(again)]
    report = run.report()
    assert report.ok, str(report)
    assert report.replayed_repeats == len(again)


@given(run=runs, data=st.data())
def test_what_a_freeze_held_up_is_counted_and_allowed_and_any_other_unmarked_repeat_is_not(
    run: Run, data: st.DataObject
) -> None:
    assume(run.events)
    first = data.draw(st.sampled_from(run.events))
    there_ms, freeze_ms = 1_000_000, data.draw(st.integers(0, 60_000))
    scored_at = there_ms + data.draw(st.integers(-60_000, 60_000))
    run.events[run.events.index(first)] = dataclasses.replace(first, time_ms=there_ms)
    copy = dataclasses.replace(_rebuilt(first, scored_at=scored_at), offset=10_000, time_ms=scored_at + freeze_ms)
    run.events.append(copy)
    report = run.report()
    is_held_up = scored_at < there_ms and freeze_ms >= ledger.HELD_UP_MS
    assert report.ok is is_held_up
    assert report.late_repeats == is_held_up


@pytest.mark.parametrize(("topic", "found"), [(ledger.DOOR_TOPIC, {}), ("some.other", {"malformed": 1})])
def test_dead_letters_of_the_doors_topic_are_counted_apart_and_of_no_other(topic: str, found: dict[str, int]) -> None:
    run = run_of([(0, 0, 0, False)])
    letter = dead_letter_of(run.inputs[0], at=1)
    headers = tuple((name, topic.encode() if name == "dlq_topic" else value) for name, value in letter.headers)
    run.dead.append(dataclasses.replace(letter, headers=headers))
    report = run.report()
    assert report.kinds() == found
    assert (report.door_dead_letters, report.dead_letters) == (0 if found else 1, 0)


def _rebuilt(event: Record, **changes: object) -> Record:
    return dataclasses.replace(event, value=orjson.dumps(orjson.loads(event.value or b"") | changes))


def _drop_event(run: Run, event: Record) -> None:
    run.events.remove(event)


def _double(run: Run, event: Record) -> None:
    run.events.append(dataclasses.replace(event, offset=event.offset + 1000))


def _wrong_partition(run: Run, event: Record) -> None:
    run.events[run.events.index(event)] = dataclasses.replace(event, partition=event.partition + 1)


def _backwards(run: Run, event: Record) -> None:
    # One record earlier in the input, whose event comes last.
    first = Record(event.partition, 1, b"early", orjson.dumps({"session_id": "early", "sequence": 0}))
    run.inputs.append(first)
    late = Record(event.partition, 10_000, b"late", orjson.dumps({"session_id": "late", "sequence": 0}))
    run.inputs.append(late)
    run.events += [event_of(late, at=1000), event_of(first, at=1001)]


def _scored_duplicate(run: Run, event: Record) -> None:
    first = next(each for each in run.inputs if (each.partition, each.offset) == (event.partition, 3 * event.offset))
    repeat = dataclasses.replace(first, offset=10_000)
    run.inputs.append(repeat)
    run.events.append(event_of(repeat, at=1000))


def _both(run: Run, event: Record) -> None:
    source = next(each for each in run.inputs if (each.partition, each.offset) == (event.partition, 3 * event.offset))
    run.dead.append(dead_letter_of(source, at=1000))


def _invented(run: Run, event: Record) -> None:
    ghost = Record(event.partition, 10_001, b"ghost", orjson.dumps({"session_id": "ghost", "sequence": 0}))
    run.events.append(event_of(ghost, at=1000))


def _other_header(run: Run, event: Record) -> None:
    run.events[run.events.index(event)] = dataclasses.replace(event, headers=(("ce_id", b"x:0:0"),))


def _other_session(run: Run, event: Record) -> None:
    run.events[run.events.index(event)] = _rebuilt(event, session_id="somebody-else")


def _other_source(run: Run, event: Record) -> None:
    source = {"topic": TOPIC, "topic_id": TOPIC_ID, "partition": event.partition, "offset": 77_777}
    run.events[run.events.index(event)] = _rebuilt(event, source=source)


def _other_log(run: Run, event: Record) -> None:
    identity = f"AAAAAAAAAAAAAAAAAAAAAA:{event.partition}:{3 * event.offset}"
    changed = _rebuilt(event, evaluation_id=identity)
    run.events[run.events.index(event)] = dataclasses.replace(changed, headers=(("ce_id", identity.encode()),))


def _other_key(run: Run, event: Record) -> None:
    run.events[run.events.index(event)] = dataclasses.replace(event, key=b"other")


def _cut_event(run: Run, event: Record) -> None:
    run.events[run.events.index(event)] = dataclasses.replace(event, value=(event.value or b"")[:-1])


EVENT_FAULTS: dict[str, list[Callable[[Run, Record], None]]] = {
    "missing": [_drop_event],
    "doubled": [_double, _both],
    "wrong_partition": [_wrong_partition],
    "out_of_order": [_backwards],
    "duplicate_scored": [_scored_duplicate],
    "unknown_source": [_invented, _other_source],
    "wrong_identity": [_other_header, _other_session, _other_log, _other_key],
    "malformed": [_cut_event],
}


@pytest.mark.parametrize(
    ("kind", "fault"),
    [pytest.param(kind, fault, id=fault.__name__) for kind in EVENT_FAULTS for fault in EVENT_FAULTS[kind]],
)
@given(run=runs.filter(lambda run: bool(run.events)), data=st.data())
def test_each_fault_in_risk_events_is_found(
    kind: str, fault: Callable[[Run, Record], None], run: Run, data: st.DataObject
) -> None:
    fault(run, data.draw(st.sampled_from(run.events)))
    assert run.report().kinds()[kind] >= 1


def _drop_dead(run: Run, dead: Record) -> None:
    run.dead.remove(dead)


def _other_bytes(run: Run, dead: Record) -> None:
    run.dead[run.dead.index(dead)] = dataclasses.replace(dead, value=(dead.value or b"") + b" ")


def _lost_key(run: Run, dead: Record) -> None:
    run.dead[run.dead.index(dead)] = dataclasses.replace(dead, key=None)


def _no_path(run: Run, dead: Record) -> None:
    kept = tuple(header for header in dead.headers if header[0] != "dlq_path")
    run.dead[run.dead.index(dead)] = dataclasses.replace(dead, headers=kept)


def _other_offset(run: Run, dead: Record) -> None:
    changed = tuple((name, b"77777" if name == "dlq_offset" else value) for name, value in dead.headers)
    run.dead[run.dead.index(dead)] = dataclasses.replace(dead, headers=changed)


@pytest.mark.parametrize(
    ("kind", "fault"),
    [
        ("missing", _drop_dead),
        ("altered", _other_bytes),
        ("altered", _lost_key),
        ("malformed", _no_path),
        ("unknown_source", _other_offset),
    ],
)
@given(run=runs.filter(lambda run: bool(run.dead)), data=st.data())
def test_each_fault_in_dead_letters_is_found(
    kind: str, fault: Callable[[Run, Record], None], run: Run, data: st.DataObject
) -> None:
    fault(run, data.draw(st.sampled_from(run.dead)))
    assert run.report().kinds()[kind] >= 1


@given(run=runs.filter(lambda run: bool(run.dead) and bool(run.events)))
def test_dead_letters_that_should_not_be_or_are_not_there_are_found(run: Run) -> None:
    scored = {(event.partition, 3 * event.offset) for event in run.events}
    kinds = run.report(expected_dead_letters=scored).kinds()
    assert kinds == {"unexpected_dead_letter": len(run.dead), "expected_dead_letter": len(scored)}


def test_a_part_of_a_large_value_passes_with_its_size_and_hash_only() -> None:
    source = Record(0, 3, b"s", b"[" * 2_000_000)
    whole = dead_letter_of(source, at=0)
    said = {"dlq_truncated": b"2000000", "dlq_sha256": hashlib.sha256(source.value or b"").hexdigest().encode()}
    for changes, ok in (({}, True), ({"dlq_sha256": b"00"}, False), ({"dlq_truncated": b"2000001"}, False)):
        headers = (*whole.headers, *(said | changes).items())
        part = dataclasses.replace(whole, value=(source.value or b"")[:65_536], headers=headers)
        assert Run([source], [], [part]).report().ok is ok
        assert Run([source], [], [dataclasses.replace(part, value=b"[")]).report().kinds() == {"altered": 1}


MENDED = orjson.dumps({"session_id": "s1-0", "sequence": 0})


def redriven_run() -> tuple[Run, Record]:
    """One dead letter and one scored record, then the dead letter sent again, mended, and its note; no event yet."""
    run = run_of([(0, 1, 0, True), (0, 2, 0, False)])
    again = dataclasses.replace(run.inputs[0], offset=9, value=MENDED, headers=run.dead[0].headers)
    run.inputs.append(again)
    run.dead.append(note_of(again, at=5, first=(0, 0)))
    return run, again


def test_a_redriven_record_is_an_input_of_its_own_that_keeps_its_first_id() -> None:
    run, again = redriven_run()
    assert run.report().kinds() == {"missing": 1}
    run.events.append(event_of(again, at=5, first=(0, 0)))
    report = run.report()
    assert report.ok, str(report)
    assert (report.inputs, report.scored, report.dead_letters, report.redriven, report.redrive_notes) == (3, 2, 1, 1, 1)


@pytest.mark.parametrize("first", [None, (0, 3), (1, 0)])
def test_a_redriven_record_under_another_id_is_found(first: tuple[int, int] | None) -> None:
    run, again = redriven_run()
    run.events.append(event_of(again, at=5, first=first))
    assert "wrong_identity" in run.report().kinds()


def test_a_redriven_record_that_fails_again_names_its_first_place_and_counts() -> None:
    run, again = redriven_run()
    for attempts, first, ok in ((2, (0, 0), True), (1, (0, 0), False), (2, None, False)):
        run.dead[2:] = [dead_letter_of(again, at=6, first=first, attempts=attempts)]
        assert run.report().ok is ok
        assert ok or run.report().kinds() == {"wrong_identity": 1}


def test_a_dead_letter_that_is_redriven_twice_is_scored_once() -> None:
    run, again = redriven_run()
    run.inputs.append(dataclasses.replace(again, offset=12))
    run.events.append(event_of(again, at=5, first=(0, 0)))
    report = run.report()
    assert report.ok, str(report)
    assert (report.redriven, report.duplicates) == (2, 1)
    run.events.append(event_of(run.inputs[-1], at=6, first=(0, 0)))
    assert run.report().kinds() == {"doubled": 1, "duplicate_scored": 1}


def test_a_record_that_was_scored_and_is_redriven_all_the_same_is_a_duplicate() -> None:
    run = run_of([(0, 2, 0, False)])
    run.inputs.append(dataclasses.replace(run.inputs[0], offset=9, headers=dead_letter_of(run.inputs[0], at=0).headers))
    assert run.report().duplicates == 1
    assert run.report().ok
    run.events.append(event_of(run.inputs[-1], at=6, first=(0, 0)))
    assert run.report().kinds() == {"doubled": 1, "duplicate_scored": 1}


FORGED: dict[str, tuple[str, bytes]] = {
    "another topic": ("dlq_topic", b"capture.signals"),
    "another log": ("dlq_topic_id", b"AAAAAAAAAAAAAAAAAAAAAA"),
    "its own place": ("dlq_offset", b"9"),
    "a later place": ("dlq_offset", b"10"),
    "negative": ("dlq_offset", b"-1"),
    "no number": ("dlq_offset", "٣".encode()),
    "not the usual way": ("dlq_offset", b"00"),
    "too large": ("dlq_offset", b"9" * 5_000),
    "a partition that can't be": ("dlq_partition", b"4294967296"),
}


@pytest.mark.parametrize("name", [*FORGED, "twice"])
def test_headers_that_cannot_be_true_give_no_identity(name: str) -> None:
    run, again = redriven_run()
    if name == "twice":
        headers: tuple[tuple[str, str | bytes | None], ...] = (*again.headers, ("dlq_offset", b"0"))
    else:
        headers = tuple((key, FORGED[name][1] if key == FORGED[name][0] else value) for key, value in again.headers)
    run.inputs[-1] = dataclasses.replace(again, headers=headers)
    del run.dead[-1]
    run.events.append(event_of(again, at=5))
    report = run.report()
    assert report.ok, str(report)
    assert report.redriven == 0
    run.events[-1] = event_of(again, at=5, first=(0, 0))
    assert "wrong_identity" in run.report().kinds()


def _note_elsewhere(run: Run, again: Record) -> None:
    run.dead[-1] = note_of(dataclasses.replace(again, offset=77), at=5, first=(0, 0))


def _note_of_another(run: Run, again: Record) -> None:
    run.dead[-1] = note_of(again, at=5, first=(0, 3))


def _note_with_bytes(run: Run, again: Record) -> None:
    run.dead[-1] = dataclasses.replace(run.dead[-1], value=b"{}")


@pytest.mark.parametrize(
    ("kind", "fault"),
    [("unknown_source", _note_elsewhere), ("unknown_source", _note_of_another), ("malformed", _note_with_bytes)],
)
def test_each_fault_in_a_redrives_note_is_found(kind: str, fault: Callable[[Run, Record], None]) -> None:
    run, again = redriven_run()
    run.events.append(event_of(again, at=5, first=(0, 0)))
    fault(run, again)
    assert run.report().kinds() == {kind: 1}


@pytest.mark.parametrize("dropped", [False, True])
def test_audit_reads_whole_topics_of_a_real_broker(kafka_broker: KafkaBroker, *, dropped: bool) -> None:
    names = [kafka_broker.create_topic(partitions=3) for _ in range(3)]
    run = run_of([(number % 3, number % 5, number // 5, False) for number in range(60)])
    producer = Producer({"bootstrap.servers": kafka_broker.bootstrap})
    topic_id = kafka_broker.topic_id(names[0])
    offsets = dict.fromkeys(range(3), 0)
    for source in run.inputs:
        producer.produce(names[0], source.value, source.key, partition=source.partition)
        identity = f"{topic_id}:{source.partition}:{offsets[source.partition]}"
        body = orjson.loads(event_of(source, at=0).value or b"")
        body |= {"evaluation_id": identity}
        body["source"] |= {"topic": names[0], "topic_id": topic_id, "offset": offsets[source.partition]}
        if not (dropped and source.partition == 1 and offsets[1] == 7):
            headers: list[tuple[str, str | bytes | None]] = [("ce_id", identity)]
            producer.produce(names[1], orjson.dumps(body), source.key, partition=source.partition, headers=headers)
        offsets[source.partition] += 1
    assert producer.flush(10) == 0
    report = audit(kafka_broker.bootstrap, input_topic=names[0], events_topic=names[1], dead_letters_topic=names[2])
    assert report.inputs == 60
    assert [(each.kind, each.place) for each in report.violations] == ([("missing", (1, 7))] if dropped else [])
