"""What the contestants that score event by event have in common: the job, the session's key, the entity counters."""

import asyncio
import os
from collections.abc import Sequence
from typing import Final

import redis
import uvloop
from pydantic import SecretStr

from features.velocity import Link
from stream.refs import RefHasher
from stream.settings import KeySettings
from stream.state import ConnectionOptions, CounterRead, Counters, RedisStore, Watermark
from tests.support.log_reader import topic_id
from tests.support.per_event import PerEvent, Scored

INPUT, OUTPUT = "capture.telemetry", "risk.events"
TTL_MS: Final = 86_400_000
BOOTSTRAP = os.environ["TELLWIRE_KAFKA__BOOTSTRAP_SERVERS"]
REDIS = os.environ["TELLWIRE_REDIS__URL"]


def job(name: str) -> PerEvent:
    """Load the models; the keyed hashes are those of tellwire."""
    refs = RefHasher(KeySettings(ref_key=SecretStr(os.environ["TELLWIRE_KEYS__REF_KEY"])))
    return PerEvent(topic_id(BOOTSTRAP, INPUT), name, refs)


def key_of(session_id: str) -> str:
    """Return where a session's bytes are kept."""
    return "session:" + session_id


class EntityCounters:
    """Entity counters by tellwire's own store: what is due is read, what is new is linked, for one event at a time.

    The store guards what it writes by a watermark; here every session has its own.
    """

    def __init__(self) -> None:
        self._store = RedisStore(
            ConnectionOptions(url=REDIS, cluster=False, timeout_s=10.0), state_version="1", prefix="counters"
        )

    async def open(self) -> None:
        """Connect."""
        await self._store.open()

    async def read(self, reads: Sequence[CounterRead]) -> Sequence[Counters | None]:
        """Return the answers, in one round trip; in none where nothing is due."""
        if not reads:
            return ()
        return (await self._store.load(INPUT, 0, [], reads)).counters

    async def link(self, session_id: str, links: Sequence[Link]) -> None:
        """Write links, once a session and 5 minutes."""
        if links:
            found = (await self._store.watermarks(session_id, [0]))[0]
            new = Watermark("links", 0 if found is None else found.offset + 1)
            await self._store.commit(session_id, 0, found, new, {}, links, TTL_MS)


class Blocking:
    """The whole job for frameworks that call a plain function for each event."""

    def __init__(self, name: str) -> None:
        self._job = job(name)
        self._redis = redis.Redis.from_url(REDIS)
        self._loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
        self._counters = EntityCounters()
        self._loop.run_until_complete(self._counters.open())

    def __call__(self, key: bytes, value: bytes, append_ms: int, partition: int, offset: int) -> Scored:
        """Read the session, score, write the session; the risk event is the caller's to publish."""
        telemetry = self._job.decode(value, key)
        held = self._redis.get(key_of(telemetry.session_id))
        work = self._job.begin(telemetry, append_ms, held if isinstance(held, bytes) else None)
        answers: Sequence[Counters | None] = ()
        if work.reads:
            answers = self._loop.run_until_complete(self._counters.read(work.reads))
        done = self._job.score(work, INPUT, partition, offset, answers)
        if done.links:
            self._loop.run_until_complete(self._counters.link(telemetry.session_id, done.links))
        self._redis.set(key_of(telemetry.session_id), done.state, px=TTL_MS)
        return done
