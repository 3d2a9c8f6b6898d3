"""Workers of one group that come and go under a steady load, and how long a partition stands still meanwhile."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from tests.fault.observe import EVENTS, Evidence
from tests.fault.trial import Trial
from tests.support.pipeline import Process

PARTITIONS = 6
PER_S = 300.0
"""Load, records a second: about 50 for each partition."""


@dataclass(frozen=True, kw_only=True)
class Mode:
    """One way to run the group: what the workers are told, and what the broker is."""

    name: str
    protocol: str = "classic"
    is_static: bool = False
    session_s: float = 6.0
    """How long the group waits for a dead member."""
    heartbeat_s: float = 0.5
    broker: tuple[tuple[str, str], ...] = ()

    def settings(self, number: int) -> dict[str, str]:
        """Return the settings of worker `number`."""
        found = {"KAFKA__GROUP_PROTOCOL": self.protocol}
        if self.protocol != "consumer":
            found["KAFKA__SESSION_TIMEOUT_MS"] = str(int(self.session_s * 1000))
        if self.is_static:
            found["KAFKA__GROUP_INSTANCE_ID"] = f"worker-{number}"
        return found


CLASSIC = Mode(name="classic")
COOPERATIVE = Mode(name="cooperative", protocol="cooperative")
STATIC = Mode(name="static classic", is_static=True, session_s=30.0)


def consumer_mode(session_s: float, heartbeat_s: float, *, is_static: bool = False) -> Mode:
    """Return a mode of KIP-848 on a broker that has this session timeout and heartbeat interval, in seconds."""
    return Mode(
        name=f"{'static ' if is_static else ''}consumer",
        protocol="consumer",
        is_static=is_static,
        session_s=session_s,
        heartbeat_s=heartbeat_s,
        broker=(
            ("group.consumer.min.session.timeout.ms", "1000"),
            ("group.consumer.min.heartbeat.interval.ms", "100"),
            ("group.consumer.session.timeout.ms", str(int(session_s * 1000))),
            ("group.consumer.heartbeat.interval.ms", str(int(heartbeat_s * 1000))),
        ),
    )


@dataclass
class Members:
    """The workers of a trial's group. Start them, begin the load, let them come and go, then `finish`."""

    trial: Trial
    mode: Mode = CLASSIC
    partitions: int = PARTITIONS
    per_s: float = PER_S
    workers: list[Process] = field(default_factory=list)
    times_s: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    """How long starts and stops took."""
    _phases: list[tuple[str, int, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.pipeline = self.trial.pipeline(self.partitions)

    def begin(self, count: int) -> None:
        """Start `count` workers, then the load; returns when every partition publishes."""
        for number in range(count):
            self.start(number, wait=False)
        for worker in self.workers:
            worker.wait_ready()
        self._load = self.trial.load(self.pipeline, per_s=self.per_s)
        self.wait_publishing()

    def start(self, number: int, *, wait: bool = True, mode: Mode | None = None) -> Process:
        """Start worker `number`, in the place of one that ended, where there was one."""
        settings: Mapping[str, str] = (mode or self.mode).settings(number)
        began = time.monotonic()
        worker = self.pipeline.start("worker", **settings)
        if number < len(self.workers):
            self.workers[number] = worker
        else:
            self.workers.append(worker)
        if wait:
            worker.wait_ready()
            self.times_s["start"].append(time.monotonic() - began)
        return worker

    def stop(self, number: int) -> None:
        """Stop a worker as an orchestrator does. Raises AssertionError where it does not end in order."""
        began = time.monotonic()
        status = self.workers[number].stop()
        assert status == 0, f"exit status {status}:\n{self.workers[number].text()[-3000:]}"
        self.times_s["stop"].append(time.monotonic() - began)

    def restart(self, number: int, *, mode: Mode | None = None) -> None:
        """Stop a worker, then start its successor, as a rolling restart does."""
        self.trial.faulted(f"restart {number}")
        self.stop(number)
        self.start(number, mode=mode)

    def kill(self, number: int) -> None:
        """End a worker with SIGKILL."""
        self.trial.faulted(f"kill {number}")
        self.workers[number].process.kill()
        self.workers[number].process.wait()

    @contextmanager
    def phase(self, name: str, settle_s: float = 3.0) -> Iterator[None]:
        """Measure stalls of what happens inside and in the seconds after."""
        since_ms = _now_ms()
        yield
        time.sleep(settle_s)
        self._phases.append((name, since_ms, _now_ms()))

    def wait_publishing(self, seconds: float = 60.0) -> None:
        """Wait until every partition has published more than it has now."""
        before = self.pipeline.ends(EVENTS)

        def moved() -> bool:
            now = self.pipeline.ends(EVENTS)
            return all(now[number] > end for number, end in before.items())

        self._alive().wait(moved, seconds, "publishing in every partition")

    def finish(self) -> Evidence:
        """End the load, wait until all is committed, and judge what the row declares."""
        self._load.stop()
        self.pipeline.wait_committed(self._alive())
        return self.trial.judge(self.pipeline)

    def stalls_s(self, evidence: Evidence) -> dict[str, list[float]]:
        """Return, by name of phase, how long the worst partition stood still in each."""
        found: dict[str, list[float]] = defaultdict(list)
        for name, since_ms, until_ms in self._phases:
            found[name].append(evidence.stall_s(since_ms, until_ms))
        return found

    def check_stalls(self, evidence: Evidence, limits_s: Mapping[str, float]) -> None:
        """Check the observable `stall`: no partition stood still for longer than its phase allows."""
        found = self.stalls_s(evidence)
        told = "; ".join(f"{name} {max(found[name]):.1f} s" for name in limits_s)
        self.trial.outcome.note = f"longest stall of a partition: {told}"
        for name, limit_s in limits_s.items():
            worst = max(found[name])
            self.trial.outcome.check("stall", worst <= limit_s, f"{name}: {worst:.2f} s, limit {limit_s:g} s")

    def _alive(self) -> Process:
        return next(worker for worker in self.workers if worker.process.poll() is None)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
