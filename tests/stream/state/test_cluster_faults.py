"""A Redis Cluster under change: slots that move, redirections, failovers, frozen masters, cancelled calls."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

import pytest

from features.velocity import Link
from stream.state import ConnectionOptions, CounterRead, RedisStore, StoreUnavailable, Watermark, WatermarkConflict
from tests.stream.state import stores
from tests.stream.state.redis_cluster import RedisClusterServers
from tests.stream.state.stores import NOON, TOPIC, TTL, at, documented_user
from tests.support.redis import RedisServer

opened = functools.partial(stores.opened, cluster=True, timeout_s=1.0)


T = TypeVar("T")


async def patiently(call: Callable[[], Awaitable[T]], seconds: float = 20.0) -> T:
    """Repeat a call as the pipeline does."""
    until = time.monotonic() + seconds
    while True:
        try:
            return await call()
        except StoreUnavailable:
            if time.monotonic() > until:
                raise
            await asyncio.sleep(0.05)


class Writer:
    """An owner that appends each offset to the value of one of its sessions; every value can be told at the end."""

    def __init__(self, store: RedisStore, partition: int) -> None:
        self.store = store
        self.partition = partition
        self.watermark: Watermark | None = None
        self.values: dict[str, bytes] = {}
        self.rewinds = 0
        self.left: list[Link] = []

    async def chunk(self) -> None:
        offset = 0 if self.watermark is None else self.watermark.offset + 1
        session_id = f"s{offset % 7}"
        link = Link("account", f"A{offset % 20}", "sessions", f"{self.partition}.{session_id}", NOON)
        try:
            loaded = await patiently(lambda: self.store.load(TOPIC, self.partition, [session_id], []))
            if loaded.watermark != self.watermark:
                self.rewinds += 1
                self.watermark = loaded.watermark
                return
            value = (loaded.blobs[session_id] or b"") + offset.to_bytes(4, "big")
            links = [*self.left, link]
            self.left = list(
                await patiently(
                    lambda: self.store.commit(
                        TOPIC, self.partition, self.watermark, at(offset), {session_id: value}, links, TTL
                    )
                )
            )
        except WatermarkConflict as conflict:
            # What a failover took back is folded again from there.
            self.rewinds += 1
            self.watermark = conflict.found
            return
        self.watermark = at(offset)

    async def run(self, until: asyncio.Event) -> None:
        while not until.is_set():
            await self.chunk()
            await asyncio.sleep(0)

    async def check(self) -> None:
        """Every session holds each of its offsets exactly once, in order."""
        assert self.watermark is not None
        last = self.watermark.offset
        loaded = await patiently(lambda: self.store.load(TOPIC, self.partition, [f"s{n}" for n in range(7)], []))
        assert loaded.watermark == self.watermark
        for number in range(7):
            offsets = range(number, last + 1, 7)
            expected = b"".join(offset.to_bytes(4, "big") for offset in offsets) or None
            assert loaded.blobs[f"s{number}"] == expected


async def test_slots_that_move_to_and_fro_under_load(redis_cluster: RedisClusterServers, prefix: str) -> None:
    async with opened(redis_cluster.url, store={"prefix": prefix}) as store:
        writers = [Writer(store, partition) for partition in range(6)]
        stop = asyncio.Event()
        tasks = [asyncio.ensure_future(writer.run(stop)) for writer in writers]
        await asyncio.sleep(0.3)
        for turn in range(3):
            for writer in writers:
                keys = [
                    store.keys.watermark(TOPIC, writer.partition),
                    store.keys.entity("account", f"A{writer.partition}"),
                ]
                for key in keys:
                    target = redis_cluster.nodes[(turn + writer.partition) % 3]
                    if redis_cluster.owner(key) is not target:
                        await asyncio.to_thread(redis_cluster.move, key, target)
        await asyncio.sleep(0.3)
        stop.set()
        await asyncio.gather(*tasks)
        assert store.stats.redirections_total > 0
        for writer in writers:
            await writer.check()
            assert writer.rewinds == 0
            assert writer.watermark is not None
            assert writer.watermark.offset > 30
        reads = [CounterRead("account", f"A{number}", NOON) for number in range(20)]
        await store.commit(TOPIC, 99, None, at(0), {}, [link for writer in writers for link in writer.left], TTL)
        answers = (await store.load(TOPIC, 0, [], reads)).counters
        # Each account is linked to sessions of all six owners: 20 offsets apart, so to all seven sessions of each.
        assert [found.counts["sessions"].m5 if found else None for found in answers] == [42] * 20


async def test_asking_goes_with_its_command_also_with_many_connections(
    redis_cluster: RedisClusterServers, prefix: str
) -> None:
    """A slot between two masters, whose keys are gone from the first one: only ASKING reaches them."""
    async with opened(redis_cluster.url, store={"prefix": prefix}) as store:
        await store.commit(TOPIC, 0, None, at(1), {"s": b"x"}, [], TTL)
        key = store.keys.watermark(TOPIC, 0)
        source = redis_cluster.owner(key)
        target = next(node for node in redis_cluster.nodes if node is not source)
        await asyncio.gather(*(store.ping() for _ in range(10)))  # several free connections to each master
        slot, new_id = redis_cluster.begin_move(key, target)
        try:
            with source.client() as old:
                keys = old.execute_command("CLUSTER GETKEYSINSLOT", slot, 100)
                old.execute_command("MIGRATE", "127.0.0.1", target.port, "", 0, 5000, "KEYS", *keys)
            before = store.stats.redirections_total
            loads = await asyncio.gather(*(store.load(TOPIC, 0, ["s"], []) for _ in range(20)))
            assert all((one.blobs, one.watermark) == ({"s": b"x"}, at(1)) for one in loads)
            await store.commit(TOPIC, 0, at(1), at(2), {"s": b"y"}, [], TTL)
            assert store.stats.redirections_total - before >= 21
        finally:
            redis_cluster.end_move(slot, new_id, source, target)
        assert (await store.load(TOPIC, 0, ["s"], [])).blobs == {"s": b"y"}


async def test_cancelled_loads_never_show_another_ones_data(redis_cluster: RedisClusterServers, prefix: str) -> None:
    async with opened(redis_cluster.url, store={"prefix": prefix}) as store:
        names = [f"s{number}" for number in range(50)]
        await store.commit(TOPIC, 0, None, at(1), {name: name.encode() for name in names}, [], TTL)
        for number, name in enumerate(names * 6):
            task = asyncio.create_task(store.load(TOPIC, 0, [name], []))
            for _ in range(number % 12):
                await asyncio.sleep(0)
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                assert (await task).blobs == {name: name.encode()}
            other = names[(number + 7) % 50]
            assert (await store.load(TOPIC, 0, [other], [])).blobs == {other: other.encode()}


def _home(store: RedisStore, servers: RedisClusterServers, node: RedisServer) -> tuple[int, int]:
    """Return a partition whose sessions are on `node`, and one whose are not."""
    homes = {number: servers.owner(store.keys.watermark(TOPIC, number)) for number in range(30)}
    here = next(number for number, home in homes.items() if home is node)
    return here, next(number for number, home in homes.items() if home is not node)


@pytest.mark.parametrize("how", ["killed", "frozen"])
async def test_a_replica_takes_over_from_its_master(prefix: str, how: str) -> None:
    """The partition goes on at the replica; the others did not wait for it; what was taken back is found and redone."""
    with RedisClusterServers(replicas=True) as servers:
        async with opened(servers.url, store={"prefix": prefix}, timeout_s=0.5) as store:
            master = servers.nodes[1]
            here, elsewhere = _home(store, servers, master)
            writers = [Writer(store, here), Writer(store, elsewhere)]
            stop = asyncio.Event()
            tasks = [asyncio.ensure_future(writer.run(stop)) for writer in writers]
            await asyncio.sleep(0.5)
            if how == "killed":
                master.kill()
            else:
                master.pause()
            away = time.monotonic()
            await asyncio.sleep(1.0)
            other = writers[1].watermark
            await asyncio.sleep(0.5)
            assert writers[1].watermark is not None
            assert other is not None
            assert writers[1].watermark.offset > other.offset + 10, "a dead master may not stop the others"
            replica = servers.replicas[1]
            while await asyncio.to_thread(servers.owner, store.keys.watermark(TOPIC, here)) is not replica:
                assert time.monotonic() - away < 30, "the replica did not take over"
                await asyncio.sleep(0.1)
            before = writers[0].watermark
            for _ in range(100):
                await asyncio.sleep(0.1)
                now = writers[0].watermark
                if now is not None and before is not None and now.offset > before.offset + 20:
                    break
            else:
                raise AssertionError("the partition did not go on at the replica")
            if how == "frozen":
                master.resume()  # comes back as somebody's replica: its own writes don't count any more
                await asyncio.sleep(1.0)
            stop.set()
            await asyncio.gather(*tasks)
            assert store.stats.topology_changes_total >= 1
            assert store.stats.script_reloads_total >= 1
            for writer in writers:
                await writer.check()


async def test_a_master_that_is_away_is_asked_in_the_background_only(prefix: str) -> None:
    """The first call pays for finding out; those after it fail at once, until the master answers again."""
    with RedisClusterServers() as servers:
        async with opened(servers.url, store={"prefix": prefix}, timeout_s=0.5) as store:
            frozen = servers.nodes[2]
            here, elsewhere = _home(store, servers, frozen)
            for partition in (here, elsewhere):
                await store.commit(TOPIC, partition, None, at(1), {"s": b"x"}, [], TTL)
            frozen.pause()
            try:
                with pytest.raises(StoreUnavailable, match=f"127.0.0.1:{frozen.port}"):
                    await store.load(TOPIC, here, ["s"], [])
                started = time.perf_counter()
                for _ in range(20):
                    with pytest.raises(StoreUnavailable):
                        await store.load(TOPIC, here, ["s"], [])
                    await store.load(TOPIC, elsewhere, ["s"], [])
                assert time.perf_counter() - started < 0.5
            finally:
                frozen.resume()
            assert (await patiently(lambda: store.load(TOPIC, here, ["s"], []))).blobs == {"s": b"x"}


async def test_the_documented_rights_are_enough_while_a_slot_moves(prefix: str) -> None:
    with RedisClusterServers() as servers:
        for node in servers.nodes:
            with node.client() as client:
                client.execute_command(*documented_user())
        options = ConnectionOptions(url=servers.url, cluster=True, username="tellwire", password="PASSWORD")
        store = RedisStore(options, state_version="1")
        await store.open()
        try:
            await store.commit(TOPIC, 0, None, at(1), {"s": b"x"}, [], TTL)
            key = store.keys.watermark(TOPIC, 0)
            source = servers.owner(key)
            target = next(node for node in servers.nodes if node is not source)
            slot, new_id = servers.begin_move(key, target)
            with source.client() as old:
                keys = old.execute_command("CLUSTER GETKEYSINSLOT", slot, 100)
                old.execute_command("MIGRATE", "127.0.0.1", target.port, "", 0, 5000, "KEYS", *keys)
            await store.commit(TOPIC, 0, at(1), at(2), {"s": b"y"}, [], TTL)
            servers.end_move(slot, new_id, source, target)
            assert (await store.load(TOPIC, 0, ["s"], [])).blobs == {"s": b"y"}
            await store.check()
        finally:
            await store.close()


async def test_no_master_at_all(prefix: str) -> None:
    with RedisClusterServers() as servers:
        async with opened(servers.url, store={"prefix": prefix}, timeout_s=0.5) as store:
            await store.commit(TOPIC, 0, None, at(1), {"s": b"x"}, [], TTL)
            for node in servers.nodes:
                node.kill()
            for _ in range(3):
                with pytest.raises(StoreUnavailable):
                    await store.load(TOPIC, 0, ["s"], [CounterRead("account", "A", NOON)])
            with pytest.raises(StoreUnavailable):
                await store.check()
