"""Runs a Faust app with one agent on the transport inside the test's own event loop."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import faust
from confluent_kafka import Producer

from stream.records import offset_of
from stream.transport import (
    Chunk,
    Gap,
    PartitionKey,
    StartAt,
    StartRequest,
    Transport,
    TransportFatalError,
    TransportHooks,
    TransportOptions,
    configure,
    faust_settings,
)

_numbers = itertools.count()


class Recorder(TransportHooks):
    """Hooks that keep what they were told."""

    def __init__(self, start: Callable[[StartRequest], int] | None = None) -> None:
        super().__init__()
        self.start = start
        self.requests: list[StartRequest] = []
        self.changes: list[tuple[str, list[PartitionKey]]] = []
        self.gaps: list[Gap] = []
        self.fatals: list[TransportFatalError] = []

    async def resolve_start(self, requests: Sequence[StartRequest]) -> Mapping[PartitionKey, StartAt]:
        self.requests.extend(requests)
        if self.start is None:
            return await super().resolve_start(requests)
        return {(r.topic, r.partition): StartAt(self.start(r)) for r in requests}

    async def on_assigned(self, partitions: Sequence[PartitionKey]) -> None:
        self.changes.append(("assigned", sorted(partitions)))

    async def on_revoked(self, partitions: Sequence[PartitionKey]) -> None:
        self.changes.append(("revoked", sorted(partitions)))

    async def on_lost(self, partitions: Sequence[PartitionKey]) -> None:
        self.changes.append(("lost", sorted(partitions)))

    def on_gap(self, gap: Gap) -> None:
        self.gaps.append(gap)

    async def on_fatal(self, error: TransportFatalError) -> None:
        self.fatals.append(error)


Handler = Callable[[Chunk], Awaitable[None]]


class Rig:
    """One app, one agent. `offsets` are those of all chunks, in the order they came."""

    def __init__(
        self,
        bootstrap: str,
        topic: str,
        folder: Path,
        *,
        handler: Handler | None = None,
        hooks: Recorder | None = None,
        group: str | None = None,
        concurrency: int = 1,
        by_queue: bool = False,
        **options: Any,
    ) -> None:
        self.topic = topic
        self.hooks = hooks or Recorder()
        self.chunks: list[tuple[int, int, int, int]] = []
        """(partition, first offset, next offset, epoch) of each."""
        self.offsets: list[tuple[int, int]] = []
        self._handler = handler
        name = group or f"rig-{time.time_ns()}-{next(_numbers)}"
        self.app = faust.App(
            name, broker=f"librdkafka://{bootstrap.replace(',', ';')}", datadir=str(folder / name), **faust_settings()
        )
        self.transport: Transport = configure(self.app, TransportOptions(**options), self.hooks)
        self._queue = self.transport.chunks(topic) if by_queue else None
        work = self._work_by_queue if by_queue else self._work
        self.app.agent(self.app.topic(topic), name=f"{name}-agent", concurrency=concurrency)(work)

    async def _work(self, chunks: Any) -> None:
        async for chunk in chunks:
            await self._handle(chunk)

    async def _work_by_queue(self, _: Any) -> None:
        assert self._queue is not None
        while True:
            await self._handle(await self._queue.get())

    async def _handle(self, chunk: Chunk) -> None:
        self.chunks.append((chunk.partition, chunk.first_offset, chunk.next_offset, chunk.epoch))
        self.offsets.extend((chunk.partition, offset_of(record)) for record in chunk.records)
        if self._handler is None:
            chunk.done()
        else:
            await self._handler(chunk)

    async def __aenter__(self) -> Self:
        await self.app.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.app.stop()

    async def until(self, what: Callable[[], object], seconds: float = 20.0) -> None:
        end = time.monotonic() + seconds
        while not what():
            assert time.monotonic() < end, (self.chunks[-5:], self.hooks.changes, self.transport.stats())
            await asyncio.sleep(0.01)

    async def until_seen(self, count: int, seconds: float = 20.0) -> None:
        await self.until(lambda: len(self.offsets) >= count, seconds)

    def position(self, partition: int) -> int:
        return self.transport.stats().partitions[self.topic, partition].position

    def committed(self, partition: int) -> int | None:
        return self.transport.stats().partitions[self.topic, partition].committed


def produce(bootstrap: str, topic: str, count: int, *, partition: int = 0, size: int = 50, **config: Any) -> None:
    """Write `count` numbered records with a plain client."""
    producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 1, **config})
    for i in range(count):
        producer.produce(topic, b"%d|" % i + b"x" * size, partition=partition)
    assert producer.flush(20) == 0


MOCK: dict[str, Any] = {"consumer_properties": {"fetch.wait.max.ms": 2}}


MOCK_PARTITIONS = 4
"""The mock makes topics by itself, always with so many partitions."""


def new_topic(bootstrap: str) -> str:
    name = f"m{time.time_ns()}"
    client = Producer({"bootstrap.servers": bootstrap})
    while len(client.list_topics(name, timeout=5).topics[name].partitions) != MOCK_PARTITIONS:
        time.sleep(0.02)
    return name


def mock_rig(bootstrap: str, topic: str, folder: Path, **options: Any) -> Rig:
    return Rig(bootstrap, topic, folder, topic_ids={topic: "fixed-id"}, **{**MOCK, **options})
