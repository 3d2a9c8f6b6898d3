"""Two owners of one partition, crashes and replays, interleaved at random, against a plain model.

An owner does what a worker does: it reads the watermark, folds records it has not folded into a session value (here a
list of offsets), and commits. A stale owner goes on from what it remembers. Whatever happens, the stored sessions are
those of a single-threaded run up to the stored watermark, and each entity's count is that of the records' links.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import random
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from features.velocity import Link
from stream.state import (
    ConnectionOptions,
    CounterRead,
    MemoryStore,
    RedisStore,
    StateStore,
    Watermark,
    WatermarkConflict,
)
from stream.state.connections import StandaloneLink
from tests.support.redis import RedisServer

TOPIC, TOPIC_ID, NOW = "t", "id", 1_790_000_100_000
SESSIONS = 4
TTL = 60_000
_names = itertools.count()


def session_of(offset: int) -> str:
    return f"s{random.Random(offset).randrange(SESSIONS)}"


def link_of(offset: int) -> Link:
    return Link("account", "A", "sessions", session_of(offset), NOW)


def single_threaded(up_to: int) -> dict[str, list[int]]:
    state: dict[str, list[int]] = {}
    for offset in range(up_to + 1):
        state.setdefault(session_of(offset), []).append(offset)
    return state


class Owner:
    """A worker's view of the partition, with a cache that is as old as its last success."""

    def __init__(self, store: StateStore) -> None:
        self.store = store
        self.watermark: Watermark | None = None
        self.cache: dict[str, list[int]] = {}
        self.refused = 0
        self.told_truly = True

    async def take_over(self) -> None:
        self.cache = {}
        self.watermark = (await self.store.watermarks(TOPIC, [0]))[0]

    async def chunk(self, size: int, *, crash: bool) -> None:
        start = 0 if self.watermark is None else self.watermark.offset + 1
        offsets = range(start, start + size)
        missing = [each for each in {session_of(offset) for offset in offsets} if each not in self.cache]
        loaded = await self.store.load(TOPIC, 0, missing, [])
        for session_id, blob in loaded.blobs.items():
            self.cache[session_id] = [] if blob is None else json.loads(blob)
        changed = {session_of(offset) for offset in offsets}
        folded = {session_id: list(self.cache[session_id]) for session_id in changed}
        for offset in offsets:
            folded[session_of(offset)].append(offset)
        if crash:  # between links and sessions, as it can happen on a cluster
            await write_links_alone(self.store, [link_of(offset) for offset in offsets])
            await self.take_over()
            return
        new = Watermark(TOPIC_ID, offsets[-1])
        blobs = {session_id: json.dumps(value).encode() for session_id, value in folded.items()}
        try:
            await self.store.commit(TOPIC, 0, self.watermark, new, blobs, [link_of(offset) for offset in offsets], TTL)
        except WatermarkConflict as conflict:
            self.refused += 1
            await self.take_over()
            self.told_truly &= conflict.found == self.watermark
        else:
            self.cache.update(folded)
            self.watermark = new


async def write_links_alone(store: StateStore, links: list[Link]) -> None:
    """Leave behind what a commit leaves that died after its links: written here under another partition's name."""
    other = (await store.watermarks(TOPIC, [99]))[99]
    offset = 0 if other is None else other.offset + 1
    await store.commit(TOPIC, 99, other, Watermark(TOPIC_ID, offset), {}, links, TTL)


steps = st.lists(
    st.tuples(
        st.sampled_from([0, 1]), st.sampled_from(["chunk", "chunk", "chunk", "take over", "crash"]), st.integers(1, 5)
    ),
    max_size=30,
)


@pytest.fixture(scope="module")
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as loop:
        yield loop


async def play(stores: list[StateStore], plan: list[tuple[int, str, int]]) -> int:
    for store in stores:
        await store.open()
    owners = [Owner(store) for store in stores]
    linked = -1
    try:
        for who, action, size in plan:
            owner = owners[who]
            if action == "take over":
                await owner.take_over()
            else:
                await owner.chunk(size, crash=action == "crash")
                reached = owner.watermark.offset if owner.watermark else -1
                linked = max(linked, reached)
            stored = (await owner.store.watermarks(TOPIC, [0]))[0]
            loaded = await owner.store.load(
                TOPIC, 0, [f"s{n}" for n in range(SESSIONS)], [CounterRead("account", "A", NOW)]
            )
            state = {key: json.loads(blob) for key, blob in loaded.blobs.items() if blob is not None}
            assert loaded.watermark == stored
            assert state == single_threaded(-1 if stored is None else stored.offset)
            counters = loaded.counters[0]
            assert counters is not None
            # Links may be ahead of the sessions, never behind.
            assert counters.counts["sessions"].h24 >= len(state)
        assert all(owner.told_truly for owner in owners)
        return sum(owner.refused for owner in owners)
    finally:
        for store in stores:
            await store.close()


@settings(max_examples=60, deadline=None)
@given(plan=steps)
def test_interleaved_owners_in_memory(runner: asyncio.Runner, plan: list[tuple[int, str, int]]) -> None:
    store = MemoryStore()
    runner.run(play([store, store], plan))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(plan=steps)
def test_interleaved_owners_on_redis(
    runner: asyncio.Runner, redis_server: RedisServer, plan: list[tuple[int, str, int]]
) -> None:
    options = ConnectionOptions(url=redis_server.url)
    prefix = f"owners{next(_names)}"
    runner.run(play([RedisStore(options, state_version="1", prefix=prefix) for _ in range(2)], plan))


def test_the_interleavings_do_meet_conflicts(runner: asyncio.Runner) -> None:
    store = MemoryStore()
    plan = [(0, "chunk", 2), (1, "chunk", 2), (1, "chunk", 3), (0, "chunk", 1)]
    assert runner.run(play([store, store], plan)) == 2


async def test_replaying_a_chunk_stores_the_same_bytes(redis_server: RedisServer) -> None:
    """The same chunk from the same state, by a second owner after the first one's state was restored: byte-equal."""
    dumps = []
    for _ in range(2):
        with redis_server.client() as client:
            client.flushall()
        store = RedisStore(ConnectionOptions(url=redis_server.url), state_version="1")
        await store.open()
        owner = Owner(store)
        await owner.chunk(20, crash=False)
        await store.close()
        with redis_server.client() as client:
            keys = sorted(client.scan_iter("*"))
            dumps.append({key: client.get(key).split(b"|")[0] for key in keys})  # less the writer's mark
    assert dumps[0] == dumps[1]


async def test_the_answer_to_a_commit_is_lost(redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The write arrived, its answer did not: the repeated commit succeeds; anybody else's is refused."""
    store = RedisStore(ConnectionOptions(url=redis_server.url), state_version="1")
    other = RedisStore(ConnectionOptions(url=redis_server.url), state_version="1")
    await store.open()
    await other.open()
    exchange = StandaloneLink.exchange

    async def lose_the_answer(link: StandaloneLink, commands: list[tuple[object, ...]]) -> list[object]:
        await exchange(link, commands)
        raise TimeoutError

    arguments = (TOPIC, 0, None, Watermark(TOPIC_ID, 5), {"s": b"mine"}, [link_of(1)], TTL)
    with monkeypatch.context() as patch:
        patch.setattr(StandaloneLink, "exchange", lose_the_answer)
        with pytest.raises(TimeoutError):
            await store.commit(*arguments)
    with pytest.raises(WatermarkConflict):
        await other.commit(*arguments)
    await store.commit(*arguments)
    assert store.stats.repeated_commits_total == 1
    with pytest.raises(WatermarkConflict):
        await store.commit(*arguments)
    await store.commit(TOPIC, 0, Watermark(TOPIC_ID, 5), Watermark(TOPIC_ID, 6), {}, [], TTL)
    await store.close()
    await other.close()
