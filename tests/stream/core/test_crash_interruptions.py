"""Crash isolation in memory: what interrupts a process and is no fault of the record at hand."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest
from confluent_kafka import Message

from stream import crash_guard, crash_isolation, waits
from stream.crash_isolation import NotCurrent
from stream.crash_note import DEATHS_ALONE, UNCLEAN_STARTS
from stream.state import MemoryStore
from stream.transport import StartAt, StartRequest
from tests.stream.core.crash_world import ID, KEY, TOPIC, Died, Process, World
from tests.stream.core.doubles import FakeChunk, record


async def test_processes_that_die_between_records_condemn_nothing() -> None:
    world = World()
    for _ in range(20):
        process = await world.process()
        process.life.dead = True  # killed before its first record
    assert await (await world.process()).run()
    assert world.condemned == []
    assert world.worked == list(range(100, 400))


async def test_an_orderly_end_counts_from_one_again() -> None:
    world = World()
    for _ in range(2):
        (await world.process()).life.dead = True
    process = await world.process()
    assert process.guard.isolation(TOPIC, 0) is not None
    await process.run(until=110)
    await process.guard.left([KEY])
    # What is in doubt stays in doubt: the next owner goes on one by one.
    process = await world.process()
    assert process.guard.isolation(TOPIC, 0) is not None
    assert await process.run()
    assert await world.note() is None
    for _ in range(5):
        process = await world.process()
        assert process.guard.isolation(TOPIC, 0) is None
        await process.guard.left([KEY])
        assert await world.note() is None


async def test_ten_losses_without_progress_condemn_nothing() -> None:
    """Taken away while a record is being worked on: the process lives, says so, and the record is innocent."""
    world = World()
    for _ in range(10):
        process = await world.process()
        isolation = process.guard.isolation(TOPIC, 0)
        chunk = FakeChunk([record(b"x", the_offset=100)], topic=TOPIC, partition=0)

        async def lost(_: list[Message], process: Process = process, chunk: FakeChunk = chunk) -> None:
            process.guard.lost([KEY])
            chunk.current = False
            raise NotCurrent

        if isolation is not None:
            with pytest.raises(NotCurrent):
                await isolation.process(cast("Any", chunk), lost, process.condemn)
        else:
            process.guard.lost([KEY])
        await asyncio.sleep(0.01)
    note = await world.note()
    assert note is not None
    assert (note.deaths, note.working) == (0, False)
    assert await (await world.process()).run()
    assert world.condemned == []


async def test_who_only_waits_says_so_and_is_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """The broker is away, somebody kills the process while its record waits: no fault of the record's."""
    monkeypatch.setattr(crash_isolation, "ALIVE_S", 0.02)
    world = World()
    for _ in range(2):
        (await world.process()).life.dead = True
    for _ in range(4):
        process = await world.process()
        isolation = process.guard.isolation(TOPIC, 0)
        assert isolation is not None
        chunk = FakeChunk([record(b"x", the_offset=100)], topic=TOPIC, partition=0)
        waiting = asyncio.create_task(isolation.process(cast("Any", chunk), _for_ever, process.condemn))
        await asyncio.sleep(0.005)
        note = await world.note()
        assert note is not None
        assert note.working
        await asyncio.sleep(0.06)
        process.life.dead = True
        waiting.cancel()
        note = await world.note()
        assert note is not None
        assert (note.offset, note.working, note.deaths) == (100, False, 0)
    assert await (await world.process()).run()
    assert world.condemned == []


async def _for_ever(_: list[Message]) -> None:
    await asyncio.Event().wait()


async def test_a_blocked_loop_is_a_death_of_the_record() -> None:
    """What hangs the process says nothing any more: when the watchdog ends it, the record is counted."""
    world = World()
    for _ in range(2):
        (await world.process()).life.dead = True
    for deaths in (1, 2):
        process = await world.process()
        isolation = process.guard.isolation(TOPIC, 0)
        assert isolation is not None
        chunk = FakeChunk([record(b"x", the_offset=100)], topic=TOPIC, partition=0)

        async def hangs(_: list[Message], process: Process = process) -> None:
            process.life.dead = True
            raise Died

        with pytest.raises(Died):
            await isolation.process(cast("Any", chunk), hangs, process.condemn)
        note = await world.note()
        assert note is not None
        assert note.working
        assert note.deaths == deaths - 1
    assert await (await world.process()).run()
    assert world.condemned == [100]


async def test_who_finds_a_record_being_worked_on_looks_again_and_believes_what_it_sees_then() -> None:
    world = World()
    for _ in range(2):
        (await world.process()).life.dead = True
    before = await world.process()
    isolation = before.guard.isolation(TOPIC, 0)
    assert isolation is not None
    chunk = FakeChunk([record(b"x", the_offset=100)], topic=TOPIC, partition=0)
    waiting = asyncio.create_task(isolation.process(cast("Any", chunk), _for_ever, before.condemn))
    await asyncio.sleep(0.005)
    after = Process(world)

    async def meanwhile(seconds: float) -> None:
        world.sleeps.append(seconds)
        waiting.cancel()  # the owner before lives: it gives the record up, and withdraws what it noted
        await asyncio.sleep(0.02)

    after.guard._sleep = meanwhile
    await after.start()
    assert world.sleeps == [crash_guard.LOOK_AGAIN_S]
    assert crash_guard.LOOK_AGAIN_S > crash_isolation.ALIVE_S + crash_isolation._RETRY_S
    note = await world.note()
    assert note is not None
    assert (note.deaths, note.working) == (0, False)


async def test_an_emptied_store_starts_over(caplog: pytest.LogCaptureFixture) -> None:
    world = World()
    world.kills = lambda offset, _: offset == 130
    for _ in range(4):
        assert not await (await world.process()).run()
    world.store = MemoryStore()
    deaths = 0
    while not await (await world.process()).run():
        deaths += 1
    assert deaths == UNCLEAN_STARTS - 1 + DEATHS_ALONE
    assert world.condemned == [130]


async def test_a_store_that_went_back_or_was_emptied_in_the_middle_does_not_stop_the_line() -> None:
    world = World()
    for _ in range(2):
        (await world.process()).life.dead = True
    process = await world.process()
    assert await process.run(until=110)
    rolled_back = await world.store.replace_crash_note(
        TOPIC, 0, (await world.store.crash_notes(TOPIC, [0]))[0], b"an older note", 60_000
    )
    assert rolled_back == b"an older note"
    assert await process.run(until=120)
    await world.store.replace_crash_note(TOPIC, 0, (await world.store.crash_notes(TOPIC, [0]))[0], None, 60_000)
    assert await process.run()
    assert world.worked == list(range(100, 400))
    assert await world.note() is None


async def test_a_store_that_is_away_costs_time_one_by_one_and_nothing_otherwise(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(crash_isolation, "_RETRY_S", 0.005)
    world = World()
    process = Process(world)
    request = StartRequest(TOPIC, ID, 0, None, 0, world.end)
    await process.guard.look([request], {KEY: StartAt(100)})
    process.life.away = True
    await process.guard.begin([KEY])
    assert await process.run(until=110)
    await process.guard.left([KEY])
    world.done = 100
    for _ in range(2):
        (await world.process()).life.dead = True
    process = await world.process()
    process.life.away = True
    running = asyncio.create_task(process.run())
    await asyncio.sleep(0.03)
    assert not running.done()
    process.life.away = False
    assert await running
    assert world.condemned == []


async def test_while_partitions_take_turns_all_wait_with_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that an outage of the store does not look as if nothing moved, and restarts no worker."""
    monkeypatch.setattr(crash_isolation, "_RETRY_S", 0.005)
    monkeypatch.setattr(waits, "NOTICED_S", 0.02)
    world = World()
    process = await world.process()
    assert process.guard.shared({"a": "broker"}, ["a", "b"]) == {"a": "broker"}
    for _ in range(2):
        process.life.dead = True
        process = await world.process()
    assert process.guard.shared({}, ["a", "b"]) == {}
    assert process.guard.shared({"a": "broker"}, ["a", "b"]) == {"a": "broker", "b": "broker"}
    process.life.away = True
    running = asyncio.create_task(process.run())
    await asyncio.sleep(0.05)
    assert process.guard.shared({}, ["a", "b"]) == {"a": "store", "b": "store"}
    process.life.away = False
    assert await running
    assert process.guard.shared({}, ["a", "b"]) == {}
