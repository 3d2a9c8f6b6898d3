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
import time

import faust
import numpy as np
import redis.asyncio

from features.fill import fill_context
from features.registry import N_FEATURES
from features.session import Meta, columns_of, decode, encode, fold_chunk, new_row, warm_up
from features.signals import derive_signals
from models.engine import Engine
from schemas.envelope import cloud_event_headers
from schemas.envelope import decode as decode_record
from schemas.envelope import encode as encode_message
from schemas.risk import RiskEvent, Source
from schemas.telemetry import Telemetry
from tests.support.ledger import topic_id

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
engine = Engine.load()
warm_up()
store = redis.asyncio.from_url(os.environ["TELLWIRE_REDIS__URL"])
events_topic = app.topic("risk.events", value_serializer="raw", key_serializer="raw")
input_topic_id = topic_id(BOOTSTRAP, "capture.telemetry")


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
    telemetry = decode_record(event.value, event.key)
    assert isinstance(telemetry, Telemetry)
    session_id = telemetry.session_id
    blob = await store.get(KEY + session_id)
    meta, row = decode(session_id, blob) if isinstance(blob, bytes) else (Meta(), new_row())
    ingested_ms = int(message.timestamp * 1000)
    meta.mark(telemetry.sequence)
    meta.observe(telemetry, ingested_ms)
    states = row.copy()[np.newaxis, :]
    vectors = np.empty((1, N_FEATURES))
    fold_chunk(states, np.zeros(1, dtype=np.int32), columns_of([telemetry]), vectors)
    fill_context(vectors[0], meta, ())
    signals = derive_signals(telemetry, meta, vectors[0])
    raw = engine.raw(vectors, [meta.flow], [signals], None)
    found = engine.assess(vectors[0], raw[0], meta, signals, {}, [], None)
    place = Source(topic=message.topic, topic_id=input_topic_id, partition=message.partition, offset=message.offset)
    now_ms = int(time.time() * 1000)
    risk = RiskEvent(
        evaluation_id=f"{input_topic_id}:{message.partition}:{message.offset}",
        event_id=telemetry.event_id,
        session_id=session_id,
        tenant=telemetry.tenant,
        flow=telemetry.flow,
        source=place,
        sequence=meta.evaluations,
        evaluation_status="new" if meta.evaluations == 1 else "superseding",
        is_final=telemetry.end is not None,
        effective_at=telemetry.effective_at,
        observed_at=telemetry.observed_at,
        ingested_at=ingested_ms,
        scored_at=now_ms,
        observed_s=0.0,
        scores=found.scores,
        risk_score=found.risk_score,
        risk_level=found.risk_level,
        decision=found.decision,
        reasons=found.reasons,
        signals=signals,
        coverage=found.coverage,
        missing_signals=found.missing_signals,
        degraded=[],
        velocity={},
        versions=engine.versions_of(pipeline="stock"),
        latency_ms={},
    )
    headers = cloud_event_headers(RiskEvent, id=risk.evaluation_id, subject=session_id, time_ms=now_ms)
    sent = await events_topic.send(
        key=event.key, value=encode_message(risk), partition=message.partition, headers=headers
    )
    await sent
    await store.set(KEY + session_id, encode(session_id, meta, states[0]), px=86_400_000)


if __name__ == "__main__":
    sys.argv[1:] = ["worker", "-l", "warn", "--without-web"]
    app.main()
