"""Packing of reads and links for the scripts, and counting of what `read.lua` answers."""

from __future__ import annotations

import functools
import struct
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

from features.velocity import BUCKET_MS, WHAT_INDEX, WHATS, ZERO_PART, Entity, Link, What
from stream.state.base import CounterRead, Counters
from stream.state.counters import (
    BUCKET_SPAN,
    ENTRY,
    WHAT_NAMES,
    WHAT_NUMBER,
    bucket_of,
    member_hash,
    what_number,
)
from stream.state.tally import KINDS, tally

_MASK: Final = BUCKET_SPAN - 1
_AS_OF: Final = struct.Struct("<I")
_HASH_AT: Final = 4
"""Where the member's hash stands in an entry."""
_COUNTS: Final = struct.Struct("<BIIIB")
_NOT_SEEN: Final[Mapping[tuple[What, str], int]] = MappingProxyType({})
_NOTHING: Final = {entity: Counters(entity, ZERO_PART, {}) for entity in WHATS}


def pack_read(read: CounterRead) -> bytes:
    """Return the argument of `read.lua` for one entity. Raises `ValueError` for a pair that is not counted."""
    packed = _AS_OF.pack(bucket_of(read.as_of_ms))
    if not read.members:
        return packed
    return packed + b"".join([_pack_asked(read.entity, what, member) for what, member in read.members])


@functools.lru_cache(maxsize=65_536)
def _pack_asked(entity: Entity, what: What, member: str) -> bytes:
    return ENTRY.pack(what_number(entity, what) * BUCKET_SPAN, member_hash(member))


def forget_members() -> None:
    """Drop every member that is remembered to be hashed sooner: no erased session's id stays in memory here.

    All of them: what is still in use is remembered again within a chunk or two, and erasures are rare.
    """
    _pack_asked.cache_clear()
    member_hash.cache_clear()


def pack_link(link: Link) -> bytes:
    """Return one link as an entry. Raises `ValueError` for a pair or a time that can't be counted."""
    number = what_number(link.entity, link.what)
    return ENTRY.pack(number * BUCKET_SPAN + bucket_of(link.bucket_ms), member_hash(link.member))


def count_replies(reads: Sequence[CounterRead], replies: Sequence[Any]) -> list[Counters | None]:
    """Return the counters in the answers of `read.lua`; None where somebody else's value is under an entity's key.

    A reply is the entity's value, None, a list of three bytes objects (where sets are kept apart), or a number.
    """
    values: list[bytes] = []
    jobs: list[int] = []
    for read, reply in zip(reads, replies, strict=True):
        if reply is not None and type(reply) is not int:
            value = reply if type(reply) is bytes else reply[0]
            values.append(value)
            jobs += (len(value), KINDS[read.entity], bucket_of(read.as_of_ms))
    rows = iter(tally(values, jobs) if values else ())
    found: list[Counters | None] = []
    for read, reply in zip(reads, replies, strict=True):
        if reply is None:
            found.append(_NOTHING[read.entity])
        elif type(reply) is int:
            found.append(None)
        elif type(reply) is bytes:
            seen = _last_seen(reply, read.members) if read.members else _NOT_SEEN
            found.append(Counters(read.entity, tuple(next(rows)), seen))
        else:
            counts = next(rows)
            _take_spilled(counts, read.entity, reply[1])
            found.append(Counters(read.entity, tuple(counts), _last_seen(reply[0] + reply[2], read.members)))
    return found


def _take_spilled(counts: list[int], entity: Entity, spilled: bytes) -> None:
    """Put the counts of the sets that are kept apart into their places."""
    for number, m5, h1, h24, estimate in _COUNTS.iter_unpack(spilled):
        index = WHAT_INDEX[entity].get(WHAT_NAMES[number])
        if index is not None:
            counts[3 * index : 3 * index + 3] = (m5, h1, h24)
            counts[-1] |= estimate << index


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
