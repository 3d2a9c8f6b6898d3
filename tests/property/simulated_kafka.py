"""A Kafka for state machines: a log, a group's committed offsets, and a consumer that does what it is told next.

The whole transport runs on it but for the thread: poll thread code, group membership, chunks, commits. A consumer step
runs in an executor, so that a revoke waits for the event loop as the real one does.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from confluent_kafka import KafkaError, KafkaException, Message, TopicPartition

from stream.transport import Chunk, Counters, Gap, PartitionKey, StartAt, StartRequest, TransportHooks, TransportOptions
from stream.transport.engine import Engine
from stream.transport.line import InFlight, Line
from stream.transport.poller import Poller

TOPIC = "t"
Key = tuple[str, int]


@dataclass
class Log:
    """One partition on the broker: each offset holds a record or a transaction marker; and what the group committed."""

    is_record: list[bool] = field(default_factory=list)
    committed: int | None = None

    @property
    def end(self) -> int:
        return len(self.is_record)

    def records(self) -> list[int]:
        """Offsets that hold records."""
        return [offset for offset, record in enumerate(self.is_record) if record]


class SimulatedConsumer:
    """What the poll thread calls. Rebalances wait in `events` until a poll serves them, as librdkafka does."""

    def __init__(self, logs: Mapping[Key, Log], on_committed: Callable[[Key, int], None]) -> None:
        self.logs = logs
        self.poller: Any = None
        self.events: deque[Callable[[], None]] = deque()
        self.events_in_consume = False
        """The next event is served inside `consume()`, with a record in the caller's hand."""
        self.fails_commits = 0
        """So many of the next commits are refused."""
        self.is_member = True
        self._on_committed = on_committed
        self._at: dict[Key, int] = {}
        self._paused: set[Key] = set()
        self._fresh: set[Key] = set()

    # --- records

    def poll(self, timeout: float) -> Message | None:
        del timeout
        if self.events and not self.events_in_consume:
            self.events.popleft()()
            return None
        found = self._take(1)
        return found[0] if found else None

    def consume(self, count: int, timeout: float) -> list[Message]:
        del timeout
        if self.events and self.events_in_consume:
            self.events_in_consume = False
            self.events.popleft()()
            return []
        return self._take(count)

    def _take(self, count: int) -> list[Message]:
        found: list[Message] = []
        for key in sorted(self._at):
            log = self.logs[key]
            while key not in self._paused and self._at[key] < log.end and len(found) < count:
                offset = self._at[key]
                if log.is_record[offset]:
                    found.append(Message(*key, offset, None, b"%d" % offset))
                    self._fresh.discard(key)
                self._at[key] = offset + 1
        return found

    def skip_markers(self) -> None:
        """What a fetch does with markers at the end of the log: the position passes them."""
        for key, log in self.logs.items():
            while key in self._at and self._at[key] < log.end and not log.is_record[self._at[key]]:
                self._at[key] += 1

    def position(self, partitions: Sequence[TopicPartition]) -> list[TopicPartition]:
        return [
            TopicPartition(tp.topic, tp.partition, self._at.get((tp.topic, tp.partition), -1001)) for tp in partitions
        ]

    def seek(self, tp: TopicPartition) -> None:
        if (tp.topic, tp.partition) in self._fresh:
            raise KafkaException(KafkaError(KafkaError._STATE))
        self._at[tp.topic, tp.partition] = tp.offset

    # --- assignment

    def assign(self, partitions: Sequence[TopicPartition]) -> None:
        self._at = {(tp.topic, tp.partition): tp.offset for tp in partitions}
        self._paused.clear()
        self._fresh = set(self._at)

    def unassign(self) -> None:
        self.assign([])

    def incremental_assign(self, partitions: Sequence[TopicPartition]) -> None:
        for tp in partitions:
            self._at[tp.topic, tp.partition] = tp.offset
            self._fresh.add((tp.topic, tp.partition))

    def incremental_unassign(self, partitions: Sequence[TopicPartition]) -> None:
        for tp in partitions:
            del self._at[tp.topic, tp.partition]
            self._paused.discard((tp.topic, tp.partition))

    def pause(self, partitions: Sequence[TopicPartition]) -> None:
        self._paused.update((tp.topic, tp.partition) for tp in partitions)

    def resume(self, partitions: Sequence[TopicPartition]) -> None:
        self._paused.difference_update((tp.topic, tp.partition) for tp in partitions)

    def get_watermark_offsets(self, tp: TopicPartition, timeout: float = 0, *, cached: bool = False) -> tuple[int, int]:
        del timeout, cached
        return 0, self.logs[tp.topic, tp.partition].end

    # --- commits

    def committed(self, partitions: Sequence[TopicPartition], timeout: float) -> list[TopicPartition]:
        del timeout
        found = []
        for tp in partitions:
            committed = self.logs[tp.topic, tp.partition].committed
            found.append(TopicPartition(tp.topic, tp.partition, -1001 if committed is None else committed))
        return found

    def commit(self, *, offsets: list[TopicPartition], asynchronous: bool) -> list[TopicPartition] | None:
        error = None
        if not self.is_member:
            error = KafkaError(KafkaError.UNKNOWN_MEMBER_ID)
        elif self.fails_commits:
            self.fails_commits -= 1
            error = KafkaError(KafkaError.REQUEST_TIMED_OUT)
        else:
            for tp in offsets:
                self._on_committed((tp.topic, tp.partition), tp.offset)
                self.logs[tp.topic, tp.partition].committed = tp.offset
        if asynchronous:
            self.events.append(lambda: self.poller._on_commit(error, offsets))
            return None
        if error is not None:
            raise KafkaException(error)
        return offsets


class Cluster:
    """Ids and bounds of topics."""

    def __init__(self, logs: Mapping[Key, Log]) -> None:
        self._logs = logs

    async def topic_ids(self, topics: Iterable[str]) -> dict[str, str]:
        return dict.fromkeys(topics, "id")

    async def bounds(self, keys: Iterable[Key]) -> dict[Key, tuple[int, int]]:
        return {key: (0, self._logs[key].end) for key in keys}


class Hooks(TransportHooks):
    """Starts where the group committed, else at the beginning; remembers what it was told."""

    def __init__(self) -> None:
        super().__init__(start_at="earliest")
        self.starts: dict[PartitionKey, int] = {}
        self.gaps: list[Gap] = []

    async def resolve_start(self, requests: Sequence[StartRequest]) -> Mapping[PartitionKey, StartAt]:
        found = await super().resolve_start(requests)
        self.starts.update({key: start.offset for key, start in found.items()})
        return found

    def on_gap(self, gap: Gap) -> None:
        self.gaps.append(gap)


class Member:
    """One process in the group: the transport's engine on a simulated consumer, and the chunks it handed out."""

    def __init__(self, logs: Mapping[Key, Log], on_committed: Callable[[Key, int], None], **options: Any) -> None:
        self.options = TransportOptions(**options)
        self.chunks: dict[Key, Chunk] = {}
        """Handed out, not ended yet."""
        self.handed: list[tuple[Key, int, int]] = []
        """(partition, first offset, next offset) of chunks since they were last looked at."""
        self.hooks = Hooks()
        self.fatal: list[BaseException] = []
        self.engine = Engine(self.options, self.hooks, cast("Any", Cluster(logs)), Counters(), cast("Any", self))
        self.consumer = SimulatedConsumer(logs, on_committed)
        poller = Poller({}, self.options, self.engine, self.engine.dispatcher, self.engine.tell, self.engine.counters)
        from stream.transport.ownership import Ownership

        poller._consumer = cast("Any", self.consumer)
        poller.ownership = Ownership(
            cast("Any", self.consumer),
            self.options,
            self.engine,
            self.engine.dispatcher,
            self.engine.tell,
            self.engine.counters,
        )
        self.consumer.poller = self.poller = poller
        self.engine._poller = poller
        self.engine._loop = asyncio.get_running_loop()

    # --- the host of the engine

    def accepts(self, key: PartitionKey) -> bool:
        return True

    def deliver(self, chunk: Chunk) -> object:
        key = (chunk.topic, chunk.partition)
        before = self.chunks.get(key)
        same = before is not None and before._line is chunk._line
        assert before is None or not (same and before.is_open), "two chunks of a partition in flight"
        self.chunks[key] = chunk
        self.handed.append((key, chunk.first_offset, chunk.next_offset))
        return None

    def ended(self, line: Line, flight: InFlight) -> None:
        pass

    async def assignment_changed(self, full: set[PartitionKey]) -> None:
        pass

    async def partitions_left(self, keys: Sequence[PartitionKey]) -> None:
        pass

    def stop_sending(self, why: str) -> None:
        pass

    async def end_process(self, error: BaseException) -> None:
        self.fatal.append(error)

    # --- what a state machine does with it

    @property
    def ownership(self) -> Any:
        return self.poller.ownership

    def line(self, key: Key) -> Line | None:
        return self.engine.membership.ready.get(key)

    async def step(self) -> None:
        """One round of the poll thread, and all that follows from it on the loop."""
        await asyncio.get_running_loop().run_in_executor(None, self.poller._step, self.ownership)
        await settle()

    async def rebalance(self, what: Callable[..., None], keys: Iterable[Key]) -> None:
        """Have the next poll serve a rebalance callback."""
        partitions = [TopicPartition(*key) for key in keys]
        self.consumer.events.append(lambda: what(self.consumer, partitions))
        while any(True for _ in self.consumer.events):
            await self.step()

    async def gain(self, keys: Iterable[Key]) -> None:
        await self.rebalance(self.ownership.on_assign, keys)
        for _ in range(3):  # committed offsets, then the start, then its command
            await self.step()


async def settle() -> None:
    """Let everything run that is due on the loop."""
    for _ in range(12):
        await asyncio.sleep(0)
