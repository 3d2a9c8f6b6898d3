"""State machine over the entity counters: links, replays, crashes, lost answers, rollbacks, edges of buckets.

The naive twin is the definition in `features.velocity`: a list of all links, counted word by word. It runs on
`MemoryStore`, on a real Redis whose sets spill early, and the two must agree with it and so with each other. What is
written again, in whole or in part, by the same owner or the next, is never counted twice.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from features.velocity import BUCKET_MS, COUNTED, WHATS, Count, Entity, Link, What, bucket_of, count
from stream.state import (
    ConnectionOptions,
    CounterRead,
    MemoryStore,
    RedisStore,
    StateStore,
    Watermark,
    WatermarkConflict,
)
from stream.state.counters import CAP
from stream.state.overlay import Overlay
from tests.property.profile import machine
from tests.support.counts import count_in
from tests.support.redis import RedisServer

TOPIC = "capture.telemetry"
NOON = bucket_of(1_790_000_100_000)
TTL_MS = 3_600_000
REFS: dict[Entity, tuple[str, ...]] = {
    "account": ("a1", "a2"),
    "device": ("d1", "a1"),
    "ip": ("i1",),
    "capture": ("a1",),
    "template": ("t1",),
}
MEMBERS = tuple(f"m{number}" for number in range(9))
_prefixes = itertools.count()

# Steps of time that meet the edges: within a bucket, to its last and first ms, beyond windows.
steps_ms = st.sampled_from(
    [0, 0, 1, 137, BUCKET_MS - 1, BUCKET_MS, BUCKET_MS + 1, 3_600_000, 3_600_000 - 1, 30_000_000]
)


@st.composite
def some_links(draw: st.DrawFn) -> tuple[Entity, str, What, str]:
    # Mostly one set, so that it grows, moves out of its packed value, and meets its members again.
    if draw(st.integers(0, 3)):
        return "account", "a1", "sessions", draw(st.sampled_from(MEMBERS))
    entity = draw(st.sampled_from(COUNTED))
    ref = draw(st.sampled_from(REFS[entity]))
    return entity, ref, draw(st.sampled_from(WHATS[entity])), draw(st.sampled_from(MEMBERS))


class Counters(RuleBasedStateMachine):
    """One partition's owner after another on one store. Subclasses say which store."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.now_ms = NOON
        self.links: list[Link] = []
        """What was written at least once: the twin."""
        self.chunks: list[tuple[Watermark | None, Watermark, list[Link]]] = []
        """Chunks that were committed, in order."""
        self.watermark: Watermark | None = None

    def make(self) -> StateStore:
        raise NotImplementedError

    def run(self, work: Any) -> Any:
        return self.loop.run_until_complete(work)

    @initialize()
    def begin(self) -> None:
        self.store = self.make()
        self.run(self.store.open())

    def teardown(self) -> None:
        self.run(self.store.close())
        self.loop.close()

    # --- rules

    @rule(step_ms=steps_ms)
    def time_passes(self, step_ms: int) -> None:
        self.now_ms += step_ms

    @rule(
        made=st.lists(some_links(), min_size=1, max_size=12),
        late_ms=st.sampled_from([0, 0, 1, BUCKET_MS, 3 * BUCKET_MS]),
    )
    def chunk(self, made: list[tuple[Entity, str, What, str]], late_ms: int) -> None:
        """A chunk is written: its counters were read before, with its own links laid over, in offset order."""
        when = self.now_ms - late_ms
        links = [Link(*each, bucket_of(when)) for each in made]
        self._overlaid(links)
        new = Watermark("id", (self.watermark.offset if self.watermark else -1) + len(made))
        self.run(self.store.commit(TOPIC, 0, self.watermark, new, {}, links, TTL_MS))
        self.chunks.append((self.watermark, new, links))
        self.watermark = new
        self.links.extend(links)

    @precondition(lambda self: self.chunks)
    @rule()
    def the_answer_was_lost(self) -> None:
        """The same owner asks the same again."""
        expected, new, links = self.chunks[-1]
        with contextlib.suppress(WatermarkConflict):
            self.run(self.store.commit(TOPIC, 0, expected, new, {}, links, TTL_MS))
        assert self.run(self.store.watermarks(TOPIC, [0])) == {0: self.watermark}

    @rule(made=st.lists(some_links(), min_size=1, max_size=12), times=st.integers(1, 3), owner=st.booleans())
    def crash_and_replay(self, made: list[tuple[Entity, str, What, str]], times: int, owner: bool) -> None:
        """Links were written, the state was not; the next owner does it all again, and dies again."""
        links = [Link(*each, bucket_of(self.now_ms)) for each in made]
        for _ in range(times):
            self.run(self._links_only(links))
            if owner:
                self._next_owner()
        self.links.extend(links)

    async def _links_only(self, links: Sequence[Link]) -> None:
        # As on a cluster, where links are written before the session state: the write of the state never arrives.
        found = (await self.store.watermarks(TOPIC, [1]))[1]
        new = Watermark("id", 0 if found is None else found.offset + 1)
        await self.store.commit(TOPIC, 1, found, new, {}, links, TTL_MS)

    @precondition(lambda self: self.chunks)
    @rule(back=st.integers(1, 4))
    def rewind(self, back: int) -> None:
        """The watermark went back: the last chunks are folded again, with the links that they had."""
        again = self.chunks[-back:]
        for _, _, links in again:
            self.run(self._links_only(links))

    @rule()
    def takeover(self) -> None:
        self._next_owner()

    def _next_owner(self) -> None:
        """Another process on the same data."""

    # --- what must hold

    def _twin(self, entity: Entity, ref: str, what: What, as_of_ms: int) -> Count:
        # A member counts where it was seen last: what a store remembers (stream.state.counters).
        last: dict[str, Link] = {}
        for link in self.links:
            if (link.entity, link.ref, link.what) == (entity, ref, what):
                held = last.get(link.member)
                last[link.member] = link if held is None or link.bucket_ms > held.bucket_ms else held
        return count(last.values(), entity, ref, what, as_of_ms)

    @invariant()
    def counts_are_the_definition(self) -> None:
        if not hasattr(self, "store"):
            return
        reads = [CounterRead(entity, ref, self.now_ms) for entity in COUNTED for ref in REFS[entity]]
        loaded = self.run(self.store.load(TOPIC, 0, [], reads))
        for read, found in zip(reads, loaded.counters, strict=True):
            for what in WHATS[read.entity]:
                expected = self._twin(read.entity, read.ref, what, self.now_ms)
                assert found.counts[what] == expected, (read, what)
                assert expected.h24 <= len(MEMBERS) < CAP

    def _overlaid(self, links: list[Link]) -> None:
        """A chunk's own links over what was read before it: after each, as if it had been written and read."""
        asked: dict[tuple[Entity, str], dict[tuple[What, str], None]] = {}
        for link in links:
            asked.setdefault((link.entity, link.ref), {})[link.what, link.member] = None
        as_of = links[0].bucket_ms
        reads = [CounterRead(entity, ref, as_of, tuple(members)) for (entity, ref), members in asked.items()]
        overlay = Overlay(reads, self.run(self.store.load(TOPIC, 0, [], reads)).counters)
        before = list(self.links)
        newest = max((link.bucket_ms for link in self.links), default=0)
        for link in links:
            overlay.add([link])
            self.links.append(link)
            if newest <= as_of:  # reading in the past may miss a member that was seen again since
                expected = self._twin(link.entity, link.ref, link.what, as_of)
                assert count_in(overlay, link.entity, link.ref, link.what) == expected, link
        self.links = before


class InMemory(Counters):
    def make(self) -> StateStore:
        return MemoryStore(clock=lambda: self.now_ms / 1000)


TestInMemory = InMemory.TestCase
TestInMemory.settings = machine(share=1.0, steps=30)


@pytest.mark.timeout(300)
def test_in_redis(redis_server: RedisServer) -> None:
    class InRedis(Counters):
        """Sets leave the packed value at three members, and it is tidied at every second one."""

        def begin_prefix(self) -> str:
            return f"property{next(_prefixes)}"

        def make(self) -> StateStore:
            self.prefix = self.begin_prefix()
            return self._open()

        def _open(self) -> RedisStore:
            return RedisStore(
                ConnectionOptions(url=redis_server.url), state_version="1", prefix=self.prefix, spill=2, stride=2
            )

        def _next_owner(self) -> None:
            self.run(self.store.close())
            self.store = self._open()
            self.run(self.store.open())

    run_state_machine_as_test(InRedis, settings=machine(share=0.5, steps=25))
