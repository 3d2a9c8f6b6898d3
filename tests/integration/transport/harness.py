"""Starts, stops and kills transport workers, feeds their topic, and judges what came out."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, Self
from uuid import uuid4

from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ResourceType,
)

from tests.support.kafka import KafkaBroker
from tests.support.process import Deadline, end, spawn, tail

ROOT = Path(__file__).resolve().parents[3]
WORKER = Path(__file__).with_name("worker.py")


@dataclass
class Worker:
    """One worker process and what it told."""

    name: str
    process: subprocess.Popen[bytes]
    events_path: Path
    log: Path

    def events(self, kind: str | None = None) -> list[dict[str, Any]]:
        if not self.events_path.exists():
            return []
        lines = self.events_path.read_text(encoding="utf-8").splitlines()
        found = [json.loads(line) for line in lines if line.endswith("}")]
        return [e for e in found if e["pid"] == self.process.pid and kind in {None, e["event"]}]

    def wait_for(self, what: Callable[[list[dict[str, Any]]], object], seconds: float = 30.0) -> None:
        deadline = Deadline(seconds)
        while deadline.waits():
            if what(self.events()):
                return
            if self.process.poll() is not None:
                break
        raise AssertionError(f"{self.name} did not get there:\n{tail(self.log, 40)}\n{self.events()[-5:]}")

    def owned(self) -> int:
        stats = self.events("stats")
        return stats[-1]["in_partition"] if stats else 0

    def stop(self, wait_s: float = 30.0) -> None:
        """End it in an orderly way, which has to work."""
        end(self.process, signal.SIGTERM, wait_s)
        assert self.process.returncode == 0, tail(self.log, 60)

    def kill(self) -> None:
        end(self.process, signal.SIGKILL)


@dataclass
class Bench:
    """A topic, its copy, and the workers between them."""

    broker: KafkaBroker
    folder: Path
    partitions: int = 4
    options: dict[str, Any] = field(default_factory=dict)
    work_s: float = 0.005
    uvloop: bool = False
    workers: list[Worker] = field(default_factory=list, init=False)
    sent: Counter[int] = field(default_factory=Counter, init=False)

    def __enter__(self) -> Self:
        self.topic = self.broker.create_topic(partitions=self.partitions)
        self.out = self.broker.create_topic(partitions=self.partitions)
        self.group = f"g-{uuid4().hex[:8]}"
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self.workers:
            if worker.process.poll() is None:
                worker.kill()

    def start(self, name: str, **options: Any) -> Worker:
        settings = {
            "bootstrap": self.broker.bootstrap.replace(",", ";"),
            "topic": self.topic,
            "out": self.out,
            "group": self.group,
            "events": str(self.folder / f"{name}.jsonl"),
            "datadir": str(self.folder / name),
            "options": {**self.options, **options},
            "work_s": self.work_s,
            "uvloop": self.uvloop,
        }
        log = self.folder / f"{name}.log"
        env = {"TRANSPORT_TEST": json.dumps(settings), "PYTHONPATH": str(ROOT)}
        worker = Worker(name, spawn([sys.executable, str(WORKER)], log, env), self.folder / f"{name}.jsonl", log)
        self.workers.append(worker)
        return worker

    def configure_group(self, **config: str) -> None:
        """Set broker-side properties of the group (KIP-848)."""
        entries = [ConfigEntry(k, v, incremental_operation=AlterConfigOpType.SET) for k, v in config.items()]
        resource = ConfigResource(ResourceType.GROUP, self.group, incremental_configs=entries)
        for future in self.broker.admin.incremental_alter_configs([resource]).values():
            future.result()

    def feed(self, records: int, per_second: float, *, size: int = 100) -> threading.Thread:
        """Produce at a steady rate, beside the test."""
        thread = threading.Thread(target=self._feed, args=(records, per_second, size), daemon=True)
        thread.start()
        return thread

    def _feed(self, records: int, per_second: float, size: int) -> None:
        # Idempotent: else what a broker wrote and could not acknowledge before it was killed is written twice.
        config = {"bootstrap.servers": self.broker.bootstrap, "linger.ms": 2, "enable.idempotence": True}
        producer = Producer(config)
        filling = b"x" * size
        began = time.monotonic()
        for i in range(records):
            while (ahead := i / per_second - (time.monotonic() - began)) > 0.002:
                producer.poll(ahead)  # returns early with a delivery report
            partition = i % self.partitions
            producer.produce(self.topic, b"%d|" % i + filling, partition=partition)
            self.sent[partition] += 1
        assert producer.flush(30) == 0

    def results(self) -> dict[int, list[tuple[int, int, float]]]:
        """By partition, in the order published: (source offset, pid, time)."""
        found: dict[int, list[tuple[int, int, float]]] = defaultdict(list)
        for message in read_all(self.broker, self.out, self.partitions):
            partition, offset = map(int, message.key().decode().split(":"))
            headers = dict(message.headers())
            assert message.partition() == partition
            found[partition].append((offset, int(headers["pid"]), float(headers["at"])))
        return found

    def wait_complete(self, seconds: float = 60.0) -> None:
        """Wait until the committed offsets have reached the end of the topic."""
        consumer = Consumer({"bootstrap.servers": self.broker.bootstrap, "group.id": self.group})
        try:
            wanted = dict(self.sent)
            deadline = Deadline(seconds, pause_s=0.3)
            done: dict[int, int] = {}
            while deadline.waits():
                asked = [TopicPartition(self.topic, p) for p in wanted]
                done = {tp.partition: tp.offset for tp in consumer.committed(asked, timeout=10)}
                if all(done[p] >= n for p, n in wanted.items()):
                    return
            raise AssertionError(f"committed {done} of {wanted}")
        finally:
            consumer.close()

    def judge(self) -> Verdict:
        """Compare what came out with what went in."""
        lost, repeated, backwards = 0, 0, 0
        results = self.results()
        for partition in range(self.partitions):
            offsets = [offset for offset, _, _ in results[partition]]
            counts = Counter(offsets)
            lost += sum(1 for o in range(self.sent[partition]) if o not in counts)
            repeated += sum(n - 1 for n in counts.values())
            backwards += sum(1 for a, b in pairwise(offsets) if b <= a)
            assert max(counts, default=-1) < self.sent[partition]
        return Verdict(sum(self.sent.values()), lost, repeated, backwards)


@dataclass(frozen=True)
class Verdict:
    """Records sent, lost, published more than once, and places where the order went back."""

    sent: int
    lost: int
    repeated: int
    backwards: int


def read_all(broker: KafkaBroker, topic: str, partitions: int) -> Iterator[Any]:
    """Everything in a topic, read with a plain consumer."""
    consumer = Consumer(
        {"bootstrap.servers": broker.bootstrap, "group.id": f"read-{uuid4()}", "enable.auto.commit": False}
    )
    try:
        parts = [TopicPartition(topic, p, 0) for p in range(partitions)]
        left = {tp.partition: consumer.get_watermark_offsets(tp, timeout=10)[1] for tp in parts}
        consumer.assign(parts)
        while any(left.values()):
            for message in consumer.consume(1000, 0.5):
                assert message.error() is None, message.error()
                yield message
                partition, offset = message.partition(), message.offset()
                assert partition is not None
                assert offset is not None
                if offset + 1 >= left[partition]:
                    left[partition] = 0
    finally:
        consumer.close()
