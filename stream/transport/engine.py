"""The transport without Faust: poll thread, membership and chunks wired together."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from .dispatcher import Dispatcher, Receiver
from .errors import TransportFatalError
from .hooks import Gap, PartitionKey, TransportHooks
from .line import Line
from .membership import Membership
from .part import HandOver, clock
from .poller import Poller
from .stats import Counters, PartitionStats

if TYPE_CHECKING:
    from .admin import ClusterInfo
    from .options import TransportOptions
    from .ownership import Ownership

log = logging.getLogger(__name__)

_LEAVE_S = 2.0
"""For the last commit and leaving the group, where chunks took all of the stop deadline."""


class Host(Receiver, Protocol):
    """Where the engine lives: passes chunks to agents and wants to know the assignment."""

    async def assignment_changed(self, full: set[PartitionKey]) -> None:
        """Update the index: all partitions owned and ready."""

    async def partitions_left(self, keys: Sequence[PartitionKey]) -> None:
        """Partitions were revoked or lost."""

    def stop_sending(self, why: str) -> None:
        """What chunks have handed to the producer must not be sent any more."""

    async def end_process(self, error: TransportFatalError) -> None:
        """End the process."""


class Engine:
    """One membership in a consumer group. Everything runs on the event loop, but for :meth:`tell`."""

    def __init__(
        self,
        options: TransportOptions,
        hooks: TransportHooks,
        cluster: ClusterInfo,
        counters: Counters,
        host: Host,
    ) -> None:
        self._options = options
        self._hooks = hooks
        self.host = host
        self.counters = counters
        self.dispatcher = Dispatcher(options, counters, host, self.is_trusted, self.tell, self._owned)
        self.membership = Membership(self, cluster, hooks)
        self._poller: Poller | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._fatal: TransportFatalError | None = None
        self._crash: asyncio.Task[None] | None = None

    @property
    def lines(self) -> list[Line]:
        """Partitions owned and ready."""
        return list(self.membership.ready.values())

    def _owned(self) -> int:
        return len(self.membership.ready)

    @property
    def _ownership(self) -> Ownership | None:
        return None if self._poller is None else self._poller.ownership

    # --- life --------------------------------------------------------------------------------------

    def subscribe(self, config: dict[str, Any], topics: Sequence[str]) -> None:
        """Join the group with the consumer ``config``; later calls only change the topics."""
        self._loop = asyncio.get_running_loop()
        if self._poller is not None:
            self._poller.subscribe(topics)
            return
        poller = self._poller = Poller(config, self._options, self, self.dispatcher, self.tell, self.counters)
        poller.subscribe(topics)
        poller.start()

    async def drain(self) -> None:
        """Hand out no more chunks and wait for those in flight, up to the stop deadline."""
        await self.dispatcher.leave(self.lines)

    async def stop(self) -> None:
        """Drain, commit, leave the group, end the poll thread."""
        await self.drain()
        poller = self._poller
        if poller is not None:
            poller.close()
            left_s = max(_LEAVE_S, self.stop_left_s())
            await asyncio.get_running_loop().run_in_executor(None, poller.join, left_s)
            if poller.is_alive():
                log.warning("the group was not left within %.1f s: it waits for the session timeout", left_s)
        await self.membership.stop(self.stop_left_s())

    def stop_left_s(self) -> float:
        """Seconds left of the stop deadline; all of it while nothing stops."""
        return self.dispatcher.leave_left_s()

    def is_trusted(self) -> bool:
        """Whether this process can be sure of its membership."""
        ownership = self._ownership
        if ownership is None or ownership.last_poll is None or self._fatal is not None:
            return False
        return not ownership.is_suspect and clock() - ownership.last_poll < self._options.session_s

    def fatal(self, error: TransportFatalError) -> None:
        """End the process: tell the hook, then the host. Only the first error counts."""
        if self._fatal is None:
            self._fatal = error
            log.critical("%s", error)
            self._crash = asyncio.get_running_loop().create_task(self._end(error))

    async def _end(self, error: TransportFatalError) -> None:
        try:
            await self._hooks.on_fatal(error)
        except Exception:
            log.exception("on_fatal failed")
        await self.host.end_process(error)

    # --- what the poll thread tells (LoopSide) -----------------------------------------------------

    def tell(self, callback: Callable[..., object], *args: object) -> bool:
        """Run a callback on the event loop (from any thread); False where the loop is gone."""
        if self._loop is None:
            return False
        try:
            self._loop.call_soon_threadsafe(callback, *args)
        except RuntimeError:  # the loop is closed
            return False
        return True

    def receive(self, items: Sequence[HandOver]) -> None:
        """Records arrived."""
        self.dispatcher.receive(items)

    def begin_drain(self, lines: Sequence[Line], is_drained: Callable[[], object]) -> None:
        """Lines are being revoked."""
        self.dispatcher.begin_drain(lines, is_drained)

    def assigned(self, lines: Sequence[Line], committed: Mapping[PartitionKey, int]) -> None:
        """Lines were gained."""
        self.membership.assigned(lines, committed)

    def revoked(self, lines: Sequence[Line]) -> None:
        """Lines were drained, committed and given up."""
        self._disown(lines)
        self.membership.revoked(lines)

    def lost(self, lines: Sequence[Line]) -> None:
        """Lines were taken away."""
        self._disown(lines)
        self.membership.lost(lines)

    def _disown(self, lines: Sequence[Line]) -> None:
        # What waits in the producer's queue would come behind what the next owner publishes.
        late = [line for line in lines if line.in_flight is not None]
        if late:
            self.host.stop_sending(f"partitions went with a chunk in flight: {late}")

    def confirmed(self, offsets: Mapping[PartitionKey, int]) -> None:
        """The broker stored offsets."""
        for key, offset in offsets.items():
            line = self.membership.ready.get(key)
            if line is not None:
                line.tracker.confirmed(offset)

    def moved(self, line: Line, epoch: int, position: int) -> None:
        """An idle line passed offsets without records."""
        if not line.gone and line.epoch == epoch and line.in_flight is None and not line.pending:
            line.tracker.skip_to(position)

    def gap(self, gap: Gap) -> None:
        """Offsets were lost: count, log, tell."""
        self.counters.gaps_total += 1
        self.counters.gap_records_total += gap.records
        log.error(
            "gap in %s[%d]: offsets %d to %d (%s)", gap.topic, gap.partition, gap.lost_from, gap.lost_to, gap.reason
        )
        try:
            self._hooks.on_gap(gap)
        except Exception as exc:  # noqa: BLE001 - whatever a hook raises ends the process
            error = TransportFatalError(f"on_gap failed: {exc!r}")
            error.__cause__ = exc
            self.fatal(error)

    def out_of_range(self, line: Line, epoch: int, position: int, low: int, high: int) -> None:
        """The log does not have a line's position."""
        self.membership.out_of_range(line, epoch, position, low, high)

    # --- commands for the poll thread --------------------------------------------------------------

    def commit(self) -> None:
        """Commit what is finished, without waiting for the broker."""
        poller, ownership = self._poller, self._ownership
        if poller is None or ownership is None:
            return
        lines = self.lines
        idle = {
            line.key: (line, line.epoch, line.tracker.position)
            for line in lines
            if line.is_ready and line.in_flight is None and not line.pending
        }
        poller.post(lambda: ownership.commit_soon(idle))
        self.dispatcher.warn_overdue(lines)

    def start_fetching(self, offsets: Sequence[tuple[Line, int, int]]) -> None:
        """Fetch lines from (line, epoch, offset) on."""
        poller, ownership = self._poller, self._ownership
        if poller is not None and ownership is not None and offsets:
            poller.post(lambda: ownership.fetching.start(offsets))

    def rewind(self, line: Line, offset: int) -> None:
        """Bump the epoch, drop what is pending, go on at ``offset``."""
        poller, ownership = self._poller, self._ownership
        if poller is None or ownership is None or line.gone:
            return
        line.epoch = epoch = ownership.next_epoch()
        line.drop_pending()
        line.tracker.rewind(offset)
        line.attempts = 0
        line.not_before = 0.0
        self.counters.rewinds_total += 1
        poller.post(lambda: ownership.fetching.seek(line, epoch, offset))

    # --- figures -----------------------------------------------------------------------------------

    def last_poll_age_s(self) -> float | None:
        """Seconds since the last poll; None before the first."""
        last = self.last_poll
        return None if last is None else clock() - last

    @property
    def last_poll(self) -> float | None:
        """Clock time of the last poll; None before the first."""
        ownership = self._ownership
        return None if ownership is None else ownership.last_poll

    def starting_partitions(self) -> int:
        """How many partitions are assigned and not started."""
        ownership = self._ownership
        lines = [] if ownership is None else list(ownership.lines.values())
        return sum(not line.is_ready and not line.gone for line in lines)

    def away_s(self) -> float:
        """How long the brokers have been away, s; 0 while they answer (or before they were asked)."""
        return 0.0 if self._poller is None else self._poller.reach.away_s()

    def partition_stats(self) -> dict[PartitionKey, PartitionStats]:
        """State of every partition owned and ready."""
        ownership = self._ownership
        parts = {} if ownership is None else ownership.parts
        away = frozenset() if self._poller is None else self._poller.reach.away_partitions
        now = clock()
        found = {}
        for line in self.lines:
            part = parts.get(line.key)
            flight = line.in_flight
            position = line.tracker.position
            found[line.key] = PartitionStats(
                topic=line.topic,
                partition=line.partition,
                epoch=line.epoch,
                position=position,
                committed=line.tracker.committed,
                high=line.high,
                lag=None if line.high is None else max(0, line.high - position),
                pending_records=line.pending.records,
                pending_bytes=line.pending.byte_count,
                is_in_flight=flight is not None,
                in_flight_age_s=None if flight is None else now - flight.since,
                last_progress_age_s=None if line.last_progress is None else now - line.last_progress,
                is_paused=part is not None and part.marks.is_paused,
                is_held=line.is_held,
                is_out_of_reach=line.key in away or (part is not None and part.is_refused),
            )
        return found
