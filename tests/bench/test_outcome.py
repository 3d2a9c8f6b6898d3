"""The audit of a run passes what is right, and fails once for each thing that can be wrong."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Sequence
from dataclasses import replace

import pytest

from bench.outcome import Audit, Failed, judge_echo, judge_numbers
from bench.workload import workload
from tests.support.ledger import Record
from tests.support.pipeline_world import START_MS, TOPIC, TOPIC_ID, FakeRecord, World, chunk

EVENTS, SESSIONS = 60, 7


@functools.cache
def run() -> tuple[tuple[Record, ...], tuple[Record, ...]]:
    """Return what the standard workload is as input, and what the pipeline makes of it."""
    sent = list(workload(EVENTS, sessions=SESSIONS, in_turn=True))
    inputs = tuple(Record(0, number, key, value) for number, (key, value) in enumerate(sent))

    async def score() -> World:
        world = World()
        await world.store.open()
        records = [FakeRecord(one.offset, one.value, one.key, START_MS + one.offset) for one in inputs]
        await world.pipeline().process(await world.owned(), chunk(records))
        return world

    told = [record for record in asyncio.run(score()).log if record.topic == "risk.events"]
    return inputs, tuple(
        Record(0, number, record.key, record.value, tuple(record.headers or ())) for number, record in enumerate(told)
    )


def judge(audit: Audit, events: Sequence[Record]) -> None:
    audit.judge(run()[0], events, [], topic=TOPIC, topic_id=TOPIC_ID, expected=EVENTS, sessions=SESSIONS)


def changed(events: Sequence[Record], at: int, old: bytes, new: bytes) -> list[Record]:
    value = events[at].value or b""
    assert old in value
    return [*events[:at], replace(events[at], value=value.replace(old, new, 1)), *events[at + 1 :]]


def test_a_right_run_passes_and_so_does_its_repetition() -> None:
    audit = Audit()
    judge(audit, run()[1])
    judge(audit, run()[1])
    assert audit.compared == 2 * EVENTS


@pytest.mark.parametrize("at", [0, 30, EVENTS - 1])
def test_a_missing_event_fails_the_run(at: int) -> None:
    events = list(run()[1])
    del events[at]
    with pytest.raises(Failed, match="missing"):
        judge(Audit(), events)


def test_a_doubled_event_fails_the_run() -> None:
    events = run()[1]
    with pytest.raises(Failed, match="doubled"):
        judge(Audit(), [*events, replace(events[4], offset=EVENTS)])


def test_an_event_that_answers_another_one_fails_the_run() -> None:
    with pytest.raises(Failed, match="wrong_identity"):
        judge(Audit(), changed(run()[1], 5, b'"session_id":"bench-', b'"session_id":"other-'))


@pytest.mark.parametrize(("old", "new"), [(b'"sequence":', b'"sequence":1'), (b'"observed_s":', b'"observed_s":1')])
def test_an_event_that_came_to_something_else_fails_the_run(old: bytes, new: bytes) -> None:
    audit = Audit()
    judge(audit, run()[1])
    with pytest.raises(Failed, match="1 of 60 risk events differ"):
        judge(audit, changed(run()[1], 5, old, new))


def test_a_bot_score_that_is_another_one_fails_the_run() -> None:
    audit, events = Audit(), run()[1]
    judge(audit, events)
    scored = b'"bot":{"state":"scored","score":0.'
    at = next(number for number, event in enumerate(events) if scored in (event.value or b""))
    with pytest.raises(Failed, match="1 of 60 risk events differ"):
        judge(audit, changed(events, at, scored, scored + b"1"))


def test_the_echo_must_publish_each_record_once_and_as_it_came() -> None:
    inputs = run()[0]
    judge_echo(inputs, inputs, EVENTS)
    for wrong in (inputs[1:], [*inputs, inputs[-1]], [replace(inputs[0], value=b"{}"), *inputs[1:]]):
        with pytest.raises(Failed, match="it published"):
            judge_echo(inputs, wrong, EVENTS)


def test_by_number_alone_missing_doubled_and_strange_events_are_found() -> None:
    events = run()[1]
    judge_numbers(events, EVENTS)
    with pytest.raises(Failed, match="1 are missing, 0 doubled, 0 are no"):
        judge_numbers(events[1:], EVENTS)
    with pytest.raises(Failed, match="0 are missing, 1 doubled, 0 are no"):
        judge_numbers([*events, events[3]], EVENTS)
    with pytest.raises(Failed, match="1 are missing, 0 doubled, 1 are no"):
        judge_numbers(changed(events, 0, b'"event_id":"e1-0"', b'"event_id":"e1-99"'), EVENTS)
