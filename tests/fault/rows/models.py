"""Rows about models and policies that are put in place damaged, and about a disk with no room for the log.

Every damage meets a running worker under load. What served must go on serving, exactly (I4 recomputes each event with
the models that it names), the refusal must be told and counted once, and in the end something good must get in.
"""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from models.artifact import shipped_directory
from models.engine import Engine
from schemas.risk import RiskEvent
from tests.fault import replay
from tests.fault.row import row
from tests.fault.rows.crashes import wait_moving
from tests.fault.trial import Trial
from tests.support.artefacts import (
    FORMS,
    MODEL,
    POLICY,
    POLICY_FORMS,
    another,
    copy_shipped,
    flip,
    install_sabotage,
    many_trees,
    sabotage,
    slow_policy,
    stricter,
)
from tests.support.pipeline import Pipeline, Process

PER_S = 150.0
TRIAL_S = "20"
"""Limit of a trial: long enough for a good one beside everything that these rows run on two processors."""
WATCHED = {"ARTEFACTS__POLL_S": "0.3", "ARTEFACTS__TRIAL_TIMEOUT_S": TRIAL_S, "ARTEFACTS__TRIAL_MEMORY_MIB": "1024"}
OF_MODELS = (
    "truncated",
    "bit flip in the manifest",
    "swapped feature order throughout",
    "NaN leaf",
    "cycle",
    "half the trees",
    "wrong version of the model",
    "missing model",
    "symlink",
    "FIFO",
    "folder",
    "huge model",
    "deep nesting in the manifest",
)
"""Those of a short run: each kind that the matrix names."""
OF_POLICIES = ("truncated", "recovery fails open", "FIFO", "missing")
SERVED = "what served goes on serving"
TOLD = "told and counted once"
ALIVE = "process alive"
ASKED = "SIGHUP tries again"


def swaps(worker: Process, what: str, outcome: str) -> float:
    """Return how often new models or a new policy came to that."""
    return worker.metric(f'tellwire_artefact_swaps_total{{outcome="{outcome}",what="{what}"}}')


def put(source: Path, to: Path) -> None:
    """Let the folder `to` be a copy of another, all at once, as a careful hand does it."""
    fresh = to.with_name(f"{to.name}-next")
    shutil.copytree(source, fresh, symlinks=True)
    replace(fresh, to)


def replace(fresh: Path, to: Path) -> None:
    """Put a folder, or whatever it has become, in the place of another."""
    gone = to.with_name(f"{to.name}-{time.monotonic_ns()}")
    if to.exists():
        to.rename(gone)
    if fresh.exists():
        fresh.rename(to)


@contextmanager
def environment(values: Mapping[str, str]) -> Iterator[None]:
    """Give processes that are started meanwhile these variables too."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def refuse_each(trial: Trial, worker: Process, what: str, damages: Sequence[tuple[str, Callable[[], object]]]) -> None:
    """Do one damage after the other; each must be refused, told and counted once, and change nothing else."""
    before = worker.text().count(f"refused: new {what};")
    for number, (name, damage) in enumerate(damages, start=1):
        damage()
        trial.faulted(name)
        worker.wait(lambda wanted=number: swaps(worker, what, "refused") >= wanted, 90, f"refusing {name}")
    time.sleep(2.0)  # more polls of what is still wrong, and is told of
    told = worker.text().count(f"refused: new {what};") - before
    counted = swaps(worker, what, "refused")
    trial.outcome.check(
        TOLD, told == counted == len(damages), f"{len(damages)} damages, {told} told, {counted:.0f} counted"
    )
    trial.outcome.check(SERVED, swaps(worker, what, "swapped") == 0, "something damaged was swapped in")
    trial.outcome.check(ALIVE, worker.process.poll() is None, f"exit status {worker.process.returncode}")


def switched_once(events: Sequence[RiskEvent], old: Engine, new: Engine) -> str:
    """Return why events are not, in each partition, first all of the old engine, then all of the new; empty if so."""
    by_partition: dict[int, list[bool]] = defaultdict(list)
    for event in events:
        named = (event.versions.models, event.versions.policy)
        of_new = named == (new.versions["models"], new.versions["policy"])
        if not of_new and named != (old.versions["models"], old.versions["policy"]):
            return f"evaluation {event.evaluation_id} names neither"
        by_partition[event.source.partition].append(of_new)
    wrong = [partition for partition, found in by_partition.items() if found != sorted(found) or not found[-1]]
    return f"partitions {wrong} went back, or never switched" if wrong else ""


def finish(trial: Trial, pipeline: Pipeline, worker: Process, what: str, old: Engine, new: Engine) -> None:
    """Something good was put in place: it must serve; then judge everything."""
    worker.wait(lambda: swaps(worker, what, "swapped") == 1, 90, f"serving new {what}")
    wait_moving(pipeline, worker, pipeline.ends("risk.events"))
    trial._loads[-1].stop()
    pipeline.wait_committed(worker)
    evidence = trial.judge(pipeline, engines=[new])
    problem = switched_once(evidence.decoded, old, new)
    name = {"models": "then good models serve", "policy": "then a good policy serves"}[what]
    trial.outcome.check(name, not problem, problem or "from one chunk on")


@row(
    number=21,
    fault="every corrupt form of a model folder, and models that crash or hang what loads them, one after the other",
    observables=("I1", "I2", "I3", "I4", SERVED, TOLD, ALIVE, ASKED, "then good models serve"),
)
def corrupt_models(trial: Trial) -> None:
    folder = copy_shipped(trial.folder / "models")
    fresh = trial.folder / "fresh"

    def form(damage: Callable[[Path], object]) -> Callable[[], None]:
        def put_damaged() -> None:
            copy_shipped(fresh)
            damage(fresh)
            replace(fresh, folder)

        return put_damaged

    names = tuple(FORMS) if trial.budget == "full" else OF_MODELS
    damages = [(name, form(FORMS[name])) for name in names]
    hows = ("hang", "crash") if trial.budget == "ci" else ("hang", "sleep", "memory", "exit", "crash")
    damages += [(f"its loader: {how}", form(partial(sabotage, how=how))) for how in hows]
    if trial.budget == "full":
        damages.append(("more trees than can be read in time", form(lambda path: many_trees(path, 50))))
    pipeline = trial.pipeline(4, ARTEFACTS__DIRECTORY=str(folder), **WATCHED)
    with environment(install_sabotage(trial.folder / "site")):
        worker = pipeline.start("worker")
    worker.wait_ready()
    trial.load(pipeline, per_s=PER_S)
    wait_moving(pipeline, worker, pipeline.ends("risk.events"))
    refuse_each(trial, worker, "models", damages)
    worker.process.send_signal(signal.SIGHUP)
    worker.wait(lambda: swaps(worker, "models", "refused") == len(damages) + 1, 60, "trying again on SIGHUP")
    trial.outcome.check(ASKED, worker.process.poll() is None, "it ended")
    good = another(trial.folder / "good", 2)
    put(good, folder)
    finish(trial, pipeline, worker, "models", replay.engine(), Engine.load(good))
    trial.outcome.note = f"{len(damages)} forms"


@row(
    number=21,
    fault="every wrong form of a policy file, one that takes its parser hours among them",
    observables=("I1", "I2", "I3", "I4", SERVED, TOLD, ALIVE, "then a good policy serves"),
    in_ci=False,
)
def wrong_policies(trial: Trial) -> None:
    policy = trial.folder / "policy.toml"
    policy.write_text(POLICY)

    def form(damage: Callable[[Path], object]) -> Callable[[], None]:
        def put_damaged() -> None:
            fresh = trial.folder / "fresh.toml"
            fresh.write_text(POLICY)
            damage(fresh)
            replace(fresh, policy)
            if fresh.is_symlink():
                policy.symlink_to("nowhere")
                fresh.unlink()

        return put_damaged

    names = tuple(POLICY_FORMS) if trial.budget == "full" else OF_POLICIES
    damages = [(name, form(POLICY_FORMS[name])) for name in names]
    damages.append(("hours to parse", form(slow_policy)))
    pipeline = trial.pipeline(4, ARTEFACTS__POLICY_FILE=str(policy), **WATCHED)
    worker = pipeline.start("worker")
    worker.wait_ready()
    trial.load(pipeline, per_s=PER_S)
    wait_moving(pipeline, worker, pipeline.ends("risk.events"))
    refuse_each(trial, worker, "policy", damages)
    form(stricter)()
    finish(trial, pipeline, worker, "policy", replay.engine(), Engine.load(policy=policy))
    trial.outcome.note = f"{len(damages)} forms"


INTO_FULL = (
    "import os, sys\n"
    "full = os.open('/dev/full', os.O_WRONLY)\n"
    "os.dup2(full, 1)\n"
    "os.dup2(full, 2)\n"
    "os.execv(sys.executable, [sys.executable, '-m', 'stream', 'worker'])\n"
)
"""Becomes a worker whose every line of log meets a full disk."""


@row(
    number=23,
    fault="the log's disk is full from the first line on; a stop and a start likewise",
    observables=("I1", "I2", "I3", "I4", ALIVE, "no duplicate"),
)
def log_disk_full(trial: Trial) -> None:
    folder = copy_shipped(trial.folder / "models")
    pipeline = trial.pipeline(4, LOG__LEVEL="debug", ARTEFACTS__DIRECTORY=str(folder), **WATCHED)
    worker = pipeline.start("worker", entry=("-c", INTO_FULL))
    worker.wait_ready()
    trial.faulted("nothing can be logged")
    load = trial.load(pipeline, per_s=PER_S)
    wait_moving(pipeline, worker, pipeline.ends("risk.events"))
    flip(folder / MODEL)  # something to be told of
    worker.wait(lambda: swaps(worker, "models", "refused") == 1, 60, "refusing what it can't tell of")
    put(shipped_directory(), folder)
    status = worker.stop()
    trial.outcome.check("no duplicate", status == 0, f"exit status {status}")
    trial.faulted("stopped and started")
    worker = pipeline.start("worker", entry=("-c", INTO_FULL))
    worker.wait_ready()
    wait_moving(pipeline, worker, pipeline.ends("risk.events"))
    load.stop()
    pipeline.wait_committed(worker)
    trial.outcome.check(ALIVE, worker.process.poll() is None, f"exit status {worker.process.returncode}")
    evidence = trial.judge(pipeline)
    repeats = evidence.report.replayed_repeats
    trial.outcome.check("no duplicate", repeats == 0, f"{repeats} events were published twice")
