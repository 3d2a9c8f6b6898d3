"""Rows about records that end the process: each is found, alone, and no innocent one with it."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Mapping
from pathlib import Path
from signal import SIGKILL, SIGSEGV

import msgspec

from schemas.envelope import encode
from schemas.signals import Signal
from schemas.telemetry import Telemetry
from stream.crash_note import DEATHS_ALONE, UNCLEAN_STARTS
from tests.fault.load import simulated
from tests.fault.observe import DEAD_LETTERS
from tests.fault.row import row
from tests.fault.trial import Trial
from tests.support import ledger
from tests.support.ledger import Place
from tests.support.pipeline import Pipeline, Process

FURTHER = 3
"""Starts that may get further, but not to the record: their first chunks are short, as they pay for what is cold."""
DEATHS = FURTHER + UNCLEAN_STARTS - 1 + DEATHS_ALONE
"""Most processes that one record may cost: some that got further, then those at one offset, then two alone."""


class _Orchestrator:
    """Starts a worker again whenever one has ended, as an orchestrator does. A static member: takeover is quick."""

    def __init__(self, trial: Trial, pipeline: Pipeline, sessions: Mapping[str, str]) -> None:
        self._trial = trial
        self._pipeline = pipeline
        self._sessions = sessions
        self.struck = trial.folder / "struck.log"
        self.deaths = 0
        self.worker = self._start()

    def until_committed(self, seconds: float, letters_of_the_door: int = 0) -> None:
        """Go on until the group has committed the end of the input, and the door has its dead letters."""
        deadline = time.monotonic() + seconds
        committed = 0
        while committed < 3:
            if time.monotonic() > deadline:
                raise AssertionError(f"not at the end in {seconds} s:\n{self.worker.text()[-3000:]}")
            if self.worker.process.poll() is not None:
                status = self.worker.process.returncode
                if status not in {-SIGKILL, -SIGSEGV}:
                    raise AssertionError(f"it ended with {status}:\n{self.worker.text()[-3000:]}")
                self.deaths += 1
                self._trial.faulted(f"ended with {status}")
                self.worker = self._start()
            is_done = self._pipeline.uncommitted() == 0 and (
                not letters_of_the_door or len(_letters(self._pipeline, "capture.signals")) == letters_of_the_door
            )
            committed = committed + 1 if is_done else 0
            time.sleep(0.2)

    def kill(self) -> None:
        """Kill the worker, whatever it does, and start another."""
        self._trial.faulted("kill -9")
        self.worker.process.send_signal(SIGKILL)
        self.worker.process.wait()
        self.worker = self._start()

    def _start(self) -> Process:
        return self._pipeline.start(
            "worker",
            entry=("-m", "tests.support.poison_worker", "worker"),
            KAFKA__GROUP_INSTANCE_ID="the-only-one",
            **_poison(self._sessions, self.struck),
        )


def _poison(sessions: Mapping[str, str], struck: Path) -> dict[str, str]:
    # No settings of the worker's: the entry takes them out again.
    return {"POISON__SESSIONS": json.dumps(dict(sessions)), "POISON__LOG": str(struck)}


def _events(count: int, seed: int) -> list[Telemetry]:
    return list(itertools.islice(simulated(seed, sessions_per_s=4.0, bot_ratio=0.3), count))


def _with_poison(events: list[Telemetry], sessions: Mapping[str, str]) -> list[Telemetry]:
    """Put one record of each session into the middle, spread out."""
    step = len(events) // (len(sessions) + 1)
    found = list(events)
    for number, session_id in enumerate(sessions, 1):
        bad = msgspec.structs.replace(events[number * step], session_id=session_id, event_id=session_id, sequence=0)
        found.insert(number * step, bad)
    return found


def _letters(pipeline: Pipeline, topic: str) -> dict[Place, tuple[str, str]]:
    """Return reason and session of the dead letters about a topic, by place."""
    found: dict[Place, tuple[str, str]] = {}
    for letter in ledger.read_topic(pipeline.broker.bootstrap, DEAD_LETTERS):
        if letter.header("dlq_topic") == topic:
            place = (int(letter.header("dlq_partition") or -1), int(letter.header("dlq_offset") or -1))
            session = msgspec.json.decode(letter.value or b"{}").get("session_id", "")
            assert place not in found, f"two dead letters for {place}"
            found[place] = (letter.header("dlq_reason") or "", session)
    return found


@row(
    number=15,
    fault="a record that ends the process: SIGKILL, a real SIGSEGV in features and in decoding, also at the door",
    observables=("I1", "I2", "I3", "I4", "one dead letter each", "bounded deaths", "no note left"),
)
def poison_ends_the_process(trial: Trial) -> None:
    sessions = {"poison-kill": "kill", "poison-segfault": "segfault"}
    if trial.budget == "full":
        sessions |= {"poison-decode": "decode-segfault", "poison-again": "kill"}
    door = {"poison-door": "door-segfault"} if trial.budget == "full" else {}
    pipeline = trial.pipeline(partitions=2)
    events = _with_poison(_events(trial.count(ci=600, full=3_000), seed=15), sessions)
    count = pipeline.produce_events(events)
    for session_id in [*(f"signal-{number}" for number in range(20)), *door] if door else []:
        signal = encode(_signal(session_id))
        count += pipeline.produce([(session_id.encode(), signal)], topic="capture.signals")
    orchestrator = _Orchestrator(trial, pipeline, {**sessions, **door})
    orchestrator.until_committed(60.0 + 30.0 * len(sessions) + 60.0 * len(door), len(door))
    letters = _letters(pipeline, "capture.telemetry")
    at_the_door = _letters(pipeline, "capture.signals")
    trial.outcome.check(
        "one dead letter each",
        sorted(letters.values()) == sorted(("crashes_process", session) for session in sessions)
        and sorted(at_the_door.values()) == sorted(("crashes_process", session) for session in door),
        f"{sorted(letters.values())} {sorted(at_the_door.values())}",
    )
    struck = len(orchestrator.struck.read_text().splitlines())
    kinds = len(sessions) + len(door)
    trial.outcome.check(
        "bounded deaths",
        struck == orchestrator.deaths <= kinds * DEATHS,
        f"{struck} strikes, {orchestrator.deaths} deaths for {kinds} records",
    )
    _stop(trial, pipeline, orchestrator.worker)
    trial.outcome.note = f"{orchestrator.deaths} deaths for {kinds} records"
    trial.judge(pipeline, expected_dead_letters=set(letters))


@row(
    number=15,
    fault="kill -9 at random moments, most of them right after a start: no record is condemned for it",
    observables=("I1", "I2", "I3", "I4", "nobody is condemned", "no note left"),
    in_ci=False,
)
def kills_condemn_nobody(trial: Trial) -> None:
    pipeline = trial.pipeline(partitions=2)
    orchestrator = _Orchestrator(trial, pipeline, {})
    orchestrator.worker.wait_ready()
    load = trial.load(pipeline, per_s=200)
    suspected = 0
    for _ in range(trial.count(ci=6, full=50)):
        worker = orchestrator.worker
        worker.wait(lambda worker=worker: "partitions taken over" in worker.text(), 60, "taking over")
        time.sleep(trial.rng.choice([0.0, 0.0, trial.rng.uniform(0.0, 0.05), trial.rng.uniform(0.0, 1.0)]))
        suspected += "go one by one" in worker.text()
        orchestrator.kill()
    load.stop()
    orchestrator.until_committed(120.0)
    letters = _letters(pipeline, "capture.telemetry")
    trial.outcome.check("nobody is condemned", not letters, f"{letters or 'no dead letters'}")
    _stop(trial, pipeline, orchestrator.worker)
    trial.outcome.note = f"records went one by one after {suspected} of {trial.outcome.runs} kills"
    trial.judge(pipeline, expected_dead_letters=())


def _stop(trial: Trial, pipeline: Pipeline, worker: Process) -> None:
    """An orderly stop removes the notes: the next start counts from one."""
    assert worker.stop() == 0
    left = [key for key in pipeline.stored_keys() if key.endswith(b"}:c")]
    trial.outcome.check("no note left", not left, f"{len(left)} notes are left: {left[:2]}")


def _signal(session_id: str) -> Signal:
    return Signal(
        event_id=f"event-of-{session_id}",
        session_id=session_id,
        tenant="acme",
        flow="kyc_capture",
        effective_at=1_790_000_000_000,
        observed_at=1_790_000_000_000,
        kind="liveness",
        provider="vendor",
        outcome="error",
    )
