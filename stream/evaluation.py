"""From decoded events to risk events: features, models and decisions of one batch, segment by segment.

Pure work on the loop: no wait, no I/O. A segment is a run of events, in offset order, in which no session occurs twice
(ADR 0005), so that every session's state is exactly that of its event while the segment is computed together. Between
segments the loop may look after others: a segment ends where it would keep the loop for too long (ADR 0014).
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Final, Protocol

import numpy as np
from msgspec import Raw

from features.counted import counted_of
from features.fill import fill_contexts, fill_counters
from features.meta import Compared
from features.registry import N_FEATURES, REGISTRY_HASH
from features.session import Meta, fold_chunk
from features.signals import signals_of
from models.engine import Assessment, Engine
from models.scorer import FloatArray
from models.snapshots import SnapshotSet
from schemas.deadletter import DeadLetterReason
from schemas.envelope import Rejected, encode
from schemas.risk import CHANNELS, Movements, RiskEvent, SignalValue, Source
from schemas.served import ServedFeatures
from schemas.signals import Signal
from schemas.telemetry import Telemetry
from stream import __version__
from stream.batch import Batch, ErasureItem, Evaluated, Item
from stream.counters import ChunkCounters
from stream.metrics import Stage
from stream.movements import DEGRADED, MovementLookup
from stream.outgoing import HalfEncoder
from stream.partition import OwnedPartition
from stream.sampling import FeatureSampler
from stream.sequence import out_of_reach
from stream.transport.limiter import ChunkLimiter

SEGMENT_S: Final = 0.002
"""Time that a segment may take."""
_MOST_RECORDS: Final = 1_024
_FIRST_RECORDS: Final = 32


class SnapshotSource(Protocol):
    """Where the live models come from; `current` is replaced, never changed."""

    current: SnapshotSet


class EngineSource(Protocol):
    """Where the engine comes from; `current` is replaced, never changed."""

    current: Engine


class Evaluator:
    """Turns the items of a batch into risk events; holds what is the same for all of them."""

    def __init__(
        self,
        engines: EngineSource,
        snapshots: SnapshotSource,
        sampler: FeatureSampler,
        ref_key_version: str,
        now_ms: Callable[[], int],
        movements: MovementLookup | None = None,
    ) -> None:
        self._engines = engines
        self._snapshots = snapshots
        self._sampler = sampler
        self._ref_key_version = ref_key_version
        self._now_ms = now_ms
        self._movements = movements
        self._halves = HalfEncoder()
        self._versions_of: tuple[Engine, SnapshotSet, Raw] | None = None
        self._bound = ChunkLimiter(SEGMENT_S, _MOST_RECORDS, _FIRST_RECORDS)

    def evaluate(
        self,
        owned: OwnedPartition,
        items: Sequence[Item | ErasureItem],
        counters: ChunkCounters,
        lap: Callable[[Stage], float],
        batch: Batch,
    ) -> Iterator[None]:
        """Stages 3 to 5 for all items; fills `batch.evaluated`, `rejected`, `filtered`, `touched` and `erased`.

        Yields after each segment; until it goes on nothing else may touch the partition's sessions. Where `must_ask` is
        set then, the batch's movements are to be asked about first: their answers count from the next event on.
        """
        # Once for all items: both may be replaced meanwhile, and what came together is scored alike.
        serving = self._engines.current, self._snapshots.current
        segment: list[Item] = []
        inside: dict[str, tuple[int, Meta]] = {}
        for item in items:
            session_id = item.event.session_id
            if session_id in inside or len(segment) >= self._bound.limit:
                self._segment(owned, segment, inside, counters, lap, batch, serving)
                segment, inside = [], {}
                yield
            if isinstance(item, ErasureItem):
                _erase(owned, item, batch)
                continue
            if batch.unasked and session_id in batch.unasked:
                batch.must_ask = True
                yield
                batch.must_ask = False
            held = owned.sessions.get(session_id)
            if self._admit(owned, item, held[1], batch):
                segment.append(item)
                inside[session_id] = held
        if segment:
            self._segment(owned, segment, inside, counters, lap, batch, serving)
            yield

    def _admit(self, owned: OwnedPartition, item: Item, meta: Meta, batch: Batch) -> bool:
        """Drop a producer's own repeat; refuse what is too old to tell. Marks what is new."""
        event = item.event
        if meta.tenant and event.tenant != meta.tenant:
            batch.refuse(item, _of_another_tenant())
            return False
        if isinstance(event, Signal):
            if event.event_id in meta.recent_signals:
                batch.filtered += 1
                return False
            return True
        seen = meta.seen(event.sequence)
        if seen == "duplicate":
            batch.filtered += 1
            return False
        refused = out_of_reach(meta.highest_sequence, event.sequence, is_behind=seen == "too_old")
        if refused is not None:
            batch.refuse(item, refused)
            return False
        if event.sequence == 0:
            meta.state_cold = False
        elif meta.highest_sequence < 0 or (owned.hole_ms and owned.is_torn(meta, event.sequence)):
            meta.state_cold = True
        meta.mark(event.sequence)
        return True

    def _segment(  # noqa: PLR0917 - called twice, by position
        self,
        owned: OwnedPartition,
        segment: list[Item],
        held: dict[str, tuple[int, Meta]],
        counters: ChunkCounters,
        lap: Callable[[Stage], float],
        batch: Batch,
        serving: tuple[Engine, SnapshotSet],
    ) -> None:
        """Evaluate a run of items; `held` has their sessions' row and meta, in the same order."""
        n = len(segment)
        slots = np.array([slot for slot, _ in held.values()], dtype=np.int32)
        metas = [meta for _, meta in held.values()]
        batch.touched.update(dict.fromkeys(held))
        events = [item.event for item in segment]
        degraded: list[list[str]] = []
        for item, meta, event in zip(segment, metas, events, strict=True):
            if isinstance(event, Signal):
                meta.observe_signal(event, item.ingested_ms)
            else:
                meta.observe(event, item.ingested_ms)
            unread = counters.apply(meta, event.session_id, item.ingested_ms)
            degraded.append(["counters"] if unread else [])
        columns = batch.columns.take([item.row for item in segment])
        vectors = np.empty((n, N_FEATURES), dtype=np.float64)
        may_hold = fold_chunk(owned.sessions.rows, slots, columns, vectors)
        if self._movements is not None:
            for item, meta, missing in zip(segment, metas, degraded, strict=True):
                if (
                    (known := meta.movements) is not None
                    and known.pending
                    and self._movements.answer(owned, item.event.session_id, known)
                ):
                    missing.append(DEGRADED)
            self._movements.take(owned, segment, metas, slots, columns, batch)
        fill_contexts(vectors, metas)
        shown = [counted_of(meta) for meta in metas]
        fill_counters(vectors, shown)
        signals = signals_of(events, metas, vectors, may_hold)
        features_s = lap("features")

        engine, snapshot = serving
        cameras = [meta.camera for meta in metas]
        raw = engine.raw(vectors, [meta.flow for meta in metas], signals, snapshot, cameras)
        models_s = lap("models")

        stages_ms = {"features": features_s * 1000.0, "models": models_s * 1000.0}
        velocity = [each.velocity for each in shown]
        assessments = engine.assess_chunk(vectors, raw, metas, signals, velocity, degraded, snapshot)
        versions, scored_at = self._versions(engine, snapshot), self._now_ms()
        for i, (item, assessment, meta) in enumerate(zip(segment, assessments, metas, strict=True)):
            is_logged = self._is_logged(item, meta)
            if item.offset < owned.publish_from:
                batch.folded_only += 1
                continue
            told = _risk_event(
                owned, item, meta, assessment, signals[i], shown[i].text, degraded[i], versions, scored_at
            )
            batch.evaluated.append(
                Evaluated(
                    item,
                    told.evaluation_id,
                    scored_at,
                    told.flow,
                    assessment.decision.action,
                    degraded[i],
                    assessment.scores,
                    assessment.coverage,
                    stages_ms,
                    self._halves.encode(told),
                    encode(_served(told, item, meta, assessment, vectors[i], raw[i], engine.scorers))
                    if is_logged
                    else None,
                )
            )
        decide_s = lap("decide")
        stages_ms["decide"] = decide_s * 1000.0
        self._bound.measured(n, features_s + models_s + decide_s)

    def _is_logged(self, item: Item, meta: Meta) -> bool:
        """Whether the served vector is told: the session is in the sample, chosen at its first event, then kept."""
        if meta.logged_ratio < 0.0:
            meta.logged_ratio = self._sampler.choose(item.event.session_id, item.ingested_ms)
        return meta.logged_ratio != 0.0

    def _versions(self, engine: Engine, snapshot: SnapshotSet) -> Raw:
        """The versions block, encoded once for an engine and a snapshot: nothing else in it ever changes."""
        known = self._versions_of
        if known is None or known[0] is not engine or known[1] is not snapshot:
            made = engine.versions_of(pipeline=__version__, snapshot=snapshot, ref_key=self._ref_key_version)
            known = self._versions_of = (engine, snapshot, Raw(encode(made)))
        return known[2]


def _risk_event(  # noqa: PLR0917 - all that one event is made of, called once
    owned: OwnedPartition,
    item: Item,
    meta: Meta,
    assessment: Assessment,
    signals: dict[str, SignalValue],
    velocity: Raw,
    degraded: list[str],
    versions: Raw,
    scored_at: int,
) -> RiskEvent:
    """The event to be encoded. What many events share is in it encoded already."""
    event, origin = item.event, item.origin
    # The id names the first place, the source the present one: who dedupes by either sees it once (ADR 0006).
    partition, offset = (owned.number, item.offset) if origin is None else origin[:2]
    return RiskEvent(
        evaluation_id=f"{owned.topic_id}:{partition}:{offset}",
        event_id=event.event_id,
        session_id=event.session_id,
        tenant=event.tenant,
        flow=meta.flow,  # type: ignore[arg-type]
        source=Source(topic=owned.topic, topic_id=owned.topic_id, partition=owned.number, offset=item.offset),
        sequence=meta.evaluations,
        evaluation_status="new" if meta.evaluations == 1 else "superseding",
        is_final=isinstance(event, Telemetry) and event.end is not None,
        replayed=item.offset <= owned.published_to,
        redriven=origin is not None,
        effective_at=event.effective_at,
        observed_at=event.observed_at,
        ingested_at=item.ingested_ms,
        scored_at=scored_at,
        observed_s=max(0, meta.last_effective_ms - meta.first_effective_ms) / 1000.0,
        scores=assessment.scores,
        risk_score=assessment.risk_score,
        risk_level=assessment.risk_level,
        decision=assessment.decision,
        reasons=assessment.reasons,
        signals=signals,
        coverage=assessment.coverage,
        missing_signals=assessment.missing_signals,
        degraded=degraded,
        velocity=velocity,  # type: ignore[arg-type]
        versions=versions,  # type: ignore[arg-type]
        latency_ms={},
        movements=_compared(meta.movements),
        account_ref=meta.account_ref,
        device_ref=meta.device_ref,
        state_cold=meta.state_cold,
        automation=assessment.automation,
    )


def _compared(known: Compared | None) -> Movements | None:
    if known is None or not known.compared:
        return None
    return Movements(compared=known.compared, near=list(known.near))


def _served(  # noqa: PLR0917 - likewise
    event: RiskEvent,
    item: Item,
    meta: Meta,
    assessment: Assessment,
    vector: FloatArray,
    raw: FloatArray,
    scorers: str,
) -> ServedFeatures:
    return ServedFeatures(
        evaluation_id=event.evaluation_id,
        session_id=event.session_id,
        flow=event.flow,
        cell=list(assessment.cell),
        features_hash=REGISTRY_HASH,
        features=vector.tolist(),
        raw=_channels(raw.tolist()),
        raw_max=_channels(meta.raw_max),
        overall=assessment.scores.overall,
        flagged_by=list(assessment.flagged_by),
        cohort=meta.vouched or "unlabelled",
        sequence=event.sequence,
        is_final=event.is_final,
        ingested_at=item.ingested_ms,
        observed_s=event.observed_s,
        sampling_ratio=meta.logged_ratio,
        scorers=scorers,
        account_ref=meta.account_ref,
        device_ref=meta.device_ref,
        address_ref=meta.ip_ref,
        source_ref=meta.account_ref or meta.device_ref or meta.ip_ref,
    )


def _erase(owned: OwnedPartition, item: ErasureItem, batch: Batch) -> None:
    """Forget a session as of here; what comes behind it in the same batch begins anew. Another tenant's is refused."""
    session_id = item.event.session_id
    _, meta = owned.sessions.get(session_id)
    if meta.tenant and item.event.tenant != meta.tenant:
        batch.refuse(item, _of_another_tenant())
        return
    owned.sessions.reset(session_id)
    batch.touched.pop(session_id, None)
    batch.erased[session_id] = None
    batch.erasures += 1


def _of_another_tenant() -> Rejected:
    detail = "the session belongs to another tenant; session ids must be unique over all tenants"
    return Rejected(DeadLetterReason.TENANT_MISMATCH, "$.tenant", detail)


def _channels(values: Sequence[float]) -> dict[str, float]:
    return {name: value for name, value in zip(CHANNELS, values, strict=True) if value == value}
