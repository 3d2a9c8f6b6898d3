"""Rows about the dead-letter topic: a limit stops the line, and what finds no room there is not dropped."""

from __future__ import annotations

import time

from tests.fault.given import Given, configure, events, good, send, started
from tests.fault.observe import DEAD_LETTERS, INPUT
from tests.fault.row import Needs, row
from tests.fault.trial import Trial


@row(
    number=15,
    fault="nothing but rubbish: more dead letters than the limit allows",
    observables=("stands still", "I1", "I3"),
    in_ci=False,
)
def rubbish(trial: Trial) -> None:
    pipeline = trial.pipeline(1)
    worker = started(pipeline, PIPELINE__DEADLETTER_LIMIT_WINDOW="50")
    send(trial.broker, [Given(b"rubbish", b"k")] * 400)
    trial.faulted()
    worker.wait(lambda: worker.metric("tellwire_partition_stopped") == 1, 60, "standing still")
    worker.wait(lambda: worker.get("/readyz")[0] == 503, 20, "not ready")
    said = "the partition stands still" in worker.text() and worker.get("/livez")[0] == 200
    trial.outcome.check("stands still", worker.stop() == 0, "the exit status is not 0")
    left = pipeline.uncommitted()
    trial.outcome.check("stands still", said and 0 < left < 400, f"{left} of 400 left in the input, said: {said}")
    # A person looked, and says that the records are as bad as they look.
    worker = started(pipeline, PIPELINE__DEADLETTER_LIMIT_RATIO="1")
    pipeline.wait_committed(worker)
    report = trial.judge(pipeline).report
    trial.outcome.check("I1", report.dead_letters == 400, str(report))
    trial.outcome.note = f"{400 - left} dead letters, then it stood still; after the limit was raised all 400"


@row(
    number=27,
    fault="the dead-letter topic takes no record: refused for good, then writable again and the worker restarted",
    observables=("I1", "I2", "I3", "I4", "stands still", "resumes"),
)
def dead_letters_refused(trial: Trial) -> None:
    pipeline = trial.pipeline(2)
    worker = started(pipeline)
    telemetry = events(trial.count(ci=300, full=3_000), seed=27)
    half = len(telemetry) // 2
    send(trial.broker, [good(event) for event in telemetry[:half]])
    pipeline.wait_committed(worker)
    configure(trial.broker, DEAD_LETTERS, max_message_bytes="64")
    bad = Given(b'{"cut off"', None, "malformed_json", "$", partition=0)
    (place,) = send(trial.broker, [bad])
    send(trial.broker, [good(event) for event in telemetry[half:]])
    trial.faulted()
    worker.wait(lambda: worker.metric("tellwire_partition_stopped") == 1, 60, "standing still")
    # The other partition goes on to its end.
    worker.wait(lambda: pipeline.committed()[1] == pipeline.ends(INPUT)[1], 30, "at the end of the other partition")
    committed, ends = pipeline.committed(), pipeline.ends(INPUT)
    said = worker.get("/readyz")
    trial.outcome.check(
        "stands still",
        isinstance(place, tuple) and committed[0] <= place[1] and committed[1] == ends[1],
        f"committed {committed}, the bad record is {place}, the log ends at {ends}",
    )
    trial.outcome.check("stands still", said[0] == 503 and "not_delivered" in said[1], f"/readyz {said}")
    trial.outcome.check("stands still", "the partition stands still" in worker.text(), "the log says nothing")
    configure(trial.broker, DEAD_LETTERS, max_message_bytes="1114112")
    worker.stop()
    worker = started(pipeline)
    pipeline.wait_committed(worker)
    report = trial.judge(pipeline, expected_dead_letters=[place] if isinstance(place, tuple) else []).report
    trial.outcome.check("resumes", report.dead_letters == 1 and report.scored == len(telemetry), str(report))


@row(
    number=27,
    fault="a broker is down and the dead-letter topic, which wants all three, takes nothing; nobody restarts a worker",
    observables=("I1", "I2", "I3", "I4", "waits", "resumes"),
    needs=Needs(brokers=3),
    in_ci=False,
)
def dead_letters_wait(trial: Trial) -> None:
    pipeline = trial.pipeline(2)
    worker = started(pipeline)
    telemetry = events(trial.count(ci=300, full=3_000), seed=28)
    half = len(telemetry) // 2
    send(trial.broker, [good(event) for event in telemetry[:half]])
    pipeline.wait_committed(worker)
    configure(trial.broker, DEAD_LETTERS, min_insync_replicas="3")
    trial.broker.kill(2)
    trial.faulted("kill -9 of a broker")
    try:
        bad = Given(b'{"cut off"', None, "malformed_json", "$", partition=0)
        (place,) = send(trial.broker, [bad])
        send(trial.broker, [good(event) for event in telemetry[half:]])
        time.sleep(trial.count(ci=10, full=90))
        committed = pipeline.committed()
        trial.outcome.check(
            "waits",
            isinstance(place, tuple) and committed[0] <= place[1] and worker.process.poll() is None,
            f"committed {committed}, the bad record is {place}",
        )
    finally:
        trial.broker.restart(2)
    pipeline.wait_committed(worker, seconds=120)
    report = trial.judge(pipeline, expected_dead_letters=[place] if isinstance(place, tuple) else []).report
    trial.outcome.check("resumes", report.dead_letters == 1 and report.scored == len(telemetry), str(report))
