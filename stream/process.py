"""What the processes have in common: Faust app, transport options, checks, probes, running until a stop."""

import asyncio
import atexit
import contextlib
import logging
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Final

import faust
import uvloop
from prometheus_client import CollectorRegistry

from stream import kafka_properties, topics
from stream.exit_status import FAILED
from stream.health import Health
from stream.metrics import Metrics
from stream.probes import HealthServer
from stream.records import place
from stream.settings import KafkaSettings, RedisSettings, Settings, SettingsError
from stream.state import ConnectionOptions, RedisStore
from stream.stopping import Stop
from stream.transport import Transport, TransportOptions, TransportStats, faust_settings
from stream.transport_watch import TransportWatch
from stream.waits import NOTICED_S, Dependency
from stream.watchdog import RunningClock, Watchdog

log = logging.getLogger(__name__)

SNAPSHOT_WAIT_S: Final = 5.0
"""Longest wait, at start, for the live models; without them the shipped ones serve until they come."""
FIRST_CHUNK_RECORDS: Final = 8
"""Most records of the first chunks: nothing is cached then, and what they cost is not known. It doubles from there."""
_LAST_TASKS_S: Final = 1.0
"""Longest wait, at a stop, for tasks that still run when everything has stopped."""
_LEAVING_S: Final = 6.0
"""Of the limit of a stop: for leaving the group, and for what was just handed to the producer."""


def places_of(stats: TransportStats, waits: dict[str, Dependency]) -> dict[str, tuple[int, int]]:
    """Return position and waiting records of each partition; add to `waits` those that the broker keeps waiting."""
    found = {}
    for key, one in stats.partitions.items():
        name = place(*key)
        found[name] = (one.position, max(one.lag or 0, one.pending_records + one.is_in_flight))
        if one.is_out_of_reach:
            waits.setdefault(name, "broker")
    return found


def make_store(redis: RedisSettings, state_version: str) -> RedisStore:
    """Return the store of sessions, watermarks and counters, not opened yet."""
    return RedisStore(store_options(redis), state_version=state_version, prefix=redis.key_prefix)


def store_options(redis: RedisSettings) -> ConnectionOptions:
    """Turn settings into how the store is reached."""
    sentinel_password = redis.sentinel_password
    return ConnectionOptions(
        url=redis.url.get_secret_value(),
        cluster=redis.cluster,
        timeout_s=redis.timeout_s,
        sentinel_username=redis.sentinel_username,
        sentinel_password=None if sentinel_password is None else sentinel_password.get_secret_value(),
    )


def make_app(kafka: KafkaSettings, group: str) -> faust.App:
    """Return a Faust app on the librdkafka transport. Its folders, which stay empty, go with the process."""
    brokers = ";".join(part.strip() for part in kafka.bootstrap_servers.split(","))
    try:
        folder = tempfile.mkdtemp(prefix="tellwire-")
    except OSError as error:
        msg = f"no temporary folder can be made ({error.strerror}): set TMPDIR to one that can be written"
        raise SettingsError(msg) from None
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return faust.App(group, broker=f"librdkafka://{brokers}", datadir=folder, **faust_settings())


def transport_options(settings: Settings, group: str, consumed: Iterable[str]) -> TransportOptions:
    """Turn settings into the transport's options."""
    kafka, pipeline = settings.kafka, settings.pipeline
    common: dict[str, Any] = kafka_properties.common(kafka)
    common.pop("bootstrap.servers")
    fixed = kafka.fixed_topic_id
    session_s = kafka.session_timeout_ms / 1000.0
    return TransportOptions(
        common_properties=common,
        consumer_properties=kafka.consumer_properties,
        producer_properties=kafka_properties.producer_only(kafka),
        group_id=group,
        group_protocol=kafka.group_protocol,
        group_instance_id=kafka.group_instance_id,
        session_timeout_s=session_s,
        heartbeat_interval_s=kafka.heartbeat_interval_ms / 1000.0,
        # Drained before the group gives up on this member, and time is left to commit.
        drain_deadline_s=min(4.0, 0.6 * session_s),
        stop_deadline_s=settings.health.stop_s - _LEAVING_S,
        target_loop_s=pipeline.target_chunk_ms / 1000.0,
        initial_chunk_records=FIRST_CHUNK_RECORDS,
        max_chunk_bytes=pipeline.max_chunk_bytes,
        hold_records=pipeline.pending_records,
        pause_high_bytes=pipeline.pending_bytes,
        pause_low_bytes=pipeline.pending_bytes // 2,
        topic_ids={topic: f"{fixed}-{topic}" for topic in consumed} if fixed is not None else {},
    )


class _FaustWorker(faust.Worker):
    """Faust's own worker: plain, without its web server, its banner, its logging set-up and its signal handlers."""

    def __init__(self, app: faust.App, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(app, loop=loop, quiet=True, redirect_stdouts=False, override_logging=False)
        self.spinner = None  # it writes terminal codes also where there is no terminal

    def install_signal_handlers(self) -> None:
        """Do nothing: the process' own are there from start to end; Faust's start a debugger on SIGUSR2."""

    async def _sentinel_task(self) -> None:
        """Do nothing: Faust would sleep for a second at the end of every stop."""

    def _gather_all(self) -> None:
        """Wait until what still runs has ended, a second at most, and cancel the rest: Faust looks each 0.1 s only."""
        left = asyncio.all_tasks(self.loop)
        if left:
            _, left = self.loop.run_until_complete(asyncio.wait(left, timeout=_LAST_TASKS_S))
        for task in left:
            task.cancel()


def run_faust(
    app: faust.App,
    loop: asyncio.AbstractEventLoop,
    stop: Stop,
    watchdog: Watchdog,
    draining: Callable[[], None],
) -> None:
    """Run a Faust app until `stop` is asked for; `draining` is told at once. Raises SystemExit where the app failed."""
    app.finalize()
    worker = _FaustWorker(app, loop)

    def begin_to_stop() -> None:
        draining()
        worker._on_sigterm()  # noqa: SLF001 - its way to stop once; Faust has no public one that a callback may call

    def asked() -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: it has stopped already
            loop.call_soon_threadsafe(begin_to_stop)

    stop.running(asked)
    if stop.is_asked:
        # While it was starting, at a moment in which Python can't end by an exception.
        raise SystemExit(0)
    loop.call_soon(watchdog.watch_loop)
    watchdog.start()
    try:
        worker.execute_from_commandline()
    except SystemExit as done:
        if done.code not in (None, 0):
            raise
    finally:
        watchdog.close()


class Lifecycle:
    """What worker and learner have around their app: health, probes, watchdog, the transport's metrics, one stop."""

    def __init__(
        self, app: faust.App, transport: Transport, metrics: Metrics, settings: Settings, stop: Stop | None
    ) -> None:
        clock = RunningClock()
        limits = settings.health
        self.health = Health(limits.stall_s, clock, limits.restart_s)
        self._app = app
        self._transport = transport
        self._metrics = metrics
        self._settings = settings
        self._stop = stop or Stop(limits.stop_s)
        self._watchdog = Watchdog(self.health, clock, metrics, limits.restart_s, transport.last_poll)
        self._watch = TransportWatch()
        metrics.registry.register(self._watch)
        app.on_before_shutdown.connect(self._draining)

    def look(self) -> TransportStats:
        """Return the transport's figures as of now, which are exported until the next look."""
        self._watch.stats = stats = self._transport.stats()
        return stats

    def observe(self, stats: TransportStats, places: dict[str, tuple[int, int]], waits: dict[str, Dependency]) -> None:
        """Tell the health where each partition is, and which of them wait for what."""
        self.health.observe_partitions(places, broker_reachable=stats.brokers_away_s < NOTICED_S, waits=waits)

    def serving(self, name: str, *ends: Callable[[], object]) -> AbstractContextManager[None]:
        """Serve probes and metrics meanwhile; then call `ends`, and say how it ended. Raises SettingsError."""
        return serving(name, self.health, self._metrics.registry, self._settings, self._stop, *ends)

    def run(self, loop: asyncio.AbstractEventLoop) -> None:
        """Run the app until a stop is asked for; everything in flight is finished first."""
        run_faust(self._app, loop, self._stop, self._watchdog, self._drain)

    async def _draining(self, *_: object, **__: object) -> None:
        """The app stops, for whatever reason."""
        self._stop.begin()
        self._drain()

    def _drain(self) -> None:
        self.health.draining()
        self._metrics.ready.set(0)


def new_event_loop() -> asyncio.AbstractEventLoop:
    """Return a loop that is this thread's from now on."""
    loop = uvloop.new_event_loop()
    asyncio.set_event_loop(loop)
    return loop


def check_topics(kafka: KafkaSettings, names: Sequence[str]) -> dict[str, int]:
    """Return these topics' partition counts. Raises BrokerError when one is missing, SettingsError for a property."""
    kafka_properties.check(kafka)
    counts = topics.partition_counts(kafka_properties.common(kafka), names)
    missing = [name for name in names if name not in counts]
    if missing:
        msg = f"topics missing on {kafka.bootstrap_servers}: {', '.join(missing)}; run `tellwire topics apply`"
        raise topics.BrokerError(msg)
    return counts


@contextmanager
def serving(
    name: str,
    health: Health,
    registry: CollectorRegistry,
    settings: Settings,
    stop: Stop,
    *ends: Callable[[], object],
) -> Iterator[None]:
    """Serve probes and metrics meanwhile; then call `ends`, and say how it ended. Raises SettingsError."""
    server = serve(health, registry, settings)
    status = FAILED
    try:
        yield
        status = 0
    finally:
        for end in ends:
            end()
        if server is not None:
            server.close()
        log.info("%s stopped", name)
        stop.ended(status)


def serve(health: Health, registry: CollectorRegistry, settings: Settings) -> HealthServer | None:
    """Serve probes and metrics, unless they are switched off. Raises SettingsError when the port is taken."""
    if not settings.metrics.enabled:
        return None
    try:
        server = HealthServer(health, registry, settings.metrics.host, settings.metrics.port)
    except OSError as error:
        msg = (
            f"metrics.port (TELLWIRE_METRICS__PORT): {settings.metrics.host}:{settings.metrics.port} can't be served: "
            f"{error.strerror}; give another one, or 0 for any free one"
        )
        raise SettingsError(msg) from None
    log.info("serving /metrics, /livez and /readyz", extra={"host": settings.metrics.host, "port": server.port})
    return server
