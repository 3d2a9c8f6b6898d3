"""Packing of reads and links for the scripts, and counting of what `read.lua` answers."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import Final

from features.velocity import BUCKET_MS, WHAT_INDEX, WHATS, ZERO_PART, Entity, Link, What
from stream.state.base import Counters
from stream.state.counters import (
    BUCKET_SPAN,
    ENTRY,
    SPILLED,
    WHAT_NAMES,
    WHAT_NUMBER,
    WINDOW_BUCKETS,
    bucket_of,
    member_hash,
    what_number,
)

_MASK: Final = BUCKET_SPAN - 1
_SPILLED_TAG: Final = SPILLED * BUCKET_SPAN
_AS_OF: Final = struct.Struct("<I")
_TAG: Final = struct.Struct("<I8x")
_HASH_AT: Final = 4
"""Where the member's hash stands in an entry."""
_COUNTS: Final = struct.Struct("<BIIIB")
_M5, _H1, _H24 = WINDOW_BUCKETS
_BEHIND: Final = len(ZERO_PART)
_PLACES: Final = {
    entity: [3 * index[what] if what in index else _BEHIND for what in WHAT_NAMES]
    + [_BEHIND] * (SPILLED - len(WHAT_NAMES))
    for entity, index in WHAT_INDEX.items()
}
"""Where the counts of a `what` begin in a part, by its number; what is not counted with the entity falls behind it."""
_NOTHING: Final = {entity: Counters(entity, ZERO_PART, {}) for entity in WHATS}


def pack_read(entity: Entity, as_of: int, members: Iterable[tuple[What, str]]) -> bytes:
    """Return the argument of `read.lua` for one entity."""
    return _AS_OF.pack(as_of) + b"".join(
        [ENTRY.pack(what_number(entity, what) * BUCKET_SPAN, member_hash(member)) for what, member in members]
    )


def pack_link(link: Link) -> bytes:
    """Return one link as an entry. Raises `ValueError` for a pair or a time that can't be counted."""
    number = what_number(link.entity, link.what)
    return ENTRY.pack(number * BUCKET_SPAN + bucket_of(link.bucket_ms), member_hash(link.member))


def count_reply(
    entity: Entity, reply: bytes | list[bytes] | None, as_of: int, members: Iterable[tuple[What, str]]
) -> Counters:
    """Return the counters in one answer of `read.lua`, as of a bucket; `members` as asked."""
    if reply is None:
        return _NOTHING[entity]
    value, spilled, found = (reply, b"", b"") if isinstance(reply, bytes) else reply
    values = _count_packed(entity, value, as_of)
    for number, m5, h1, h24, estimate in _COUNTS.iter_unpack(spilled):
        index = WHAT_INDEX[entity][WHAT_NAMES[number]]
        values[3 * index : 3 * index + 3] = (m5, h1, h24)
        values[-1] |= estimate << index
    return Counters(entity, tuple(values), _last_seen(value + found, members) if members else {})


def _count_packed(entity: Entity, value: bytes, as_of: int) -> list[int]:
    """Count the members that a packed value holds itself; flat as in `Part`."""
    from_m5, from_h1, from_h24 = as_of - _M5, as_of - _H1, as_of - _H24
    places = _PLACES[entity]
    values = [0] * (_BEHIND + 3)
    for (tag,) in _TAG.iter_unpack(value):
        bucket = tag & _MASK
        if from_h24 <= bucket <= as_of and tag < _SPILLED_TAG:
            # A member leaves the chain at the first window that it misses.
            at = places[tag >> 24]
            values[at + 2] += 1
            if bucket >= from_h1:
                values[at + 1] += 1
                if bucket >= from_m5:
                    values[at] += 1
    return values[:_BEHIND]


def _last_seen(entries: bytes, members: Iterable[tuple[What, str]]) -> dict[tuple[What, str], int]:
    """Return the bucket (epoch ms) that each asked member was last seen in, where it is remembered."""
    seen: dict[tuple[What, str], int] = {}
    for asked in members:
        number, hashed = WHAT_NUMBER[asked[0]], member_hash(asked[1])
        at = entries.find(hashed)
        while at >= 0:
            # Not between two entries, and of the asked `what` (the tag's highest byte).
            if at % ENTRY.size == _HASH_AT and entries[at - 1] == number:
                seen[asked] = (_AS_OF.unpack_from(entries, at - _HASH_AT)[0] & _MASK) * BUCKET_MS
                break
            at = entries.find(hashed, at + 1)
    return seen
