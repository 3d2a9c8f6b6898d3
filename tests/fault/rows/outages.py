"""Rows about Kafka being away or refusing: restarts, lost leaders, cut and silent connections, denied access."""

from __future__ import annotations

import json
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from confluent_kafka import KafkaException

from tests.fault.load import Load
from tests.fault.observe import DEAD_LETTERS, EVENTS, INPUT, Evidence
from tests.fault.row import Needs, row
from tests.fault.rows.crashes import PER_S
from tests.fault.trial import Trial
from tests.support.pipeline import Pipeline, Process
from tests.support.proxy import FaultProxy
from tests.support.secured import CLIENT_NAME, USER, SecuredKafka

BACK_S = 20.0
"""A broker that is back is found again, and the group formed anew, within this time, s."""
MEMORY_MB = 200.0
"""An outage may not make a worker grow by more than this, MB: its queues have bounds."""


@dataclass
class Probes:
    """What a process' probes answered while it was watched."""

    process: Process
    answers: list[tuple[int, int, str]] = field(default_factory=list)
    """(status of /livez, status of /readyz, phase and what is waited for), in order."""

    @property
    def phases(self) -> set[str]:
        """All phases seen, such as `ready` and `waiting broker`."""
        return {phase for _, _, phase in self.answers}

    @property
    def was_alive(self) -> bool:
        """Whether /livez was 200 each time, and the process still runs."""
        return {live for live, _, _ in self.answers} == {200} and self.process.process.poll() is None

    def ask(self) -> None:
        """Ask once."""
        live, _ = self.process.get("/livez")
        ready, body = self.process.get("/readyz")
        told = json.loads(body) if body else {}
        self.answers.append((live, ready, " ".join([told.get("phase", "silent"), *told.get("waiting_for", ())])))


@contextmanager
def probed(process: Process) -> Iterator[Probes]:
    """Ask a process' probes twice a second, as an orchestrator would."""
    found, stopped = Probes(process), threading.Event()

    def ask() -> None:
        while not stopped.wait(0.5):
            found.ask()

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    try:
        yield found
    finally:
        stopped.set()
        thread.join()


def wait_moving(pipeline: Pipeline, worker: Process, seconds: float = 60.0) -> None:
    """Wait until every partition has published more than it has now, with brokers that may not answer the test."""
    since: dict[int, int] = {}

    def moving() -> bool:
        try:
            ends = pipeline.ends(EVENTS)
        except KafkaException:  # its leader is away
            return False
        if not since:
            since.update(ends)
        return all(ends[number] > end for number, end in since.items())

    worker.wait(moving, seconds, "publishing again in every partition")


def judge_outage(trial: Trial, pipeline: Pipeline, load: Load, worker: Process, *, limit_s: float) -> Evidence:
    """Let everything drain, then judge; every record that the load had acknowledged must be there."""
    sent = load.stop(seconds=180)
    pipeline.wait_committed(worker, seconds=180)
    evidence = trial.judge(pipeline, recovery_limit_s=limit_s)
    inputs = evidence.report.inputs
    trial.outcome.check("all acknowledged", inputs == sent.acked, f"{sent.acked} acknowledged, {inputs} in the log")
    return evidence


@row(
    number=7,
    fault="the only broker is restarted under load: in order, and killed",
    observables=("I1", "I2", "I3", "I4", "I5", "all acknowledged", "no crash loop"),
    needs=Needs(own_broker=True),
)
def broker_restart(trial: Trial) -> None:
    pipeline = trial.pipeline()
    worker = pipeline.start("worker")
    worker.wait_ready()
    load = trial.load(pipeline, per_s=PER_S)
    wait_moving(pipeline, worker)
    with probed(worker) as probes:
        for turn in range(trial.count(ci=2, full=10)):
            trial.broker.restart(sig=signal.SIGKILL if turn % 2 else signal.SIGTERM)
            trial.faulted("the broker is back")
            wait_moving(pipeline, worker)
    trial.outcome.check("no crash loop", probes.was_alive, f"phases {sorted(probes.phases)}")
    judge_outage(trial, pipeline, load, worker, limit_s=BACK_S)


@row(
    number=7,
    fault="3 brokers under load: the leader of a partition is stopped or killed, and comes back; one after the other",
    observables=("I1", "I2", "I3", "I4", "I5", "all acknowledged", "no crash loop"),
    needs=Needs(brokers=3, own_broker=True),
    in_ci=False,
)
def leader_change(trial: Trial) -> None:
    pipeline = trial.pipeline()
    workers = [pipeline.start("worker") for _ in range(2)]
    for worker in workers:
        worker.wait_ready()
    load = trial.load(pipeline, per_s=PER_S)
    wait_moving(pipeline, workers[0])
    with probed(workers[0]) as first, probed(workers[1]) as second:
        for turn in range(trial.count(ci=2, full=8)):
            leader = trial.broker.admin.list_topics(INPUT, timeout=10).topics[INPUT].partitions[turn % 4].leader
            trial.faulted(f"node {leader}, the leader of partition {turn % 4}, ends")
            trial.broker.restart(leader, signal.SIGKILL if turn % 2 else signal.SIGTERM)
            wait_moving(pipeline, workers[0])
    phases = sorted(first.phases | second.phases)
    trial.outcome.check("no crash loop", first.was_alive and second.was_alive, f"phases {phases}")
    judge_outage(trial, pipeline, load, workers[0], limit_s=BACK_S)


OUTAGES: dict[str, tuple[Callable[[FaultProxy], None], int, int]] = {
    "stalled": (FaultProxy.stall, 12, 300),
    "cut": (FaultProxy.cut, 12, 30),
    "half-open": (FaultProxy.half_open, 4, 30),
    "reset": (FaultProxy.reset, 2, 30),
}
"""How connections fail, and for how long with each budget, s."""


@row(
    number=7,
    fault="the broker can't be reached: bytes held back, connections cut, half-open, reset again and again; for 5 min, "
    "and for 30 s each (12 s and less in short)",
    observables=("I1", "I2", "I3", "I4", "I5", "all acknowledged", "no crash loop", "memory", "told"),
    needs=Needs(kafka_proxy=True),
    in_ci=False,
)
def unreachable(trial: Trial) -> None:
    pipeline = trial.pipeline()
    worker, learner = pipeline.start("worker"), pipeline.start("learner")
    worker.wait_ready()
    learner.wait_ready()
    load = trial.load(pipeline, per_s=PER_S)
    wait_moving(pipeline, worker)
    time.sleep(5.0)  # the learner reads its first vectors, and both have the size that they keep
    before_mb = trial.outcome.rss_mb
    (proxy,) = trial.kafka_proxies
    for name, (fail, ci_s, full_s) in OUTAGES.items():
        seconds = trial.count(ci=ci_s, full=full_s)
        with probed(worker) as probes, probed(learner) as of_learner:
            until = time.monotonic() + seconds
            fail(proxy)
            while time.monotonic() < until:
                time.sleep(1.0)
                if name in ("half-open", "reset"):
                    fail(proxy)  # new connections work for a moment
            proxy.heal()
            trial.faulted(f"healed after {seconds} s: {name}")
            wait_moving(pipeline, worker)
            worker.wait_ready()
            learner.wait_ready()
        for who, seen in (("worker", probes), ("learner", of_learner)):
            trial.outcome.check("no crash loop", seen.was_alive, f"{who}, {name}: phases {sorted(seen.phases)}")
            if name in ("stalled", "cut"):
                told = "waiting broker" in seen.phases
                trial.outcome.check("told", told, f"{who}, {name}: phases {sorted(seen.phases)}")
    judge_outage(trial, pipeline, load, worker, limit_s=BACK_S)
    grown_mb = trial.outcome.rss_mb - before_mb
    trial.outcome.check("memory", grown_mb < MEMORY_MB, f"grew by {grown_mb:.0f} MB")


def permit(kafka: SecuredKafka, pipeline: Pipeline, user: str) -> None:
    """Give a worker's user what the documentation says that it needs, and nothing else."""
    for topic in (INPUT, "capture.signals", "models.snapshots"):
        kafka.allow("topic", topic, ["READ", "DESCRIBE"], user)
    for topic in (EVENTS, DEAD_LETTERS, "risk.features"):
        kafka.allow("topic", topic, ["WRITE", "DESCRIBE"], user)
    kafka.allow("topic", INPUT, ["WRITE"], user)  # the door forwards to it
    kafka.allow("topic", EVENTS, ["READ"], user)  # what was published last is read when a partition is taken over
    kafka.allow("group", pipeline.group, ["READ", "DESCRIBE"], user)
    for name in ("tellwire-tail", "tellwire-snapshots"):
        kafka.allow("group", name, ["DESCRIBE"], user)


@contextmanager
def secured(trial: Trial, *, reauthenticate_ms: int = 0) -> Iterator[tuple[SecuredKafka, Pipeline]]:
    """Yield a secured broker in place of the trial's own, and a pipeline on it that has its permissions."""
    plain = trial.servers
    with SecuredKafka(reauthenticate_ms=reauthenticate_ms) as kafka:
        trial.servers = replace(plain, broker=kafka.broker)
        try:
            pipeline = trial.pipeline()
            permit(kafka, pipeline, USER)
            pipeline.extra.update(kafka.settings)
            yield kafka, pipeline
        finally:
            trial.end()
            trial.servers = plain


@row(
    number=28,
    fault="a secured broker (SASL_SSL, SCRAM, access rules): a wrong password, an unknown CA, no access, at start",
    observables=("one clear line", "bounded"),
)
def refused_at_start(trial: Trial) -> None:
    with secured(trial) as (kafka, pipeline):
        address = re.escape(kafka.settings["KAFKA__BOOTSTRAP_SERVERS"])
        wrong: dict[str, tuple[dict[str, str], str]] = {
            "password": ({"KAFKA__SASL_PASSWORD": "not-this-one"}, rf"broker {address}: .*invalid credentials"),
            "authority": ({"KAFKA__SSL_CA_FILE": kafka.other_authority}, rf"broker {address}: .*certificate"),
            "no certificate": ({"KAFKA__SSL_CA_FILE": "/etc/hostname"}, r"ssl\.ca\.location"),
            "protocol": ({"KAFKA__SECURITY_PROTOCOL": "PLAINTEXT"}, rf"broker {address}: .*security"),
        }
        for name, (settings, words) in list(wrong.items())[: trial.count(ci=2, full=len(wrong))]:
            refused(trial, pipeline.start("worker", **settings), name, words)
        kafka.deny("topic", EVENTS, ["WRITE", "READ", "DESCRIBE"])
        refused(trial, pipeline.start("worker"), "access", r"topics missing .*: risk\.events")
        kafka.allow("topic", EVENTS, ["WRITE", "READ", "DESCRIBE"])
        worker = pipeline.start("worker")
        worker.wait_ready()
        trial.outcome.check("bounded", worker.stop() == 0, "with everything right it did not start and stop well")


def refused(trial: Trial, process: Process, name: str, words: str) -> None:
    """Check that a process ends soon, with status 1 or 2 and one line that says why, without the password."""
    trial.faulted(name)
    began = time.monotonic()
    status = process.process.wait(90)
    took_s = time.monotonic() - began
    lines = [line for line in process.text().splitlines() if line.startswith("tellwire: ")]
    said = f"{name}: status {status} after {took_s:.0f} s: {' | '.join(lines)[:300]}"
    clear = len(lines) == 1 and re.search(words, lines[0]) and "Traceback" not in process.text()
    trial.outcome.check("one clear line", clear and status in (1, 2) and "not-this-one" not in process.text(), said)
    trial.outcome.check("bounded", took_s < 40, said)


@row(
    number=28,
    fault="a secured broker under load: rights to publish, to read, to the group are taken away and given back; the "
    "password expires and is renewed; TLS connections are cut",
    observables=("I1", "I2", "I3", "I4", "I5", "all acknowledged", "no crash loop", "told"),
    in_ci=False,
)
def access_lost(trial: Trial) -> None:
    with secured(trial, reauthenticate_ms=4_000) as (kafka, pipeline):
        worker = pipeline.start("worker")
        worker.wait_ready()
        load = trial.load(pipeline, per_s=80.0)
        wait_moving(pipeline, worker)

        def outage(name: str, begin: Callable[[], None], end: Callable[[], None]) -> None:
            began = len(worker.text())
            with probed(worker) as probes:
                begin()
                time.sleep(trial.count(ci=11, full=15))
                end()
                trial.faulted(f"over: {name}")
                wait_moving(pipeline, worker, seconds=90)
                worker.wait_ready()
            loud = re.search(r"^\S+ (warning|error|critical) ", worker.text()[began:], re.MULTILINE)
            told = any(phase.startswith("waiting") for phase in probes.phases)
            detail = f"{name}: phases {sorted(probes.phases)}"
            trial.outcome.check("no crash loop", probes.was_alive, detail)
            trial.outcome.check("told", loud and told, detail)

        rights = [
            ("publish", "topic", EVENTS, ["WRITE"]),
            ("read", "topic", INPUT, ["READ"]),
            ("group", "group", pipeline.group, ["READ"]),
        ]
        for name, kind, resource, operations in rights:
            outage(
                name,
                lambda k=kind, r=resource, o=operations: kafka.deny(k, r, o),  # type: ignore[misc]
                lambda k=kind, r=resource, o=operations: kafka.allow(k, r, o),  # type: ignore[misc]
            )
        outage("password", kafka.drop_user, lambda: kafka.set_password(kafka.password))
        outage("TLS cut", kafka.proxy.cut, kafka.proxy.heal)
        judge_outage(trial, pipeline, load, worker, limit_s=30.0)


@row(
    number=28,
    fault="mutual TLS: the broker knows the worker by its certificate",
    observables=("I1", "I2", "I3", "I4"),
    in_ci=False,
)
def mutual_tls(trial: Trial) -> None:
    with secured(trial) as (kafka, pipeline):
        permit(kafka, pipeline, CLIENT_NAME)
        pipeline.extra.clear()
        pipeline.extra.update(kafka.mutual_settings)
        worker = pipeline.start("worker")
        worker.wait_ready()
        trial.backlog(pipeline, trial.count(ci=500, full=5_000))
        pipeline.wait_committed(worker)
        trial.outcome.runs += 1
        trial.judge(pipeline)
