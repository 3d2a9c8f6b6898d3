"""What surrounds a contestant: broker, store, topics, the backlog, its processes, and the audit of what it did."""

import os
import re
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from confluent_kafka import IsolationLevel, KafkaException, TopicPartition
from confluent_kafka.admin import OffsetSpec  # type: ignore[attr-defined]

from bench.environments import Contestant
from bench.machine import Cores, busy_s, cpu_s, main_thread_cpu_s, memory_mb, pin, two_cores
from bench.outcome import Audit, Failed, judge_echo, judge_numbers
from stream import topics
from tests.support.kafka import KafkaBroker
from tests.support.kafka_jars import KAFKA_VERSION, find_java
from tests.support.log_reader import read_topic, topic_id
from tests.support.process import end, free_ports, spawn, tail
from tests.support.redis import RedisServer

INPUT, OUTPUT, DEAD_LETTERS = "capture.telemetry", "risk.events", "risk.deadletter"
START_S = 120.0
ANSWER_S = 20.0
AUDITED_WHOLE = 400_000
"""Events of a run beyond which the audit goes by the events' numbers alone."""


@dataclass(slots=True)
class Member:
    """One process of a contestant."""

    process: subprocess.Popen[bytes]
    log: Path
    port: int

    def check(self) -> None:
        """Raise `Failed` when it has ended."""
        if self.process.poll() is not None:
            raise Failed(f"it ended:\n{tail(self.log, 30)}")

    def is_ready(self) -> bool:
        """Whether tellwire's own probe says so."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/readyz", timeout=1) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False


class World:
    """Broker and store on one core, contestants on another one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.cores: Cores = two_cores()
        self.redis = RedisServer()
        # What a run leaves behind is deleted at once: a bench writes some ten GB.
        self.broker = KafkaBroker(quick_start=False, heap_mb=1024, properties={"log.segment.delete.delay.ms": "1000"})
        self.partitions = 4
        self._audit = Audit()

    def __enter__(self) -> Self:
        # A checkout whose kernels are not compiled yet would seem to stand still for a minute.
        subprocess.run([sys.executable, "-m", "stream", "warm-up"], check=True, stdout=subprocess.DEVNULL)
        pin(0, self.cores.rest)  # what is started from here on inherits it
        self.broker.start()
        self.redis.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.redis.stop()
        self.broker.stop()

    def fresh(self, partitions: int = 4) -> None:
        """Empty the store and make all topics anew."""
        self.partitions = partitions
        with self.redis.client(30.0) as client:
            client.flushall()
        for name in self.broker.admin.list_topics(timeout=10).topics:
            if not name.startswith("__"):
                self.broker.delete_topic(name)
        topics.apply({"bootstrap.servers": self.broker.bootstrap}, partitions=partitions, replication_factor=1)

    def start_generator(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Start the generator, see `bench.generator`."""
        command = [sys.executable, "-m", "bench.generator", self.broker.bootstrap, *arguments]
        return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def backlog(self, events: int, sessions: int) -> None:
        """Produce the workload as fast as it goes, the first event of every session first; wait until it is there."""
        with self.start_generator("backlog", str(events), str(sessions)) as generator:
            generator.communicate()
        if generator.returncode:
            raise Failed("the backlog could not be produced")

    def done(self) -> int:
        """Return how many records the output topic has."""
        latest = OffsetSpec.latest()  # type: ignore[no-untyped-call]
        asked = {TopicPartition(OUTPUT, number): latest for number in range(self.partitions)}
        deadline = time.monotonic() + ANSWER_S
        while True:
            found = self.broker.admin.list_offsets(asked, isolation_level=IsolationLevel.READ_UNCOMMITTED)
            try:
                return sum(one.result().offset for one in found.values())
            except KafkaException:
                # Of a topic that has just been made anew the client may know the old one's leader and partitions.
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)
                self.broker.admin.list_topics(OUTPUT, timeout=ANSWER_S)

    @contextmanager
    def running(self, contestant: Contestant, count: int = 1) -> Iterator[list[Member]]:
        """Run a contestant's processes on the worker's core; `Failed` tells their log."""
        members = [self._start(contestant, number) for number in range(count)]
        try:
            yield members
        except Failed as error:
            raise Failed(f"{contestant.name}: {error}") from None
        finally:
            for member in members:
                end(member.process, wait_s=30)

    def _start(self, contestant: Contestant, number: int) -> Member:
        port = free_ports(1)[0]
        log = self.folder / f"{contestant.name.replace(' ', '-')}-{number}-{time.monotonic_ns()}.log"
        env = {
            "TELLWIRE_KAFKA__BOOTSTRAP_SERVERS": self.broker.bootstrap,
            "TELLWIRE_REDIS__URL": self.redis.url,
            "TELLWIRE_KEYS__REF_KEY": "benchmark-0123456789",
            "TELLWIRE_METRICS__PORT": str(port),
            "TELLWIRE_LOG__FORMAT": "text",
            "BENCH_PARTITIONS": str(self.partitions),
            "PYTHONPATH": os.pathsep.join(filter(None, [str(Path.cwd()), os.environ.get("PYTHONPATH")])),
        }
        process = spawn(contestant.command, log, env)
        pin(process.pid, self.cores.worker)
        return Member(process, log, port)

    def wait_ready(self, members: list[Member]) -> None:
        """Wait until all workers are ready. Raises `Failed`."""
        deadline = time.monotonic() + START_S
        while not all(member.is_ready() for member in members):
            for member in members:
                member.check()
            if time.monotonic() > deadline:
                raise Failed("it was not ready in time")
            time.sleep(0.02)

    def servers(self) -> dict[str, str]:
        """Return which versions broker and store are, as they say themselves."""
        with self.redis.client(10.0) as client:
            told = client.info("server")
        java = subprocess.run([find_java(), "-version"], capture_output=True, text=True, check=False).stderr
        runtime = re.search(r'version "([^"]+)"', java)
        store = f"Valkey {told['valkey_version']}" if "valkey_version" in told else f"Redis {told['redis_version']}"
        return {"broker": f"Apache Kafka {KAFKA_VERSION} on Java {runtime[1] if runtime else '?'}", "store": store}

    def said(self, *arguments: str) -> str:
        """Return what Python prints, run by itself on the worker's core. Raises `Failed`."""
        process = subprocess.Popen([sys.executable, *arguments], stdout=subprocess.PIPE, text=True)
        pin(process.pid, self.cores.worker)
        told, _ = process.communicate()
        if process.returncode:
            raise Failed(f"{' '.join(arguments)} failed")
        return told

    def used_s(self, members: list[Member]) -> dict[str, float]:
        """Return the time used so far, s: CPU time of workers and servers, and how long both cores were busy.

        `main_thread` is that of the workers' main threads alone.
        """
        return {
            "worker": sum(cpu_s(member.process.pid) for member in members),
            "main_thread": sum(main_thread_cpu_s(member.process.pid) for member in members),
            "broker": cpu_s(self.broker.process().pid),
            "store": cpu_s(self.redis.process.pid),
            "worker_core": busy_s(self.cores.worker),
            "other_core": busy_s(self.cores.rest),
        }

    @staticmethod
    def records_a_chunk(members: list[Member]) -> float:
        """Return how many records tellwire's chunks had on average so far, by its own metrics."""
        records = chunks = 0.0
        for member in members:
            with urllib.request.urlopen(f"http://127.0.0.1:{member.port}/metrics", timeout=10) as answer:
                told = dict(
                    line.rsplit(" ", 1) for line in answer.read().decode().splitlines() if line and line[0] != "#"
                )
            records += float(told["tellwire_chunk_records_sum"])
            chunks += float(told["tellwire_chunk_records_count"])
        return records / chunks

    @staticmethod
    def peak_mb(members: list[Member]) -> float:
        """Return the most memory that a worker had so far, MB."""
        return max(memory_mb(member.process.pid, "VmHWM") for member in members)

    def check_outcome(self, contestant: Contestant, events: int, sessions: int) -> None:
        """Read the topics; raise `Failed` for a missing, doubled or differing event."""
        inputs, outputs, dead = (read_topic(self.broker.bootstrap, name) for name in (INPUT, OUTPUT, DEAD_LETTERS))
        try:
            if not contestant.does_the_job:
                judge_echo(inputs, outputs, events)
            elif events > AUDITED_WHOLE:
                judge_numbers(outputs, events)
            else:
                its_id = topic_id(self.broker.bootstrap, INPUT)
                self._audit.judge(
                    inputs, outputs, dead, topic=INPUT, topic_id=its_id, expected=events, sessions=sessions
                )
        except Failed as failed:
            raise Failed(f"{contestant.name}: {failed}") from None
