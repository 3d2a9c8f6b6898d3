"""Rows about Redis that loses state, or part of it: restarts, an empty store, failovers, a topic made anew."""

from __future__ import annotations

import time
from pathlib import Path

from confluent_kafka import TopicPartition

from tests.fault import observe, rebuilt
from tests.fault.load import Load
from tests.fault.row import Needs, row
from tests.fault.trial import Trial
from tests.stream.state.sentinels import Sentinels
from tests.support import ledger
from tests.support.pipeline import Pipeline, Process
from tests.support.process import Deadline
from tests.support.proxy import FaultProxy
from tests.support.redis import RedisServer

RATE_PER_S = 150.0
REWOUND = "tellwire_rewound_offsets_total"
AOF = (("appendonly", "yes"), ("appendfsync", "everysec"), ("auto-aof-rewrite-percentage", "0"))
LAST_SECOND_BYTES = 120_000
"""About what a second of the load appends to the file."""


def under_way(trial: Trial, pipeline: Pipeline) -> tuple[Process, Load]:
    """Start a worker and a load, and wait until commits have been made."""
    worker = pipeline.start("worker")
    worker.wait_ready()
    load = trial.load(pipeline, per_s=RATE_PER_S)
    worker.wait(lambda: pipeline.answers() > 4 * RATE_PER_S, 60, "under way")
    return worker, load


def wait_going_on(pipeline: Pipeline, worker: Process, seconds: float = 60.0) -> None:
    """Wait until clearly more is answered than now."""
    before = pipeline.answers()
    worker.wait(lambda: pipeline.answers() > before + RATE_PER_S, seconds, "going on")


def judge_rewound(trial: Trial, pipeline: Pipeline, worker: Process, limit_s: float) -> observe.Evidence:
    """Judge what a rewind left, with the rewinds that the worker counted."""
    rewound = worker.metric(REWOUND)
    evidence = trial.judge(pipeline, recovery_limit_s=limit_s)
    rebuilt.state_is_rebuilt(pipeline, evidence, trial.outcome)
    rebuilt.nothing_old_is_published(evidence, trial.outcome, trial.faults_ms)
    trial.outcome.check("rewind", rewound > 0, f"{rewound:.0f} offsets rewound")
    trial.outcome.note = f"{rewound:.0f} offsets rewound"
    return evidence


@row(
    number=10,
    fault="Redis with AOF everysec loses its last second, as in a power cut, and starts again",
    observables=("I1", "I3", "I5", "rebuilt", "published once", "rewind"),
    needs=Needs(redis_config=AOF, own_redis=True),
)
def restart_less_a_second(trial: Trial) -> None:
    pipeline = trial.pipeline()
    worker, load = under_way(trial, pipeline)
    for _ in range(trial.count(ci=1, full=5)):
        time.sleep(trial.rng.uniform(1.0, 2.0))
        with trial.redis.client() as client:
            folder = Path(client.config_get("dir")["dir"])
        trial.faulted("power cut of Redis")
        trial.redis.kill()
        (file,) = sorted(folder.glob("appendonlydir/*.incr.aof"))[-1:]
        kept = file.read_bytes()[:-LAST_SECOND_BYTES]
        file.write_bytes(kept)
        trial.redis.restart()
        wait_going_on(pipeline, worker)
    load.stop()
    pipeline.wait_committed(worker)
    judge_rewound(trial, pipeline, worker, limit_s=15)


@row(
    number=10,
    fault="Redis without persistence is killed and starts empty, under load",
    observables=("I1", "I3", "I5", "rebuilt", "published once", "rewind", "rewind counted"),
    needs=Needs(own_redis=True),
    in_ci=False,
)
def restart_empty(trial: Trial) -> None:
    pipeline = trial.pipeline()
    worker, load = under_way(trial, pipeline)
    for _ in range(trial.count(ci=1, full=5)):
        time.sleep(trial.rng.uniform(0.5, 1.5))
        trial.faulted("Redis killed")
        trial.redis.kill()
        trial.redis.restart()
        wait_going_on(pipeline, worker)
    load.stop()
    pipeline.wait_committed(worker)
    # At rest the rewind can be told exactly: the committed offset, since nothing is left of the watermark.
    counted, committed = worker.metric(REWOUND), sum(load.sent().partitions.values())  # type: ignore[union-attr]
    with trial.redis.client() as client:
        client.flushall()
    more = trial.load(pipeline, per_s=RATE_PER_S, seed=2)
    worker.wait(lambda: worker.metric(REWOUND) - counted >= committed, 60, "rewound")
    wait_going_on(pipeline, worker)
    more.stop()
    pipeline.wait_committed(worker)
    found = worker.metric(REWOUND) - counted
    trial.outcome.check("rewind counted", found == committed, f"{found:.0f} offsets rewound, {committed} committed")
    judge_rewound(trial, pipeline, worker, limit_s=20)


@row(
    number=10,
    fault="Redis is emptied when the log no longer holds the beginning of some sessions",
    observables=("I1", "cold", "published once"),
    needs=Needs(own_redis=True),
    in_ci=False,
)
def emptied_with_a_shorter_log(trial: Trial) -> None:
    pipeline = trial.pipeline()
    worker, load = under_way(trial, pipeline)
    wait_going_on(pipeline, worker)
    inputs = list(ledger.read_topic(pipeline.broker.bootstrap, observe.INPUT))
    lost_below = {p: max(r.offset for r in inputs if r.partition == p) // 2 for p in range(pipeline.partitions)}
    requests = [TopicPartition(observe.INPUT, p, offset) for p, offset in lost_below.items()]
    for future in pipeline.broker.admin.delete_records(requests).values():
        future.result(10)
    since_ms = trial.faulted("log shortened, Redis emptied")
    with trial.redis.client() as client:
        client.flushall()
    worker.wait(lambda: worker.metric(REWOUND) > 0, 60, "rewound")
    wait_going_on(pipeline, worker)
    wait_going_on(pipeline, worker)
    load.stop()
    pipeline.wait_committed(worker)
    evidence = observe.collect(pipeline)
    places = {(record.partition, record.offset) for record in evidence.inputs}
    evidence.inputs.extend(record for record in inputs if (record.partition, record.offset) not in places)
    evidence.report = ledger.check(
        sorted(evidence.inputs, key=lambda record: (record.partition, record.offset)),
        evidence.events,
        evidence.dead_letters,
        input_topic=observe.INPUT,
        input_topic_id=evidence.topic_id,
    )
    trial.outcome.events += evidence.report.inputs
    observe.one_outcome(evidence, trial.outcome)
    rebuilt.cold_exactly(evidence, trial.outcome, lost_below, since_ms)
    rebuilt.nothing_old_is_published(evidence, trial.outcome, trial.faults_ms)


@row(
    number=11,
    fault="failover to a replica that lags: cut off for a while, then promoted under the same address",
    observables=("I1", "I3", "I5", "rebuilt", "published once", "rewind"),
    needs=Needs(redis="replica", redis_proxy=True, own_redis=True),
)
def lagging_replica(trial: Trial) -> None:
    pipeline = trial.pipeline()
    primary, replica = trial.redis, trial.replica
    worker = load = None
    for _ in range(trial.count(ci=1, full=4)):
        with FaultProxy(("127.0.0.1", primary.port)) as replication:
            follow(replica, replication.port)
            if worker is None or load is None:
                worker, load = under_way(trial, pipeline)
            time.sleep(1.0)
            replication.stall()
            time.sleep(trial.rng.uniform(1.0, 2.5))
            trial.faulted("primary killed, replica promoted")
            primary.kill()
            with replica.client() as client:
                client.replicaof("NO", "ONE")
            trial.redis_proxy.upstream = ("127.0.0.1", replica.port)
            pipeline.redis = replica
            wait_going_on(pipeline, worker)
            replication.heal()
        primary.restart()
        primary, replica = replica, primary
    assert worker is not None
    assert load is not None
    load.stop()
    pipeline.wait_committed(worker)
    judge_rewound(trial, pipeline, worker, limit_s=15)


@row(
    number=11,
    fault="three sentinels fail over to the replica when the primary is killed",
    observables=("I1", "I3", "I5", "rebuilt", "published once"),
    needs=Needs(redis="replica", own_redis=True),
    in_ci=False,
)
def sentinels(trial: Trial) -> None:
    pipeline = trial.pipeline()
    follow(trial.replica, trial.redis.port)
    with Sentinels(trial.redis) as watching:
        pipeline.redis_url = watching.url
        worker, load = under_way(trial, pipeline)
        trial.faulted("primary killed")
        trial.redis.kill()
        watching.wait_master(trial.replica.port)
        pipeline.redis = trial.replica
        wait_going_on(pipeline, worker)
        load.stop()
        pipeline.wait_committed(worker)
        rewound = worker.metric(REWOUND)
        evidence = trial.judge(pipeline, recovery_limit_s=20)
    rebuilt.state_is_rebuilt(pipeline, evidence, trial.outcome)
    rebuilt.nothing_old_is_published(evidence, trial.outcome, trial.faults_ms)
    trial.outcome.note = f"{rewound:.0f} offsets rewound"


def follow(replica: RedisServer, port: int) -> None:
    """Make a server the replica of the one at `port`, and wait until it has everything."""
    deadline = Deadline(30, pause_s=0.05)
    with replica.client() as client:
        client.replicaof("127.0.0.1", port)
        while deadline.waits():
            if client.info("replication").get("master_link_status") == "up":
                return
    raise AssertionError("the replica did not follow")


@row(
    number=10,
    fault="the input topic is deleted and made anew behind the state",
    observables=("refused",),
    in_ci=False,
)
def topic_made_anew(trial: Trial) -> None:
    pipeline = trial.pipeline()
    worker, load = under_way(trial, pipeline)
    load.stop()
    pipeline.wait_committed(worker)
    worker.stop()
    trial.faulted()
    pipeline.create_topics(pipeline.partitions)
    again = pipeline.start("worker")
    status = again.process.wait(60)
    told = [
        line for line in again.text().splitlines() if "deleted and made anew" in line and "redis.key_prefix" in line
    ]
    detail = f"exit status {status}: {told[:1]}"
    trial.outcome.check("refused", status != 0 and told and "Traceback" not in again.text(), detail)
    trial.outcome.check("refused", pipeline.answers() == 0, "something was scored")
    trial.outcome.events = 1
