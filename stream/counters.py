"""Entity counters of one chunk: what to read before it, and the chunk's own links laid over what was read.

A session's counters are read when they are due: at its first event, when a reference appears, and again after the
refresh interval of append time. In between its state holds them (ADR 0004).
"""

from collections.abc import Sequence
from itertools import groupby

from confluent_kafka import Message

from features.session import Meta
from features.velocity import PAIRS, WHATS, Entity, Link, What, bucket_of, links_of, refs_of
from schemas.signals import Signal
from schemas.telemetry import Telemetry
from stream.records import append_ms_of
from stream.state import CounterRead, Counters, overlay_of


def by_bucket(records: list[Message]) -> list[list[Message]]:
    """Split a chunk's records where their append times pass into another bucket of the counters.

    A chunk reads its counters as of one bucket. With two in it, a score would depend on where the chunk began.
    """
    first, last = (bucket_of(append_ms_of(record)) for record in (records[0], records[-1]))
    if first == last:
        # The broker's append times only grow, so what lies between is in the same bucket.
        return [records]
    return [list(group) for _, group in groupby(records, lambda record: bucket_of(append_ms_of(record)))]


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


class AnsweredReads:
    """Answers of the store by entity, so that a second look asks for what is new only."""

    def __init__(self) -> None:
        self._answers: dict[tuple[str, str], tuple[CounterRead, Counters | None]] = {}

    def take(self, reads: Sequence[CounterRead], answers: Sequence[Counters | None]) -> None:
        """Remember the answers to some reads."""
        for read, answer in zip(reads, answers, strict=True):
            self._answers[read.entity, read.ref] = (read, answer)

    def unanswered(self, reads: Sequence[CounterRead]) -> list[CounterRead]:
        """Return the reads that nothing remembered answers: another time, or members that were not asked about."""
        return [read for read in reads if not self._answers_it(read)]

    def of(self, read: CounterRead) -> Counters | None:
        """Return the answer to a read that was answered; None where the store could not."""
        return self._answers[read.entity, read.ref][1]

    def _answers_it(self, read: CounterRead) -> bool:
        held = self._answers.get((read.entity, read.ref))
        return held is not None and held[0].as_of_ms == read.as_of_ms and set(read.members) <= set(held[0].members)


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
        held = meta.counters or [None] * len(PAIRS)
        meta.counters = [new if new is not None else old for new, old in zip(fresh, held, strict=True)]
        entities = refs_of(meta).items()
        if all(entity in self._read for entity in entities):
            meta.counters_as_of_ms = ingested_ms
        # Otherwise they stay due: what could not be read, or belongs to a stored session whose references nobody knew
        # when the reads were planned, is asked for with the session's next chunk.
        return any(entity in self._failed for entity in entities)


def _take_refs(refs: dict[str, str], event: Telemetry | Signal) -> None:
    """Bring a session's references up to date with one event: the latest address, and the first of all else."""
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
