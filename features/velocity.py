"""Entity counters: which distinct things are counted with which entity, in which windows, defined purely.

A link says "this entity was seen with this member in this bucket" of the broker's append time. A counter is the number
of distinct members of all buckets that a window touches, the present one included: with 5-minute buckets, a window of
5 minutes covers the present bucket and the one before (5 to 10 minutes of time), 1 hour 13 buckets, 24 hours 289. So a
window never forgets what it should hold, and holds at most one bucket more. Sets, not increments: a link written twice
counts once.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

import msgspec

if TYPE_CHECKING:
    from features.meta import Meta

Entity = Literal["account", "device", "ip", "capture", "template"]
What = Literal["sessions", "accounts", "devices", "ips", "countries"]

ENTITIES: tuple[Entity, ...] = ("account", "device", "ip")
"""What a session belongs to: their counters are features."""
CAPTURE: Final = "capture"
TEMPLATE: Final = "template"
COUNTED: tuple[Entity, ...] = (*ENTITIES, CAPTURE, TEMPLATE)
"""All that is counted: a captured image or video, too, by its hash, and a device template (`features.template`), in
sessions that have one."""
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
"""Every counter that is a feature, in the order of the features, of `Meta.counters` and of the documents."""
CAPTURE_PAIRS: tuple[tuple[Entity, What], ...] = (
    (CAPTURE, "sessions"),
    (CAPTURE, "accounts"),
    (CAPTURE, "devices"),
    (CAPTURE, "ips"),
)
"""The counters of `Meta.capture_counters`."""
TEMPLATE_PAIRS: tuple[tuple[Entity, What], ...] = (
    (TEMPLATE, "accounts"),
    (TEMPLATE, "ips"),
)
"""The counters of `Meta.template_counters`."""
ALL_PAIRS: tuple[tuple[Entity, What], ...] = (*PAIRS, *CAPTURE_PAIRS, *TEMPLATE_PAIRS)

PAIR_NAMES: tuple[str, ...] = tuple(f"{entity}_{what}" for entity, what in PAIRS)
CAPTURE_NAMES: tuple[str, ...] = tuple(f"{entity}_{what}" for entity, what in CAPTURE_PAIRS)
TEMPLATE_NAMES: tuple[str, ...] = tuple(f"{entity}_{what}" for entity, what in TEMPLATE_PAIRS)
WHATS: dict[Entity, tuple[What, ...]] = {
    entity: tuple(what for owner, what in ALL_PAIRS if owner == entity) for entity in COUNTED
}

BUCKET_MS = 300_000
WINDOWS_MS: dict[str, int] = {"m5": 300_000, "h1": 3_600_000, "h24": 86_400_000}
WINDOWS: tuple[str, ...] = tuple(WINDOWS_MS)
WHAT_INDEX: dict[Entity, dict[What, int]] = {
    entity: {what: index for index, what in enumerate(whats)} for entity, whats in WHATS.items()
}
"""Position of a counter within `Part`, in triples."""

Part: TypeAlias = tuple[int, ...]
"""All counters of one entity, flat: m5, h1 and h24 of each `what` in the order of `WHATS`, then a number whose bit i
says that the i-th is approximate. There is room for four; what is not used is 0. Empty: unknown, or there is no such
entity."""
Parts: TypeAlias = tuple[Part, Part, Part]
"""A session's counters: the parts of its account, its device and its address."""
UNKNOWN: Final[Part] = ()
NOTHING_KNOWN: Final[Parts] = (UNKNOWN, UNKNOWN, UNKNOWN)
ZERO_PART: Final[Part] = (0,) * (3 * 4 + 1)

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
    if meta.capture_ref is not None:
        known[CAPTURE] = meta.capture_ref
    if meta.template_ref is not None:
        known[TEMPLATE] = meta.template_ref
    return known


def links_of(meta: "Meta", session_id: str, ingested_ms: int) -> list[Link]:
    """All links that the session makes at `ingested_ms` (the broker's append time), in the order of `ALL_PAIRS`.

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
    for entity, what in ALL_PAIRS if CAPTURE in refs or TEMPLATE in refs else PAIRS:
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


def counts_of(part: Part) -> list[Count | None]:
    """The counters in a part, in the order of the entity's `WHATS`; None where unknown."""
    if not part:
        return [None] * 4
    return [Count(part[3 * i], part[3 * i + 1], part[3 * i + 2], bool(part[12] >> i & 1)) for i in range(4)]
