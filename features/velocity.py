"""Entity counters: which distinct things are counted with which entity, in which windows, defined purely.

A link says "this entity was seen with this member in this bucket" of the broker's append time. A counter is the number
of distinct members of all buckets that a window touches, the present one included: with 5-minute buckets, a window of
5 minutes covers the present bucket and the one before (5 to 10 minutes of time), 1 hour 13 buckets, 24 hours 289. So a
window never forgets what it should hold, and holds at most one bucket more. Sets, not increments: a link written twice
counts once.
"""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Literal

import msgspec

if TYPE_CHECKING:
    from features.meta import Meta

Entity = Literal["account", "device", "ip"]
What = Literal["sessions", "accounts", "devices", "ips", "countries"]

ENTITIES: tuple[Entity, ...] = ("account", "device", "ip")
PAIRS: tuple[tuple[Entity, What], ...] = (
    ("account", "sessions"),
    ("account", "devices"),
    ("account", "ips"),
    ("account", "countries"),
    ("device", "sessions"),
    ("device", "accounts"),
    ("device", "ips"),
    ("device", "countries"),
    ("ip", "sessions"),
    ("ip", "accounts"),
    ("ip", "devices"),
    ("ip", "countries"),
)
"""Every counter, in the order of the features, of `Meta.counters` and of the documents."""

PAIR_NAMES: tuple[str, ...] = tuple(f"{entity}_{what}" for entity, what in PAIRS)
WHATS: dict[Entity, tuple[What, ...]] = {
    entity: tuple(what for owner, what in PAIRS if owner == entity) for entity in ENTITIES
}

BUCKET_MS = 300_000
WINDOWS_MS: dict[str, int] = {"m5": 300_000, "h1": 3_600_000, "h24": 86_400_000}
WINDOWS: tuple[str, ...] = tuple(WINDOWS_MS)
EXACT_CAP = 1_000
"""Distinct members a bucket holds exactly; above it a store may count with a sketch and says so (`approximate`)."""


class Link(msgspec.Struct, frozen=True, array_like=True):
    """An entity seen with a member in a bucket: `ref` and `member` are keyed references, `bucket_ms` is its start."""

    entity: Entity
    ref: str
    what: What
    member: str
    bucket_ms: int


class Count(msgspec.Struct, frozen=True, array_like=True):
    """Distinct members by window; -1 where unknown."""

    m5: int = -1
    h1: int = -1
    h24: int = -1
    approximate: bool = False


def bucket_of(ingested_ms: int) -> int:
    """Start of the bucket that an append time falls in, epoch ms."""
    return ingested_ms - ingested_ms % BUCKET_MS


def buckets_of(window_ms: int, as_of_ms: int) -> range:
    """Starts of all buckets that the window (as_of - window, as_of] touches, oldest first."""
    last = bucket_of(as_of_ms)
    return range(bucket_of(as_of_ms - window_ms), last + 1, BUCKET_MS)


def refs_of(meta: "Meta") -> dict[Entity, str]:
    """The entities that the session is known to belong to, with their references."""
    known: dict[Entity, str] = {}
    if meta.account_ref is not None:
        known["account"] = meta.account_ref
    if meta.device_ref is not None:
        known["device"] = meta.device_ref
    if meta.ip_ref is not None:
        known["ip"] = meta.ip_ref
    return known


def links_of(meta: "Meta", session_id: str, ingested_ms: int) -> list[Link]:
    """All links that the session makes at `ingested_ms` (the broker's append time), in the order of `PAIRS`.

    The caller writes them once per session and bucket (`Meta.link_bucket_ms`, reset when a reference appears).
    """
    refs = refs_of(meta)
    members: dict[What, str | None] = {
        "sessions": session_id,
        "accounts": meta.account_ref,
        "devices": meta.device_ref,
        "ips": meta.ip_ref,
        "countries": meta.ip_country,
    }
    bucket = bucket_of(ingested_ms)
    links = []
    for entity, what in PAIRS:
        ref = refs.get(entity)
        member = members[what]
        if ref is not None and member is not None:
            links.append(Link(entity, ref, what, member, bucket))
    return links


def count(links: Iterable[Link], entity: Entity, ref: str, what: What, as_of_ms: int) -> Count:
    """Count distinct members from the links themselves: the definition that a store must agree with."""
    found: dict[str, set[str]] = {name: set() for name in WINDOWS}
    for link in links:
        if (link.entity, link.ref, link.what) != (entity, ref, what):
            continue
        for name, window_ms in WINDOWS_MS.items():
            if bucket_of(as_of_ms - window_ms) <= link.bucket_ms <= bucket_of(as_of_ms):
                found[name].add(link.member)
    return Count(len(found["m5"]), len(found["h1"]), len(found["h24"]))


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

    def counters(self, meta: "Meta") -> list[Count | None]:
        """All counters of the session's entities, in the order of `PAIRS`; None where unknown or without entity."""
        refs = refs_of(meta)
        return [self.count(entity, refs[entity], what) if entity in refs else None for entity, what in PAIRS]
