"""Taking over and giving up partitions: where reading starts, where publishing starts, what was published already.

Reading starts at watermark + 1. Where the store lost the watermark or went back (another Redis, another state version),
the partition is rewound by at most a session's lifetime and folded without publishing up to the committed offset.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from features.velocity import WINDOWS_MS
from stream import tail
from stream.crash_guard import CrashGuard
from stream.deadletter import DeadLetterLimit
from stream.metrics import Metrics
from stream.partition import OwnedPartition
from stream.records import place
from stream.state import StateStore, Watermark
from stream.transport import Gap, StartAt, StartRequest, TransportFatalError, TransportHooks
from stream.waits import Wait

log = logging.getLogger(__name__)

PartitionKey = tuple[str, int]


class _Begin(NamedTuple):
    """Where a partition begins: first offset to read, first to publish, last one of a hole in the log (-1: none)."""

    start: int
    publish_from: int
    hole_to: int = -1


class Ownership(TransportHooks):
    """The transport's hooks of a worker: keeps one OwnedPartition for each partition of the scored topic."""

    def __init__(
        self,
        *,
        scored_topic: str,
        events_topic: str,
        store: StateStore,
        consumer_properties: dict[str, Any],
        new_limit: Callable[[], DeadLetterLimit],
        session_ttl_ms: int,
        rewind_ms: int | None = None,
        metrics: Metrics,
        crashes: CrashGuard,
        now_ms: Callable[[], int],
        assigned: Callable[[], None],
        dropped: Callable[[Sequence[PartitionKey]], None] = lambda _: None,
        fail: Callable[[TransportFatalError], None] = lambda _: None,
    ) -> None:
        super().__init__(start_at="earliest")
        self.owned: dict[int, OwnedPartition] = {}
        """Owned partitions of the scored topic, by number."""
        self.resolving = False
        """Partitions were assigned and can't start yet: the store or the broker does not answer."""
        self.wait = Wait()
        """What the start of newly assigned partitions waits for."""
        self._scored_topic = scored_topic
        self._events_topic = events_topic
        self._store = store
        self._properties = consumer_properties
        self._new_limit = new_limit
        # Sessions live as long as their TTL, counters as long as their longest window.
        self._lifetime_ms = max(session_ttl_ms, *WINDOWS_MS.values())
        self._rewind_ms = self._lifetime_ms if rewind_ms is None else rewind_ms
        self._metrics = metrics
        self._crashes = crashes
        self._now_ms = now_ms
        self._assigned = assigned
        self._dropped = dropped
        self._fail = fail

    async def resolve_start(self, requests: Sequence[StartRequest]) -> Mapping[PartitionKey, StartAt]:
        """Decide by watermark; other topics start where they were committed. See what the owners before noted."""
        starts = await self._starts(requests)
        self.resolving = True
        self.wait.begin("store")
        await self._crashes.look(requests, starts)
        self.wait.end("store")
        self.resolving = False
        return starts

    async def _starts(self, requests: Sequence[StartRequest]) -> dict[PartitionKey, StartAt]:
        scored = [request for request in requests if request.topic == self._scored_topic]
        starts = dict(await super().resolve_start([r for r in requests if r.topic != self._scored_topic]))
        if not scored:
            return starts
        self.resolving = True
        numbers = [request.partition for request in scored]
        self.wait.begin("store")
        watermarks = await self._store.watermarks(self._scored_topic, numbers)
        self.wait.end("store")
        self.wait.begin("broker")
        published = await asyncio.to_thread(
            tail.last_published, self._properties, self._events_topic, scored[0].topic_id, numbers
        )
        for request in scored:
            watermark = watermarks[request.partition]
            self._refuse_recreated(request, watermark)
            begin = await self._start(request, watermark)
            self.owned[request.partition] = OwnedPartition(
                topic=request.topic,
                number=request.partition,
                topic_id=request.topic_id,
                watermark=watermark,
                publish_from=begin.publish_from,
                published_to=published.get(request.partition, -1),
                limit=self._new_limit(),
                hole_to=begin.hole_to,
            )
            starts[request.topic, request.partition] = StartAt(begin.start)
        self.wait.end("broker")
        self.resolving = False
        return starts

    async def resume(self, owned: OwnedPartition, found: Watermark | None, finished: int | None) -> int:
        """The store holds another watermark: adopt it; return the offset to go on from.

        `finished` is the offset below which everything was published in this assignment or before. Nothing changes
        unless the answer is known: raises BrokerError, and TransportFatalError where the topic was made anew.
        """
        low = await asyncio.to_thread(tail.first_offset, self._properties, owned.topic, owned.number)
        request = StartRequest(owned.topic, owned.topic_id, owned.number, finished, low, low)
        self._refuse_recreated(request, found)
        begin = await self._start(request, found)
        owned.forget()
        owned.watermark, owned.publish_from = found, begin.publish_from
        if begin.hole_to >= 0:
            owned.hole_to, owned.hole_ms = begin.hole_to, 0
        return begin.start

    async def on_assigned(self, partitions: Sequence[PartitionKey]) -> None:
        """The worker takes part: it is ready, also when the group left it without partitions."""
        await self._crashes.begin(partitions)
        log.info("partitions taken over", extra={"partitions": _text(partitions)})
        self._assigned()

    async def on_revoked(self, partitions: Sequence[PartitionKey]) -> None:
        """Forget what was given up; everything of it is finished and written."""
        log.info("partitions given up", extra={"partitions": _text(partitions)})
        self._drop(partitions)
        await self._crashes.left(partitions)

    async def on_lost(self, partitions: Sequence[PartitionKey]) -> None:
        """Forget what was taken away; its new owner goes on from the watermark."""
        log.warning("partitions lost", extra={"partitions": _text(partitions)})
        self._drop(partitions)
        self._crashes.lost(partitions)

    def on_gap(self, gap: Gap) -> None:
        """Count and tell offsets that can't be read any more: never silently."""
        self._metrics.gap_records.labels(gap.reason).inc(gap.records)
        log.error(
            "input offsets are lost",
            extra={
                "topic": gap.topic,
                "partition": gap.partition,
                "lost_from": gap.lost_from,
                "lost_to": gap.lost_to,
                "reason": gap.reason,
            },
        )
        owned = self.owned.get(gap.partition) if gap.topic == self._scored_topic else None
        if owned is not None:
            owned.tear(gap.lost_to)
        if gap.topic == self._scored_topic and gap.reason == "truncated":
            # The log ends before what was scored already: offsets will mean other records from now on.
            msg = (
                f"{place(gap.topic, gap.partition)}: the log was cut off at offset {gap.lost_from}, and later offsets "
                "were scored; they will be given to other records. Use a new redis.key_prefix, or delete the old "
                "state, and start again"
            )
            self._fail(TransportFatalError(msg))

    async def on_fatal(self, error: TransportFatalError) -> None:
        """Say why the process ends."""
        log.critical("the worker can't go on: %s", error)

    async def _start(self, request: StartRequest, watermark: Watermark | None) -> _Begin:
        """Decide where to begin."""
        committed = request.committed
        if watermark is None:
            if committed is None:
                return _Begin(request.low, request.low)
            since = await self._since(request, self._rewind_ms)
            start = max(request.low, min(committed, committed if since is None else since))
            if start < committed:
                self._rewound(request, "lost", start, committed)
            return _Begin(start, committed)
        start = watermark.offset + 1
        if committed is None or start >= committed:
            return _Begin(start, start)
        # The store went back. What is older than every session and counter needs no folding, and what the log has no
        # more can't be folded: sessions that had events there are torn.
        since = await self._since(request, self._lifetime_ms)
        first = max(request.low, 0 if since is None else since)
        start = max(start, min(committed, first))
        self._rewound(request, "rolled_back", start, committed)
        return _Begin(start, committed, start - 1 if start > watermark.offset + 1 else -1)

    async def _since(self, request: StartRequest, age_ms: int) -> int | None:
        """Return the first offset that was appended less than `age_ms` ago; None when there is none."""
        since_ms = self._now_ms() - age_ms
        return await asyncio.to_thread(tail.offset_at, self._properties, request.topic, request.partition, since_ms)

    def _rewound(
        self, request: StartRequest, found: Literal["lost", "rolled_back"], start: int, committed: int
    ) -> None:
        """Tell of offsets that were published and committed, and whose state the store lost."""
        self._metrics.rewound.labels(found).inc(committed - start)
        log.warning(
            "the store %s: folding again without publishing",
            "has no watermark" if found == "lost" else "went back",
            extra={"partition": request.partition, "from": start, "to": committed - 1},
        )

    def _refuse_recreated(self, request: StartRequest, watermark: Watermark | None) -> None:
        if watermark is not None and watermark.topic_id != request.topic_id:
            msg = (
                f"{place(request.topic, request.partition)}: the topic was deleted and made anew (its id is "
                f"{request.topic_id}, the state is of {watermark.topic_id}); offsets mean other records now. Use a new "
                "redis.key_prefix, or delete the old state, and start again"
            )
            raise TransportFatalError(msg)

    def _drop(self, partitions: Sequence[PartitionKey]) -> None:
        self._dropped(partitions)
        for topic, number in partitions:
            if topic == self._scored_topic:
                dropped = self.owned.pop(number, None)
                if dropped is not None:
                    self._metrics.links_dropped.inc(len(dropped.links_left))


def _text(partitions: Sequence[PartitionKey]) -> str:
    return " ".join(place(*key) for key in sorted(partitions))
