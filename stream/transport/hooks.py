"""What the transport asks and tells its user: start offsets, changes of ownership, gaps, the end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from .errors import TransportFatalError

PartitionKey = tuple[str, int]
"""(topic, partition)"""


@dataclass(frozen=True, slots=True)
class StartRequest:
    """A newly gained partition that needs a start offset."""

    topic: str
    topic_id: str
    """The topic's uuid: another one under the same name is another topic."""
    partition: int
    committed: int | None
    """The group's committed offset (the next to read), or None."""
    low: int
    """First offset the log still holds."""
    high: int
    """One past the last offset (with ``read_committed``: the last stable offset)."""


@dataclass(frozen=True, slots=True)
class StartAt:
    """Where to start reading a partition."""

    offset: int
    """Next offset to read, >= 0. Out of [low, high]: a declared gap, then the nearest end."""


@dataclass(frozen=True, slots=True)
class Gap:
    """Offsets that were to be read and never will be; always reported, never silent."""

    topic: str
    partition: int
    lost_from: int
    """First lost offset."""
    lost_to: int
    """Last lost offset, inclusive."""
    reason: str
    """``retention`` (the log no longer has them), ``truncated`` (the log ends before them), or the
    name of librdkafka's error for records that could not be read, such as ``_BAD_MSG``."""

    @property
    def records(self) -> int:
        """How many offsets were lost, at most (offsets of transaction markers count)."""
        return self.lost_to - self.lost_from + 1


class TransportHooks:
    """Callbacks for the user of the transport; override what is needed.

    All run on the event loop, one at a time, in the order of the changes; for one partition
    ``on_revoked``/``on_lost`` ends before its next ``resolve_start`` begins. While ``resolve_start``
    waits, partitions already owned go on.
    """

    start_at: Literal["earliest", "latest", "error"] | None = None
    """Where the default ``resolve_start`` begins without a committed offset; None: as the options say."""

    def __init__(self, start_at: Literal["earliest", "latest", "error"] | None = None) -> None:
        self.start_at = start_at

    async def resolve_start(self, requests: Sequence[StartRequest]) -> Mapping[PartitionKey, StartAt]:
        """Decide where to start; must answer for every request.

        An exception is logged, counted and tried again with a growing pause, except
        :class:`TransportFatalError`, which ends the process. The default: the committed offset, or
        where there is none, what ``start_at`` says.
        """
        return {(r.topic, r.partition): StartAt(self._default_start(r)) for r in requests}

    def _default_start(self, request: StartRequest) -> int:
        if request.committed is not None:
            return request.committed
        if self.start_at == "error":
            raise TransportFatalError(
                f"{request.topic}[{request.partition}] has no committed offset and start_at=error"
            )
        return request.high if self.start_at == "latest" else request.low

    async def on_assigned(self, partitions: Sequence[PartitionKey]) -> None:
        """Newly gained partitions; called after ``resolve_start``, before their first chunk."""

    async def on_revoked(self, partitions: Sequence[PartitionKey]) -> None:
        """Partitions that were drained, committed and given up. Raising ends the process."""

    async def on_lost(self, partitions: Sequence[PartitionKey]) -> None:
        """Partitions that were taken away: nothing was waited for or committed. Raising ends the process."""

    def on_gap(self, gap: Gap) -> None:
        """Offsets were lost; called before the next chunk of the partition."""

    async def on_fatal(self, error: TransportFatalError) -> None:
        """The consumer or producer cannot go on; the Faust worker crashes right after."""
