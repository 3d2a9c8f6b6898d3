"""Crash isolation in memory: which records are found to end the process, and how far that may go.

On real Kafka and Redis, with real signals: tests/integration/pipeline/test_poison.py.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from typing import Any, cast

import pytest
from confluent_kafka import Message

from schemas.envelope import Rejected
from stream import crash_isolation
from stream.crash_guard import CrashGuard
from stream.crash_isolation import CrashLimit
from stream.crash_note import CONDEMNED_IN_A_ROW, DEATHS_ALONE, IN_DOUBT_RECORDS, UNCLEAN_STARTS
from stream.metrics import Metrics
from stream.state import MemoryStore
from stream.transport import StartAt, StartRequest
from tests.stream.core.crash_world import ID, TOPIC, Died, Life, Process, World
from tests.stream.core.doubles import FakeChunk, record


async def test_a_record_that_always_kills_is_found_and_its_neighbours_are_done() -> None:
    world = World()
    world.kills = lambda offset, _: offset == 130
    deaths = 0
    while not await (await world.process()).run():
        deaths += 1
        assert deaths < 10
    assert world.condemned == [130]
    assert world.worked == [offset for offset in range(100, 400) if offset != 130]
    assert deaths == UNCLEAN_STARTS - 1 + DEATHS_ALONE
    assert await world.note() is None, "nothing is in doubt any more"


@pytest.mark.parametrize("kill", [{100}, {399}, {130, 131, 132}, {100, 250, 399}, set(range(200, 209))])
async def test_several_that_kill_are_all_found_and_only_they(kill: set[int]) -> None:
    world = World()
    world.kills = lambda offset, _: offset in kill
    deaths = 0
    while not await (await world.process()).run():
        deaths += 1
        assert deaths < 60
    assert world.condemned == sorted(kill)
    assert world.worked == [offset for offset in range(100, 400) if offset not in kill]


async def test_what_kills_only_in_company_passes_alone() -> None:
    world = World()
    world.kills = lambda offset, together: offset == 130 and together > 1
    for _ in range(2):
        assert not await (await world.process()).run()
    assert await (await world.process()).run()
    assert world.condemned == []
    assert world.worked == list(range(100, 400))


async def test_one_death_alone_condemns_nothing() -> None:
    world = World()
    alone = itertools.count()
    world.kills = lambda offset, together: offset == 130 and (together > 1 or next(alone) == 0)
    deaths = 0
    while not await (await world.process()).run():
        deaths += 1
    assert (deaths, world.condemned) == (3, [])
    assert world.worked == list(range(100, 400))


async def test_a_record_that_one_process_died_of_is_tried_again_only_after_a_while() -> None:
    """What ends every process right after its start ends it before that, and blames nothing."""
    world = World()
    world.kills = lambda offset, _: offset == 130
    for _ in range(3):
        assert not await (await world.process()).run()
    note = await world.note()
    assert note is not None
    assert (note.offset, note.deaths, note.working) == (130, 0, True)
    for _ in range(10):
        process = await world.process()

        async def ended(_: float, process: Process = process) -> None:
            process.life.dead = True
            raise Died

        isolation = process.guard.isolation(TOPIC, 0)
        cast("Any", isolation)._sleep = ended
        assert not await process.run()
        note = await world.note()
        assert note is not None
        assert (note.offset, note.deaths, note.working) == (130, 1, False)
    world.sleeps.clear()
    assert not await (await world.process()).run()
    assert crash_isolation.CALM_S[0] <= sum(world.sleeps) <= crash_isolation.CALM_S[1] + 0.01
    assert await (await world.process()).run()
    assert world.condemned == [130]


async def test_a_machine_that_kills_everything_stops_the_line(caplog: pytest.LogCaptureFixture) -> None:
    world = World()
    world.kills = lambda *_: True
    for _ in range(UNCLEAN_STARTS - 1 + DEATHS_ALONE * (CONDEMNED_IN_A_ROW + 1)):
        assert not await (await world.process()).run()
    with pytest.raises(CrashLimit, match=r"capture\.telemetry\[0\]: 10 records in a row") as caught:
        await (await world.process()).run()
    assert "\n" not in str(caught.value)
    assert world.condemned == list(range(100, 100 + CONDEMNED_IN_A_ROW))
    # Somebody gives it more memory and starts it again: the record at hand was innocent.
    world.kills = lambda *_: False
    assert await (await world.process()).run()
    assert world.worked == list(range(100 + CONDEMNED_IN_A_ROW, 400))
    assert world.condemned == list(range(100, 100 + CONDEMNED_IN_A_ROW))


async def test_one_that_survives_between_them_sets_the_limit_back() -> None:
    world = World(end=100 + 4 * CONDEMNED_IN_A_ROW)
    world.kills = lambda offset, _: offset % 2 == 0
    for _ in range(200):
        if await (await world.process()).run():
            break
    assert world.condemned == [offset for offset in range(100, world.end) if offset % 2 == 0]


async def test_without_suspects_a_chunk_costs_nothing() -> None:
    world = World()
    process = await world.process()
    calls = process.life.calls
    assert await process.run()
    assert process.life.calls == calls


async def test_what_a_person_sees(caplog: pytest.LogCaptureFixture) -> None:
    world = World(end=120)
    world.kills = lambda offset, _: offset == 105
    with caplog.at_level(logging.INFO):
        for _ in range(4):
            assert not await (await world.process()).run()
        process = await world.process()
        assert process.value("tellwire_crash_suspects", topic=TOPIC, partition="0") == 15
        assert process.value("tellwire_unclean_starts_total") == 1
        assert process.health.report()["one_by_one"] == {
            f"{TOPIC}[0]": "offsets 105 to 119 go one by one: one of them may end the process"
        }
        assert await process.run()
    assert process.value("tellwire_crash_suspects", topic=TOPIC, partition="0") is None
    assert process.health.report()["one_by_one"] == {}
    levels = {(line.levelname, line.getMessage()) for line in caplog.records}
    assert {level for level, text in levels if "one by one" in text} == {"ERROR"}
    assert ("INFO", "no record is in doubt any more") in levels
    (told,) = [line for line in caplog.records if "becomes a dead letter" in line.getMessage()]
    assert (vars(told)["partition"], vars(told)["offset"]) == (0, 105)


async def test_no_more_than_the_stated_number_goes_one_by_one() -> None:
    world = World(end=5_000)
    for _ in range(2):
        (await world.process()).life.dead = True
    process = await world.process()
    calls = process.life.calls
    assert await process.run()
    assert process.guard.isolation(TOPIC, 0) is None
    # One note a record, one at the end of each chunk, and none behind the last in doubt.
    assert process.life.calls - calls <= IN_DOUBT_RECORDS + IN_DOUBT_RECORDS // 64 + 3
    assert world.worked == list(range(100, 5_000))


async def test_the_neighbour_of_a_record_that_kills_is_never_blamed() -> None:
    """Two partitions die together again and again: only one record at a time is noted as being worked on."""
    store = MemoryStore()
    keys = [(TOPIC, 0), (TOPIC, 1)]
    done = {0: 100, 1: 500}
    condemned: list[tuple[int, int]] = []
    for _ in range(20):
        life = Life(store)
        guard = CrashGuard(cast("Any", life), Metrics())
        requests = [StartRequest(TOPIC, ID, number, None, 0, done[number] + 30) for number in done]
        guard._sleep = lambda _: asyncio.sleep(0)
        await guard.look(requests, {(TOPIC, number): StartAt(done[number]) for number in done})
        await guard.begin(keys)

        async def take(number: int, guard: CrashGuard = guard, life: Life = life) -> None:
            async def work(records: list[Message]) -> None:
                await asyncio.sleep(0)  # as a store or a broker would
                if number == 0 and any(each.offset() == 100 for each in records):
                    life.dead = True
                    raise Died
                await asyncio.sleep(0.001)
                if life.dead:
                    raise Died
                done[number] = cast("int", records[-1].offset()) + 1

            async def condemn(one: Message, _: Rejected) -> None:
                condemned.append((number, cast("int", one.offset())))
                done[number] = cast("int", one.offset()) + 1

            offsets = range(done[number], done[number] + 5)
            chunk = FakeChunk([record(b"x", the_offset=at) for at in offsets], topic=TOPIC, partition=number)
            one_by_one = guard.isolation(TOPIC, number)
            if one_by_one is None:
                await work(chunk.records)
            else:
                await one_by_one.process(cast("Any", chunk), work, condemn)

        # The partition of the innocent one comes first: its record is at hand whenever the other kills.
        both = [asyncio.create_task(take(number)) for number in (1, 0)]
        ended, pending = await asyncio.wait(both, timeout=0.1, return_when=asyncio.FIRST_EXCEPTION)
        for task in pending:
            task.cancel()
        if not any(task.exception() for task in ended):
            break
    assert condemned == [(0, 100)]
