"""A real Apache Kafka in KRaft mode for tests: jars from Maven Central, one JVM a broker, on free localhost ports.

As a script it is a broker for people without a container engine: `python -m tests.support.kafka [PORT]`; with `--fetch`
it only fetches what it needs.
"""

from __future__ import annotations

import base64
import contextlib
import shutil
import signal
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from confluent_kafka import KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from tests.support import UnavailableError
from tests.support.kafka_jars import find_java, kafka_jars, tool_jars
from tests.support.process import Deadline, end, free_ports, spawn, tail
from tests.support.proxy import FaultProxy

_START_S = 60.0


@dataclass(slots=True)
class _Node:
    node_id: int
    port: int
    controller_port: int
    home: Path
    process: subprocess.Popen[bytes] | None = None
    behind_port: int = 0
    """Where its proxy reaches it, 0 without one."""
    proxy: FaultProxy | None = None

    @property
    def log(self) -> Path:
        return self.home / "server.log"


@dataclass(slots=True)
class KafkaBroker:
    """A Kafka cluster of `brokers` combined broker/controller nodes; use it as a context manager.

    `properties` are server properties that override the defaults below; `ports` fixes the client ports. Nodes are
    numbered from 0. State lives in a temporary folder until `stop()`; `kill` and `restart` keep it.
    """

    brokers: int = 1
    properties: Mapping[str, str] = field(default_factory=dict)
    ports: list[int] | None = None
    heap_mb: int = 512
    quick_start: bool = True
    """Compile less, start sooner; benchmarks say False, so that the broker is as fast as in production."""
    proxied: bool = False
    """Give each node a `FaultProxy` beside its own port: `proxied_bootstrap` leads all clients through it."""
    _nodes: list[_Node] = field(default_factory=list, init=False)
    _home: Path | None = field(default=None, init=False)
    _admin: AdminClient | None = field(default=None, init=False)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.stop()

    @property
    def bootstrap(self) -> str:
        """The bootstrap addresses, `host:port[,host:port...]`."""
        return ",".join(f"127.0.0.1:{node.port}" for node in self._nodes)

    @property
    def proxied_bootstrap(self) -> str:
        """The same brokers, each behind its proxy. Raises `RuntimeError` unless `proxied`."""
        return ",".join(f"127.0.0.1:{proxy.port}" for proxy in self.proxies)

    @property
    def proxies(self) -> list[FaultProxy]:
        """The proxy of each node. Raises `RuntimeError` unless `proxied`."""
        found = [node.proxy for node in self._nodes if node.proxy is not None]
        if not found:
            raise RuntimeError("no proxies: make the broker with proxied=True, and start it")
        return found

    @property
    def admin(self) -> AdminClient:
        """An admin client of this cluster."""
        if self._admin is None:
            self._admin = AdminClient({"bootstrap.servers": self.bootstrap, "log_level": 0})
        return self._admin

    def start(self) -> None:
        """Format the storage, start all nodes and wait until they answer. Raises `UnavailableError`, `RuntimeError`."""
        java, jars = find_java(), kafka_jars()
        self._home = Path(tempfile.mkdtemp(prefix="tellwire-kafka-"))
        free = free_ports(2 * self.brokers)
        for number in range(self.brokers):
            home = self._home / f"node-{number}"
            home.mkdir()
            port = self.ports[number] if self.ports else free[number]
            self._nodes.append(_Node(number, port, free[self.brokers + number], home))
        try:
            if self.proxied:
                for node, behind in zip(self._nodes, free_ports(self.brokers), strict=True):
                    node.behind_port = behind
                    node.proxy = FaultProxy(("127.0.0.1", behind)).__enter__()
            self._format(java, jars)
            for node in self._nodes:
                self._launch(node)
            self.wait_ready()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop all nodes and delete their state."""
        self._admin = None
        for node in self._nodes:
            if node.process is not None:
                end(node.process, signal.SIGKILL)
            if node.proxy is not None:
                node.proxy.__exit__(None, None, None)
        self._nodes.clear()
        if self._home is not None:
            shutil.rmtree(self._home, ignore_errors=True)
            self._home = None

    def kill(self, node: int = 0) -> None:
        """End one node with SIGKILL; its state stays for `restart`."""
        self._end(self._nodes[node], signal.SIGKILL)

    def shut_down(self, node: int = 0) -> None:
        """End one node in an orderly way (SIGTERM); its state stays for `restart`."""
        self._end(self._nodes[node], signal.SIGTERM)

    def restart(self, node: int = 0, sig: signal.Signals = signal.SIGTERM) -> None:
        """End one node with `sig` if it runs, start it again on the same ports and state, wait until all answer."""
        self._end(self._nodes[node], sig)
        self._launch(self._nodes[node])
        self.wait_ready()

    def pause(self, node: int = 0) -> None:
        """Freeze one node (SIGSTOP): connections stay open and nothing answers."""
        self.process(node).send_signal(signal.SIGSTOP)

    def resume(self, node: int = 0) -> None:
        """Let a frozen node go on (SIGCONT)."""
        self.process(node).send_signal(signal.SIGCONT)

    def process(self, node: int = 0) -> subprocess.Popen[bytes]:
        """Return the node's JVM process. Raises `RuntimeError` when it was never started or has been ended."""
        process = self._nodes[node].process
        if process is None:
            raise RuntimeError(f"node {node} is not running")
        return process

    def wait_ready(self, seconds: float = _START_S) -> None:
        """Wait until every running node is registered and answers. Raises `RuntimeError` with the log's tail."""
        running = [node for node in self._nodes if node.process is not None]
        deadline = Deadline(seconds)
        while deadline.waits():
            for node in running:
                if node.process is not None and node.process.poll() is not None:
                    raise RuntimeError(f"Kafka node {node.node_id} ended while starting:\n{tail(node.log)}")
            with contextlib.suppress(KafkaException):
                if len(self.admin.list_topics(timeout=1.0).brokers) >= len(running):
                    return
        raise RuntimeError(f"Kafka did not answer within {seconds:.0f} s:\n{tail(running[0].log)}")

    def create_topic(
        self,
        name: str | None = None,
        *,
        partitions: int = 1,
        config: Mapping[str, str] | None = None,
        replication: int | None = None,
    ) -> str:
        """Create a topic (a fresh unique name without `name`), wait until it is there, return its name.

        The default replication is 3 where the cluster has 3 nodes, else 1. Raises `KafkaException`.
        """
        name = name or f"test-{uuid.uuid4().hex[:12]}"
        factor = replication or (3 if self.brokers >= 3 else 1)
        new = NewTopic(name, num_partitions=partitions, replication_factor=factor, config=dict(config or {}))
        self.admin.create_topics([new], request_timeout=15)[name].result()
        deadline = Deadline(15)
        while deadline.waits():
            found = self.admin.list_topics(name, timeout=5).topics[name]
            leaders = [part.leader for part in found.partitions.values()]
            if found.error is None and len(leaders) == partitions and min(leaders) >= 0:
                return name
        raise RuntimeError(f"topic {name} has no leaders after 15 s")

    def delete_topic(self, name: str) -> None:
        """Delete a topic and wait until it is gone. Raises `KafkaException`."""
        self.admin.delete_topics([name], request_timeout=15)[name].result()
        deadline = Deadline(15)
        while deadline.waits() and name in self.admin.list_topics(timeout=5).topics:
            pass

    def topic_id(self, name: str) -> str:
        """Return the topic's id as Kafka prints it. Raises `KafkaException`."""
        described = self.admin.describe_topics(TopicCollection([name]), request_timeout=15)
        return str(described[name].result().topic_id)

    def _end(self, node: _Node, sig: signal.Signals) -> None:
        if node.process is not None:
            end(node.process, sig)
            node.process = None

    def _command(self, java: str, jars: Path, main: str, *arguments: str) -> list[str]:
        options = [f"-Xmx{self.heap_mb}m"]
        options += ["-Xms64m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"] if self.quick_start else ["-XX:+UseG1GC"]
        options += ["-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-Dorg.slf4j.simpleLogger.showDateTime=true"]
        return [java, *options, "-cp", f"{jars}/*", main, *arguments]

    def _launch(self, node: _Node) -> None:
        command = self._command(find_java(), kafka_jars(), "kafka.Kafka", f"{node.home}/server.properties")
        node.process = spawn(command, node.log)

    def _format(self, java: str, jars: Path) -> None:
        cluster_id = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        # A leading dash would be read as an option.
        cluster_id = cluster_id.replace("-", "x")
        for node in self._nodes:
            Path(node.home, "server.properties").write_text(self._properties(node))
        formats = [
            spawn(
                self._command(
                    java, jars, "kafka.tools.StorageTool", "format",
                    "--cluster-id", cluster_id, "--config", f"{node.home}/server.properties",
                ),
                node.log,
            )
            for node in self._nodes
        ]  # fmt: skip
        for node, process in zip(self._nodes, formats, strict=True):
            if process.wait(_START_S) != 0:
                raise RuntimeError(f"formatting Kafka's storage failed:\n{tail(node.log)}")

    def _properties(self, node: _Node) -> str:
        factor = "3" if self.brokers >= 3 else "1"
        listeners = f"PLAINTEXT://127.0.0.1:{node.port},CONTROLLER://127.0.0.1:{node.controller_port}"
        advertised = f"PLAINTEXT://127.0.0.1:{node.port}"
        protocols = "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT"
        if node.proxy is not None:
            listeners += f",PROXIED://127.0.0.1:{node.behind_port}"
            advertised += f",PROXIED://127.0.0.1:{node.proxy.port}"
            protocols += ",PROXIED:PLAINTEXT"
        voters = ",".join(f"{each.node_id}@127.0.0.1:{each.controller_port}" for each in self._nodes)
        properties = {
            "process.roles": "broker,controller",
            "node.id": str(node.node_id),
            "controller.quorum.voters": voters,
            "controller.listener.names": "CONTROLLER",
            "listeners": listeners,
            "advertised.listeners": advertised,
            "inter.broker.listener.name": "PLAINTEXT",
            "listener.security.protocol.map": protocols,
            "log.dirs": f"{node.home}/data",
            "auto.create.topics.enable": "false",
            "group.initial.rebalance.delay.ms": "0",
            # A broker that was killed may register again only when its old session is over (9 s by default).
            "broker.session.timeout.ms": "3000",
            "broker.heartbeat.interval.ms": "500",
            # Tests use sessions down to a second; a production broker keeps its 6 s.
            "group.min.session.timeout.ms": "1000",
            "offsets.topic.num.partitions": "4",
            "transaction.state.log.num.partitions": "2",
            "share.coordinator.state.topic.num.partitions": "1",
            "default.replication.factor": factor,
            "offsets.topic.replication.factor": factor,
            "transaction.state.log.replication.factor": factor,
            "share.coordinator.state.topic.replication.factor": factor,
            "transaction.state.log.min.isr": "2" if factor == "3" else "1",
            "share.coordinator.state.topic.min.isr": "1",
            "log.cleaner.dedupe.buffer.size": str(16 << 20),
            **self.properties,
        }
        return "".join(f"{key}={value}\n" for key, value in properties.items())


@contextlib.contextmanager
def _until_signalled() -> Iterator[None]:
    stop = [signal.SIGINT, signal.SIGTERM]
    signal.pthread_sigmask(signal.SIG_BLOCK, stop)
    yield
    signal.sigwait(stop)


def main(arguments: list[str]) -> int:
    """Run one broker until it is interrupted; prints its bootstrap address on standard output."""
    try:
        if arguments == ["--fetch"]:
            find_java()
            kafka_jars()
            tool_jars()
            return 0
        ports = [int(arguments[0])] if arguments else None
        with KafkaBroker(ports=ports) as broker, _until_signalled():
            print(broker.bootstrap, flush=True)
            print("A Kafka broker answers there. Ctrl-C stops it and deletes its data.", file=sys.stderr, flush=True)
    except UnavailableError as missing:
        print(missing, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
