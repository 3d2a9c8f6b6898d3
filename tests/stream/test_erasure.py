"""Erasure in the pipeline, in memory: wherever chunks are cut, what is forgotten is gone, and nothing else changes."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from features.session import Meta, decode
from schemas.envelope import encode
from schemas.erasure import Erasure
from schemas.risk import RiskEvent
from schemas.telemetry import Network, Telemetry
from stream.counters import CounterPlan
from stream.state import CounterRead, packing
from stream.state.counters import member_hash
from stream.state.packing import pack_read
from tests.support.oracle import Oracle
from tests.support.pipeline_world import (
    REFS,
    START_MS,
    TOPIC,
    FakeChunk,
    FakeRecord,
    World,
    chunk,
    engine,
    processed,
    simulated,
)

COUNT = 90


def erasure(session_id: str, tenant: str, number: int = 0) -> Erasure:
    return Erasure(event_id=f"era-{number}", session_id=session_id, tenant=tenant, observed_at=START_MS)


def log_of(messages: Sequence[Telemetry | Erasure]) -> list[FakeRecord]:
    return [FakeRecord(i, encode(m), m.session_id.encode(), START_MS + 130 * i) for i, m in enumerate(messages)]


def with_erasures(events: list[Telemetry], at: Sequence[int], refused: Sequence[int] = ()) -> list[FakeRecord]:
    """The events, and behind some of them the erasure of their session; those in `refused` by another tenant."""
    messages: list[Telemetry | Erasure] = []
    for number, event in enumerate(events):
        messages.append(event)
        if number in at:
            tenant = "somebody-else" if number in refused else event.tenant
            messages.append(erasure(event.session_id, tenant, number))
    return log_of(messages)


async def run(
    world: World, records: Sequence[FakeRecord], cut_at: Sequence[int], *, sessions: int = 1_000, refresh_ms: int = 0
) -> World:
    await world.store.open()
    pipeline, owned = world.pipeline(sessions=sessions), await world.owned()
    pipeline._counters_refresh_ms = refresh_ms
    for first, end in itertools.pairwise([0, *cut_at, len(records)]):
        held = FakeChunk(list(records[first:end]))
        await pipeline.process(owned, held)  # type: ignore[arg-type]
        assert held.ended == ["done"]
    return world


def test_an_erased_sessions_id_is_not_kept_to_be_hashed_sooner() -> None:
    events = simulated(6, seed=3)
    records = with_erasures(events, [5])
    read = CounterRead("account", "A", START_MS, (("sessions", events[5].session_id),))
    packed = pack_read(read)
    asyncio.run(run(World(), records[:-1], []))
    assert member_hash.cache_info().currsize > 0
    assert packing._pack_asked.cache_info().currsize > 0
    asyncio.run(run(World(), records, []))
    assert member_hash.cache_info().currsize == 0
    assert packing._pack_asked.cache_info().currsize == 0
    assert pack_read(read) == packed


def core(event: RiskEvent) -> RiskEvent:
    return msgspec.structs.replace(event, scored_at=0, latency_ms={}, replayed=False)


def stored(world: World, records: Sequence[FakeRecord]) -> dict[str, bytes | None]:
    """What the store holds of every session of the log."""
    session_ids = list(dict.fromkeys((record.name or b"").decode() for record in records))
    return asyncio.run(world.store.load(TOPIC, 0, session_ids, [])).blobs


def metric(world: World, name: str) -> float:
    return world.metrics.registry.get_sample_value("tellwire_filtered_total", {"filter": name}) or 0.0


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    seed=st.integers(0, 1_000),
    at=st.sets(st.integers(0, COUNT - 1), min_size=1, max_size=12),
    refused=st.sets(st.integers(0, COUNT - 1), max_size=40),
    cuts=st.lists(st.integers(1, COUNT - 1), max_size=8, unique=True).map(sorted),
    sessions=st.sampled_from([0, 3, 1_000]),
    refresh_ms=st.sampled_from([0, 3_600_000]),
)
def test_it_does_not_matter_where_a_chunk_begins(
    seed: int, at: set[int], refused: set[int], cuts: list[int], sessions: int, refresh_ms: int
) -> None:
    records = with_erasures(simulated(COUNT, seed), sorted(at), sorted(refused))
    one_by_one = asyncio.run(run(World(), records, range(1, len(records)), refresh_ms=refresh_ms))
    cut = asyncio.run(run(World(), records, cuts, sessions=sessions, refresh_ms=refresh_ms))
    assert [core(event) for event in cut.events()] == [core(event) for event in one_by_one.events()]
    assert stored(cut, records) == stored(one_by_one, records)
    assert metric(cut, "erasure") == len(at - refused)
    letters = [record for record in cut.log if record.topic == "risk.deadletter"]
    assert len(letters) == len(at & refused)
    assert {dict(letter.headers or [])["dlq_reason"] for letter in letters} <= {b"tenant_mismatch"}


def test_every_event_and_the_final_state_equal_the_twins() -> None:
    events = simulated(300, 11)
    records = with_erasures(events, [40, 41, 90, 160, 299])
    world = asyncio.run(run(World(), records, range(37, len(records), 37)))
    oracle, answers = Oracle(engine(), REFS), iter(world.events())
    for record in records:
        if record.content is not None and b"capture.erasure" in record.content:
            assert oracle.evaluate(record.content, record.append_ms, {}, []) is None
            continue
        event = next(answers)
        again = oracle.evaluate(record.content or b"", record.append_ms, event.velocity, event.degraded)
        assert again is not None
        assert (again.scores, again.decision, again.reasons) == (event.scores, event.decision, event.reasons)
    assert next(answers, None) is None
    held = {session_id for session_id, blob in stored(world, records).items() if blob is not None}
    assert held == set(oracle.sessions)
    assert events[299].session_id not in held, "erased by the last record, and nothing came behind it"


def test_what_comes_behind_an_erasure_begins_anew_and_says_so() -> None:
    everything = simulated(400, 3)
    busiest, _ = Counter(event.session_id for event in everything).most_common(1)[0]
    events = [event for event in everything if event.session_id == busiest][:8]
    records = with_erasures(events, [3])
    for cut_at in ([], [4], [5], range(1, len(records))):
        world = asyncio.run(run(World(), records, list(cut_at)))
        found = world.events()
        assert [event.sequence for event in found] == [1, 2, 3, 4, 1, 2, 3, 4]
        assert [event.state_cold for event in found] == [False] * 4 + [True] * 4
        assert found[4].evaluation_status == "new"


def test_another_tenants_erasure_changes_nothing_and_is_a_dead_letter() -> None:
    events = simulated(60, 4)
    refused = with_erasures(events, [20, 40], [20, 40])
    world = asyncio.run(run(World(), refused, [33]))
    plain = asyncio.run(run(World(), [r for r in refused if b"capture.erasure" not in (r.content or b"")], [33]))
    letters = [record for record in world.log if record.topic == "risk.deadletter"]
    assert [dict(letter.headers or [])["dlq_reason"] for letter in letters] == [b"tenant_mismatch"] * 2
    assert [(e.source.offset, e.scores) for e in world.events()] == [
        (e.source.offset, e.scores) for e in plain.events()
    ]
    assert stored(world, refused) == stored(plain, refused)


def test_a_repeat_of_what_was_forgotten_is_no_repeat() -> None:
    events = simulated(1, 3)
    records = log_of([events[0], events[0], erasure(events[0].session_id, events[0].tenant), events[0], events[0]])
    world = asyncio.run(run(World(), records, []))
    assert [event.source.offset for event in world.events()] == [0, 3]
    assert (metric(world, "duplicate"), metric(world, "erasure")) == (2, 1)


def test_the_cache_forgets_with_the_store() -> None:
    events = simulated(30, 5)
    victim = events[-1].session_id

    async def process() -> None:
        world = World()
        await world.store.open()
        pipeline, owned = world.pipeline(), await world.owned()
        await pipeline.process(owned, chunk(log_of(events)))
        slot, _ = owned.sessions.get(victim)
        held = owned.sessions.rows
        await pipeline.process(owned, chunk(log_of([*events, erasure(victim, events[-1].tenant)])[-1:]))
        assert victim not in owned.sessions
        assert not held[slot].any(), "its numbers are overwritten, not only let go"

    asyncio.run(process())


def test_an_erasure_of_nobody_is_done_and_leaves_nothing() -> None:
    records = log_of([erasure("never-seen", "shop")])
    world = asyncio.run(run(World(), records, []))
    assert world.log == []
    assert stored(world, records) == {"never-seen": None}
    assert asyncio.run(world.store.watermarks(TOPIC, [0]))[0] == ("topic-id", 0)


def test_a_replay_into_an_empty_store_removes_again_and_publishes_nothing() -> None:
    records = with_erasures(simulated(200, 8), [50, 120, 199])
    before = asyncio.run(run(World(), records, range(23, len(records), 23)))
    after = asyncio.run(processed(records, 31, publish_from=len(records)))
    assert after.log == []
    kept, kept_before = stored(after, records), stored(before, records)
    assert {sid for sid, blob in kept.items() if blob is None} == {sid for sid, b in kept_before.items() if b is None}
    assert sum(blob is None for blob in kept.values()) >= 1
    assert kept == kept_before


def test_a_crash_between_publish_and_write_forgets_when_it_is_done_again() -> None:
    records = with_erasures(simulated(60, 9), [59])
    victim = (records[-1].name or b"").decode()

    async def process() -> World:
        world = await run(World(), records[:40], [])
        commit = world.store.commit

        async def dies(*_: Any) -> None:
            raise asyncio.CancelledError

        world.store.commit = dies  # type: ignore[method-assign,assignment]
        owned, held = await world.owned(), FakeChunk(list(records[40:]))
        with pytest.raises(asyncio.CancelledError):
            await world.pipeline().process(owned, held)  # type: ignore[arg-type]
        assert victim not in owned.sessions
        assert len(world.events()) == 60, "they were published before it died"
        world.store.commit = commit  # type: ignore[method-assign]
        world.log.clear()
        return await run(world, records[40:], [])

    world = asyncio.run(process())
    assert stored(world, records)[victim] is None
    assert len(world.events()) == 20


def test_the_plan_asks_for_both_lives_of_a_session() -> None:
    """What an erasure ends is not what the next event is counted with; both are asked for, for it may be refused."""
    seen = msgspec.structs.replace(simulated(1, 1)[0], account_ref="a1", network=Network(ip_ref="i1"))
    later = msgspec.structs.replace(seen, account_ref="a2", network=Network(ip_ref="i2"), sequence=1)
    meta = Meta()
    meta.observe(seen, START_MS)
    meta.counters_as_of_ms = START_MS
    plan = CounterPlan(refresh_ms=60_000)
    plan.erase(seen.session_id, meta)
    plan.add(later, START_MS + 1, meta)
    asked = {(read.entity, read.ref): set(read.members) for read in plan.reads()}
    assert {("account", "a1"), ("account", "a2"), ("ip", "i2")} <= asked.keys()
    assert ("ips", "i2") in asked["account", "a1"]
    assert ("ips", "i2") in asked["account", "a2"]


def test_no_state_of_an_erased_session_is_readable_under_its_key() -> None:
    events = simulated(40, 12)
    records = with_erasures(events, [39])
    world = asyncio.run(run(World(), records, [20]))
    for session_id, blob in stored(world, records).items():
        assert (blob is None) == (session_id == events[39].session_id)
        if blob is not None:
            assert decode(session_id, blob)[0].n_events > 0
