"""A gateway without server and without Kafka: settings, a producer that keeps what it is given, requests by hand."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from confluent_kafka import KafkaError

from schemas.envelope import decode
from schemas.telemetry import Telemetry
from stream.gateway.app import make_app
from stream.gateway.metrics import GatewayMetrics
from stream.gateway.outlet import Outlet
from stream.gateway.service import Gateway
from stream.settings import Settings
from stream.transport import FailedRecord, OutRecord, ProduceError
from tests.support.answer import Answer

SECRET = "the-secret-of-the-shop-0123456789abcdef"
OTHER_SECRET = "the-secret-of-the-bank-0123456789abcdef"
ORIGIN = "https://shop.example"
NOW_MS = 1_790_000_000_000


def settings(**gateway: Any) -> Settings:
    return Settings(
        keys={"ref_key": "a-key-of-references-0123456789"},
        gateway={
            "tenants": {"shop": SECRET, "bank": OTHER_SECRET},
            "origins": {ORIGIN: "shop", "https://bank.example": "bank"},
            "token_key": "a-key-of-tokens-0123456789-0123456789",
            **gateway,
        },
    )


@dataclass
class FakeProducer:
    """Keeps what it is given; fails while `is_away`."""

    taken: list[OutRecord] = field(default_factory=list)
    is_away: bool = False
    tries: int = 0
    in_flight_bytes: int = 0

    async def produce_batch(self, records: Sequence[OutRecord]) -> None:
        self.tries += 1
        if self.is_away:
            error = KafkaError(KafkaError._MSG_TIMED_OUT, "timed out")
            raise ProduceError([FailedRecord(i, r, error, True) for i, r in enumerate(records)], len(records))
        self.taken += records


class World:
    """One gateway, its clocks, and its clients."""

    def __init__(self, **gateway: Any) -> None:
        self.settings = settings(**gateway)
        self.metrics = GatewayMetrics()
        self.producer = FakeProducer()
        self.now_ms = NOW_MS
        self.bytes_read = 0
        self.clock_s = 100.0
        self.outlet = Outlet(
            self.producer, self.metrics, self.settings.gateway.max_in_flight_bytes, lambda: self.clock_s
        )
        self.gateway = Gateway(self.settings, self.outlet, self.metrics, lambda: self.now_ms, lambda: self.clock_s)
        self.connections = 1
        self.app = make_app(self.gateway, self.metrics, self.settings.gateway, connections=lambda: self.connections)

    async def send(
        self,
        path: str,
        body: bytes | list[bytes],
        headers: dict[str, str] | None = None,
        *,
        method: str = "POST",
        peer: str = "203.0.113.7",
    ) -> Answer:
        """One request through the whole application."""
        parts = [body] if isinstance(body, bytes) else list(body)
        given = {
            "content-type": "text/plain;charset=UTF-8",
            "content-length": str(sum(map(len, parts))),
            "origin": ORIGIN,
            "user-agent": "Mozilla/5.0",
            **(headers or {}),
        }
        sent: list[dict[str, Any]] = []

        async def receive() -> dict[str, Any]:
            part = parts.pop(0) if parts else b""
            self.bytes_read += len(part)
            return {"type": "http.request", "body": part, "more_body": bool(parts)}

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "root_path": "",
            "scheme": "http",
            "headers": [(k.encode(), v.encode("latin-1")) for k, v in given.items() if v != "-"],
            "client": (peer, 40_000),
            "server": ("127.0.0.1", 8470),
            "state": {},
        }
        await self.app(scope, receive, send)  # type: ignore[arg-type]
        head = sent[0]
        return Answer(
            head["status"],
            {k.decode(): v.decode() for k, v in head["headers"]},
            b"".join(message.get("body", b"") for message in sent[1:]),
        )

    async def open(self, secret: str = SECRET, **body: Any) -> Answer:
        """Open a session as the app's server does."""
        headers = {"authorization": f"Bearer {secret}", "content-type": "application/json", "origin": "-"}
        return await self.send("/v1/sessions", json.dumps(body or {"flow": "signup"}).encode(), headers)

    async def telemetry(self, session: dict[str, Any], events: list[Any], **more: Any) -> Answer:
        """Send events as a collector does; `more`: members of the body, or keyword arguments of `send`."""
        given = {name: more.pop(name) for name in ("headers", "peer", "method") if name in more}
        body = {"token": session["token"], "sent_at": self.now_ms, "events": events, **more}
        return await self.send("/v1/telemetry", json.dumps(body).encode(), **given)

    def event(self, session: dict[str, Any], sequence: int = 0, **more: Any) -> dict[str, Any]:
        """One event of a session, as a collector makes it."""
        return {
            "type": "capture.telemetry.v1",
            "event_id": f"{session['session_id']}-{sequence}",
            "session_id": session["session_id"],
            "nonce": session["nonce"],
            "sequence": sequence,
            "effective_at": self.now_ms - 500,
            "collector": {"name": "tellwire-web", "version": "1.0.0"},
            "pointer": {"t": [0, 8.5, 16], "x": [1, 2, 3], "y": [4, 5.25, 6], "pointer_type": "mouse"},
            **more,
        }


async def opened(world: World, **body: Any) -> dict[str, Any]:
    answer = await world.open(**body)
    assert answer.status == 201, answer.body
    found: dict[str, Any] = answer.json
    return found


def records(producer: FakeProducer) -> list[Telemetry]:
    found = [decode(record.value, record.key) for record in producer.taken]
    assert all(isinstance(event, Telemetry) for event in found)
    return found  # type: ignore[return-value]
