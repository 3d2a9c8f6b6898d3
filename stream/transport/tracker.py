"""Which offset of one partition may be committed: everything below it is finished."""

from __future__ import annotations


class CommitTracker:
    """Follows the chunks of one assignment of one partition, which are done in order.

    Three offsets: ``position`` (next offset that is not finished; a rewind takes it back),
    ``committable`` (the highest ``position`` ever reached: a commit never goes back), and
    ``committed`` (what the broker has confirmed).
    """

    __slots__ = ("committable", "committed", "position")

    def __init__(self, start: int, committed: int | None) -> None:
        self.position: int = start
        self.committed: int | None = committed
        self.committable: int | None = start if start > (committed or 0) else committed
        """None: nothing was finished and nothing was ever committed. Who starts beyond the commit has done what is
        between, as a predecessor that died before it could commit: without new records nobody else would say so."""

    def done(self, first_offset: int, next_offset: int) -> bool:
        """A chunk covering [first_offset, next_offset) is finished.

        Returns False, and changes nothing, where it does not follow on what is finished (a stale
        chunk). A chunk may start above ``position``: offsets between are markers, compacted away, or
        a declared gap.
        """
        if first_offset < self.position or next_offset <= first_offset:
            return False
        self._reach(next_offset)
        return True

    def skip_to(self, position: int) -> None:
        """Nothing is unfinished below ``position`` (an idle partition's end, a declared gap)."""
        if position > self.position:
            self._reach(position)

    def rewind(self, position: int) -> None:
        """Offsets from ``position`` on will come again. What may be committed stays."""
        self.position = position

    def confirmed(self, offset: int) -> None:
        """The broker has stored ``offset`` for the group."""
        if self.committed is None or offset > self.committed:
            self.committed = offset

    def to_commit(self) -> int | None:
        """Offset worth a commit, or None where the broker already has it."""
        if self.committable is None:
            return None
        if self.committed is not None and self.committable <= self.committed:
            return None
        return self.committable

    def _reach(self, position: int) -> None:
        self.position = position
        if self.committable is None or position > self.committable:
            self.committable = position
