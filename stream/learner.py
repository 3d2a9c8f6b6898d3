"""The learner process: learns from `risk.features`, publishes immutable snapshots to `models.snapshots`.

Learning never happens on the scoring path. What was learnt lives in the snapshots: a learner starts from the latest one
and reads on from the offsets that it contains, whatever the group has committed.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence

import uvloop

from models.engine import Engine
from models.snapshots import SnapshotSet
from schemas.base import FLOWS, Flow
from schemas.envelope import Rejected, cloud_event_headers, decode_served, encode
from schemas.snapshot import Snapshot
from stream import kafka_properties
from stream.agents import Tasks, register
from stream.app import SNAPSHOT_WAIT_S, check_topics, make_app, run_faust, serve, transport_options
from stream.evaluation import FEATURES_TOPIC
from stream.health import Health
from stream.learning import FlowLearner
from stream.metrics import Metrics
from stream.records import offset_of
from stream.settings import Settings
from stream.snapshots import SNAPSHOTS_TOPIC, SnapshotReader
from stream.transport import Chunk, OutRecord, StartAt, StartRequest, TransportHooks, configure
from stream.transport_watch import TransportWatch

log = logging.getLogger(__name__)

PartitionKey = tuple[str, int]


class Learner:
    """One learner process. It must own all partitions: two learners would overwrite each other's snapshots."""

    def __init__(self, settings: Settings) -> None:
        """Load and check everything. Raises SettingsError, ArtifactError, BrokerError with one line each."""
        self._settings = settings
        self.engine = Engine.load(settings.artefacts.directory, policy=settings.artefacts.policy_file)
        self._partitions = check_topics(settings.kafka, [FEATURES_TOPIC, SNAPSHOTS_TOPIC])[FEATURES_TOPIC]
        self.metrics = Metrics()
        self.health = Health(settings.health.stall_s, time.monotonic)
        self._snapshots = SnapshotReader(kafka_properties.consumer(settings.kafka), self.metrics)
        self._tasks = Tasks()
        self._flows: dict[Flow, FlowLearner] = {}
        self._offsets: dict[int, int] = {}
        group = settings.kafka.learner_group
        self.app = make_app(settings.kafka, group)
        self.transport = configure(
            self.app, transport_options(settings, group, (FEATURES_TOPIC,)), _FromSnapshots(self._learnt_to)
        )
        self._watch = TransportWatch()
        self.metrics.registry.register(self._watch)
        register(self.app, FEATURES_TOPIC, self._learn, self._tasks)
        self.app.timer(1.0)(self._tick)
        self.app.timer(settings.learner.snapshot_interval_s)(self.publish)

    def run(self) -> None:
        """Run until a signal stops it; what was learnt since the last snapshot is learnt again at the next start."""
        loop = uvloop.new_event_loop()
        asyncio.set_event_loop(loop)
        if not self._snapshots.start(SNAPSHOT_WAIT_S):
            log.warning("the latest snapshots were not read in %s s; learning begins anew", SNAPSHOT_WAIT_S)
        self._resume(self._snapshots.current)
        server = serve(self.health, self.metrics, self._settings)
        log.info("learner starting", extra={"group": self._settings.kafka.learner_group})
        try:
            run_faust(self.app, loop)
        finally:
            self._snapshots.stop()
            if server is not None:
                server.close()
            log.info("learner stopped")

    def _resume(self, latest: SnapshotSet) -> None:
        for flow in FLOWS:
            prior = self.engine.anomaly_of(flow)
            if prior is not None:
                held, settings = latest.anomaly.get(flow), self._settings.learner
                self._flows[flow] = FlowLearner(flow, prior, held, settings.max_share_per_source, settings.window_size)

    def _learnt_to(self, partition: int) -> int | None:
        """First offset that no flow has learnt, None when nothing says."""
        offsets = [
            held[str(partition)]
            for place, held in self._snapshots.offsets.items()
            if place.startswith("anomaly_hst/") and str(partition) in held
        ]
        return min(offsets, default=None)

    def _offsets_of(self, flow: Flow) -> dict[str, int]:
        """First offsets that the flow has not learnt: a partition that brought nothing since the start keeps its own."""
        found = dict(self._snapshots.offsets.get(f"anomaly_hst/{flow}", {}))
        for partition, offset in self._offsets.items():
            found[str(partition)] = max(offset, found.get(str(partition), 0))
        return dict(sorted(found.items()))

    async def _learn(self, chunk: Chunk) -> None:
        began = time.perf_counter()
        for record in chunk.records:
            try:
                served = decode_served(record.value(), record.key())
            except Rejected as rejected:
                # Our own topic: a record that we can't read is of another version, and is counted, not kept.
                self.metrics.not_learnt.labels(rejected.reason.value).inc()
                continue
            learner = self._flows.get(served.flow)
            if learner is None:
                self.metrics.not_learnt.labels("no_model").inc()
                continue
            if offset_of(record) < self._snapshots.offsets.get(f"anomaly_hst/{served.flow}", {}).get(
                str(chunk.partition), 0
            ):
                continue
            reason = learner.learn(served)
            if reason is None:
                self.metrics.learnt.labels(served.flow).inc()
            else:
                self.metrics.not_learnt.labels(reason).inc()
        self._offsets[chunk.partition] = chunk.next_offset
        chunk.done(time.perf_counter() - began)
        self.metrics.chunks.inc()
        self.health.progressed()

    async def publish(self) -> None:
        """Publish a snapshot of every flow that has learnt enough since its last one."""
        owned = self.transport.assignment()
        if len(owned) < self._partitions:
            if owned:
                log.error("this learner owns %d of %d partitions: run one learner only", len(owned), self._partitions)
            return
        for flow, learner in self._flows.items():
            if learner.learnt_since_snapshot < self._settings.learner.min_learnt:
                continue
            made = learner.snapshots(self._offsets_of(flow), time.time_ns() // 1_000_000)
            if not made:
                continue
            await self.transport.producer.produce_batch([r for snapshot in made for r in records_of(snapshot)])
            for snapshot in made:
                self.metrics.snapshots_published.labels(snapshot.kind, flow).inc()
                log.info(
                    "snapshot published",
                    extra={
                        "kind": snapshot.kind,
                        "flow": flow,
                        "hash": snapshot.hash[:12],
                        "learnt": snapshot.n_learnt,
                    },
                )

    async def _tick(self) -> None:
        stats = self.transport.stats()
        self._watch.stats = stats
        if stats.counters.assigns_total:
            self.health.ready()
            self.metrics.ready.set(1)
        self.health.observe(stats.lag, broker_reachable=stats.is_trusted)


def records_of(snapshot: Snapshot) -> list[OutRecord]:
    """Return the two records of a snapshot: under its hash, for ever, and as its flow's latest."""
    value = encode(snapshot)
    place = f"{snapshot.kind}/{snapshot.flow}"
    headers = cloud_event_headers(Snapshot, id=snapshot.hash, subject=place, time_ms=snapshot.created_at)
    return [
        OutRecord(SNAPSHOTS_TOPIC, value, key=f"{place}/{name}".encode(), partition=0, headers=headers)
        for name in (snapshot.hash, "latest")
    ]


class _FromSnapshots(TransportHooks):
    """Starts each partition where the latest snapshots end."""

    def __init__(self, learnt_to: Callable[[int], int | None]) -> None:
        super().__init__(start_at="earliest")
        self._learnt_to = learnt_to

    async def resolve_start(self, requests: Sequence[StartRequest]) -> Mapping[PartitionKey, StartAt]:
        """Start where no flow has learnt yet; from the beginning where there is no snapshot."""
        found = {}
        for request in requests:
            offset = self._learnt_to(request.partition)
            start = request.low if offset is None else min(max(offset, request.low), request.high)
            found[request.topic, request.partition] = StartAt(start)
        return found
