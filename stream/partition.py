"""What a worker knows of one input partition that it owns: watermark, sessions, and where publishing begins."""

from dataclasses import dataclass, field

from stream.deadletter import DeadLetterLimit
from stream.session_cache import SessionCache
from stream.state.base import Watermark


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

    def is_done(self, offset: int) -> bool:
        """Whether the state of this offset is written already."""
        return self.watermark is not None and offset <= self.watermark.offset

    def forget(self) -> None:
        """Drop all cached sessions: a failure left them ahead of what is stored."""
        self.sessions.clear()
