"""What every store promises: the same tests on `MemoryStore`, `RedisStore` and `RedisStore` on a cluster."""

from __future__ import annotations

import asyncio

import pytest

from features.velocity import Count, Link
from stream.state import CounterRead, StateStore, Watermark, WatermarkConflict
from stream.state.overlay import Overlay
from tests.stream.state.conftest import StoreMaker
from tests.support.counts import count_in

TOPIC = "capture.telemetry"
NOON = 1_790_000_100_000 // 300_000 * 300_000
HOUR = 3_600_000
TTL = 60_000
ODD_IDS = ("a", "}:{x}:*", "line\r\nGET x", "e\u0301 \u202e \U0001f600", "p1}:w", "\x00", "x" * 128)


def at(offset: int, topic_id: str = "dG9waWM+/w==") -> Watermark:
    return Watermark(topic_id, offset)


def link(member: str, what: str = "sessions", when: int = NOON, ref: str = "A", entity: str = "account") -> Link:
    return Link(entity, ref, what, member, when)  # type: ignore[arg-type]


async def counts(store: StateStore, what: str = "sessions", when: int = NOON, ref: str = "A") -> Count:
    loaded = await store.load(TOPIC, 0, [], [CounterRead("account", ref, when)])
    found = loaded.counters[0]
    assert found is not None
    return found.counts[what]  # type: ignore[index]


class TestSessions:
    async def test_it_is_a_store(self, make_store: StoreMaker) -> None:
        store = await make_store()
        assert isinstance(store, StateStore)
        assert 0 <= await store.ping() < 5

    async def test_what_is_written_is_read_whatever_the_id_holds(self, make_store: StoreMaker) -> None:
        store = await make_store()
        blobs = {session_id: bytes([number]) * (1 + number * 97) for number, session_id in enumerate(ODD_IDS)}
        await store.commit(TOPIC, 3, None, at(10), blobs, [], TTL)
        loaded = await store.load(TOPIC, 3, [*ODD_IDS, "unknown"], [])
        assert loaded.blobs == {**blobs, "unknown": None}
        assert loaded.watermark == at(10)
        assert loaded.counters == []

    async def test_partitions_and_topics_share_nothing(self, make_store: StoreMaker) -> None:
        store = await make_store()
        await store.commit(TOPIC, 1, None, at(1), {"s": b"one"}, [], TTL)
        await store.commit(TOPIC, 2, None, at(2), {"s": b"two"}, [], TTL)
        await store.commit("other", 1, None, at(3), {"s": b"three"}, [], TTL)
        assert (await store.load(TOPIC, 1, ["s"], [])).blobs == {"s": b"one"}
        assert (await store.load(TOPIC, 2, ["s"], [])).blobs == {"s": b"two"}
        assert (await store.load("other", 1, ["s"], [])).blobs == {"s": b"three"}
        assert await store.watermarks(TOPIC, [0, 1, 2]) == {0: None, 1: at(1), 2: at(2)}
        assert await store.watermarks(TOPIC, []) == {}

    async def test_a_session_is_forgotten_after_its_time_and_the_watermark_is_not(self, make_store: StoreMaker) -> None:
        store = await make_store()
        await store.commit(TOPIC, 0, None, at(1), {"s": b"x", "t": b"y"}, [], 30)
        await store.commit(TOPIC, 0, at(1), at(2), {"t": b"z"}, [], TTL)
        await asyncio.sleep(0.06)
        loaded = await store.load(TOPIC, 0, ["s", "t"], [])
        assert loaded.blobs == {"s": None, "t": b"z"}
        assert loaded.watermark == at(2)

    async def test_a_chunk_of_256_sessions(self, make_store: StoreMaker) -> None:
        store = await make_store()
        blobs = {f"s{number}": number.to_bytes(2, "big") * 500 for number in range(256)}
        await store.commit(TOPIC, 0, None, at(255), blobs, [], TTL)
        assert (await store.load(TOPIC, 0, list(blobs), [])).blobs == blobs


class TestRemoval:
    async def test_a_session_is_removed_with_the_watermark_and_its_neighbours_stay(
        self, make_store: StoreMaker
    ) -> None:
        store = await make_store()
        await store.commit(TOPIC, 0, None, at(1), {"s": b"one", "t": b"two"}, [link("s"), link("t")], TTL)
        await store.commit(TOPIC, 0, at(1), at(2), {"u": b"three", "s": None, "never there": None}, [], TTL)
        loaded = await store.load(TOPIC, 0, ["s", "t", "u", "never there"], [])
        assert loaded.blobs == {"s": None, "t": b"two", "u": b"three", "never there": None}
        assert loaded.watermark == at(2)
        assert await counts(store) == Count(2, 2, 2), "counters run out by themselves"

    async def test_the_same_id_in_another_partition_stays(self, make_store: StoreMaker) -> None:
        store = await make_store()
        for partition in (0, 1):
            await store.commit(TOPIC, partition, None, at(1), {"s": b"x"}, [], TTL)
        await store.commit(TOPIC, 0, at(1), at(2), {"s": None}, [], TTL)
        assert (await store.load(TOPIC, 1, ["s"], [])).blobs == {"s": b"x"}

    async def test_a_refused_commit_removes_nothing(self, make_store: StoreMaker) -> None:
        store, stale = await make_store(), await make_store()
        await store.commit(TOPIC, 0, None, at(5), {"s": b"x"}, [], TTL)
        with pytest.raises(WatermarkConflict):
            await stale.commit(TOPIC, 0, at(4), at(6), {"s": None}, [], TTL)
        assert (await store.load(TOPIC, 0, ["s"], [])).blobs == {"s": b"x"}

    async def test_what_was_removed_can_be_written_again(self, make_store: StoreMaker) -> None:
        store = await make_store()
        await store.commit(TOPIC, 0, None, at(1), {"s": b"x"}, [], TTL)
        await store.commit(TOPIC, 0, at(1), at(2), {"s": None}, [], TTL)
        await store.commit(TOPIC, 0, at(2), at(3), {"s": b"y"}, [], TTL)
        assert (await store.load(TOPIC, 0, ["s"], [])).blobs == {"s": b"y"}

    async def test_an_empty_value_is_refused(self, make_store: StoreMaker) -> None:
        store = await make_store()
        with pytest.raises(ValueError, match="None removes it"):
            await store.commit(TOPIC, 0, None, at(1), {"s": b""}, [], TTL)
        assert (await store.load(TOPIC, 0, [], [])).watermark is None


class TestWatermark:
    @pytest.mark.parametrize("expected", [None, at(4), at(6), at(5, "other"), at(55)])
    async def test_a_write_with_another_expectation_changes_nothing(
        self, make_store: StoreMaker, expected: Watermark | None
    ) -> None:
        owner, stale = await make_store(), await make_store()
        await owner.commit(TOPIC, 0, None, at(5), {"s": b"new"}, [], TTL)
        new = at(60, expected.topic_id if expected else "x")
        with pytest.raises(WatermarkConflict) as caught:
            await stale.commit(TOPIC, 0, expected, new, {"s": b"stale", "t": b"stale"}, [], TTL)
        assert (caught.value.expected, caught.value.found) == (expected, at(5))
        loaded = await owner.load(TOPIC, 0, ["s", "t"], [])
        assert loaded.blobs == {"s": b"new", "t": None}
        assert loaded.watermark == at(5)
        assert stale.stats.conflicts_total == 1

    async def test_an_expected_watermark_that_is_lost_is_a_conflict(self, make_store: StoreMaker) -> None:
        store = await make_store()
        with pytest.raises(WatermarkConflict) as caught:
            await store.commit(TOPIC, 0, at(7), at(8), {"s": b"x"}, [], TTL)
        assert caught.value.found is None
        assert (await store.load(TOPIC, 0, ["s"], [])).blobs == {"s": None}

    async def test_a_prefix_of_the_offset_is_not_the_offset(self, make_store: StoreMaker) -> None:
        store = await make_store()
        await store.commit(TOPIC, 0, None, at(123), {}, [], TTL)
        with pytest.raises(WatermarkConflict):
            await store.commit(TOPIC, 0, at(12), at(124), {}, [], TTL)

    async def test_two_writers_of_the_same_step_cannot_both_win(self, make_store: StoreMaker) -> None:
        one, two = await make_store(), await make_store()
        await one.commit(TOPIC, 0, None, at(5), {"s": b"one"}, [], TTL)
        with pytest.raises(WatermarkConflict):
            await two.commit(TOPIC, 0, None, at(5), {"s": b"two"}, [], TTL)
        with pytest.raises(WatermarkConflict):
            await one.commit(TOPIC, 0, None, at(5), {"s": b"again"}, [], TTL)
        assert (await two.load(TOPIC, 0, ["s"], [])).blobs == {"s": b"one"}

    @pytest.mark.parametrize(
        ("expected", "new", "ttl_ms"),
        [(at(5), at(4), TTL), (None, at(-1), TTL), (None, at(1), 0), (None, at(1, ""), TTL), (None, at(1, "a|b"), TTL)],
    )
    async def test_impossible_commits_are_refused(
        self, make_store: StoreMaker, expected: Watermark | None, new: Watermark, ttl_ms: int
    ) -> None:
        store = await make_store()
        with pytest.raises(ValueError, match=r"watermark|ttl_ms"):
            await store.commit(TOPIC, 0, expected, new, {}, [], ttl_ms)


class TestCounters:
    async def test_an_unknown_entity_has_zeros(self, make_store: StoreMaker) -> None:
        store = await make_store()
        loaded = await store.load(TOPIC, 0, [], [CounterRead("ip", "nobody", NOON, (("sessions", "s"),))])
        found = loaded.counters[0]
        assert found is not None
        assert set(found.counts) == {"sessions", "accounts", "devices", "countries"}
        assert set(found.counts.values()) == {Count(0, 0, 0)}
        assert found.last_seen_ms == {}

    async def test_windows_slide_and_a_member_counts_once(self, make_store: StoreMaker) -> None:
        store = await make_store()
        links = [link("now"), link("hour", when=NOON - HOUR), link("day", when=NOON - 24 * HOUR), link("now")]
        await store.commit(TOPIC, 0, None, at(1), {}, links, TTL)
        assert await counts(store) == Count(1, 2, 3)
        assert await counts(store, when=NOON + 299_999) == Count(1, 2, 3)
        assert await counts(store, when=NOON + 300_000) == Count(1, 1, 2)
        assert await counts(store, when=NOON + 600_000) == Count(0, 1, 2)
        assert await counts(store, when=NOON + 25 * HOUR) == Count(0, 0, 0)
        assert await counts(store, when=NOON - 300_000) == Count(0, 1, 2)
        assert await counts(store, "devices") == Count(0, 0, 0)
        assert await counts(store, ref="B") == Count(0, 0, 0)

    async def test_the_same_links_again_change_nothing(self, make_store: StoreMaker) -> None:
        store = await make_store()
        links = [link(f"m{number}", when=NOON - number * 300_000) for number in range(9)]
        await store.commit(TOPIC, 0, None, at(1), {}, links, TTL)
        before = [await counts(store, when=NOON + shift * 300_000) for shift in (0, 1, 12, 280)]
        await store.commit(TOPIC, 0, at(1), at(2), {}, list(reversed(links)), TTL)
        assert [await counts(store, when=NOON + shift * 300_000) for shift in (0, 1, 12, 280)] == before

    async def test_a_link_seen_later_moves_forward_and_never_back(self, make_store: StoreMaker) -> None:
        store = await make_store()
        await store.commit(TOPIC, 0, None, at(1), {}, [link("m", when=NOON - HOUR)], TTL)
        assert (await counts(store)).m5 == 0
        await store.commit(TOPIC, 0, at(1), at(2), {}, [link("m")], TTL)
        assert await counts(store) == Count(1, 1, 1)
        await store.commit(TOPIC, 0, at(2), at(3), {}, [link("m", when=NOON - HOUR)], TTL)
        assert await counts(store) == Count(1, 1, 1)

    async def test_a_link_of_a_large_set_moves_forward_and_never_back(self, make_store: StoreMaker) -> None:
        store = await make_store()
        first = [link(f"m{number}", when=NOON - HOUR) for number in range(4)]
        await store.commit(TOPIC, 0, None, at(1), {}, first, TTL)
        assert await counts(store) == Count(0, 4, 4)
        await store.commit(TOPIC, 0, at(1), at(2), {}, [link("m0"), link("m1")], TTL)
        assert await counts(store) == Count(2, 4, 4)
        await store.commit(TOPIC, 0, at(2), at(3), {}, first, TTL)
        assert await counts(store) == Count(2, 4, 4)

    async def test_the_newest_members_of_a_large_set_are_kept(self, make_store: StoreMaker) -> None:
        """40 members at once, then 3 new ones an hour and a half later: those are exact."""
        store = await make_store()
        old = [link(f"m{number}", when=NOON - 3 * HOUR // 2) for number in range(40)]
        await store.commit(TOPIC, 0, None, at(1), {}, old, TTL)
        await store.commit(TOPIC, 0, at(1), at(2), {}, [link("a"), link("b"), link("c")], TTL)
        found = await counts(store)
        assert (found.m5, found.h1) == (3, 3)
        assert found.h24 > 10

    async def test_asked_members_are_found_in_small_and_in_large_sets(self, make_store: StoreMaker) -> None:
        store = await make_store()
        await store.commit(TOPIC, 0, None, at(1), {}, [link("a"), link("b", when=NOON - HOUR)], TTL)
        asked = (("sessions", "a"), ("sessions", "b"), ("sessions", "c"), ("devices", "a"))
        for _ in range(2):
            loaded = await store.load(TOPIC, 0, [], [CounterRead("account", "A", NOON + 1, asked)])  # type: ignore[arg-type]
            found = loaded.counters[0]
            assert found is not None
            assert found.last_seen_ms == {("sessions", "a"): NOON, ("sessions", "b"): NOON - HOUR}
            await store.commit(TOPIC, 0, loaded.watermark, at(9), {}, [link("d"), link("e")], TTL)  # spills at 3

    async def test_equal_reads_are_joined_with_all_their_members(self, make_store: StoreMaker) -> None:
        store = await make_store()
        await store.commit(TOPIC, 0, None, at(1), {}, [link("a"), link("b")], TTL)
        reads = [
            CounterRead("account", "A", NOON, (("sessions", "a"),)),
            CounterRead("account", "A", NOON + 5, (("sessions", "b"),)),
            CounterRead("account", "A", NOON + 300_000),
        ]
        first, second, third = (await store.load(TOPIC, 0, [], reads)).counters
        assert first is not None
        assert second is not None
        assert third is not None
        assert first.counts == second.counts == third.counts
        assert ("sessions", "a") in first.last_seen_ms
        assert ("sessions", "b") in second.last_seen_ms

    async def test_above_the_cap_a_count_says_that_it_is_approximate(self, make_store: StoreMaker) -> None:
        store = await make_store()
        await store.commit(TOPIC, 0, None, at(1), {}, [link(f"m{n}") for n in range(4)], TTL)
        assert await counts(store) == Count(4, 4, 4)
        await store.commit(TOPIC, 0, at(1), at(2), {}, [link(f"n{n}") for n in range(96)], TTL)
        count = await counts(store)
        assert count.approximate
        assert 20 < count.h24 < 500
        assert await counts(store, "devices") == Count(0, 0, 0)

    @pytest.mark.parametrize(
        "bad",
        [link("m", what="accounts"), link("m", entity="session"), link("m", when=-1), link("m", when=NOON * 1000)],
    )
    async def test_links_that_mean_nothing_are_refused_before_anything_is_written(
        self, make_store: StoreMaker, bad: Link
    ) -> None:
        store = await make_store()
        with pytest.raises(ValueError, match=r"counted|append time"):
            await store.commit(TOPIC, 0, None, at(1), {"s": b"x"}, [link("ok"), bad], TTL)
        assert (await store.load(TOPIC, 0, ["s"], [])).blobs == {"s": None}
        assert await counts(store) == Count(0, 0, 0)

    async def test_reads_that_mean_nothing_are_refused(self, make_store: StoreMaker) -> None:
        store = await make_store()
        for entity, members in (("session", ()), ("account", (("accounts", "a"),))):
            with pytest.raises(ValueError, match="counted"):
                await store.load(TOPIC, 0, [], [CounterRead(entity, "A", NOON, members)])  # type: ignore[arg-type]

    async def test_chunk_boundaries_do_not_show_in_overlaid_counts(self, make_store: StoreMaker) -> None:
        store = await make_store()
        await store.commit(TOPIC, 0, None, at(1), {}, [link("a", when=NOON - HOUR), link("b")], TTL)
        own = [link("a"), link("b"), link("c"), link("c")]
        read = CounterRead("account", "A", NOON, tuple((each.what, each.member) for each in own))
        loaded = await store.load(TOPIC, 0, [], [read])
        overlay = Overlay([read], loaded.counters)
        together = []
        for each in own:
            overlay.add([each])
            together.append(count_in(overlay, "account", "A", "sessions"))
        one_by_one = []
        for offset, each in enumerate(own, 2):
            await store.commit(TOPIC, 0, at(offset - 1), at(offset), {}, [each], TTL)
            one_by_one.append(await counts(store))
        assert together == one_by_one == [Count(2, 2, 2), Count(2, 2, 2), Count(3, 3, 3), Count(3, 3, 3)]
