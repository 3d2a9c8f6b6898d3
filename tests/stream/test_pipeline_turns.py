"""A long chunk gives way between its segments: others have their turns, and nothing depends on where it gave way."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schemas.risk import RiskEvent
from stream.deadletter import DeadLetterLimit
from stream.partition import OwnedPartition
from stream.turns import Turns
from tests.support.pipeline_world import TOPIC, TOPIC_ID, FakeChunk, FakeRecord, World, records_of, simulated


class Fixed:
    """A bound of segments that learns nothing."""

    def __init__(self, limit: int) -> None:
        self.limit = limit

    def measured(self, records: int, loop_s: float) -> None:
        pass


class Impatient:
    """A clock by which every piece of work takes a whole turn."""

    now_s = 0.0

    def __call__(self) -> float:
        self.now_s += 1.0
        return self.now_s


def core(event: RiskEvent) -> RiskEvent:
    return msgspec.structs.replace(event, scored_at=0, latency_ms={})


async def run(of_partitions: list[list[FakeRecord]], limit: int, *, together: bool) -> tuple[World, list[Any], int]:
    """Process one chunk a partition; return the world, its events by partition, and the loop's rounds meanwhile."""
    world = World()
    await world.store.open()
    pipeline: Any = world.pipeline()
    pipeline._evaluator._bound = Fixed(limit)
    pipeline._turns = Turns(Impatient())
    rounds = 0

    async def count() -> None:
        nonlocal rounds
        while True:
            rounds += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(count())
    work = [
        pipeline.process(
            OwnedPartition(TOPIC, number, TOPIC_ID, None, 0, -1, DeadLetterLimit(0.9, 1_000)),
            FakeChunk(list(records), partition=number),
        )
        for number, records in enumerate(of_partitions)
    ]
    if together:
        await asyncio.gather(*work)
    else:
        for each in work:
            await each
    counting.cancel()
    events = [[core(e) for e in world.events() if e.source.partition == n] for n in range(len(of_partitions))]
    return world, events, rounds


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(seeds=st.lists(st.integers(0, 1_000), min_size=2, max_size=3, unique=True), limit=st.sampled_from([1, 2, 7, 50]))
def test_chunks_that_take_turns_are_scored_as_one_after_the_other(seeds: list[int], limit: int) -> None:
    chunks = [records_of(simulated(60, seed)) for seed in seeds]
    # Ids repeat over seeds: entities, too, but counters are read once a chunk, before any of them is written.
    _, apart, _ = asyncio.run(run(chunks[:1], 1_000, together=False))
    world, events, _ = asyncio.run(run(chunks, limit, together=True))
    assert events[0] == apart[0]
    assert [len(one) for one in events] == [60] * len(chunks)
    assert not [record for record in world.log if record.topic != "risk.events"]


@pytest.mark.parametrize("limit", [1, 10])
def test_the_loop_goes_round_between_the_segments_of_a_chunk(limit: int) -> None:
    records = records_of(simulated(100, 5))
    _, _, whole = asyncio.run(run([records], 1_000, together=False))
    _, _, rounds = asyncio.run(run([records], limit, together=False))
    # The longest run without a repeated session is shorter than the chunk, so even without a bound it gives way.
    assert rounds >= 100 // limit
    assert rounds > whole
