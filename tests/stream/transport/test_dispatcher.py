"""Chunks on the event loop, with no broker: one in flight, repeats, staleness, drains, holds."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.transport import Chunk, Counters, TransportOptions
from stream.transport.dispatcher import Dispatcher
from stream.transport.hooks import PartitionKey
from stream.transport.line import InFlight, Line
from stream.transport.tracker import CommitTracker


class Record:
    def __init__(self, offset: int, size: int = 10) -> None:
        self._offset = offset
        self._size = size

    def offset(self) -> int:
        return self._offset

    def key(self) -> bytes | None:
        return None

    def headers(self) -> None:
        return None

    def __len__(self) -> int:
        return self._size


class Desk:
    """A receiver that keeps chunks, and the dispatcher in front of it."""

    def __init__(self, **options: Any) -> None:
        self.is_open = True
        self.is_trusted = True
        self.chunks: list[Chunk] = []
        self.ends = 0
        self.owned = 1
        self.options = TransportOptions(**options)
        self.counters = Counters()
        loop = asyncio.get_running_loop()

        def tell(callback: Callable[..., object], *args: object) -> bool:
            if loop.is_closed():
                return False
            loop.call_soon_threadsafe(callback, *args)
            return True

        self.dispatcher = Dispatcher(
            self.options, self.counters, self, lambda: self.is_trusted, tell, lambda: self.owned
        )

    def accepts(self, key: PartitionKey) -> bool:
        return self.is_open

    def deliver(self, chunk: Chunk) -> object:
        self.chunks.append(chunk)
        return "note"

    def ended(self, line: Line, flight: InFlight) -> None:
        assert flight.note == "note"
        self.ends += 1

    def line(self, partition: int = 0, start: int = 0) -> Line:
        line = Line(self.dispatcher, "t", partition, epoch=1)
        line.limiter = self.dispatcher.limiter("t")
        line.tracker = CommitTracker(start, None)
        line.is_ready = True
        return line

    def feed(self, line: Line, first: int, count: int, epoch: int | None = None) -> None:
        records = [Record(o) for o in range(first, first + count)]
        self.dispatcher.receive([(line, line.epoch if epoch is None else epoch, cast("Any", records), 10 * count)])


async def turn(times: int = 3) -> None:
    for _ in range(times):
        await asyncio.sleep(0)


async def test_one_chunk_in_flight_and_the_next_forms_meanwhile() -> None:
    desk = Desk()
    line = desk.line()
    desk.feed(line, 0, 1)
    assert [len(c) for c in desk.chunks] == [1]  # idle: at once, alone
    for offset in range(1, 8):
        desk.feed(line, offset, 1)
    assert len(desk.chunks) == 1
    assert desk.chunks[0].done(0.0001)
    await turn()
    assert [(c.first_offset, c.next_offset) for c in desk.chunks] == [(0, 1), (1, 8)]
    assert line.tracker.to_commit() == 1
    assert not desk.chunks[0].done()  # only once
    assert line.tracker.to_commit() == 1


async def test_lines_do_not_wait_for_each_other() -> None:
    desk = Desk()
    a, b = desk.line(0), desk.line(1)
    desk.feed(a, 0, 2)
    desk.feed(b, 0, 2)
    assert [c.partition for c in desk.chunks] == [0, 1]


@pytest.mark.parametrize(("owned", "most"), [(1, 40), (2, 40), (4, 25), (10, 10), (50, 4)])
async def test_partitions_share_what_may_be_in_flight(owned: int, most: int) -> None:
    desk = Desk(max_in_flight_records=100, max_chunk_records=40, initial_chunk_records=4)
    desk.owned = owned
    line = desk.line()
    assert line.limiter is not None
    line.limiter.limit = 40
    desk.feed(line, 0, 200)
    assert len(desk.chunks[-1].records) == most


async def test_an_abandoned_chunk_comes_again_first_at_once_then_later() -> None:
    desk = Desk(retry_min_s=0.03, retry_max_s=0.05, max_chunk_records=2, initial_chunk_records=2)
    line = desk.line()
    desk.feed(line, 0, 4)
    loop = asyncio.get_running_loop()
    desk.chunks[-1].abandon("test")
    await turn()
    assert [c.first_offset for c in desk.chunks] == [0, 0]
    for pause in (0.03, 0.05, 0.05):
        began = loop.time()
        desk.chunks[-1].abandon("test")
        known = len(desk.chunks)
        while len(desk.chunks) == known:  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0.002)
        assert pause - 0.003 <= loop.time() - began < pause + 0.1
    assert desk.chunks[-1].done()
    await turn()
    assert (desk.chunks[-1].first_offset, desk.chunks[-1].next_offset) == (2, 4)
    assert desk.counters.chunks_abandoned_total == 4
    desk.chunks[-1].abandon("test")
    await turn()
    assert desk.chunks[-1].first_offset == 2  # at once again: done() reset the count


async def test_a_dropped_chunk_comes_again() -> None:
    desk = Desk()
    line = desk.line()
    desk.feed(line, 0, 3)
    desk.chunks.clear()
    gc.collect()
    await turn()
    assert [(c.first_offset, c.next_offset) for c in desk.chunks] == [(0, 3)]
    assert line.tracker.to_commit() is None


async def test_a_cancelled_task_gives_its_chunk_back() -> None:
    desk = Desk()
    line = desk.line()
    desk.feed(line, 0, 3)

    async def work(chunk: Chunk) -> None:
        await asyncio.sleep(60)
        chunk.done()

    task = asyncio.get_running_loop().create_task(work(desk.chunks.pop()))
    await turn()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    del task
    gc.collect()
    await turn()
    assert [c.first_offset for c in desk.chunks] == [0]


async def test_after_a_rewind_the_old_chunk_is_stale_and_blocks_the_new_one() -> None:
    desk = Desk()
    line = desk.line()
    desk.feed(line, 0, 5)
    old = desk.chunks[0]
    line.epoch = 2
    line.drop_pending()
    line.tracker.rewind(2)
    desk.feed(line, 5, 3, epoch=1)  # polled before the rewind
    desk.feed(line, 2, 6, epoch=2)
    assert not old.is_current()
    assert len(desk.chunks) == 1
    assert not old.done()
    await turn()
    assert [(c.first_offset, c.next_offset, c.epoch) for c in desk.chunks[1:]] == [(2, 8, 2)]
    assert desk.counters.records_stale_total == 3
    assert line.tracker.to_commit() is None
    assert desk.chunks[1].done()
    assert line.tracker.to_commit() == 8


async def test_a_stale_chunk_does_not_cover_what_was_rewound() -> None:
    desk = Desk(initial_chunk_records=3, max_chunk_records=3)
    line = desk.line()
    desk.feed(line, 0, 6)
    assert desk.chunks[0].done()
    await turn()
    old = desk.chunks[1]
    line.epoch = 2
    line.drop_pending()
    line.tracker.rewind(1)
    assert not old.done()
    assert line.tracker.position == 1
    assert line.tracker.to_commit() == 3


async def test_not_current_when_gone_or_in_doubt() -> None:
    desk = Desk()
    line = desk.line()
    desk.feed(line, 0, 1)
    chunk = desk.chunks[0]
    assert chunk.is_current()
    desk.is_trusted = False
    assert not chunk.is_current()
    desk.is_trusted = True
    line.gone = True
    assert not chunk.is_current()
    assert not chunk.done()
    assert line.tracker.to_commit() is None


async def test_a_drain_waits_for_its_lines_only() -> None:
    desk = Desk()
    a, b, idle = desk.line(0), desk.line(1), desk.line(2)
    desk.feed(a, 0, 1)
    desk.feed(b, 0, 1)
    drained: list[bool] = []
    desk.dispatcher.begin_drain([a, idle], lambda: drained.append(True))
    desk.feed(a, 1, 5)
    assert not drained
    assert desk.chunks[0].done()
    assert drained == [True]
    await turn()
    assert len(desk.chunks) == 2  # nothing more of the drained line
    desk.dispatcher.begin_drain([idle], lambda: drained.append(False))
    assert drained == [True, False]
    assert desk.chunks[1].is_current()


async def test_hold_and_release() -> None:
    desk = Desk()
    line = desk.line()
    desk.dispatcher.hold(line)
    desk.feed(line, 0, 5)
    assert not desk.chunks
    desk.dispatcher.release(line)
    assert len(desk.chunks) == 1


async def test_a_hold_ends_with_its_assignment() -> None:
    desk = Desk()
    before = desk.line()
    desk.dispatcher.hold(before)
    desk.feed(before, 0, 5)
    before.gone = True
    after = desk.line()  # the same partition, assigned to the same process again
    desk.feed(after, 0, 5)
    assert [(c.first_offset, c.next_offset) for c in desk.chunks] == [(0, 5)]


async def test_a_stop_waits_for_one_deadline_however_often_it_drains() -> None:
    desk = Desk(stop_deadline_s=0.2)
    line = desk.line()
    desk.feed(line, 0, 5)
    loop = asyncio.get_running_loop()
    assert desk.dispatcher.leave_left_s() == 0.2
    began = loop.time()
    await desk.dispatcher.leave([line])
    assert 0.19 <= loop.time() - began < 0.4
    assert desk.dispatcher.leave_left_s() == 0.0
    began = loop.time()
    await desk.dispatcher.leave([line])
    drained: list[bool] = []
    desk.dispatcher.begin_drain([line], lambda: drained.append(True))  # the revoke that a close brings
    assert drained == [True]
    assert loop.time() - began < 0.05
    assert desk.chunks[0].is_open


async def test_a_second_drain_of_a_stop_has_what_the_first_left() -> None:
    desk = Desk(stop_deadline_s=0.3)
    line = desk.line()
    await desk.dispatcher.leave([line])  # nothing in flight: at once
    other = desk.line(1)
    desk.feed(other, 0, 5)
    await asyncio.sleep(0.15)
    loop = asyncio.get_running_loop()
    began = loop.time()
    await desk.dispatcher.leave([line, other])
    assert 0.1 <= loop.time() - began < 0.25


async def test_the_byte_bound_cuts_a_chunk() -> None:
    desk = Desk(max_chunk_bytes=35)
    line = desk.line()
    desk.feed(line, 0, 8)
    assert len(desk.chunks[-1]) == 3
    desk.dispatcher.receive([(line, 1, cast("Any", [Record(8, 100)]), 100)])
    while desk.chunks[-1].next_offset < 9:
        assert desk.chunks[-1].done()
        await turn()
    assert [len(c) for c in desk.chunks] == [3, 3, 2, 1]  # a record beyond the bound travels alone


class Play:
    """Does whatever the plan says to one line. The twin: a set of offsets whose chunk said done() and was believed."""

    def __init__(self, limit: int) -> None:
        self.desk = Desk(retry_min_s=0.0001, retry_max_s=0.0001, max_chunk_records=limit, initial_chunk_records=limit)
        self.line = self.desk.line()
        self.finished: set[int] = set()
        self.fed = 0

    async def step(self, what: str) -> None:
        if what == "feed":
            self.desk.feed(self.line, self.fed, 3)
            self.fed += 3
        elif what == "turn":
            await turn()
        elif what == "rewind":
            self.rewind()
        elif self.desk.chunks:
            self.end(what)

    def rewind(self) -> None:
        target = max(0, self.line.tracker.position - 2)
        self.line.epoch += 1
        self.line.drop_pending()
        self.line.tracker.rewind(target)
        if self.fed > target:
            self.desk.feed(self.line, target, self.fed - target)

    def end(self, what: str) -> None:
        chunk = self.desk.chunks[-1]
        offsets = set(range(chunk.first_offset, chunk.next_offset))
        if what == "done":
            if chunk.done():
                self.finished |= offsets
        elif what == "abandon":
            chunk.abandon("test")
        else:
            self.desk.chunks.clear()

    async def to_the_end(self) -> None:
        for _ in range(2000):
            if self.line.tracker.position == self.fed and self.line.in_flight is None:
                return
            if self.desk.chunks and self.desk.chunks[-1].is_open:
                self.end("done")
            await asyncio.sleep(0.0002)
        raise AssertionError("never finished")


@settings(deadline=None, max_examples=80)
@given(
    st.lists(
        st.sampled_from(["feed", "feed", "done", "done", "abandon", "drop", "rewind", "turn"]), min_size=1, max_size=60
    ),
    st.integers(1, 7),
)
def test_whatever_happens_everything_below_the_commit_was_done(plan: list[str], limit: int) -> None:
    async def run() -> None:
        play = Play(limit)
        for what in plan:
            await play.step(what)
            assert set(range(play.line.tracker.committable or 0)) <= play.finished
        await play.to_the_end()
        assert play.finished == set(range(play.fed))
        assert play.line.taken_records == play.desk.counters.records_received_total

    asyncio.run(run())
