"""A trial of one row: real servers, the processes between them, the load, and the judging of what they left.

`Grounds` owns the servers and lends them to trials: rows that need the same kind share one, so that a run of many rows
starts few brokers. A `Trial` is the row's own: it ends every process that it started.
"""

from __future__ import annotations

import random
import shutil
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Self

from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ResourceType,
)

from models.engine import Engine
from models.snapshots import SnapshotSet
from tests.fault import observe, replay
from tests.fault.load import Load
from tests.fault.row import Budget, Needs, Outcome, Row
from tests.stream.state.redis_cluster import RedisClusterServers
from tests.support import UnavailableError
from tests.support.kafka import KafkaBroker
from tests.support.ledger import Place
from tests.support.pipeline import Pipeline
from tests.support.process import end
from tests.support.proxy import FaultProxy
from tests.support.redis import RedisServer

RSS_EVERY_S = 0.25


@dataclass
class Servers:
    """Kafka and Redis as one row asked for them."""

    broker: KafkaBroker
    redis: RedisServer
    replica: RedisServer | None = None
    cluster: RedisClusterServers | None = None
    redis_proxy: FaultProxy | None = None


class Grounds:
    """Starts servers when a row first needs them and stops them in the end; use it as a context manager."""

    def __init__(self, broker: KafkaBroker | None = None, redis: RedisServer | None = None) -> None:
        """`broker`, `redis`: plain single servers that run already; whoever passes them stops them."""
        self._stack = ExitStack()
        self._brokers: dict[Needs, KafkaBroker] = {_broker_needs(Needs()): broker} if broker is not None else {}
        self._redis: dict[Needs, Servers] = {}
        self._single = redis

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._stack.close()

    @contextmanager
    def lend(self, needs: Needs) -> Iterator[Servers]:
        """Yield the servers that a row needs, Redis empty; its own ones end with it."""
        with ExitStack() as own:
            shape = _broker_needs(needs)
            broker = self._brokers.get(shape)
            if broker is None or needs.own_broker:
                broker = (own if needs.own_broker else self._stack).enter_context(_broker(needs))
                if not needs.own_broker:
                    self._brokers[shape] = broker
            shape = _redis_needs(needs)
            servers = self._redis.get(shape)
            if servers is None or needs.own_redis:
                plain = shape == _redis_needs(Needs()) and not needs.own_redis
                given = self._single if plain else None
                servers = _redis(needs, own if needs.own_redis else self._stack, broker, given)
                if not needs.own_redis:
                    self._redis[shape] = servers
            for server in servers.cluster.nodes if servers.cluster is not None else [servers.redis]:
                with server.client() as client:
                    client.flushall()
                    client.script_flush()
            yield replace(servers, broker=broker)


def _broker_needs(needs: Needs) -> Needs:
    return Needs(brokers=needs.brokers, kafka_proxy=needs.kafka_proxy, broker_properties=needs.broker_properties)


def _redis_needs(needs: Needs) -> Needs:
    return Needs(redis=needs.redis, redis_proxy=needs.redis_proxy, redis_config=needs.redis_config)


def _broker(needs: Needs) -> KafkaBroker:
    safe = {"min.insync.replicas": "2"} if needs.brokers >= 3 else {}
    return KafkaBroker(
        brokers=needs.brokers, properties={**safe, **dict(needs.broker_properties)}, proxied=needs.kafka_proxy
    )


def _redis(needs: Needs, stack: ExitStack, broker: KafkaBroker, given: RedisServer | None) -> Servers:
    if needs.redis == "cluster":
        cluster = stack.enter_context(RedisClusterServers())
        return Servers(broker, cluster.nodes[0], cluster=cluster)
    redis = given or stack.enter_context(RedisServer(dict(needs.redis_config)))
    servers = Servers(broker, redis)
    if needs.redis == "replica":
        following = {**dict(needs.redis_config), "replicaof": f"127.0.0.1 {redis.port}"}
        servers.replica = stack.enter_context(RedisServer(following))
    if needs.redis_proxy:
        servers.redis_proxy = stack.enter_context(FaultProxy(("127.0.0.1", redis.port)))
    return servers


@dataclass
class Trial:
    """What a row gets. See `row.py` for how it is used."""

    row: Row
    budget: Budget
    servers: Servers
    folder: Path
    seed: int = 1
    outcome: Outcome = field(default_factory=Outcome)
    faults_ms: list[int] = field(default_factory=list)
    """When each fault was injected, epoch ms."""
    rng: random.Random = field(init=False)
    _pipelines: list[Pipeline] = field(default_factory=list)
    _loads: list[Load] = field(default_factory=list)
    _judged: int = 0

    def __post_init__(self) -> None:
        self.rng = random.Random(self.seed)

    @property
    def broker(self) -> KafkaBroker:
        """The brokers."""
        return self.servers.broker

    @property
    def kafka_proxies(self) -> list[FaultProxy]:
        """One proxy a node, where the row needs them."""
        return self.servers.broker.proxies

    @property
    def redis(self) -> RedisServer:
        """The single server, the primary, or the cluster's first master."""
        return self.servers.redis

    @property
    def replica(self) -> RedisServer:
        """The primary's replica, where the row needs one."""
        assert self.servers.replica is not None, 'declare needs=Needs(redis="replica")'
        return self.servers.replica

    @property
    def cluster(self) -> RedisClusterServers:
        """The cluster, where the row needs one."""
        assert self.servers.cluster is not None, 'declare needs=Needs(redis="cluster")'
        return self.servers.cluster

    @property
    def redis_proxy(self) -> FaultProxy:
        """The proxy in front of Redis, where the row needs one."""
        assert self.servers.redis_proxy is not None, "declare needs=Needs(redis_proxy=True)"
        return self.servers.redis_proxy

    def count(self, *, ci: int, full: int) -> int:
        """Return the number for this trial's budget."""
        return ci if self.budget == "ci" else full

    def pipeline(self, partitions: int = 4, **settings: str) -> Pipeline:
        """Return fresh topics and an empty store with a group of its own; `settings` hold for all its processes."""
        for earlier in self._pipelines:
            earlier.stop_all()
        for server in self.servers.cluster.nodes if self.servers.cluster is not None else [self.redis]:
            with server.client() as client:
                client.flushall()
        proxied = self.servers.redis_proxy
        made = Pipeline(
            self.broker,
            self.redis,
            self.folder,
            extra=dict(settings),
            group=f"row-{self.row.number}-{time.monotonic_ns()}",
            bootstrap=self.broker.proxied_bootstrap if self.row.needs.kafka_proxy else "",
            redis_url=f"redis://127.0.0.1:{proxied.port}/0" if proxied is not None else "",
            nodes=self.servers.cluster.nodes if self.servers.cluster is not None else (),
        )
        made.create_topics(partitions)
        # Outcomes carry the broker's clock, as the input does: commits and recovery are judged by it.
        _stamp_by_broker(self.broker, [observe.EVENTS, observe.DEAD_LETTERS])
        self._pipelines.append(made)
        return made

    def load(self, pipeline: Pipeline, *, per_s: float, seed: int = 1, bot_ratio: float = 0.3) -> Load:
        """Start a steady load of so many records a second; `stop` it before judging."""
        return self._load(pipeline, per_s, None, seed, bot_ratio)

    def backlog(self, pipeline: Pipeline, events: int, *, seed: int = 1, bot_ratio: float = 0.3) -> None:
        """Produce so many records as fast as they are taken, and wait until the broker has them all."""
        self._load(pipeline, None, events, seed, bot_ratio).wait_done()

    def faulted(self, what: str = "") -> int:
        """Count one fault as injected now; return the moment, epoch ms. `what` goes to the trial's own log."""
        now_ms = time.time_ns() // 1_000_000
        self.faults_ms.append(now_ms)
        self.outcome.runs += 1
        with (self.folder / "faults.log").open("a") as log:
            log.write(f"{now_ms} {what}\n")
        return now_ms

    def judge(
        self,
        pipeline: Pipeline,
        *,
        expected_dead_letters: Collection[Place] | None = None,
        recovery_limit_s: float | None = None,
        snapshots: Mapping[str, SnapshotSet] | None = None,
        engines: Sequence[Engine] = (),
    ) -> observe.Evidence:
        """Judge the declared ones of I1 to I5 on what the pipeline left; call it when all is committed.

        `recovery_limit_s` is what I5 allows each fault injected since the last judging. `snapshots` (by hash) and
        `engines` are those that served beside what ships. Returns what was read, for further checks.
        """
        outcome, wanted = self.outcome, self.row.observables
        evidence = observe.collect(pipeline, expected_dead_letters)
        outcome.events += evidence.report.inputs
        if "I1" in wanted:
            observe.one_outcome(evidence, outcome)
        # Another system's state and scores are its own: what holds there is checked by its row.
        is_ours = self.row.system == "tellwire"
        replayed = replay.Replayed()
        if is_ours and {"I2", "I3", "I4"} & set(wanted):
            replayed = replay.replay(evidence, snapshots, engines=engines)
        if "I2" in wanted and is_ours:
            replay.final_state(pipeline, evidence, replayed, outcome)
        if "I3" in wanted:
            observe.commits_trace(evidence, outcome, set(replayed.filtered))
        if "I4" in wanted and is_ours:
            replay.recomputed(replayed, outcome)
        observe.recoveries(evidence, outcome, self.faults_ms[self._judged :], recovery_limit_s)
        self._judged = len(self.faults_ms)
        return evidence

    def _load(self, pipeline: Pipeline, per_s: float | None, events: int | None, seed: int, bot_ratio: float) -> Load:
        log = self.folder / f"load-{len(self._loads)}.log"
        made = Load(pipeline.broker.bootstrap, log, per_s, events, seed, bot_ratio)
        self._loads.append(made)
        return made

    def end(self) -> None:
        """End every process of the trial."""
        for load in self._loads:
            end(load.process, wait_s=0.1)
        for pipeline in self._pipelines:
            for process in pipeline.processes:
                if process.process.poll() is None:
                    process.process.kill()
                    process.process.wait()

    def watch_memory(self, stopped: threading.Event) -> None:
        """Keep the highest resident memory of all processes of ours; runs in a thread of its own."""
        while not stopped.wait(RSS_EVERY_S):
            for pipeline in list(self._pipelines):
                for process in list(pipeline.processes):
                    if process.process.returncode is None:
                        self.outcome.rss_mb = max(self.outcome.rss_mb, _rss_mb(process.process.pid))


def run_row(row: Row, budget: Budget, grounds: Grounds, keep: Callable[[Path], None] | None = None) -> Outcome:
    """Run one row; what it raises ends up in the outcome. `keep` is told the folder of logs of a row that failed.

    Raises `UnavailableError` when a server that it needs is not on this machine.
    """
    folder = Path(tempfile.mkdtemp(prefix=f"tellwire-row-{row.name}-"))
    began_s = time.monotonic()
    outcome = Outcome()
    try:
        with grounds.lend(row.needs) as servers:
            trial = Trial(row, budget, servers, folder, outcome=outcome)
            stopped = threading.Event()
            watch = threading.Thread(target=trial.watch_memory, args=(stopped,), name="memory", daemon=True)
            watch.start()
            try:
                row.run(trial)
            finally:
                stopped.set()
                watch.join()
                trial.end()
    except UnavailableError:
        raise
    except Exception as error:  # noqa: BLE001 - whatever ends a row is its verdict
        text = str(error).strip() or type(error).__name__
        outcome.error = text if isinstance(error, AssertionError) else f"{type(error).__name__}: {text}"
        (folder / "error.log").write_text(traceback.format_exc())
    outcome.took_s = time.monotonic() - began_s
    if row.failures(outcome) and keep is not None:
        keep(folder)
    else:
        shutil.rmtree(folder, ignore_errors=True)
    return outcome


def _rss_mb(pid: int) -> float:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0.0
    for line in status.splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024.0
    return 0.0


def _stamp_by_broker(broker: KafkaBroker, topics: list[str]) -> None:
    entry = ConfigEntry("message.timestamp.type", "LogAppendTime", incremental_operation=AlterConfigOpType.SET)
    resources = [ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry]) for topic in topics]
    for future in broker.admin.incremental_alter_configs(resources).values():
        future.result()
