"""Puts a worker together: settings, artefacts, store, transport, Faust app; starts it and stops it.

Everything that can be wrong is found before the group is joined, and told in one line.
"""

import asyncio
import logging
import signal
import time
from collections.abc import Sequence
from typing import Final

from features.registry import REGISTRY_HASH
from features.session import STATE_VERSION, warm_up
from schemas.topics import SIGNALS_TOPIC, TELEMETRY_TOPIC
from stream import __version__, kafka_properties, logs, topics
from stream.agents import Tasks, register
from stream.artefacts import Artefacts
from stream.crash_guard import CrashGuard
from stream.crash_isolation import CrashLimit
from stream.deadletter import DEADLETTER_TOPIC, DeadLetterLimit
from stream.door import Door
from stream.evaluation import Evaluator
from stream.garbage import Rests, quiet_garbage_collector
from stream.metrics import Metrics
from stream.movements import lookup_of
from stream.outgoing import FEATURES_TOPIC, RISK_TOPIC
from stream.ownership import Ownership
from stream.partition import OwnedPartition
from stream.pipeline import LineStopped, Pipeline
from stream.process import (
    SNAPSHOT_WAIT_S,
    Lifecycle,
    check_topics,
    make_app,
    make_store,
    new_event_loop,
    places_of,
    transport_options,
)
from stream.records import place
from stream.refs import RefHasher
from stream.sampling import FeatureSampler
from stream.settings import KafkaSettings, Settings
from stream.snapshots import SNAPSHOTS_TOPIC, SnapshotReader
from stream.start_clock import StartClock
from stream.state import StateStore, WatermarkConflict
from stream.stopping import Stop
from stream.store_watch import CHECK_S, StoreWatch
from stream.transport import (
    Chunk,
    PartitionKey,
    ProduceError,
    Transport,
    TransportFatalError,
    configure,
)
from stream.waits import Dependency, Wait, call_limit_s

log = logging.getLogger(__name__)


_START: Final = "the start of partitions"
_NOT_PERMITTED: Final = frozenset({"TOPIC_AUTHORIZATION_FAILED", "CLUSTER_AUTHORIZATION_FAILED"})
"""Refusals that end when somebody grants what is missing: nothing of the records is wrong."""


class Worker:
    """One worker process: scores `capture.telemetry` and forwards `capture.signals`."""

    def __init__(self, settings: Settings, stop: Stop | None = None, start: StartClock | None = None) -> None:
        """Load and check everything. Raises SettingsError, ArtifactError, BrokerError with one line each."""
        self._settings = settings
        self._start = start or StartClock()
        self._refs = RefHasher(settings.keys, device_templates=settings.pipeline.device_templates)
        self.metrics = Metrics()
        self.artefacts = Artefacts(settings.artefacts, self.metrics)
        self._start.ended("artefacts")
        counts = self._checked_topics(settings.kafka)
        self.metrics.input_partitions.set(counts[TELEMETRY_TOPIC] + counts[SIGNALS_TOPIC])
        self._start.ended("broker")
        self._consumer_properties = kafka_properties.consumer(settings.kafka)
        self._snapshots = SnapshotReader(self._consumer_properties, self.metrics)
        self._snapshots.begin()  # it waits for the broker most of the time; the kernels are loaded meanwhile
        warm_up()
        self._start.ended("kernels")
        self.store: StateStore = make_store(settings.redis, f"{STATE_VERSION}.{counts[TELEMETRY_TOPIC]}")
        self._tasks = Tasks()
        self._call_limit_s = call_limit_s(settings.redis.timeout_s)
        self._crashes = CrashGuard(
            self.store,
            self.metrics,
            lambda at, text: self.health.suspect(place(*at), text),
            call_limit_s=self._call_limit_s,
        )
        self.ownership = Ownership(
            scored_topic=TELEMETRY_TOPIC,
            events_topic=RISK_TOPIC,
            store=self.store,
            consumer_properties=self._consumer_properties,
            new_limit=lambda: DeadLetterLimit(
                settings.pipeline.deadletter_limit_ratio, settings.pipeline.deadletter_limit_window
            ),
            session_ttl_ms=settings.redis.session_ttl_s * 1000,
            rewind_ms=None if settings.redis.rewind_s is None else settings.redis.rewind_s * 1000,
            metrics=self.metrics,
            crashes=self._crashes,
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
        self._life = Lifecycle(self.app, self.transport, self.metrics, settings, stop)
        self.health = self._life.health
        publish = self.transport.producer.produce_batch
        movements = lookup_of(settings.replay, self.store, self._refs, self.metrics)
        self._pipeline = Pipeline(
            evaluator=Evaluator(
                self.artefacts,
                self._snapshots,
                FeatureSampler(settings.pipeline.features_sessions_per_s, settings.pipeline.features_share),
                settings.keys.ref_key_version,
                _now_ms,
                movements,
            ),
            store=self.store,
            publish=publish,
            refs=self._refs,
            metrics=self.metrics,
            session_ttl_ms=settings.redis.session_ttl_s * 1000,
            counters_refresh_ms=settings.pipeline.counters_refresh_ms,
            cached_sessions=lambda: settings.pipeline.cached_sessions // max(1, len(self.ownership.owned)),
            movements=movements,
        )
        self._door = Door(TELEMETRY_TOPIC, publish, self.metrics)
        register(self.app, TELEMETRY_TOPIC, self._score, self._tasks)
        register(self.app, SIGNALS_TOPIC, self._forward, self._tasks)
        self._forwards: dict[int, Wait] = {}
        self._store_watch = StoreWatch(self.store)
        self._rests = Rests()
        self.metrics.registry.register(self._store_watch)
        self.app.timer(1.0)(self._tick)
        self.app.timer(CHECK_S)(self._look_at_store)
        self.metrics.build_info.labels(__version__, REGISTRY_HASH[:12]).set(1)

    def run(self) -> None:
        """Run until a signal stops it; everything in flight is finished first."""
        settings = self._settings
        self._start.ended("parts")
        loop = new_event_loop()
        loop.add_signal_handler(signal.SIGHUP, self.artefacts.look_now)
        loop.run_until_complete(self.store.open())
        loop.run_until_complete(self._look_at_store())
        if not self._snapshots.wait(SNAPSHOT_WAIT_S):
            log.warning("the live models were not read in %s s; shipped ones serve until they are", SNAPSHOT_WAIT_S)
        self._start.ended("store")
        self.artefacts.start()
        with self._life.serving("worker", self._snapshots.stop, self.artefacts.stop):
            quiet_garbage_collector()
            log.info("worker starting", extra={"version": __version__, "group": settings.kafka.group})
            self._life.run(loop)

    async def _score(self, chunk: Chunk) -> None:
        """Process a chunk of telemetry; what may go wrong is decided here, per partition."""
        owned = self.ownership.owned.get(chunk.partition)
        if owned is None or not chunk.is_current():
            # An earlier ownership's: it must not touch what this one holds.
            chunk.abandon("not owned")
            return
        try:
            await self._pipeline.process(owned, chunk, self._crashes.isolation(chunk.topic, chunk.partition))
        except WatermarkConflict as conflict:
            await self._go_on_from_store(owned, chunk, conflict)
        except LineStopped as stopped:
            self._stand_still(chunk, "dead_letters", stopped)
        except CrashLimit as stopped:
            self._stand_still(chunk, "crashes", stopped)
        except ProduceError as error:
            self._not_delivered(chunk, error)
        except Exception as error:  # noqa: BLE001 - whatever it is, the partition's next chunk must have its chance
            self._unexpected(chunk, error)

    async def _forward(self, chunk: Chunk) -> None:
        """Forward a chunk of the door's signals."""
        wait = self._forwards.setdefault(chunk.partition, Wait())
        wait.begin("broker")
        try:
            await self._door.process(chunk, self._crashes.isolation(chunk.topic, chunk.partition))
            wait.end("broker")
        except CrashLimit as stopped:
            self._stand_still(chunk, "crashes", stopped)
        except ProduceError as error:
            self._not_delivered(chunk, error)
        except Exception as error:  # noqa: BLE001 - whatever it is, the partition's next chunk must have its chance
            wait.end("broker")
            self._unexpected(chunk, error)
            chunk.abandon("error")

    async def _go_on_from_store(self, owned: OwnedPartition, chunk: Chunk, conflict: WatermarkConflict) -> None:
        """The store holds another watermark: rewind first, then give up the chunk: nothing starts in between."""
        log.warning("%s; going on from there", conflict)
        try:
            while chunk.is_current():
                owned.wait.begin("broker")
                try:
                    start = await self.ownership.resume(owned, conflict.found, chunk.finished)
                except topics.BrokerError as error:
                    log.warning("where to go on from is not known yet: %s", error)
                    await asyncio.sleep(1.0)
                    continue
                owned.wait.end("broker")
                if chunk.is_current():  # it may have been given up, and taken over anew, meanwhile
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
        if all(failed.retriable or failed.error.name() in _NOT_PERMITTED for failed in error.failures):
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
        self.health.stop(place(chunk.topic, chunk.partition), reason)
        self.metrics.partition_stopped.labels(chunk.topic, str(chunk.partition)).set(1)

    def _fail(self, error: TransportFatalError) -> None:
        """End the process with one clear line."""
        self.transport.fail(error)

    def _dropped(self, partitions: Sequence[PartitionKey]) -> None:
        """Partitions were given up: their next owner decides for itself."""
        for topic, number in partitions:
            self.health.resume(place(topic, number))
            self.metrics.partition_stopped.remove(topic, str(number))

    def _assigned(self) -> None:
        self.health.ready()
        self.metrics.ready.set(1)
        if "joining" not in self._start.seconds:
            self._start.ended("joining")
            self._start.tell("worker")
            for phase, seconds in self._start.seconds.items():
                self.metrics.start_seconds.labels(phase).set(seconds)

    async def _tick(self) -> None:
        stats = self._life.look()
        if stats.counters.assigns_total and not stats.partitions and not stats.starting_partitions:
            # More workers than partitions: this one is ready to take over.
            self._assigned()
        waits = {place(*key): found for key in stats.partitions if (found := self._waits_for(key))}
        waits = self._crashes.shared(waits, (place(*key) for key in stats.partitions))
        places = places_of(stats, waits)
        if stats.starting_partitions:
            # A try that fails is a sign of life; one that never ends is not.
            tries = stats.counters.start_failures_total + stats.counters.committed_failures_total
            places[_START] = (tries, 1)
            if (dependency := self.ownership.wait.noticed(self._call_limit_s)) is not None:
                waits[_START] = dependency
        self._life.observe(stats, places, waits)
        self._rests.observe(places, waits)

    async def _look_at_store(self) -> None:
        await self._store_watch.look(TELEMETRY_TOPIC, self.ownership.owned)

    def _waits_for(self, key: PartitionKey) -> Dependency | None:
        """Return what a partition's chunk has been waiting for, for long enough to be told."""
        topic, number = key
        if topic == TELEMETRY_TOPIC:
            owned = self.ownership.owned.get(number)
            return None if owned is None else owned.wait.noticed(self._call_limit_s)
        wait = self._forwards.get(number)
        return None if wait is None else wait.noticed(self._call_limit_s)

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


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
