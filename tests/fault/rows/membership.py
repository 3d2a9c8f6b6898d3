"""Rows about members of the group: restarted, killed, frozen, added and taken away, with every group protocol."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager

from confluent_kafka import Consumer

from tests.fault.members import CLASSIC, COOPERATIVE, STATIC, Members, consumer_mode
from tests.fault.observe import Evidence
from tests.fault.row import Needs, row
from tests.fault.trial import Trial
from tests.support.pipeline import Pipeline, Process
from tests.support.process import Deadline
from tests.support.proxy import FaultProxy

SHORT = consumer_mode(6.0, 0.5)
"""KIP-848 as docs/how-to/deploy-without-stalls.md advises, with the session of the classic default."""
STATIC_SHORT = consumer_mode(30.0, 0.5, is_static=True)
BROKER = Needs(broker_properties=SHORT.broker)
STATIC_BROKER = Needs(broker_properties=STATIC_SHORT.broker)
RESTART_S, STATIC_RESTART_S, TAKEOVER_S = 3.0, 5.0, 10.0
"""Longest stall of a partition: planned restart, restart of a static member, kill -9."""
ORDERLY = ("I1", "I2", "I3", "I4", "no duplicate", "stall")


def no_duplicate(trial: Trial, evidence: Evidence) -> None:
    """Check that nothing was published twice."""
    report = evidence.report
    trial.outcome.check("no duplicate", report.replayed_repeats + report.dead_letter_repeats == 0, str(report))


# --- planned restarts -----------------------------------------------------------------------------------


def restart_in_turn(trial: Trial, members: Members, limit_s: float, rounds: int) -> None:
    """Restart workers one after the other; judge duplicates and stalls."""
    members.begin(3)
    for turn in range(rounds):
        with members.phase("restart"):
            members.restart(turn % 3)
    evidence = members.finish()
    no_duplicate(trial, evidence)
    members.check_stalls(evidence, {"restart": limit_s})


@row(number=2, fault="planned restart of one of three workers; classic protocol, default settings", observables=ORDERLY)
def restart_classic(trial: Trial) -> None:
    restart_in_turn(trial, Members(trial, CLASSIC), RESTART_S, trial.count(ci=1, full=6))


@row(number=2, fault="planned restart of one of three workers; cooperative protocol", observables=ORDERLY, in_ci=False)
def restart_cooperative(trial: Trial) -> None:
    restart_in_turn(trial, Members(trial, COOPERATIVE), RESTART_S, trial.count(ci=1, full=6))


def _static_limit_s(trial: Trial) -> float:
    """Return the bound; twice as much in CI, where others may use the processors: here a start is all of the stall."""
    return trial.count(ci=2, full=1) * STATIC_RESTART_S


@row(number=2, fault="planned restart of a static member; classic protocol", observables=ORDERLY, in_ci=False)
def restart_static(trial: Trial) -> None:
    restart_in_turn(trial, Members(trial, STATIC), _static_limit_s(trial), trial.count(ci=1, full=4))


@row(
    number=2, fault="planned restart of a static member; KIP-848", observables=ORDERLY, needs=STATIC_BROKER, in_ci=False
)
def restart_static_consumer(trial: Trial) -> None:
    restart_in_turn(trial, Members(trial, STATIC_SHORT), _static_limit_s(trial), trial.count(ci=1, full=4))


@row(
    number=2,
    fault="rolling change of three workers from the classic protocol to KIP-848, and back, under load",
    observables=ORDERLY,
    needs=BROKER,
    in_ci=False,
)
def change_protocol(trial: Trial) -> None:
    members = Members(trial, CLASSIC)
    members.begin(3)
    for mode in (SHORT, CLASSIC)[: trial.count(ci=1, full=2)]:
        for number in range(3):
            with members.phase("restart"):
                members.restart(number, mode=mode)
    evidence = members.finish()
    no_duplicate(trial, evidence)
    members.check_stalls(evidence, {"restart": RESTART_S})


# --- hard deaths ----------------------------------------------------------------------------------------


def kill_and_restart(trial: Trial, members: Members, rounds: int) -> None:
    """Kill workers, wait for the survivors; restart workers in order; judge both."""
    members.begin(3)
    for turn in range(rounds):
        with members.phase("kill -9", settle_s=members.mode.session_s + 4.0):
            members.kill(turn % 3)
        with members.phase("join"):
            members.start(turn % 3)
        with members.phase("restart"):
            members.restart((turn + 1) % 3)
    evidence = members.finish()
    members.check_stalls(evidence, {"kill -9": TAKEOVER_S, "restart": RESTART_S, "join": RESTART_S})


@row(
    number=1,
    fault="kill -9 of one of three workers, and restarts in order; KIP-848 with a session of 6 s at the broker",
    observables=("I1", "I2", "I3", "I4", "stall"),
    needs=BROKER,
    in_ci=False,
)
def kill_consumer(trial: Trial) -> None:
    kill_and_restart(trial, Members(trial, SHORT), trial.count(ci=1, full=5))


@row(
    number=1,
    fault="kill -9 of one of three workers, and restarts in order; classic protocol, default settings",
    observables=("I1", "I2", "I3", "I4", "stall"),
    in_ci=False,
)
def kill_classic(trial: Trial) -> None:
    kill_and_restart(trial, Members(trial, CLASSIC), trial.count(ci=1, full=5))


# --- zombies --------------------------------------------------------------------------------------------


@row(
    number=3,
    fault="SIGSTOP of one of two workers for longer than its session (90 s; in CI 12 s), then SIGCONT, under load",
    observables=("I1", "I2", "I3", "I4", "noticed"),
)
def freeze(trial: Trial) -> None:
    _freeze(trial, Members(trial, CLASSIC, partitions=4))


def _freeze(trial: Trial, members: Members) -> None:
    members.begin(2)
    zombie = members.workers[0]
    for number in range(trial.count(ci=1, full=3)):
        lost = _losses(zombie)
        zombie.process.send_signal(signal.SIGSTOP)
        trial.faulted("SIGSTOP")
        # Beyond a producer's deadline once; beyond the session only, the others.
        time.sleep(12 if number else trial.count(ci=12, full=90))
        _wake(zombie, lost)
    evidence = members.finish()
    refused = zombie.metric("tellwire_state_conflicts_total")
    attempts = zombie.metric('tellwire_chunks_abandoned_total{reason="not_current"}')
    # By itself where it looks at the clock before it hears of the rebalance, else from the broker.
    losses, stalls = _losses(zombie), zombie.metric("tellwire_membership_stalls_total")
    trial.outcome.note = (
        f"late writes refused {refused:.0f}, chunks given up before publishing {attempts:.0f}, "
        f"{evidence.report.replayed_repeats} events published again, each marked"
    )
    trial.outcome.check(
        "noticed",
        losses >= trial.outcome.runs,
        f"{losses:.0f} losses told of {trial.outcome.runs}, {stalls:.0f} by itself",
    )


@row(
    number=3,
    fault="SIGSTOP of one of two workers for longer than its session, then SIGCONT; KIP-848, a session of 6 s",
    observables=("I1", "I2", "I3", "I4", "noticed"),
    needs=BROKER,
    in_ci=False,
)
def freeze_consumer(trial: Trial) -> None:
    _freeze(trial, Members(trial, SHORT, partitions=4))


@row(
    number=3,
    fault="SIGSTOP of a worker whose state write is held up in the network, and arrives after the takeover",
    observables=("I1", "I2", "I3", "I4", "refused"),
)
def late_write(trial: Trial) -> None:
    with FaultProxy(("127.0.0.1", trial.redis.port)) as slow_link:
        pipeline = trial.pipeline()
        zombie = pipeline.start(
            "worker",
            # The write must be waited for when the process wakes up, not given up by its own time limit.
            REDIS__URL=f"redis://127.0.0.1:{slow_link.port}/0",
            REDIS__TIMEOUT_S="60",
        )
        heir = pipeline.start("worker")
        zombie.wait_ready()
        heir.wait_ready()
        load = trial.load(pipeline, per_s=150.0)
        refused = 0.0
        for _ in range(trial.count(ci=1, full=5)):
            heir.wait(lambda: owned(zombie) and owned(heir), 60, "sharing the partitions")
            time.sleep(2.0)
            lost = _losses(zombie)
            slow_link.stall()
            time.sleep(0.2)  # every chunk in flight of this worker waits for Redis now
            zombie.process.send_signal(signal.SIGSTOP)
            trial.faulted("SIGSTOP")
            heir.wait(lambda: owned(heir) == 8, 30, "in charge of all partitions of both topics")
            time.sleep(1.0)
            slow_link.heal()
            time.sleep(0.5)
            before = zombie_conflicts(heir)
            _wake(zombie, lost)
            refused = zombie_conflicts(zombie)
            trial.outcome.check("refused", before == 0.0, f"the new owner was refused {before:.0f} writes")
        load.stop()
        pipeline.wait_committed(heir)
        trial.judge(pipeline)
        trial.outcome.check("refused", refused >= trial.outcome.runs, f"{refused:.0f} late writes were refused")
        trial.outcome.note = f"{refused:.0f} late writes refused"
        pipeline.stop_all()  # while their way to Redis is open


def zombie_conflicts(worker: Process) -> float:
    """Return how many state writes or reads found another owner's watermark."""
    return worker.metric("tellwire_state_conflicts_total")


def owned(worker: Process) -> float:
    """Return how many partitions a worker owns, of both topics."""
    return worker.metric("tellwire_partitions_assigned ")


def _losses(worker: Process) -> float:
    return worker.metric("tellwire_partitions_lost_total")


def _wake(zombie: Process, losses_before: float) -> None:
    zombie.process.send_signal(signal.SIGCONT)
    zombie.wait(lambda: _losses(zombie) > losses_before, 30, "aware of its loss")
    zombie.wait(lambda: owned(zombie) > 0, 30, "a member again")


# --- many rebalances ------------------------------------------------------------------------------------


@row(
    number=4,
    fault="one worker, three, one again, under load, with ten rebalances in a row between; classic protocol",
    observables=("I1", "I2", "I3", "I4", "no duplicate", "order"),
)
def scale_classic(trial: Trial) -> None:
    _scale(trial, Members(trial, CLASSIC), {"partition.assignment.strategy": "range"})


@row(
    number=4,
    fault="one worker, three, one again, under load, with ten rebalances in a row between; cooperative protocol",
    observables=("I1", "I2", "I3", "I4", "no duplicate", "order"),
    in_ci=False,
)
def scale_cooperative(trial: Trial) -> None:
    _scale(trial, Members(trial, COOPERATIVE), {"partition.assignment.strategy": "cooperative-sticky"})


@row(
    number=4,
    fault="one worker, three, one again, under load, with ten rebalances in a row between; KIP-848",
    observables=("I1", "I2", "I3", "I4", "no duplicate", "order"),
    needs=BROKER,
    in_ci=False,
)
def scale_consumer(trial: Trial) -> None:
    _scale(trial, Members(trial, SHORT), {"group.protocol": "consumer", "group.remote.assignor": "range"})


def _scale(trial: Trial, members: Members, guest: dict[str, str]) -> None:
    for _ in range(trial.count(ci=1, full=3)):
        if not members.workers:
            members.begin(1)
        members.start(1, wait=False)
        members.start(2)
        trial.faulted("1 to 3")
        for _ in range(5):  # each comes and goes: ten rebalances
            with _guest(members.pipeline, guest):
                pass
            trial.faulted("a guest came and went")
        members.stop(1)
        members.stop(2)
        trial.faulted("3 to 1")
        members.wait_publishing()
    evidence = members.finish()
    no_duplicate(trial, evidence)
    _order(trial, evidence)


@contextmanager
def _guest(pipeline: Pipeline, properties: dict[str, str]) -> Iterator[None]:
    """Have a member in the group that gets partitions, reads nothing and leaves: two rebalances."""
    consumer = Consumer(
        {
            "bootstrap.servers": pipeline.broker.bootstrap,
            "group.id": pipeline.group,
            "enable.auto.commit": False,
            **properties,
        }
    )
    try:
        consumer.subscribe(["capture.telemetry", "capture.signals"])
        deadline = Deadline(30, pause_s=0.0)
        while deadline.waits() and not consumer.assignment():
            consumer.poll(0.05)
        assert consumer.assignment(), "the guest got no partition"
        yield
    finally:
        consumer.close()


def _order(trial: Trial, evidence: Evidence) -> None:
    """Check the observable `order`: the offsets that one session's events answer only go up."""
    last: dict[str, int] = {}
    backwards = []
    for event in evidence.decoded:
        if event.source.offset <= last.get(event.session_id, -1):
            backwards.append(f"partition {event.source.partition} offset {event.source.offset}")
        last[event.session_id] = event.source.offset
    trial.outcome.check("order", last and not backwards, f"{len(last)} sessions; backwards: {backwards[:5]}")
