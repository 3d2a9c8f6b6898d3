"""A number that can't be a session's next one is refused alone; one session's numbers never stop its partition."""

from __future__ import annotations

import asyncio
from collections import Counter

import msgspec

from schemas.envelope import encode
from schemas.telemetry import Telemetry
from stream.deadletter import DeadLetterLimit
from stream.sequence import MAX_SEQUENCE_JUMP
from tests.support.pipeline_world import FakeRecord, World, processed, records_of, simulated

HUGE = 2**31 - 1


def numbered(event: Telemetry, *sequences: int) -> list[FakeRecord]:
    named = [
        msgspec.structs.replace(event, sequence=number, event_id=f"e{at}", end=None)
        for at, number in enumerate(sequences)
    ]
    return records_of(named)


def run(records: list[FakeRecord], limit: DeadLetterLimit | None = None, size: int = 7) -> World:
    return asyncio.run(processed(records, size, **({} if limit is None else {"limit": limit})))


def outcomes(world: World) -> tuple[list[int], Counter[bytes]]:
    """Source offsets that were scored, and dead letters by reason."""
    letters = [record for record in world.log if record.topic == "risk.deadletter"]
    return [event.source.offset for event in world.events()], Counter(
        dict(letter.headers or [])["dlq_reason"] or b"" for letter in letters
    )


def test_a_forged_huge_number_is_refused_and_its_session_goes_on() -> None:
    (event,) = simulated(1, 4)
    scored, dead = outcomes(run(numbered(event, 0, 1, HUGE, 2, 3, HUGE - 1, 4)))
    assert (scored, dead) == ([0, 1, 3, 4, 6], {b"sequence_too_far": 2})


def test_a_jump_up_to_the_bound_is_no_forgery() -> None:
    (event,) = simulated(1, 4)
    scored, dead = outcomes(run(numbered(event, 5, 5 + MAX_SEQUENCE_JUMP, 6 + 2 * MAX_SEQUENCE_JUMP)))
    assert (scored, dead) == ([0, 1], {b"sequence_too_far": 1})


def test_a_session_whose_beginning_is_not_known_may_start_anywhere() -> None:
    (event,) = simulated(1, 4)
    world = run(numbered(event, HUGE - 1, HUGE))
    assert outcomes(world) == ([0, 1], {})
    assert [one.state_cold for one in world.events()] == [True, True]


def test_one_sessions_numbers_do_not_stop_the_partition() -> None:
    """One client floods with numbers of its own; a wrong format of as many records does stop the line."""
    (event,) = simulated(1, 4)
    records = numbered(event, 1_000, *([0] * 200), *([HUGE] * 200), 1_001)
    scored, dead = outcomes(run(records, DeadLetterLimit(0.5, 50)))
    assert (scored, dead) == ([0, 401], {b"sequence_too_old": 200, b"sequence_too_far": 200})
    other = msgspec.structs.replace(event, tenant="another-tenant")
    mixed = [*numbered(event, 0), *(FakeRecord(i, encode(other), None, 1_790_000_000_000) for i in range(1, 300))]
    assert outcomes(run(mixed, DeadLetterLimit(0.5, 50)))[1] == {b"tenant_mismatch": 299}
