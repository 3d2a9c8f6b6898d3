"""The whole pipeline on real Kafka and Redis: every record answered once, scores reproducible, no loss."""

from __future__ import annotations

import itertools
import random
import time

import msgspec
import pytest

from models.engine import Engine
from schemas.envelope import encode
from schemas.telemetry import Telemetry
from stream.refs import RefHasher
from stream.settings import KeySettings
from stream.simulation.population import population
from tests.support import ledger
from tests.support.oracle import Oracle
from tests.support.pipeline import REF_KEY, Pipeline

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

START_MS = 1_790_000_000_000


def simulated(count: int, seed: int = 7) -> list[Telemetry]:
    """The first `count` events of a simulated population."""
    people = population(seed, start_ms=START_MS, sessions_per_s=4.0, bot_ratio=0.4)
    return [due.event for due in itertools.islice(people, count)]


def refs() -> RefHasher:
    return RefHasher(KeySettings(ref_key=REF_KEY))


def test_every_record_has_one_outcome_and_bad_ones_stand_alone(pipeline: Pipeline) -> None:
    events = simulated(1_200)
    good = [(event.session_id.encode(), encode(event)) for event in events]
    bad: list[tuple[bytes | None, bytes | None]] = [
        (b"s-bad", b'{"type": "capture.telemetry.v1", "session_id": "s-bad"'),
        (b"s-bad", b""),
        (b"other", good[0][1]),
        (b"s-bad", encode(events[0]).replace(b'"sequence":0', b'"sequence":-1')),
        (b"s-bad", b'{"type": "capture.telemetry.v99"}'),
        (b"s-bad", b"\xff\xfe"),
    ]
    mixed = good[:400] + bad + good[400:]
    worker = pipeline.start("worker")
    worker.wait_ready()
    pipeline.produce(mixed)
    pipeline.wait_answered(worker, len(mixed))
    assert worker.stop() == 0

    report = pipeline.audit()
    assert report.ok, str(report)
    assert report.scored == len(good)
    assert report.dead_letters == len(bad)
    letters = list(ledger.read_topic(pipeline.broker.bootstrap, "risk.deadletter"))
    assert sorted((letter.key, letter.value or b"") for letter in letters) == sorted((k, v or b"") for k, v in bad)
    reasons = {(letter.header("dlq_reason"), letter.header("dlq_path")) for letter in letters}
    assert ("malformed_json", "$") in reasons
    assert ("key_mismatch", "$.session_id") in reasons
    assert ("schema", "$.sequence") in reasons
    assert ("unknown_type", "$.type") in reasons


def test_scores_are_recomputed_exactly_from_what_each_event_recorded(pipeline: Pipeline) -> None:
    events = simulated(900, seed=11)
    worker = pipeline.start("worker")
    worker.wait_ready()
    count = pipeline.produce_events(events)
    pipeline.wait_answered(worker, count)
    worker.stop()

    published = {(e.source.partition, e.source.offset): e for e in pipeline.risk_events()}
    assert len(published) == count
    oracle = Oracle(Engine.load(), refs())
    checked = 0
    for record in ledger.read_topic(pipeline.broker.bootstrap, "capture.telemetry"):
        event = published[record.partition, record.offset]
        again = oracle.evaluate(record.value or b"", event.ingested_at, event.velocity, event.degraded, told=event)
        assert again is not None
        assert again.scores == event.scores
        assert again.decision == event.decision
        assert again.reasons == event.reasons
        assert again.coverage == event.coverage
        checked += 1
    assert checked == count
    assert {event.versions.policy for event in published.values()} == {str(oracle.engine.versions["policy"])}


def test_a_stop_and_restart_in_the_middle_loses_and_doubles_nothing(pipeline: Pipeline) -> None:
    events = simulated(3_000, seed=3)
    first = pipeline.start("worker")
    first.wait_ready()
    pipeline.produce_events(events[:2_000])
    first.wait(lambda: pipeline.answers() > 50, 30, "under way")
    assert first.stop() == 0
    middle = pipeline.answers()
    second = pipeline.start("worker")
    second.wait_ready()
    pipeline.produce_events(events[2_000:])
    pipeline.wait_answered(second, len(events))
    assert second.stop() == 0
    report = pipeline.audit(expected_dead_letters=[])
    assert report.ok, str(report)
    assert middle <= 2_000
    assert report.scored == len(events)
    assert report.replayed_repeats == 0, "a graceful stop must not publish anything twice"


def test_a_kill_in_the_middle_loses_nothing_and_marks_what_is_repeated(pipeline: Pipeline) -> None:
    events = simulated(3_000, seed=5)
    # A short session, so that the successor needn't wait for the dead member for long.
    first = pipeline.start("worker", KAFKA__SESSION_TIMEOUT_MS="4500")
    first.wait_ready()
    pipeline.produce_events(events)
    rng = random.Random(1)
    for _ in range(3):
        # Of this process's own work: what its predecessor published says nothing.
        before = pipeline.answers()
        first.wait(lambda before=before: pipeline.answers() > before, 30, "under way")
        time.sleep(rng.uniform(0.0, 0.3))
        first.process.kill()
        first.process.wait()
        first = pipeline.start("worker", KAFKA__SESSION_TIMEOUT_MS="4500")
        first.wait_ready()
    pipeline.wait_answered(first, len(events))
    pipeline.wait_committed(first)
    assert first.stop() == 0
    report = pipeline.audit(expected_dead_letters=[])
    assert report.ok, str(report)
    assert report.scored == len(events)


def test_an_empty_store_is_filled_again_without_publishing_twice(pipeline: Pipeline) -> None:
    events = simulated(800, seed=9)
    half = len(events) // 2
    first = pipeline.start("worker")
    first.wait_ready()
    pipeline.produce_events(events[:half])
    pipeline.wait_answered(first, half)
    assert first.stop() == 0
    with pipeline.redis.client() as client:
        client.flushall()
    second = pipeline.start("worker")
    second.wait_ready()
    pipeline.produce_events(events[half:])
    pipeline.wait_answered(second, len(events))
    # A partition without a new event may still be folding when all others have answered.
    second.wait(lambda: second.metric("tellwire_folded_only_total") == half, 30, "folding again")
    assert second.stop() == 0
    report = pipeline.audit(expected_dead_letters=[])
    assert report.ok, str(report)
    assert report.replayed_repeats == 0
    # The sessions went on as if nothing had happened: the numbers of their evaluations have no gap.
    by_session: dict[str, list[int]] = {}
    for event in pipeline.risk_events():
        by_session.setdefault(event.session_id, []).append(event.sequence)
        assert not event.state_cold
    assert all(sequence == list(range(1, len(sequence) + 1)) for sequence in by_session.values())


def test_a_store_that_is_emptied_under_a_running_worker_is_filled_again(pipeline: Pipeline) -> None:
    events = simulated(900, seed=15)
    worker = pipeline.start("worker")
    worker.wait_ready()
    pipeline.produce_events(events[:500])
    pipeline.wait_answered(worker, 500)
    with pipeline.redis.client() as client:
        client.flushall()
    pipeline.produce_events(events[500:])
    pipeline.wait_answered(worker, len(events))
    pipeline.wait_committed(worker)
    assert worker.metric("tellwire_folded_only_total") >= 500
    assert worker.stop() == 0
    report = pipeline.audit(expected_dead_letters=[])
    assert report.ok, str(report)
    first: dict[str, list[int]] = {}
    for event in pipeline.risk_events():
        assert not event.state_cold
        if not event.replayed:
            first.setdefault(event.session_id, []).append(event.sequence)
    assert all(sequence == list(range(1, len(sequence) + 1)) for sequence in first.values())


def test_a_record_as_large_as_the_topic_takes_stops_nothing(pipeline: Pipeline) -> None:
    events = simulated(60, seed=17)
    large = [(b"s-large", b"{" * 1_048_000), (b"s-large", b'{"session_id": "' + b"x" * 1_000_000 + b'"}')]
    records = [(event.session_id.encode(), encode(event)) for event in events]
    worker = pipeline.start("worker")
    worker.wait_ready()
    pipeline.produce([*records[:30], *large, *records[30:]])
    pipeline.wait_answered(worker, len(records) + len(large))
    assert worker.get("/readyz")[0] == 200
    assert worker.stop() == 0
    report = pipeline.audit()
    assert report.ok, str(report)
    assert (report.scored, report.dead_letters) == (60, 2)


def test_a_line_of_rubbish_stands_still_and_says_so(pipeline: Pipeline) -> None:
    pipeline.create_topics(1)
    worker = pipeline.start("worker", PIPELINE__DEADLETTER_LIMIT_WINDOW="50")
    worker.wait_ready()
    pipeline.produce((b"k", b"rubbish") for _ in range(400))
    worker.wait(lambda: worker.metric("tellwire_partition_stopped") == 1, 60, "standing still")
    worker.wait(lambda: worker.get("/readyz")[0] == 503, 10, "not ready")
    assert worker.get("/livez")[0] == 200, "a restart would not help"
    assert "dead_letters" in worker.get("/readyz")[1]
    assert "the partition stands still" in worker.text()
    assert worker.stop() == 0


def test_a_producers_own_repeats_are_filtered_and_signals_enter_by_the_door(pipeline: Pipeline) -> None:
    events = simulated(200, seed=13)
    worker = pipeline.start("worker")
    worker.wait_ready()
    pipeline.produce_events([*events, *events[:50]])
    pipeline.wait_answered(worker, len(events))
    worker.wait(lambda: worker.metric("tellwire_filtered_total") == 50, 30, "filtering")
    session = events[0].session_id
    signal = {
        "type": "capture.signal.v1",
        "event_id": "liveness-1",
        "session_id": session,
        "tenant": "demo",
        "flow": events[0].flow,
        "effective_at": START_MS,
        "observed_at": START_MS + 1,
        "kind": "liveness",
        "provider": "acme-liveness",
        "outcome": "scored",
        "score": 0.2,
        "score_min": 0.0,
        "score_max": 1.0,
        "direction": "high_is_genuine",
    }
    value = msgspec.json.encode(signal)
    pipeline.produce([(session.encode(), value), (session.encode(), value), (b"x", b"{}")], "capture.signals")
    worker.wait(lambda: worker.metric("tellwire_filtered_total") == 51, 30, "dropping the signal's repeat")
    worker.wait(lambda: pipeline.answers() == len(events) + 2, 30, "scoring the signal")
    assert worker.stop() == 0
    assert any(event.event_id == "liveness-1" and event.session_id == session for event in pipeline.risk_events())
    (letter,) = ledger.read_topic(pipeline.broker.bootstrap, "risk.deadletter")
    assert (letter.value, letter.header("dlq_topic")) == (b"{}", "capture.signals")


def test_the_learner_publishes_snapshots_that_the_worker_serves(pipeline: Pipeline) -> None:
    pipeline.extra = {
        "PIPELINE__FEATURES_SESSIONS_PER_S": "1000",
        "LEARNER__SNAPSHOT_INTERVAL_S": "1",
        "LEARNER__MAX_SHARE_PER_SOURCE": "1",
    }
    worker = pipeline.start("worker")
    learner = pipeline.start("learner")
    worker.wait_ready()
    learner.wait_ready()
    people = population(21, start_ms=START_MS, sessions_per_s=50.0, bot_ratio=0.0)
    events = [due.event for due in itertools.islice(people, 12_000)]
    for event in events:
        event.flow = "login"
    pipeline.produce_events(events[:11_000])
    learner.wait(lambda: learner.metric("tellwire_learner_snapshots_total") >= 2, 120, "publishing a snapshot")
    worker.wait(lambda: worker.metric("tellwire_snapshot_timestamp_seconds") > 0, 30, "serving it")
    pipeline.wait_answered(worker, 11_000)
    pipeline.produce_events(events[11_000:])
    pipeline.wait_answered(worker, len(events))
    assert learner.stop() == 0
    assert worker.stop() == 0
    last = pipeline.risk_events()
    hashes = {event.versions.snapshot for event in last}
    assert None in hashes
    assert len(hashes) > 1
    served = [e for e in last if e.versions.snapshot is not None and e.scores.anomaly and e.scores.anomaly.calibration]
    assert any(e.scores.anomaly.calibration.state == "live" for e in served if e.scores.anomaly)  # type: ignore[union-attr]


def test_two_learners_publish_nothing_and_say_so(pipeline: Pipeline) -> None:
    first = pipeline.start("learner")
    first.wait_ready()
    second = pipeline.start("learner")
    first.wait(lambda: "run one learner only" in first.get("/readyz")[1], 60, "telling of the second one")
    assert first.get("/readyz")[0] == 503
    assert first.get("/livez")[0] == 200
    assert second.stop() == 0
    first.wait(lambda: first.get("/readyz")[0] == 200, 60, "ready again")
    assert first.stop() == 0


def test_a_newcomers_mistakes_get_one_clear_line(pipeline: Pipeline) -> None:
    for settings, words in (
        ({"KEYS__REF_KEY": "short"}, "keys.ref_key (TELLWIRE_KEYS__REF_KEY): shorter than 16 characters"),
        ({"KAFKA__BOOTSTRAP_SERVER": "x"}, "did you mean TELLWIRE_KAFKA__BOOTSTRAP_SERVERS?"),
        ({"REDIS__URL": "redis://127.0.0.1:1/0"}, "127.0.0.1:1"),
    ):
        process = pipeline.start("worker", **settings)
        assert process.process.wait(120) in (1, 2)
        text = process.text()
        assert words in text
        assert "Traceback" not in text
        assert len(text.strip().splitlines()) <= 3, text
