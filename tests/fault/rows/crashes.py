"""Rows about processes that die or stop at the worst moment: killed mid-chunk, between two steps, or in order."""

from __future__ import annotations

import time

from tests.fault.row import row
from tests.fault.trial import Trial
from tests.support.pipeline import Pipeline, Process

PER_S = 250.0
"""Load while processes die, records a second. What piles up in the pause makes the next kill hit a busy worker."""
KILLS_A_LOG = 10
"""Kills under one load; then the log is judged, and a new one begins."""
STATIC = {"KAFKA__GROUP_INSTANCE_ID": "static-1"}
"""A static member: its successor of the same name takes over at once."""


def wait_moving(pipeline: Pipeline, worker: Process, since: dict[int, int], seconds: float = 60.0) -> None:
    """Wait until every partition has published more than it had."""

    def moving() -> bool:
        ends = pipeline.ends("risk.events")
        return all(ends[number] > end for number, end in since.items())

    worker.wait(moving, seconds, "publishing again in every partition")


def kill(process: Process) -> None:
    """End it with SIGKILL; returns when it is gone."""
    process.process.kill()
    process.process.wait()


def kill_and_start(trial: Trial, pipeline: Pipeline, worker: Process) -> Process:
    """End a worker with SIGKILL; return its successor as soon as that publishes in every partition."""
    kill(worker)
    trial.faulted("kill -9")
    before = pipeline.ends("risk.events")
    successor = pipeline.start("worker")
    wait_moving(pipeline, successor, before)
    return successor


def in_batches(total: int, size: int) -> list[int]:
    """Split `total` into batches of at most `size`."""
    return [min(size, total - done) for done in range(0, total, size)]


@row(
    number=1,
    fault="kill -9 of one of two workers at random moments under load; the other one takes over, default settings",
    observables=("I1", "I2", "I3", "I4", "I5"),
)
def kill_one_of_two(trial: Trial) -> None:
    repeats = 0
    for kills in in_batches(trial.count(ci=2, full=30), KILLS_A_LOG):
        pipeline = trial.pipeline()
        workers = [pipeline.start("worker") for _ in range(2)]
        for worker in workers:
            worker.wait_ready()
        load = trial.load(pipeline, per_s=PER_S)
        wait_moving(pipeline, workers[0], pipeline.ends("risk.events"))
        for _ in range(kills):
            time.sleep(trial.rng.uniform(0.0, 1.5))
            victim = workers.pop(trial.rng.randrange(2))
            kill(victim)
            trial.faulted("kill -9")
            before = pipeline.ends("risk.events")
            workers.append(pipeline.start("worker"))
            wait_moving(pipeline, workers[0], before)
            workers[1].wait_ready()
        load.stop()
        pipeline.wait_committed(workers[0])
        evidence = trial.judge(pipeline, recovery_limit_s=10.0)
        repeats += evidence.report.replayed_repeats
    trial.outcome.note = f"{repeats} events published again, each marked"


@row(
    number=1,
    fault="kill -9 of the only worker at random moments under load; started again at once, static member",
    observables=("I1", "I2", "I3", "I4", "I5"),
)
def kill_the_only_one(trial: Trial) -> None:
    repeats = 0
    for kills in in_batches(trial.count(ci=3, full=70), KILLS_A_LOG):
        pipeline = trial.pipeline(4, **STATIC)
        worker = pipeline.start("worker")
        worker.wait_ready()
        load = trial.load(pipeline, per_s=PER_S)
        wait_moving(pipeline, worker, pipeline.ends("risk.events"))
        for _ in range(kills):
            # A short while only: in the catching up after a pause there is always a chunk in flight.
            time.sleep(trial.rng.uniform(0.0, 0.8))
            worker = kill_and_start(trial, pipeline, worker)
        load.stop()
        pipeline.wait_committed(worker)
        evidence = trial.judge(pipeline, recovery_limit_s=15.0)
        repeats += evidence.report.replayed_repeats
    trial.outcome.note = f"{repeats} events published again, each marked"


@row(
    number=2,
    fault="SIGTERM of the only worker, again and again under load",
    observables=("I1", "I2", "I3", "I4", "no duplicate"),
)
def stop_gracefully(trial: Trial) -> None:
    pipeline = trial.pipeline()
    worker = pipeline.start("worker")
    worker.wait_ready()
    load = trial.load(pipeline, per_s=PER_S)
    for _ in range(trial.count(ci=2, full=20)):
        time.sleep(trial.rng.uniform(0.3, 1.5))
        trial.faulted("SIGTERM")
        trial.outcome.check("no duplicate", worker.stop() == 0, "the exit status is not 0")
        worker = pipeline.start("worker")
        worker.wait_ready()
    load.stop()
    pipeline.wait_committed(worker)
    _no_duplicate(trial, pipeline)


def _no_duplicate(trial: Trial, pipeline: Pipeline) -> None:
    report = trial.judge(pipeline).report
    repeats = report.replayed_repeats + report.late_repeats + report.dead_letter_repeats
    trial.outcome.check("no duplicate", repeats == 0, str(report))


@row(
    number=8,
    fault="publishing fails before the state is written: nothing was sent, or all was and only the answer was lost",
    observables=("I1", "I2", "I3", "I4", "marked"),
)
def publishing_fails(trial: Trial) -> None:
    for lost in ("1", "0"):
        pipeline = trial.pipeline(2)
        worker = pipeline.start("worker", entry=["-m", "tests.fault.faulty_worker", "publish-fails", "7", lost])
        worker.wait_ready()
        trial.backlog(pipeline, trial.count(ci=1_500, full=10_000))
        pipeline.wait_committed(worker, seconds=240)
        trial.outcome.runs += worker.text().count("fault: publishing")
        report = trial.judge(pipeline).report
        # What was delivered is published again, and says so; what was not is published once.
        as_it_should = report.replayed_repeats > 0 if lost == "0" else report.replayed_repeats == 0
        trial.outcome.check("marked", as_it_should, f"answer lost: {lost == '0'}; {report}")


@row(
    number=9,
    fault="crash between publishing and writing the state",
    observables=("I1", "I2", "I3", "I4", "marked"),
)
def crash_after_publish(trial: Trial) -> None:
    pipeline = _crash_at(trial, "kill-after-publish")
    report = trial.judge(pipeline).report
    # Each crash leaves exactly one chunk that was published and is published again.
    trial.outcome.check("marked", report.replayed_repeats >= trial.outcome.runs, str(report))


@row(
    number=9,
    fault="crash between writing the state and committing the offset",
    observables=("I1", "I2", "I3", "I4", "no duplicate"),
)
def crash_after_state(trial: Trial) -> None:
    # The watermark says that the chunk is done: it is neither counted nor published again.
    _no_duplicate(trial, _crash_at(trial, "kill-after-state"))


def _crash_at(trial: Trial, moment: str) -> Pipeline:
    """Crash at this moment of some chunk, again and again, then let a sound worker finish."""
    # One partition: a chunk of another one that is in flight too would be another crash, at another moment.
    pipeline = trial.pipeline(1, **STATIC)
    load = trial.load(pipeline, per_s=PER_S)
    for _ in range(trial.count(ci=1, full=10)):
        chunk = str(trial.rng.randint(5, 60))
        worker = pipeline.start("worker", entry=["-m", "tests.fault.faulty_worker", moment, chunk])
        assert worker.process.wait(120) == -9, f"it did not crash:\n{worker.text()[-2000:]}"
        trial.faulted(f"{moment} {chunk}")
    worker = pipeline.start("worker")
    worker.wait_ready()
    load.stop()
    pipeline.wait_committed(worker)
    return pipeline
