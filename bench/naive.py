"""The naive contestant: stock Faust, one event at a time, the same functions, written as its documentation shows.

Per event: decode, read the session from Redis, fold, score, decide, publish and await, write the session back. It keeps
no entity counters and no watermark, so it does less than tellwire does.
"""

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
from schemas.envelope import decode as decode_record
from schemas.envelope import encode as encode_message
from schemas.risk import RiskEvent, Source
from schemas.telemetry import Telemetry

app = faust.App(
    "bench-naive",
    broker="kafka://" + os.environ["BENCH_BOOTSTRAP"],
    value_serializer="raw",
    topic_disable_leader=True,
    web_enabled=False,
    producer_acks=-1,
    consumer_auto_offset_reset="earliest",
)
engine = Engine.load()
warm_up()
store = redis.asyncio.from_url(os.environ["BENCH_REDIS"])
risk_events = app.topic("risk.events", value_serializer="raw", key_serializer="raw")


@app.agent(app.topic("capture.telemetry", value_serializer="raw", key_serializer="raw"))
async def score(stream: faust.StreamT) -> None:
    """Score each event by itself."""
    async for event in stream.events():
        telemetry = decode_record(event.value, event.key)
        assert isinstance(telemetry, Telemetry)
        session_id = telemetry.session_id
        blob = await store.get("naive:" + session_id)
        meta, row = (Meta(), new_row()) if blob is None else decode(session_id, blob)
        ingested_ms = int(event.message.timestamp * 1000)
        meta.mark(telemetry.sequence)
        meta.observe(telemetry, ingested_ms)
        states = row.copy()[np.newaxis, :]
        vectors = np.empty((1, N_FEATURES))
        fold_chunk(states, np.zeros(1, dtype=np.int32), columns_of([telemetry]), vectors)
        fill_context(vectors[0], meta, ())
        signals = derive_signals(telemetry, meta, vectors[0])
        raw = engine.raw(vectors, [meta.flow], [signals], None)
        found = engine.assess(vectors[0], raw[0], meta, signals, {}, [], None)
        message = event.message
        risk = RiskEvent(
            evaluation_id=f"naive:{message.partition}:{message.offset}",
            event_id=telemetry.event_id,
            session_id=session_id,
            tenant=telemetry.tenant,
            flow=telemetry.flow,
            source=Source(topic=message.topic, topic_id="naive", partition=message.partition, offset=message.offset),
            sequence=meta.evaluations,
            evaluation_status="new" if meta.evaluations == 1 else "superseding",
            is_final=telemetry.end is not None,
            effective_at=telemetry.effective_at,
            observed_at=telemetry.observed_at,
            ingested_at=ingested_ms,
            scored_at=int(time.time() * 1000),
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
            versions=engine.versions_of(pipeline="naive"),
            latency_ms={},
        )
        await (await risk_events.send(key=event.key, value=encode_message(risk), partition=message.partition))
        await store.set("naive:" + session_id, encode(session_id, meta, states[0]), px=86_400_000)


if __name__ == "__main__":
    sys.argv[1:] = ["worker", "-l", "warn", "--without-web"]
    app.main()
