"""What is asked about movements, and where they lie: one bounded value a cell, beside everything of the partitions.

A tenant has `TABLES` times `buckets` values at most, of `MAX_ENTRIES` movements each: cells of the hash fold into
buckets, and of too many movements the oldest go. Nothing in them is read without the key that they were made with.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from models.movement_match import ENTRY_BYTES

MOVEMENTS_VERSION: Final = "1"
"""Version of the layout of entries and of what cells mean, part of every key."""
MOVEMENT_SHARDS: Final = 64
"""Number of hash tags over which buckets are spread."""


class MovementAsk(NamedTuple):
    """Ask what lies in a movement's buckets, and put it there."""

    space: str
    """Keyed tag of the tenant, hex: tenants don't see each other's."""
    buckets: tuple[int, ...]
    """Its bucket of each table."""
    entry: bytes
    """As it is stored (`ENTRY_BYTES`)."""
    keep: bool = True
    """False: only look."""


def check_asks(asks: Sequence[MovementAsk], ttl_ms: int) -> None:
    """Raise `ValueError` for what no store may accept."""
    if ttl_ms < 1:
        raise ValueError("ttl_ms must be 1 or more")
    if any(len(ask.entry) != ENTRY_BYTES or min(ask.buckets) < 0 for ask in asks):
        raise ValueError(f"a movement's entry has {ENTRY_BYTES} bytes, and its buckets are 0 or more")
