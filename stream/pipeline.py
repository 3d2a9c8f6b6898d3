"""The way of one chunk: decode, read, features, models, decide, publish, write, done. The hot path, in this order.

Publish before state before commit: a crash anywhere leaves the input to be read again from the watermark, and what is
published again carries the same ids. Nothing here raises for data: what can't be processed becomes a dead letter.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence

from confluent_kafka import Message

from features.session import StateMismatch, encode_all
from features.session import decode as decode_state
from schemas.deadletter import OF_ONE_SESSION, DeadLetterReason
from schemas.envelope import Rejected
from stream.batch import Batch, ErasureItem
from stream.counters import AnsweredReads, ChunkCounters, CounterPlan, by_bucket
from stream.crash_isolation import NotCurrent, OneByOne
from stream.deadletter import dead_letter
from stream.evaluation import Evaluator
from stream.intake import Intake
from stream.logs import frames
from stream.metrics import Metrics
from stream.movements import MovementLookup, asked_meanwhile
from stream.outgoing import outgoing
from stream.partition import OwnedPartition
from stream.patience import Patience
from stream.records import append_ms_of, offset_of
from stream.refs import RefHasher
from stream.score_metrics import count_events
from stream.stage_clock import MeasuredChunks, StageClock
from stream.state import CounterRead, Counters, StateStore, StoreError, Watermark, WatermarkConflict
from stream.state.packing import forget_members
from stream.transport import Chunk, OutRecord, TransportError
from stream.turns import Turns

log = logging.getLogger(__name__)


class LineStopped(Exception):  # noqa: N818 - the state that the caller handles
    """A partition was stopped on purpose; a person must look. The message says why."""


class Unwritten(Exception):  # noqa: N818 - says what is to be done: read it again
    """Something unforeseen failed while a batch was published or written: what of it is out is not known.

    Never the records' fault: a dead letter might be a second outcome.
    """


class Pipeline:
    """Processes chunks of owned partitions. One instance a worker; chunks of different partitions run concurrently."""

    def __init__(
        self,
        *,
        evaluator: Evaluator,
        store: StateStore,
        publish: Callable[[Sequence[OutRecord]], Awaitable[None]],
        refs: RefHasher,
        metrics: Metrics,
        session_ttl_ms: int,
        counters_refresh_ms: int,
        cached_sessions: Callable[[], int],
        movements: MovementLookup | None = None,
    ) -> None:
        self._evaluator = evaluator
        self._store = store
        self._publish = publish
        self._intake = Intake(refs, metrics)
        self._metrics = metrics
        self._patience = Patience(metrics)
        self._turns = Turns()
        self._measured = MeasuredChunks()
        self._session_ttl_ms = session_ttl_ms
        self._counters_refresh_ms = counters_refresh_ms
        self._cached_sessions = cached_sessions
        self._movements = movements

    async def process(self, owned: OwnedPartition, chunk: Chunk, isolation: OneByOne | None = None) -> None:
        """Process one chunk to its end: done, or abandoned and read again. With `isolation`, record by record.

        Raises LineStopped when the partition must stand still, and WatermarkConflict, with the chunk still open, when
        the store holds another watermark: the caller rewinds and then abandons it.
        """
        clock = StageClock(self._metrics, is_measured=self._measured.measures(len(chunk.records)))
        try:
            _check_limit(owned)
            owned.see(chunk.first_offset, append_ms_of(chunk.records[0]))
            if isolation is None:
                await self._process_all(owned, chunk, chunk.records, clock)
            else:
                await isolation.process(
                    chunk,
                    lambda records: self._process_all(owned, chunk, records, clock),
                    lambda record, why: self._condemn(owned, chunk, record, why, clock),
                )
        except NotCurrent:
            owned.forget()
            self._metrics.abandoned.labels("not_current").inc()
            chunk.abandon("not current")
            return
        except WatermarkConflict as conflict:
            # Not abandoned here: the caller rewinds first, or the next chunk would go on from nothing.
            owned.forget()
            self._metrics.state_conflicts.labels(conflict.kind).inc()
            raise
        except BaseException:
            owned.forget()
            chunk.abandon("error")
            raise
        owned.sessions.trim(self._cached_sessions())
        chunk.done(clock.loop_s)
        metrics = self._metrics
        metrics.chunks.add(1)
        metrics.chunk_records.observe(len(chunk.records))
        metrics.received_to_acked_seconds.observe(time.perf_counter() - clock.began)
        metrics.append_to_acked_seconds.observe(max(0.0, time.time() - append_ms_of(chunk.records[0]) / 1000.0))
        metrics.last_progress.set_to_current_time()

    async def _process_all(
        self, owned: OwnedPartition, chunk: Chunk, records: list[Message], clock: StageClock
    ) -> None:
        for part in by_bucket(records):
            await self._process_records(owned, chunk, part, clock)

    async def _process_records(
        self, owned: OwnedPartition, chunk: Chunk, records: list[Message], clock: StageClock
    ) -> None:
        """Process records together; if that fails on their data, one by one, so that one bad record stands alone."""
        try:
            await self._run(owned, chunk, records, clock)
        except (NotCurrent, LineStopped, asyncio.CancelledError):
            raise
        except (StoreError, TransportError, Unwritten, MemoryError):
            # Not the data's fault: nothing of it may become a dead letter.
            self._metrics.stage_errors.add(1, clock.stage)
            raise
        except Exception as error:  # noqa: BLE001 - whatever a record does to the code, it ends as a dead letter
            self._metrics.stage_errors.add(1, clock.stage)
            owned.forget()
            # Frames and type only: an exception's text may hold an identifier.
            told = {"partition": owned.number, "error_type": type(error).__name__, "frames": frames(error)}
            if len(records) > 1:
                log.error("a chunk failed; its records go one by one", extra=told)
                for record in records:
                    await self._process_records(owned, chunk, [record], clock)
                return
            log.error("a record failed; it becomes a dead letter", extra=told)
            detail = f"{type(error).__name__} while processing; see the worker's log"
            why = Rejected(DeadLetterReason.PROCESSING_ERROR, "$", detail)
            await self._reject(owned, chunk, records[0], why, clock)

    async def _condemn(
        self, owned: OwnedPartition, chunk: Chunk, record: Message, why: Rejected, clock: StageClock
    ) -> None:
        """Make a dead letter of a record that ends the process; unless its risk event is there: it was not that.

        One that is only folded again has had its outcome long ago: it is left out, or no rewind would ever get past it.
        """
        if owned.publish_from <= offset_of(record) <= owned.answered_to:
            await self._process_records(owned, chunk, [record], clock)
        else:
            await self._reject(owned, chunk, record, why, clock)

    async def _reject(
        self, owned: OwnedPartition, chunk: Chunk, record: Message, why: Rejected, clock: StageClock
    ) -> None:
        """Make a dead letter of one record without looking into it."""
        batch = self._intake.condemned(owned, record, why)
        await self._finish(owned, chunk, batch, ChunkCounters([], [], 0), offset_of(record), clock)

    async def _run(self, owned: OwnedPartition, chunk: Chunk, records: list[Message], clock: StageClock) -> None:
        if not self._turns.begin():
            await self._turns.take()
        clock.start()
        batch = self._intake.batch(owned, records)
        clock.decode_ms = clock.lap("decode") * 1000.0
        clock.pause()
        counters = await self._read(owned, chunk, batch)
        if not self._turns.begin():
            await self._turns.take()
        clock.read_ms = clock.lap("read") * 1000.0
        clock.resume()
        for _ in self._evaluator.evaluate(owned, batch.items, counters, clock.lap, batch):
            if batch.must_ask and self._movements is not None:
                clock.pause()
                await self._movements.ask_all(owned, batch)
                clock.go_on()
            await self._let_others(clock)
        await self._finish(owned, chunk, batch, counters, offset_of(records[-1]), clock)

    async def _let_others(self, clock: StageClock) -> None:
        """Wait for the next turn where this round of the loop has none left: a chunk works longer than the loop may."""
        if not self._turns.begin():
            clock.pause()
            await self._turns.take()
            clock.go_on()

    async def _read(self, owned: OwnedPartition, chunk: Chunk, batch: Batch) -> ChunkCounters:
        """Stage 2: session states that are not cached, and counters that are due, in one round trip.

        A stored session may know references that its events don't repeat: their counters take a second round trip,
        which happens after a start or an eviction only.
        """
        sessions = owned.sessions
        wanted = {item.event.session_id: None for item in batch.items}
        missing = [session_id for session_id in wanted if session_id not in sessions]
        if len(wanted) > len(missing):
            self._metrics.sessions.add(len(wanted) - len(missing), "cache")
        reads = self._plan(owned, batch)
        answers: Sequence[Counters | None] = ()
        if missing or reads:
            loaded = await self._patience.call(
                owned, chunk, lambda: self._store.load(owned.topic, owned.number, missing, reads)
            )
            _same_watermark(owned, loaded.watermark)
            answers = loaded.counters
            found = [self._admit_stored(owned, session_id, loaded.blobs.get(session_id)) for session_id in missing]
            if any(found):
                answered = AnsweredReads()
                answered.take(reads, answers)
                reads = self._plan(owned, batch)
                more = answered.unanswered(reads)
                if more:
                    rest = await self._patience.call(
                        owned, chunk, lambda: self._store.load(owned.topic, owned.number, [], more)
                    )
                    _same_watermark(owned, rest.watermark)
                    answered.take(more, rest.counters)
                answers = [answered.of(read) for read in reads]
        if self._movements is not None:
            waiting = self._movements.unanswered(owned, wanted)
            if waiting:
                await self._movements.ask(owned, waiting)
        return ChunkCounters(reads, answers, self._counters_refresh_ms)

    def _plan(self, owned: OwnedPartition, batch: Batch) -> list[CounterRead]:
        plan = CounterPlan(self._counters_refresh_ms)
        for item in batch.items:
            meta = owned.sessions.peek(item.event.session_id)
            if isinstance(item, ErasureItem):
                plan.erase(item.event.session_id, meta)
            else:
                plan.add(item.event, item.ingested_ms, meta)
        return plan.reads()

    def _admit_stored(self, owned: OwnedPartition, session_id: str, blob: bytes | None) -> bool:
        """Take a session into the cache, new where nothing fit to be read is stored; return whether something was."""
        meta, row = None, None
        source = "new"
        if blob is not None:
            try:
                meta, row = decode_state(session_id, blob)
                source = "store"
            except StateMismatch as mismatch:
                log.error("stored session state was refused: %s", mismatch, extra={"partition": owned.number})
                self._metrics.state_mismatches.inc()
        owned.sessions.put(session_id, meta, row)
        self._metrics.sessions.add(1, source)
        return meta is not None

    async def _finish(
        self,
        owned: OwnedPartition,
        chunk: Chunk,
        batch: Batch,
        counters: ChunkCounters,
        last_offset: int,
        clock: StageClock,
    ) -> None:
        """Stages 6 and 7: publish and await; then write links, states and watermark; then count."""
        clock.stage = "publish"
        out = self._outgoing(owned, batch, clock)
        # Encoded before anything is published: a state that can't be must not follow events that were.
        cached = owned.sessions
        touched = zip(batch.touched, map(cached.at, batch.touched), strict=True)
        states = encode_all([(session_id, meta, slot) for session_id, (slot, meta) in touched], cached.rows)
        blobs: dict[str, bytes | None] = dict(zip(batch.touched, states, strict=True))
        gone = [session_id for session_id in batch.erased if session_id not in blobs]
        blobs.update(dict.fromkeys(gone))
        await self._let_others(clock)
        clock.pause()
        try:
            if out:
                await self._publish_all(owned, chunk, out, last_offset)
            clock.lap("publish")
            async with asked_meanwhile(self._movements, owned, batch):
                if not owned.is_done(last_offset):
                    await self._write(owned, chunk, blobs, counters, last_offset)
        except (NotCurrent, StoreError, TransportError):
            raise
        except Exception as error:
            raise Unwritten(type(error).__name__) from error
        for session_id in gone:
            owned.sessions.drop(session_id)
            owned.near.pop(session_id, None)
        if batch.erased:
            forget_members()
        clock.lap("write")
        self._count(owned, batch)

    async def _publish_all(self, owned: OwnedPartition, chunk: Chunk, out: list[OutRecord], last_offset: int) -> None:
        if not chunk.is_current():
            raise NotCurrent
        # Before the wait: if it fails half way, what is done again may have been published.
        owned.published_to = max(owned.published_to, last_offset)
        owned.wait.begin("broker")
        await self._publish(out)
        owned.wait.end("broker")

    async def _write(
        self,
        owned: OwnedPartition,
        chunk: Chunk,
        blobs: dict[str, bytes | None],
        counters: ChunkCounters,
        last_offset: int,
    ) -> None:
        new = Watermark(owned.topic_id, last_offset)
        expected = owned.watermark
        turn = self._store.links_turn
        again = owned.left_links(turn) if owned.links_left else []
        links = [*again, *counters.links] if again else counters.links
        left = await self._patience.call(
            owned,
            chunk,
            lambda: self._store.commit(owned.topic, owned.number, expected, new, blobs, links, self._session_ttl_ms),
        )
        if left or owned.links_left:
            self._metrics.links_dropped.inc(owned.keep_left(left, turn))
        owned.watermark = new

    def _outgoing(self, owned: OwnedPartition, batch: Batch, clock: StageClock) -> list[OutRecord]:
        total_ms = (time.perf_counter() - clock.began) * 1000.0
        out = outgoing(batch.evaluated, owned.number, clock.decode_ms, clock.read_ms, total_ms)
        for refused in batch.rejected:
            record = refused.record
            if offset_of(record) >= owned.publish_from:
                out.append(
                    dead_letter(
                        topic=owned.topic,
                        topic_id=owned.topic_id,
                        source_partition=owned.number,
                        partition=owned.number,
                        offset=offset_of(record),
                        append_time_ms=append_ms_of(record),
                        key=record.key(),
                        value=record.value(),
                        headers=refused.headers,
                        rejected=refused.why,
                        origin=refused.origin,
                    )
                )
        return out

    def _count(self, owned: OwnedPartition, batch: Batch) -> None:
        """Count what is durable; what is done again is not counted twice."""
        metrics = self._metrics
        owned.limit.observe_good(len(batch.evaluated) + batch.folded_only + batch.filtered + batch.erasures)
        metrics.folded_only.add(batch.folded_only)
        for name, number in (("duplicate", batch.filtered), ("erasure", batch.erasures)):
            if number:
                metrics.filtered.labels(name).inc(number)
        for refused in batch.rejected:
            reason = refused.why.reason
            # A single session's client must not be able to stop the line for everybody in the partition.
            owned.limit.observe(bad=reason not in OF_ONE_SESSION)
            if offset_of(refused.record) < owned.publish_from:
                continue
            metrics.dead_letters.labels(reason.value).inc()
        count_events(metrics, batch.evaluated)


def _check_limit(owned: OwnedPartition) -> None:
    """Stop the line rather than dead-letter all of its traffic."""
    if owned.limit.exceeded:
        msg = (
            f"{owned.topic}[{owned.number}]: too many of its latest records became dead letters "
            "(pipeline.deadletter_limit_ratio); look at risk.deadletter: does a producer send a wrong format?"
        )
        raise LineStopped(msg)


def _same_watermark(owned: OwnedPartition, found: Watermark | None) -> None:
    """Raise before anything is published from state that is lost, rolled back or another owner's."""
    if found != owned.watermark:
        raise WatermarkConflict(owned.topic, owned.number, owned.watermark, found)
