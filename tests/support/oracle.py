"""The pipeline's stupid twin: one event at a time, no cache, no chunks; every session goes through its bytes each time.

It shares the pure core with the pipeline (features, models) and none of its handling. Counters are not looked up but
given, as the risk event recorded them, because they depend on what other partitions did at that moment.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from features.counted import counted
from features.fill import fill_context
from features.meta import Compared
from features.movement import movements_of
from features.registry import N_FEATURES
from features.session import Meta, columns_of, decode, encode, fold_chunk, new_row
from features.signals import derive_signals
from features.velocity import CAPTURE_NAMES, PAIR_NAMES, TEMPLATE_NAMES, Count, Link, bucket_of, links_of
from models.engine import Assessment, Engine
from models.snapshots import SnapshotSet
from schemas.envelope import decode as decode_record
from schemas.erasure import Erasure
from schemas.risk import RiskEvent, Velocity
from schemas.signals import Signal
from schemas.telemetry import Collector, Telemetry
from stream.refs import RefHasher
from tests.support.counts import part_of, parts_of, two_of

Row = npt.NDArray[np.float32]


@dataclass
class Oracle:
    """All sessions of one input topic, as bytes."""

    engine: Engine
    refs: RefHasher
    sessions: dict[str, bytes] = field(default_factory=dict)
    """By session id; empty bytes and a missing session are the same."""
    refresh_ms: int = 0
    """A session's counters may change after this append time only, ms, or when a reference appears."""
    snapshots: Mapping[str, SnapshotSet] = field(default_factory=dict)
    """Live models by their hash."""
    counters_follow: bool = True
    """Whether the record assessed last showed the counters that its session held, or was due for other ones."""

    links: list[Link] = field(default_factory=list)
    """What the record assessed last adds to the entity counters."""

    def evaluate(
        self,
        value: bytes,
        ingested_ms: int,
        velocity: Mapping[str, Velocity],
        degraded: list[str],
        snapshot: str | None = None,
        told: RiskEvent | None = None,
    ) -> Assessment | None:
        """Assess one telemetry record or upstream result; None for a repeat, and for an erasure, which forgets.

        `snapshot`: hash of the live models that the event names. `told`: the event itself, where movements were
        compared: what was found of the session's depends on other sessions, so it is taken from there.
        """
        event = decode_record(value, None)
        if isinstance(event, Signal):
            return self._signal(event, ingested_ms, velocity, degraded, snapshot, told)
        if isinstance(event, Erasure):
            held = self.sessions.get(event.session_id)
            if held and decode(event.session_id, held)[0].tenant == event.tenant:
                del self.sessions[event.session_id]
            return None
        assert isinstance(event, Telemetry)
        self.refs.hash_event(event)
        meta, row = self._session(event.session_id)
        if meta.seen(event.sequence) != "new":
            return None
        if event.sequence == 0:
            meta.state_cold = False
        elif meta.highest_sequence < 0:
            meta.state_cold = True
        meta.mark(event.sequence)
        meta.observe(event, ingested_ms)
        return self._assess(event, meta, row, ingested_ms, velocity, degraded, snapshot, event, told)

    def _session(self, session_id: str) -> tuple[Meta, Row]:
        stored = self.sessions.get(session_id)
        return decode(session_id, stored) if stored else (Meta(), new_row())

    def _signal(
        self,
        signal: Signal,
        ingested_ms: int,
        velocity: Mapping[str, Velocity],
        degraded: list[str],
        snapshot: str | None,
        told: RiskEvent | None,
    ) -> Assessment | None:
        self.refs.hash_event(signal)
        meta, row = self._session(signal.session_id)
        if not meta.observe_signal(signal, ingested_ms):
            return None
        without_samples = Telemetry(
            event_id=signal.event_id,
            session_id=signal.session_id,
            tenant=signal.tenant,
            flow=signal.flow,
            sequence=0,
            effective_at=signal.effective_at,
            observed_at=signal.observed_at,
            collector=Collector(name="none", version="0"),
        )
        return self._assess(signal, meta, row, ingested_ms, velocity, degraded, snapshot, without_samples, told)

    def _assess(  # noqa: PLR0917 - one record and all that it meets
        self,
        event: Telemetry | Signal,
        meta: Meta,
        row: Row,
        ingested_ms: int,
        velocity: Mapping[str, Velocity],
        degraded: list[str],
        snapshot: str | None,
        folded: Telemetry,
        told: RiskEvent | None,
    ) -> Assessment:
        shown = parts_of([_count(velocity.get(name)) for name in PAIR_NAMES])
        captured = part_of([_count(velocity.get(name)) for name in CAPTURE_NAMES])
        alike = two_of([_count(velocity.get(name)) for name in TEMPLATE_NAMES])
        appeared = meta.link_bucket_ms == 0
        same_bucket = meta.link_bucket_ms == bucket_of(ingested_ms)
        self.links = [] if same_bucket else links_of(meta, event.session_id, ingested_ms)
        meta.link_bucket_ms = bucket_of(ingested_ms)
        due = appeared or ingested_ms - meta.counters_as_of_ms >= self.refresh_ms
        self.counters_follow = due or (shown, captured, alike) == (
            meta.counters,
            meta.capture_counters,
            meta.template_counters,
        )
        if due and "counters" not in degraded:
            meta.counters_as_of_ms = ingested_ms
        meta.counters, meta.capture_counters, meta.template_counters = shown, captured, alike
        states = row.copy()[np.newaxis, :]
        vectors = np.empty((1, N_FEATURES))
        fold_chunk(states, np.zeros(1, dtype=np.int32), columns_of([folded]), vectors)
        if told is not None:
            movements_of(states, np.zeros(1, dtype=np.int32), columns_of([folded]))
            found = told.movements
            meta.movements = None if found is None else Compared(found.compared, 0, bytes(found.near))
        fill_context(vectors[0], meta, counted(meta.counters))
        signals = derive_signals(event, meta, vectors[0])
        live = self.snapshots[snapshot] if snapshot is not None and self.snapshots else None
        raw = self.engine.raw(vectors, [meta.flow], [signals], live, [meta.camera])
        assessment = self.engine.assess(vectors[0], raw[0], meta, signals, velocity, degraded, live)
        self.sessions[event.session_id] = encode(event.session_id, meta, states[0])
        return assessment


def _count(velocity: Velocity | None) -> Count | None:
    if velocity is None:
        return None
    known = [-1 if value is None else value for value in (velocity.m5, velocity.h1, velocity.h24)]
    return Count(known[0], known[1], known[2], velocity.approximate)
