"""A small site on 127.0.0.1 for browser tests: pages under a strict policy, the collector, and a receiver of events.

The receiver keeps every byte of every request, and answers as the gateway would, or as a test says.
"""

from __future__ import annotations

import json
import mimetypes
import threading
from collections import deque
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

import msgspec

TELEMETRY: Final = "/v1/telemetry"
STRICT_POLICY: Final = (
    "default-src 'none'; script-src 'self'; connect-src 'self'; worker-src 'self'; style-src 'self'; "
    "frame-src 'none'; base-uri 'none'; form-action 'self'; require-trusted-types-for 'script'; trusted-types tellwire"
)


class Received(msgspec.Struct, frozen=True):
    """One request for telemetry, whole."""

    target: str
    headers: Mapping[str, str]
    body: bytes
    status: int
    """What it was answered."""

    def sent(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.body)
        return found


class Answer(msgspec.Struct, frozen=True):
    """What to answer to one request. `status` 0: close the connection without a word."""

    status: int
    body: Mapping[str, Any] = msgspec.field(default_factory=dict)
    headers: Mapping[str, str] = msgspec.field(default_factory=dict)
    after: Callable[[], object] | None = None
    """Called before the answer is written, to hold it back."""


class CaptureSite:
    """Serve folders by the beginning of their files' paths, and receive telemetry, until `close`."""

    def __init__(self, folders: Mapping[str, Path], policy: str = STRICT_POLICY) -> None:
        self.policy = policy
        self.received: list[Received] = []
        self.answers: deque[Answer] = deque()
        self.reports: list[str] = []
        self._folders = folders
        self._lock = threading.Lock()
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.site = self
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def reset(self) -> None:
        """Forget what was received, and answer as the gateway does."""
        with self._lock:
            self.received.clear()
            self.answers.clear()

    def events(self, *, status: int = 200) -> list[dict[str, Any]]:
        """Every event that was answered with `status`, in the order in which it came."""
        with self._lock:
            return [event for one in self.received if one.status == status for event in one.sent()["events"]]

    def everything(self) -> list[bytes]:
        """Every byte that left the page for the receiver: targets, headers and bodies."""
        with self._lock:
            return [
                part
                for one in self.received
                for part in (one.target.encode(), json.dumps(dict(one.headers)).encode(), one.body)
            ]

    def answer(self, target: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """Keep one request, and say what to answer."""
        with self._lock:
            answer = self.answers.popleft() if self.answers else None
            if answer is None:
                answer = Answer(200, {"accepted": len(json.loads(body)["events"]), "refused": []})
            self.received.append(Received(target, headers, body, answer.status))
        return answer

    def file(self, target: str) -> Path | None:
        """The file to serve at a path, if there is one."""
        for prefix, folder in self._folders.items():
            path = (folder / target.removeprefix(prefix)).resolve()
            if target.startswith(prefix) and path.is_file() and path.is_relative_to(folder):
                return path
        return None


class _Server(ThreadingHTTPServer):
    site: CaptureSite
    daemon_threads = True


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_GET(self) -> None:
        path = self.server.site.file(self.path.partition("?")[0])
        if path is None:
            self._write(404, b"", {})
            return
        kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
        headers = {"Content-Type": f"{kind}; charset=utf-8", "Cache-Control": "no-store"}
        if kind == "text/html":
            headers["Content-Security-Policy"] = self.server.site.policy
        self._write(200, path.read_bytes(), headers)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        if self.path != TELEMETRY:
            self._write(404, b"", {})
            return
        answer = self.server.site.answer(self.path, dict(self.headers.items()), body)
        if answer.after is not None:
            answer.after()
        if answer.status == 0:
            self.close_connection = True
            return
        headers = {"Content-Type": "application/json", **answer.headers}
        self._write(answer.status, json.dumps(dict(answer.body)).encode(), headers)

    def _write(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
        self.send_response_only(status)
        headers = {"Date": self.date_time_string(), **headers}
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as the base class names it
        """Say nothing: what fails is asserted."""
