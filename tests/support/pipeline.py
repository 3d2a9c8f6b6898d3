"""A whole pipeline on real Kafka and real Redis, in processes of its own: start, feed, wait, stop, read back."""

from __future__ import annotations

import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition

from schemas.envelope import encode
from schemas.risk import RiskEvent
from schemas.telemetry import Telemetry
from schemas.topics import TOPICS
from stream import topics
from tests.support import ledger
from tests.support.kafka import KafkaBroker
from tests.support.process import Deadline, end, free_ports, spawn
from tests.support.redis import RedisServer

REF_KEY = "integration-tests-only-0123456789"
START_S = 240.0
"""The first start on a machine compiles the kernels."""

_COORDINATOR_MOVES = {
    KafkaError.NOT_COORDINATOR,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
}
"""A young or shaken broker says so for a moment."""

_risk_events = msgspec.json.Decoder(RiskEvent)


@dataclass
class Process:
    """One running `tellwire` process."""

    process: subprocess.Popen[bytes]
    port: int
    log: Path

    def get(self, path: str) -> tuple[int, str]:
        """Return status and body of one of its HTTP paths."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def metric(self, name: str) -> float:
        """Return the sum over all samples of a metric whose name begins so; 0 also where there is none yet."""
        _, text = self.get("/metrics")
        return sum(float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line.startswith(name))

    def wait_ready(self) -> None:
        """Wait until it says that it is ready; its log is the failure's text."""
        self.wait(lambda: self.get("/readyz")[0] == 200, START_S, "ready")

    def wait(self, condition: object, seconds: float, what: str) -> None:
        """Wait until `condition()` is true."""
        deadline = time.monotonic() + seconds
        while not condition():  # type: ignore[operator]
            if self.process.poll() is not None:
                raise AssertionError(f"it ended with {self.process.returncode}:\n{self.text()[-4000:]}")
            if time.monotonic() > deadline:
                raise AssertionError(f"not {what} in {seconds} s:\n{self.text()[-4000:]}")
            time.sleep(0.05)

    def wait_said(self, words: str, seconds: float) -> None:
        """Wait until its log has these words."""
        self.wait(lambda: words in self.text(), seconds, f"saying {words!r}")

    def text(self) -> str:
        """Return its log so far."""
        return self.log.read_text(errors="replace")

    def stop(self) -> int:
        """Stop it as an orchestrator does; return its exit code."""
        end(self.process, wait_s=30)
        return self.process.returncode


@dataclass
class Pipeline:
    """Topics on a broker, an empty store, and the processes between them."""

    broker: KafkaBroker
    redis: RedisServer
    folder: Path
    extra: dict[str, str] = field(default_factory=dict)
    """Settings of all processes, such as `KAFKA__SESSION_TIMEOUT_MS`."""
    group: str = "tellwire"
    bootstrap: str = ""
    """Where the processes find Kafka, unless it is the broker itself: a proxy's address."""
    redis_url: str = ""
    """Where they find Redis, likewise."""
    processes: list[Process] = field(default_factory=list)
    partitions: int = 0
    nodes: Sequence[RedisServer] = ()
    """The masters of a Redis Cluster; `redis` is one of them then."""

    @property
    def redis_is_cluster(self) -> bool:
        """Whether state is in a Redis Cluster."""
        return len(self.nodes) > 1

    def stored_keys(self) -> Iterator[bytes]:
        """Yield every key in Redis."""
        for node in self.nodes or [self.redis]:
            with node.client() as client:
                yield from client.scan_iter(count=5_000)

    def create_topics(self, partitions: int) -> None:
        """Make all topics anew."""
        self.partitions = partitions
        admin = self.broker.admin
        known = [spec.name for spec in TOPICS if spec.name in admin.list_topics(timeout=10).topics]
        for name in known:
            self.broker.delete_topic(name)
        topics.apply({"bootstrap.servers": self.broker.bootstrap}, partitions=partitions, replication_factor=-1)

    def start(self, command: str, entry: Sequence[str] = (), **settings: str) -> Process:
        """Start `tellwire <command>`; settings as `KAFKA__GROUP="x"`.

        `entry`: arguments of Python to run instead, such as `["-m", "tests.fault.crashing_worker"]`.
        """
        port = free_ports(1)[0]
        env = {
            "TELLWIRE_KAFKA__BOOTSTRAP_SERVERS": self.bootstrap or self.broker.bootstrap,
            "TELLWIRE_KAFKA__GROUP": self.group,
            "TELLWIRE_REDIS__URL": self.redis_url or self.redis.url,
            "TELLWIRE_REDIS__CLUSTER": str(self.redis_is_cluster).lower(),
            "TELLWIRE_KEYS__REF_KEY": REF_KEY,
            "TELLWIRE_METRICS__PORT": str(port),
            "TELLWIRE_LOG__FORMAT": "text",
            **{f"TELLWIRE_{name}": value for name, value in {**self.extra, **settings}.items()},
        }
        log = self.folder / f"{command}-{len(self.processes)}.log"
        started = Process(spawn([sys.executable, *(entry or ("-m", "stream", command))], log, env), port, log)
        self.processes.append(started)
        return started

    def produce(self, records: Iterable[tuple[bytes | None, bytes | None]], topic: str = "capture.telemetry") -> int:
        """Produce (key, value) pairs with a plain client; return how many."""
        producer = Producer(
            {
                "bootstrap.servers": self.broker.bootstrap,
                "partitioner": "murmur2_random",
                "linger.ms": 5,
                "message.max.bytes": 2_000_000,
            }
        )
        failed: list[str] = []
        count = 0
        for key, value in records:
            producer.produce(
                topic, key=key, value=value, on_delivery=lambda error, _: failed.append(str(error)) if error else None
            )
            producer.poll(0)
            count += 1
        assert producer.flush(30) == 0
        assert not failed, failed[:3]
        return count

    def produce_events(self, events: Iterable[Telemetry]) -> int:
        """Produce telemetry."""
        return self.produce((event.session_id.encode(), encode(event)) for event in events)

    def wait_answered(self, worker: Process, inputs: int, seconds: float = 120.0) -> None:
        """Wait until every input record has an outcome."""

        def answered() -> bool:
            return self.answers() >= inputs

        worker.wait(answered, seconds, f"done with {inputs} records")

    def wait_committed(self, worker: Process, group: str | None = None, seconds: float = 60.0) -> None:
        """Wait until `group` (None: ours) has committed the end of the input: all is finished, as the broker knows it.

        A count of answers can't say so after a kill (repeats count too), nor can the worker's own lag just after a
        start, before it knows where its partitions end.
        """
        worker.wait(lambda: self.uncommitted(group) == 0, seconds, "at the end of the log")

    def uncommitted(self, group: str | None = None) -> int:
        """Return how many input records `group` (None: ours) has not committed."""
        committed = self.committed(group)
        return sum(end - committed.get(number, 0) for number, end in self.ends("capture.telemetry").items())

    def committed(self, group: str | None = None) -> dict[int, int]:
        """Return what `group` (None: ours) has committed of the input, by partition; 0 where nothing."""
        with self._consumer(group or self.group) as consumer:
            asked = [TopicPartition("capture.telemetry", number) for number in range(self.partitions)]
            deadline = Deadline(30, pause_s=0.2)
            while deadline.waits():
                try:
                    found = consumer.committed(asked, timeout=10)
                except KafkaException as error:
                    if error.args[0].code() not in _COORDINATOR_MOVES:
                        raise
                else:
                    return {one.partition: max(0, one.offset) for one in found}
        raise AssertionError("the group has no coordinator")

    def ends(self, topic: str) -> dict[int, int]:
        """Return the end offset of each partition of a topic."""
        with self._consumer("ends") as consumer:
            return self._ends(consumer, topic)

    def answers(self) -> int:
        """Return how many risk events and dead letters there are."""
        with self._consumer("ends") as consumer:
            return sum(sum(self._ends(consumer, topic).values()) for topic in ("risk.events", "risk.deadletter"))

    @contextmanager
    def _consumer(self, group: str) -> Iterator[Consumer]:
        """Yield a consumer that asks the broker only: it joins no group."""
        consumer = Consumer({"bootstrap.servers": self.broker.bootstrap, "group.id": group})
        try:
            yield consumer
        finally:
            consumer.close()

    @staticmethod
    def _ends(consumer: Consumer, topic: str) -> dict[int, int]:
        partitions = consumer.list_topics(topic, timeout=10).topics[topic].partitions
        return {p: consumer.get_watermark_offsets(TopicPartition(topic, p), timeout=10)[1] for p in partitions}

    def risk_events(self) -> list[RiskEvent]:
        """Return all risk events, each partition in order."""
        records = ledger.read_topic(self.broker.bootstrap, "risk.events")
        return [_risk_events.decode(record.value or b"") for record in records]

    def audit(self, expected_dead_letters: Sequence[tuple[int, int]] | None = None) -> ledger.Report:
        """Let the independent verifier say where every input went."""
        return ledger.audit(
            self.broker.bootstrap,
            input_topic="capture.telemetry",
            events_topic="risk.events",
            dead_letters_topic="risk.deadletter",
            expected_dead_letters=expected_dead_letters,
        )

    def stop_all(self) -> None:
        """Stop every process that still runs."""
        for process in self.processes:
            if process.process.poll() is None:
                process.stop()
