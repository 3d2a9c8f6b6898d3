"""Rows about a Redis that holds what it has and gives trouble: full, evicting, slow, cut, a cluster under change."""

from __future__ import annotations

import time

from models.policy import load_policy
from tests.fault import rebuilt
from tests.fault.observe import Evidence
from tests.fault.row import Needs, row
from tests.fault.rows.stores import RATE_PER_S, REWOUND, under_way, wait_going_on
from tests.fault.trial import Trial
from tests.stream.state.redis_cluster import RedisClusterServers
from tests.support.pipeline import Pipeline, Process

FULL = 'tellwire_store_waiting_partitions{reason="full"}'
MISCONFIGURED = 'tellwire_store_waiting_partitions{reason="misconfigured"}'
PENDING_BYTES = 1_048_576
"""Bytes of one partition that wait in the process before it is paused; a poll in hand comes on top."""


@row(
    number=12,
    fault="Redis reaches maxmemory under load, and gets room again",
    observables=("I1", "I2", "I3", "I4", "I5", "alarm", "nothing evicted", "bounded"),
    needs=Needs(own_redis=True),
)
def full_memory(trial: Trial) -> None:
    pipeline = trial.pipeline(PIPELINE__PENDING_BYTES=str(PENDING_BYTES))
    worker, load = under_way(trial, pipeline)
    for _ in range(trial.count(ci=1, full=3)):
        with trial.redis.client() as client:
            client.config_set("maxmemory", client.info("memory")["used_memory"] + 100_000)
            worker.wait(lambda: worker.metric(FULL) >= 1, 60, "waiting for room")
            answers = pipeline.answers()
            time.sleep(trial.count(ci=4, full=20))
            pending = worker.metric("tellwire_pending_bytes")
            stood = worker.metric(FULL)
            ready = worker.get("/livez")[0] == 200
            trial.faulted("room again")
            client.config_set("maxmemory", 0)
        trial.outcome.check("alarm", stood >= 1 and ready, f"{stood:.0f} partitions wait; alive: {ready}")
        # A chunk that was under way goes out, no more: nothing is published whose state can't be written.
        late = pipeline.answers() - answers
        check_bounded(trial, pipeline, pending, f", {late} answered late")
        wait_going_on(pipeline, worker)
    load.stop()
    pipeline.wait_committed(worker)
    with trial.redis.client() as client:
        evicted = client.info("stats")["evicted_keys"]
    trial.outcome.check("nothing evicted", evicted == 0, f"{evicted} keys evicted")
    trial.judge(pipeline, recovery_limit_s=15)


@row(
    number=12,
    fault="maxmemory-policy is changed to an evicting one under a running worker, and put right; refused at a start",
    observables=("I1", "I2", "I3", "I4", "stops", "refused"),
    needs=Needs(own_redis=True),
    in_ci=False,
)
def evicting_policy(trial: Trial) -> None:
    pipeline = trial.pipeline()
    worker, load = under_way(trial, pipeline)
    with trial.redis.client() as client:
        client.config_set("maxmemory", "1gb")
        client.config_set("maxmemory-policy", "allkeys-lru")
        trial.faulted("evicting")
        began = time.monotonic()
        worker.wait(lambda: worker.metric(MISCONFIGURED) >= 1, 30, "standing still")
        found_s = time.monotonic() - began
        line = "evicts state when it is full (maxmemory-policy allkeys-lru): set maxmemory-policy to noeviction"
        told = line in worker.text()
        trial.outcome.check("stops", told and found_s < 15, f"found in {found_s:.1f} s, and said so: {told}")
        second = pipeline.start("worker")
        status = second.process.wait(120)
        refused = status != 0 and line in second.text() and "Traceback" not in second.text()
        trial.outcome.check("refused", refused, f"exit status {status}")
        client.config_set("maxmemory-policy", "noeviction")
    wait_going_on(pipeline, worker)
    load.stop()
    pipeline.wait_committed(worker)
    trial.judge(pipeline)
    with trial.redis.client() as client:
        client.config_set("maxmemory", 0)


@row(
    number=13,
    fault="slow Redis: 50 ms and 2 s more each way, 1 % resets, half-open and stalled connections, one after the other",
    observables=("I1", "I2", "I3", "I4", "no mix-up", "bounded"),
    needs=Needs(redis_proxy=True),
)
def slow_and_cut(trial: Trial) -> None:
    pipeline = trial.pipeline(PIPELINE__PENDING_BYTES=str(PENDING_BYTES), PIPELINE__CACHED_SESSIONS="100")
    worker, load = under_way(trial, pipeline)
    proxy = trial.redis_proxy
    seconds = trial.count(ci=4, full=20)
    pending = 0.0
    for name in ("50 ms", "2 s", "1 % resets", "half-open", "stalled"):
        trial.faulted(name)
        if name == "50 ms":
            proxy.latency_s = 0.05
        elif name == "2 s":
            proxy.latency_s = 2.0
            # Slow is not dead: it has to go on meanwhile.
            wait_going_on(pipeline, worker, seconds=120)
        elif name == "1 % resets":
            proxy.reset_ratio = 0.01
        elif name == "half-open":
            proxy.half_open()
        else:
            proxy.stall()
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            pending = max(pending, worker.metric("tellwire_pending_bytes"))
            time.sleep(0.5)
        proxy.latency_s = proxy.reset_ratio = 0.0
        proxy.heal()
        wait_going_on(pipeline, worker)
    load.stop()
    pipeline.wait_committed(worker)
    mixed = worker.metric("tellwire_state_mismatches_total")
    trial.outcome.check("no mix-up", mixed == 0, f"{mixed:.0f} values of another session")
    check_bounded(trial, pipeline, pending)
    retries = worker.metric("tellwire_store_retries_total")
    trial.outcome.note = f"{retries:.0f} calls repeated"
    trial.judge(pipeline)


def check_bounded(trial: Trial, pipeline: Pipeline, pending_bytes: float, more: str = "") -> None:
    """Check "bounded": what waited in the process while the store was away."""
    limit = pipeline.partitions * 1.5 * PENDING_BYTES
    trial.outcome.check("bounded", pending_bytes <= limit, f"{pending_bytes / 1e6:.1f} MB pending{more}")


def tag_keys(pipeline: Pipeline) -> list[bytes]:
    """Return a key of each hash tag that is in use: partitions first."""
    found: dict[bytes, bytes] = {}
    for key in pipeline.stored_keys():
        found.setdefault(key[: key.index(b"}")], key)
    return sorted(found.values(), key=lambda key: b":p" not in key[: key.index(b"}")])


@row(
    number=14,
    fault="Redis Cluster of three masters: slots of partitions and counters move to and fro under load",
    observables=("I1", "I2", "I3", "I4", "no rewind", "redirected"),
    needs=Needs(redis="cluster"),
)
def resharding(trial: Trial) -> None:
    pipeline = trial.pipeline(REDIS__CLUSTER="true")
    worker, load = under_way(trial, pipeline)
    for turn in range(trial.count(ci=1, full=6)):
        for number, key in enumerate(tag_keys(pipeline)[: trial.count(ci=16, full=68)]):
            target = trial.cluster.nodes[(number + turn) % 3]
            if trial.cluster.owner(key) is not target:
                trial.faulted(f"slot of {key!r}")
                trial.cluster.move(key, target)
        wait_going_on(pipeline, worker)
    load.stop()
    pipeline.wait_committed(worker)
    redirected = worker.metric("tellwire_store_redirections_total")
    rewound = worker.metric(REWOUND)
    trial.outcome.check("redirected", redirected > 0, f"{redirected:.0f} commands redirected or repeated")
    trial.outcome.check("no rewind", rewound == 0, f"{rewound:.0f} offsets rewound")
    trial.outcome.note = f"{redirected:.0f} commands redirected or repeated"
    trial.judge(pipeline)


@row(
    number=14,
    fault="Redis Cluster with replicas: a master is killed, its replica takes over",
    observables=("I1", "I3", "I5", "rebuilt", "published once"),
    needs=Needs(redis="cluster"),
    in_ci=False,
)
def cluster_failover(trial: Trial) -> None:
    pipeline = trial.pipeline(REDIS__CLUSTER="true")
    with RedisClusterServers(replicas=True) as cluster:
        pipeline.redis, pipeline.nodes = cluster.nodes[0], cluster.nodes
        worker, load = under_way(trial, pipeline)
        key = next(key for key in tag_keys(pipeline) if cluster.owner(key) is not cluster.nodes[0])
        dead = cluster.owner(key)
        replica = cluster.replicas[cluster.nodes.index(dead)]
        trial.faulted("master killed")
        dead.kill()
        worker.wait(lambda: cluster.owner(key) is replica, 60, "failed over")
        pipeline.nodes = [replica if node is dead else node for node in cluster.nodes]
        wait_going_on(pipeline, worker)
        load.stop()
        pipeline.wait_committed(worker)
        rewound = worker.metric(REWOUND)
        evidence = trial.judge(pipeline, recovery_limit_s=20)
        rebuilt.state_is_rebuilt(pipeline, evidence, trial.outcome)
        rebuilt.nothing_old_is_published(evidence, trial.outcome, trial.faults_ms)
        trial.outcome.note = f"{rewound:.0f} offsets rewound"
        worker.stop()


@row(
    number=14,
    fault="Redis Cluster: a master without a replica freezes; partitions elsewhere go on without its counters",
    observables=("I1", "I2", "I3", "I4", "degraded", "fail policy"),
    needs=Needs(redis="cluster"),
    in_ci=False,
)
def cluster_master_away(trial: Trial) -> None:
    pipeline = trial.pipeline(REDIS__CLUSTER="true")
    worker, load = under_way(trial, pipeline)
    homes = [node for node in trial.cluster.nodes if node is not trial.cluster.nodes[0]]
    frozen = next(node for node in homes if any(trial.cluster.owner(k) is not node for k in partitions_of(pipeline)))
    elsewhere = [k for k in partitions_of(pipeline) if trial.cluster.owner(k) is not frozen]
    trial.faulted("master frozen")
    frozen.pause()
    try:
        wait_degraded(worker)
        before = pipeline.answers()
        if elsewhere:
            worker.wait(lambda: pipeline.answers() > before + RATE_PER_S / 2, 60, "going on elsewhere")
        time.sleep(trial.count(ci=2, full=20))
    finally:
        frozen.resume()
    wait_going_on(pipeline, worker)
    load.stop()
    pipeline.wait_committed(worker)
    fail_policy(trial, trial.judge(pipeline))


def partitions_of(pipeline: Pipeline) -> list[bytes]:
    """Return the keys of all watermarks."""
    return [key for key in pipeline.stored_keys() if key.endswith(b"}:w")]


def wait_degraded(worker: Process) -> None:
    """Wait until events were scored without counters."""
    worker.wait(lambda: worker.metric('tellwire_degraded_events_total{dependency="counters"') > 20, 60, "degraded")


def fail_policy(trial: Trial, evidence: Evidence) -> None:
    """Check "degraded" and "fail policy": what was missing is said, and each flow's policy decided at least so much.

    Movements lie on all masters, too; no flow fails for want of them.
    """
    policy = load_policy().policy
    rank = {"allow": 0, "step_up": 1, "block": 2}
    degraded = [event for event in evidence.decoded if "counters" in event.degraded]
    named = all(set(event.degraded) <= {"counters", "movements"} for event in evidence.decoded)
    detail = f"{len(degraded)} of {len(evidence.decoded)} events without counters"
    trial.outcome.check("degraded", degraded and named, detail)
    wrong = [
        f"{event.flow}: {event.decision.action}"
        for event in degraded
        if rank[event.decision.action] < rank[policy.flows[event.flow].on_degraded]
    ]
    flows = sorted({event.flow for event in degraded})
    trial.outcome.check("fail policy", degraded and not wrong, f"flows {', '.join(flows)}" + "".join(wrong[:3]))
