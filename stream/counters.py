"""Entity counters of one chunk: what to read before it, and the chunk's own links laid over what was read.

A session's counters are read when they are due: at its first event, when a reference appears, and again after the
refresh interval of append time. In between its state holds them (ADR 0004).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from confluent_kafka import Message

from features.session import Meta
from features.template import template_of
from features.velocity import (
    CAPTURE,
    COUNTED,
    ENTITIES,
    TEMPLATE,
    WHAT_INDEX,
    Entity,
    Link,
    Part,
    What,
    bucket_of,
    links_of,
)
from schemas.signals import Signal
from schemas.telemetry import Telemetry
from stream.records import append_ms_of
from stream.state import CounterRead, Counters
from stream.state.overlay import Overlay


def by_bucket(records: list[Message]) -> list[list[Message]]:
    """Split a chunk's records where their append times pass into another bucket of the counters.

    A chunk reads its counters as of one bucket. With two in it, a score would depend on where the chunk began.
    """
    if len(records) == 1 or bucket_of(append_ms_of(records[0])) == bucket_of(append_ms_of(records[-1])):
        # The broker's append times only grow, so what lies between is in the same bucket.
        return [records]
    return [list(group) for _, group in groupby(records, lambda record: bucket_of(append_ms_of(record)))]


class CounterPlan:
    """Collects, in offset order, which counters a chunk may need; a superset of what will be due.

    Members are asked for only where a session is going to write links: one that wrote its links in this bucket already
    is held by every window.
    """

    def __init__(self, refresh_ms: int) -> None:
        self._refresh_ms = refresh_ms
        self._as_of: dict[tuple[Entity, str], int] = {}
        self._members: dict[tuple[Entity, str], dict[tuple[What, str], None]] = {}
        self._planned: dict[str, _Planned] = {}
        self._before_erasure: dict[str, list[_Planned]] = {}

    def add(self, event: Telemetry | Signal, ingested_ms: int, meta: Meta | None) -> None:
        """Plan for one event; `meta` is the session's state where it is cached."""
        session_id = event.session_id
        if self._before_erasure and session_id in self._before_erasure:
            # It began anew, or its erasure is going to be refused and it goes on: both are asked for.
            meta = None
            for other in self._before_erasure[session_id]:
                other.take(event)
                self._ask_planned(session_id, other, ingested_ms, links=True)
        due = meta is None or ingested_ms - meta.counters_as_of_ms >= self._refresh_ms
        planned = self._planned.get(session_id)
        if planned is None:
            if meta is not None and not _brings_news(event, meta):
                if not due:
                    return
                if meta.link_bucket_ms == bucket_of(ingested_ms):
                    self._ask(
                        meta.account_ref,
                        meta.device_ref,
                        meta.ip_ref,
                        meta.capture_ref,
                        meta.template_ref,
                        ingested_ms,
                    )
                    return
            planned = self._planned[session_id] = _Planned(meta)
        changed = planned.take(event)
        if due or changed:
            links = changed or meta is None or meta.link_bucket_ms != bucket_of(ingested_ms)
            self._ask_planned(session_id, planned, ingested_ms, links=links)

    def erase(self, session_id: str, meta: Meta | None) -> None:
        """Plan for what may follow an erasure; `meta` is the session's state where it is cached."""
        planned = self._planned.pop(session_id, None)
        self._before_erasure.setdefault(session_id, []).append(_Planned(meta) if planned is None else planned)

    def reads(self) -> list[CounterRead]:
        """Return one read an entity."""
        members = self._members
        return [
            CounterRead(key[0], key[1], as_of, tuple(members[key]) if key in members else ())
            for key, as_of in self._as_of.items()
        ]

    def _ask(
        self,
        account: str | None,
        device: str | None,
        ip: str | None,
        capture: str | None,
        template: str | None,
        ingested_ms: int,
    ) -> None:
        """Ask for the counters of a session's entities, as of the first event that needs them."""
        as_of = self._as_of
        if account is not None:
            as_of.setdefault(("account", account), ingested_ms)
        if device is not None:
            as_of.setdefault(("device", device), ingested_ms)
        if ip is not None:
            as_of.setdefault(("ip", ip), ingested_ms)
        if capture is not None:
            as_of.setdefault((CAPTURE, capture), ingested_ms)
        if template is not None:
            as_of.setdefault((TEMPLATE, template), ingested_ms)

    def _ask_planned(self, session_id: str, planned: _Planned, ingested_ms: int, *, links: bool) -> None:
        wanted = 2 if links else 1
        if planned.asked >= wanted:
            return
        planned.asked = wanted
        self._ask(planned.account, planned.device, planned.ip, planned.capture, planned.template, ingested_ms)
        if not links:
            return
        members = [(what, ref) for what, ref in planned.members(session_id) if ref is not None]
        refs = (planned.account, planned.device, planned.ip, planned.capture, planned.template)
        for entity, ref in zip(COUNTED, refs, strict=True):
            if ref is not None:
                index = WHAT_INDEX[entity]
                asked = self._members.setdefault((entity, ref), {})
                asked.update([(member, None) for member in members if member[0] in index])


class _Planned:
    """What a session's references will be, and what was asked about it."""

    __slots__ = ("account", "asked", "capture", "country", "device", "ip", "template")

    def __init__(self, meta: Meta | None) -> None:
        self.account = None if meta is None else meta.account_ref
        self.device = None if meta is None else meta.device_ref
        self.ip = None if meta is None else meta.ip_ref
        self.country = None if meta is None else meta.ip_country
        self.capture = None if meta is None else meta.capture_ref
        self.template = None if meta is None else meta.template_ref
        self.asked = 0
        """0: nothing yet with these references, 1: counters, 2: and members."""

    def take(self, event: Telemetry | Signal) -> bool:
        """Take over an event's address, capture and template, and the first of all else. Say if that is new."""
        before = (self.account, self.device, self.ip, self.country, self.capture, self.template)
        if self.account is None:
            self.account = event.account_ref
        if self.device is None:
            self.device = event.device_ref
        if isinstance(event, Telemetry) and event.network is not None:
            if event.network.ip_ref is not None:
                self.ip = event.network.ip_ref
            if event.network.ip_country is not None:
                self.country = event.network.ip_country
        self.capture = _capture_of(event) or self.capture
        if isinstance(event, Telemetry) and event.device is not None:
            self.template = template_of(event.device) or self.template
        if (self.account, self.device, self.ip, self.country, self.capture, self.template) == before:
            return False
        self.asked = 0
        return True

    def members(self, session_id: str) -> tuple[tuple[What, str | None], ...]:
        """Return what its links have as members."""
        return (
            ("sessions", session_id),
            ("accounts", self.account),
            ("devices", self.device),
            ("ips", self.ip),
            ("countries", self.country),
        )


def _brings_news(event: Telemetry | Signal, meta: Meta) -> bool:
    """Whether an event changes what its session is known to belong to."""
    if (meta.account_ref is None and event.account_ref is not None) or (
        meta.device_ref is None and event.device_ref is not None
    ):
        return True
    capture = _capture_of(event)
    if capture is not None and capture != meta.capture_ref:
        return True
    if not isinstance(event, Telemetry):
        return False
    if event.device is not None:
        template = template_of(event.device)
        if template is not None and template != meta.template_ref:
            return True
    if event.network is None:
        return False
    ip_ref, country = event.network.ip_ref, event.network.ip_country
    return (ip_ref is not None and ip_ref != meta.ip_ref) or (country is not None and country != meta.ip_country)


def _capture_of(event: Telemetry | Signal) -> str | None:
    """Hash of the image or video that an event or result is about."""
    if isinstance(event, Telemetry):
        return event.capture.capture_ref if event.capture is not None else None
    return event.refs.capture_ref if event.refs is not None else None


class AnsweredReads:
    """Answers of the store by entity, so that a second look asks for what is new only."""

    def __init__(self) -> None:
        self._answers: dict[tuple[str, str], tuple[CounterRead, Counters | None]] = {}

    def take(self, reads: Sequence[CounterRead], answers: Sequence[Counters | None]) -> None:
        """Remember the answers to some reads."""
        for read, answer in zip(reads, answers, strict=True):
            self._answers[read.entity, read.ref] = (read, answer)

    def unanswered(self, reads: Sequence[CounterRead]) -> list[CounterRead]:
        """Return the reads that nothing remembered answers: another bucket, or members that were not asked about."""
        return [read for read in reads if not self._answers_it(read)]

    def of(self, read: CounterRead) -> Counters | None:
        """Return the answer to a read that was answered; None where the store could not."""
        return self._answers[read.entity, read.ref][1]

    def _answers_it(self, read: CounterRead) -> bool:
        held = self._answers.get((read.entity, read.ref))
        return (
            held is not None
            and bucket_of(held[0].as_of_ms) == bucket_of(read.as_of_ms)
            and set(read.members) <= set(held[0].members)
        )


class ChunkCounters:
    """The counters of a chunk's events, in offset order."""

    def __init__(self, reads: Sequence[CounterRead], answers: Sequence[Counters | None], refresh_ms: int) -> None:
        self._refresh_ms = refresh_ms
        self._overlay = Overlay(reads, answers)
        self.links: list[Link] = []
        """Links to write, in offset order."""

    def apply(self, meta: Meta, session_id: str, ingested_ms: int) -> bool:
        """Bring one observed event's session up to date: links that are due, and counters that are due.

        Returns whether a counter that was due could not be read.
        """
        bucket_ms = bucket_of(ingested_ms)
        appeared = False
        if meta.link_bucket_ms != bucket_ms:
            appeared = meta.link_bucket_ms == 0
            meta.link_bucket_ms = bucket_ms
            links = links_of(meta, session_id, ingested_ms)
            self.links += links
            # A member that nobody asked about was linked in an earlier bucket: adding it could count it twice.
            self._overlay.add(links)
        if not appeared and ingested_ms - meta.counters_as_of_ms < self._refresh_ms:
            return False
        entities, held = self._overlay.entities, meta.counters
        all_read, failed = True, False
        parts: list[Part] = []
        for entity, ref, before in zip(ENTITIES, (meta.account_ref, meta.device_ref, meta.ip_ref), held, strict=True):
            if ref is None:
                parts.append(before)
                continue
            found = entities[entity].get(ref)
            if found is not None:
                parts.append(found.part)
                continue
            # It stays due: what could not be read, or belongs to a stored session whose references nobody knew when
            # the reads were planned, is asked for with the session's next chunk.
            parts.append(before)
            all_read = False
            failed = failed or ref in entities[entity]
        if meta.capture_ref is not None or meta.template_ref is not None:
            more_read, more_failed = self._apply_more(meta)
            all_read, failed = all_read and more_read, failed or more_failed
        fresh = (parts[0], parts[1], parts[2])
        if fresh != held:
            meta.counters = fresh
        if all_read:
            meta.counters_as_of_ms = ingested_ms
        return failed

    def _apply_more(self, meta: Meta) -> tuple[bool, bool]:
        """Likewise the counters of what a session shows. Returns whether all are known, and whether one failed."""
        entities, all_read, failed = self._overlay.entities, True, False
        if meta.capture_ref is not None:
            found = entities[CAPTURE].get(meta.capture_ref)
            if found is not None:
                meta.capture_counters = found.part
            else:
                all_read = False
                failed = meta.capture_ref in entities[CAPTURE]
        if meta.template_ref is not None:
            found = entities[TEMPLATE].get(meta.template_ref)
            if found is not None:
                meta.template_counters = found.part
            else:
                all_read = False
                failed = failed or meta.template_ref in entities[TEMPLATE]
        return all_read, failed
