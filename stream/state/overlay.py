"""Lays a chunk's own links over counters that were read before the chunk."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from features.velocity import WINDOWS_MS, Count, Entity, Overlay, What, bucket_of
from stream.state.base import CounterRead, Counters


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
