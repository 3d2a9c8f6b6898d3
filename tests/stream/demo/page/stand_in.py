"""A stand-in for gateway and pipeline: opens sessions, takes telemetry, and answers each event with a risk event.

`risks` says, by the event's number in its session, what it is answered with.
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import msgspec

from schemas.risk import RiskEvent
from schemas.telemetry import Telemetry
from stream.demo.page import server
from stream.demo.page.door import Door
from stream.demo.page.server import PageServer
from tests.stream.demo.fake_worker import risk_of

SECRET = "a-secret-of-the-page-0123456789abcdef"


def naive_risk(event: Telemetry) -> RiskEvent:
    """Allow at first; from the second event on block."""
    return risk_of(event, 0, 4 if event.sequence >= 1 else 0)


class StandIn:
    """Gateway and pipeline in one, and the page in front of them."""

    def __init__(self, risks: Callable[[Telemetry], RiskEvent] = naive_risk) -> None:
        self.risks = risks
        self.opened = 0
        self.flows: list[str] = []
        self.renewed: list[str] = []
        self.sent: list[dict[str, Any]] = []
        self.bodies: list[bytes] = []
        self.closed_for: float = 0.0
        """Until this time, monotonic, it answers 503."""
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.stand_in = self
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()
        self.port: int = self._server.server_address[1]
        self.page = PageServer(server.listen(None, 0), Door(self.port, SECRET))
        self.page.start()

    def close(self) -> None:
        self.page.stop()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def end_bots(self) -> None:
        """End every bot that a page unleashed, and wait until all are gone."""
        asyncio.run_coroutine_threadsafe(self.page._page.bots.close(), self.page._loop).result(60)

    def open(self, body: dict[str, Any]) -> dict[str, Any]:
        if "renew" in body:
            self.renewed.append(body["renew"])
        else:
            self.opened += 1
            self.flows.append(body["flow"])
        session_id = f"s_session-{self.opened}"
        now = time.time_ns() // 1_000_000
        told = {"session_id": session_id, "nonce": "n_1", "token": f"v1.{self.opened}.{len(self.renewed)}"}
        return {**told, "expires_at": now + 60_000, "flow": body.get("flow", "signup")}

    def bodies_after(self, opened: int) -> list[bytes]:
        """What sessions sent that were opened behind the first `opened`: a page that was closed may still send."""
        return [raw for raw in self.bodies if int(json.loads(raw)["token"].split(".")[1]) > opened]

    def take(self, raw: bytes) -> dict[str, Any]:
        body = json.loads(raw)
        self.bodies.append(raw)
        now = time.time_ns() // 1_000_000
        for event in body["events"]:
            self.sent.append(event)
            telemetry = msgspec.convert({**event, "tenant": "demo", "flow": "signup", "observed_at": now}, Telemetry)
            self.page.take(self.risks(telemetry), now + 3, now + 5, None)
        return {"accepted": len(body["events"]), "refused": []}


class _Server(ThreadingHTTPServer):
    stand_in: StandIn
    daemon_threads = True


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_POST(self) -> None:
        raw = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        if time.monotonic() < self.server.stand_in.closed_for:
            self._write(503, {"code": "overloaded", "retry_after_s": 1})
        elif self.path == "/v1/sessions":
            is_known = self.headers.get("Authorization") == f"Bearer {SECRET}"
            self._write(201 if is_known else 401, self.server.stand_in.open(json.loads(raw)) if is_known else {})
        else:
            self._write(200, self.server.stand_in.take(raw))

    def _write(self, status: int, body: dict[str, Any]) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        if origin := self.headers.get("Origin"):
            self.send_header("Access-Control-Allow-Origin", origin)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as the base class names it
        """Say nothing: what fails is asserted."""
