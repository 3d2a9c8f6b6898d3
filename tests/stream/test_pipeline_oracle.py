"""The pipeline against its stupid twin: any cut into chunks, any crash, any order of sessions gives the same events.

In memory: the store is `MemoryStore`, chunks are made by hand. Delivery on real Kafka is tests/integration/pipeline.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from features.session import STATE_VERSION
from schemas.risk import RiskEvent
from stream.evaluation import Evaluator
from stream.pipeline import LineStopped
from stream.sampling import FeatureSampler
from stream.state import MemoryStore, StoreMisconfigured, StoreUnavailable, WatermarkConflict
from stream.transport import OutRecord
from tests.support.oracle import Oracle
from tests.support.pipeline_world import (
    REFS,
    START_MS,
    Engines,
    FakeChunk,
    FakeRecord,
    Snapshots,
    World,
    chunk,
    engine,
    processed,
    records_of,
    simulated,
)


def cuts(count: int) -> st.SearchStrategy[list[int]]:
    return st.lists(st.integers(1, count - 1), max_size=12, unique=True).map(sorted)


def core(event: RiskEvent) -> RiskEvent:
    """An event without what a clock decides."""
    return msgspec.structs.replace(event, scored_at=0, latency_ms={}, replayed=False)


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(seed=st.integers(0, 1_000), at=cuts(120), sessions=st.sampled_from([0, 3, 1_000]), restart=st.booleans())
def test_events_do_not_depend_on_chunks_caches_or_restarts(
    seed: int, at: list[int], sessions: int, restart: bool
) -> None:
    records = records_of(simulated(120, seed))

    async def run(cut_at: list[int], capacity: int, *, anew: bool) -> World:
        world = World()
        await world.store.open()
        pipeline, owned = world.pipeline(sessions=capacity), await world.owned()
        for first, end in itertools.pairwise([0, *cut_at, len(records)]):
            await pipeline.process(owned, chunk(records[first:end]))
            if anew:
                pipeline, owned = world.pipeline(sessions=capacity), await world.owned()
        return world

    one_by_one = asyncio.run(run(list(range(1, 120)), 1_000, anew=False))
    cut = asyncio.run(run(at, sessions, anew=restart))
    assert [core(e) for e in cut.events()] == [core(e) for e in one_by_one.events()]
    assert len(cut.events()) == len(records)


def test_every_event_equals_the_twins() -> None:
    records = records_of(simulated(400, 2))

    world = asyncio.run(processed(records, 37))
    oracle = Oracle(engine(), REFS)
    for record, event in zip(records, world.events(), strict=True):
        again = oracle.evaluate(record.content or b"", record.append_ms, event.velocity, event.degraded)
        assert again is not None
        assert (again.scores, again.decision, again.reasons) == (event.scores, event.decision, event.reasons)


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_crashes_between_stages_lose_nothing_and_double_nothing(data: st.DataObject) -> None:
    """Crash before publishing, after publishing, or after the write; the successor starts from what is stored."""
    records = records_of(simulated(80, data.draw(st.integers(0, 50))))

    async def run() -> World:
        world = World()
        await world.store.open()
        position = 0

        async def fails_before(_: Sequence[OutRecord]) -> None:
            raise ConnectionError

        async def fails_after(out: Sequence[OutRecord]) -> None:
            await world.publish(out)
            raise ConnectionError

        while position < len(records):
            published = max((e.source.offset for e in world.events()), default=-1)
            owned = await world.owned(published)
            assert owned.watermark is None or owned.watermark.offset == position - 1
            size = data.draw(st.integers(1, 30))
            how = data.draw(st.sampled_from(["well", "before", "after"]))
            publish = {"well": None, "before": fails_before, "after": fails_after}[how]
            part = records[position : position + size]
            if how == "well":
                await world.pipeline(publish).process(owned, chunk(part))
                position += len(part)
            else:
                # A crash is no error that the pipeline may handle: it must not survive as a dead letter.
                with pytest.raises(asyncio.CancelledError):
                    await world.pipeline(_cancelling(publish)).process(owned, chunk(part))
        return world

    world = asyncio.run(run())
    first: dict[int, RiskEvent] = {}
    for event in world.events():
        offset = event.source.offset
        assert event.replayed == (offset in first)
        before = first.setdefault(offset, event)
        assert core(before) == core(event)
    assert sorted(first) == list(range(len(records)))
    assert not [record for record in world.log if record.topic == "risk.deadletter"]


def _cancelling(publish: Any) -> Any:
    async def cancelled(out: Sequence[OutRecord]) -> None:
        try:
            await publish(out)
        except ConnectionError:
            raise asyncio.CancelledError from None

    return cancelled


def test_one_record_that_breaks_the_code_stands_alone() -> None:
    records = records_of(simulated(60, 4))
    broken = records[17].content

    class Breaks(Evaluator):
        def evaluate(self, owned: Any, items: Any, *rest: Any) -> Any:
            if any(item.record.value() == broken for item in items):
                raise ZeroDivisionError
            return super().evaluate(owned, items, *rest)

    async def run() -> World:
        world = World()
        await world.store.open()
        pipeline, owned = world.pipeline(), await world.owned()
        pipeline._evaluator = Breaks(Engines(), Snapshots(), FeatureSampler(0, 0), REFS.version, lambda: START_MS)
        await pipeline.process(owned, chunk(records[:40]))
        await pipeline.process(owned, chunk(records[40:]))
        return world

    world = asyncio.run(run())
    assert {e.source.offset for e in world.events()} == set(range(60)) - {17}
    (letter,) = [record for record in world.log if record.topic == "risk.deadletter"]
    assert letter.value == broken
    headers = dict(letter.headers or [])
    assert headers["dlq_reason"] == b"processing_error"
    assert headers["dlq_offset"] == b"17"


def test_a_refused_write_reaches_the_caller_and_leaves_nothing_cached() -> None:
    records = records_of(simulated(20, 5))

    async def run() -> None:
        world = World()
        await world.store.open()
        stale = await world.owned()
        await world.pipeline().process(await world.owned(), chunk(records))
        held = FakeChunk(list(records))
        with pytest.raises(WatermarkConflict):
            await world.pipeline().process(stale, held)  # type: ignore[arg-type]
        assert held.ended == [], "the caller rewinds before it gives the chunk up"
        assert len(stale.sessions) == 0

    asyncio.run(run())


def test_a_store_that_lost_its_state_is_noticed_before_anything_is_published() -> None:
    """The blobs come with the watermark: state that is not what this owner wrote scores nothing."""
    records = records_of(simulated(60, 8))

    async def run() -> World:
        world = World()
        await world.store.open()
        pipeline, owned = world.pipeline(sessions=0), await world.owned()
        await pipeline.process(owned, chunk(records[:40]))
        world.store = MemoryStore()
        await world.store.open()
        pipeline._store = world.store
        with pytest.raises(WatermarkConflict):
            await pipeline.process(owned, chunk(records[40:]))
        return world

    assert len(asyncio.run(run()).events()) == 40


@pytest.mark.parametrize("method", ["load", "commit"])
def test_a_store_that_refuses_us_makes_no_dead_letters(method: str) -> None:
    """A password was rotated: healthy records wait, and are scored once it is right again."""
    records = records_of(simulated(20, 6))

    async def run() -> World:
        world = World()
        await world.store.open()
        real, tries = getattr(world.store, method), itertools.count()

        async def refuses(*args: Any) -> Any:
            if next(tries) < 2:
                raise StoreMisconfigured("NOAUTH")
            return await real(*args)

        setattr(world.store, method, refuses)
        await world.pipeline().process(await world.owned(), chunk(records))
        return world

    world = asyncio.run(run())
    assert len(world.events()) == 20
    assert not [record for record in world.log if record.topic == "risk.deadletter"]


def test_a_session_of_another_tenant_is_refused() -> None:
    events = simulated(30, 10)
    stolen = msgspec.structs.replace(events[0], tenant="other", sequence=99)

    async def run() -> World:
        world = World()
        await world.store.open()
        await world.pipeline().process(await world.owned(), chunk(records_of([*events, stolen])))
        return world

    world = asyncio.run(run())
    assert len(world.events()) == 30
    (letter,) = [record for record in world.log if record.topic == "risk.deadletter"]
    assert dict(letter.headers or [])["dlq_reason"] == b"tenant_mismatch"


def test_a_store_that_is_away_for_a_while_costs_time_only() -> None:
    records = records_of(simulated(20, 6))

    async def run() -> World:
        world = World()
        await world.store.open()
        commit, tries = world.store.commit, itertools.count()

        async def shaky(*args: Any) -> Any:
            if next(tries) < 2:
                raise StoreUnavailable("away")
            return await commit(*args)

        world.store.commit = shaky  # type: ignore[method-assign,assignment]
        held = FakeChunk(list(records))
        await world.pipeline().process(await world.owned(), held)  # type: ignore[arg-type]
        assert held.ended == ["done"]
        return world

    assert len(asyncio.run(run()).events()) == 20


def test_a_chunk_that_is_no_longer_ours_publishes_nothing() -> None:
    async def run() -> World:
        world = World()
        await world.store.open()
        held = FakeChunk(list(records_of(simulated(5, 7))), current=False)
        await world.pipeline().process(await world.owned(), held)  # type: ignore[arg-type]
        assert held.ended == ["not current"]
        return world

    assert asyncio.run(run()).log == []


def test_a_line_of_nothing_but_rubbish_stops() -> None:
    rubbish = [FakeRecord(i, b"rubbish", b"k", START_MS) for i in range(1_200)]

    async def run() -> None:
        world = World()
        await world.store.open()
        pipeline, owned = world.pipeline(), await world.owned()
        await pipeline.process(owned, chunk(rubbish[:900]))
        await pipeline.process(owned, chunk(rubbish[900:1_100]))
        with pytest.raises(LineStopped, match=r"capture\.telemetry\[0\]"):
            await pipeline.process(owned, chunk(rubbish[1_100:]))

    asyncio.run(run())


def test_state_names_its_version() -> None:
    assert len(STATE_VERSION) == 12
