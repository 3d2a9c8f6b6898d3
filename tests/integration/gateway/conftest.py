"""A gateway process on real Kafka, with clients by plain HTTP."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.support import ledger
from tests.support.answer import Answer
from tests.support.kafka import KafkaBroker
from tests.support.pipeline import Pipeline, Process
from tests.support.process import free_ports
from tests.support.redis import RedisServer

SECRET = "the-secret-of-the-shop-0123456789abcdef"
ORIGIN = "http://127.0.0.1:9999"
BROWSER = {"User-Agent": "Mozilla/5.0 (X11; Linux x86_64) Firefox/130.0", "Accept": "*/*", "Accept-Language": "en"}


@dataclass
class Gateways:
    """Gateways on one port, and what is sent to them."""

    pipeline: Pipeline
    port: int = field(default_factory=lambda: free_ports(1)[0])

    def start(self, **settings: str) -> Process:
        """Start a gateway and wait until it is ready."""
        given = {
            "GATEWAY__PORT": str(self.port),
            "GATEWAY__TENANTS": json.dumps({"shop": SECRET}),
            "GATEWAY__ORIGINS": json.dumps({ORIGIN: "shop"}),
            "GATEWAY__TOKEN_KEY": "a-key-of-tokens-0123456789-0123456789",
            "GATEWAY__SESSION_BURST": "10000",
            "GATEWAY__IP_BURST": "10000",
            "GATEWAY__PRODUCE_DEADLINE_S": "2",
            **settings,
        }
        process = self.pipeline.start("gateway", **given)
        process.wait_ready()
        return process

    def post(
        self, path: str, body: bytes, headers: dict[str, str] | None = None, port: int | None = None, wait_s: float = 30
    ) -> Answer:
        """One request on a connection of its own. Raises OSError and HTTPException where there is no answer."""
        connection = http.client.HTTPConnection("127.0.0.1", port or self.port, timeout=wait_s)
        try:
            given = {"Content-Type": "text/plain;charset=UTF-8", "Origin": ORIGIN, **BROWSER, **(headers or {})}
            connection.request("POST", path, body, given)
            answer = connection.getresponse()
            return Answer(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())
        finally:
            connection.close()

    def open(self, **body: Any) -> dict[str, Any]:
        """Open a session as the app's server does."""
        headers = {"Authorization": f"Bearer {SECRET}", "Content-Type": "application/json"}
        answer = self.post("/v1/sessions", json.dumps(body or {"flow": "signup"}).encode(), headers)
        assert answer.status == 201, answer.body
        found: dict[str, Any] = answer.json
        return found

    @staticmethod
    def event(session: dict[str, Any], sequence: int, **more: Any) -> dict[str, Any]:
        """One event of a session."""
        return {
            "type": "capture.telemetry.v1",
            "event_id": f"{session['session_id']}-{sequence}",
            "session_id": session["session_id"],
            "nonce": session["nonce"],
            "sequence": sequence,
            "effective_at": now_ms() - 500,
            "collector": {"name": "tellwire-web", "version": "1.0.0"},
            "pointer": {"t": [0, 8, 16], "x": [1, 2, 3], "y": [4, 5, 6], "pointer_type": "mouse"},
            **more,
        }

    @staticmethod
    def batch(session: dict[str, Any], events: list[Any], **more: Any) -> bytes:
        """The body of a request."""
        return json.dumps({"token": session["token"], "sent_at": now_ms(), "events": events, **more}).encode()

    def send(self, session: dict[str, Any], events: list[Any], wait_s: float = 30, **more: Any) -> Answer:
        """Send events as a collector does."""
        return self.post("/v1/telemetry", self.batch(session, events, **more), wait_s=wait_s)

    def send_until_taken(self, session: dict[str, Any], events: list[Any], seconds: float = 60) -> int:
        """Send the same events until they are taken, as a collector does; return how often that was."""
        deadline = time.monotonic() + seconds
        tries = 0
        while time.monotonic() < deadline:
            tries += 1
            try:
                answer = self.send(session, events)
            except (OSError, http.client.HTTPException):
                time.sleep(0.1)
                continue
            if answer.status == 200:
                assert answer.json == {"accepted": len(events), "refused": []}
                return tries
            assert answer.status == 503, answer.body
            assert int(answer.headers["retry-after"]) >= 1
            time.sleep(0.3)
        raise AssertionError("not taken in time")

    def in_kafka(self) -> list[ledger.Record]:
        """All records of the telemetry topic."""
        return list(ledger.read_topic(self.pipeline.bootstrap or self.pipeline.broker.bootstrap, "capture.telemetry"))

    def events(self) -> list[tuple[str, int]]:
        """Session and sequence of every record, in their order by partition."""
        found = [json.loads(record.value or b"{}") for record in self.in_kafka()]
        return [(event["session_id"], event["sequence"]) for event in found]


def now_ms() -> int:
    return time.time_ns() // 1_000_000


@pytest.fixture
def gateways(kafka_broker: KafkaBroker, redis_server: RedisServer, tmp_path: Path) -> Iterator[Gateways]:
    """Four partitions; nothing started yet."""
    pipeline = Pipeline(kafka_broker, redis_server, tmp_path)
    pipeline.create_topics(4)
    yield Gateways(pipeline)
    pipeline.stop_all()
