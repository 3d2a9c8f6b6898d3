"""A chunk: the records of one partition handed over together, and the handle that finishes them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from confluent_kafka import Message

    from .line import Line


class Chunk:
    """Records of one partition, in offset order; the only one of its partition in flight.

    It must end in :meth:`done` or :meth:`abandon`, on the event loop's thread. A chunk that is
    dropped, or whose agent raised or was cancelled, without either is read again. It may be handed to
    another task and finished there; keep a reference for as long as it is worked on.
    """

    __slots__ = (
        "__weakref__",
        "_line",
        "_serial",
        "committed",
        "epoch",
        "finished",
        "first_offset",
        "next_offset",
        "partition",
        "records",
        "topic",
        "topic_id",
    )

    def __init__(self, line: Line, serial: int, records: list[Message], first_offset: int) -> None:
        self._line = line
        self._serial = serial
        self.topic: str = line.topic
        self.topic_id: str = line.topic_id
        """The topic's uuid, as text."""
        self.partition: int = line.partition
        self.records: list[Message] = records
        """Never empty; values, keys, headers and timestamps as librdkafka has them."""
        self.epoch: int = line.epoch
        """Grows with every assignment and rewind of the partition."""
        self.first_offset: int = first_offset
        """Offset of the first record."""
        self.next_offset: int = _next_offset(records)
        """One past the offset of the last record."""
        self.committed: int | None = line.committed_at_start
        """The group's committed offset when the partition was assigned."""
        self.finished: int | None = line.finished
        """Everything below this was done in this assignment, or was committed before it."""

    def __len__(self) -> int:
        return len(self.records)

    def __repr__(self) -> str:
        return (
            f"<Chunk {self.topic}[{self.partition}] {self.first_offset}..{self.next_offset - 1} "
            f"({len(self.records)} records, epoch {self.epoch})>"
        )

    @property
    def is_open(self) -> bool:
        """Whether the chunk was neither done nor abandoned yet."""
        return self._line.is_open(self._serial)

    def is_current(self) -> bool:
        """Whether effects may still be published: ask right before doing so.

        False after a rewind, a revoke past its deadline, a loss, or while this process cannot be sure
        of its membership (it did not poll for a session timeout). Abandon the chunk then.
        """
        return self._line.is_current(self._serial)

    def done(self, loop_s: float | None = None) -> bool:
        """All effects are durable: the commit may move past this chunk, and the next one may come.

        ``loop_s``: seconds that the chunk kept the event loop busy (not those it waited for others); it
        sets the size of later chunks.
        Returns False, and moves nothing, where the chunk is no longer current or already ended.
        """
        return self._line.done(self._serial, loop_s)

    def abandon(self, reason: str) -> None:
        """Give up: the records come again, in a new chunk (at once, then with growing pauses)."""
        self._line.abandon(self._serial, reason)

    def __del__(self) -> None:
        line = getattr(self, "_line", None)
        if line is not None:
            line.dropped(self._serial)


def _next_offset(records: list[Message]) -> int:
    offset = records[-1].offset()
    assert offset is not None
    return offset + 1
