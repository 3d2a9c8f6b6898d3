"""The event loop's half of group membership: start offsets, the host's view, the user's hooks, in order."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from confluent_kafka import KafkaException

from .admin import ClusterInfo
from .errors import TransportFatalError
from .hooks import Gap, PartitionKey, StartAt, StartRequest, TransportHooks
from .line import Line
from .tracker import CommitTracker

if TYPE_CHECKING:
    from .engine import Engine

log = logging.getLogger(__name__)

_RETRY_MIN_S = 0.2
_RETRY_MAX_S = 5.0
_STOP_MIN_S = 0.5
_STOP_MAX_S = 5.0


class Membership:
    """Works off gains and losses one after the other, as one task."""

    def __init__(self, engine: Engine, cluster: ClusterInfo, hooks: TransportHooks) -> None:
        self._engine = engine
        self._cluster = cluster
        self._hooks = hooks
        self._queue: deque[Callable[[], Awaitable[None]]] = deque()
        self._task: asyncio.Task[None] | None = None
        self.ready: dict[PartitionKey, Line] = {}
        """Owned, started and known to the host."""

    # --- called on the event loop by the poll thread -----------------------------------------------

    def assigned(self, lines: Sequence[Line], committed: Mapping[PartitionKey, int]) -> None:
        """Lines were gained."""
        self._submit(lambda: self._gain(lines, committed))

    def revoked(self, lines: Sequence[Line]) -> None:
        """Lines were given up."""
        self._forget(lines)
        self._submit(lambda: self._leave(lines, self._hooks.on_revoked))

    def lost(self, lines: Sequence[Line]) -> None:
        """Lines were taken away."""
        self._forget(lines)
        self._submit(lambda: self._leave(lines, self._hooks.on_lost))

    def out_of_range(self, line: Line, epoch: int, position: int, low: int, high: int) -> None:
        """The log does not have the position of a line."""
        self._submit(lambda: self._bridge(line, epoch, position, low, high))

    async def stop(self, left_s: float) -> None:
        """Let queued changes finish, those that can in the time left."""
        task = self._task
        if task is not None and not task.done():
            await asyncio.wait([task], timeout=min(_STOP_MAX_S, max(_STOP_MIN_S, left_s)))
            task.cancel()

    def _forget(self, lines: Sequence[Line]) -> None:
        for line in lines:
            line.drop_pending()
            if self.ready.get(line.key) is line:
                del self.ready[line.key]

    def _submit(self, step: Callable[[], Awaitable[None]]) -> None:
        self._queue.append(step)
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._work())

    async def _work(self) -> None:
        while self._queue:
            step = self._queue.popleft()
            try:
                await step()
            except TransportFatalError as exc:
                self._engine.fatal(exc)
            except Exception as exc:  # noqa: BLE001 - a hook may raise anything
                error = TransportFatalError(f"a change of ownership failed: {exc!r}")
                error.__cause__ = exc
                self._engine.fatal(error)

    # --- gaining -----------------------------------------------------------------------------------

    async def _gain(self, lines: Sequence[Line], committed: Mapping[PartitionKey, int]) -> None:
        pause = _RETRY_MIN_S
        starts: dict[PartitionKey, int] | None = None
        while starts is None:
            lines = [line for line in lines if not line.gone]
            if not lines:
                await self._tell_host()
                return
            try:
                starts = await self._resolve(lines, committed)
            except TransportFatalError:
                raise
            except Exception as exc:  # noqa: BLE001 - a hook may raise anything; the partition waits
                self._engine.counters.start_failures_total += 1
                log.warning("no start offsets yet, trying again in %.1f s: %r", pause, exc)
                await asyncio.sleep(pause)
                pause = min(2 * pause, _RETRY_MAX_S)
        alive = [line for line in lines if not line.gone]
        for line in alive:
            line.limiter = self._engine.dispatcher.limiter(line.topic)
            line.committed_at_start = committed.get(line.key)
            line.tracker = CommitTracker(starts[line.key], line.committed_at_start)
            self.ready[line.key] = line
        await self._tell_host()
        await self._hooks.on_assigned([line.key for line in alive])
        for line in alive:
            line.is_ready = True
        self._engine.start_fetching([(line, line.epoch, starts[line.key]) for line in alive])

    async def _resolve(self, lines: Sequence[Line], committed: Mapping[PartitionKey, int]) -> dict[PartitionKey, int]:
        ids = await self._cluster.topic_ids(line.topic for line in lines)
        bounds = await self._cluster.bounds(line.key for line in lines)
        requests = []
        for line in lines:
            line.topic_id = ids[line.topic]
            low, high = bounds[line.key]
            line.high = high
            requests.append(StartRequest(line.topic, line.topic_id, line.partition, committed.get(line.key), low, high))
        answers = await self._hooks.resolve_start(requests)
        return {(r.topic, r.partition): self._checked(r, answers) for r in requests}

    def _checked(self, request: StartRequest, answers: Mapping[PartitionKey, StartAt]) -> int:
        key = (request.topic, request.partition)
        answer = answers.get(key)
        if answer is None:
            raise TransportFatalError(f"resolve_start gave no offset for {key[0]}[{key[1]}]")
        offset = answer.offset
        if offset < request.low:
            self._engine.gap(Gap(*key, offset, request.low - 1, "retention"))
            return request.low
        if offset > request.high:
            self._engine.gap(Gap(*key, request.high, offset - 1, "truncated"))
            return request.high
        return offset

    async def _tell_host(self) -> None:
        await self._engine.host.assignment_changed(set(self.ready))

    # --- leaving and gaps --------------------------------------------------------------------------

    async def _leave(
        self,
        lines: Sequence[Line],
        hook: Callable[[Sequence[PartitionKey]], Awaitable[None]],
    ) -> None:
        # The hooks come in pairs: what was revoked before it ever became ready was never announced.
        keys = [line.key for line in lines if line.is_ready]
        if keys:
            await self._engine.host.partitions_left(keys)
            await hook(keys)
        await self._tell_host()

    async def _bridge(self, line: Line, epoch: int, position: int, low: int, high: int) -> None:
        if _is_over(line, epoch):
            return
        topic_id = await self._topic_id(line)
        if topic_id is not None and topic_id != line.topic_id:
            raise TransportFatalError(f"topic {line.topic} was made anew: id {line.topic_id} is now {topic_id}")
        if _is_over(line, epoch):
            return
        if position < low:
            self._engine.gap(Gap(*line.key, position, low - 1, "retention"))
            self._engine.moved(line, epoch, low)
            self._engine.start_fetching([(line, epoch, low)])
        elif position > high:
            # The log ends before: what was read from `high` on is no longer there.
            self._engine.gap(Gap(*line.key, high, position - 1, "truncated"))
            self._engine.rewind(line, high)
        else:
            # The replica that was asked may not be there yet; the bounds say that the offset exists.
            asyncio.get_running_loop().call_later(
                _RETRY_MAX_S / 10, self._engine.start_fetching, [(line, epoch, position)]
            )

    async def _topic_id(self, line: Line) -> str | None:
        """Ask until there is an answer; None where the line went meanwhile."""
        pause = _RETRY_MIN_S
        while not line.gone:
            try:
                return (await self._cluster.topic_ids([line.topic]))[line.topic]
            except KafkaException as exc:
                log.warning("%s: cannot check the topic's id: %s", line.topic, exc)
            await asyncio.sleep(pause)
            pause = min(2 * pause, _RETRY_MAX_S)
        return None


def _is_over(line: Line, epoch: int) -> bool:
    return line.gone or line.epoch != epoch
