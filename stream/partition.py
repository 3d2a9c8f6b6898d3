"""What a worker knows of one input partition that it owns: watermark, sessions, and where publishing begins."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from features.session import Meta
from features.velocity import Link
from stream.deadletter import DeadLetterLimit
from stream.session_cache import SessionCache
from stream.state.base import Watermark
from stream.waits import Wait

MAX_LINKS_LEFT: Final = 50_000
"""Links of one partition that wait for a part of the store, at most: some 10 MB."""


@dataclass(slots=True)
class OwnedPartition:
    """One owned partition. Made anew at every assignment, so that nothing of an earlier ownership survives."""

    topic: str
    number: int
    topic_id: str
    watermark: Watermark | None
    """What this owner last read or wrote; a write that finds another one is refused."""
    publish_from: int
    """Input offsets below it are folded, not published: a rewind, and they were published long ago."""
    published_to: int
    """Input offset that the last risk event answers, -1 for none: what is published up to it is marked `replayed`."""
    limit: DeadLetterLimit
    sessions: SessionCache = field(default_factory=SessionCache)
    wait: Wait = field(default_factory=Wait)
    hole_to: int = -1
    """Last offset that could not be folded because the log has it no more, or not readably; -1: no such hole."""
    hole_ms: int = 0
    """Append time of the first record behind that hole, epoch ms; 0: none, or not read yet."""
    links_left: list[Link] = field(default_factory=list)
    """Links of written chunks whose servers did not answer: they go with a chunk once these may be back."""
    left_turn: int = 0
    """`StateStore.links_turn` when they were tried last."""

    near: dict[str, dict[bytes, int]] = field(default_factory=dict)
    """Answers to sessions' movements that wait for the session's next event: by session and movement, how near."""

    answered_to: int = field(init=False)
    """`published_to` as the log said when the partition was taken over: these risk events are there."""

    def __post_init__(self) -> None:
        self.answered_to = self.published_to

    def is_done(self, offset: int) -> bool:
        """Whether the state of this offset is written already."""
        return self.watermark is not None and offset <= self.watermark.offset

    def left_links(self, turn: int) -> list[Link]:
        """Return the links that are worth another try at this turn of the store's."""
        return self.links_left if turn != self.left_turn else []

    def keep_left(self, links: Sequence[Link], turn: int) -> int:
        """Keep links that a commit gave back which had `left_links(turn)` too; return how many were dropped.

        The newest are kept if they are too many.
        """
        if turn != self.left_turn:
            self.links_left, self.left_turn = [], turn
        self.links_left.extend(links)
        dropped = max(0, len(self.links_left) - MAX_LINKS_LEFT)
        del self.links_left[:dropped]
        return dropped

    def tear(self, lost_to: int) -> None:
        """Offsets up to `lost_to` are lost: sessions that miss some of them are not whole any more."""
        if lost_to > self.hole_to:
            self.hole_to, self.hole_ms = lost_to, 0

    def see(self, offset: int, append_ms: int) -> None:
        """Take note of the first record that is handed over behind a hole."""
        if offset > self.hole_to >= 0 and not self.hole_ms:
            self.hole_ms = append_ms

    def is_torn(self, meta: Meta, sequence: int) -> bool:
        """Whether a session's state is from before a hole, and the event of this number shows that some fell into it.

        The rewind could not rebuild such a session whole.
        """
        return sequence > meta.highest_sequence + 1 and meta.last_ingested_ms < self.hole_ms

    def forget(self) -> None:
        """Drop all cached sessions: a failure left them ahead of what is stored."""
        self.sessions.clear()
        self.near.clear()
