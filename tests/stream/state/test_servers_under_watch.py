"""What a server does beside answering: it is slow, changes its settings, evicts, or holds somebody else's values."""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.velocity import Link
from stream.state import (
    ConnectionOptions,
    CounterRead,
    RedisStore,
    StoreFull,
    StoreMisconfigured,
    StoreUnavailable,
)
from stream.state.keys import WATERMARK_TTL_MS
from stream.state.time_limit import LONGEST, TimeLimit
from tests.stream.state import stores
from tests.stream.state.stores import NOON, TOPIC, TTL, at
from tests.support.proxy import FaultProxy
from tests.support.redis import RedisServer

opened = functools.partial(stores.opened, timeout_s=2.0)


@pytest.fixture
def own_server() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


class TestSlow:
    async def test_a_server_slower_than_the_limit_is_waited_for_longer(self, redis_server: RedisServer) -> None:
        """With a fixed limit every try would be given up and made anew, for good."""
        with FaultProxy(("127.0.0.1", redis_server.port)) as proxy:
            async with opened(f"redis://127.0.0.1:{proxy.port}", timeout_s=0.2) as store:
                await store.commit(TOPIC, 0, None, at(0), {"s": b"0"}, [], TTL)
                proxy.latency_s = 0.2  # each way: twice the limit for an answer, four times it with connecting
                failures = 0
                for offset in range(1, 6):
                    while True:
                        try:
                            await store.commit(TOPIC, 0, at(offset - 1), at(offset), {"s": b"%d" % offset}, [], TTL)
                        except StoreUnavailable:
                            failures += 1
                            assert failures < 5
                        else:
                            break
                # Once the limit has grown to what answers take, nothing is given up any more.
                assert failures <= 3
                proxy.latency_s = 0.0
                await store.ping()
                await store.ping()
                proxy.stall()
                started = time.perf_counter()
                with pytest.raises(StoreUnavailable):
                    await store.ping()
                assert time.perf_counter() - started < 0.5, "the limit came back"

    @given(st.lists(st.one_of(st.floats(0, 100), st.none()), max_size=50))
    def test_the_limit_stays_within_its_bounds(self, answers: list[float | None]) -> None:
        limit = TimeLimit(0.5)
        for took in answers:
            before = limit.seconds
            if took is None:
                limit.missed(before)
                assert limit.seconds >= before
            else:
                limit.answered(took)
            assert 0.5 <= limit.seconds <= 0.5 * LONGEST

    def test_misses_at_the_same_time_count_once(self) -> None:
        limit = TimeLimit(1.0)
        for _ in range(10):
            limit.missed(1.0)
        assert limit.seconds == 2.0


class TestMessages:
    async def test_every_message_names_the_server_and_no_password(self, own_server: RedisServer) -> None:
        with own_server.client() as client:
            client.execute_command("ACL SETUSER", "worker", "on", ">hunter2", "~*", "+@all")
        with FaultProxy(("127.0.0.1", own_server.port)) as proxy:
            where = f"127.0.0.1:{proxy.port}"
            messages = []
            async with opened(f"redis://worker:hunter2@{where}", timeout_s=0.2) as store:
                proxy.stall()
                with pytest.raises(StoreUnavailable) as stalled:
                    await store.ping()
                proxy.heal()
                proxy.cut()
                with pytest.raises(StoreUnavailable) as cut:
                    await store.ping()
                proxy.heal()
                with own_server.client() as client:
                    client.config_set("maxmemory", 1)
                with pytest.raises(StoreFull) as full:
                    await store.commit(TOPIC, 0, None, at(1), {"s": b"x"}, [], TTL)
                with own_server.client() as client:
                    client.config_set("maxmemory-policy", "allkeys-lru")
                with pytest.raises(StoreMisconfigured) as evicting:
                    await store.check()
                with own_server.client() as client:
                    client.config_set("maxmemory", 0)
                messages = [str(caught.value) for caught in (stalled, cut, full, evicting)]
            own_server.kill()
            direct = RedisStore(ConnectionOptions(url=own_server.url), state_version="1")
            with pytest.raises(StoreUnavailable) as refused:
                await direct.open()
            assert f"127.0.0.1:{own_server.port}" in str(refused.value)
        assert all(where in message for message in messages), messages
        assert not any("hunter2" in message or "\n" in message for message in [*messages, str(refused.value)])


class TestChecks:
    async def test_a_policy_that_is_changed_under_a_running_store_stops_it_until_it_is_put_right(
        self, own_server: RedisServer
    ) -> None:
        async with opened(own_server.url) as store, opened(own_server.url) as other:
            await store.commit(TOPIC, 0, None, at(1), {"s": b"x"}, [], TTL)
            with own_server.client() as client:
                client.config_set("maxmemory", "100mb")
                client.config_set("maxmemory-policy", "allkeys-lru")
            with pytest.raises(StoreMisconfigured, match="noeviction"):
                await store.check()
            with pytest.raises(StoreMisconfigured, match="noeviction"):
                await store.load(TOPIC, 0, ["s"], [])
            with pytest.raises(StoreMisconfigured, match="noeviction"):
                await store.commit(TOPIC, 0, at(1), at(2), {"s": b"y"}, [], TTL)
            await other.ping()  # nobody checked for this one yet
            with own_server.client() as client:
                client.config_set("maxmemory-policy", "noeviction")
            await store.check()
            await store.commit(TOPIC, 0, at(1), at(2), {"s": b"y"}, [], TTL)

    async def test_a_new_connection_finds_out_by_itself(self, own_server: RedisServer) -> None:
        async with opened(own_server.url) as store:
            with own_server.client() as client:
                client.config_set("maxmemory", "100mb")
                client.config_set("maxmemory-policy", "allkeys-lru")
                client.client_kill_filter(_type="normal", skipme=True)
            with pytest.raises(StoreUnavailable):
                await store.ping()
            with pytest.raises(StoreMisconfigured, match="noeviction"):
                await store.ping()

    async def test_evicted_keys_are_counted(self, own_server: RedisServer) -> None:
        with own_server.client() as client:
            async with opened(own_server.url) as store:
                await store.check()
                assert store.stats.evicted_keys_total == 0
                client.config_set("maxmemory-policy", "allkeys-random")
                client.set("x", b"x" * 100_000)
                client.config_set("maxmemory", client.info("memory")["used_memory"] - 50_000)
                client.set("y", b"y")
                client.config_set("maxmemory", 0)
                await store.check()
                assert store.stats.evicted_keys_total > 0

    async def test_a_server_that_keeps_nothing_is_told_of(self, own_server: RedisServer) -> None:
        async with opened(own_server.url) as store:
            assert any("neither an append-only file nor a replica" in warning for warning in store.warnings)
        with RedisServer({"appendonly": "yes"}) as durable:
            async with opened(durable.url) as store:
                assert store.warnings == ()


class TestWatermarksTime:
    async def test_writing_and_looking_keep_it(self, redis_server: RedisServer) -> None:
        async with opened(redis_server.url) as store:
            await store.commit(TOPIC, 0, None, at(1), {}, [], TTL)
            key = store.keys.watermark(TOPIC, 0)
            with redis_server.client() as client:
                assert client.pttl(key) > WATERMARK_TTL_MS - 10_000
                client.pexpire(key, 5_000)
                assert (await store.watermarks(TOPIC, [0, 1])) == {0: at(1), 1: None}
                assert client.pttl(key) > WATERMARK_TTL_MS - 10_000
                client.pexpire(key, 5_000)
                await store.commit(TOPIC, 0, at(1), at(2), {}, [], TTL)
                assert client.pttl(key) > WATERMARK_TTL_MS - 10_000
                client.pexpire(key, 1)
                await asyncio.sleep(0.05)
            assert (await store.watermarks(TOPIC, [0])) == {0: None}


class TestSomebodyElsesValues:
    LINK = Link("account", "A", "sessions", "s", NOON)
    READ = CounterRead("account", "A", NOON)

    @pytest.mark.parametrize("value", ["hash", "rubbish", "list"])
    async def test_under_an_entity_is_unknown_and_the_next_link_replaces_it(
        self, redis_server: RedisServer, value: str
    ) -> None:
        async with opened(redis_server.url) as store:
            key = store.keys.entity("account", "A")
            with redis_server.client() as client:
                if value == "hash":
                    client.hset(key, "a", "b")
                elif value == "list":
                    client.lpush(key, "a")
                else:
                    client.set(key, value)
            await store.commit(TOPIC, 0, None, at(1), {"s": b"x"}, [], TTL)
            other = CounterRead("account", "B", NOON)
            loaded = await store.load(TOPIC, 0, ["s"], [self.READ, other])
            assert (loaded.blobs, loaded.counters[0]) == ({"s": b"x"}, None)
            assert loaded.counters[1] is not None
            assert store.stats.unreadable_entities_total == 1
            await store.commit(TOPIC, 0, at(1), at(2), {"s": b"y"}, [self.LINK], TTL)
            counted = (await store.load(TOPIC, 0, [], [self.READ])).counters[0]
            assert counted is not None
            assert counted.counts["sessions"].m5 == 1

    async def test_under_a_large_set(self, redis_server: RedisServer) -> None:
        async with opened(redis_server.url, store={"cap": 8, "spill": 2, "stride": 2}) as store:
            links = [Link("account", "A", "sessions", f"s{number}", NOON) for number in range(6)]
            await store.commit(TOPIC, 0, None, at(1), {}, links, TTL)
            key = store.keys.entity("account", "A")
            with redis_server.client() as client:
                (spilled,) = [found for found in client.scan_iter() if found.startswith(key + b":")]
                client.delete(spilled)
                client.set(spilled, "not a set")
            assert (await store.load(TOPIC, 0, [], [self.READ])).counters == [None]
            await store.commit(TOPIC, 0, at(1), at(2), {}, links, TTL)
            counted = (await store.load(TOPIC, 0, [], [self.READ])).counters[0]
            assert counted is not None
            assert counted.counts["sessions"].m5 == 6

    async def test_under_a_session_is_as_if_it_were_not_there(self, redis_server: RedisServer) -> None:
        async with opened(redis_server.url) as store:
            (key,) = store.keys.sessions(TOPIC, 0, ["s"])
            with redis_server.client() as client:
                client.hset(key, "a", "b")
            assert (await store.load(TOPIC, 0, ["s"], [])).blobs == {"s": None}
            await store.commit(TOPIC, 0, None, at(1), {"s": b"x"}, [], TTL)
            assert (await store.load(TOPIC, 0, ["s"], [])).blobs == {"s": b"x"}
