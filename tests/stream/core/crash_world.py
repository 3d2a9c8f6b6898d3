"""A log, a store and processes in memory that die, are killed, lose partitions or only wait."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast

from confluent_kafka import Message

from schemas.envelope import Rejected
from stream.crash_guard import CrashGuard
from stream.crash_note import Note, decode
from stream.health import Health
from stream.metrics import Metrics
from stream.state import MemoryStore, StoreUnavailable
from stream.transport import StartAt, StartRequest
from tests.stream.core.doubles import FakeChunk, record

TOPIC, ID = "capture.telemetry", "topic-id"
KEY = (TOPIC, 0)


class Died(BaseException):
    """The process is no more: nothing of it runs any further."""


class Life:
    """One process's view of the store: after its death it reaches nothing."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store
        self.dead = False
        self.away = False
        self.calls = 0

    async def _call(self, name: str, *args: Any) -> Any:
        self.calls += 1
        if self.dead:
            await asyncio.Event().wait()
        if self.away:
            raise StoreUnavailable("away")
        return await getattr(self._store, name)(*args)

    async def crash_notes(self, *args: Any) -> Any:
        return await self._call("crash_notes", *args)

    async def replace_crash_note(self, *args: Any) -> Any:
        return await self._call("replace_crash_note", *args)


class World:
    """A log of `end` offsets, the store, the position that is done; processes come and go."""

    def __init__(self, end: int = 400, done: int = 100) -> None:
        self.store = MemoryStore()
        self.end = end
        self.done = done
        self.worked: list[int] = []
        self.condemned: list[int] = []
        self.sleeps: list[float] = []
        self.kills: Callable[[int, int], bool] = lambda _offset, _together: False

    async def process(self) -> Process:
        made = Process(self)
        await made.start()
        return made

    async def note(self) -> Note | None:
        return decode((await self.store.crash_notes(TOPIC, [0]))[0])


class Process:
    """One owner of the partition; chunks are of 64 records."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.life = Life(world.store)
        self.metrics = Metrics()
        self.health = Health(60.0, lambda: 0.0)
        self.guard = CrashGuard(
            cast("Any", self.life),
            self.metrics,
            lambda at, text: self.health.suspect(f"{at[0]}[{at[1]}]", text),
            self._sleep,
        )

    async def _sleep(self, seconds: float) -> None:
        self.world.sleeps.append(seconds)

    async def start(self) -> None:
        request = StartRequest(TOPIC, ID, 0, None, 0, self.world.end)
        await self.guard.look([request], {KEY: StartAt(self.world.done)})
        await self.guard.begin([KEY])

    async def run(self, until: int | None = None) -> bool:
        """Process the log to its end; False where the process died on the way."""
        until = self.world.end if until is None else until
        while self.world.done < until:
            offsets = range(self.world.done, min(until, self.world.done + 64))
            chunk = FakeChunk([record(b"x", the_offset=offset) for offset in offsets], topic=TOPIC, partition=0)
            try:
                isolation = self.guard.isolation(TOPIC, 0)
                if isolation is None:
                    await self.work(chunk.records)
                else:
                    await isolation.process(cast("Any", chunk), self.work, self.condemn)
            except Died:
                self.life.dead = True
                return False
        return True

    async def work(self, records: list[Message]) -> None:
        offsets = [cast("int", each.offset()) for each in records]
        for offset in offsets:
            if self.world.kills(offset, len(offsets)):
                self.life.dead = True
                raise Died
        self.world.worked.extend(offsets)
        self.world.done = offsets[-1] + 1

    async def condemn(self, one: Message, why: Rejected) -> None:
        assert why.reason == "crashes_process"
        self.world.condemned.append(cast("int", one.offset()))
        self.world.done = cast("int", one.offset()) + 1

    def value(self, name: str, **labels: str) -> float | None:
        return self.metrics.registry.get_sample_value(name, labels)
