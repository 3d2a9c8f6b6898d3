"""A swap of models or policy in the middle of sessions: whole chunks, versions that follow, decisions that stay."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from features.signals import SIGNALS
from models.engine import Engine
from models.policy import parse_policy
from schemas.risk import RiskEvent
from stream.pipeline import Pipeline
from tests.support.artefacts import POLICY, another
from tests.support.oracle import Oracle
from tests.support.pipeline_world import REFS, FakeRecord, World, chunk, engine, records_of, simulated

SIZE = 40
LAX = POLICY.split("[[rules]]", maxsplit=1)[0]
for line in [one for one in POLICY.splitlines() if one.startswith(("step_up_at", "block_at"))]:
    LAX = LAX.replace(line, f"{line.split(' = ')[0]} = 1.0")
"""No rules, and nobody is stopped for a score below 1."""


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    """An engine with other models."""
    return Engine.load(another(tmp_path_factory.mktemp("other") / "v2", 3))


def lax() -> Engine:
    return engine().with_policy(parse_policy(LAX.encode(), "lax.toml", known_signals=SIGNALS))


def run(records: list[FakeRecord], engines: list[Engine]) -> list[RiskEvent]:
    """Chunks of SIZE records; before each the next engine of the list serves, the last one to the end."""

    async def in_loop() -> World:
        world = World()
        await world.store.open()
        pipeline, owned = world.pipeline(), await world.owned()
        waiting = list(engines)
        for first in range(0, len(records), SIZE):
            if waiting:
                world.engines.current = waiting.pop(0)
            await pipeline.process(owned, chunk(records[first : first + SIZE]))
        return world

    return asyncio.run(in_loop()).events()


def same(record: FakeRecord, event: RiskEvent, oracle: Oracle) -> bool:
    again = oracle.evaluate(record.content or b"", record.append_ms, event.velocity, event.degraded)
    assert again is not None
    return (again.scores, again.decision, again.reasons) == (event.scores, event.decision, event.reasons)


def test_each_chunk_has_one_engine_and_events_name_it(other: Engine) -> None:
    records = records_of(simulated(6 * SIZE, 5))
    order = [engine(), engine(), other, lax(), engine()]
    events = run(records, order)
    oracle = Oracle(engine(), REFS)
    differing = 0
    for number, (record, event) in enumerate(zip(records, events, strict=True)):
        serving = order[min(number // SIZE, len(order) - 1)]
        assert event.versions.models == serving.versions["models"]
        assert event.versions.policy == serving.versions["policy"]
        oracle.engine = serving
        before = dict(oracle.sessions)
        assert same(record, event, oracle)
        after, oracle.sessions, oracle.engine = oracle.sessions, before, engine()
        differing += not same(record, event, oracle)
        oracle.sessions = after
    # The new models do give other scores, so that the old ones would have been noticed.
    assert differing >= 5


def test_what_was_decided_stays_under_a_policy_that_would_not(other: Engine) -> None:
    records = records_of(simulated(10 * SIZE, 7))
    strict, relaxed = run(records, [engine()]), run(records, [engine()] * 5 + [lax()])
    half = 5 * SIZE
    assert not lax().policy.rules
    assert [e.decision.action for e in relaxed[:half]] == [e.decision.action for e in strict[:half]]
    stopped = {e.session_id: e.decision.action for e in relaxed[:half] if e.decision.action != "allow"}
    later = [e for e in relaxed[half:] if e.session_id in stopped]
    assert len(later) >= 5
    for event in later:
        assert event.decision.latched
        assert event.decision.action == stopped[event.session_id]
        assert event.decision.policy.revision == lax().versions["policy"]
    # And who was not stopped before is measured by the new one.
    was_stopped_later = {e.session_id for e in strict[half:] if e.decision.action != "allow"} - set(stopped)
    let_through = [e for e in relaxed[half:] if e.session_id in was_stopped_later]
    assert let_through
    assert {e.decision.action for e in let_through} == {"allow"}


def test_an_engine_that_comes_in_the_middle_of_a_chunk_waits_for_its_end(
    other: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Segments of one chunk are scored one after the other: the swap falls between two of them."""
    events = simulated(SIZE, 9)
    # The same session twice in a row makes segments of one.
    one = [event for event in events if event.session_id == events[0].session_id][:6]
    assert len(one) >= 3
    world = World()
    real = Engine.raw
    seen: list[Engine] = []

    def swapping(self: Engine, *more: Any) -> Any:
        seen.append(self)
        world.engines.current = other
        return real(self, *more)

    monkeypatch.setattr(Engine, "raw", swapping)

    async def in_loop() -> None:
        await world.store.open()
        pipeline: Pipeline = world.pipeline()
        owned = await world.owned()
        records = records_of(one)
        await pipeline.process(owned, chunk(records[:-1]))
        await pipeline.process(owned, chunk(records[-1:]))

    asyncio.run(in_loop())
    assert seen == [engine()] * (len(one) - 1) + [other]
    assert [e.versions.models for e in world.events()] == [one.versions["models"] for one in seen]
