"""The poll thread's view of one owned partition, and what that thread tells the event loop."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Protocol

from .marks import PauseMarks
from .options import TransportOptions

if TYPE_CHECKING:
    from confluent_kafka import Message

    from .errors import TransportFatalError
    from .hooks import Gap, PartitionKey
    from .line import Line

HandOver = tuple["Line", int, "list[Message]", int]
"""(line, epoch at the poll, records of that line in offset order, bytes of their values)"""


def _clock() -> Callable[[], float]:
    # A suspended machine's monotonic clock may stand still while the session runs out.
    boottime = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic if boottime is None else partial(time.clock_gettime, boottime)


clock: Callable[[], float] = _clock()
"""Seconds on a clock that also runs while the machine is suspended, where there is one."""


class LoopSide(Protocol):
    """What the poll thread tells the event loop. Every method is called on the event loop."""

    def receive(self, items: Sequence[HandOver]) -> None:
        """Records arrived."""

    def begin_drain(self, lines: Sequence[Line], is_drained: Callable[[], object]) -> None:
        """Lines are being revoked; call back when none of them has a chunk in flight."""

    def assigned(self, lines: Sequence[Line], committed: Mapping[PartitionKey, int]) -> None:
        """Lines were gained; they need start offsets."""

    def revoked(self, lines: Sequence[Line]) -> None:
        """Lines were drained, committed and given up."""

    def lost(self, lines: Sequence[Line]) -> None:
        """Lines were taken away."""

    def confirmed(self, offsets: Mapping[PartitionKey, int]) -> None:
        """Offsets were stored by the broker."""

    def moved(self, line: Line, epoch: int, position: int) -> None:
        """An idle line's position passed offsets that hold no records."""

    def gap(self, gap: Gap) -> None:
        """Offsets were lost."""

    def out_of_range(self, line: Line, epoch: int, position: int, low: int, high: int) -> None:
        """The log does not have the line's position; the line waits for a restart."""

    def fatal(self, error: TransportFatalError) -> None:
        """The consumer cannot go on."""


class Part:
    """A partition that is being fetched."""

    __slots__ = (
        "epoch",
        "handed_bytes",
        "handed_records",
        "hole",
        "is_asked",
        "is_refused",
        "is_stopped",
        "line",
        "marks",
        "next_offset",
        "start",
    )

    def __init__(self, line: Line, epoch: int, start: int, options: TransportOptions) -> None:
        self.line = line
        self.epoch = epoch
        self.start = start
        self.next_offset = start
        """One past the last record handed over."""
        self.handed_records = 0
        self.handed_bytes = 0
        self.hole: str | None = None
        """Name of an error after which offsets may be missing."""
        self.is_asked = False
        """Out of range, and its bounds are being asked for."""
        self.is_refused = False
        """Reading it is not permitted (told once by librdkafka, which goes on trying)."""
        self.is_stopped = False
        """librdkafka stopped fetching it (out of range); waits for a restart."""
        self.marks = PauseMarks(
            options.pause_high_records,
            options.pause_low_records,
            options.pause_high_bytes,
            options.pause_low_bytes,
        )

    @property
    def waiting_records(self) -> int:
        """Records handed over and not yet in a chunk."""
        return self.handed_records - self.line.taken_records

    @property
    def waiting_bytes(self) -> int:
        """Bytes of these records' values."""
        return self.handed_bytes - self.line.taken_bytes
