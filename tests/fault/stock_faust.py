"""`python -m tests.fault.stock_faust`: the same job on stock Faust, as its documentation shows it, to test observables.

Unmodified Faust on its own transport (aiokafka), one event at a time: decode, read the session, fold, score, publish
and await, write the session, and Faust acknowledges. Its risk events have all that the ledger asks of ours - id,
source, headers, key, partition - so that without a fault every observable holds, and what fails with one is the fault's
doing.

Its argument is a JSON object: `key_prefix` of its sessions in Redis, `concurrency` of the agent, and the texts `slow`
and `raise`: a record that contains one waits for 40 s, or raises.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys

import faust
import redis.asyncio

from tests.support.ledger import topic_id
from tests.support.per_event import PerEvent

BOOTSTRAP = os.environ["TELLWIRE_KAFKA__BOOTSTRAP_SERVERS"]
OPTIONS = json.loads(sys.argv[1])
SLOW, RAISE = OPTIONS.get("slow", "").encode(), OPTIONS.get("raise", "").encode()
KEY = OPTIONS["key_prefix"]

app = faust.App(
    os.environ["TELLWIRE_KAFKA__GROUP"],
    broker="kafka://" + BOOTSTRAP.replace(",", ";"),
    value_serializer="raw",
    topic_disable_leader=True,
    producer_acks=-1,
    consumer_auto_offset_reset="earliest",
    # Its default of a minute would only make the rows longer.
    broker_session_timeout=6.0,
    broker_heartbeat_interval=0.5,
)
store = redis.asyncio.from_url(os.environ["TELLWIRE_REDIS__URL"])
events_topic = app.topic("risk.events", value_serializer="raw", key_serializer="raw")
job = PerEvent(topic_id(BOOTSTRAP, "capture.telemetry"), "stock")


@app.agent(
    app.topic("capture.telemetry", value_serializer="raw", key_serializer="raw"),
    concurrency=OPTIONS.get("concurrency", 1),
)
async def score(stream: faust.StreamT[bytes]) -> None:
    """Score each event by itself."""
    async for event in stream.events():
        if SLOW and SLOW in event.value:
            print("fault: slow", flush=True)
            await asyncio.sleep(40)
        if RAISE and RAISE in event.value:
            raise ZeroDivisionError("a defect that one record meets")
        await handle(event)


async def handle(event: faust.EventT[bytes]) -> None:
    """Decode, fold, score, publish, write."""
    message = event.message
    telemetry = job.decode(event.value, event.key)
    held = await store.get(KEY + telemetry.session_id)
    work = job.begin(telemetry, int(message.timestamp * 1000), held if isinstance(held, bytes) else None)
    done = job.score(work, message.topic, message.partition, message.offset, ())
    sent = await events_topic.send(key=event.key, value=done.value, partition=message.partition, headers=done.headers)
    await sent
    await store.set(KEY + telemetry.session_id, done.state, px=86_400_000)


if __name__ == "__main__":
    sys.argv[1:] = ["worker", "-l", "warn", "--without-web"]
    app.main()
