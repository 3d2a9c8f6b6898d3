"""The plain twin of `stream.counters`: every event is planned, every counter laid over and looked up by itself."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from features.session import Meta
from features.template import template_of
from features.velocity import (
    ALL_PAIRS,
    WHATS,
    WINDOWS_MS,
    Count,
    Entity,
    Link,
    What,
    bucket_of,
    counts_of,
    links_of,
    refs_of,
)
from schemas.signals import Signal
from schemas.telemetry import Telemetry
from stream.state import CounterRead, Counters
from tests.support.counts import part_of, parts_of, two_of

ALL = ALL_PAIRS


class CounterPlan:
    """Collects, in offset order, which counters a chunk may need; a superset of what will be due."""

    def __init__(self, refresh_ms: int) -> None:
        self._refresh_ms = refresh_ms
        self._as_of: dict[tuple[Entity, str], int] = {}
        self._members: dict[tuple[Entity, str], dict[tuple[What, str], None]] = {}
        self._known: dict[str, dict[str, str]] = {}
        self._before_erasure: dict[str, list[dict[str, str]]] = {}

    def add(self, event: Telemetry | Signal, ingested_ms: int, meta: Meta | None) -> None:
        """Plan for one event; `meta` is the session's state where it is cached."""
        refs = self._known.get(event.session_id)
        due = meta is None or ingested_ms - meta.counters_as_of_ms >= self._refresh_ms
        if self._before_erasure and event.session_id in self._before_erasure:
            # It began anew, or its erasure is going to be refused and it goes on: both are asked for.
            due, meta = True, None
            for other in self._before_erasure[event.session_id]:
                _take_refs(other, event)
                self._ask(event.session_id, other, ingested_ms)
        if refs is None:
            refs = self._known[event.session_id] = _refs_of_meta(meta) if meta is not None else {}
        before = dict(refs)
        _take_refs(refs, event)
        if due or refs != before:
            self._ask(event.session_id, refs, ingested_ms)

    def erase(self, session_id: str, meta: Meta | None) -> None:
        """Plan for what may follow an erasure; `meta` is the session's state where it is cached."""
        refs = self._known.pop(session_id, None)
        if refs is None:
            refs = _refs_of_meta(meta) if meta is not None else {}
        self._before_erasure.setdefault(session_id, []).append(refs)

    def reads(self) -> list[CounterRead]:
        """Return one read an entity."""
        return [
            CounterRead(entity, ref, as_of, tuple(self._members[entity, ref]))
            for (entity, ref), as_of in self._as_of.items()
        ]

    def _ask(self, session_id: str, refs: dict[str, str], ingested_ms: int) -> None:
        members: dict[What, str | None] = {
            "sessions": session_id,
            "accounts": refs.get("account"),
            "devices": refs.get("device"),
            "ips": refs.get("ip"),
            "countries": refs.get("country"),
        }
        for entity, whats in WHATS.items():
            ref = refs.get(entity)
            if ref is None:
                continue
            self._as_of.setdefault((entity, ref), ingested_ms)
            asked = self._members.setdefault((entity, ref), {})
            for what in whats:
                member = members[what]
                if member is not None:
                    asked[what, member] = None


class Overlay:
    """A chunk's own links on top of counters that were read before the chunk, in offset order.

    `base` holds, by (entity, ref, what), the counter as of the chunk's start, and `known` the members that each window
    is known to hold already (those that the chunk may add again). So the counter after record i of the chunk is what a
    chunk of one record would have read.
    """

    def __init__(
        self,
        base: Mapping[tuple[Entity, str, What], Count],
        known: Mapping[tuple[Entity, str, What, str], tuple[bool, bool, bool]] | None = None,
    ) -> None:
        self._base = base
        self._known = dict(known or {})
        self._added: dict[tuple[Entity, str, What], list[int]] = {}

    def add(self, links: Iterable[Link]) -> None:
        """Count the links of one record; a member that every window holds already changes nothing."""
        for link in links:
            held = self._known.get((link.entity, link.ref, link.what, link.member), (False, False, False))
            if all(held):
                continue
            added = self._added.setdefault((link.entity, link.ref, link.what), [0, 0, 0])
            for i, known in enumerate(held):
                if not known:
                    added[i] += 1
            self._known[link.entity, link.ref, link.what, link.member] = (True, True, True)

    def count(self, entity: Entity, ref: str, what: What) -> Count | None:
        """The counter after all links added so far; None where nothing was read (degraded)."""
        base = self._base.get((entity, ref, what))
        if base is None:
            return None
        added = self._added.get((entity, ref, what))
        if added is None:
            return base
        values = [
            read + more if read >= 0 else -1 for read, more in zip((base.m5, base.h1, base.h24), added, strict=True)
        ]
        return Count(values[0], values[1], values[2], base.approximate)

    def counters(self, meta: Meta) -> list[Count | None]:
        """All counters of the session's entities, in the order of `ALL`; None where unknown or without entity."""
        refs = refs_of(meta)
        return [self.count(entity, refs[entity], what) if entity in refs else None for entity, what in ALL]


def overlay_of(reads: Sequence[CounterRead], counters: Iterable[Counters | None]) -> Overlay:
    """Return the overlay over what `load` answered to `reads`, one read per entity, all as of one bucket.

    A read must ask for the members that the chunk may link (`CounterRead.members`): members that a window holds
    already are not counted again. An estimate stays as it was read: it moves with the next chunk.
    """
    base: dict[tuple[Entity, str, What], Count] = {}
    known: dict[tuple[Entity, str, What, str], tuple[bool, bool, bool]] = {}
    for read, found in zip(reads, counters, strict=True):
        if found is None:
            continue
        for what, count in found.counts.items():
            base[read.entity, read.ref, what] = count
        m5, h1, h24 = (bucket_of(read.as_of_ms - window_ms) for window_ms in WINDOWS_MS.values())
        for what, member in read.members:
            if found.counts[what].approximate:
                known[read.entity, read.ref, what, member] = (True, True, True)
            else:
                last = found.last_seen_ms.get((what, member), -1)
                known[read.entity, read.ref, what, member] = (last >= m5, last >= h1, last >= h24)
    return Overlay(base, known)


class ChunkCounters:
    """The counters of a chunk's events, in offset order."""

    def __init__(self, reads: Sequence[CounterRead], answers: Sequence[Counters | None], refresh_ms: int) -> None:
        self._refresh_ms = refresh_ms
        self._overlay = overlay_of(reads, answers)
        self._asked = {(read.entity, read.ref, what, member) for read in reads for what, member in read.members}
        pairs = list(zip(reads, answers, strict=True))
        self._read = {(read.entity, read.ref) for read, answer in pairs if answer is not None}
        self._failed = {(read.entity, read.ref) for read, answer in pairs if answer is None}
        self.links: list[Link] = []
        """Links to write, in offset order."""

    def apply(self, meta: Meta, session_id: str, ingested_ms: int) -> bool:
        """Bring one observed event's session up to date: links that are due, and counters that are due.

        Returns whether a counter that was due could not be read.
        """
        appeared = meta.link_bucket_ms == 0
        if meta.link_bucket_ms != bucket_of(ingested_ms):
            due = links_of(meta, session_id, ingested_ms)
            meta.link_bucket_ms = bucket_of(ingested_ms)
            self.links.extend(due)
            # A member that nobody asked about was linked in an earlier bucket: adding it could count it twice.
            self._overlay.add([link for link in due if (link.entity, link.ref, link.what, link.member) in self._asked])
        if not appeared and ingested_ms - meta.counters_as_of_ms < self._refresh_ms:
            return False
        fresh = self._overlay.counters(meta)
        whole = (*meta.counters, meta.capture_counters)
        held = [count for part in whole for count in counts_of(part)] + counts_of(meta.template_counters)[:2]
        known = [new if new is not None else old for new, old in zip(fresh, held, strict=True)]
        meta.counters, meta.capture_counters = parts_of(known[:12]), part_of(known[12:16])
        meta.template_counters = two_of(known[16:])
        entities = refs_of(meta).items()
        if all(entity in self._read for entity in entities):
            meta.counters_as_of_ms = ingested_ms
        # Otherwise they stay due: what could not be read, or belongs to a stored session whose references nobody knew
        # when the reads were planned, is asked for with the session's next chunk.
        return any(entity in self._failed for entity in entities)


def _take_refs(refs: dict[str, str], event: Telemetry | Signal) -> None:
    """Take over the latest address and capture of one event, and the first of all else."""
    held = event.capture if isinstance(event, Telemetry) else event.refs
    if held is not None and held.capture_ref is not None:
        refs["capture"] = held.capture_ref
    template = template_of(event.device) if isinstance(event, Telemetry) and event.device is not None else None
    if template is not None:
        refs["template"] = template
    if event.account_ref is not None:
        refs.setdefault("account", event.account_ref)
    if event.device_ref is not None:
        refs.setdefault("device", event.device_ref)
    if isinstance(event, Telemetry) and event.network is not None:
        if event.network.ip_ref is not None:
            refs["ip"] = event.network.ip_ref
        if event.network.ip_country is not None:
            refs["country"] = event.network.ip_country


def _refs_of_meta(meta: Meta) -> dict[str, str]:
    refs: dict[str, str] = {str(entity): ref for entity, ref in refs_of(meta).items()}
    if meta.ip_country is not None:
        refs["country"] = meta.ip_country
    return refs
