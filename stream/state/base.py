"""What a state store is: the protocol, its values and the promises that every store keeps.

A store holds four things. Session state: one opaque value per session, owned by the partition that the session's
records are in. One watermark a partition: the last offset whose state is written. Entity counters: which members
(sessions, accounts, ...) were seen with an account, device or IP, in windows of the broker's append time. One crash
note a partition, opaque and small: what its owner was about to do, for the next owner if this one dies.

Promises, the same for `MemoryStore` and `RedisStore`:

- `commit` writes all session values of a chunk and the watermark in one indivisible step, and only if the stored
  watermark equals the expected one. Refused means: nothing of the sessions and of the watermark was changed.
- Links are written not later than the sessions, except those that `commit` gives back. They are facts about the log
  and idempotent, so writing them twice, or writing them and then failing to write the sessions, changes no count.
- Nothing retries. `StoreUnavailable` and `StoreFull` leave it to the caller to wait, with a bounded backoff, and to
  repeat the *same* call. Repeating a commit whose answer was lost is safe: if the first one had arrived, the second
  one changes nothing and succeeds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, Literal, NamedTuple, Protocol, runtime_checkable

import msgspec

from features.velocity import WHATS, Count, Entity, Link, Part, What, counts_of
from stream.state.movements import MovementAsk
from stream.state.stats import StoreStats


class StoreError(Exception):
    """Something about the store; the message is one line and holds neither a password nor an identifier."""


class StoreUnavailable(StoreError):  # noqa: N818 - the name is the state that the caller handles, as in the docs
    """The store did not answer in time, refused the connection or is failing over. Wait and repeat the same call."""


class StoreFull(StoreError):  # noqa: N818
    """The store's memory limit is reached, and nothing was written. Wait and repeat; an operator has to make room."""


class StoreMisconfigured(StoreError):  # noqa: N818
    """The store can't be used as it is set up; repeating won't help. The message says what to change."""


class WatermarkConflict(StoreError):  # noqa: N818
    """The stored watermark is not the expected one: somebody else owns the partition, or the store was rolled back.

    Nothing was written. Drop what is cached of the partition, read again, and go on from `found`.
    """

    def __init__(self, topic: str, partition: int, expected: Watermark | None, found: Watermark | None) -> None:
        self.topic = topic
        self.partition = partition
        self.expected = expected
        self.found = found
        super().__init__(f"{topic}[{partition}]: the stored watermark is {found}, expected {expected}")

    @property
    def kind(self) -> Literal["lost", "other_topic", "rolled_back", "newer"]:
        """Return what was found instead: nothing, another topic's, an older one, or a newer one: another owner's."""
        if self.found is None:
            return "lost"
        if self.expected is None or self.found.offset > self.expected.offset:
            return "newer"
        return "rolled_back" if self.found.topic_id == self.expected.topic_id else "other_topic"


class Watermark(NamedTuple):
    """The last offset of a partition whose state is written.

    `topic_id` is the broker's id of the topic (another id at the same name: the topic was made anew). `offset` is the
    offset itself, not the next one.
    """

    topic_id: str
    offset: int

    def __str__(self) -> str:
        return f"offset {self.offset} of topic id {self.topic_id}"


class CounterRead(msgspec.Struct, frozen=True, gc=False):
    """Ask for all counters of one entity as of an append time (epoch ms).

    `members` are `(what, member)` pairs whose last-seen bucket the caller needs, so that it can lay its own links over
    the counts without counting a member twice.
    """

    entity: Entity
    ref: str
    as_of_ms: int
    members: tuple[tuple[What, str], ...] = ()


class Counters(msgspec.Struct, frozen=True, gc=False):
    """The answer to one `CounterRead`.

    `part` has every `what` that is counted with the entity; see `counters` for what a window contains and when a
    count is `approximate`. `last_seen_ms` has the asked members that are remembered: the start of the
    bucket that they were last seen in, epoch ms. A member of a set that has become a sample may be missing from it.
    """

    entity: Entity
    part: Part
    last_seen_ms: Mapping[tuple[What, str], int]

    @property
    def counts(self) -> dict[What, Count]:
        """The counters of `part` by name."""
        counts = zip(WHATS[self.entity], counts_of(self.part), strict=False)  # a part has room for four
        return {what: count for what, count in counts if count is not None}


class Loaded(msgspec.Struct, frozen=True, gc=False):
    """What `load` found.

    `blobs` has one entry per asked session, None where nothing is stored. `counters` is parallel to the asked reads;
    None where the counters could not be read although the sessions could (a part of a cluster is down): score with
    what there is and say that it is degraded. `watermark` was read together with the blobs, in one step.
    """

    blobs: dict[str, bytes | None]
    counters: list[Counters | None]
    watermark: Watermark | None


@runtime_checkable
class StateStore(Protocol):
    """Where state lives. One instance per process; its methods may run concurrently for different partitions.

    All of them raise `StoreUnavailable` (or another `StoreError` of this module) within the store's time limit, and
    `ValueError` for arguments that no store could take. Cancelling a call is safe: its connection is dropped.
    """

    stats: StoreStats

    @property
    def links_turn(self) -> int:
        """A number that changes when links which `commit` gave back may be taken now; till then it is tried in vain."""

    async def open(self) -> None:
        """Connect, check that the server keeps what it is given, load scripts. May be called again after a failure."""

    async def close(self) -> None:
        """Close all connections; the store may be opened again."""

    async def watermarks(self, topic: str, partitions: Sequence[int]) -> dict[int, Watermark | None]:
        """Return the watermark of each partition, None where none was ever written (or it was lost)."""

    async def load(
        self, topic: str, partition: int, session_ids: Sequence[str], reads: Sequence[CounterRead]
    ) -> Loaded:
        """Return session values and entity counters, in one round trip. Don't call it when nothing is needed."""

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
        """Write links, then all session values (kept for `ttl_ms`, 1 or more) and the watermark in one step.

        None in place of a value removes the session, whether it is there or not; an empty value is refused. Raises
        `WatermarkConflict` unless the stored watermark equals `expected` (None: there is none). `new` may not be below
        `expected` within a topic id.

        Returns the links that could not be written although the sessions were (a part of a cluster is down): give them
        to a later commit, once `links_turn` is another than before this one. Until then their counters lack them.
        """

    async def crash_notes(self, topic: str, partitions: Sequence[int]) -> dict[int, bytes | None]:
        """Return the crash note of each partition, None where there is none (or it was lost, or its time is over)."""

    async def replace_crash_note(
        self, topic: str, partition: int, expected: bytes | None, new: bytes | None, ttl_ms: int
    ) -> bytes | None:
        """Replace a partition's crash note if the stored one equals `expected`; return the one that is stored then.

        None stands for no note, as `expected` and as `new`. It worked if the answer equals `new`; otherwise nothing was
        changed, and the answer is somebody else's note. Kept for `ttl_ms`, 1 or more. Raises `ValueError` for an empty
        note and for one above `MAX_CRASH_NOTE_BYTES`.
        """

    async def movements(self, asks: Sequence[MovementAsk], ttl_ms: int) -> list[list[bytes] | None]:
        """Return, for each movement, what its buckets held before it, and keep it there, in the order given.

        A bucket's value is entries one behind the other, oldest first, forgotten `ttl_ms` (1 or more) after its last
        new one. A movement that a bucket holds already is not added again, so that a repeat changes nothing. None in
        place of an answer: a server of one of its buckets does not answer.
        """

    async def check(self) -> None:
        """Look again whether the servers keep what they are given; call it every few seconds.

        Raises `StoreMisconfigured` when they don't any more, and from then on so does everything else, until a later
        check finds it put right. Raises `StoreUnavailable`, which changes nothing.
        """

    async def ping(self) -> float:
        """Return the time of one round trip to every server that holds state, in seconds (the slowest of them)."""


MAX_CRASH_NOTE_BYTES: Final = 1_024
"""Largest crash note."""


def check_crash_note(new: bytes | None, ttl_ms: int) -> None:
    """Raise `ValueError` for a crash note that no store may accept."""
    if ttl_ms < 1:
        raise ValueError("ttl_ms must be 1 or more")
    if new is not None and not 0 < len(new) <= MAX_CRASH_NOTE_BYTES:
        raise ValueError(f"a crash note has 1 to {MAX_CRASH_NOTE_BYTES} bytes")


def check_commit(expected: Watermark | None, new: Watermark, blobs: Mapping[str, bytes | None], ttl_ms: int) -> None:
    """Raise `ValueError` for a commit that no store may accept."""
    if ttl_ms < 1:
        raise ValueError("ttl_ms must be 1 or more")
    if b"" in blobs.values():
        raise ValueError("a session's value may not be empty; None removes it")
    if not new.topic_id or "|" in new.topic_id or new.offset < 0:
        raise ValueError("a watermark needs a topic id without '|' and an offset of 0 or more")
    if expected is not None and expected.topic_id == new.topic_id and new.offset < expected.offset:
        raise ValueError(f"a watermark may not go back: {expected} to {new}")
