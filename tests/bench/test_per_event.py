"""What the other contestants compute is what the pipeline computes: scores, decisions, counters and reasons."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from bench.workload import workload
from features.velocity import Link
from schemas.risk import RiskEvent
from stream.state import MemoryStore, Watermark
from tests.support.per_event import PerEvent
from tests.support.pipeline_world import REFS, START_MS, TOPIC, TOPIC_ID, FakeRecord, World, chunk


async def test_one_event_alone_comes_to_what_the_pipeline_comes_to() -> None:
    world = World()
    await world.store.open()
    records = [
        FakeRecord(number, value, key, START_MS + 40 * number)
        for number, (key, value) in enumerate(workload(400, sessions=30))
    ]
    pipeline, owned = world.pipeline(), await world.owned()
    for begin in range(0, len(records), 50):
        await pipeline.process(owned, chunk(records[begin : begin + 50]))
    expected = world.events()

    job = PerEvent(TOPIC_ID, "alone", REFS, refresh_ms=0)
    store, states = MemoryStore(), dict[str, bytes]()
    await store.open()
    for record, there in zip(records, expected, strict=True):
        telemetry = job.decode(record.content, record.name)
        work = job.begin(telemetry, record.append_ms, states.get(telemetry.session_id))
        answers = (await store.load(TOPIC, 0, [], work.reads)).counters if work.reads else ()
        done = job.score(work, TOPIC, 0, record.position, answers)
        await link(store, done.links, record.position)
        states[telemetry.session_id] = done.state
        here = msgspec.json.decode(done.value, type=RiskEvent)
        assert done.key == record.name
        assert dict(done.headers)["ce_id"] == here.evaluation_id.encode()
        for name in ("evaluation_id", "scores", "decision", "reasons", "signals", "velocity", "coverage", "source"):
            assert getattr(here, name) == getattr(there, name), (name, record.position)


async def link(store: MemoryStore, links: Sequence[Link], number: int) -> None:
    before = (await store.watermarks(TOPIC, [0]))[0]
    await store.commit(TOPIC, 0, before, Watermark(TOPIC_ID, number), {}, links, 86_400_000)
