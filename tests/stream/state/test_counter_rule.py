"""The counters' rule against its plain twins: links kept whole, every order, every repetition, small caps and large."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from features.velocity import BUCKET_MS, WHATS, WINDOWS, Count, Entity, Link, What
from features.velocity import count as count_by_definition
from stream.state import ConnectionOptions, CounterRead, MemoryStore, RedisStore, StateStore, Watermark
from stream.state.counters import (
    MAX_LEVEL,
    RETAINED_BUCKETS,
    WINDOW_BUCKETS,
    count_plainly,
    member_hash,
    member_level,
)
from tests.support.redis import RedisServer

FIRST = 5_966_000
"""The oldest bucket of these tests."""
CORNERS = [0, 1, 12, 13, 288, 289, 300, 301, 310, 600]
"""Distances at which windows and retention begin and end."""
_names = itertools.count()


@pytest.fixture(scope="module")
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as loop:
        yield loop


def links_of(members: int, span: int) -> st.SearchStrategy[Link]:
    """Links of few sets, so that they become large and the same member comes again, later or earlier."""
    pairs: list[tuple[Entity, What]] = [
        ("account", "sessions"),
        ("account", "sessions"),
        ("account", "ips"),
        ("ip", "sessions"),
    ]
    buckets = st.one_of(st.sampled_from(CORNERS), st.integers(0, span))
    return st.builds(
        lambda pair, member, bucket, late: Link(
            pair[0], "E", pair[1], f"m{member}", (FIRST + bucket) * BUCKET_MS + late
        ),
        st.sampled_from(pairs),
        st.integers(0, members),
        buckets,
        st.integers(0, BUCKET_MS - 1),
    )


async def answer(
    store: StateStore, chunks: list[list[Link]], reads: list[CounterRead]
) -> list[tuple[dict[What, Count], dict[tuple[What, str], int]]]:
    await store.open()
    try:
        watermark = None
        for offset, links in enumerate(chunks):
            new = Watermark("t", offset)
            await store.commit("t", 0, watermark, new, {}, links, 60_000)
            watermark = new
        loaded = await store.load("t", 0, [], reads)
        return [(dict(found.counts), dict(found.last_seen_ms)) for found in loaded.counters if found is not None]
    finally:
        await store.close()


def last_seen(links: list[Link], entity: Entity, what: What) -> dict[str, int]:
    """The newest bucket of each member, from all links ever written."""
    last: dict[str, int] = {}
    for link in links:
        if (link.entity, link.ref, link.what) == (entity, "E", what):
            last[link.member] = max(last.get(link.member, 0), link.bucket_ms // BUCKET_MS)
    return last


def expected_counts(links: list[Link], read: CounterRead, cap: int) -> dict[What, Count]:
    """The rule, from all links ever written, with nothing forgotten."""
    counts: dict[What, Count] = {}
    for what in WHATS[read.entity]:
        last = [(member_hash(member), bucket) for member, bucket in last_seen(links, read.entity, what).items()]
        found = [count_plainly(last, read.as_of_ms // BUCKET_MS, window, cap) for window in WINDOW_BUCKETS]
        counts[what] = Count(found[0][0], found[1][0], found[2][0], any(sampled for _, sampled in found))
    return counts


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    links=st.one_of(st.lists(links_of(12, 620), max_size=80), st.lists(links_of(9, 310), min_size=25, max_size=50)),
    cuts=st.lists(st.integers(0, 80), max_size=4),
    since=st.lists(st.one_of(st.sampled_from(CORNERS), st.integers(-12, 320)), min_size=4, max_size=8),
    cap=st.integers(1, 5),
    data=st.data(),
)
def test_both_stores_give_the_rule_whatever_the_order(  # noqa: PLR0917 - drawn by hypothesis
    runner: asyncio.Runner,
    redis_server: RedisServer,
    links: list[Link],
    cuts: list[int],
    since: list[int],
    cap: int,
    data: st.DataObject,
) -> None:
    spill = data.draw(st.integers(1, cap), label="spill")
    stride = data.draw(st.integers(1, cap + 1 - spill), label="stride")
    newest = max((link.bucket_ms // BUCKET_MS for link in links), default=FIRST)
    again = data.draw(st.lists(st.sampled_from(links), max_size=20) if links else st.just([]), label="repeated")
    shuffled = data.draw(st.permutations(links + again), label="shuffled")
    asked = tuple((what, f"m{number}") for what in WHATS["account"] for number in range(0, 13, 3))
    reads = [CounterRead("account", "E", (newest + late) * BUCKET_MS, asked) for late in since]
    reads += [CounterRead("ip", "E", (newest + late) * BUCKET_MS + 1) for late in since]
    bounds = [0, *sorted(min(cut, len(shuffled)) for cut in cuts), len(shuffled)]
    chunks = [shuffled[start:end] for start, end in itertools.pairwise(bounds)]

    memory = runner.run(answer(MemoryStore(cap=cap), chunks, reads))
    options = ConnectionOptions(url=redis_server.url)
    store = RedisStore(options, state_version="1", prefix=f"rule{next(_names)}", cap=cap, spill=spill, stride=stride)
    redis = runner.run(answer(store, chunks, reads))
    for read, (in_memory, seen_in_memory), (in_redis, seen_in_redis) in zip(reads, memory, redis, strict=True):
        assert in_memory == expected_counts(links, read, cap)
        assert in_redis == in_memory
        for what, member in read.members:
            # A sample may not know a member, and an old one may be forgotten; what is said is right.
            last = last_seen(links, read.entity, what)
            bucket = last.get(member)
            told = {bucket and bucket * BUCKET_MS}
            may_forget_in_memory = bucket is not None and bucket < max(last.values()) - RETAINED_BUCKETS
            may_forget = may_forget_in_memory or len(last) > cap
            assert seen_in_memory.get((what, member)) in (told | {None} if may_forget_in_memory else told)
            assert seen_in_redis.get((what, member)) in (told | {None} if may_forget else told)


@settings(max_examples=60, deadline=None)
@given(links=st.lists(links_of(30, 288), max_size=80))
def test_below_the_cap_and_read_at_the_newest_link_a_count_is_the_definition(
    runner: asyncio.Runner, links: list[Link]
) -> None:
    as_of_ms = max((link.bucket_ms for link in links), default=0)
    by_bucket = [Link(x.entity, x.ref, x.what, x.member, x.bucket_ms // BUCKET_MS * BUCKET_MS) for x in links]
    reads = [CounterRead("account", "E", as_of_ms), CounterRead("ip", "E", as_of_ms)]
    for read, (found, _) in zip(reads, runner.run(answer(MemoryStore(), [links], reads)), strict=True):
        for what in WHATS[read.entity]:
            assert found[what] == count_by_definition(by_bucket, read.entity, "E", what, as_of_ms)


def test_a_sample_is_near_the_truth_and_bounded_in_memory(runner: asyncio.Runner, redis_server: RedisServer) -> None:
    """30 000 members over 24 h: each window's estimate within four standard errors, at most 1 MB for the set."""
    members = 30_000
    links = [Link("ip", "E", "sessions", f"s{n}", (FIRST + n * 288 // members) * BUCKET_MS) for n in range(members)]
    as_of = FIRST + 287
    read = CounterRead("ip", "E", as_of * BUCKET_MS)
    chunks = [links[start : start + 2_000] for start in range(0, members, 2_000)]
    store = RedisStore(ConnectionOptions(url=redis_server.url), state_version="1", prefix="sample")
    found, _ = runner.run(answer(store, chunks, [read]))[0]
    truth = count_by_definition(links, "ip", "E", "sessions", as_of * BUCKET_MS)
    counted = found["sessions"]
    assert counted.approximate
    assert counted.m5 == truth.m5  # 209 members: below the cap, so exact even though the day is not
    for window in WINDOWS[1:]:
        assert abs(getattr(counted, window) / getattr(truth, window) - 1) < 4 / 500**0.5
    with redis_server.client() as client:
        used = sum(client.memory_usage(key) or 0 for key in client.scan_iter("*sample:c*"))
    assert used < 1_000_000


def test_levels_halve() -> None:
    levels = [member_level(member_hash(str(number))) for number in range(40_000)]
    for level in range(8):
        share = sum(found >= level for found in levels) / len(levels)
        assert share == pytest.approx(2**-level, rel=0.15)
    assert max(levels) <= MAX_LEVEL
    assert member_level(bytes(8)) == MAX_LEVEL
    assert member_level(b"\xff" * 6 + b"\x80\x00") == 15
    assert member_level(b"\xff" * 8) == 0
