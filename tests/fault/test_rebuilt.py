"""The observables of a rewind are seen to fail: old decisions that go out again, sessions that are marked wrongly."""

from __future__ import annotations

import msgspec
import pytest

from schemas.examples import examples_of
from schemas.risk import RiskEvent, Source
from tests.fault import rebuilt
from tests.fault.observe import Commit, Evidence
from tests.fault.row import Outcome
from tests.support.ledger import Record

FAULT_MS = 1_000


def event(offset: int, time_ms: int, session_id: str = "s", *, state_cold: bool = False) -> Record:
    """One risk event of partition 0, appended at `time_ms`."""
    example = next(one.message for one in examples_of(RiskEvent) if isinstance(one.message, RiskEvent))
    source = Source(topic="capture.telemetry", topic_id="id", partition=0, offset=offset)
    made = msgspec.structs.replace(example, source=source, session_id=session_id, state_cold=state_cold)
    return Record(0, offset, None, msgspec.json.encode(made), time_ms=time_ms, headers=())


def evidence(*events: Record, committed: int = 0) -> Evidence:
    return Evidence([], list(events), [], [Commit(0, committed, FAULT_MS - 1)] if committed else [], "id")


@pytest.mark.parametrize(("offset", "holds"), [(9, False), (10, True)])
def test_what_was_committed_before_a_fault_may_not_go_out_again(offset: int, holds: bool) -> None:
    outcome = Outcome()
    found = evidence(event(9, 500), event(10, 900), event(offset, 1_500), committed=10)
    rebuilt.nothing_old_is_published(found, outcome, [FAULT_MS])
    assert outcome.verdicts["published once"].ok is holds, outcome


@pytest.mark.parametrize(
    ("torn_is_cold", "whole_is_cold", "before_is_cold", "holds"),
    [
        (True, False, False, True),
        (False, False, False, False),
        (True, True, False, False),
        (True, False, True, False),
    ],
)
def test_exactly_the_sessions_that_began_in_the_lost_part_are_cold(
    torn_is_cold: bool, whole_is_cold: bool, before_is_cold: bool, holds: bool
) -> None:
    outcome = Outcome()
    found = evidence(
        event(1, 500, "torn", state_cold=before_is_cold),
        event(6, 1_500, "torn", state_cold=torn_is_cold),
        event(7, 1_600, "whole", state_cold=whole_is_cold),
    )
    rebuilt.cold_exactly(found, outcome, {0: 5}, FAULT_MS)
    assert outcome.verdicts["cold"].ok is holds, outcome
