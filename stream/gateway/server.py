"""The gateway process: Uvicorn around the application, probes and metrics beside it, one stop that loses nothing.

Stopping: no new connection is taken, what is in work is answered, then the producer ends. More gateways on one machine
share a port (SO_REUSEPORT); they share nothing else.
"""

import asyncio
import logging
import socket
from typing import Final

from schemas.topics import TELEMETRY_TOPIC
from stream import __version__, kafka_properties
from stream.exit_status import FAILED
from stream.gateway.app import make_app
from stream.gateway.bounded_http import Guests, bounded_http
from stream.gateway.metrics import GatewayMetrics
from stream.gateway.outlet import Outlet
from stream.gateway.service import Gateway
from stream.health import Health
from stream.http_server import server
from stream.process import check_topics, new_event_loop, serving
from stream.settings import Settings, SettingsError
from stream.stopping import Stop
from stream.transport import TransportFatalError, TransportOptions
from stream.transport.producer import Producer
from stream.watchdog import RunningClock, Watchdog

log = logging.getLogger(__name__)

BACKLOG: Final = 1_024
BEAT_S: Final = 0.5
_PRODUCER_ENDS_S: Final = 1.5
"""Of the limit of a stop: for the producer, and the process itself."""


class GatewayProcess:
    """One gateway process."""

    def __init__(self, settings: Settings, stop: Stop) -> None:
        """Check everything, connect to nobody but the broker. Raises SettingsError, BrokerError with one line each."""
        own = settings.gateway
        self._settings = settings
        self._stop = stop
        self.metrics = GatewayMetrics()
        self.metrics.build_info.labels(__version__).set(1)
        kafka = settings.kafka
        common = kafka_properties.common(kafka)
        bootstrap = common.pop("bootstrap.servers")
        options = TransportOptions(
            common_properties=common,
            producer_properties=kafka_properties.producer_only(kafka),
            # What is beyond it is refused before it comes here.
            max_in_flight_bytes=2 * own.max_in_flight_bytes,
            produce_deadline_s=own.produce_deadline_s,
        )
        self._producer = Producer(bootstrap, options, self._died)
        self._outlet = Outlet(self._producer, self.metrics, own.max_in_flight_bytes)
        self._gateway = Gateway(settings, self._outlet, self.metrics)
        self._guests = Guests(
            own.ip_connections,
            self._gateway.edge.connection_key,
            self.metrics.rate_limited.labels("ip_connections").inc,
        )
        clock = RunningClock()
        limits = settings.health
        self._health = Health(limits.stall_s, clock, limits.restart_s)
        self._watchdog = Watchdog(
            self._health, clock, self.metrics, limits.restart_s, unfinished="clients send again what was not answered"
        )
        check_topics(kafka, [TELEMETRY_TOPIC])
        self._socket = _listen(own.host, own.port)
        # It warns of every request that is no HTTP.
        logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
        self._server = server(
            make_app(self._gateway, self.metrics, own, connections=self._connections),
            stop_s=max(1, int(limits.stop_s - _PRODUCER_ENDS_S - 1)),
            http=bounded_http(self._guests),
        )
        self._is_dead = False

    def run(self) -> None:
        """Serve until a signal stops it. Raises SettingsError, and SystemExit where the producer died."""
        loop = new_event_loop()
        with serving("gateway", self._health, self.metrics.registry, self._settings, self._stop):
            loop.run_until_complete(self._run(loop))
            if self._is_dead:
                raise SystemExit(FAILED)

    async def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        self._stop.running(lambda: loop.call_soon_threadsafe(self._drain))
        self._producer.start()
        beat = asyncio.create_task(self._beat())
        self._watchdog.watch_loop()
        self._watchdog.start()
        host, port = self._socket.getsockname()[:2]
        log.info("gateway listening", extra={"host": host, "port": port})
        try:
            await self._server.serve(sockets=[self._socket])
        finally:
            self._drain()
            beat.cancel()
            self._watchdog.close()
            left = await self._producer.close(_PRODUCER_ENDS_S)
            if left:
                # Their requests were answered with 503, or cut off: clients send them again.
                log.warning("stopped with %d records that Kafka did not acknowledge", left)

    def _connections(self) -> int:
        return len(self._server.server_state.connections)

    def _drain(self) -> None:
        self._health.draining()
        self.metrics.ready.set(0)
        self._server.should_exit = True

    def _died(self, error: TransportFatalError) -> None:
        """The producer is dead: nothing can be taken any more, so another process must begin anew."""
        log.critical("%s; the gateway ends, start it again", error)
        self._is_dead = True
        self._stop.begin()
        self._drain()

    async def _beat(self) -> None:
        while True:
            if self._server.started and not self._server.should_exit:
                self._health.ready()
                self.metrics.ready.set(1)
            self.metrics.in_flight_bytes.set(self._outlet.in_flight_bytes)
            self.metrics.connections.set(self._connections())
            self.metrics.ip_connections.set(self._guests.shares.largest)
            self._gateway.observe()
            await asyncio.sleep(BEAT_S)


def _listen(host: str, port: int) -> socket.socket:
    """Bind and listen. Raises SettingsError where the address can't be had."""
    listener = None
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
    except OSError as error:
        if listener is not None:
            listener.close()
        raise SettingsError(
            f"gateway.host and gateway.port (TELLWIRE_GATEWAY__PORT): {host}:{port} can't be served: {error.strerror}"
        ) from None
    listener.settimeout(0.0)
    return listener
