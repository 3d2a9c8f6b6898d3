"""What is different on a Redis Cluster: slots, redirections, a part that is down."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from features.velocity import Link
from stream.state import (
    ConnectionOptions,
    CounterRead,
    RedisStore,
    StoreMisconfigured,
    StoreUnavailable,
    WatermarkConflict,
)
from tests.stream.state.redis_cluster import RedisClusterServers
from tests.stream.state.stores import NOON, TOPIC, TTL, at

ACCOUNTS = [f"A{number}" for number in range(40)]
LINKS = [Link("account", account, "sessions", "s", NOON) for account in ACCOUNTS]
READS = [CounterRead("account", account, NOON) for account in ACCOUNTS]


@pytest.fixture
async def store(redis_cluster: RedisClusterServers, prefix: str) -> AsyncIterator[RedisStore]:
    options = ConnectionOptions(url=redis_cluster.url, cluster=True, timeout_s=1)
    store = RedisStore(options, state_version="1", prefix=prefix)
    await store.open()
    yield store
    await store.close()


async def test_a_chunk_asks_each_master_once_to_read_and_the_sessions_one_twice_to_write(
    store: RedisStore, redis_cluster: RedisClusterServers
) -> None:
    before = store.stats.round_trips_total
    blobs = {f"s{number}": b"x" * (1 + number) for number in range(50)}
    assert list(await store.commit(TOPIC, 0, None, at(1), blobs, LINKS, TTL)) == []
    assert store.stats.round_trips_total == before + 3 + 1
    loaded = await store.load(TOPIC, 0, list(blobs), READS)
    assert store.stats.round_trips_total == before + 4 + 3
    assert loaded.blobs == blobs
    assert [found.counts["sessions"].m5 if found else None for found in loaded.counters] == [1] * len(ACCOUNTS)
    owners = {redis_cluster.owner(store.keys.entity("account", account)).port for account in ACCOUNTS}
    assert len(owners) == 3
    assert len({redis_cluster.owner(key).port for key in store.keys.sessions(TOPIC, 0, list(blobs))}) == 1


async def test_a_refused_chunk_leaves_its_links_and_nothing_else(store: RedisStore) -> None:
    await store.commit(TOPIC, 0, None, at(1), {"s": b"x"}, [], TTL)
    for _ in range(2):  # links are facts: writing them twice counts once
        with pytest.raises(WatermarkConflict):
            await store.commit(TOPIC, 0, at(7), at(8), {"s": b"stale"}, LINKS, TTL)
    loaded = await store.load(TOPIC, 0, ["s"], READS[:1])
    assert (loaded.blobs, loaded.watermark) == ({"s": b"x"}, at(1))
    assert loaded.counters[0] is not None
    assert loaded.counters[0].counts["sessions"].m5 == 1


async def test_a_slot_that_moved_is_found(store: RedisStore, redis_cluster: RedisClusterServers) -> None:
    await store.commit(TOPIC, 0, None, at(1), {"s": b"x"}, LINKS[:1], TTL)
    for key in (store.keys.watermark(TOPIC, 0), store.keys.entity("account", ACCOUNTS[0])):
        source = redis_cluster.owner(key)
        redis_cluster.move(key, next(node for node in redis_cluster.nodes if node is not source))
        assert redis_cluster.owner(key) is not source
    loaded = await store.load(TOPIC, 0, ["s"], READS[:1])
    assert (loaded.blobs, loaded.watermark) == ({"s": b"x"}, at(1))
    assert loaded.counters[0] is not None
    assert loaded.counters[0].counts["sessions"].m5 == 1
    await store.commit(TOPIC, 0, at(1), at(2), {"s": b"y"}, LINKS[:1], TTL)
    assert (await store.watermarks(TOPIC, [0]))[0] == at(2)


async def test_scripts_forgotten_by_one_master_are_loaded_again(
    store: RedisStore, redis_cluster: RedisClusterServers
) -> None:
    with redis_cluster.owner(store.keys.watermark(TOPIC, 0)).client() as client:
        client.script_flush()
    await store.commit(TOPIC, 0, None, at(1), {"s": b"x"}, LINKS, TTL)
    loaded = await store.load(TOPIC, 0, ["s"], READS)
    assert loaded.watermark == at(1)
    assert None not in loaded.counters
    assert store.stats.script_reloads_total >= 1


async def test_the_cluster_option_must_be_on(redis_cluster: RedisClusterServers) -> None:
    store = RedisStore(ConnectionOptions(url=redis_cluster.url), state_version="1")
    with pytest.raises(StoreMisconfigured, match="turn the cluster option on"):
        await store.open()


async def test_an_evicting_master_is_refused(redis_cluster: RedisClusterServers) -> None:
    with redis_cluster.nodes[2].client() as client:
        client.config_set("maxmemory", "100mb")
        client.config_set("maxmemory-policy", "allkeys-lru")
        try:
            store = RedisStore(ConnectionOptions(url=redis_cluster.url, cluster=True), state_version="1")
            with pytest.raises(StoreMisconfigured, match="noeviction"):
                await store.open()
        finally:
            client.config_set("maxmemory", 0)
            client.config_set("maxmemory-policy", "noeviction")


async def test_counters_on_a_dead_master_are_unknown_and_sessions_on_it_unavailable(prefix: str) -> None:
    with RedisClusterServers() as servers:
        store = RedisStore(
            ConnectionOptions(url=servers.url, cluster=True, timeout_s=1), state_version="1", prefix=prefix
        )
        await store.open()
        try:
            homes = {partition: servers.owner(store.keys.watermark(TOPIC, partition)) for partition in range(20)}
            dead = servers.nodes[1]
            there = next(partition for partition, home in homes.items() if home is dead)
            elsewhere = next(partition for partition, home in homes.items() if home is not dead)
            for partition in (there, elsewhere):
                await store.commit(TOPIC, partition, None, at(1), {"s": b"x"}, LINKS, TTL)
            lost = [servers.owner(store.keys.entity("account", account)) is dead for account in ACCOUNTS]
            dead.kill()
            loaded = await store.load(TOPIC, elsewhere, ["s"], READS)
            assert (loaded.blobs, loaded.watermark) == ({"s": b"x"}, at(1))
            assert [found is None for found in loaded.counters] == lost
            assert store.stats.counters_missing_total == sum(lost)
            with pytest.raises(StoreUnavailable):
                await store.load(TOPIC, there, ["s"], READS)
            # What can't be written is given back, and the sessions go on.
            left = await store.commit(TOPIC, elsewhere, at(1), at(2), {"s": b"y"}, LINKS, TTL)
            assert set(left) == {link for link, away in zip(LINKS, lost, strict=True) if away}
            assert store.stats.links_left_total == sum(lost)
            assert (await store.load(TOPIC, elsewhere, ["s"], [])).blobs == {"s": b"y"}
            turn = store.links_turn
            dead.restart()
            for _ in range(100):
                await asyncio.sleep(0.1)
                if None not in (await store.load(TOPIC, elsewhere, [], READS)).counters:
                    break
            assert store.links_turn != turn, "what was left may be tried again"
            assert list(await store.commit(TOPIC, elsewhere, at(2), at(3), {}, left, TTL)) == []
            again = await store.load(TOPIC, elsewhere, [], READS)
            assert [found.counts["sessions"].m5 if found else None for found in again.counters] == [1] * len(ACCOUNTS)
        finally:
            await store.close()


async def test_a_frozen_master_costs_bounded_time_and_counters_but_not_the_sessions_elsewhere(prefix: str) -> None:
    with RedisClusterServers() as servers:
        store = RedisStore(
            ConnectionOptions(url=servers.url, cluster=True, timeout_s=0.3), state_version="1", prefix=prefix
        )
        await store.open()
        try:
            frozen = servers.nodes[2]
            homes = {partition: servers.owner(store.keys.watermark(TOPIC, partition)) for partition in range(20)}
            there = next(partition for partition, home in homes.items() if home is frozen)
            elsewhere = next(partition for partition, home in homes.items() if home is not frozen)
            for partition in (there, elsewhere):
                await store.commit(TOPIC, partition, None, at(1), {"s": b"x"}, LINKS, TTL)
            frozen.pause()
            try:
                started = time.perf_counter()
                loaded = await store.load(TOPIC, elsewhere, ["s"], READS)
                assert (loaded.blobs, loaded.watermark) == ({"s": b"x"}, at(1))
                assert None in loaded.counters
                with pytest.raises(StoreUnavailable):
                    await store.load(TOPIC, there, ["s"], [])
                assert time.perf_counter() - started < 3
            finally:
                frozen.resume()
        finally:
            await store.close()
