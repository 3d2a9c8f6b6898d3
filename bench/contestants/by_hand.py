"""The hand-written loop: bare librdkafka around tellwire's own chunk functions. What no framework can beat.

Records are taken as a list, go through the pipeline by partition, and are committed when their state is written. All
partitions are its own from the start: it knows no group, no rebalance, no watchdog, no back-pressure and no fault.
"""

import asyncio
import itertools
import os
import threading
import time
from collections.abc import Sequence
from operator import methodcaller
from types import SimpleNamespace
from typing import Any, cast

import uvloop
from confluent_kafka import Consumer, Producer, TopicPartition

from features.session import STATE_VERSION, warm_up
from models.engine import Engine
from models.snapshots import EMPTY
from stream import settings_source
from stream.deadletter import DeadLetterLimit
from stream.evaluation import Evaluator
from stream.garbage import quiet_garbage_collector
from stream.metrics import Metrics
from stream.movements import lookup_of
from stream.partition import OwnedPartition
from stream.pipeline import Pipeline
from stream.process import make_store
from stream.records import offset_of
from stream.refs import RefHasher
from stream.sampling import FeatureSampler
from stream.transport import Chunk, OutRecord
from tests.support.log_reader import topic_id

TOPIC = "capture.telemetry"
PARTITIONS = int(os.environ["BENCH_PARTITIONS"])
BATCH = 1_024
"""Records taken at once."""


class Publisher:
    """A producer whose batches can be awaited; delivery reports come in on a thread."""

    def __init__(self, bootstrap: str, loop: asyncio.AbstractEventLoop) -> None:
        self._producer = Producer(
            {"bootstrap.servers": bootstrap, "acks": "all", "enable.idempotence": True, "linger.ms": 0}
        )
        self._loop = loop
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            self._producer.poll(1.0)

    async def publish(self, records: Sequence[OutRecord]) -> None:
        """Produce and await all."""
        delivered = self._loop.create_future()
        left = itertools.count(len(records) - 1, -1)

        def report(error: Any, _: Any) -> None:
            if error is not None:
                os._exit(1)
            if next(left) == 0:
                self._loop.call_soon_threadsafe(delivered.set_result, None)

        for record in records:
            headers = cast("list[tuple[str, str | bytes | None]]", record.headers)
            while True:
                try:
                    self._producer.produce(
                        record.topic,
                        record.value,
                        record.key,
                        record.partition or 0,
                        on_delivery=report,
                        headers=headers,
                    )
                    break
                except BufferError:
                    await asyncio.sleep(0.001)
        await delivered


async def run(loop: asyncio.AbstractEventLoop) -> None:
    """Consume, process, commit, for ever."""
    settings = settings_source.load()
    bootstrap = settings.kafka.bootstrap_servers
    store = make_store(settings.redis, f"{STATE_VERSION}.{PARTITIONS}")
    await store.open()
    refs, metrics = RefHasher(settings.keys), Metrics()
    movements = lookup_of(settings.replay, store, refs, metrics)
    pipeline = Pipeline(
        evaluator=Evaluator(
            SimpleNamespace(current=Engine.load()),
            SimpleNamespace(current=EMPTY),
            FeatureSampler(settings.pipeline.features_sessions_per_s, settings.pipeline.features_share),
            settings.keys.ref_key_version,
            lambda: time.time_ns() // 1_000_000,
            movements,
        ),
        store=store,
        publish=Publisher(bootstrap, loop).publish,
        refs=refs,
        metrics=metrics,
        session_ttl_ms=settings.redis.session_ttl_s * 1000,
        counters_refresh_ms=settings.pipeline.counters_refresh_ms,
        cached_sessions=lambda: settings.pipeline.cached_sessions // PARTITIONS,
        movements=movements,
    )
    its_id = topic_id(bootstrap, TOPIC)
    owned = [
        OwnedPartition(TOPIC, number, its_id, None, 0, -1, DeadLetterLimit(0.5, 1_000)) for number in range(PARTITIONS)
    ]
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "bench-by-hand", "enable.auto.commit": False})
    consumer.assign([TopicPartition(TOPIC, number, 0) for number in range(PARTITIONS)])
    warm_up()
    quiet_garbage_collector()
    partition_of = methodcaller("partition")
    while True:
        first = consumer.poll(1.0)
        if first is None:
            continue
        records = sorted([first, *consumer.consume(BATCH, 0)], key=partition_of)
        chunks = [(number, list(group)) for number, group in itertools.groupby(records, partition_of)]
        await asyncio.gather(*(pipeline.process(owned[number], chunk_of(number, found)) for number, found in chunks))
        ends = [TopicPartition(TOPIC, number, offset_of(found[-1]) + 1) for number, found in chunks]
        consumer.commit(offsets=ends, asynchronous=True)


def _abandoned(reason: str) -> None:
    raise SystemExit(f"a chunk was abandoned: {reason}")


def chunk_of(partition: int, records: list[Any]) -> Chunk:
    """Return what the pipeline needs of a chunk."""
    chunk = SimpleNamespace(
        topic=TOPIC,
        partition=partition,
        records=records,
        first_offset=records[0].offset(),
        is_current=lambda: True,
        done=lambda _loop_s: True,
        abandon=_abandoned,
    )
    return cast("Chunk", chunk)


if __name__ == "__main__":
    its_loop = uvloop.new_event_loop()
    its_loop.run_until_complete(run(its_loop))
