"""State machine over the pipeline and its session state: crashes at every stage, rebalances, a store that loses.

Everything of the worker takes part but Kafka and the Faust shell: `Ownership` decides where reading and publishing
begin, `Pipeline` processes, `MemoryStore` keeps. The naive twin is the oracle: one record at a time, in offset order,
every session through its bytes each time.
"""

from __future__ import annotations

import asyncio
import copy
import functools
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any, cast

import msgspec
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from features.velocity import Link
from schemas.risk import RiskEvent
from schemas.telemetry import Telemetry
from stream import tail
from stream.crash_guard import CrashGuard
from stream.deadletter import DeadLetterLimit
from stream.ownership import Ownership
from stream.partition import OwnedPartition
from stream.pipeline import Pipeline
from stream.state import MemoryStore, StoreUnavailable, WatermarkConflict
from stream.transport import OutRecord, StartRequest
from tests.property.pipeline_parts import MOST_RECORDS, compared, events, pool, without_pauses
from tests.property.profile import machine, quiet
from tests.support.oracle import Oracle
from tests.support.pipeline_world import (
    REFS,
    START_MS,
    TOPIC,
    TOPIC_ID,
    FakeChunk,
    FakeRecord,
    World,
    engine,
    records_of,
)


class Crash(BaseException):
    """The process is no more."""


class Session(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.quiet = ExitStack()
        self.quiet.enter_context(quiet())
        self.world = World()
        self.input: list[FakeRecord] = []
        self.new: list[Telemetry] = []
        self.committed: int | None = None
        self.committable: int | None = None
        self.backup: MemoryStore | None = None
        self.owned: OwnedPartition | None = None
        self.position = 0
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(tail, "last_published", lambda *_: self._last_published())
        self.patch.setattr(tail, "offset_at", lambda *_: 0 if self.input else None)
        self.patch.setattr(tail, "first_offset", lambda *_: 0)
        self.ownership: Ownership | None = None
        self.pipeline: Pipeline | None = None
        self.sessions = 1_000
        self.floor = 0
        """Committed, or finished in this assignment, when reading last began: nothing below is published again."""

    # --- the world around the worker

    def _last_published(self) -> dict[int, int]:
        values = [record.value for record in self.world.log if record.topic == "risk.events"]
        reach = tail.Reach(TOPIC_ID)
        for value in values:
            reach.add(value)
        return {} if reach.offset is None else {0: reach.offset}

    @initialize(seed=st.integers(0, 7), sessions=st.sampled_from([0, 2, 1_000]))
    def begin(self, seed: int, sessions: int) -> None:
        self.new = list(reversed(pool(seed)))
        self.sessions = sessions
        self._take_over()

    def _take_over(self) -> None:
        """A process with nothing of an earlier one's memory is assigned the partition."""
        world = self.world
        self.ownership = Ownership(
            scored_topic=TOPIC,
            events_topic="risk.events",
            store=world.store,
            consumer_properties={},
            new_limit=lambda: DeadLetterLimit(1.0, 1_000),
            session_ttl_ms=86_400_000,
            metrics=world.metrics,
            crashes=CrashGuard(world.store, world.metrics),
            now_ms=lambda: START_MS,
            assigned=lambda: None,
        )
        request = StartRequest(TOPIC, TOPIC_ID, 0, self.committed, 0, len(self.input))
        start = asyncio.run(self._started(request))
        self.owned = self.ownership.owned[0]
        self.pipeline = world.pipeline(self._publish, sessions=self.sessions)
        assert start <= len(self.input)
        self.position = start
        self.committable = self.committed
        self.floor = self.committed or 0

    async def _started(self, request: StartRequest) -> int:
        assert self.ownership is not None
        starts = await self.ownership.resolve_start([request])
        await self.ownership.on_assigned([(TOPIC, 0)])
        return starts[TOPIC, 0].offset

    # --- faults of one chunk; each is set by `process` for the chunk at hand

    publishes: Any = None
    """How many records of the batch are written, and what is raised then; None: all is well."""
    writes: Any = None
    """Whether the state is written, and what is raised then; None: all is well."""

    async def _publish(self, records: Sequence[OutRecord]) -> None:
        for event in events(records):
            assert event.source.offset >= self.floor, "an old decision is published again"
        if self.publishes is None:
            await self.world.publish(records)
            return
        share, error = self.publishes
        await self.world.publish(records[: int(share * len(records))])
        raise error

    async def _commit_state(self, store: MemoryStore, *args: Any) -> Sequence[Link]:
        if self.writes is None:
            return await MemoryStore.commit(store, *args)
        arrives, error = self.writes
        if arrives:
            await MemoryStore.commit(store, *args)
        if isinstance(error, StoreUnavailable):
            self.writes = None  # the answer was lost; the worker asks again
        raise error

    # --- rules

    @precondition(lambda self: len(self.input) < MOST_RECORDS)
    @rule(count=st.integers(1, 40))
    def arrive(self, count: int) -> None:
        room = min(count, MOST_RECORDS - len(self.input), len(self.new))
        self._append(records_of([self.new.pop() for _ in range(room)]))

    @precondition(lambda self: 0 < len(self.input) < MOST_RECORDS)
    @rule(back=st.integers(1, 60), count=st.integers(1, 5))
    def producer_repeats(self, back: int, count: int) -> None:
        first = max(0, len(self.input) - back)
        self._append(self.input[first : first + min(count, MOST_RECORDS - len(self.input))])

    @precondition(lambda self: 0 < len(self.input) < MOST_RECORDS)
    @rule(kind=st.sampled_from(["rubbish", "tenant", "tombstone"]))
    def bad_record(self, kind: str) -> None:
        like = self.input[-1]
        content: bytes | None = b'{"type": '
        if kind == "tenant" and like.content and like.content.startswith(b'{"type":"capture.telemetry'):
            event = msgspec.json.decode(like.content)
            content = msgspec.json.encode({**event, "tenant": "another", "sequence": event.get("sequence", 0) + 1})
        elif kind == "tombstone":
            content = None
        self._append([FakeRecord(0, content, like.name, 0)])

    def _append(self, records: Sequence[FakeRecord]) -> None:
        for record in records:
            at = len(self.input)
            self.input.append(FakeRecord(at, record.content, record.name, START_MS + 130 * at))

    @precondition(lambda self: self.position < len(self.input))
    @rule(size=st.integers(1, 50), commits=st.booleans())
    def process(self, size: int, commits: bool) -> None:
        assert self._run(size) in {"done", "conflict"}
        if commits:
            self.commit()

    @precondition(lambda self: self.position < len(self.input))
    @rule(
        size=st.integers(1, 50),
        stage=st.sampled_from(["before publish", "in publish", "after publish", "write lost", "after write"]),
        share=st.floats(0.0, 1.0),
        crash=st.booleans(),
    )
    def fail(self, size: int, stage: str, share: float, crash: bool) -> None:
        """Die at a stage, or live and be told an error there: the chunk is read again, by another or the same."""
        error: BaseException = Crash() if crash else asyncio.CancelledError()
        if stage == "before publish":
            self.publishes = (0.0, error)
        elif stage == "in publish":
            self.publishes = (share, error)
        elif stage == "after publish":
            self.publishes = (1.0, error)
        elif stage == "write lost":
            self.writes = (False, error)
        else:
            self.writes = (True, error)
        ended = self._run(size)
        self.publishes = self.writes = None
        if ended == "failed" and crash:
            self._take_over()

    @precondition(lambda self: self.position < len(self.input))
    @rule(size=st.integers(1, 50), arrived=st.booleans())
    def lose_the_answer(self, size: int, arrived: bool) -> None:
        """The store did not answer, and the write may have arrived or not: the worker asks again."""
        self.writes = (arrived, StoreUnavailable("no answer"))
        assert self._run(size) in {"done", "conflict"}
        self.writes = None

    @precondition(lambda self: self.input)
    @rule()
    def commit(self) -> None:
        self.committed = self.committable

    @precondition(lambda self: self.input)
    @rule()
    def rebalance(self) -> None:
        """Given up in order, and taken over by a process that knows nothing."""
        self.commit()
        self._take_over()

    @precondition(lambda self: self.input)
    @rule()
    def crash(self) -> None:
        self._take_over()

    @precondition(lambda self: self.input)
    @rule()
    def back_up(self) -> None:
        self.backup = copy.deepcopy(self.world.store)

    @precondition(lambda self: self.input)
    @rule(rolled_back=st.booleans(), restart=st.booleans())
    def lose_the_store(self, rolled_back: bool, restart: bool) -> None:
        """Empty, or back at an earlier time; the owner has to notice by itself, or starts on it."""
        restored = copy.deepcopy(self.backup) if rolled_back and self.backup is not None else MemoryStore()
        store = self.world.store
        store.__dict__.update(restored.__dict__)
        if restart:
            self._take_over()

    def _run(self, size: int) -> str:
        """Do what the worker does with one chunk; return how it ended."""
        assert self.owned is not None
        assert self.ownership is not None
        assert self.pipeline is not None
        owned, store = self.owned, self.world.store
        chunk = FakeChunk(list(self.input[self.position : self.position + size]), finished=self.committable)

        store.__dict__["commit"] = functools.partial(self._commit_state, store)

        ended = asyncio.run(without_pauses(self._process(owned, chunk)))
        del store.__dict__["commit"]
        if ended == "done":
            assert chunk.ended == ["done"]
            self.position += len(chunk.records)
            self.committable = max(self.position, self.committable or 0)
        return ended

    async def _process(self, owned: OwnedPartition, chunk: FakeChunk) -> str:
        assert self.ownership is not None
        assert self.pipeline is not None
        try:
            await self.pipeline.process(owned, cast("Any", chunk))
        except WatermarkConflict as conflict:
            self.position = await self.ownership.resume(owned, conflict.found, chunk.finished)
            self.floor = chunk.finished or 0
            return "conflict"
        except (Crash, asyncio.CancelledError):
            return "failed"
        return "done"

    # --- what must hold

    @invariant()
    def committed_is_answered(self) -> None:
        if not self.committed:
            return
        answered = {event.source.offset for event in self.world.events()} | self._dead()
        for offset in range(self.committed):
            assert offset in answered or self._is_repeat(offset), f"{offset} is committed and has no outcome"

    def _dead(self) -> set[int]:
        letters = [record for record in self.world.log if record.topic == "risk.deadletter"]
        return {int(dict(letter.headers or [])["dlq_offset"] or b"-1") for letter in letters}

    def _is_repeat(self, offset: int) -> bool:
        content = self.input[offset].content
        return any(earlier.content == content for earlier in self.input[:offset])

    def teardown(self) -> None:
        try:
            if self.owned is not None:
                self._finish()
        finally:
            self.patch.undo()
            self.quiet.close()

    def _finish(self) -> None:
        for _ in range(len(self.input) + 5):
            if self.position >= len(self.input) and self._is_whole():
                break
            if self.position >= len(self.input):
                self._take_over()
                continue
            self._run(64)
        else:
            pytest.fail("it never came to the end")
        first: dict[int, RiskEvent] = {}
        for event in self.world.events():
            assert event.replayed or event.source.offset not in first, "a repeat that does not say so"
            first.setdefault(event.source.offset, event)
        dead = self._dead()
        assert not dead & set(first), "a record with two outcomes"
        oracle = Oracle(engine(), REFS)
        for record in self.input:
            offset = record.position
            if offset in dead:
                continue
            content = record.content or b""
            if offset not in first:
                again = oracle.evaluate(content, record.append_ms, {}, [])
                assert again is None, f"{offset}: lost"
                continue
            event = first[offset]
            again = oracle.evaluate(content, record.append_ms, event.velocity, event.degraded)
            assert again is not None, f"{offset}: published, though it is a repeat"
            assert not event.state_cold, f"{offset}: the whole session is in the log"
            assert again.scores == event.scores, f"{offset}: another score"
            assert (again.decision, again.reasons) == (event.decision, event.reasons), f"{offset}"
        found = asyncio.run(self.world.store.load(TOPIC, 0, list(oracle.sessions), []))
        for session_id, state in oracle.sessions.items():
            assert compared(session_id, found.blobs[session_id]) == compared(session_id, state), (
                f"{session_id}: another state"
            )

    def _is_whole(self) -> bool:
        """Whether the store has not lost anything since the last chunk was written."""
        watermark = asyncio.run(self.world.store.watermarks(TOPIC, [0]))[0]
        return not self.input or (watermark is not None and watermark.offset == len(self.input) - 1)


TestSession = Session.TestCase
TestSession.settings = machine(share=0.5, steps=25)
