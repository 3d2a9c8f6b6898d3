"""Puts a worker together: settings, artefacts, store, transport, Faust app; starts it and stops it.

Everything that can be wrong is found before the group is joined, and told in one line.
"""

import asyncio
import atexit
import gc
import logging
import shutil
import tempfile
import time
from collections.abc import Iterable, Sequence
from typing import Any

import faust
import uvloop

from features.session import STATE_VERSION, warm_up
from models.engine import Engine
from stream import __version__, kafka_properties, logs, topics
from stream.agents import SIGNALS_TOPIC, TELEMETRY_TOPIC, Tasks, register
from stream.deadletter import DEADLETTER_TOPIC, DeadLetterLimit
from stream.door import Door
from stream.evaluation import FEATURES_TOPIC, RISK_TOPIC, Evaluator
from stream.health import Health, HealthServer
from stream.metrics import Metrics
from stream.ownership import Ownership
from stream.partition import OwnedPartition
from stream.pipeline import LineStopped, Pipeline
from stream.refs import RefHasher
from stream.sampling import FeatureSampler
from stream.settings import KafkaSettings, RedisSettings, Settings, SettingsError
from stream.snapshots import SNAPSHOTS_TOPIC, SnapshotReader
from stream.state import ConnectionOptions, RedisStore, StateStore, WatermarkConflict
from stream.transport import (
    Chunk,
    PartitionKey,
    ProduceError,
    Transport,
    TransportFatalError,
    TransportOptions,
    configure,
    faust_settings,
)
from stream.transport_watch import TransportWatch

log = logging.getLogger(__name__)

SNAPSHOT_WAIT_S = 5.0
"""Longest wait, at start, for the live models; without them the shipped ones serve until they come."""


class Worker:
    """One worker process: scores `capture.telemetry` and forwards `capture.signals`."""

    def __init__(self, settings: Settings) -> None:
        """Load and check everything. Raises SettingsError, ArtifactError, BrokerError with one line each."""
        self._settings = settings
        self._refs = RefHasher(settings.keys)
        self.engine = Engine.load(settings.artefacts.directory, policy=settings.artefacts.policy_file)
        warm_up()
        counts = self._checked_topics(settings.kafka)
        self._consumer_properties = kafka_properties.consumer(settings.kafka)
        self.metrics = Metrics()
        self.health = Health(settings.health.stall_s, time.monotonic)
        self.store: StateStore = make_store(settings.redis, f"{STATE_VERSION}.{counts[TELEMETRY_TOPIC]}")
        self._snapshots = SnapshotReader(self._consumer_properties, self.metrics)
        self._tasks = Tasks()
        self.ownership = Ownership(
            scored_topic=TELEMETRY_TOPIC,
            events_topic=RISK_TOPIC,
            store=self.store,
            consumer_properties=self._consumer_properties,
            new_limit=lambda: DeadLetterLimit(
                settings.pipeline.deadletter_limit_ratio, settings.pipeline.deadletter_limit_window
            ),
            session_ttl_ms=settings.redis.session_ttl_s * 1000,
            metrics=self.metrics,
            now_ms=_now_ms,
            assigned=self._assigned,
            dropped=self._dropped,
            fail=self._fail,
        )
        self.app = make_app(settings.kafka, settings.kafka.group)
        self.transport: Transport = configure(
            self.app,
            transport_options(settings, settings.kafka.group, (TELEMETRY_TOPIC, SIGNALS_TOPIC)),
            self.ownership,
        )
        publish = self.transport.producer.produce_batch
        self._pipeline = Pipeline(
            evaluator=Evaluator(
                self.engine,
                self._snapshots,
                FeatureSampler(settings.pipeline.features_sessions_per_s, settings.pipeline.features_share),
                settings.keys.ref_key_version,
                _now_ms,
            ),
            store=self.store,
            publish=publish,
            refs=self._refs,
            metrics=self.metrics,
            session_ttl_ms=settings.redis.session_ttl_s * 1000,
            counters_refresh_ms=settings.pipeline.counters_refresh_ms,
            cached_sessions=lambda: settings.pipeline.cached_sessions // max(1, len(self.ownership.owned)),
        )
        self._door = Door(TELEMETRY_TOPIC, publish, self.metrics)
        register(self.app, TELEMETRY_TOPIC, self._score, self._tasks)
        register(self.app, SIGNALS_TOPIC, self._forward, self._tasks)
        self._watch = TransportWatch()
        self.metrics.registry.register(self._watch)
        self.app.timer(1.0)(self._tick)
        self.app.on_before_shutdown.connect(self._draining)
        self.metrics.build_info.labels(
            __version__, str(self.engine.versions["features"])[:12], str(self.engine.versions["policy"])[:12]
        ).set(1)

    def run(self) -> None:
        """Run until a signal stops it; everything in flight is finished first."""
        settings = self._settings
        loop = uvloop.new_event_loop()
        asyncio.set_event_loop(loop)
        loop.run_until_complete(self.store.open())
        for warning in getattr(self.store, "warnings", ()):
            log.warning("state store: %s", warning)
        if not self._snapshots.start(SNAPSHOT_WAIT_S):
            log.warning("the live models were not read in %s s; shipped ones serve until they are", SNAPSHOT_WAIT_S)
        server = serve(self.health, self.metrics, settings)
        quiet_garbage_collector()
        log.info("worker starting", extra={"version": __version__, "group": settings.kafka.group})
        try:
            run_faust(self.app, loop)
        finally:
            self._snapshots.stop()
            if server is not None:
                server.close()
            log.info("worker stopped")

    async def _score(self, chunk: Chunk) -> None:
        """Process a chunk of telemetry; what may go wrong is decided here, per partition."""
        owned = self.ownership.owned.get(chunk.partition)
        if owned is None or not chunk.is_current():
            # An earlier ownership's: it must not touch what this one holds.
            chunk.abandon("not owned")
            return
        try:
            await self._pipeline.process(owned, chunk)
        except WatermarkConflict as conflict:
            await self._go_on_from_store(owned, chunk, conflict)
        except LineStopped as stopped:
            self._stand_still(chunk, "dead_letters", stopped)
        except ProduceError as error:
            self._not_delivered(chunk, error)
        except Exception as error:  # noqa: BLE001 - whatever it is, the partition's next chunk must have its chance
            self._unexpected(chunk, error)

    async def _forward(self, chunk: Chunk) -> None:
        """Forward a chunk of the door's signals."""
        try:
            await self._door.process(chunk)
        except ProduceError as error:
            self._not_delivered(chunk, error)
        except Exception as error:  # noqa: BLE001 - whatever it is, the partition's next chunk must have its chance
            self._unexpected(chunk, error)
            chunk.abandon("error")

    async def _go_on_from_store(self, owned: OwnedPartition, chunk: Chunk, conflict: WatermarkConflict) -> None:
        """The store holds another watermark: rewind first, then give up the chunk: nothing starts in between."""
        log.warning("%s; going on from there", conflict)
        try:
            while chunk.is_current():
                try:
                    start = await self.ownership.resume(owned, conflict.found, chunk.finished)
                except topics.BrokerError as error:
                    log.warning("where to go on from is not known yet: %s", error)
                    await asyncio.sleep(1.0)
                    continue
                self.transport.rewind(chunk.topic, chunk.partition, start)
                return
        except TransportFatalError as error:
            self._fail(error)
        finally:
            chunk.abandon("watermark conflict")

    @staticmethod
    def _unexpected(chunk: Chunk, error: Exception) -> None:
        """Tell of a defect or an outage that nobody foresaw: type and frames, as a text may hold an identifier."""
        told = {"topic": chunk.topic, "partition": chunk.partition}
        cause = {"error_type": type(error).__name__, "frames": logs.frames(error)}
        log.error("a chunk could not be processed; it is read again", extra=told | cause)

    def _not_delivered(self, chunk: Chunk, error: ProduceError) -> None:
        """Read again what may be delivered later; stand still for what never will be."""
        if all(failed.retriable for failed in error.failures):
            log.error(
                "not delivered, read again: %s", error, extra={"topic": chunk.topic, "partition": chunk.partition}
            )
            return
        self._stand_still(chunk, "not_delivered", error)

    def _stand_still(self, chunk: Chunk, reason: str, error: Exception) -> None:
        """Stop one partition, loudly, until it is given up or the worker starts again."""
        told = {"topic": chunk.topic, "partition": chunk.partition, "offset": chunk.first_offset, "reason": reason}
        log.critical("the partition stands still: %s", error, extra=told)
        self.transport.pause_partition(chunk.topic, chunk.partition)
        self.health.stop(f"{chunk.topic}[{chunk.partition}]", reason)
        self.metrics.partition_stopped.labels(chunk.topic, str(chunk.partition)).set(1)

    def _fail(self, error: TransportFatalError) -> None:
        """End the process with one clear line."""
        self.transport.fail(error)

    def _dropped(self, partitions: Sequence[PartitionKey]) -> None:
        """Partitions were given up: their next owner decides for itself."""
        for topic, number in partitions:
            self.health.resume(f"{topic}[{number}]")
            self.metrics.partition_stopped.remove(topic, str(number))

    def _assigned(self) -> None:
        self.health.ready()
        self.metrics.ready.set(1)

    async def _tick(self) -> None:
        stats = self.transport.stats()
        self._watch.stats = stats
        if stats.counters.assigns_total and not stats.partitions and not self.ownership.resolving:
            # More workers than partitions: this one is ready to take over.
            self._assigned()
        places = {f"{t}[{p}]": (one.position, one.lag or 0) for (t, p), one in stats.partitions.items()}
        self.health.observe_partitions(places, broker_reachable=stats.is_trusted)

    async def _draining(self, *_: object, **__: object) -> None:
        self.health.draining()
        self.metrics.ready.set(0)

    @staticmethod
    def _checked_topics(kafka: KafkaSettings) -> dict[str, int]:
        """Return partition counts; refuse missing topics and topics that are not partitioned alike."""
        counts = check_topics(
            kafka, [TELEMETRY_TOPIC, SIGNALS_TOPIC, RISK_TOPIC, DEADLETTER_TOPIC, FEATURES_TOPIC, SNAPSHOTS_TOPIC]
        )
        for name in (RISK_TOPIC, DEADLETTER_TOPIC, FEATURES_TOPIC):
            if counts[name] != counts[TELEMETRY_TOPIC]:
                msg = (
                    f"{name} has {counts[name]} partitions, {TELEMETRY_TOPIC} has {counts[TELEMETRY_TOPIC]}: "
                    "they must be equal, because a risk event goes to the partition of its source"
                )
                raise topics.BrokerError(msg)
        return counts


def make_store(redis: RedisSettings, state_version: str) -> RedisStore:
    """Return the store of sessions, watermarks and counters, not opened yet."""
    options = ConnectionOptions(url=redis.url.get_secret_value(), cluster=redis.cluster, timeout_s=redis.timeout_s)
    return RedisStore(options, state_version=state_version, prefix=redis.key_prefix)


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
        session_timeout_s=None if kafka.group_protocol == "consumer" else session_s,
        heartbeat_interval_s=kafka.heartbeat_interval_ms / 1000.0,
        # Drained before the group gives up on this member, and time is left to commit.
        drain_deadline_s=4.0 if kafka.group_protocol == "consumer" else min(4.0, 0.6 * session_s),
        target_loop_s=pipeline.target_chunk_ms / 1000.0,
        max_chunk_bytes=pipeline.max_chunk_bytes,
        hold_records=pipeline.pending_records,
        pause_high_bytes=pipeline.pending_bytes,
        pause_low_bytes=pipeline.pending_bytes // 2,
        topic_ids={topic: f"{fixed}-{topic}" for topic in consumed} if fixed is not None else {},
    )


def run_faust(app: faust.App, loop: asyncio.AbstractEventLoop) -> None:
    """Run Faust's own worker: plain, without its web server, its banner and its logging set-up."""
    app.finalize()
    worker = faust.Worker(app, loop=loop, quiet=True, redirect_stdouts=False, override_logging=False)
    worker.spinner = None  # it writes terminal codes also where there is no terminal
    try:
        worker.execute_from_commandline()
    except SystemExit as done:
        if done.code not in (None, 0):
            raise


def configure_process(settings: Settings) -> None:
    """Set up what belongs to the process as a whole: logging."""
    logs.configure(settings.log)


def quiet_garbage_collector() -> None:
    """Leave what lives as long as the process to itself, and look for cycles rarely: chunks make next to none."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


def check_topics(kafka: KafkaSettings, names: Sequence[str]) -> dict[str, int]:
    """Return these topics' partition counts. Raises BrokerError when one is missing, SettingsError for a property."""
    kafka_properties.check(kafka)
    counts = topics.partition_counts(kafka_properties.common(kafka), names)
    missing = [name for name in names if name not in counts]
    if missing:
        msg = f"topics missing on {kafka.bootstrap_servers}: {', '.join(missing)}; run `tellwire topics apply`"
        raise topics.BrokerError(msg)
    return counts


def serve(health: Health, metrics: Metrics, settings: Settings) -> HealthServer | None:
    """Serve probes and metrics, unless they are switched off. Raises SettingsError when the port is taken."""
    if not settings.metrics.enabled:
        return None
    try:
        server = HealthServer(health, metrics.registry, settings.metrics.host, settings.metrics.port)
    except OSError as error:
        msg = (
            f"metrics.port (TELLWIRE_METRICS__PORT): {settings.metrics.host}:{settings.metrics.port} can't be served: "
            f"{error.strerror}; give another one, or 0 for any free one"
        )
        raise SettingsError(msg) from None
    log.info("serving /metrics, /livez and /readyz", extra={"host": settings.metrics.host, "port": server.port})
    return server


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
