"""The pipeline's stupid twin: one event at a time, no cache, no chunks; every session goes through its bytes each time.

It shares the pure core with the pipeline (features, models) and none of its handling. Counters are not looked up but
given, as the risk event recorded them, because they depend on what other partitions did at that moment.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from features.fill import fill_context
from features.registry import N_FEATURES
from features.session import Meta, columns_of, decode, encode, fold_chunk, new_row
from features.signals import derive_signals
from features.velocity import PAIR_NAMES, Count
from models.engine import Assessment, Engine
from schemas.envelope import decode as decode_record
from schemas.risk import Velocity
from schemas.telemetry import Telemetry
from stream.refs import RefHasher


@dataclass
class Oracle:
    """All sessions of one input topic, as bytes."""

    engine: Engine
    refs: RefHasher
    sessions: dict[str, bytes] = field(default_factory=dict)

    def evaluate(
        self, value: bytes, ingested_ms: int, velocity: Mapping[str, Velocity], degraded: list[str]
    ) -> Assessment | None:
        """Assess one telemetry record; None for a repeat."""
        event = decode_record(value, None)
        assert isinstance(event, Telemetry)
        event.account_ref = self.refs.keep_or_hash("account", event.account_ref, event.ref_key_version)
        event.device_ref = self.refs.keep_or_hash("device", event.device_ref, event.ref_key_version)
        if event.network is not None:
            event.network.ip_ref = self.refs.keep_or_hash("ip", event.network.ip_ref, event.ref_key_version)
        stored = self.sessions.get(event.session_id)
        meta, row = decode(event.session_id, stored) if stored is not None else (Meta(), new_row())
        if meta.seen(event.sequence) != "new":
            return None
        if event.sequence == 0:
            meta.state_cold = False
        elif meta.highest_sequence < 0:
            meta.state_cold = True
        meta.mark(event.sequence)
        meta.observe(event, ingested_ms)
        meta.counters = [_count(velocity.get(name)) for name in PAIR_NAMES]
        states = row.copy()[np.newaxis, :]
        vectors = np.empty((1, N_FEATURES))
        fold_chunk(states, np.zeros(1, dtype=np.int32), columns_of([event]), vectors)
        fill_context(vectors[0], meta, meta.counters)
        signals = derive_signals(event, meta, vectors[0])
        raw = self.engine.raw(vectors, [meta.flow], [signals], None)
        assessment = self.engine.assess(vectors[0], raw[0], meta, signals, velocity, degraded, None)
        self.sessions[event.session_id] = encode(event.session_id, meta, states[0])
        return assessment


def _count(velocity: Velocity | None) -> Count | None:
    if velocity is None:
        return None
    known = [-1 if value is None else value for value in (velocity.m5, velocity.h1, velocity.h24)]
    return Count(known[0], known[1], known[2], velocity.approximate)
