"""The pipeline and its store in trouble: waiting, degraded scores, others' values, holes; counters at bucket edges."""

from __future__ import annotations

import asyncio
import importlib.resources
import itertools
import logging
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from features.velocity import BUCKET_MS, Link, bucket_of
from models.errors import PolicyError
from models.policy import load_policy, parse_policy
from schemas.base import FLOWS
from schemas.risk import RiskEvent
from schemas.telemetry import Telemetry
from stream.counters import by_bucket
from stream.partition import MAX_LINKS_LEFT
from stream.pipeline import Unwritten
from stream.state import (
    CounterRead,
    Loaded,
    MemoryStore,
    StoreFull,
    StoreMisconfigured,
    StoreUnavailable,
    Watermark,
)
from tests.support.pipeline_world import (
    START_MS,
    TOPIC,
    FakeChunk,
    FakeRecord,
    World,
    chunk,
    records_of,
    simulated,
)

RANK = {"allow": 0, "step_up": 1, "block": 2}


def spread(events: Sequence[Telemetry], gap_ms: int) -> list[FakeRecord]:
    """Records that were appended `gap_ms` apart."""
    return [
        FakeRecord(r.position, r.content, r.name, START_MS + gap_ms * i) for i, r in enumerate(records_of(list(events)))
    ]


def core(event: RiskEvent) -> RiskEvent:
    return msgspec.structs.replace(event, scored_at=0, latency_ms={}, replayed=False)


async def process(
    world: World, records: Sequence[FakeRecord], cut_at: Sequence[int] = (), sessions: int = 1_000
) -> None:
    pipeline, owned = world.pipeline(sessions=sessions), await world.owned()
    edges = [0, *cut_at, len(records)]
    for first, last in itertools.pairwise(edges):
        await pipeline.process(owned, chunk(records[first:last]))


class TestBucketEdges:
    @settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
    @given(
        seed=st.integers(0, 100),
        cut_at=st.lists(st.integers(1, 99), max_size=6, unique=True).map(sorted),
        gap_ms=st.sampled_from([3_000, 11_000]),
    )
    def test_scores_do_not_depend_on_where_a_chunk_begins(self, seed: int, cut_at: list[int], gap_ms: int) -> None:
        """Windows move on at an edge of the buckets: an event behind it may not be scored with the window before it."""
        # One account for all, so that its counters move with every session.
        events = [msgspec.structs.replace(event, account_ref="a") for event in simulated(100, seed)]
        records = spread(events, gap_ms)
        assert len({bucket_of(record.append_ms) for record in records}) >= 2

        async def run(cuts: Sequence[int]) -> list[RiskEvent]:
            world = World()
            await process(world, records, cuts)
            return world.events()

        one_by_one = asyncio.run(run(range(1, 100)))
        chunked = asyncio.run(run(cut_at))
        assert [core(event) for event in chunked] == [core(event) for event in one_by_one]

    def test_chunks_within_a_bucket_are_not_cut(self) -> None:
        first = bucket_of(START_MS)
        records: list[Any] = [FakeRecord(i, b"", b"", first + i * BUCKET_MS // 4) for i in range(9)]
        parts = by_bucket(records)
        assert [[record.offset() for record in part] for part in parts] == [[0, 1, 2, 3], [4, 5, 6, 7], [8]]
        assert by_bucket(records[4:8])[0] is not None
        assert len(by_bucket(records[4:8])) == 1


class TestAnotherSessionsValue:
    async def test_it_is_detected_and_never_used(self) -> None:
        """Two stored values change places: both sessions begin anew and say so, and nothing of the other is in them."""
        events = simulated(160, 3)
        records = records_of(events)
        world = World()
        await process(world, records[:80], sessions=0)
        before = world.events()
        later = {event.session_id for event in events[80:]}
        one, two = [each for each in dict.fromkeys(event.session_id for event in before) if each in later][:2]
        loaded = await world.store.load(TOPIC, 0, [one, two], [])
        watermark = loaded.watermark
        assert watermark is not None
        swapped = {one: loaded.blobs[two], two: loaded.blobs[one]}
        assert None not in swapped.values()
        await world.store.commit(TOPIC, 0, watermark, watermark._replace(offset=79), swapped, [], 86_400_000)
        await process(world, records[80:], sessions=0)
        value = world.metrics.registry.get_sample_value
        assert value("tellwire_state_mismatches_total") == 2
        after = world.events()[len(before) :]
        own = {event.session_id: event.account_ref for event in before}
        for event in after:
            assert event.state_cold == (event.session_id in {one, two})
            if event.session_id in own:
                assert event.account_ref in {own[event.session_id], None}
        counted = [event.sequence for event in after if event.session_id == one]
        assert counted == list(range(1, len(counted) + 1)), "it began anew"


class CountersAway(MemoryStore):
    """Sessions are there, entity counters are not: as when a part of a cluster is down."""

    async def load(
        self, topic: str, partition: int, session_ids: Sequence[str], reads: Sequence[CounterRead]
    ) -> Loaded:
        loaded = await super().load(topic, partition, session_ids, [])
        return msgspec.structs.replace(loaded, counters=[None] * len(reads))


class TestDegraded:
    @pytest.mark.parametrize("flow", FLOWS)
    async def test_the_shipped_policy_decides_in_each_flow_and_recovery_never_fails_to_allow(self, flow: str) -> None:
        policy = load_policy().policy.flows[flow]  # type: ignore[index]
        people = [msgspec.structs.replace(event, flow=flow) for event in simulated(80, 5)]
        world = World()
        world.store = CountersAway()
        await process(world, records_of(people))
        events = world.events()
        assert len(events) == 80
        with_refs = [event for event in events if event.account_ref or event.device_ref]
        assert with_refs
        for event in with_refs:
            assert event.degraded == ["counters"]
            assert event.velocity == {}
            assert RANK[event.decision.action] >= RANK[policy.on_degraded]
            if flow == "recovery":
                assert event.decision.action != "allow"
        assert world.metrics.registry.get_sample_value(
            "tellwire_degraded_events_total", {"dependency": "counters"}
        ) == sum(bool(event.degraded) for event in events)
        raised = [event for event in with_refs if event.decision.policy.rule == "degraded"]
        assert bool(raised) == (policy.on_degraded != "allow")

    def test_a_policy_that_lets_recovery_fail_open_is_no_policy(self) -> None:
        text = importlib.resources.files("models").joinpath("policies", "default.toml").read_text()
        before, recovery, after = text.partition("[flows.recovery]")
        opened = after.replace('on_degraded = "step_up"', 'on_degraded = "allow"', 1)
        with pytest.raises(PolicyError, match="never fails open"):
            parse_policy((before + recovery + opened).encode(), "opened")


class LinksLeft(MemoryStore):
    """Gives all links back while `is_away`."""

    is_away = True
    given = 0
    turn = 1

    @property
    def links_turn(self) -> int:
        return self.turn

    async def commit(  # noqa: PLR0917 - the protocol's
        self,
        topic: str,
        partition: int,
        expected: Watermark | None,
        new: Watermark,
        blobs: Mapping[str, bytes | None],
        links: Sequence[Link],
        ttl_ms: int,
    ) -> Sequence[Link]:
        self.given += len(links)
        await super().commit(topic, partition, expected, new, blobs, () if self.is_away else links, ttl_ms)
        return links if self.is_away else ()


class TestLinksThatAreLeft:
    async def test_they_go_with_a_chunk_once_they_may_be_taken(self) -> None:
        records = records_of(simulated(60, 8))
        world, plain = World(), World()
        store = world.store = LinksLeft()
        pipeline, owned = world.pipeline(), await world.owned()
        await pipeline.process(owned, chunk(records[:20]))
        await pipeline.process(owned, chunk(records[20:40]))
        assert store.given == len(owned.links_left) > 0, "none was tried twice in vain"
        store.turn += 1
        await pipeline.process(owned, chunk(records[40:50]))
        assert store.given > len(owned.links_left), "it was another turn, and in vain"
        assert store.stats.links_written_total == 0
        store.is_away = False
        store.turn += 1
        await pipeline.process(owned, chunk(records[50:]))
        assert owned.links_left == []
        await process(plain, records, [20, 40, 50])
        assert store.stats.links_written_total == plain.store.stats.links_written_total > 0

    async def test_they_are_bounded_and_what_is_given_up_is_counted(self) -> None:
        world = World()
        owned = await world.owned()
        links = [Link("account", str(number), "sessions", "s", START_MS) for number in range(MAX_LINKS_LEFT + 7)]
        assert owned.keep_left(links, 1) == 7
        assert owned.links_left == links[7:]
        assert owned.left_links(1) == []
        assert owned.keep_left(links[:2], 1) == 2
        assert owned.links_left == [*links[9:], *links[:2]]
        assert owned.left_links(2) == owned.links_left
        assert owned.keep_left((), 2) == 0
        assert owned.links_left == []


class TestWaiting:
    @pytest.mark.parametrize(
        ("error", "reason"),
        [(StoreUnavailable, "unavailable"), (StoreFull, "full"), (StoreMisconfigured, "misconfigured")],
    )
    async def test_it_shows_while_it_lasts_and_is_said_once(
        self, error: type[Exception], reason: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        world = World()
        commit, seen = world.store.commit, []
        value = world.metrics.registry.get_sample_value

        async def refuses(*args: Any) -> Any:
            seen.append(value("tellwire_store_waiting_partitions", {"reason": reason}))
            if len(seen) <= 4:
                raise error("no")
            return await commit(*args)

        world.store.commit = refuses  # type: ignore[method-assign,assignment]
        held = FakeChunk(list(records_of(simulated(5, 6))))
        with caplog.at_level(logging.WARNING):
            await world.pipeline().process(await world.owned(), held)  # type: ignore[arg-type]
        assert held.ended == ["done"]
        assert seen == [None, 1.0, 1.0, 1.0, 1.0]
        assert value("tellwire_store_waiting_partitions", {"reason": reason}) == 0
        assert value("tellwire_store_retries_total", {"reason": reason}) == 4
        told = [record for record in caplog.records if "does not take this chunk" in record.getMessage()]
        assert len(told) == 1

    async def test_it_ends_with_the_partition(self) -> None:
        world = World()

        async def refuses(*_: Any) -> Any:
            held.current = False
            raise StoreUnavailable("away")

        world.store.commit = refuses  # type: ignore[method-assign,assignment]
        held = FakeChunk(list(records_of(simulated(5, 6))))
        await world.pipeline().process(await world.owned(), held)  # type: ignore[arg-type]
        assert held.ended == ["not current"]
        value = world.metrics.registry.get_sample_value
        assert value("tellwire_store_waiting_partitions", {"reason": "unavailable"}) == 0


class TestHoleInTheLog:
    async def test_exactly_the_sessions_that_had_events_in_it_are_cold(self) -> None:
        """The store went back to before records that the log has no more."""
        events = simulated(300, 12)
        records = records_of(events)
        low, high = 100, 180
        world = World()
        await process(world, records[:low])
        pipeline, owned = world.pipeline(), await world.owned()
        owned.hole_to = high - 1
        for first, last in itertools.pairwise((high, high + 40, high + 41, len(records))):
            await pipeline.process(owned, chunk(records[first:last]))
        torn = {event.session_id for event in events[low:high]}
        behind = world.events()[low:]
        assert {event.session_id for event in behind} & torn
        assert {event.session_id for event in behind} - torn
        for event in behind:
            assert event.state_cold == (event.session_id in torn), event.session_id

    async def test_without_a_hole_a_gap_of_the_producers_is_none(self) -> None:
        events = simulated(120, 12)
        records = [r for i, r in enumerate(records_of(events)) if not 40 <= i < 60]
        began = {event.session_id for event in events[:40]} | {e.session_id for e in events if e.sequence == 0}
        world = World()
        await process(world, records)
        for event in world.events():
            if event.session_id in began and event.session_id in {e.session_id for e in events[:40]}:
                assert not event.state_cold


def test_what_fails_unforeseen_behind_the_publish_is_read_again_and_no_dead_letter() -> None:
    class Odd(MemoryStore):
        is_odd = True

        async def commit(self, *arguments: Any) -> Any:
            if self.is_odd:
                raise RuntimeError("nobody foresaw it")
            return await super().commit(*arguments)

    records = records_of(simulated(5, 3))

    async def run() -> World:
        world = World()
        world.store = store = Odd()
        owned, pipeline = await world.owned(), world.pipeline()
        for _ in range(2):
            with pytest.raises(Unwritten, match="RuntimeError"):
                await pipeline.process(owned, chunk(records))
        store.is_odd = False
        await pipeline.process(owned, chunk(records))
        return world

    world = asyncio.run(run())
    assert not [record for record in world.log if record.topic == "risk.deadletter"]
    assert [(event.source.offset, event.replayed) for event in world.events()] == [
        (offset, turn > 0) for turn in range(3) for offset in range(5)
    ]
