"""Lays a chunk's own links over counters that were read before the chunk, in offset order."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from features.velocity import (
    COUNTED,
    WHAT_INDEX,
    WINDOWS_MS,
    Entity,
    Link,
    Part,
    What,
    bucket_of,
)
from stream.state.base import CounterRead, Counters

_WINDOWS_MS = tuple(WINDOWS_MS.values())


class EntityOverlay:
    """One entity's counters while a chunk is processed: `part` is what a chunk of one record would read now."""

    __slots__ = ("_asked", "_read", "_seen", "part")

    def __init__(self, read: CounterRead, answer: Counters) -> None:
        self.part: Part = answer.part
        self._read = read
        self._seen = answer.last_seen_ms
        self._asked: set[tuple[What, str]] | None = None
        """Members whose absence from a window is known, and that were not counted yet."""

    def add(self, what: What, member: str) -> None:
        """Count a member of a link. One that nobody asked about changes nothing, nor one that is counted already."""
        if self._asked is None:
            self._asked = set(self._read.members)
        key = (what, member)
        if key not in self._asked:
            return
        self._asked.remove(key)
        index = WHAT_INDEX[self._read.entity][what]
        if self.part[-1] >> index & 1:
            # An estimate stays as it was read: it moves with the next chunk.
            return
        last = self._seen.get(key, -1)
        values = list(self.part)
        for at, window_ms in enumerate(_WINDOWS_MS, 3 * index):
            if last < bucket_of(self._read.as_of_ms - window_ms):
                values[at] += 1
        self.part = tuple(values)


class Overlay:
    """The counters of a chunk's entities. `entities` has, by kind and reference, what was read; None: it could not.

    Made of one read per entity, all as of one bucket, and what `load` answered to them. A read must ask for the members
    that the chunk may link (`CounterRead.members`): members that a window holds already are not counted again.
    """

    def __init__(self, reads: Sequence[CounterRead], answers: Iterable[Counters | None]) -> None:
        self.entities: dict[Entity, dict[str, EntityOverlay | None]] = {entity: {} for entity in COUNTED}
        for read, answer in zip(reads, answers, strict=True):
            self.entities[read.entity][read.ref] = None if answer is None else EntityOverlay(read, answer)

    def add(self, links: Iterable[Link]) -> None:
        """Count the links of one record."""
        for link in links:
            found = self.entities[link.entity].get(link.ref)
            if found is not None:
                found.add(link.what, link.member)
