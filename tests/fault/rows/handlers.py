"""Rows about what happens inside the handler: a record that takes long, and records that it fails on."""

from __future__ import annotations

import time
from collections.abc import Iterable

from schemas.envelope import encode
from schemas.telemetry import Telemetry
from tests.fault.load import simulated
from tests.fault.observe import INPUT, Evidence
from tests.fault.row import row
from tests.fault.rows.crashes import PER_S, STATIC, kill
from tests.fault.trial import Trial
from tests.support import ledger
from tests.support.ledger import Place
from tests.support.pipeline import Pipeline

MARK = "marked-by-the-row"
"""Part of the event ids that the faulty worker trips over."""


def sessions(trial: Trial, count: int) -> list[Telemetry]:
    """Return some simulated telemetry that differs from the load's."""
    source = simulated(trial.rng.randrange(1_000_000) + 1_000, 20.0, 0.3)
    return [next(source) for _ in range(count)]


def marked(events: Iterable[Telemetry]) -> list[tuple[bytes, bytes]]:
    """Return them as records whose event ids carry the mark."""
    found = []
    for number, event in enumerate(events):
        event.event_id = f"{MARK}-{number}"
        found.append((event.session_id.encode(), encode(event)))
    return found


def places_marked(pipeline: Pipeline) -> list[Place]:
    """Return where the marked records are in the input."""
    records = ledger.read_topic(pipeline.broker.bootstrap, INPUT)
    return [(record.partition, record.offset) for record in records if MARK.encode() in (record.value or b"")]


@row(
    number=5,
    fault="a slow record is in flight, fast ones come behind it in its own and in other partitions; kill -9",
    observables=("I1", "I2", "I3", "I4", "slow one redelivered"),
)
def kill_with_a_slow_record(trial: Trial) -> None:
    for _ in range(trial.count(ci=1, full=8)):
        pipeline = trial.pipeline(4, **STATIC)
        worker = pipeline.start("worker", entry=["-m", "tests.fault.faulty_worker", "slow", MARK, "40"])
        worker.wait_ready()
        load = trial.load(pipeline, per_s=PER_S)
        load.wait_acked(200)
        pipeline.produce(marked(sessions(trial, 1)))
        worker.wait_said("fault: slow", 30)
        (place,) = places_marked(pipeline)
        before = pipeline.committed()
        time.sleep(3.0)
        after = pipeline.committed()
        others = [number for number in after if number != place[0]]
        trial.outcome.check(
            "slow one redelivered",
            after[place[0]] <= place[1] and all(after[number] > before[number] for number in others),
            f"record {place} in flight, committed {before}, 3 s later {after}",
        )
        kill(worker)
        trial.faulted("kill -9")
        worker = pipeline.start("worker")
        worker.wait_ready()
        load.stop()
        pipeline.wait_committed(worker)
        evidence = trial.judge(pipeline, expected_dead_letters=[])
        trial.outcome.check("slow one redelivered", place in evidence.answered_ms, f"{place} has no outcome")


@row(
    number=6,
    fault="the handler raises: on single records among good ones, and on every record of a chunk",
    observables=("I1", "I2", "I3", "I4", "exactly these are dead", "lag 0"),
)
def handler_raises(trial: Trial) -> None:
    pipeline = trial.pipeline(4)
    worker = pipeline.start("worker", entry=["-m", "tests.fault.faulty_worker", "raise", MARK])
    worker.wait_ready()
    load = trial.load(pipeline, per_s=PER_S)
    load.wait_acked(200)
    for _ in range(trial.count(ci=5, full=50)):
        pipeline.produce(marked(sessions(trial, 1)))
        trial.outcome.runs += 1
        time.sleep(trial.rng.uniform(0.0, 0.3))
    for _ in range(trial.count(ci=1, full=5)):
        # All of one session, so that they are one chunk, or more, of one partition.
        (one,) = sessions(trial, 1)
        pipeline.produce(marked([one]) * 60)
        trial.outcome.runs += 1
    load.wait_acked(1_000)
    load.stop()
    pipeline.wait_committed(worker)
    trial.outcome.check("lag 0", pipeline.uncommitted() == 0, f"{pipeline.uncommitted()} records are not committed")
    expected = places_marked(pipeline)
    evidence = trial.judge(pipeline, expected_dead_letters=expected)
    check_dead(trial, evidence, expected)


def check_dead(trial: Trial, evidence: Evidence, expected: list[Place]) -> None:
    """Check that the dead letters are the expected records, one each, with their bytes."""
    inputs = {(record.partition, record.offset): (record.key, record.value) for record in evidence.inputs}
    dead = sorted((letter.key, letter.value) for letter in evidence.dead_letters)
    wanted = sorted(inputs[place] for place in expected)
    trial.outcome.check(
        "exactly these are dead", wanted and dead == wanted, f"{len(dead)} dead letters for {len(wanted)} bad records"
    )
