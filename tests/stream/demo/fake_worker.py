"""A stand-in for the worker in tests of the demo's orchestration: answers each telemetry record with a risk event.

It decides by the record's offset alone. Environment: BOOTSTRAP, METRICS_PORT, DIE_AFTER (records).
"""

from __future__ import annotations

import http.server
import os
import signal
import sys
import threading
import time
from typing import Any

import msgspec
from confluent_kafka import Consumer, Producer, TopicPartition

from schemas.risk import ChannelScore, Decision, Policy, Reason, RiskEvent, Scores, Source, Versions
from schemas.telemetry import Telemetry

METRICS = """# TYPE tellwire_received_to_acked_seconds histogram
tellwire_received_to_acked_seconds_bucket{le="0.001"} 50.0
tellwire_received_to_acked_seconds_bucket{le="0.01"} 100.0
tellwire_received_to_acked_seconds_bucket{le="+Inf"} 100.0
"""


class Answers(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(METRICS.encode())

    def log_message(self, *_: object) -> None:
        pass


def risk_of(event: Telemetry, partition: int, offset: int) -> RiskEvent:
    """A risk event that blocks at each fifth offset and allows at all others."""
    score = 0.99 if offset % 5 == 4 else 0.3
    now = time.time_ns() // 1_000_000
    return RiskEvent(
        evaluation_id=f"embedded:{partition}:{offset}",
        event_id=event.event_id,
        session_id=event.session_id,
        tenant=event.tenant,
        flow=event.flow,
        source=Source(topic="capture.telemetry", topic_id="embedded", partition=partition, offset=offset),
        sequence=event.sequence + 1,
        evaluation_status="superseding" if event.sequence else "new",
        is_final=event.end is not None,
        effective_at=event.effective_at,
        observed_at=event.observed_at,
        ingested_at=now,
        scored_at=now,
        observed_s=0.5 * (event.sequence + 1),
        scores=Scores(
            overall=score,
            overall_anytime=score,
            bot=ChannelScore(state="scored", score=score, score_anytime=score),
            anomaly=ChannelScore(state="no_data"),
        ),
        risk_score=int(100 * score),
        risk_level="very_high" if score > 0.9 else "low",
        decision=Decision(
            action="block" if score > 0.9 else "allow", policy=Policy(id="fake", revision="0", rule="fake")
        ),
        reasons=[
            Reason(
                code="STAND_IN_RULE_UNLIKE_PEOPLE",
                category="behaviour",
                weight=1.0,
                polarity="risk",
                evidence="a stand-in decided",
                basis="rule",
                channel="bot",
            )
        ],
        signals={},
        coverage=1.0,
        missing_signals=[],
        degraded=[],
        velocity={},
        versions=Versions(pipeline="0", features="0", models={}, calibration="0", policy="0"),
        latency_ms={"total": 1.5},
    )


def main(role: str) -> None:
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    server = http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["TELLWIRE_METRICS__PORT"])), Answers)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    if role == "learner":
        stop.wait()
        return
    where: dict[str, Any] = {"bootstrap.servers": os.environ["TELLWIRE_KAFKA__BOOTSTRAP_SERVERS"]}
    consumer = Consumer(where | {"group.id": "fake", "auto.offset.reset": "earliest", "fetch.wait.max.ms": 5})
    consumer.assign([TopicPartition("capture.telemetry", p, 0) for p in range(4)])
    producer = Producer(where)
    decoder, n, die_after = msgspec.json.Decoder(Telemetry), 0, int(os.environ.get("DIE_AFTER", "0"))
    while not stop.is_set():
        for message in consumer.consume(200, 0.05):
            assert message.error() is None
            partition, offset = message.partition() or 0, message.offset() or 0
            event = decoder.decode(message.value() or b"")
            producer.produce(
                "risk.events",
                key=event.session_id,
                value=msgspec.json.encode(risk_of(event, partition, offset)),
                partition=partition,
            )
            n += 1
            if die_after and n >= die_after:
                print("something went wrong in the stand-in", flush=True)
                os._exit(3)
        producer.poll(0)
    producer.flush(5)
    consumer.close()


if __name__ == "__main__":
    main(sys.argv[1])
