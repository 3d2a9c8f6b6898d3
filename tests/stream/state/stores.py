"""What tests of the Redis store have in common: a topic, times, watermarks, and a store that is opened and closed."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping
from typing import Any

from stream.state import ConnectionOptions, RedisStore, Watermark
from tests.support import pages

TOPIC = "t"
NOON = 1_790_000_100_000
TTL = 60_000


def at(offset: int) -> Watermark:
    return Watermark("id", offset)


@contextlib.asynccontextmanager
async def opened(
    url: str, *, timeout_s: float, store: Mapping[str, Any] | None = None, **connection: Any
) -> AsyncIterator[RedisStore]:
    """Open a store; `connection` are further options of its connections, `store` of itself."""
    made = RedisStore(ConnectionOptions(url=url, timeout_s=timeout_s, **connection), state_version="1", **store or {})
    await made.open()
    try:
        yield made
    finally:
        await made.close()


def documented_user() -> list[str]:
    """Return the command that makes the user whom the documentation asks for."""
    (line,) = pages.blocks("docs/explanation/redis-and-guarantees.md", "redis")
    return ["ACL SETUSER", *line.removeprefix("ACL SETUSER ").split()]
