"""The replay channel in the pipeline: copies of another session's movements raise it, one's own don't."""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from models.assessment import Assessment
from models.offline import OfflineScorer, parse_cuts
from schemas.envelope import decode, encode
from schemas.risk import RiskEvent
from schemas.telemetry import Collector, Pointer, SessionEnd, Telemetry
from stream.state import ConnectionOptions, RedisStore, StoreUnavailable
from tests.support.pipeline_world import REFS, START_MS, FakeRecord, World, chunk, engine
from tests.support.redis import RedisServer

Way = list[tuple[float, float, float, int]]
"""Samples of a session: ms, px, px, kind."""


def recorded(seed: int, movements: int = 9, *, bend: float = 0.5) -> Way:
    """A hand's movements from rest to rest, each one of its own, as a recorder gives them."""
    dice = random.Random(seed)
    way: Way = []
    t, x, y = 0.0, 600.0, 400.0
    for _ in range(movements):
        duration = dice.uniform(500, 1_100)
        length, angle = dice.uniform(350, 700), dice.uniform(0, 2 * math.pi)
        bows = [dice.gauss(0, bend * 0.3 / (k * k)) for k in range(1, 5)]
        pace = [dice.gauss(0, 0.12 / k) for k in range(1, 4)]
        steps = int(duration / 16)
        for i in range(steps + 1):
            u = i / steps
            s = u * u * (3 - 2 * u) + sum(
                p * math.sin(math.pi * k * u) ** 2 * u * (1 - u) for k, p in enumerate(pace, 1)
            )
            side = sum(b * math.sin(math.pi * k * s) for k, b in enumerate(bows, 1)) * (bend > 0)
            dx, dy = s * length, side * length
            way.append(
                (
                    t + i * 16.0,
                    round(x + dx * math.cos(angle) - dy * math.sin(angle)),
                    round(y + dx * math.sin(angle) + dy * math.cos(angle)),
                    0,
                )
            )
        x, y = way[-1][1], way[-1][2]
        way += [(way[-1][0] + 60, x, y, 1), (way[-1][0] + 150, x, y, 2)]
        t = way[-1][0] + dice.uniform(300, 600)
    return way


def replayed(way: Way, how: str, seed: int = 7) -> Way:
    """The recording as somebody plays it again."""
    dice = random.Random(seed)
    if how == "slowed":
        return [(1.05 * t, x, y, kind) for t, x, y, kind in way]
    if how == "jittered":
        return [(t, x + round(dice.uniform(-3, 3)), y + round(dice.uniform(-3, 3)), kind) for t, x, y, kind in way]
    if how == "mirrored":
        return [(t, 1_900 - x, y, kind) for t, x, y, kind in way]
    return way


def session(name: str, way: Way, *, account: str | None = None, tenant: str = "acme") -> list[Telemetry]:
    """Its telemetry in batches of half a second, and an end."""
    batches: dict[int, Way] = {}
    for sample in way:
        batches.setdefault(int(sample[0] // 500), []).append(sample)
    events = []
    for number, (batch, samples) in enumerate(sorted(batches.items())):
        start = batch * 500.0
        events.append(
            Telemetry(
                event_id=f"{name}:{number}",
                session_id=name,
                tenant=tenant,
                flow="login",
                sequence=number,
                effective_at=START_MS + int(start),
                observed_at=START_MS + int(start) + 500,
                account_ref=account or f"account-of-{name}",
                collector=Collector(name="test", version="1.0.0"),
                pointer=Pointer(
                    t=[s[0] - start for s in samples],
                    x=[s[1] for s in samples],
                    y=[s[2] for s in samples],
                    kind=[s[3] for s in samples],
                    pointer_type="mouse",
                ),
            )
        )
    return events


def records_of(sessions: Sequence[list[Telemetry]], *, apart: bool = True, step_ms: int = 40) -> list[FakeRecord]:
    """Their records: one session after the other, or in turn, a little behind one another."""
    if apart:
        events = [event for one in sessions for event in one]
    else:
        events = [event for turn in range(200) for one in sessions for event in one[turn : turn + 1]]
    return [FakeRecord(i, encode(e), e.session_id.encode(), START_MS + step_ms * i) for i, e in enumerate(events)]


def run(records: Sequence[FakeRecord], size: int = 1, world: World | None = None) -> list[RiskEvent]:
    world = world or World(movements=True)

    async def go() -> None:
        await world.store.open()
        pipeline, owned = world.pipeline(), await world.owned()
        for first in range(0, len(records), size):
            await pipeline.process(owned, chunk(records[first : first + size]))

    asyncio.run(go())
    return world.events()


def last_of(events: Sequence[RiskEvent], name: str) -> RiskEvent:
    return [event for event in events if event.session_id == name][-1]


def core(event: RiskEvent) -> RiskEvent:
    return msgspec.structs.replace(event, scored_at=0, latency_ms={})


@pytest.mark.parametrize("how", ["exact", "slowed", "jittered", "mirrored"])
def test_a_replay_under_another_account_raises_the_channel_and_asks_for_more(how: str) -> None:
    way = recorded(1)
    events = run(records_of([session("victim", way), session("thief", replayed(way, how))]))
    theft = last_of(events, "thief")
    replay = theft.scores.replay
    assert replay is not None
    assert (replay.state, replay.raw) == ("scored", 1.0)
    assert replay.score is not None
    assert replay.score > 0.98
    assert theft.movements is not None
    assert sum(near <= 20 for near in theft.movements.near) >= 3
    assert theft.decision.action == "step_up", "behaviour alone never blocks"
    assert "MOVEMENTS_REPEATED" in [reason.code for reason in theft.reasons]
    genuine = last_of(events, "victim")
    assert genuine.scores.replay is not None
    assert (genuine.scores.replay.state, genuine.scores.replay.raw) == ("scored", 0.0)
    assert genuine.movements is not None
    assert genuine.movements.near.count(255) == len(genuine.movements.near)


def test_retries_of_one_account_and_another_tenants_copies_are_no_replay() -> None:
    way = recorded(2)
    for more in ({"account": "mine"}, {"tenant": "other"}):
        first = session("first", way, account="mine")
        events = run(records_of([first, session("again", way, **{"account": "other", **more})]))
        replay = last_of(events, "again").scores.replay
        assert replay is not None
        assert replay.raw == 0.0


def test_plain_drags_say_nothing() -> None:
    ways = [[(t, x, 400.0, kind) for t, x, _, kind in recorded(3, bend=0.0)] for _ in range(2)]
    events = run(records_of([session("one", ways[0]), session("two", ways[1])]))
    assert all(event.movements is None for event in events)
    assert all(event.scores.replay.state == "not_expected" for event in events if event.scores.replay is not None)


def test_different_people_are_no_replay_of_each_other() -> None:
    events = run(records_of([session(f"s{seed}", recorded(seed)) for seed in range(10, 22)]))
    assert len({event.session_id for event in events if event.movements is not None}) == 12
    for event in events:
        assert event.scores.replay is None or (event.scores.replay.raw or 0.0) < 0.3


@pytest.mark.parametrize("apart", [True, False])
def test_an_offline_run_finds_what_a_worker_finds(apart: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    way = recorded(4)
    sessions = [
        session("victim", way),
        session("thief", replayed(way, "jittered")),
        session("retry", way, account="account-of-victim"),
        session("elsewhere", way, tenant="other"),
        session("somebody", recorded(5)),
    ]
    records = records_of(sessions, apart=apart)
    live = run(records)
    # The same directions to cut along, or cells of the hash would differ.
    monkeypatch.setattr("models.offline_movements.KEY", REFS.derived("movements"))
    read = [decode(record.value(), None) for record in records]
    events = [event for event in read if isinstance(event, Telemetry)]
    found: dict[str, Assessment | None] = {}
    for stream in (True, False):
        scorer = OfflineScorer(engine(), parse_cuts("end"), stream=stream)
        for rows in scorer.records(events):
            found[rows[-1].session_id] = rows[-1].assessment
        for name, offline in found.items():
            assert offline is not None
            wanted = last_of(live, name).scores
            assert offline.scores.bot == wanted.bot
            if stream:
                assert offline.scores.replay == wanted.replay
            else:
                assert offline.scores.replay is None or offline.scores.replay.state == "not_expected"
    assert found.keys() == {"victim", "thief", "retry", "elsewhere", "somebody"}
    theft = last_of(live, "thief").scores.replay
    assert theft is not None
    assert theft.raw == 1.0 or not apart


@pytest.mark.parametrize("size", [2, 7, 1_000])
@pytest.mark.parametrize("apart", [True, False])
def test_chunks_of_any_size_give_what_one_by_one_gives(size: int, *, apart: bool) -> None:
    ways = [recorded(seed) for seed in (1, 1, 5, 1)]
    ways[3] = replayed(ways[3], "jittered")
    records = records_of([session(f"s{number}", way) for number, way in enumerate(ways)], apart=apart)
    alone = run(records)
    assert max(event.scores.replay.raw or 0.0 for event in alone if event.scores.replay is not None) == 1.0
    assert [core(event) for event in run(records, size)] == [core(event) for event in alone]


def test_a_new_owner_asks_again_for_what_the_last_one_took_with_it() -> None:
    way = recorded(1)
    records = records_of([session("victim", way), session("thief", way)])
    expected = [core(event) for event in run(records)]
    world = World(movements=True)
    for first in range(0, len(records), 5):
        run(records[first : first + 5], 1, world)
    assert [core(event) for event in world.events()] == expected


@pytest.mark.parametrize("size", [1, 3, 1_000])
def test_no_answer_stays_for_a_session_that_has_ended_and_late_events_take_theirs_all_the_same(size: int) -> None:
    sessions = [session(name, recorded(1)) for name in ("victim", "thief")]
    for one in sessions:
        half = len(one) // 2
        one[half] = msgspec.structs.replace(one[half], end=SessionEnd(reason="completed"))
        del one[half + 4 :]
    records = records_of(sessions)

    async def go(size: int) -> tuple[list[RiskEvent], int]:
        world = World(movements=True)
        await world.store.open()
        pipeline, owned = world.pipeline(), await world.owned()
        for first in range(0, len(records), size):
            await pipeline.process(owned, chunk(records[first : first + size]))
        return world.events(), len(owned.near)

    events, left = asyncio.run(go(size))
    assert left == 0
    assert [core(event) for event in events] == [core(event) for event in asyncio.run(go(1))[0]]
    assert events[-1].movements is not None
    assert events[-1].movements.compared > 3
    assert [event.degraded for event in events if event.degraded] == []


class Away:
    """A store whose buckets do not answer while `away`; all else does."""

    def __init__(self, world: World, *, hangs: bool) -> None:
        self._movements, self._hangs = world.store.movements, hangs
        self.away = True
        world.store.movements = self.movements  # type: ignore[method-assign, assignment]

    async def movements(self, *arguments: Any) -> Any:
        if self.away and self._hangs:
            await asyncio.sleep(3_600)
        if self.away:
            raise StoreUnavailable("away")
        return await self._movements(*arguments)


def test_without_an_answer_events_are_scored_and_say_so_and_it_is_asked_again() -> None:
    way = recorded(1)
    records = records_of([session("victim", way), session("thief", way)])
    world = World(movements=True)
    away = Away(world, hangs=False)
    half = len(records) * 3 // 4
    assert len(run(records[:half], 3, world)) == half
    events = world.events()
    assert events[-1].degraded == ["movements"]
    assert events[-1].scores.replay is not None
    assert events[-1].scores.replay.state == "degraded"
    away.away = False
    run(records[half:], 3, world)
    assert len(world.events()) == len(records)
    assert world.events()[-1].degraded == []
    found = world.events()[-1].movements
    assert found is not None
    assert found.compared > 0


def test_a_store_that_hangs_costs_its_time_limit_once_a_chunk_and_no_event(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.support.pipeline_world.ReplaySettings", ShortOfPatience)
    records = records_of([session("one", recorded(1, movements=3))])
    world = World(movements=True)
    Away(world, hangs=True)
    assert len(run(records, 4, world)) == len(records)
    assert "movements" in world.events()[-1].degraded


class ShortOfPatience:
    ttl_s, buckets, timeout_s = 60, 64, 0.01


def test_on_redis_the_same_is_found_and_a_session_keeps_little_there(redis_server: RedisServer) -> None:
    way = recorded(1)
    ways = [way, replayed(way, "slowed"), replayed(way, "jittered")]
    sessions = [session(f"s{number}", way) for number, way in enumerate(ways)]
    records = records_of([*sessions, session("again", way, account="account-of-s0")])
    world = World(movements=True)
    # A machine that is busy otherwise must not make it late.
    store = RedisStore(ConnectionOptions(url=redis_server.url, timeout_s=30.0), state_version="1.4")
    world.store = store  # type: ignore[assignment]

    async def go() -> None:
        await store.open()
        try:
            pipeline, owned = world.pipeline(), await world.owned()
            for first in range(0, len(records), 3):
                await pipeline.process(owned, chunk(records[first : first + 3]))
        finally:
            await store.close()

    asyncio.run(go())
    assert [core(event) for event in world.events()] == [core(event) for event in run(records)]
    for name, raw in (("s0", 0.0), ("s1", 1.0), ("s2", 1.0)):
        replay = last_of(world.events(), name).scores.replay
        assert replay is not None
        assert replay.raw == raw
    with redis_server.client() as client:
        keys = list(client.scan_iter("*:m1:e*"))
        assert keys
        used = sum(client.memory_usage(key, samples=0) for key in keys)
        assert all(0 < client.pttl(key) <= 86_400_000 for key in keys)
    assert used < 16_000 * len(sessions)
