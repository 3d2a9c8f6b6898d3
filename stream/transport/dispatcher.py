"""From records to chunks on the event loop: one chunk a partition in flight, repeats, holds, drains."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol, cast

from .chunk import Chunk
from .limiter import ChunkLimiter
from .line import InFlight, Line
from .part import HandOver, clock

if TYPE_CHECKING:
    from .hooks import PartitionKey
    from .options import TransportOptions
    from .stats import Counters

log = logging.getLogger(__name__)

_OVERDUE_S = 30.0


class Receiver(Protocol):
    """Who gets the chunks."""

    def accepts(self, key: PartitionKey) -> bool:
        """Whether a chunk of this partition would reach an agent now."""

    def deliver(self, chunk: Chunk) -> object:
        """Pass a chunk on, at once. What it returns comes back in :meth:`ended`."""

    def ended(self, line: Line, flight: InFlight) -> None:
        """A chunk ended in whatever way."""


class Dispatcher:
    """Forms chunks and follows them to their end. Runs on the event loop (but for :meth:`call_soon`)."""

    def __init__(
        self,
        options: TransportOptions,
        counters: Counters,
        receiver: Receiver,
        is_trusted: Callable[[], bool],
        tell: Callable[..., bool],
        owned: Callable[[], int],
    ) -> None:
        """`owned`: how many partitions share `max_in_flight_records`."""
        self._options = options
        self._counters = counters
        self._receiver = receiver
        self.is_trusted = is_trusted
        self.call_soon = tell
        self._owned = owned
        self._limiters: dict[str, ChunkLimiter] = {}
        self._leave_by: float | None = None

    def limiter(self, topic: str) -> ChunkLimiter:
        """Return the topic's limiter."""
        found = self._limiters.get(topic)
        if found is None:
            options = self._options
            found = self._limiters[topic] = ChunkLimiter(
                options.target_loop_s, options.max_chunk_records, options.initial_chunk_records
            )
        return found

    def receive(self, items: Sequence[HandOver]) -> None:
        """Take records that arrived; form the next chunk where none is in flight."""
        counters = self._counters
        for line, epoch, records, byte_count in items:
            counters.records_received_total += len(records)
            counters.bytes_total += byte_count
            if line.gone or line.epoch != epoch:
                counters.records_stale_total += len(records)
                line.taken_records += len(records)
                line.taken_bytes += byte_count
                continue
            line.pending.push(records, byte_count)
            if line.in_flight is None:
                self.dispatch(line)

    def begin_drain(self, lines: Sequence[Line], is_drained: Callable[[], object]) -> None:
        """No more chunks of these lines; call back when none is in flight, or the stop deadline is over."""
        waiting = 0
        is_late = self._leave_by is not None and self.leave_left_s() == 0.0

        def one_less() -> None:
            nonlocal waiting
            waiting -= 1
            if not waiting:
                is_drained()

        for line in lines:
            line.is_draining = True
            line.drop_pending()
            if line.in_flight is not None and not is_late:
                waiting += 1
                line.drained.append(one_less)
        if not waiting:
            is_drained()

    async def leave(self, lines: Sequence[Line]) -> None:
        """Wait for chunks in flight before the process stops, up to the stop deadline.

        The deadline counts from the first call: whoever drains again shares what is left of it.
        """
        if self._leave_by is None:
            self._leave_by = clock() + self._options.stop_deadline_s
        elif self.leave_left_s() == 0.0:
            return
        drained = asyncio.Event()
        self.begin_drain(lines, drained.set)
        try:
            await asyncio.wait_for(drained.wait(), self.leave_left_s())
        except TimeoutError:
            late = [line for line in lines if line.in_flight is not None]
            log.warning("stopped with chunks in flight, to be read again: %s", late)

    def leave_left_s(self) -> float:
        """Seconds until the stop deadline, at least 0; the whole of it while nothing stops."""
        if self._leave_by is None:
            return self._options.stop_deadline_s
        return max(0.0, self._leave_by - clock())

    def dispatch(self, line: Line) -> None:
        """Hand over the next chunk of a line, if everything allows it."""
        if (
            line.in_flight is not None
            or not line.pending
            or not line.is_ready
            or line.is_draining
            or line.gone
            or line.is_held
            or asyncio.get_running_loop().time() < line.not_before  # a timer is set
            or not self._receiver.accepts(line.key)
        ):
            return
        options = self._options
        share = max(options.initial_chunk_records, options.max_in_flight_records // max(1, self._owned()))
        records = line.take(share, options.max_chunk_bytes)
        line.serial += 1
        chunk = Chunk(line, line.serial, records, cast("int", records[0].offset()))
        flight = InFlight(line.serial, line.epoch, records, chunk.first_offset, chunk.next_offset, clock())
        line.in_flight = flight
        self._counters.chunks_total += 1
        self._counters.records_total += len(records)
        flight.note = self._receiver.deliver(chunk)

    def chunk_ended(self, line: Line, flight: InFlight, outcome: str) -> None:
        """Go on with a line whose chunk was done, abandoned or found stale."""
        counters = self._counters
        self._receiver.ended(line, flight)
        if outcome == "done":
            counters.chunks_done_total += 1
            counters.records_done_total += len(flight.records)
            line.last_progress = clock()
        elif outcome == "stale":
            counters.chunks_stale_total += 1
        else:
            counters.chunks_abandoned_total += 1
            if self._leave_by is None:
                self._retry_later(line, outcome)
        if line.drained:
            waiting, line.drained = line.drained, []
            for callback in waiting:
                callback()
        if line.pending:
            # Not at once: an agent that finishes chunks one after the other must let others run.
            asyncio.get_running_loop().call_soon(self.dispatch, line)

    def _retry_later(self, line: Line, outcome: str) -> None:
        options = self._options
        pause = 0.0
        if line.attempts > 1:
            pause = min(options.retry_min_s * 2 ** min(line.attempts - 2, 20), options.retry_max_s)
        log.warning("%s[%d]: chunk %s; again in %.2f s", line.topic, line.partition, outcome, pause)
        if pause:
            loop = asyncio.get_running_loop()
            line.not_before = loop.time() + pause
            loop.call_at(line.not_before, self.dispatch, line)

    @staticmethod
    def hold(line: Line) -> None:
        """Hand out no more chunks of a line. A new assignment of its partition is a new line, and free."""
        line.is_held = True

    def release(self, line: Line) -> None:
        """Hand out chunks of a line again."""
        line.is_held = False
        self.dispatch(line)

    def warn_overdue(self, lines: Sequence[Line]) -> None:
        """Log chunks that are in flight for long: an agent may have gone on without ending one."""
        now = clock()
        for line in lines:
            flight = line.in_flight
            if flight is not None and now - flight.warned_at > _OVERDUE_S:
                flight.warned_at = now
                log.warning(
                    "%s[%d]: chunk from %d on is in flight for %.0f s: neither done() nor abandon()",
                    line.topic,
                    line.partition,
                    flight.first_offset,
                    now - flight.since,
                )
