"""A primary with a lagging replica: what a failover takes back, who is found behind an address, real sentinels."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import time
from collections.abc import Iterator

import pytest
import redis

from stream.redis_url import is_usable, parse_sentinel_url
from stream.state import (
    ConnectionOptions,
    RedisStore,
    StoreMisconfigured,
    StoreUnavailable,
    WatermarkConflict,
)
from stream.state.connections import StandaloneLink
from stream.state.sentinel import SentinelLocator
from stream.state.stats import StoreStats
from tests.stream.state import stores
from tests.stream.state.sentinels import Sentinels
from tests.stream.state.stores import TOPIC, TTL, at
from tests.support.process import Deadline
from tests.support.proxy import FaultProxy
from tests.support.redis import RedisServer

opened = functools.partial(stores.opened, timeout_s=0.5)


@pytest.fixture
def primary() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


@contextlib.contextmanager
def replica_of(primary_port: int) -> Iterator[RedisServer]:
    with RedisServer({"replicaof": f"127.0.0.1 {primary_port}", "repl-timeout": "60"}) as server:
        wait_linked(server)
        yield server


def wait_linked(replica: RedisServer) -> None:
    deadline = Deadline(20, pause_s=0.02)
    while deadline.waits():
        with replica.client() as client:
            if client.info("replication").get("master_link_status") == "up":
                return
    raise AssertionError("the replica did not follow")


def wait_holds(replica: RedisServer, key: bytes, start: bytes) -> None:
    deadline = Deadline(10, pause_s=0.01)
    while deadline.waits():
        with replica.client() as client:
            if (client.get(key) or b"").startswith(start):
                return
    raise AssertionError("the replica did not get it")


async def test_writes_that_the_replica_did_not_get_are_found_missing(primary: RedisServer) -> None:
    """The address moves to a promoted replica that lags: the next read and the next write both see the older state."""
    with (
        FaultProxy(("127.0.0.1", primary.port)) as replication,
        replica_of(replication.port) as replica,
        FaultProxy(("127.0.0.1", primary.port)) as address,
    ):
        async with opened(f"redis://127.0.0.1:{address.port}") as store:
            await store.commit(TOPIC, 0, None, at(1), {"s": b"one"}, [], TTL)
            wait_holds(replica, store.keys.watermark(TOPIC, 0), b"id:1|")
            replication.stall()
            await store.commit(TOPIC, 0, at(1), at(2), {"s": b"two"}, [], TTL)
            primary.kill()
            with replica.client() as client:
                client.replicaof("NO", "ONE")
            address.upstream = ("127.0.0.1", replica.port)
            with pytest.raises(StoreUnavailable):
                await store.ping()
            loaded = await store.load(TOPIC, 0, ["s"], [])
            assert (loaded.blobs, loaded.watermark) == ({"s": b"one"}, at(1))
            with pytest.raises(WatermarkConflict) as caught:
                await store.commit(TOPIC, 0, at(2), at(3), {"s": b"three"}, [], TTL)
            assert (caught.value.found, caught.value.kind) == (at(1), "rolled_back")
            assert (await store.load(TOPIC, 0, ["s"], [])).blobs == {"s": b"one"}
            await store.commit(TOPIC, 0, at(1), at(3), {"s": b"again"}, [], TTL)


async def test_a_replica_behind_the_address_is_not_used(primary: RedisServer) -> None:
    with replica_of(primary.port) as replica, FaultProxy(("127.0.0.1", replica.port)) as address:
        store = RedisStore(ConnectionOptions(url=f"redis://127.0.0.1:{address.port}"), state_version="1")
        with pytest.raises(StoreUnavailable, match=f"Redis at 127.0.0.1:{address.port} is a replica"):
            await store.open()
        with replica.client() as client:
            client.replicaof("NO", "ONE")
        await store.open()
        await store.commit(TOPIC, 0, None, at(1), {"s": b"x"}, [], TTL)
        await store.close()


async def test_a_primary_that_became_a_replica_is_left_at_once(primary: RedisServer) -> None:
    """It goes on answering reads, from what it had: the first refused write drops all connections to it."""
    with RedisServer() as successor, FaultProxy(("127.0.0.1", primary.port)) as address:
        async with opened(f"redis://127.0.0.1:{address.port}") as store:
            await asyncio.gather(*(store.ping() for _ in range(4)))
            address.upstream = ("127.0.0.1", successor.port)
            with primary.client() as client:
                client.replicaof("127.0.0.1", successor.port)
            with pytest.raises(StoreUnavailable):
                await store.commit(TOPIC, 0, None, at(1), {"s": b"x"}, [], TTL)
            await store.commit(TOPIC, 0, None, at(1), {"s": b"x"}, [], TTL)
            with successor.client() as client:
                assert (client.get(store.keys.watermark(TOPIC, 0)) or b"").startswith(b"id:1|")


class TestSentinel:
    async def test_a_failover_is_followed(self, primary: RedisServer) -> None:
        """The primary dies: sentinels promote the replica, and the same store goes on there without a restart."""
        with replica_of(primary.port) as replica, Sentinels(primary) as sentinels:
            async with opened(sentinels.url) as store:
                await store.commit(TOPIC, 0, None, at(1), {"s": b"x"}, [], TTL)
                wait_holds(replica, store.keys.watermark(TOPIC, 0), b"id:1|")
                primary.kill()
                began = time.monotonic()
                while True:
                    try:
                        await store.commit(TOPIC, 0, at(1), at(2), {"s": b"y"}, [], TTL)
                    except StoreUnavailable:
                        assert time.monotonic() - began < 30, "no failover"
                        await asyncio.sleep(0.1)
                    else:
                        break
                sentinels.wait_master(replica.port)
                assert (await store.load(TOPIC, 0, ["s"], [])).blobs == {"s": b"y"}
                with replica.client() as client:
                    assert (client.get(store.keys.watermark(TOPIC, 0)) or b"").startswith(b"id:2|")

    async def test_sentinels_that_are_away_are_passed_over(self, primary: RedisServer) -> None:
        with replica_of(primary.port), Sentinels(primary) as sentinels:
            sentinels.kill(0)
            async with opened(sentinels.url) as store:
                await store.ping()
            sentinels.kill(1)
            sentinels.kill(2)
            with pytest.raises(StoreUnavailable, match="no sentinel knows the master of state") as caught:
                await RedisStore(ConnectionOptions(url=sentinels.url, timeout_s=0.5), state_version="1").open()
            assert all(f"127.0.0.1:{port}" in str(caught.value) for port in sentinels.ports)

    async def test_slow_sentinels_get_longer_with_each_try(self, primary: RedisServer) -> None:
        """They answer, though not in their share of the time limit: trying for as long again would never do."""
        with (
            replica_of(primary.port),
            Sentinels(primary, 1) as sentinels,
            FaultProxy(("127.0.0.1", sentinels.ports[0])) as proxy,
        ):
            proxy.latency_s = 0.2  # each way
            options = ConnectionOptions(url=f"redis+sentinel://127.0.0.1:{proxy.port}/state", timeout_s=0.3)
            sentinel_url = options.sentinels()
            assert sentinel_url is not None
            link = StandaloneLink(options, StoreStats(), locate=SentinelLocator(options, sentinel_url))
            tries = 0
            answers: list[bytes] = []
            while not answers:
                try:
                    answers = await link.exchange([("PING",)])
                except StoreUnavailable:
                    tries += 1
                    assert tries < 5
            assert answers == [b"PONG"]
            assert tries
            await link.close()

    async def test_passwords_of_sentinels_and_of_the_server(self, primary: RedisServer) -> None:
        with primary.client() as client:
            client.execute_command("ACL SETUSER", "worker", "on", ">secret", "~*", "+@all")
        with replica_of(primary.port), Sentinels(primary, 1) as sentinels:
            with redis.Redis(host="127.0.0.1", port=sentinels.ports[0], protocol=2) as sentinel:
                # What a sentinel wants of its clients; nothing to do with what the server wants.
                sentinel.execute_command("ACL SETUSER", "asker", "on", ">hunter2", "+sentinel")
                sentinel.execute_command("ACL SETUSER", "default", "off")
            url = sentinels.url.replace("://", "://worker:secret@")
            async with opened(url, sentinel_username="asker", sentinel_password="hunter2") as store:
                await store.ping()
            with pytest.raises(StoreMisconfigured, match=f"127.0.0.1:{sentinels.ports[0]} refuses") as caught:
                await RedisStore(ConnectionOptions(url=url, sentinel_password="wrong"), state_version="1").open()
            assert "secret" not in str(caught.value)

    @pytest.mark.parametrize(
        ("url", "sentinels", "service", "server_url", "is_tls"),
        [
            ("redis+sentinel://h/s", (("h", 26379),), "s", "redis://sentinel/0", False),
            ("Redis+Sentinel://h/s?timeout=1#x", (("h", 26379),), "s", "redis://sentinel/0?timeout=1", False),
            (
                "rediss+sentinel://u:p%40@a:1,b,[::1]:3/my%20s/4",
                (("a", 1), ("b", 26379), ("::1", 3)),
                "my s",
                "rediss://u:p%40@sentinel/4",
                True,
            ),
        ],
    )
    def test_the_url(
        self, url: str, sentinels: tuple[tuple[str, int], ...], service: str, server_url: str, is_tls: bool
    ) -> None:
        assert parse_sentinel_url(url) == (sentinels, service, server_url, is_tls)
        assert is_usable(url)

    @pytest.mark.parametrize(
        "url",
        [
            "redis+sentinel://",
            "redis+sentinel://h",
            "redis+sentinel://h/",
            "redis+sentinel://h:0/s",
            "redis+sentinel://h:hunter2/s",
            "redis+sentinel://u:hunter2@h,,g/s",
            "redis+sentinel://h/s/hunter2",
            "redis+sentinel://h,[::1/hunter2",
            "redis+sentinel://u:[hunter2@h/s",
        ],
    )
    def test_a_wrong_url(self, url: str) -> None:
        with pytest.raises(
            StoreMisconfigured, match=r"Redis Sentinel URL is not valid: .*rediss\+sentinel://"
        ) as caught:
            ConnectionOptions(url=url).arguments()
        assert "hunter2" not in str(caught.value)
        assert not is_usable(url)

    def test_sentinels_do_not_watch_a_cluster(self) -> None:
        store = RedisStore(ConnectionOptions(url="redis+sentinel://h/s", cluster=True), state_version="1")
        with pytest.raises(StoreMisconfigured, match="without sentinels"):
            asyncio.run(store.open())
