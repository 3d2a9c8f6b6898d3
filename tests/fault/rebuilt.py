"""Observables of a rewind: the state that was folded again, what was published meanwhile, and what a session remembers.

Folding again reads the entity counters anew, later than the first time, and nothing of it is published. So a session's
state must be that of a single-threaded replay in everything but the counters and what is scored with them.
"""

from __future__ import annotations

from schemas.risk import RiskEvent
from tests.fault import replay
from tests.fault.observe import IN_FLIGHT_MS, INPUT, Evidence
from tests.fault.row import Outcome
from tests.support.ledger import Place
from tests.support.oracle import Oracle
from tests.support.pipeline import Pipeline

FOLLOWS_COUNTERS = ("counters", "raw_max", "latched_action", "latched_evaluation")
"""Fields of the session state that hold counters, or scores and decisions made with them."""


def state_is_rebuilt(pipeline: Pipeline, evidence: Evidence, outcome: Outcome) -> None:
    """Check "rebuilt": watermarks, sessions but for what follows counters, and counters are those of the whole log."""
    first: dict[Place, RiskEvent] = {}
    for published in evidence.decoded:
        first.setdefault((published.source.partition, published.source.offset), published)
    oracle = Oracle(replay.engine(), replay.refs(), refresh_ms=2_000)
    found = replay.Replayed()
    for record in sorted(evidence.inputs, key=lambda one: (one.partition, one.offset)):
        place = (record.partition, record.offset)
        found.last_offset[record.partition] = record.offset
        event = first.get(place)
        if event is None:
            continue
        oracle.evaluate(record.value or b"", record.time_ms, event.velocity, event.degraded, told=event)
        found.sessions[record.partition, event.session_id] = {oracle.sessions[event.session_id]}
        found.links.update(dict.fromkeys(oracle.links))
    left_out = (*replay.LEFT_OUT, *FOLLOWS_COUNTERS)
    replay.final_state(pipeline, evidence, found, outcome, left_out, observable="rebuilt")


def nothing_old_is_published(evidence: Evidence, outcome: Outcome, faults_ms: list[int]) -> None:
    """Check "published once": after a fault, nothing goes out that was committed before it."""
    wrong = []
    for fault_ms in faults_ms:
        committed: dict[int, int] = {}
        for commit in evidence.commits:
            if commit.time_ms <= fault_ms:
                committed[commit.partition] = max(commit.offset, committed.get(commit.partition, 0))
        for record, event in zip(evidence.events, evidence.decoded, strict=True):
            source = event.source
            if record.time_ms > fault_ms and source.offset < committed.get(source.partition, 0):
                wrong.append(f"{INPUT}[{source.partition}] offset {source.offset}")
    detail = f"{len(evidence.events)} risk events, {evidence.report.replayed_repeats} marked repeats"
    if wrong:
        detail += f"; {len(wrong)} old decisions went out again, such as {wrong[0]}"
    outcome.check("published once", evidence.events and not wrong, detail)


def cold_exactly(evidence: Evidence, outcome: Outcome, lost_below: dict[int, int], since_ms: int) -> None:
    """Check "cold": of the events published since, those of sessions that began in the lost part of the log are marked.

    `lost_below`: by partition, the first offset that the log held when the state was gone. What was under way at that
    moment may be of the whole state or of the rebuilt one.
    """
    began: dict[tuple[int, str], int] = {}
    for event in evidence.decoded:
        key = (event.source.partition, event.session_id)
        began[key] = min(event.source.offset, began.get(key, event.source.offset))
    seen = {True: 0, False: 0}
    wrong: list[Place] = []
    for record, event in zip(evidence.events, evidence.decoded, strict=True):
        place = (event.source.partition, event.source.offset)
        if since_ms < record.time_ms <= since_ms + IN_FLIGHT_MS:
            continue
        is_cold = record.time_ms > since_ms and began[place[0], event.session_id] < lost_below[place[0]]
        seen[is_cold] += 1
        if event.state_cold != is_cold:
            wrong.append(place)
    detail = f"{seen[True]} events of cold sessions, {seen[False]} of whole ones"
    if wrong:
        detail += f"; {len(wrong)} marked wrongly, such as {wrong[0]}"
    outcome.check("cold", all(seen.values()) and not wrong, detail)
