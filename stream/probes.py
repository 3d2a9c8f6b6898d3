"""`/livez`, `/readyz` and `/metrics` on one small HTTP endpoint, served from a thread of its own."""

import threading
from collections.abc import Iterable
from typing import Final
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server
from wsgiref.types import StartResponse, WSGIEnvironment

import orjson
from prometheus_client import CollectorRegistry, make_wsgi_app

from stream.health import Health, Phase

_LOOKS_EVERY_S: Final = 0.1
"""How often the thread looks whether it is to end, s: a stop waits for it, and the next process for the stop."""


class _QuietHandler(WSGIRequestHandler):
    timeout = 5.0
    """Longest wait for a client's request, s: there is one thread, and one silent client must not keep it."""

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Say nothing: probes come every few seconds."""


class HealthServer:
    """Serves probes and metrics from a daemon thread until `close`."""

    def __init__(self, health: Health, registry: CollectorRegistry, host: str, port: int) -> None:
        """Bind at once; OSError when the address is taken."""
        metrics_app = make_wsgi_app(registry)

        def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
            path = environ.get("PATH_INFO", "/")
            if path == "/metrics":
                return metrics_app(environ, start_response)  # type: ignore[no-any-return]
            if path == "/livez":
                good = health.is_alive
            elif path == "/readyz":
                good = health.phase is Phase.READY
            else:
                start_response("404 Not Found", [("Content-Type", "text/plain")])
                return [b"/livez /readyz /metrics\n"]
            status = "200 OK" if good else "503 Service Unavailable"
            start_response(status, [("Content-Type", "application/json"), ("Cache-Control", "no-store")])
            return [orjson.dumps(health.report()) + b"\n"]

        self._server: WSGIServer = make_server(host, port, app, handler_class=_QuietHandler)
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(_LOOKS_EVERY_S,), name="probes", daemon=True
        )
        self._thread.start()

    @property
    def port(self) -> int:
        """Port that is served, also where 0 was asked for."""
        return int(self._server.server_port)

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(timeout=5)
