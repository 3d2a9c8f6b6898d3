"""Is the process making progress? `/livez`, `/readyz` and `/metrics` on one small HTTP endpoint.

Alive means progressing: lag without a finished chunk for `stall_s` is a stall. A broker that cannot be reached is not a
stall of ours, so an outage does not restart workers in a storm.
"""

import threading
from collections.abc import Callable, Iterable, Mapping
from enum import StrEnum
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server
from wsgiref.types import StartResponse, WSGIEnvironment

import orjson
from prometheus_client import CollectorRegistry, make_wsgi_app


class Phase(StrEnum):
    """What a process is doing, told apart by its probes."""

    STARTING = "starting"
    READY = "ready"
    STALLED = "stalled"
    STOPPED = "stopped"
    """A partition stands still on purpose: a restart would not help, a person must look."""
    DRAINING = "draining"


class Health:
    """Progress of one process. Thread-safe by single-word reads and writes; `clock` gives monotonic seconds."""

    def __init__(self, stall_s: float, clock: Callable[[], float]) -> None:
        self._stall_s = stall_s
        self._clock = clock
        self._phase = Phase.STARTING
        self._progress_at = clock()
        self._waiting = 0
        self._broker_reachable = True
        self._places: dict[str, tuple[int, float]] = {}
        self._stopped: dict[str, str] = {}

    def ready(self) -> None:
        """Start-up is over: joined, state store reachable, models loaded."""
        if self._phase is Phase.STARTING:
            self._phase = Phase.READY
            self._progress_at = self._clock()

    def draining(self) -> None:
        """A stop was asked for: finish what is in flight, take no more."""
        self._phase = Phase.DRAINING

    def progressed(self) -> None:
        """A chunk was finished."""
        self._progress_at = self._clock()

    def observe(self, waiting_records: int, *, broker_reachable: bool) -> None:
        """Tell how much is waiting and whether the broker answers; nothing waiting counts as progress."""
        self._waiting = waiting_records
        self._broker_reachable = broker_reachable
        if waiting_records == 0 or not broker_reachable:
            self._progress_at = self._clock()

    def observe_partitions(self, partitions: Mapping[str, tuple[int, int]], *, broker_reachable: bool) -> None:
        """Tell of each owned partition where it is and how many records wait: the slowest decides what progress is.

        A partition that was stopped on purpose does not count: `stopped` tells of it.
        """
        now = self._clock()
        places: dict[str, tuple[int, float]] = {}
        for name, (position, waiting) in partitions.items():
            held = self._places.get(name)
            moved = held is None or held[0] != position or waiting == 0 or name in self._stopped
            places[name] = (position, now if moved or held is None else held[1])
        self._places = places
        self.observe(sum(waiting for _, waiting in partitions.values()), broker_reachable=broker_reachable)
        if broker_reachable:
            self._progress_at = min((since for _, since in places.values()), default=now)

    def stop(self, partition: str, reason: str) -> None:
        """A partition stands still on purpose."""
        self._stopped[partition] = reason

    def resume(self, partition: str) -> None:
        """A partition was given up, or goes on."""
        self._stopped.pop(partition, None)

    @property
    def phase(self) -> Phase:
        """Current phase; a ready process that stopped progressing is stalled."""
        if self._phase is not Phase.READY:
            return self._phase
        if self.since_progress_s > self._stall_s and self._waiting > 0:
            return Phase.STALLED
        return Phase.STOPPED if self._stopped else Phase.READY

    @property
    def since_progress_s(self) -> float:
        """Seconds since a chunk was finished or nothing was waiting."""
        return self._clock() - self._progress_at

    def report(self) -> dict[str, object]:
        """Return what the probes answer with."""
        return {
            "phase": self.phase.value,
            "since_progress_s": round(self.since_progress_s, 3),
            "waiting_records": self._waiting,
            "broker_reachable": self._broker_reachable,
            "stopped": dict(self._stopped),
        }


class _QuietHandler(WSGIRequestHandler):
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
            phase = health.phase
            if path == "/livez":
                good = phase is not Phase.STALLED
            elif path == "/readyz":
                good = phase is Phase.READY
            else:
                start_response("404 Not Found", [("Content-Type", "text/plain")])
                return [b"/livez /readyz /metrics\n"]
            status = "200 OK" if good else "503 Service Unavailable"
            start_response(status, [("Content-Type", "application/json"), ("Cache-Control", "no-store")])
            return [orjson.dumps(health.report()) + b"\n"]

        self._server: WSGIServer = make_server(host, port, app, handler_class=_QuietHandler)
        self._thread = threading.Thread(target=self._server.serve_forever, name="health", daemon=True)
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
