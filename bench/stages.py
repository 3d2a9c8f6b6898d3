"""What one event costs stage by stage: the pipeline as it ships, without Kafka and Redis, on chunks of different sizes.

`python -m bench.stages [--json] [EVENTS]` runs the standard workload through `stream.pipeline` with a store in memory,
and takes the stages from the pipeline's own metrics. On a core of its own a stage's time is its CPU time. What the
clients of Kafka and Redis and the event loop cost is not in it: that is what is left of a worker's CPU time in a drain.
"""

import argparse
import asyncio
import json
from typing import Final, NamedTuple

from bench.workload import workload
from features.session import warm_up
from stream.garbage import quiet_garbage_collector
from stream.metrics import STAGES
from stream.partition import OwnedPartition
from stream.pipeline import Pipeline
from stream.settings import PipelineSettings
from tests.support.pipeline_world import START_MS, FakeRecord, World, chunk

CHUNKS: Final = (1, 16, 256)
"""Records in a chunk: an idle worker's, a busy one's, a backlog's as its twenty milliseconds of the loop cut it."""
BACKLOG: Final = str(CHUNKS[-1])
"""The last one's name in what is measured."""
SESSIONS: Final = 2_000
EVENTS: Final = 12_000
REPEATS: Final = 3
_WARM_SHARE: Final = 0.25
_PER_MS: Final = 20
"""Events a millisecond by the broker's clock, as in a backlog that was produced at once."""


class Prepared(NamedTuple):
    """A pipeline as it ships with a store in memory that knows every session, and what is left to process."""

    world: World
    pipeline: Pipeline
    owned: OwnedPartition
    records: list[FakeRecord]


async def prepared(events: int) -> Prepared:
    """Make `events` of the standard workload, and process each session's first event and a quarter of them."""
    made = workload(SESSIONS + events, sessions=SESSIONS, in_turn=True)
    found = [FakeRecord(number, value, key, START_MS + number // _PER_MS) for number, (key, value) in enumerate(made)]
    world = World(movements=True)
    await world.store.open()
    refresh_ms = PipelineSettings().counters_refresh_ms
    pipeline, owned = world.pipeline(sessions=10 * SESSIONS, refresh_ms=refresh_ms), await world.owned()
    warm, size = SESSIONS + int(events * _WARM_SHARE), CHUNKS[-1]
    for begin in range(0, warm, size):
        await pipeline.process(owned, chunk(found[begin : min(begin + size, warm)]))
    quiet_garbage_collector()
    return Prepared(world, pipeline, owned, found[warm:])


async def stages(events: int, records: int) -> dict[str, float]:
    """Return microseconds an event by stage, once every session is known."""
    world, pipeline, owned, found = await prepared(events)
    series = world.metrics.stage_seconds.series
    before = {stage: series[stage].total for stage in STAGES}
    for begin in range(0, len(found), records):
        await pipeline.process(owned, chunk(found[begin : begin + records]))
    return {stage: (series[stage].total - before[stage]) / len(found) * 1e6 for stage in STAGES}


def measure(events: int) -> dict[str, dict[str, float]]:
    """Return the stages by size of chunk: of some repetitions, in turn, the one with the least in all."""
    warm_up()
    found: dict[str, dict[str, float]] = {}
    for _ in range(REPEATS):
        for records in CHUNKS:
            took = asyncio.run(stages(events, records))
            best = found.setdefault(str(records), took)
            if sum(took.values()) < sum(best.values()):
                found[str(records)] = took
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.stages", description=__doc__)
    parser.add_argument("events", nargs="?", type=int, default=EVENTS, help="events that are counted")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    found = measure(options.events)
    if options.json:
        print(json.dumps({"chunks": found}))
        return
    print(f"{'µs an event, records in a chunk:':<34}" + "".join(f"{records:>10}" for records in found))
    for stage in STAGES:
        print(f"{stage:<34}" + "".join(f"{its[stage]:10.1f}" for its in found.values()))
    print(f"{'all':<34}" + "".join(f"{sum(its.values()):10.1f}" for its in found.values()))


if __name__ == "__main__":
    main()
