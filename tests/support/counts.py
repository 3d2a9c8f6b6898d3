"""Counters one by one, as tests state and read them; what runs keeps them as parts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from features.velocity import UNKNOWN, WHAT_INDEX, Count, Entity, Part, Parts, What, counts_of
from stream.state.overlay import Overlay


def part_of(counts: Iterable[Count | None]) -> Part:
    """One entity's counters as a part, from those of its `WHATS`; unknown where one of them is."""
    values: list[int] = []
    approximate = 0
    for index, found in enumerate(counts):
        if found is None:
            return UNKNOWN
        values += (found.m5, found.h1, found.h24)
        approximate |= found.approximate << index
    return (*values, approximate)


def two_of(counts: Sequence[Count | None]) -> Part:
    """The same of an entity of which two things are counted: the places of two more stay 0."""
    found = part_of(counts)
    return (*found[:6], *(0,) * 6, found[-1]) if found else UNKNOWN


def parts_of(counts: Sequence[Count | None]) -> Parts:
    """A session's counters as parts, from counters in the order of `PAIRS`."""
    return part_of(counts[:4]), part_of(counts[4:8]), part_of(counts[8:12])


def count_in(overlay: Overlay, entity: Entity, ref: str, what: What) -> Count | None:
    """The counter after all links added so far; None where nothing was read."""
    found = overlay.entities[entity].get(ref)
    part = UNKNOWN if found is None else found.part
    return counts_of(part)[WHAT_INDEX[entity][what]]
