"""Rows about a process that stands still: its event loop blocked, Python's lock held, frozen; and its watchdog."""

from __future__ import annotations

import re
import signal
import time

from tests.fault.observe import EVENTS
from tests.fault.row import row
from tests.fault.rows.crashes import PER_S, wait_moving
from tests.fault.rows.outages import probed
from tests.fault.trial import Trial
from tests.support.pipeline import Pipeline, Process

STUCK_STATUS = 70


def start_stuck(pipeline: Pipeline, seconds: float, **settings: str) -> Process:
    """Start a worker that SIGUSR1 and SIGUSR2 make stand still for so long."""
    worker = pipeline.start("worker", entry=["-m", "tests.fault.stuck_worker", str(seconds)], **settings)
    worker.wait_ready()
    return worker


@row(
    number=29,
    fault="one of two workers stands still for 20 s (8 s in short, the session is 6 s): its event loop is blocked; "
    "Python's lock is held, as in a garbage collection; it is frozen (SIGSTOP)",
    observables=("I1", "I2", "I3", "I4", "I5", "survives"),
    in_ci=False,
)
def stands_still(trial: Trial) -> None:
    seconds = trial.count(ci=8, full=20)
    pipeline = trial.pipeline()
    workers = [start_stuck(pipeline, seconds) for _ in range(2)]
    load = trial.load(pipeline, per_s=PER_S)
    wait_moving(pipeline, workers[0], pipeline.ends(EVENTS))
    for how in (signal.SIGUSR1, signal.SIGUSR2, signal.SIGSTOP):
        trial.faulted(f"{how.name} for {seconds} s")
        workers[0].process.send_signal(how)
        time.sleep(seconds + 0.5)
        workers[0].process.send_signal(signal.SIGCONT)
        wait_moving(pipeline, workers[0], pipeline.ends(EVENTS))
        for worker in workers:
            worker.wait_ready()
    load.stop()
    pipeline.wait_committed(workers[0])
    statuses = [worker.stop() for worker in workers]
    trial.outcome.check("survives", statuses == [0, 0], f"exit statuses {statuses}")
    # Nobody else may take over while a live member's loop is blocked: the partition waits that long, and a little.
    trial.judge(pipeline, recovery_limit_s=seconds + 10.0)


@row(
    number=29,
    fault="the only worker stands still for good, event loop blocked or Python's lock held: its watchdog ends it "
    "(restart_s set to 10 s), and it is started again",
    observables=("I1", "I2", "I3", "I4", "I5", "ended", "told"),
)
def watchdog_ends_it(trial: Trial) -> None:
    settings = {"HEALTH__STALL_S": "5", "HEALTH__RESTART_S": "10"}
    pipeline = trial.pipeline(KAFKA__GROUP_INSTANCE_ID="static-1")
    worker = start_stuck(pipeline, 600, **settings)
    load = trial.load(pipeline, per_s=PER_S)
    wait_moving(pipeline, worker, pipeline.ends(EVENTS))
    # Silence counts from the last beat, up to half a second before the fault. A held lock is seen by the interpreter's
    # own timer, half as long again after its last turn.
    cases = [(signal.SIGUSR1, STUCK_STATUS, 9.0, 18.0, "stuck: the event loop has not run for"),
             (signal.SIGUSR2, 1, 14.0, 19.0, "Timeout \\(0:00:15")]  # fmt: skip
    for how, status, least_s, most_s, words in (cases * 2)[: trial.count(ci=1, full=4)]:
        with probed(worker) as probes:
            began = time.monotonic()
            worker.process.send_signal(how)
            found = worker.process.wait(60)
            took_s = time.monotonic() - began
        right = found == status and least_s <= took_s <= most_s
        trial.outcome.check("ended", right, f"{how.name}: status {found} after {took_s:.1f} s")
        text = worker.text()
        said = re.search(words, text) and "stuck_worker.py" in text
        if how is signal.SIGUSR1:
            said = said and "stalled" in probes.phases
        trial.outcome.check("told", said, f"{how.name}: phases {sorted(probes.phases)}, {text[-300:]}")
        trial.faulted(f"{how.name}: ended")
        before = pipeline.ends(EVENTS)
        worker = start_stuck(pipeline, 600, **settings)
        wait_moving(pipeline, worker, before)
        time.sleep(3.0)  # it moves, but what came while it stood still is to be done before the next fault
    load.stop()
    pipeline.wait_committed(worker)
    trial.judge(pipeline, recovery_limit_s=15.0)
