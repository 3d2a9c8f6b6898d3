"""Measures the transport beside its peers, every part in a process of its own.

`python -m tests.integration.transport.measure [RECORDS]` prints one JSON object a line: records a second of an agent
that does nothing (this transport, stock Faust), and the latency of an echo (this transport, a bare librdkafka loop),
on a real broker that it starts.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import faust
import uvloop
from confluent_kafka import Consumer, Producer, TopicPartition

from stream.transport import OutRecord, TransportOptions, configure, faust_settings
from tests.support.kafka import KafkaBroker

ROOT = Path(__file__).resolve().parents[3]
PARTITIONS = 4
READ = {"enable.auto.commit": False, "auto.offset.reset": "earliest", "fetch.wait.max.ms": 100}


def child(role: str, *arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.integration.transport.measure", role, *map(str, arguments)]
    return subprocess.Popen(command, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)


# --- an agent that does nothing ---------------------------------------------------------------------


def fill(bootstrap: str, topic: str, count: int) -> None:
    producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 5, "queue.buffering.max.messages": 2_000_000})
    for i in range(count):
        producer.produce(topic, b"x" * 300, partition=i % PARTITIONS)
        if not i % 10_000:
            producer.poll(0)
    producer.flush()


class Empty:
    """An agent that counts and does nothing else."""

    def __init__(self, scheme: str, loop: str, count: int) -> None:
        self.facts = {"empty_agent": scheme, "loop": loop}
        self.left = count
        self.count = count
        self.began = 0.0
        self.done = asyncio.Event()

    def saw(self, records: int) -> None:
        self.left -= records
        if self.left <= 0 and not self.done.is_set():
            rate = self.count / (time.perf_counter() - self.began)
            print(json.dumps({**self.facts, "records_per_s": round(rate)}), flush=True)
            self.done.set()

    async def chunks(self, stream: Any) -> None:
        async for chunk in stream:
            started = time.perf_counter()
            self.began = self.began or started
            for _ in chunk.records:
                pass
            chunk.done(time.perf_counter() - started)
            self.saw(len(chunk.records))

    async def values(self, stream: Any) -> None:
        async for _ in stream:
            self.began = self.began or time.perf_counter()
            self.saw(1)


def run_empty(scheme: str, bootstrap: str, topic: str, count: int, loop: str) -> None:
    if loop == "uvloop":
        asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    app = faust.App(
        f"{scheme}-{loop}-{time.time_ns()}",
        broker=f"{scheme}://{bootstrap}",
        datadir=tempfile.mkdtemp(),
        **(faust_settings() if scheme == "librdkafka" else {"topic_disable_leader": True, "web_enabled": False}),
    )

    async def main() -> None:
        empty = Empty(scheme, loop, count)
        ours = scheme == "librdkafka"
        if ours:
            configure(app)
        app.agent(app.topic(topic, value_serializer="raw"), name="empty")(empty.chunks if ours else empty.values)
        await app.start()
        await empty.done.wait()
        await app.stop()

    asyncio.run(main())


# --- an echo ----------------------------------------------------------------------------------------


def run_echo_ours(bootstrap: str, source: str, target: str) -> None:
    app = faust.App("echo", broker=f"librdkafka://{bootstrap}", datadir=tempfile.mkdtemp(), **faust_settings())
    transport = configure(app, TransportOptions(start_at="latest"))

    async def work(chunks: Any) -> None:
        async for chunk in chunks:
            await transport.producer.produce_batch(
                [OutRecord(target, record.value(), None, chunk.partition) for record in chunk.records]
            )
            chunk.done()

    app.agent(app.topic(source), name="echo")(work)

    async def main() -> None:
        await app.start()
        while not transport.assignment():  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0.05)
        await asyncio.sleep(1)
        print("ready", flush=True)
        await asyncio.sleep(3600)

    asyncio.run(main())


def run_echo_bare(bootstrap: str, source: str, target: str) -> None:
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "bare", **READ, "auto.offset.reset": "latest"})
    producer = Producer({"bootstrap.servers": bootstrap, "enable.idempotence": True, "linger.ms": 0})
    consumer.subscribe([source])
    while not consumer.assignment():
        consumer.poll(0.1)
    time.sleep(1)
    print("ready", flush=True)
    while True:
        message = consumer.poll(0.05)
        if message is not None and message.error() is None:
            producer.produce(target, message.value(), partition=message.partition() or 0)
        producer.poll(0)


def run_generate(bootstrap: str, topic: str, rate: float, seconds: float) -> None:
    producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 0})
    began = time.monotonic()
    for i in range(int(rate * seconds)):
        due = began + i / rate
        while (left := due - time.monotonic()) > 0:
            producer.poll(min(left, 0.002))
        # The time it was due, not sent: a generator that falls behind must not hide latency.
        producer.produce(topic, f"{due:.7f}".encode().ljust(300), partition=i % PARTITIONS)
    producer.flush()


def run_verify(bootstrap: str, topic: str, count: int, name: str, rate: float) -> None:
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": f"v{time.time_ns()}", **READ})
    consumer.assign([TopicPartition(topic, p, 0) for p in range(PARTITIONS)])
    consumer.poll(1)
    print("ready", flush=True)
    latencies: list[float] = []
    while len(latencies) < count:
        message = consumer.poll(1)
        if message is not None and message.error() is None:
            latencies.append(time.monotonic() - float(message.value() or b""))
    latencies = sorted(latencies[len(latencies) // 10 :])  # without the warm-up
    figures = {f"p{p}_ms": round(1000 * latencies[int(len(latencies) * p / 100)], 2) for p in (50, 90, 99)}
    print(json.dumps({"echo": name, "rate_per_s": rate, **figures}), flush=True)


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 400_000
    with KafkaBroker() as broker:
        topic = broker.create_topic(partitions=PARTITIONS)
        fill(broker.bootstrap, topic, count)
        for scheme, loop, n in (
            ("librdkafka", "asyncio", count),
            ("kafka", "asyncio", min(count, 40_000)),
            ("librdkafka", "uvloop", count),
            ("kafka", "uvloop", min(count, 40_000)),
        ):
            worker = child("empty", scheme, broker.bootstrap, topic, n, loop)
            print(line(worker), flush=True)
            worker.wait(60)
        for rate in (100.0, 300.0):
            for name in ("bare", "transport", "bare", "transport"):
                source, target = (broker.create_topic(partitions=PARTITIONS) for _ in range(2))
                echo = child(f"echo-{name}", broker.bootstrap, source, target)
                assert line(echo) == "ready"
                verifier = child("verify", broker.bootstrap, target, int(rate * 8), name, rate)
                assert line(verifier) == "ready"
                child("generate", broker.bootstrap, source, rate, 8.0).wait()
                print(line(verifier), flush=True)
                echo.kill()
                echo.wait()


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["empty", scheme, bootstrap, topic, count, loop]:
            run_empty(scheme, bootstrap, topic, int(count), loop)
        case ["echo-transport", bootstrap, source, target]:
            run_echo_ours(bootstrap, source, target)
        case ["echo-bare", bootstrap, source, target]:
            run_echo_bare(bootstrap, source, target)
        case ["generate", bootstrap, topic, rate, seconds]:
            run_generate(bootstrap, topic, float(rate), float(seconds))
        case ["verify", bootstrap, topic, count, name, rate]:
            run_verify(bootstrap, topic, int(count), name, float(rate))
        case _:
            main()
