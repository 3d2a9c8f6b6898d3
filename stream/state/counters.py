"""How a store remembers entity counters within bounds, and the rule that turns a remembered set into three numbers.

The pairs and windows are those of `features.velocity`; here is how a store remembers them within bounds.

A *set* belongs to (entity, ref, what) and remembers, per member, the newest bucket of five minutes in which a link
said that the member was there (`last`). Buckets are of the broker's append time. A set may forget members whose `last`
is more than `RETAINED_BUCKETS` behind its newest link, so reads up to one hour behind the newest link are right.

A read as of a bucket `h` counts, for a window of `w` buckets, the distinct members with `h - w <= last <= h`: every
member seen within the window, and possibly one that was seen up to one bucket before it. Reading in the past may miss
a member that was seen again after `h`, because only the newest bucket is remembered.

Up to `CAP` members in a window the count is exact. Above it, the window is answered from a sample: a member has a
*level*, the number of trailing zero bits of its hash, so that each level holds about half of the members of the level
below. The lowest level with at most `CAP` members since `h - w` is counted, times 2 to the power of that level; the
standard error is 1/sqrt(members counted), 3 to 4.5 % (distinct sampling over sliding windows: Gibbons and Tirthapura,
SPAA 2002). The rule is a pure function of the remembered members, so the order and the repetition of links don't
matter, and a store needs to keep only the newest `CAP + 1` members of each level.
"""

from __future__ import annotations

import functools
import hashlib
import struct
from collections.abc import Iterable
from typing import Final, get_args

from features.velocity import BUCKET_MS, EXACT_CAP, WHATS, WINDOWS, WINDOWS_MS, Entity, What

WINDOW_BUCKETS: Final = tuple(WINDOWS_MS[window] // BUCKET_MS for window in WINDOWS)
"""The windows 5 minutes, 1 hour and 24 hours, in buckets."""
RETAINED_BUCKETS: Final = max(WINDOW_BUCKETS) + 12
"""How far behind its newest link a set remembers members: the longest window, and one hour for late reads."""
ENTITY_TTL_MS: Final = (RETAINED_BUCKETS + 1) * BUCKET_MS
"""How long an entity is kept after its last change, ms of the store's clock."""
CAP: Final = EXACT_CAP
"""Largest number of members of a window that is counted exactly."""
MAX_LEVEL: Final = 15
"""Highest level of a member: samples down to 1 in 32 768."""
ENTITY_SHARDS: Final = 64
"""Number of hash tags over which entities are spread in Redis."""

WHAT_NAMES: Final[tuple[What, ...]] = get_args(What)
"""Everything that is counted with some entity; the position is the number in stored values: only append."""
WHAT_NUMBER: Final = {what: number for number, what in enumerate(WHAT_NAMES)}

COUNTERS_VERSION: Final = "1"
"""Version of these definitions, part of every entity key: raise it when a stored value would be read differently."""

BUCKET_SPAN: Final = 1 << 24
"""Stored numbers are `what (or level) * BUCKET_SPAN + bucket`; buckets reach it in the year 2129."""
SPILLED: Final = 0x80
"""Added to a `what` in a packed value: its members are kept apart because they are many."""
ENTRY: Final = struct.Struct("<I8s")
"""One member in a packed value: `what * BUCKET_SPAN + last`, little endian, and the member's hash."""


@functools.lru_cache(maxsize=65_536)
def member_hash(member: str) -> bytes:
    """Return the 8 bytes that stand for a member (BLAKE2b; members are keyed hashes already where they must be)."""
    return hashlib.blake2b(member.encode("utf-8", "surrogatepass"), digest_size=8).digest()


def member_level(hashed: bytes) -> int:
    """Return the level of a member: trailing zero bits of its hash read as a big-endian number, at most `MAX_LEVEL`."""
    number = int.from_bytes(hashed[-2:], "big")
    return min((number & -number).bit_length() - 1, MAX_LEVEL) if number else MAX_LEVEL


def bucket_of(time_ms: int) -> int:
    """Return the number of the bucket of an append time (epoch ms). Raises `ValueError` outside the years 1970-2129."""
    bucket = time_ms // BUCKET_MS
    if not 0 <= bucket < BUCKET_SPAN:
        raise ValueError("an append time must be between 1970 and 2129, in ms")
    return bucket


def what_number(entity: Entity, what: What) -> int:
    """Return the number of `what`. Raises `ValueError` for a pair that is not counted."""
    if what not in WHATS.get(entity, ()):
        raise ValueError(f"{what} are not counted with {entity}")
    return WHAT_NUMBER[what]


def count_plainly(last: Iterable[tuple[bytes, int]], as_of: int, window: int, cap: int = CAP) -> tuple[int, bool]:
    """Return (distinct members, is an estimate) for one window: the rule above, word by word.

    `last` has (member's hash, last-seen bucket) of all remembered members, `as_of` and `window` are in buckets.
    """
    recent = [(member_level(member), bucket) for member, bucket in last if bucket >= as_of - window]
    level = 0
    while level < MAX_LEVEL and sum(1 for lv, _ in recent if lv >= level) > cap:
        level += 1
    counted = sum(1 for lv, bucket in recent if lv >= level and bucket <= as_of)
    return counted << level, level > 0
