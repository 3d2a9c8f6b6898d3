"""Stores for the contract: in memory, on a real server, on a real cluster of three masters."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

import pytest

from stream.state import ConnectionOptions, MemoryStore, RedisStore
from tests.stream.state.redis_cluster import RedisClusterServers
from tests.support import UnavailableError, require
from tests.support.redis import RedisServer

StoreMaker = Callable[[], Awaitable[MemoryStore | RedisStore]]

_prefixes = itertools.count()


@pytest.fixture
def prefix() -> str:
    """A key prefix that no other test has."""
    return f"test{next(_prefixes)}"


@pytest.fixture(scope="session")
def redis_cluster() -> Iterator[RedisClusterServers]:
    servers = RedisClusterServers()
    try:
        with servers:
            yield servers
    except UnavailableError as missing:
        require(condition=False, reason=str(missing))


@pytest.fixture(params=["memory", "redis", "cluster"])
async def make_store(request: pytest.FixtureRequest, prefix: str) -> AsyncIterator[StoreMaker]:
    """Return a maker of opened stores that share what they store: several owners of the same data."""
    made: list[RedisStore] = []
    if request.param == "memory":
        memory = MemoryStore(cap=4)

        async def make() -> MemoryStore | RedisStore:
            return memory

    else:
        servers: RedisServer | RedisClusterServers = request.getfixturevalue(
            "redis_server" if request.param == "redis" else "redis_cluster"
        )
        options = ConnectionOptions(url=servers.url, cluster=request.param == "cluster")

        async def make() -> MemoryStore | RedisStore:
            store = RedisStore(options, state_version="1", prefix=prefix, cap=4, spill=2, stride=2)
            made.append(store)
            await store.open()
            return store

    yield make
    for store in made:
        await store.close()
