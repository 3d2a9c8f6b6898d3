"""Naive Faust: the stock framework, one event at a time, as its documentation shows it."""

import sys
from typing import Any

import faust
import redis.asyncio

from bench.contestants.shared import BOOTSTRAP, INPUT, OUTPUT, REDIS, TTL_MS, EntityCounters, job, key_of

SETTINGS: dict[str, Any] = {
    "producer_acks": -1,
    "topic_disable_leader": True,
    "consumer_auto_offset_reset": "earliest",
}
"""Everything else as it comes, on uvloop."""

app = faust.App("bench-faust", broker="kafka://" + BOOTSTRAP, value_serializer="raw", **SETTINGS)
events = app.topic(INPUT, value_serializer="raw", key_serializer="raw")
risk_events = app.topic(OUTPUT, value_serializer="raw", key_serializer="raw")
scorer = job("faust")
store = redis.asyncio.from_url(REDIS)
counters = EntityCounters()


@app.task  # type: ignore[untyped-decorator]
async def connect() -> None:
    """Connect once the loop runs."""
    await counters.open()


@app.agent(events)
async def score(stream: faust.StreamT[bytes]) -> None:
    """Score each event by itself."""
    async for event in stream.events():
        message = event.message
        telemetry = scorer.decode(event.value, event.key)
        held = await store.get(key_of(telemetry.session_id))
        work = scorer.begin(telemetry, int(message.timestamp * 1000), held if isinstance(held, bytes) else None)
        done = scorer.score(work, INPUT, message.partition, message.offset, await counters.read(work.reads))
        await (
            await risk_events.send(
                key=done.key, value=done.value, partition=message.partition, headers=dict(done.headers)
            )
        )
        await counters.link(telemetry.session_id, done.links)
        await store.set(key_of(telemetry.session_id), done.state, px=TTL_MS)


if __name__ == "__main__":
    sys.argv[1:] = ["--loop", "uvloop", "worker", "-l", "warn", "--without-web"]
    app.main()
