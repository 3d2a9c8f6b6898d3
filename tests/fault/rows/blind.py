"""The proof that the observables see: rows 1, 5 and 6 against stock Faust, where they have to fail.

Each row first runs it without the fault and asks that the observables hold ("sound without"), so that it is the fault
that they see, not the other program.
"""

from __future__ import annotations

import json
import time
from collections import Counter

from features.session import decode
from schemas import envelope
from tests.fault import observe
from tests.fault.row import Outcome, Verdict, row
from tests.fault.rows.crashes import kill
from tests.fault.rows.handlers import MARK, check_dead, marked, places_marked, sessions
from tests.fault.trial import Trial
from tests.support.pipeline import Pipeline, Process

STOCK = "stock Faust"
KEY_PREFIX = "stock:"
BACKLOG = 1_200
_sound: dict[str, Verdict] = {}


def start(pipeline: Pipeline, **options: str | int) -> Process:
    """Start the same job on stock Faust."""
    told = json.dumps({"key_prefix": KEY_PREFIX, **options})
    return pipeline.start("stock", entry=["-m", "tests.fault.stock_faust", told])


def wait_answers(pipeline: Pipeline, process: Process, count: int) -> None:
    """Wait until so many outcomes are published."""
    process.wait(lambda: pipeline.answers() >= count, 90, f"done with {count}")


def sound_without(trial: Trial) -> None:
    """Check that without a fault stock Faust satisfies what it has to fail with one; looked at once a run."""
    if not _sound:
        pipeline = trial.pipeline(2)
        process = start(pipeline)
        trial.backlog(pipeline, 400)
        pipeline.wait_committed(process, seconds=90)
        process.stop()
        aside = Outcome()
        evidence = observe.collect(pipeline)
        observe.one_outcome(evidence, aside)
        observe.commits_trace(evidence, aside)
        counted_once(pipeline, evidence, aside)
        _sound.update(aside.verdicts)
    for name, verdict in _sound.items():
        trial.outcome.check("sound without", verdict.ok, f"{name}: {verdict.detail}")


def counted_once(pipeline: Pipeline, evidence: observe.Evidence, outcome: Outcome) -> None:
    """I2 of stock Faust: each stored session has counted as many events as the log holds of it."""
    sent = Counter(envelope.decode(record.value, record.key).session_id for record in evidence.inputs)
    wrong = []
    with pipeline.redis.client() as client:
        for session_id, count in sent.items():
            blob = client.get(KEY_PREFIX + session_id)
            found = decode(session_id, blob)[0].n_events if isinstance(blob, bytes) else 0
            if found != count:
                wrong.append(f"{found} events counted for {count}")
    detail = f"{len(sent)} sessions, {len(wrong)} of them wrong" + "".join(f"; {one}" for one in wrong[:1])
    outcome.check("I2", sent and not wrong, detail)


@row(
    number=1,
    fault="kill -9 of the only worker",
    system=STOCK,
    observables=("sound without", "I1", "I2"),
    must_fail=("I1", "I2"),
)
def stock_kill(trial: Trial) -> None:
    sound_without(trial)
    pipeline = trial.pipeline(2)
    trial.backlog(pipeline, BACKLOG)
    process = start(pipeline)
    for done in range(1, trial.count(ci=1, full=3) + 1):
        wait_answers(pipeline, process, 200 * done)
        kill(process)
        trial.faulted("kill -9")
        process = start(pipeline)
    pipeline.wait_committed(process, seconds=120)
    evidence = trial.judge(pipeline)
    counted_once(pipeline, evidence, trial.outcome)
    trial.outcome.note = f"{evidence.report.kinds().get('doubled', 0)} events published twice without a mark"


@row(
    number=5,
    fault="a slow record is in flight, fast ones come behind it (agent with concurrency 2); kill -9",
    system=STOCK,
    observables=("sound without", "I1", "I3", "slow one redelivered"),
    must_fail=("I1", "I3", "slow one redelivered"),
)
def stock_slow_record(trial: Trial) -> None:
    sound_without(trial)
    pipeline = trial.pipeline(1)
    process = start(pipeline, slow=MARK, concurrency=2)
    trial.backlog(pipeline, 100)
    wait_answers(pipeline, process, 100)
    pipeline.produce(marked(sessions(trial, 1)))
    trial.backlog(pipeline, 100, seed=2)
    process.wait_said("fault: slow", 30)
    (place,) = places_marked(pipeline)
    # Long enough for Faust's own interval of commits (2.8 s by default).
    deadline = time.monotonic() + 15
    while pipeline.committed()[0] <= place[1] and time.monotonic() < deadline:
        time.sleep(0.2)
    kill(process)
    trial.faulted("kill -9")
    process = start(pipeline, concurrency=2)
    pipeline.wait_committed(process, seconds=90)
    time.sleep(1.0)
    evidence = trial.judge(pipeline)
    trial.outcome.check("slow one redelivered", place in evidence.answered_ms, f"{place} has no outcome")
    observe.commits_trace(evidence, trial.outcome)


@row(
    number=6,
    fault="the handler raises on single records among good ones",
    system=STOCK,
    observables=("sound without", "I1", "exactly these are dead"),
    must_fail=("I1", "exactly these are dead"),
)
def stock_handler_raises(trial: Trial) -> None:
    sound_without(trial)
    pipeline = trial.pipeline(2)
    process = start(pipeline, **{"raise": MARK})
    for number in range(3):
        trial.backlog(pipeline, 100, seed=number + 1)
        pipeline.produce(marked(sessions(trial, 1)))
        trial.outcome.runs += 1
    pipeline.wait_committed(process, seconds=90)
    process.stop()
    expected = places_marked(pipeline)
    evidence = trial.judge(pipeline, expected_dead_letters=expected)
    check_dead(trial, evidence, expected)
    trial.outcome.note = f"{evidence.report.kinds().get('missing', 0)} records vanished without a trace"
