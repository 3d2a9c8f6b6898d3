"""The pipeline while records go one by one: the same events, one dead letter, and the state as without it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, cast

import msgspec

from features.velocity import BUCKET_MS
from schemas.risk import RiskEvent
from stream.crash_guard import CrashGuard
from stream.crash_note import Note, encode
from stream.transport import OutRecord, StartAt, StartRequest
from tests.support.pipeline_world import START_MS, TOPIC, TOPIC_ID, FakeChunk, FakeRecord, World, records_of, simulated


async def one_by_one(world: World, note: Note, end: int) -> CrashGuard:
    await world.store.replace_crash_note(TOPIC, 0, None, encode(note), 60_000)
    guard = CrashGuard(world.store, world.metrics)
    await guard.look([StartRequest(TOPIC, TOPIC_ID, 0, 0, 0, end)], {(TOPIC, 0): StartAt(0)})
    await guard.begin([(TOPIC, 0)])
    return guard


def core(event: RiskEvent) -> RiskEvent:
    return msgspec.structs.replace(event, scored_at=0, latency_ms={})


def test_the_condemned_record_is_not_looked_into_and_all_others_are_scored_as_ever() -> None:
    records = records_of(simulated(60, 3))
    condemned = records.pop(20)
    sessions = [event.session_id for event in simulated(60, 3)]

    async def together() -> World:
        world = World()
        await world.pipeline().process(await world.owned(), cast("Any", FakeChunk(list(records))))
        return world

    async def apart() -> World:
        world = World()
        note = Note(owner="before", topic_id=TOPIC_ID, offset=20, starts=3, until=40, deaths=2)
        guard = await one_by_one(world, note, end=60)
        all_records = [*records[:20], condemned, *records[20:]]
        owned, pipeline = await world.owned(), world.pipeline()
        for first in range(0, 60, 25):
            chunk = FakeChunk(all_records[first : first + 25])
            await pipeline.process(owned, cast("Any", chunk), guard.isolation(TOPIC, 0))
            assert chunk.ended == ["done"]
        assert guard.isolation(TOPIC, 0) is None
        return world

    plain, careful = asyncio.run(together()), asyncio.run(apart())
    assert [core(event) for event in careful.events()] == [core(event) for event in plain.events()]
    (letter,) = [record for record in careful.log if record.topic == "risk.deadletter"]
    headers = dict(letter.headers or [])
    assert (letter.value, headers["dlq_reason"]) == (condemned.content, b"crashes_process")
    assert (headers["dlq_offset"], headers["dlq_time"]) == (b"20", str(START_MS + 20 * 130).encode())

    async def stored(world: World) -> dict[str, bytes | None]:
        return (await world.store.load(TOPIC, 0, sorted(set(sessions)), [])).blobs

    assert asyncio.run(stored(careful)) == asyncio.run(stored(plain))
    assert asyncio.run(careful.store.watermarks(TOPIC, [0])) == asyncio.run(plain.store.watermarks(TOPIC, [0]))


def test_a_record_whose_risk_event_is_there_is_not_condemned_for_what_came_after() -> None:
    """Killed between publish and state write, twice: a dead letter would be a second outcome."""
    records = records_of(simulated(30, 3))

    async def run() -> World:
        world = World()
        note = Note(owner="before", topic_id=TOPIC_ID, offset=10, starts=3, until=20, deaths=2)
        guard = await one_by_one(world, note, end=30)
        owned = await world.owned(published_to=10)
        await world.pipeline().process(owned, cast("Any", FakeChunk(list(records))), guard.isolation(TOPIC, 0))
        return world

    world = asyncio.run(run())
    assert [event.source.offset for event in world.events()] == list(range(30))
    assert [event.source.offset for event in world.events() if event.replayed] == list(range(11))
    assert not [record for record in world.log if record.topic == "risk.deadletter"]


def test_a_condemned_record_that_is_only_folded_again_is_left_out_or_no_rewind_would_get_past_it() -> None:
    class Poison(FakeRecord):
        def value(self) -> bytes | None:
            raise AssertionError("it was looked into")

    records = records_of(simulated(40, 3))
    held = records[10]
    records[10] = Poison(held.position, held.content, held.name, held.append_ms)

    async def run() -> World:
        world = World()
        note = Note(owner="before", topic_id=TOPIC_ID, offset=10, starts=3, until=20, deaths=2)
        guard = await one_by_one(world, note, end=40)
        owned = await world.owned(published_to=29)
        owned.publish_from = 30
        chunk = FakeChunk(list(records))
        await world.pipeline().process(owned, cast("Any", chunk), guard.isolation(TOPIC, 0))
        assert chunk.ended == ["done"]
        return world

    world = asyncio.run(run())
    assert [event.source.offset for event in world.events()] == list(range(30, 40))
    assert not [record for record in world.log if record.topic == "risk.deadletter"]


def test_a_chunk_is_cut_at_the_counters_bucket_edges_also_where_another_partition_is_in_doubt() -> None:
    records = records_of(simulated(60, 3))
    edge_ms = (START_MS // BUCKET_MS + 1) * BUCKET_MS
    for record in records:
        record.append_ms = edge_ms + 130 * (record.position - 30)

    async def run(*, is_bystander: bool) -> tuple[World, list[int]]:
        world = World()
        together: list[int] = []

        async def publish(out: Sequence[OutRecord]) -> None:
            together.append(sum(record.topic == "risk.events" for record in out))
            await world.publish(out)

        guard = CrashGuard(world.store, world.metrics)
        if is_bystander:
            note = Note(owner="before", topic_id=TOPIC_ID, offset=0, starts=3, until=40)
            await world.store.replace_crash_note(TOPIC, 1, None, encode(note), 60_000)
            await guard.look([StartRequest(TOPIC, TOPIC_ID, 1, 0, 0, 60)], {(TOPIC, 1): StartAt(0)})
            await guard.begin([(TOPIC, 1)])
        isolation = guard.isolation(TOPIC, 0)
        assert (isolation is not None) == is_bystander
        chunk = cast("Any", FakeChunk(list(records)))
        await world.pipeline(publish).process(await world.owned(), chunk, isolation)
        return world, together

    (beside, parts), (alone, usual_parts) = (asyncio.run(run(is_bystander=which)) for which in (True, False))
    assert parts == usual_parts == [30, 30]
    assert [core(event) for event in beside.events()] == [core(event) for event in alone.events()]
