"""Crash isolation in memory: processes that die, are killed, lose partitions or only wait, on one store.

On real Kafka and Redis, with real signals: tests/integration/pipeline/test_poison.py.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Callable
from typing import Any, cast

import pytest
from confluent_kafka import Message

from schemas.envelope import Rejected
from stream import crash_guard, crash_isolation, waits
from stream.crash_guard import CrashGuard
from stream.crash_isolation import CrashLimit, NotCurrent
from stream.crash_note import CONDEMNED_IN_A_ROW, DEATHS_ALONE, IN_DOUBT_RECORDS, UNCLEAN_STARTS, Note, decode
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
