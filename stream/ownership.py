"""Taking over and giving up partitions: where reading starts, where publishing starts, what was published already.

Reading starts at watermark + 1. Where the store lost the watermark or went back (another Redis, another state version),
the partition is rewound by at most a session's lifetime and folded without publishing up to the committed offset.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from features.velocity import WINDOWS_MS
from stream import tail
from stream.deadletter import DeadLetterLimit
from stream.metrics import Metrics
from stream.partition import OwnedPartition
from stream.state import StateStore, Watermark
from stream.transport import Gap, StartAt, StartRequest, TransportFatalError, TransportHooks

log = logging.getLogger(__name__)

PartitionKey = tuple[str, int]


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
        metrics: Metrics,
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
        self._scored_topic = scored_topic
        self._events_topic = events_topic
        self._store = store
        self._properties = consumer_properties
        self._new_limit = new_limit
        self._session_ttl_ms = session_ttl_ms
        self._metrics = metrics
        self._now_ms = now_ms
        self._assigned = assigned
        self._dropped = dropped
        self._fail = fail

    async def resolve_start(self, requests: Sequence[StartRequest]) -> Mapping[PartitionKey, StartAt]:
        """Decide by watermark; other topics start where they were committed."""
        scored = [request for request in requests if request.topic == self._scored_topic]
        starts = dict(await super().resolve_start([r for r in requests if r.topic != self._scored_topic]))
        if not scored:
            return starts
        self.resolving = True
        numbers = [request.partition for request in scored]
        watermarks = await self._store.watermarks(self._scored_topic, numbers)
        published = await asyncio.to_thread(
            tail.last_published, self._properties, self._events_topic, scored[0].topic_id, numbers
        )
        for request in scored:
            watermark = watermarks[request.partition]
            self._refuse_recreated(request, watermark)
            start, publish_from = await self._start(request, watermark)
            self.owned[request.partition] = OwnedPartition(
                topic=request.topic,
                number=request.partition,
                topic_id=request.topic_id,
                watermark=watermark,
                publish_from=publish_from,
                published_to=published.get(request.partition, -1),
                limit=self._new_limit(),
            )
            starts[request.topic, request.partition] = StartAt(start)
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
        start, publish_from = await self._start(request, found)
        owned.forget()
        owned.watermark, owned.publish_from = found, publish_from
        return start

    async def on_assigned(self, partitions: Sequence[PartitionKey]) -> None:
        """The worker takes part: it is ready, also when the group left it without partitions."""
        log.info("partitions taken over", extra={"partitions": _text(partitions)})
        self._assigned()

    async def on_revoked(self, partitions: Sequence[PartitionKey]) -> None:
        """Forget what was given up; everything of it is finished and written."""
        log.info("partitions given up", extra={"partitions": _text(partitions)})
        self._drop(partitions)

    async def on_lost(self, partitions: Sequence[PartitionKey]) -> None:
        """Forget what was taken away; its new owner goes on from the watermark."""
        log.warning("partitions lost", extra={"partitions": _text(partitions)})
        self._drop(partitions)

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
        if gap.topic == self._scored_topic and gap.reason == "truncated":
            # The log ends before what was scored already: offsets will mean other records from now on.
            msg = (
                f"{gap.topic}[{gap.partition}]: the log was cut off at offset {gap.lost_from}, and later offsets were "
                "scored; they will be given to other records. Use a new redis.key_prefix, or delete the old state, and "
                "start again"
            )
            self._fail(TransportFatalError(msg))

    async def on_fatal(self, error: TransportFatalError) -> None:
        """Say why the process ends."""
        log.critical("the worker can't go on: %s", error)

    async def _start(self, request: StartRequest, watermark: Watermark | None) -> tuple[int, int]:
        """Return the first offset to read and the first to publish."""
        committed = request.committed
        if watermark is not None:
            start = watermark.offset + 1
            return start, max(start, committed if committed is not None else 0)
        if committed is None:
            return request.low, request.low
        # Sessions live as long as their TTL, counters as long as their longest window.
        since_ms = self._now_ms() - max(self._session_ttl_ms, *WINDOWS_MS.values())
        found = await asyncio.to_thread(tail.offset_at, self._properties, request.topic, request.partition, since_ms)
        start = max(request.low, min(committed, found if found is not None else committed))
        if start < committed:
            log.warning(
                "the store has no watermark: folding again without publishing",
                extra={"partition": request.partition, "from": start, "to": committed - 1},
            )
        return start, committed

    def _refuse_recreated(self, request: StartRequest, watermark: Watermark | None) -> None:
        if watermark is not None and watermark.topic_id != request.topic_id:
            msg = (
                f"{request.topic}[{request.partition}]: the topic was deleted and made anew (its id is "
                f"{request.topic_id}, the state is of {watermark.topic_id}); offsets mean other records now. Use a new "
                "redis.key_prefix, or delete the old state, and start again"
            )
            raise TransportFatalError(msg)

    def _drop(self, partitions: Sequence[PartitionKey]) -> None:
        self._dropped(partitions)
        for topic, number in partitions:
            if topic == self._scored_topic:
                self.owned.pop(number, None)


def _text(partitions: Sequence[PartitionKey]) -> str:
    return " ".join(f"{topic}[{number}]" for topic, number in sorted(partitions))
