"""Turns: work of several chunks is spread over rounds of the loop, and nobody waits for ever."""

from __future__ import annotations

import asyncio
import time

import pytest
import uvloop
from hypothesis import given
from hypothesis import strategies as st

from stream.turns import ROOM_S, Turns


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


@pytest.mark.parametrize("runner", [asyncio.run, uvloop.run])
def test_no_round_begins_work_once_its_room_is_used(runner: object) -> None:
    @given(st.lists(st.lists(st.floats(0, 3 * ROOM_S), min_size=1, max_size=4), min_size=1, max_size=8))
    def check(chunks: list[list[float]]) -> None:
        clock = Clock()
        turns = Turns(clock)
        rounds: list[float] = []
        began: list[tuple[int, float]] = []
        """The round and how much of it was used when each piece of work began."""
        is_over = False

        def count() -> None:
            rounds.append(clock.now_s)
            if not is_over:
                asyncio.get_running_loop().call_soon(count)

        async def work(pieces: list[float]) -> None:
            for seconds in pieces:
                await turns.take()
                began.append((len(rounds), clock.now_s - rounds[-1]))
                clock.now_s += seconds
                await asyncio.sleep(0)

        async def run() -> None:
            nonlocal is_over
            count()
            await asyncio.gather(*map(work, chunks))
            is_over = True
            await asyncio.sleep(0)

        runner(run())  # type: ignore[operator]
        assert len(began) == sum(map(len, chunks))
        assert all(used < ROOM_S for _, used in began)

    check()


async def test_a_timer_is_never_kept_waiting_by_more_than_one_piece_of_work() -> None:
    turns, lates = Turns(), list[float]()
    is_over = False

    async def beat() -> None:
        while not is_over:
            before = time.thread_time()  # the machine may have others to run
            await asyncio.sleep(0)
            lates.append(time.thread_time() - before)

    async def work() -> None:
        for _ in range(5):
            await turns.take()
            until = time.thread_time() + 2 * ROOM_S
            while time.thread_time() < until:
                pass
            await asyncio.sleep(0.001)

    beating = asyncio.ensure_future(beat())
    began = time.thread_time()
    await asyncio.gather(*(work() for _ in range(8)))
    is_over = True
    await beating
    assert time.thread_time() - began >= 8 * 5 * 2 * ROOM_S
    # Sixteen times the room where all eight work in one round.
    assert max(lates) < 6 * ROOM_S
