"""The learner process: learns from `risk.features`, publishes immutable snapshots to `models.snapshots`.

Learning never happens on the scoring path. What was learnt lives in the snapshots: a learner starts from the latest one
and reads on, per flow, from the offsets that it contains, whatever the group has committed. A process that has learnt
further than the latest snapshot goes on from its own trees and offsets, also after it lost partitions for a while.
"""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from confluent_kafka import Message

from schemas.base import FLOWS, Flow
from schemas.envelope import Rejected, cloud_event_headers, decode_served, encode
from schemas.snapshot import Snapshot
from stream import kafka_properties
from stream.agents import Tasks, register
from stream.artefacts import Artefacts
from stream.learning import FlowLearner, Made
from stream.metrics import Metrics
from stream.outgoing import FEATURES_TOPIC
from stream.process import (
    SNAPSHOT_WAIT_S,
    Lifecycle,
    check_topics,
    make_app,
    new_event_loop,
    places_of,
    transport_options,
)
from stream.records import offset_of
from stream.settings import Settings
from stream.snapshots import SNAPSHOTS_TOPIC, Learnt, SnapshotReader
from stream.stopping import Stop
from stream.transport import Chunk, OutRecord, ProduceError, StartAt, StartRequest, TransportHooks, configure
from stream.waits import Dependency

log = logging.getLogger(__name__)

PartitionKey = tuple[str, int]
KEPT_MS: Final = 7 * 24 * 3_600_000
"""How long a superseded snapshot can be read under its hash, ms; then the learner deletes it with a tombstone."""


class Learner:
    """One learner process. It must own all partitions: two learners would overwrite each other's snapshots."""

    def __init__(self, settings: Settings, stop: Stop | None = None) -> None:
        """Load and check everything. Raises SettingsError, ArtifactError, BrokerError with one line each."""
        self._settings = settings
        self.metrics = Metrics()
        # Not watched: only the shape of trees that begin anew is taken from them, and what was learnt keeps its own.
        self.engine = Artefacts(settings.artefacts, self.metrics).current
        self._partitions = check_topics(settings.kafka, [FEATURES_TOPIC, SNAPSHOTS_TOPIC])[FEATURES_TOPIC]
        self.metrics.input_partitions.set(self._partitions)
        self._snapshots = SnapshotReader(kafka_properties.consumer(settings.kafka), self.metrics)
        self._tasks = Tasks()
        self._flows: dict[Flow, FlowLearner] = {}
        self._next: dict[Flow, dict[int, int]] = {}  # by partition, the first offset that the flow has not learnt
        group = settings.kafka.learner_group
        self.app = make_app(settings.kafka, group)
        self.transport = configure(
            self.app, transport_options(settings, group, (FEATURES_TOPIC,)), _FromSnapshots(self._adopt, self._start_of)
        )
        self._life = Lifecycle(self.app, self.transport, self.metrics, settings, stop)
        self.health = self._life.health
        register(self.app, FEATURES_TOPIC, self._learn, self._tasks)
        self.app.timer(1.0)(self._tick)
        self.app.timer(settings.learner.snapshot_interval_s)(self.publish)

    def run(self) -> None:
        """Run until a signal stops it; what was learnt since the last snapshot is learnt again at the next start."""
        loop = new_event_loop()
        with self._life.serving("learner", self._snapshots.stop):
            self._await_snapshots()
            self._resume()
            log.info("learner starting", extra={"group": self._settings.kafka.learner_group})
            self._life.run(loop)

    def _await_snapshots(self) -> None:
        """Wait, as long as it takes, until the latest snapshots were read: to begin anew would overwrite them."""
        if not self._snapshots.start(SNAPSHOT_WAIT_S):
            log.warning("%s was not read to its end yet; learning begins when it was", SNAPSHOTS_TOPIC)
            while not self._snapshots.wait(1.0):
                pass

    def _resume(self) -> None:
        """Begin every flow where its latest snapshot ends."""
        latest = self._snapshots.learnt
        for flow in FLOWS:
            self._begin(flow, latest.get(flow))

    def _begin(self, flow: Flow, held: Learnt | None) -> None:
        prior = self.engine.anomaly_of(flow)
        if prior is None:
            return
        settings, trees = self._settings.learner, None if held is None else held.trees
        self._flows[flow] = FlowLearner(
            flow,
            prior,
            trees,
            settings.max_share_per_source,
            settings.window_size,
            ranked=self._snapshots.current.calibration.get(flow),
            max_share_of_people=settings.max_share_of_people,
            max_daily_rise_ratio=settings.max_daily_rise_ratio,
        )
        self._next[flow] = {} if held is None else dict(held.offsets)

    def _adopt(self) -> None:
        """Take over the flows of which another learner has published more than this process has learnt."""
        latest = self._snapshots.learnt
        for flow, known in self._next.items():
            held = latest.get(flow)
            if held is not None and any(offset > known.get(number, 0) for number, offset in held.offsets.items()):
                log.info("another learner has learnt further, going on from its snapshot", extra={"flow": flow})
                self._begin(flow, held)

    def _start_of(self, request: StartRequest) -> int:
        """First offset of a partition that some flow has not learnt; the log's first where a flow has no snapshot."""
        start = request.high if self._next else request.low
        for known in self._next.values():
            # Beyond the log's end it was another log.
            known[request.partition] = min(max(known.get(request.partition, 0), request.low), request.high)
            start = min(start, known[request.partition])
        return start

    def _offsets_of(self, flow: Flow) -> dict[str, int]:
        return {str(partition): offset for partition, offset in sorted(self._next[flow].items())}

    async def _learn(self, chunk: Chunk) -> None:
        began = time.perf_counter()
        for record in chunk.records:
            try:
                reason = self._learn_one(chunk.partition, record)
            except Rejected as rejected:
                # Our own topic: a record that we can't read is of another version, and is counted, not kept.
                reason = rejected.reason.value
            except Exception as error:  # noqa: BLE001 - one vector must not make the others be learnt again and again
                log.error("a vector could not be learnt: %s", type(error).__name__)
                reason = "error"
            if reason is not None:
                self.metrics.not_learnt.labels(reason).inc()
        for known in self._next.values():
            known[chunk.partition] = max(chunk.next_offset, known.get(chunk.partition, 0))
        chunk.done(time.perf_counter() - began)
        self.metrics.chunks.add(1)

    def _learn_one(self, partition: int, record: Message) -> str | None:
        """Learn one record, unless its flow has already; return why not, None where there is nothing to count."""
        served = decode_served(record.value(), record.key())
        learner = self._flows.get(served.flow)
        if learner is None:
            return "no_model"
        if offset_of(record) < self._next[served.flow].get(partition, 0):
            return None
        reason = learner.learn(served)
        if reason is None:
            self.metrics.learnt.labels(served.flow).inc()
        return reason

    async def publish(self) -> None:
        """Publish snapshots of the flows whose trees have changed; delete those that were superseded long ago."""
        owned = self.transport.assignment()
        if len(owned) < self._partitions:
            if owned:
                log.error("this learner owns %d of %d partitions: run one learner only", len(owned), self._partitions)
            return
        now_ms = time.time_ns() // 1_000_000
        # All are made before anything is awaited: while a batch is on its way, learning goes on.
        made: dict[Flow, Made] = {}
        for flow, learner in self._flows.items():
            if learner.is_due(self._settings.learner.min_learnt):
                found = learner.snapshots(self._offsets_of(flow), now_ms)
                if found is not None:
                    made[flow] = found
        try:
            for flow, pair in made.items():
                learner = self._flows[flow]
                await self.transport.producer.produce_batch(records_of(pair.calibration, pair.trees))
                learner.published(pair)
                self._tell(pair)
                self._tell_of_people(flow, pair)
            await self.transport.producer.produce_batch(
                [OutRecord(SNAPSHOTS_TOPIC, None, key, 0) for key in self._snapshots.superseded(now_ms - KEPT_MS)]
            )
        except ProduceError as error:
            log.warning("snapshots were not published, the next are due as before: %s", error)

    def _tell(self, made: Made) -> None:
        for snapshot in (made.calibration, made.trees):
            self.metrics.snapshots_published.labels(snapshot.kind, snapshot.flow).inc()
            log.info(
                "snapshot published",
                extra={
                    "kind": snapshot.kind,
                    "flow": snapshot.flow,
                    "hash": snapshot.hash[:12],
                    "learnt": snapshot.n_learnt,
                },
            )

    def _tell_of_people(self, flow: Flow, made: Made) -> None:
        trusted, unlabelled = self._flows[flow].people.sizes()
        self.metrics.learner_people.labels(flow, "trusted").set(trusted)
        self.metrics.learner_people.labels(flow, "unlabelled").set(unlabelled)
        self.metrics.threshold_rise.labels(flow).set(made.rise_ratio)
        if made.rise_ratio > 1.0:
            log.warning(
                "live sessions would raise the bot threshold by more than a day allows, it is held back",
                extra={"flow": flow, "ratio": round(made.rise_ratio, 2)},
            )

    def _tell_of_others(self, owned: int) -> None:
        """A second learner in the group takes partitions away: neither publishes, and neither is ready."""
        if owned < self._partitions:
            self.health.stop(FEATURES_TOPIC, f"{owned} of {self._partitions} partitions: run one learner only")
        else:
            self.health.resume(FEATURES_TOPIC)
        self.metrics.ready.set(float(owned == self._partitions))

    async def _tick(self) -> None:
        stats = self._life.look()
        if stats.counters.assigns_total:
            self.health.ready()
            if not stats.brokers_away_s:
                # Without a broker there is no assignment, and nobody else that has one.
                self._tell_of_others(len(self.transport.assignment()))
        waits: dict[str, Dependency] = {}
        self._life.observe(stats, places_of(stats, waits), waits)


def records_of(*snapshots: Snapshot) -> list[OutRecord]:
    """Return two records of each snapshot: all under their hashes first, then each as its flow's latest."""
    under_hash: list[OutRecord] = []
    latest: list[OutRecord] = []
    for snapshot in snapshots:
        value = encode(snapshot)
        place = f"{snapshot.kind}/{snapshot.flow}"
        headers = cloud_event_headers(Snapshot, id=snapshot.hash, subject=place, time_ms=snapshot.created_at)
        for name, records in ((snapshot.hash, under_hash), ("latest", latest)):
            records.append(OutRecord(SNAPSHOTS_TOPIC, value, f"{place}/{name}".encode(), 0, headers))
    return under_hash + latest


class _FromSnapshots(TransportHooks):
    """Starts each partition where some flow has not learnt yet."""

    def __init__(self, adopt: Callable[[], None], start_of: Callable[[StartRequest], int]) -> None:
        super().__init__(start_at="earliest")
        self._adopt = adopt
        self._start_of = start_of

    async def resolve_start(self, requests: Sequence[StartRequest]) -> Mapping[PartitionKey, StartAt]:
        """Start where a flow has not learnt yet; from the log's beginning where one has no snapshot."""
        self._adopt()
        return {(r.topic, r.partition): StartAt(self._start_of(r)) for r in requests}
