"""`python -m bench.run`: drains a backlog and answers an open-loop load, each contestant in its own process, one run.

Real Kafka, real Redis, generator, worker and verifier apart. Figures that depend on the machine are given as ratios to
a contestant of the same run; latency is counted from when an event was due, so a stalled generator hides nothing.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from confluent_kafka import Consumer, Producer, TopicPartition

from bench.workload import workload
from stream import topics
from tests.support.kafka import KafkaBroker
from tests.support.process import end, free_ports, spawn
from tests.support.redis import RedisServer

CONTESTANTS = {
    "tellwire": [sys.executable, "-m", "stream", "worker"],
    "naive Faust": [sys.executable, "-m", "bench.naive"],
    "empty agent": [sys.executable, "-m", "bench.empty", "empty"],
    "echo": [sys.executable, "-m", "bench.empty", "echo"],
}


def environment(broker: KafkaBroker, redis: RedisServer, events: int) -> dict[str, str]:
    """Return the settings of all contestants."""
    """Settings of a contestant."""
    return {
        "TELLWIRE_KAFKA__BOOTSTRAP_SERVERS": broker.bootstrap,
        "TELLWIRE_REDIS__URL": redis.url,
        "TELLWIRE_KEYS__REF_KEY": "benchmark-0123456789",
        "TELLWIRE_METRICS__PORT": str(free_ports(1)[0]),
        "TELLWIRE_LOG__FORMAT": "text",
        "BENCH_BOOTSTRAP": broker.bootstrap,
        "BENCH_REDIS": redis.url,
        "BENCH_EVENTS": str(events),
    }


def fresh(broker: KafkaBroker, redis: RedisServer) -> None:
    """Empty store, new topics."""
    with redis.client() as client:
        client.flushall()
    for name in broker.admin.list_topics(timeout=10).topics:
        if not name.startswith("__"):
            broker.delete_topic(name)
    topics.apply({"bootstrap.servers": broker.bootstrap}, partitions=4, replication_factor=1)


def ends(broker: KafkaBroker, topic: str) -> int:
    """Return how many records a topic of four partitions has."""
    """Records in a topic of four partitions."""
    consumer = Consumer({"bootstrap.servers": broker.bootstrap, "group.id": "ends"})
    try:
        return sum(consumer.get_watermark_offsets(TopicPartition(topic, p), timeout=10)[1] for p in range(4))
    finally:
        consumer.close()


@contextmanager
def running(name: str, env: dict[str, str], folder: Path) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    """Run a contestant; yield its process and its log."""
    """A contestant's process and its log."""
    log = folder / f"{name.replace(' ', '-')}-{time.monotonic_ns()}.log"
    process = spawn(CONTESTANTS[name], log, env)
    try:
        yield process, log
    finally:
        end(process, wait_s=30)


def drain(name: str, broker: KafkaBroker, redis: RedisServer, events: int, folder: Path) -> dict[str, float]:
    """Events a second over a backlog, start-up left out; CPU seconds of the contestant a thousand events."""
    fresh(broker, redis)
    produce(broker, events)
    with running(name, environment(broker, redis, events), folder) as (process, log):
        if name == "empty agent":
            while not log.read_text().strip()[-1:].isdigit():
                if process.poll() is not None:
                    raise RuntimeError(log.read_text()[-2000:])
                time.sleep(0.02)
            return {"events_per_s": float(log.read_text().split()[-1])}
        first = (0.0, 0)
        while True:
            at, done = time.perf_counter(), ends(broker, "risk.events")
            if done and not first[1]:
                first = (at, done)
                cpu = cpu_s(process.pid)
            if done >= events:
                passed = at - first[0]
                return {
                    "events_per_s": (done - first[1]) / passed,
                    "cpu_us_per_event": (cpu_s(process.pid) - cpu) / (done - first[1]) * 1e6,
                }
            if process.poll() is not None:
                raise RuntimeError(log.read_text()[-2000:])
            time.sleep(0.05)


def latency(
    name: str, broker: KafkaBroker, redis: RedisServer, per_s: int, seconds: int, folder: Path
) -> dict[str, float]:
    """Milliseconds from when an event was due to when its risk event was read, in an open loop."""
    fresh(broker, redis)
    env = environment(broker, redis, 0)
    with running(name, env, folder) as (process, log):
        warm = 200
        produce(broker, warm)
        while ends(broker, "risk.events") < warm:
            if process.poll() is not None:
                raise RuntimeError(log.read_text()[-2000:])
            time.sleep(0.1)
        time.sleep(1)
        reader = subprocess.Popen(
            [sys.executable, "-m", "bench.reader", broker.bootstrap, str(per_s * seconds)], stdout=subprocess.PIPE
        )
        assert reader.stdout is not None
        reader.stdout.readline()
        sender = subprocess.run(
            [sys.executable, "-m", "bench.sender", broker.bootstrap, str(per_s), str(seconds)],
            check=True,
            stdout=subprocess.PIPE,
        )
        due = json.loads(sender.stdout)
        read, _ = reader.communicate(timeout=60 + seconds)
        arrived = json.loads(read)
    taken = sorted((arrived[key] - at) * 1000.0 for key, at in due.items() if key in arrived)
    # The first second warms caches and connections.
    missing = len(due) - len(taken)
    if missing:
        raise RuntimeError(f"{name}: {missing} events were never answered")
    return {
        "p50_ms": statistics.median(taken),
        "p99_ms": taken[int(len(taken) * 0.99)],
        "max_ms": taken[-1],
    }


def produce(broker: KafkaBroker, events: int) -> None:
    """Produce the workload as a backlog."""
    """Produce the workload as a backlog."""
    producer = Producer(
        {"bootstrap.servers": broker.bootstrap, "partitioner": "murmur2_random", "linger.ms": 20, "acks": "all"}
    )
    for key, value in workload(events):
        while True:
            try:
                producer.produce("capture.telemetry", key=key, value=value)
                break
            except BufferError:
                producer.poll(0.1)
    assert producer.flush(60) == 0


def cpu_s(pid: int) -> float:
    """Return the CPU seconds that a process has used."""
    """CPU seconds that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    """Measure and print."""
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=20_000, help="backlog of tellwire and the limits")
    parser.add_argument("--naive-events", type=int, default=3_000, help="backlog of the naive contestant")
    parser.add_argument("--rounds", type=int, default=3, help="interleaved repetitions")
    parser.add_argument("--rates", type=int, nargs="*", default=[100, 500], help="open-loop events a second")
    parser.add_argument("--seconds", type=int, default=15, help="length of one open loop")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    drained: dict[str, list[dict[str, float]]] = {}
    answered: dict[str, list[dict[str, float]]] = {}
    with KafkaBroker() as broker, RedisServer() as redis, tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for _ in range(options.rounds):
            for name in ("tellwire", "naive Faust", "empty agent"):
                events = options.naive_events if name == "naive Faust" else options.events
                drained.setdefault(name, []).append(drain(name, broker, redis, events, folder))
            for rate in options.rates:
                for name in ("tellwire", "echo"):
                    answered.setdefault(f"{name} at {rate}/s", []).append(
                        latency(name, broker, redis, rate, options.seconds, folder)
                    )
    if options.json:
        print(json.dumps({"drain": drained, "latency": answered}, indent=2))
        return
    print("medians of", options.rounds, "interleaved rounds (lowest to highest)")
    for group in (drained, answered):
        for name, runs in group.items():
            parts = []
            for key in runs[0]:
                values = sorted(run[key] for run in runs)
                parts.append(f"{key} {statistics.median(values):,.1f} ({values[0]:,.1f} to {values[-1]:,.1f})")
            print(f"  {name:<22} " + "  ".join(parts))


if __name__ == "__main__":
    main()
