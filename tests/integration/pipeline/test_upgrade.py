"""The steps of two pages as they stand: an upgrade to another state version and the way back; more partitions."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable

import msgspec
import pytest
from confluent_kafka.admin import NewPartitions  # type: ignore[attr-defined]

from models.engine import Engine
from schemas.telemetry import Telemetry
from stream.refs import RefHasher
from stream.settings import KeySettings
from stream.simulation.population import population
from tests.support import ledger
from tests.support.oracle import Oracle
from tests.support.pipeline import REF_KEY, Pipeline, Process

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

NEXT = ("-m", "tests.support.next_version", "worker")
RAISED = ("capture.telemetry", "capture.signals", "risk.events", "risk.deadletter", "risk.features")


def some_sessions(sessions: int, seed: int) -> list[list[Telemetry]]:
    """The first events of some simulated sessions, each session's in order."""
    found: dict[str, list[Telemetry]] = {}
    for due in population(seed, start_ms=1_790_000_000_000, sessions_per_s=4.0, bot_ratio=0.4):
        if due.event.session_id not in found and len(found) == sessions:
            break
        found.setdefault(due.event.session_id, []).append(due.event)
    return [events for events in found.values() if len(events) > 6]


def parts(sessions: Iterable[list[Telemetry]], n: int) -> list[list[Telemetry]]:
    """Cut each session into `n` parts; a list of the events of each part of all of them."""
    cut: list[list[Telemetry]] = [[] for _ in range(n)]
    for events in sessions:
        for at, event in enumerate(events):
            cut[at * n // len(events)].append(event)
    return cut


def ready(pipeline: Pipeline, entry: tuple[str, ...] = (), **settings: str) -> Process:
    worker = pipeline.start("worker", entry, **settings)
    worker.wait_ready()
    return worker


def rolled(pipeline: Pipeline, workers: list[Process], entry: tuple[str, ...] = ()) -> list[Process]:
    """Replace workers one after the other, as the page says: stop, wait for the exit, start, wait until it is ready."""
    successors = []
    for worker in workers:
        assert worker.stop() == 0
        successors.append(ready(pipeline, entry))
    return successors


def folded(workers: list[Process]) -> float:
    return sum(worker.metric("tellwire_folded_only_total") for worker in workers)


def test_another_state_version_and_the_way_back_change_no_score(pipeline: Pipeline) -> None:
    first, second, third = parts(some_sessions(50, seed=31), 3)
    old = [ready(pipeline), ready(pipeline)]
    count = pipeline.produce_events(first)
    pipeline.wait_answered(old[0], count)
    new = rolled(pipeline, old, NEXT)
    count += pipeline.produce_events(second)
    pipeline.wait_answered(new[0], count)
    pipeline.wait_committed(new[0])
    # The new version finds no state: it folds what is in the log, without publishing it again.
    assert folded(new) >= len(first)
    again = rolled(pipeline, new)
    count += pipeline.produce_events(third)
    pipeline.wait_answered(again[0], count)
    pipeline.wait_committed(again[0])
    # The old one finds what it left behind, and folds what came since.
    assert folded(again) >= len(second)
    pipeline.stop_all()

    report = pipeline.audit(expected_dead_letters=[])
    assert report.ok, str(report)
    assert (report.scored, report.replayed_repeats) == (count, 0)
    published = {(event.source.partition, event.source.offset): event for event in pipeline.risk_events()}
    oracle = Oracle(Engine.load(), RefHasher(KeySettings(ref_key=REF_KEY)))
    for record in ledger.read_topic(pipeline.broker.bootstrap, "capture.telemetry"):
        event = published[record.partition, record.offset]
        expected = oracle.evaluate(record.value or b"", event.ingested_at, event.velocity, event.degraded, told=event)
        assert expected is not None
        assert (expected.scores, expected.decision, expected.reasons) == (event.scores, event.decision, event.reasons)
        assert not event.state_cold


def test_more_partitions_after_a_drain_lose_nothing_and_say_which_sessions_began_anew(pipeline: Pipeline) -> None:
    going_on, later = some_sessions(30, seed=33), some_sessions(30, seed=34)
    # The later sessions are of accounts that were seen before.
    accounts = [events[0].account_ref for events in going_on if events[0].account_ref]
    later = [
        [msgspec.structs.replace(event, account_ref=accounts[at % len(accounts)]) for event in events]
        for at, events in enumerate(later)
    ]
    before, after = parts(going_on, 2)
    # Where other work has the machine, a stop may take longer than production gives it.
    pipeline.extra = {"HEALTH__STOP_S": "60"}
    worker, learner = ready(pipeline), pipeline.start("learner")
    learner.wait_ready()
    count = pipeline.produce_events(before)

    # 2: the lag of both groups is 0, then both are stopped.
    pipeline.wait_answered(worker, count)
    pipeline.wait_committed(worker)
    assert worker.stop() == 0
    assert learner.stop() == 0
    ends = pipeline.ends("capture.telemetry")
    # 3: all to the same number; `topics diff` says what is left.
    for name in RAISED[:-1]:
        raise_to(pipeline, name, 7)
    status, left = differences(pipeline)
    assert (status, [one["topic"] for one in left]) == (1, ["risk.features"])
    raise_to(pipeline, RAISED[-1], 7)
    assert differences(pipeline) == (0, [])
    # 4: workers without a rewind, learner, producers.
    worker, learner = ready(pipeline, REDIS__REWIND_S="0"), pipeline.start("learner")
    learner.wait_ready()
    pipeline.partitions = 7
    count += pipeline.produce_events([*after, *(event for events in later for event in events)])
    pipeline.wait_answered(worker, count)
    pipeline.wait_committed(worker)
    assert worker.metric("tellwire_folded_only_total") == 0
    pipeline.stop_all()

    report = pipeline.audit(expected_dead_letters=[])
    assert report.ok, str(report)
    assert (report.scored, report.replayed_repeats) == (count, 0)
    events = pipeline.risk_events()
    assert len({event.source.partition for event in events}) == 7
    new = [one for one in events if one.source.offset >= ends.get(one.source.partition, 0)]
    assert len(new) == count - len(before)
    assert {one.session_id for one in new if one.state_cold} == {one.session_id for one in after}
    # Entity counters stay: sessions of before are in the numbers of their accounts.
    fresh = {event.session_id for events in later for event in events}
    known = [one.velocity["account_sessions"].h24 or 0 for one in new if one.session_id in fresh]
    assert known
    assert min(known) >= 2


def raise_to(pipeline: Pipeline, topic: str, partitions: int) -> None:
    asked = pipeline.broker.admin.create_partitions([NewPartitions(topic, partitions)], request_timeout=15)
    asked[topic].result()


def differences(pipeline: Pipeline) -> tuple[int, list[dict[str, str]]]:
    """Exit status of `tellwire topics diff --json`, and what it says."""
    done = subprocess.run(
        [sys.executable, "-m", "stream", "topics", "diff", "--json"],
        env={"TELLWIRE_KAFKA__BOOTSTRAP_SERVERS": pipeline.broker.bootstrap, "TELLWIRE_KEYS__REF_KEY": REF_KEY},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    found: list[dict[str, str]] = json.loads(done.stdout)
    return done.returncode, found
