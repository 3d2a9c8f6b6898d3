"""The job done for one event alone, as somebody without chunks would write it; the frameworks around it differ.

Pure work: the caller reads and writes the session's bytes and the entity counters, and publishes what comes out. Its
risk events have all that the ledger asks of ours: id, source, headers.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from features.counted import counted
from features.fill import fill_context
from features.registry import N_FEATURES
from features.session import Meta, columns_of, decode, encode, fold_chunk, new_row, warm_up
from features.signals import derive_signals
from features.velocity import Link
from models.engine import Engine
from schemas.envelope import cloud_event_headers
from schemas.envelope import decode as decode_record
from schemas.envelope import encode as encode_message
from schemas.risk import RiskEvent, Source
from schemas.telemetry import Telemetry
from stream.counters import ChunkCounters, CounterPlan
from stream.refs import RefHasher
from stream.state import CounterRead, Counters

REFRESH_MS = 2_000
"""A session's counters are read again after this append time, as the worker does by default."""


@dataclass
class Work:
    """One event, decoded, with its session as it was before."""

    telemetry: Telemetry
    meta: Meta
    row: npt.NDArray[np.float32]
    ingested_ms: int
    reads: list[CounterRead]
    """Entity counters that are due; none for a job that keeps none."""


@dataclass
class Scored:
    """What one event leads to."""

    key: bytes
    value: bytes
    """The risk event."""
    headers: list[tuple[str, bytes]]
    state: bytes
    """The session's new bytes."""
    links: list[Link]


class PerEvent:
    """Scores events one by one. `refs` hashes references and asks for entity counters; without it there are none."""

    def __init__(
        self, topic_id: str, pipeline: str, refs: RefHasher | None = None, *, refresh_ms: int = REFRESH_MS
    ) -> None:
        self._topic_id = topic_id
        self._refs = refs
        self._refresh_ms = refresh_ms
        self._engine = Engine.load()
        self._versions = self._engine.versions_of(pipeline=pipeline)
        warm_up()

    def decode(self, value: bytes | None, key: bytes | None) -> Telemetry:
        """Decode and validate. Raises `Rejected`."""
        telemetry = decode_record(value, key)
        assert isinstance(telemetry, Telemetry)
        if self._refs is not None:
            self._refs.hash_event(telemetry)
        return telemetry

    def begin(self, telemetry: Telemetry, ingested_ms: int, state: bytes | None) -> Work:
        """Open the session's bytes (none: a new session) and say which counters are due."""
        session_id = telemetry.session_id
        meta, row = (Meta(), new_row()) if state is None else decode(session_id, state)
        reads = []
        if self._refs is not None:
            plan = CounterPlan(self._refresh_ms)
            plan.add(telemetry, ingested_ms, None if state is None else meta)
            reads = plan.reads()
        return Work(telemetry, meta, row, ingested_ms, reads)

    def score(self, work: Work, topic: str, partition: int, offset: int, answers: Sequence[Counters | None]) -> Scored:
        """Fold, score, decide; `answers` to the reads of the work."""
        telemetry, meta = work.telemetry, work.meta
        meta.mark(telemetry.sequence)
        meta.observe(telemetry, work.ingested_ms)
        links: list[Link] = []
        if self._refs is not None:
            counters = ChunkCounters(work.reads, answers, self._refresh_ms)
            counters.apply(meta, telemetry.session_id, work.ingested_ms)
            links = counters.links
        states = work.row.copy()[np.newaxis, :]
        vectors = np.empty((1, N_FEATURES))
        fold_chunk(states, np.zeros(1, dtype=np.int32), columns_of([telemetry]), vectors)
        shown = counted(meta.counters)
        fill_context(vectors[0], meta, shown)
        signals = derive_signals(telemetry, meta, vectors[0])
        raw = self._engine.raw(vectors, [meta.flow], [signals], None, [meta.camera])
        found = self._engine.assess(vectors[0], raw[0], meta, signals, shown.velocity, [], None)
        now_ms = int(time.time() * 1000)
        risk = RiskEvent(
            evaluation_id=f"{self._topic_id}:{partition}:{offset}",
            event_id=telemetry.event_id,
            session_id=telemetry.session_id,
            tenant=telemetry.tenant,
            flow=telemetry.flow,
            source=Source(topic=topic, topic_id=self._topic_id, partition=partition, offset=offset),
            sequence=meta.evaluations,
            evaluation_status="new" if meta.evaluations == 1 else "superseding",
            is_final=telemetry.end is not None,
            effective_at=telemetry.effective_at,
            observed_at=telemetry.observed_at,
            ingested_at=work.ingested_ms,
            scored_at=now_ms,
            observed_s=max(0, meta.last_effective_ms - meta.first_effective_ms) / 1000.0,
            scores=found.scores,
            risk_score=found.risk_score,
            risk_level=found.risk_level,
            decision=found.decision,
            reasons=found.reasons,
            signals=signals,
            coverage=found.coverage,
            missing_signals=found.missing_signals,
            degraded=[],
            velocity=shown.velocity,
            versions=self._versions,
            latency_ms={},
            account_ref=meta.account_ref,
            device_ref=meta.device_ref,
            automation=found.automation,
        )
        headers = cloud_event_headers(RiskEvent, id=risk.evaluation_id, subject=risk.session_id, time_ms=now_ms)
        state = encode(telemetry.session_id, meta, states[0])
        return Scored(telemetry.session_id.encode(), encode_message(risk), list(headers), state, links)
