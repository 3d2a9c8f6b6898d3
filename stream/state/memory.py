"""`MemoryStore`: the same promises as Redis within one process, for offline scoring and as the plain twin in tests."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Generic, TypeVar

from features.velocity import BUCKET_MS, WHATS, ZERO_PART, Entity, Link, What
from models.movement_match import with_entry
from stream.state.base import (
    CounterRead,
    Counters,
    Loaded,
    Watermark,
    WatermarkConflict,
    check_commit,
    check_crash_note,
)
from stream.state.counters import (
    CAP,
    ENTITY_TTL_MS,
    RETAINED_BUCKETS,
    WINDOW_BUCKETS,
    bucket_of,
    count_plainly,
    member_hash,
    what_number,
)
from stream.state.movements import MovementAsk, check_asks
from stream.state.stats import Operation, StoreStats

K = TypeVar("K")
V = TypeVar("V")


class MemoryStore:
    """See `StateStore` for what every store promises; nothing here waits or fails.

    `clock` gives seconds that only grow (for the time to live). Sets of members are kept whole for as long as they are
    remembered, so memory grows with distinct members, not with a cap as in Redis; the counts are the same.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic, cap: int = CAP) -> None:
        self.stats = StoreStats()
        self._clock = clock
        self._cap = cap
        self._watermarks: dict[tuple[str, int], Watermark] = {}
        self._blobs: _Expiring[tuple[str, int, str], bytes] = _Expiring()
        self._notes: _Expiring[tuple[str, int], bytes] = _Expiring()
        self._entities: _Expiring[tuple[Entity, str], dict[What, _Members]] = _Expiring()
        self._movements: _Expiring[tuple[str, int, int], bytes] = _Expiring()

    @property
    def links_turn(self) -> int:
        """Return 0: nothing is ever given back."""
        return 0

    async def open(self) -> None:
        """Do nothing: state lives as long as the store."""

    async def close(self) -> None:
        """Do nothing."""

    async def check(self) -> None:
        """Do nothing: there is no server."""

    async def ping(self) -> float:
        """Return 0: there is no way to go."""
        return 0.0

    async def watermarks(self, topic: str, partitions: Sequence[int]) -> dict[int, Watermark | None]:
        """Return the watermarks. See `StateStore`."""
        return {partition: self._watermarks.get((topic, partition)) for partition in partitions}

    async def crash_notes(self, topic: str, partitions: Sequence[int]) -> dict[int, bytes | None]:
        """Return the crash notes. See `StateStore`."""
        now = self._clock()
        return {partition: self._notes.get((topic, partition), now) for partition in partitions}

    async def replace_crash_note(
        self, topic: str, partition: int, expected: bytes | None, new: bytes | None, ttl_ms: int
    ) -> bytes | None:
        """Replace a crash note. See `StateStore`."""
        check_crash_note(new, ttl_ms)
        now = self._clock()
        found = self._notes.get((topic, partition), now)
        if found != expected:
            return found
        if new is None:
            self._notes.remove((topic, partition))
        else:
            self._notes.put((topic, partition), new, now + ttl_ms / 1000)
        return new

    async def load(
        self, topic: str, partition: int, session_ids: Sequence[str], reads: Sequence[CounterRead]
    ) -> Loaded:
        """Return session values, counters and the watermark. See `StateStore`."""
        started, now = time.perf_counter(), self._clock()
        blobs = {session_id: self._blobs.get((topic, partition, session_id), now) for session_id in session_ids}
        counters: list[Counters | None] = [self._read(read, now) for read in reads]
        self.stats.sessions_read_total += len(blobs)
        self.stats.sessions_found_total += sum(blob is not None for blob in blobs.values())
        self.stats.entities_read_total += len(reads)
        self._took("load", started)
        return Loaded(blobs, counters, self._watermarks.get((topic, partition)))

    async def commit(  # noqa: PLR0917 - one chunk's write, whole
        self,
        topic: str,
        partition: int,
        expected: Watermark | None,
        new: Watermark,
        blobs: Mapping[str, bytes | None],
        links: Sequence[Link],
        ttl_ms: int,
    ) -> Sequence[Link]:
        """Write links, session values and watermark; nothing is ever left. See `StateStore`."""
        check_commit(expected, new, blobs, ttl_ms)
        started, now = time.perf_counter(), self._clock()
        numbered = [(link, what_number(link.entity, link.what), bucket_of(link.bucket_ms)) for link in links]
        found = self._watermarks.get((topic, partition))
        if found != expected:
            self.stats.conflicts_total += 1
            raise WatermarkConflict(topic, partition, expected, found)
        self._blobs.expire(now)
        self._entities.expire(now)
        for link, _, bucket in numbered:
            self._remember(link, bucket, now)
        for session_id, blob in blobs.items():
            if blob is None:
                self._blobs.remove((topic, partition, session_id))
            else:
                self._blobs.put((topic, partition, session_id), blob, now + ttl_ms / 1000)
        self._watermarks[topic, partition] = new
        self.stats.sessions_written_total += len(blobs)
        self.stats.links_written_total += len(links)
        self._took("commit", started)
        return ()

    async def movements(self, asks: Sequence[MovementAsk], ttl_ms: int) -> list[list[bytes] | None]:
        """Return what lies in movements' buckets and keep them. See `StateStore`."""
        check_asks(asks, ttl_ms)
        now = self._clock()
        self._movements.expire(now)
        found: list[list[bytes] | None] = []
        for ask in asks:
            keys = [(ask.space, table, bucket) for table, bucket in enumerate(ask.buckets)]
            values = [self._movements.get(key, now) or b"" for key in keys]
            found.append(values)
            for key, before in zip(keys, values, strict=True):
                after = with_entry(before, ask.entry) if ask.keep else before
                if after is not before:
                    self._movements.put(key, after, now + ttl_ms / 1000)
        self.stats.movements_asked_total += len(asks)
        return found

    def _remember(self, link: Link, bucket: int, now: float) -> None:
        key = (link.entity, link.ref)
        sets = self._entities.get(key, now)
        if sets is None:
            sets = {}
        if sets.setdefault(link.what, _Members()).add(member_hash(link.member), bucket):
            self._entities.put(key, sets, now + ENTITY_TTL_MS / 1000)

    def _read(self, read: CounterRead, now: float) -> Counters:
        as_of = bucket_of(read.as_of_ms)
        if read.entity not in WHATS:
            raise ValueError(f"{read.entity} is not an entity that is counted")
        for what, _ in read.members:
            what_number(read.entity, what)
        sets = self._entities.get((read.entity, read.ref), now)
        if sets is None:
            return Counters(read.entity, ZERO_PART, {})
        values: list[int] = []
        approximate = 0
        for index, what in enumerate(WHATS[read.entity]):
            members = sets.get(what)
            if members is None:
                values += (0, 0, 0)
            else:
                counts, sampled = members.count(as_of, self._cap)
                values += counts
                approximate |= sampled << index
        self.stats.sampled_reads_total += approximate > 0
        seen: dict[tuple[What, str], int] = {}
        for asked in read.members:
            members = sets.get(asked[0])
            last = None if members is None else members.last.get(member_hash(asked[1]))
            if last is not None:
                seen[asked] = last * BUCKET_MS
        room = (0,) * (len(ZERO_PART) - 1 - len(values))
        return Counters(read.entity, (*values, *room, approximate), seen)

    def _took(self, operation: Operation, started: float) -> None:
        self.stats.took(operation, time.perf_counter() - started)


class _Members:
    """One set: the newest bucket of each remembered member, and the members of each bucket."""

    __slots__ = ("_by_bucket", "last")

    def __init__(self) -> None:
        self.last: dict[bytes, int] = {}
        self._by_bucket: dict[int, set[bytes]] = {}

    def add(self, member: bytes, bucket: int) -> bool:
        """Take in one link and forget what has become too old; say whether anything changed."""
        before = self.last.get(member)
        if before is not None and before >= bucket:
            return False
        if before is not None:
            self._by_bucket[before].discard(member)
        self.last[member] = bucket
        self._by_bucket.setdefault(bucket, set()).add(member)
        oldest = max(self._by_bucket) - RETAINED_BUCKETS
        for old in [b for b, members in self._by_bucket.items() if b < oldest or not members]:
            for gone in self._by_bucket.pop(old):
                del self.last[gone]
        return True

    def count(self, as_of: int, cap: int) -> tuple[list[int], bool]:
        """Return the three counts, and whether one is an estimate: where a window holds more than `cap`."""
        since = [as_of - window for window in WINDOW_BUCKETS]
        held, counts = [0, 0, 0], [0, 0, 0]
        for bucket, members in self._by_bucket.items():
            for i, first in enumerate(since):
                if bucket >= first:
                    held[i] += len(members)
                    if bucket <= as_of:
                        counts[i] += len(members)
        approximate = False
        for i, window in enumerate(WINDOW_BUCKETS):
            if held[i] > cap:
                counts[i], sampled = count_plainly(self.last.items(), as_of, window, cap)
                approximate = approximate or sampled
        return counts, approximate


class _Expiring(Generic[K, V]):
    """Values with a time to live, s. Expired ones are not seen, and leave memory with one of the next writes."""

    def __init__(self) -> None:
        self._values: dict[K, tuple[V, float]] = {}

    def get(self, key: K, now: float) -> V | None:
        found = self._values.get(key)
        return None if found is None or found[1] <= now else found[0]

    def put(self, key: K, value: V, until: float) -> None:
        self._values.pop(key, None)  # so that the oldest write stands first
        self._values[key] = (value, until)

    def remove(self, key: K) -> None:
        self._values.pop(key, None)

    def expire(self, now: float) -> None:
        gone = []
        for key, (_, until) in self._values.items():
            if until > now:
                break
            gone.append(key)
        for key in gone:
            del self._values[key]
