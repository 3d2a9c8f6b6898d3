"""Observables I2 and I4: the log replayed by a single thread, one event at a time, against what the worker left.

I4: every published evaluation, repeats included, is what the oracle computes from the input, the session's state before
it and the counters that the event itself recorded, exactly. I2: the sessions in Redis are the states that the replay
ends with, and the entity counters are a naive count over the links that the log implies; nothing else is there.

Counters depend on what other partitions had written at that moment, so two evaluations of one input may differ in them
and in what follows from them. The replay therefore follows every published evaluation: a session's state must be the
one that some chain of published evaluations ends with. Without a repeat there is one chain.
"""

from __future__ import annotations

import asyncio
import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache

import msgspec

from features.session import STATE_VERSION, Meta, StateMismatch, decode
from features.velocity import WHATS, Entity, Link, What, count
from models.engine import Assessment, Engine
from models.snapshots import SnapshotSet
from schemas import envelope
from schemas.risk import RiskEvent, Versions
from stream.refs import RefHasher
from stream.settings import KeySettings
from stream.state import ConnectionOptions, CounterRead, RedisStore
from tests.fault.observe import INPUT, Evidence
from tests.fault.row import Outcome
from tests.support.ledger import Place, Record, answered_by
from tests.support.oracle import Oracle
from tests.support.pipeline import REF_KEY, Pipeline

PREFIX = "tellwire"
LEFT_OUT: Mapping[str, str] = {
    "movements": "what was found beside other sessions' depends on these; I4 holds what each event says of it",
    "logged_ratio": "drawn from a bucket that each worker process fills by itself; it decides about logging alone",
}
"""Fields of the session state that are not compared, and why."""
_COUNTER = re.compile(rb"\{[^{}]*:c\d+:e\d+\}:")
EXACT_MEMBERS = 1_000
"""Members of a window above which the store counts a sample: its own tests own that."""


@cache
def engine() -> Engine:
    """The shipped engine, loaded once."""
    return Engine.load()


def refs() -> RefHasher:
    """Hashes references as the workers of a trial do."""
    return RefHasher(KeySettings(ref_key=REF_KEY))


@dataclass
class Replayed:
    """What the replay found."""

    sessions: dict[tuple[int, str], set[bytes]] = field(default_factory=dict)
    """By partition and session: every state that a chain of published evaluations ends with."""
    links: dict[Link, None] = field(default_factory=dict)
    """Every link that the log implies."""
    last_offset: dict[int, int] = field(default_factory=dict)
    checked: int = 0
    """Published evaluations that were recomputed."""
    wrong: list[str] = field(default_factory=list)
    """Evaluations that no chain explains."""
    filtered: list[Place] = field(default_factory=list)
    """The session's own repeats, as the oracle finds them."""


def replay(
    evidence: Evidence,
    snapshots: Mapping[str, SnapshotSet] | None = None,
    refresh_ms: int = 2_000,
    engines: Sequence[Engine] = (),
) -> Replayed:
    """Replay the whole log.

    `snapshots`: the live models by their hash, where a learner took part. `engines`: those that served beside or in
    place of the shipped one; each event is recomputed with the one that it names, and one that names none is wrong.
    """
    named = {_name_of(one.versions_of(pipeline="")): one for one in (engine(), *engines)}
    published: dict[Place, list[RiskEvent]] = defaultdict(list)
    for event in evidence.decoded:
        published[event.source.partition, event.source.offset].append(event)
    dead = {answered_by(letter, INPUT) for letter in evidence.dead_letters}
    found = Replayed()
    oracle = Oracle(engine(), refs(), refresh_ms=refresh_ms, snapshots=dict(snapshots or {}))
    for record in sorted(evidence.inputs, key=lambda one: (one.partition, one.offset)):
        place = (record.partition, record.offset)
        found.last_offset[record.partition] = record.offset
        if place in dead and place not in published:
            continue
        value = record.value or b""
        session_id = _session_of(value)
        if session_id is None:
            continue  # not readable and not dead either: I1 reports it
        key = (record.partition, session_id)
        before = found.sessions.get(key, {b""})
        if place not in published:
            found.sessions[key] = _unpublished(oracle, found, record, session_id, before)
            continue
        after: set[bytes] = set()
        # Equal evaluations, such as repeats after a crash, need one look.
        for event in _distinct(published[place]):
            explained = False
            oracle.engine = named.get(_name_of(event.versions), oracle.engine)
            for state in before if _name_of(event.versions) in named else ():
                oracle.sessions[session_id] = state
                again = oracle.evaluate(
                    value, record.time_ms, event.velocity, event.degraded, event.versions.snapshot, event
                )
                if again is not None and oracle.counters_follow and _same(again, event):
                    explained = True
                    after.add(oracle.sessions[session_id])
                    found.links.update(dict.fromkeys(oracle.links))
            found.checked += 1
            if not explained:
                found.wrong.append(f"evaluation {event.evaluation_id} is not what its input and counters give")
        found.sessions[key] = after or before
    return found


def _name_of(versions: Versions) -> tuple[object, ...]:
    return (*sorted(versions.models.items()), versions.calibration, versions.policy, versions.features)


def _unpublished(oracle: Oracle, found: Replayed, record: Record, session_id: str, before: set[bytes]) -> set[bytes]:
    """Follow an input that must leave no event: a session's own repeat, or a request to forget it."""
    after = set()
    for state in before:
        oracle.sessions[session_id] = state
        if oracle.evaluate(record.value or b"", record.time_ms, {}, []) is None:
            found.filtered.append((record.partition, record.offset))
            after.add(oracle.sessions.get(session_id, b""))
        else:
            after.add(state)  # it should have been answered: I1 reports it
    return after


def _session_of(value: bytes) -> str | None:
    try:
        return envelope.decode(value, None).session_id
    except envelope.Rejected:
        return None


def _distinct(events: Sequence[RiskEvent]) -> Iterable[RiskEvent]:
    kept: list[RiskEvent] = []
    for event in events:
        plain = msgspec.structs.replace(event, scored_at=0, latency_ms={}, replayed=False)
        if plain not in kept:
            kept.append(plain)
            yield event


def _same(again: Assessment, event: RiskEvent) -> bool:
    return (
        again.scores == event.scores
        and again.decision == event.decision
        and again.risk_level == event.risk_level
        and again.risk_score == event.risk_score
        and again.reasons == event.reasons
        and again.coverage == event.coverage
        and again.missing_signals == event.missing_signals
    )


def recomputed(replayed: Replayed, outcome: Outcome) -> None:
    """I4: every published evaluation is what its input and its recorded counters give."""
    detail = f"{replayed.checked} evaluations recomputed" + "".join(f"; {one}" for one in replayed.wrong[:3])
    outcome.check("I4", replayed.checked and not replayed.wrong, detail)


def final_state(
    pipeline: Pipeline,
    evidence: Evidence,
    replayed: Replayed,
    outcome: Outcome,
    left_out: Collection[str] = tuple(LEFT_OUT),
    observable: str = "I2",
) -> None:
    """I2: watermarks, sessions and counters in Redis are those of the replay; but for the fields in `left_out`."""
    wrong = asyncio.run(_compare(pipeline, evidence, replayed, left_out))
    detail = f"{len(replayed.sessions)} sessions, {len(replayed.links)} links" + "".join(f"; {w}" for w in wrong[:4])
    if len(wrong) > 4:
        detail += f"; and {len(wrong) - 4} more"
    outcome.check(observable, replayed.sessions and not wrong, detail)


async def _compare(pipeline: Pipeline, evidence: Evidence, replayed: Replayed, left_out: Collection[str]) -> list[str]:
    options = ConnectionOptions(url=pipeline.redis.url, cluster=pipeline.redis_is_cluster, timeout_s=10)
    store = RedisStore(options, state_version=f"{STATE_VERSION}.{pipeline.partitions}", prefix=PREFIX)
    await store.open()
    try:
        return [
            *await _compare_watermarks(store, replayed),
            *await _compare_sessions(store, replayed, left_out),
            *_compare_keys(pipeline, store, replayed),
            *await _compare_counters(store, evidence, replayed),
        ]
    finally:
        await store.close()


async def _compare_watermarks(store: RedisStore, replayed: Replayed) -> list[str]:
    found = await store.watermarks(INPUT, sorted(replayed.last_offset))
    wrong = []
    for partition, last in replayed.last_offset.items():
        watermark = found[partition]
        if watermark is None or watermark.offset != last:
            wrong.append(f"watermark of partition {partition} is {watermark}, the log ends at {last}")
    return wrong


async def _compare_sessions(store: RedisStore, replayed: Replayed, left_out: Collection[str]) -> list[str]:
    wrong = []
    by_partition: dict[int, list[str]] = defaultdict(list)
    for (partition, session_id), states in replayed.sessions.items():
        if states != {b""}:
            by_partition[partition].append(session_id)
    for partition, session_ids in by_partition.items():
        for first in range(0, len(session_ids), 500):
            part = session_ids[first : first + 500]
            loaded = await store.load(INPUT, partition, part, [])
            for session_id in part:
                expected = replayed.sessions[partition, session_id]
                difference = _difference(session_id, loaded.blobs[session_id], expected, left_out)
                if difference:
                    wrong.append(f"session {session_id} of partition {partition}: {difference}")
    return wrong


def _difference(session_id: str, blob: bytes | None, expected: set[bytes], left_out: Collection[str]) -> str:
    """Return what differs from the nearest expected state; empty when one is equal."""
    if blob is None:
        return "not stored"
    try:
        meta, row = decode(session_id, blob)
    except StateMismatch as mismatch:
        return str(mismatch)
    differences = []
    for state in expected:
        if not state:
            continue
        wanted, wanted_row = decode(session_id, state)
        names = [
            field.name
            for field in msgspec.structs.fields(Meta)
            if field.name not in left_out and repr(getattr(meta, field.name)) != repr(getattr(wanted, field.name))
        ]
        if row.tobytes() != wanted_row.tobytes():
            names.append("row")
        if not names:
            return ""
        shown = [f"{name} {getattr(meta, name, '')!r} for {getattr(wanted, name, '')!r}" for name in names[:2]]
        differences.append(", ".join(shown))
    return min(differences, key=len, default="no published evaluation explains it")


def _compare_keys(pipeline: Pipeline, store: RedisStore, replayed: Replayed) -> list[str]:
    """No session or counter is stored that the log does not imply, and none is missing.

    Other kinds of keys (the worker's notes about itself, movements) are nobody's state and are not looked at.
    """
    found = set(pipeline.stored_keys())
    expected = {store.keys.watermark(INPUT, partition) for partition in replayed.last_offset}
    for (partition, session_id), states in replayed.sessions.items():
        if states != {b""}:
            expected.update(store.keys.sessions(INPUT, partition, [session_id]))
    entities = {store.keys.entity(link.entity, link.ref) for link in replayed.links}
    # A session's key has `}:s:` in it, a counter's tag ends with its shard; a large set of an entity has a key of its
    # own, named after the entity's.
    ours = {key for key in found if b"}:s:" in key or _COUNTER.match(key)}
    extra = {key for key in ours - expected - entities if key.rpartition(b":")[0] not in entities}
    missing = (expected | entities) - found
    wrong = []
    if extra:
        wrong.append(f"{len(extra)} keys too many, such as {min(extra)!r}")
    if missing:
        wrong.append(f"{len(missing)} keys are missing, such as {min(missing)!r}")
    return wrong


async def _compare_counters(store: RedisStore, evidence: Evidence, replayed: Replayed) -> list[str]:
    """Entity counters equal a naive count over the links of the log: nothing was counted twice."""
    by_entity: dict[tuple[Entity, str], list[Link]] = defaultdict(list)
    for link in replayed.links:
        by_entity[link.entity, link.ref].append(link)
    as_of = max((record.time_ms for record in evidence.inputs), default=0)
    wrong = []
    pairs = list(by_entity.items())
    for first in range(0, len(pairs), 200):
        part = pairs[first : first + 200]
        reads = [CounterRead(entity, ref, as_of, tuple(_members(links))) for (entity, ref), links in part]
        loaded = await store.load(INPUT, 0, [], reads)
        for ((entity, ref), links), answer in zip(part, loaded.counters, strict=True):
            if answer is None:
                wrong.append(f"counters of {entity} {ref} could not be read")
                continue
            for what in WHATS[entity]:
                naive = count(links, entity, ref, what, as_of)
                if naive.h24 <= EXACT_MEMBERS and answer.counts[what] != naive:
                    wrong.append(f"{what} of {entity} {ref}: {answer.counts[what]}, the log gives {naive}")
            for member, seen_ms in _members(links).items():
                if answer.last_seen_ms.get(member, seen_ms) != seen_ms:
                    wrong.append(f"{member} of {entity} {ref} last seen {answer.last_seen_ms[member]}, not {seen_ms}")
    return wrong


def _members(links: Iterable[Link]) -> dict[tuple[What, str], int]:
    found: dict[tuple[What, str], int] = {}
    for link in links:
        found[link.what, link.member] = max(link.bucket_ms, found.get((link.what, link.member), 0))
    return found
