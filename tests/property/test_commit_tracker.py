"""State machine over the transport: arrival, chunks, done, abandon, rewind, revoke, loss, stall, crash, in any order.

The naive twin keeps, by partition, the set of finished offsets and the offset that has to come next. It says: committed
never passes what is unfinished; within one epoch nothing is skipped and nothing comes out of order; only a current
chunk counts; and in the end everything is finished and committed.
"""

from __future__ import annotations

import asyncio
import gc
from contextlib import ExitStack
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.property.partition_twin import Twin
from tests.property.profile import machine, quiet
from tests.property.simulated_kafka import TOPIC, Key, Log, Member, settle

KEYS: tuple[Key, ...] = ((TOPIC, 0), (TOPIC, 1))
keys = st.sampled_from(KEYS)


class Transport(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.quiet = ExitStack()
        self.quiet.enter_context(quiet())
        self.loop = asyncio.new_event_loop()
        self.logs = {key: Log() for key in KEYS}
        self.twins = {key: Twin() for key in KEYS}
        self.member: Member | None = None
        self.owned: set[Key] = set()
        self.stale: set[Key] = set()
        """Partitions whose chunk at hand was overtaken by a rewind, a revoke or a loss."""
        self.options: dict[str, Any] = {}

    def teardown(self) -> None:
        try:
            self.run(self._finish())
        finally:
            if self.member is not None:
                self.member.chunks.clear()
            self.quiet.close()
            self.loop.run_until_complete(self.loop.shutdown_default_executor())
            self.loop.close()

    def run(self, coroutine: Any) -> Any:
        return self.loop.run_until_complete(coroutine)

    # --- what the broker and the twin see

    def on_committed(self, key: Key, offset: int) -> None:
        log = self.logs[key]
        unfinished = self.twins[key].lowest_unfinished(log)
        assert offset <= unfinished, f"{key}: committed {offset}, and {unfinished} is not finished"
        assert log.committed is None or offset >= log.committed, f"{key}: the commit goes back to {offset}"

    def look(self) -> None:
        """Compare the chunks that came with what had to come."""
        assert self.member is not None
        for key, first, end in self.member.handed:
            twin, log = self.twins[key], self.logs[key]
            assert twin.next is not None, f"{key}: a chunk of a partition that nobody owns"
            expected = next((offset for offset in log.records() if offset >= twin.next), None)
            assert first == expected, f"{key}: {first} came, {expected} had to come"
            chunk = self.member.chunks[key]
            self.stale.discard(key)
            found = [record.offset() for record in chunk.records]
            assert found == [offset for offset in log.records() if first <= offset < end]
            assert chunk.next_offset == end == (found[-1] or 0) + 1
            assert twin.reached <= (chunk.finished or 0) <= twin.lowest_unfinished(log)
        self.member.handed.clear()

    async def _step(self) -> None:
        assert self.member is not None
        await self.member.step()
        self.look()

    # --- rules

    @initialize(
        protocol=st.sampled_from(["classic", "cooperative"]), largest=st.sampled_from([2, 5, 64]), hold=st.booleans()
    )
    def begin(self, protocol: str, largest: int, hold: bool) -> None:
        self.options = {
            "group_protocol": protocol,
            "initial_chunk_records": largest,
            "max_chunk_records": largest,
            "drain_deadline_s": 0.02,
            "retry_min_s": 0.0001,
            "retry_max_s": 0.0002,
            "poll_batch_records": 5,
        }
        if hold:
            self.options |= {"pause_high_records": 6, "pause_low_records": 3}
        self.start()

    @precondition(lambda self: self.member is None)
    @rule()
    def start(self) -> None:
        async def start() -> None:
            self.member = Member(self.logs, self.on_committed, **self.options)
            await self._gain(KEYS)

        self.run(start())

    async def _gain(self, gained: tuple[Key, ...]) -> None:
        assert self.member is not None
        for key in gained:
            # Where reading has to begin: what was committed, as the next owner would see it.
            self.twins[key].next = self.twins[key].reached = self.logs[key].committed or 0
        self.owned.update(gained)
        await self.member.gain(gained)
        self.look()
        for key in gained:
            assert self.member.hooks.starts[key] == (self.logs[key].committed or 0)

    @rule(key=keys, kinds=st.lists(st.sampled_from([True, True, True, False]), min_size=1, max_size=8))
    def arrive(self, key: Key, kinds: list[bool]) -> None:
        """Records, and markers of transactions among them."""
        self.logs[key].is_record.extend(kinds)

    @precondition(lambda self: self.member is not None)
    @rule(key=keys, count=st.integers(2, 6))
    def arrive_and_poll(self, key: Key, count: int) -> None:
        """More than one chunk holds: records wait behind the one in flight."""
        self.arrive(key, [True] * count)
        self.poll(2, False)

    @precondition(lambda self: self.member is not None)
    @rule(times=st.integers(1, 3), markers=st.booleans())
    def poll(self, times: int, markers: bool) -> None:
        assert self.member is not None
        if markers:
            self.member.consumer.skip_markers()
        for _ in range(times):
            self.run(self._step())

    @precondition(lambda self: self.member is not None)
    @rule(key=keys)
    def done(self, key: Key) -> None:
        self._end(key, done=True)
        self.run(settle())
        self.look()

    @precondition(lambda self: self.member is not None)
    @rule(key=keys, how=st.sampled_from(["abandon", "drop"]))
    def give_up(self, key: Key, how: str) -> None:
        """Abandoned, or dropped without a word: the same records come again."""
        assert self.member is not None
        chunk = self.member.chunks.pop(key, None)
        if chunk is None:
            return

        async def end() -> None:
            nonlocal chunk
            if how == "abandon" and chunk is not None:
                chunk.abandon("the state machine")
            chunk = None
            gc.collect()
            await asyncio.sleep(0.0005)
            await settle()

        self.run(end())
        self.look()

    def _end(self, key: Key, *, done: bool) -> None:
        assert self.member is not None
        chunk = self.member.chunks.pop(key, None)
        if chunk is None:
            return

        async def end() -> None:
            twin = self.twins[key]
            is_current = chunk.is_current()
            if is_current:
                # Effects come before `done`, whether or not it counts.
                twin.finished.update(record.offset() or 0 for record in chunk.records)
            counted = chunk.done()
            assert counted or not is_current, f"{key}: a current chunk must count"
            assert not (counted and key in self.stale), f"{key}: a stale chunk must not count"
            if counted:
                assert key in self.owned
                assert twin.next is not None
                assert twin.next <= chunk.first_offset
                twin.finished.update(record.offset() or 0 for record in chunk.records)
                twin.next = chunk.next_offset
                twin.reached = max(twin.reached, chunk.next_offset)
            assert not chunk.done(), "a second time counts nothing"
            assert not chunk.is_open

        self.run(end())

    @precondition(lambda self: self.owned)
    @rule(key=keys, back=st.integers(0, 12), under_way=st.booleans())
    def rewind(self, key: Key, back: int, under_way: bool) -> None:
        """Read again from an earlier offset; records of before may be on their way to the loop."""
        assert self.member is not None
        member = self.member

        async def rewind() -> None:
            line = member.line(key)
            if key not in self.owned or line is None:
                return
            if under_way and not member.consumer.events:
                self.logs[key].is_record.extend([True] * 3)
                member.poller._step(member.ownership)
            target = max(0, line.tracker.position - back)
            member.engine.rewind(line, target)
            self.twins[key].next = target
            held = member.chunks.get(key)
            assert held is None or not held.is_current(), "what was in flight is stale"
            self.stale.add(key)
            await member.step()

        self.run(rewind())
        self.look()

    @precondition(lambda self: self.member is not None)
    @rule(fails=st.sampled_from([0, 0, 0, 1]))
    def commit(self, fails: int) -> None:
        """What the timer does once a second."""
        assert self.member is not None
        member = self.member
        member.consumer.fails_commits = fails

        async def commit() -> None:
            member.engine.commit()
            await member.step()
            await member.step()

        self.run(commit())
        self.look()

    @precondition(lambda self: self.owned)
    @rule(finishes=st.booleans(), in_consume=st.booleans(), back=st.booleans())
    def revoke(self, finishes: bool, in_consume: bool, back: bool) -> None:
        """A rebalance takes the partitions; chunks in flight end within the deadline, or are too late."""
        assert self.member is not None
        member, gone = self.member, tuple(sorted(self.owned))
        member.consumer.events_in_consume = in_consume and any(
            key in self.owned and member.consumer._at.get(key, log.end) < log.end for key, log in self.logs.items()
        )

        async def revoke() -> None:
            revoking = asyncio.ensure_future(member.rebalance(member.ownership.on_revoke, gone))
            lines = [member.line(key) for key in gone]
            for _ in range(10_000 if finishes else 0):
                if revoking.done() or all(line is None or line.is_draining for line in lines):
                    break
                await asyncio.sleep(0)
            if finishes:
                for key in gone:
                    chunk = member.chunks.pop(key, None)
                    if chunk is not None and chunk.is_current():
                        self.twins[key].finished.update(record.offset() or 0 for record in chunk.records)
                        assert chunk.done()
                    elif chunk is not None:
                        chunk.abandon("stale")
            await revoking
            await settle()
            self._left(gone)
            if back:
                await self._gain(gone)

        self.run(revoke())

    @precondition(lambda self: self.owned)
    @rule(back=st.booleans())
    def lose(self, back: bool) -> None:
        assert self.member is not None
        member, gone = self.member, tuple(sorted(self.owned))

        async def lose() -> None:
            await member.rebalance(member.ownership.on_lost, gone)
            self._left(gone)
            if back:
                await self._gain(gone)

        self.run(lose())

    def _left(self, gone: tuple[Key, ...]) -> None:
        assert self.member is not None
        self.owned.difference_update(gone)
        self.stale.update(gone)
        self.member.handed.clear()
        for key in gone:
            self.twins[key].next = None
            chunk = self.member.chunks.get(key)
            assert chunk is None or not chunk.is_current(), f"{key}: still current after it was given up"

    @precondition(lambda self: self.member is not None and not self.owned)
    @rule()
    def come_back(self) -> None:
        self.run(self._gain(KEYS))

    @precondition(lambda self: self.owned)
    @rule(evicted=st.booleans())
    def stall(self, evicted: bool) -> None:
        """The process was frozen beyond its session; the group may have gone on without it."""
        assert self.member is not None
        member = self.member
        member.ownership.last_poll -= 3_600.0
        member.consumer.is_member = not evicted
        for chunk in member.chunks.values():
            assert not chunk.is_current(), "nothing may be published while membership is in doubt"
        self.run(self._step())
        self.run(self._step())
        if evicted:
            for chunk in member.chunks.values():
                assert not chunk.is_current(), "nobody has confirmed the membership"
            self.lose(back=False)
            member.consumer.is_member = True
        else:
            self.run(self._step())

    @precondition(lambda self: self.member is not None)
    @rule()
    def crash(self) -> None:
        """The process is gone, with whatever it had not committed."""
        assert self.member is not None
        self.member.consumer.is_member = False
        self.member.chunks.clear()
        gc.collect()
        self.member = None
        self.owned.clear()
        for twin in self.twins.values():
            twin.next = None
        self.run(settle())

    # --- always

    @invariant()
    def nothing_is_wrong(self) -> None:
        if self.member is not None:
            assert not self.member.fatal
            assert not self.member.hooks.gaps
        for key, log in self.logs.items():
            assert log.committed is None or log.committed <= self.twins[key].lowest_unfinished(log)

    async def _finish(self) -> None:
        """In the end everything that was ever appended is finished, and committed."""
        if not self.options:
            return
        if self.member is None:
            self.member = Member(self.logs, self.on_committed, **self.options)
        if not self.owned:
            await self._gain(KEYS)
        member = self.member
        for _ in range(60 + sum(log.end for log in self.logs.values())):
            await self._step()
            for key, chunk in list(member.chunks.items()):
                del member.chunks[key]
                if chunk.is_current():
                    self.twins[key].finished.update(record.offset() or 0 for record in chunk.records)
                    assert chunk.done()
                    self.twins[key].next = chunk.next_offset
                else:
                    chunk.abandon("stale")
                await settle()
                self.look()
            member.consumer.skip_markers()
            member.engine.commit()
            if all(log.committed == log.end or (log.committed is None and not log.end) for log in self.logs.values()):
                break
            await asyncio.sleep(0.0003)
        for key, log in self.logs.items():
            assert self.twins[key].finished >= set(log.records()), f"{key}: lost"
            assert log.committed == log.end or (log.committed is None and not any(log.is_record)), f"{key}: {log}"


TestTransport = Transport.TestCase
TestTransport.settings = machine(share=0.5, steps=30)


def test_records_under_way_at_a_rewind_are_stale() -> None:
    """A sequence that chance meets rarely, by hand: polled before the rewind, on the loop after it."""
    machine_run = Transport()
    key = KEYS[0]
    machine_run.begin(protocol="classic", largest=64, hold=False)
    machine_run.arrive(key, [True] * 5)
    machine_run.poll(2, False)
    machine_run.done(key)
    machine_run.rewind(key, 3, True)
    machine_run.done(key)
    machine_run.poll(2, False)
    machine_run.nothing_is_wrong()
    machine_run.teardown()
