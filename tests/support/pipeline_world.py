"""The pipeline in memory, for tests: chunks made by hand, a store and a log that outlive workers."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from models.engine import Engine
from models.snapshots import EMPTY, SnapshotSet
from schemas.envelope import encode
from schemas.risk import RiskEvent
from schemas.telemetry import Telemetry
from stream.deadletter import DeadLetterLimit
from stream.evaluation import Evaluator
from stream.metrics import Metrics
from stream.movements import MovementLookup
from stream.partition import OwnedPartition
from stream.pipeline import Pipeline
from stream.refs import RefHasher
from stream.sampling import FeatureSampler
from stream.settings import KeySettings, ReplaySettings
from stream.simulation.population import population
from stream.state import MemoryStore
from stream.transport import Chunk, OutRecord

START_MS = 1_790_000_000_000
TOPIC, TOPIC_ID = "capture.telemetry", "topic-id"
_KEYS = KeySettings(ref_key="in-memory-tests-only")
REFS = RefHasher(_KEYS)
REFS_WITH_TEMPLATES = RefHasher(_KEYS, device_templates=True)


@functools.cache
def engine() -> Engine:
    return Engine.load()


_decode = msgspec.json.Decoder(RiskEvent).decode


@dataclass
class FakeRecord:
    """What the pipeline reads of a consumed record."""

    position: int
    content: bytes | None
    name: bytes | None
    append_ms: int
    sent_headers: list[tuple[str, bytes]] | None = None

    def offset(self) -> int:
        return self.position

    def value(self) -> bytes | None:
        return self.content

    def key(self) -> bytes | None:
        return self.name

    def headers(self) -> list[tuple[str, bytes]] | None:
        return self.sent_headers

    def timestamp(self) -> tuple[int, int]:
        return (1, self.append_ms)


@dataclass
class FakeChunk:
    """A chunk made by hand; `current` turns false to stand for a lost partition."""

    records: list[Any]
    partition: int = 0
    topic: str = TOPIC
    topic_id: str = TOPIC_ID
    current: bool = True
    ended: list[str] = field(default_factory=list)
    finished: int | None = None

    @property
    def first_offset(self) -> int:
        return int(self.records[0].offset())

    @property
    def next_offset(self) -> int:
        return int(self.records[-1].offset()) + 1

    def is_current(self) -> bool:
        return self.current

    def done(self, loop_s: float | None = None) -> bool:
        del loop_s
        self.ended.append("done")
        return True

    def abandon(self, reason: str) -> None:
        self.ended.append(reason)


@dataclass
class Snapshots:
    """No live models."""

    current: SnapshotSet = EMPTY


@dataclass
class Engines:
    """The engine that serves; a test may replace it."""

    current: Engine = field(default_factory=engine)


class World:
    """A store and a log that outlive workers; `Worker` objects come and go."""

    def __init__(self, *, movements: bool = False, templates: bool = False) -> None:
        self.store = MemoryStore()
        self.log: list[OutRecord] = []
        self.metrics = Metrics()
        self.engines = Engines()
        self.compares = movements
        self.refs = REFS_WITH_TEMPLATES if templates else REFS

    async def publish(self, records: Sequence[OutRecord]) -> None:
        self.log.extend(records)

    def pipeline(self, publish: Any = None, sessions: int = 1_000, refresh_ms: int = 0) -> Pipeline:
        ticks = itertools.count(START_MS)
        lookup = self.lookup() if self.compares else None
        return Pipeline(
            evaluator=Evaluator(
                self.engines, Snapshots(), FeatureSampler(0, 0), REFS.version, lambda: next(ticks), lookup
            ),
            store=self.store,
            publish=publish or self.publish,
            refs=self.refs,
            metrics=self.metrics,
            session_ttl_ms=86_400_000,
            counters_refresh_ms=refresh_ms,
            cached_sessions=lambda: sessions,
            movements=lookup,
        )

    def lookup(self) -> MovementLookup:
        """What compares movements, as it ships."""
        shipped = ReplaySettings()
        return MovementLookup(
            self.store,
            REFS.derived("movements"),
            self.metrics,
            ttl_s=shipped.ttl_s,
            buckets=shipped.buckets,
            timeout_s=shipped.timeout_s,
        )

    async def owned(self, published_to: int = -1) -> OwnedPartition:
        watermark = (await self.store.watermarks(TOPIC, [0]))[0]
        return OwnedPartition(TOPIC, 0, TOPIC_ID, watermark, 0, published_to, DeadLetterLimit(0.9, 1_000))

    def events(self) -> list[RiskEvent]:
        return [_decode(record.value or b"") for record in self.log if record.topic == "risk.events"]


def records_of(events: Sequence[Telemetry]) -> list[FakeRecord]:
    return [FakeRecord(i, encode(e), e.session_id.encode(), START_MS + 130 * i) for i, e in enumerate(events)]


def simulated(count: int, seed: int) -> list[Telemetry]:
    people = population(seed, start_ms=START_MS, sessions_per_s=3.0, bot_ratio=0.5)
    return [due.event for due in itertools.islice(people, count)]


def chunk(records: Sequence[FakeRecord]) -> Chunk:
    return FakeChunk(list(records))  # type: ignore[return-value]


async def processed(records: Sequence[FakeRecord], size: int, **of_owned: Any) -> World:
    """Return a world in which these records were processed, `size` at a time; `of_owned` is set on the partition."""
    world = World()
    await world.store.open()
    pipeline, owned = world.pipeline(), await world.owned()
    for name, value in of_owned.items():
        setattr(owned, name, value)
    for first in range(0, len(records), size):
        await pipeline.process(owned, chunk(records[first : first + size]))
    return world
