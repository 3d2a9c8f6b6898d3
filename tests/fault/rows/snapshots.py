"""Rows about snapshots of what was learnt: torn, damaged, of a newer schema, or refused by a broker that has no room.

Learning that was not saved is learnt again from the offsets that the last good snapshot holds, whatever the group has
committed: the next snapshot must be what those records give, to the bit.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

import msgspec
from confluent_kafka import Producer
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ResourceType,
)

from features.registry import NAMES, REGISTRY_HASH
from models.errors import SnapshotError
from models.flat import from_blobs
from models.snapshots import EMPTY, SnapshotSet
from schemas.base import FLOWS, Flow
from schemas.envelope import Rejected, decode_served, decode_snapshot
from schemas.snapshot import Snapshot
from stream.learning import FlowLearner
from tests.fault import replay
from tests.fault.load import Load
from tests.fault.row import row
from tests.fault.rows.crashes import kill, wait_moving
from tests.fault.trial import Trial
from tests.support import ledger
from tests.support.pipeline import Pipeline, Process
from tests.support.snapshots import DAMAGES, damaged

PER_S = 150.0
OF_SNAPSHOTS = ("torn", "bit flip", "newer schema", "NaN", "cycle", "deep")
"""Likewise. One that is too large the broker refuses; the reader's own limit has its own test."""
SERVED = "what served goes on serving"
ALIVE = "process alive"
LEARNING = {
    "PIPELINE__FEATURES_SESSIONS_PER_S": "1000",
    "LEARNER__SNAPSHOT_INTERVAL_S": "1",
    "LEARNER__MIN_LEARNT": "1",
    "LEARNER__WINDOW_SIZE": "60",
    "LEARNER__MAX_SHARE_PER_SOURCE": "1",
}
LEARNT_FROM = 4_000
"""Records after which every flow has been learnt enough of for a first snapshot."""


class Published:
    """What `models.snapshots` holds, as an independent reader finds it."""

    def __init__(self, pipeline: Pipeline) -> None:
        self.records = list(ledger.read_topic(pipeline.broker.bootstrap, "models.snapshots"))

    def good(self, kind: str, flow: str) -> list[Snapshot]:
        """All that fit, by hash, the oldest first."""
        prefix = f"{kind}/{flow}/".encode()
        found = []
        for record in self.records:
            if record.key is not None and record.key.startswith(prefix) and not record.key.endswith(b"/latest"):
                snapshot = _readable(record.value)
                if snapshot is not None:
                    found.append(snapshot)
        return found

    def flows(self) -> list[Flow]:
        """Flows that have a latest pair."""
        keys = {record.key for record in self.records}
        return [flow for flow in FLOWS if f"anomaly_hst/{flow}/latest".encode() in keys]

    def served(self) -> dict[str, SnapshotSet]:
        """Every set that one who follows the topic has served, by its hash."""
        found: dict[str, SnapshotSet] = {}
        current = EMPTY
        for record in self.records:
            if record.key is None or not record.key.endswith(b"/latest"):
                continue
            snapshot = _readable(record.value)
            if snapshot is None:
                continue
            try:
                current = current.apply(snapshot, NAMES, REGISTRY_HASH)
            except SnapshotError:
                continue
            if current.hash is not None:
                found[current.hash] = current
        return found


def _readable(value: bytes | None) -> Snapshot | None:
    try:
        return decode_snapshot(value, None)
    except Rejected:
        return None


def newer(table: Snapshot, trees: Snapshot) -> tuple[Snapshot, Snapshot]:
    """A pair that a learner might have published next: other content, other hashes."""

    def with_definition(one: Snapshot, **changes: int | str) -> Snapshot:
        definition = {**one.definition, **changes}
        found = from_blobs(one.kind, definition, one.arrays).hash
        return msgspec.structs.replace(one, definition=definition, hash=found)

    grown = with_definition(trees, n_learnt=trees.n_learnt + 1)
    return with_definition(table, trees=grown.hash), grown


def publish(pipeline: Pipeline, records: Sequence[tuple[str, bytes]]) -> None:
    """Write records to `models.snapshots` as somebody else would."""
    producer = Producer({"bootstrap.servers": pipeline.broker.bootstrap, "message.max.bytes": 12_000_000})
    for key, value in records:
        producer.produce("models.snapshots", value, key=key.encode(), partition=0)
    assert producer.flush(30) == 0


def snapshots_published(learner: Process) -> float:
    """Return how many snapshots a learner has published."""
    return learner.metric("tellwire_learner_snapshots_total")


def served_at(worker: Process) -> float:
    """Return a sum that changes whenever a worker serves a newer snapshot, s."""
    return worker.metric("tellwire_snapshot_timestamp_seconds")


def learnt_again(pipeline: Pipeline, flow: Flow, held: Snapshot, later: Snapshot) -> bool:
    """Whether the trees `later` are what one gets who goes on from `held`, from its offsets on. One partition."""
    first, end = held.offsets.get("0", 0), later.offsets["0"]
    prior = replay.engine().anomaly_of(flow)
    assert prior is not None
    trees = EMPTY.apply(held, NAMES, REGISTRY_HASH).newest_trees(flow)
    again = FlowLearner(flow, prior, trees, 1.0, int(LEARNING["LEARNER__WINDOW_SIZE"]))
    for record in ledger.read_topic(pipeline.broker.bootstrap, "risk.features"):
        if first <= record.offset < end:
            served = decode_served(record.value, record.key)
            if served.flow == flow:
                again.learn(served)
    return again._trees.export().hash == later.hash


def start_learning(trial: Trial, pipeline: Pipeline) -> tuple[Process, Process]:
    """Start worker and learner and wait until the worker serves what was learnt of every flow with a snapshot."""
    worker, learner = pipeline.start("worker"), pipeline.start("learner")
    worker.wait_ready()
    learner.wait_ready()
    trial.backlog(pipeline, LEARNT_FROM, seed=3)
    learner.wait(lambda: snapshots_published(learner) >= 4, 120, "publishing snapshots")
    worker.wait(lambda: served_at(worker) > 0, 30, "serving them")
    return worker, learner


def _wait_refused(worker: Process, wanted: float, how: str) -> None:
    worker.wait(lambda: worker.metric("tellwire_snapshots_rejected_total") >= wanted, 60, f"refusing what is {how}")


@row(
    number=22,
    fault="torn, damaged and newer snapshots as everybody's latest; then a start of worker and learner from them",
    observables=("I1", "I2", "I3", "I4", SERVED, ALIVE, "falls back one snapshot", "learns again from its offsets"),
)
def damaged_snapshots(trial: Trial) -> None:
    pipeline = trial.pipeline(1, **LEARNING)
    worker, learner = start_learning(trial, pipeline)
    load = trial.load(pipeline, per_s=PER_S, seed=4)
    kill(learner)  # what was learnt since its last snapshot is gone with it
    time.sleep(2.0)
    known = Published(pipeline)
    flows = known.flows()
    held = {flow: known.good("anomaly_hst", flow)[-1] for flow in flows}
    tables = {flow: known.good("calibration", flow)[-1] for flow in flows}
    before, refused = served_at(worker), worker.metric("tellwire_snapshots_rejected_total")
    hows = OF_SNAPSHOTS if trial.budget == "ci" else [how for how in DAMAGES if how != "huge"]
    sent = 0
    for how in hows:
        for flow in flows:
            pair = newer(tables[flow], held[flow])
            publish(pipeline, [(f"{one.kind}/{flow}/latest", damaged(one, how)) for one in pair])
            sent += len(pair)
        trial.faulted(how)
        _wait_refused(worker, refused + sent, how)
    trial.outcome.check(SERVED, served_at(worker) == before, "another snapshot serves")
    trial.outcome.check(ALIVE, worker.process.poll() is None, f"exit status {worker.process.returncode}")
    # Now the latest of every flow is damaged, and whoever starts meets nothing else.
    wait_moving(pipeline, worker, pipeline.ends("risk.events"))
    kill(worker)
    trial.faulted("start from damaged snapshots")
    worker = pipeline.start("worker")
    worker.wait_ready()
    fallen = worker.metric("tellwire_snapshot_fallbacks_total")
    times = served_at(worker)
    ok = fallen == len(flows) and times == before
    trial.outcome.check(
        "falls back one snapshot", ok, f"{fallen:.0f} of {len(flows)} flows, made at {times}, not {before}"
    )
    checked = _learns_again(trial, pipeline, worker, load, held)
    trial.outcome.note = f"{len(hows)} damages, {len(flows)} flows, {checked} learnt again to the bit"


def _learnt_from(trial: Trial, pipeline: Pipeline, now: Published, held: Mapping[Flow, Snapshot]) -> int:
    """Check that each flow's first new snapshot is what its old one and the records behind it give; how many are."""
    checked = 0
    for flow, old in held.items():
        known = [one.hash for one in now.good("anomaly_hst", flow)]
        newer = now.good("anomaly_hst", flow)[known.index(old.hash) + 1 :]
        if newer:
            checked += 1
            same = learnt_again(pipeline, flow, old, newer[0])
            trial.outcome.check("learns again from its offsets", same, f"{flow}: not what the records give")
    trial.outcome.check("learns again from its offsets", checked > 0, f"{checked} flows have a newer snapshot")
    return checked


def _learns_again(trial: Trial, pipeline: Pipeline, worker: Process, load: Load, held: Mapping[Flow, Snapshot]) -> int:
    """Start a learner, wait until the worker serves what it publishes, judge; return how many flows were compared."""
    before = served_at(worker)
    learner = pipeline.start("learner")
    learner.wait_ready()
    learner.wait(lambda: snapshots_published(learner) >= 2, 120, "publishing again")
    worker.wait(lambda: served_at(worker) > before, 60, "serving newer ones")
    load.stop()
    pipeline.wait_committed(worker)
    now = Published(pipeline)
    checked = _learnt_from(trial, pipeline, now, held)
    trial.judge(pipeline, snapshots=now.served())
    return checked


def _topic_limit(pipeline: Pipeline, topic: str, limit: int) -> None:
    """Set the largest record that the broker takes for a topic: it refuses what is larger, as a full disk would."""
    entry = ConfigEntry("max.message.bytes", str(limit), incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])
    for future in pipeline.broker.admin.incremental_alter_configs([resource]).values():
        future.result()


@row(
    number=23,
    fault="no snapshot can be written: the broker refuses them; then kill -9 of the learner with unsaved learning",
    observables=("I1", "I2", "I3", "I4", SERVED, ALIVE, "snapshot age grows", "learns again from its offsets"),
    in_ci=False,
)
def snapshots_refused(trial: Trial) -> None:
    pipeline = trial.pipeline(1, **LEARNING)
    worker, learner = start_learning(trial, pipeline)
    _topic_limit(pipeline, "models.snapshots", 200)
    trial.faulted("snapshots are refused")
    load = trial.load(pipeline, per_s=PER_S, seed=5)
    learner.wait(lambda: "snapshots were not published" in learner.text(), 90, "refused by the broker")
    time.sleep(1.0)
    known = Published(pipeline)
    held = {flow: known.good("anomaly_hst", flow)[-1] for flow in known.flows()}
    before, learnt = served_at(worker), learner.metric("tellwire_learner_learnt_total")
    learner.wait(lambda: learner.metric("tellwire_learner_learnt_total") > learnt + 50, 90, "learning on")
    grown = served_at(worker) == before and served_at(learner) == before
    trial.outcome.check("snapshot age grows", grown, "the time of what is served changed while nothing was published")
    trial.outcome.check(SERVED, served_at(worker) == before, "another snapshot serves")
    trial.outcome.check(ALIVE, learner.process.poll() is None, f"exit status {learner.process.returncode}")
    kill(learner)
    trial.faulted("kill -9 of the learner")
    _topic_limit(pipeline, "models.snapshots", 8 * 1_048_576)
    checked = _learns_again(trial, pipeline, worker, load, held)
    trial.outcome.note = f"{checked} flows learnt again to the bit"
