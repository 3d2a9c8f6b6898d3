"""The ledger counts erasures as a declared filter, by its own reading of the input, and sees what is wrong."""

from __future__ import annotations

import orjson

from tests.contract.ledger_runs import Run, event_of
from tests.support.ledger import Record


def record(offset: int, session: str, sequence: int, tenant: str = "t") -> Record:
    body = {"type": "capture.telemetry.v1", "session_id": session, "tenant": tenant, "sequence": sequence}
    return Record(0, offset, session.encode(), orjson.dumps(body))


def erasure(offset: int, session: str, tenant: str = "t") -> Record:
    body = {"type": "capture.erasure.v1", "session_id": session, "tenant": tenant, "event_id": f"era-{offset}"}
    return Record(0, offset, session.encode(), orjson.dumps(body))


def run_of(inputs: list[Record], answered: list[int]) -> Run:
    """The run in which exactly the inputs at these offsets were answered."""
    events = [event_of(source, at=at) for at, source in enumerate(inputs) if source.offset in answered]
    return Run(inputs=inputs, events=events)


def test_an_erasure_is_a_declared_filter_and_what_follows_is_no_repeat() -> None:
    inputs = [record(0, "s", 0), record(1, "s", 0), erasure(2, "s"), record(3, "s", 0), record(4, "s", 0)]
    report = run_of(inputs, [0, 3]).report()
    assert report.ok, str(report)
    assert (report.scored, report.duplicates, report.erasures) == (2, 2, 1)


def test_another_sessions_repeats_stay_repeats() -> None:
    inputs = [record(0, "s", 0), record(1, "other", 0), erasure(2, "other"), record(3, "s", 0)]
    report = run_of(inputs, [0, 1, 3]).report()
    assert report.kinds() == {"duplicate_scored": 1}


def test_a_record_after_an_erasure_must_be_answered() -> None:
    report = run_of([record(0, "s", 0), erasure(1, "s"), record(2, "s", 0)], [0]).report()
    assert report.kinds() == {"missing": 1}


def test_an_erasure_is_not_answered() -> None:
    report = run_of([record(0, "s", 0), erasure(1, "s")], [0, 1]).report()
    assert report.kinds() == {"erasure_scored": 1}


def test_another_tenants_erasure_must_be_a_dead_letter() -> None:
    report = run_of([record(0, "s", 0), erasure(1, "s", tenant="other")], [0]).report()
    assert report.kinds() == {"missing": 1}
