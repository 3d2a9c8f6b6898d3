"""What on-call people see of scores, failures of stages and time without a dependency: counted once, when it is out."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest

from stream.metrics import DEPENDENCIES, SCORE_BUCKETS, SCORED, STAGES, Metrics
from stream.pipeline import Unwritten
from tests.support.pipeline_world import World, chunk, processed, records_of, simulated


def value(metrics: Metrics, name: str, **labels: str) -> float:
    found = metrics.registry.get_sample_value(name, labels)
    assert found is not None, (name, labels)
    return found


def test_every_score_of_every_event_is_counted_where_it_lies() -> None:
    world = asyncio.run(processed(records_of(simulated(120, 5)), 30))
    events = world.events()
    assert len(events) == 120
    by_channel: dict[str, list[float]] = {name: [] for name in SCORED}
    for event in events:
        by_channel["overall"].append(event.scores.overall)
        for name in SCORED[:-1]:
            channel = getattr(event.scores, name)
            if channel is not None and channel.score is not None:
                by_channel[name].append(channel.score)
    assert len({name for name, scores in by_channel.items() if scores}) > 3
    for name, scores in by_channel.items():
        assert value(world.metrics, "tellwire_risk_score_count", channel=name) == len(scores)
        for bound in SCORE_BUCKETS:
            counted = value(world.metrics, "tellwire_risk_score_bucket", channel=name, le=str(float(bound)))
            assert counted == sum(score <= bound for score in scores)
    assert value(world.metrics, "tellwire_coverage_ratio_count") == 120
    assert value(world.metrics, "tellwire_coverage_ratio_sum") == pytest.approx(sum(e.coverage for e in events))


def test_what_is_only_folded_again_is_not_counted_again() -> None:
    world = asyncio.run(processed(records_of(simulated(40, 5)), 20, publish_from=30))
    assert len(world.events()) == 10
    assert value(world.metrics, "tellwire_risk_score_count", channel="overall") == 10
    assert value(world.metrics, "tellwire_folded_only_total") == 30
    counted = [
        sample.value
        for family in world.metrics.registry.collect()
        if family.name == "tellwire_risk_events"
        for sample in family.samples
    ]
    assert sum(counted) == 10


@pytest.mark.parametrize(
    ("stage", "owner", "name"),
    [
        ("decode", "_intake", "batch"),
        ("read", "_store", "load"),
        ("features", "_evaluator", "evaluate"),
        ("publish", "", "_publish"),
        ("write", "_store", "commit"),
    ],
)
def test_a_failure_is_counted_at_the_stage_that_failed(
    monkeypatch: pytest.MonkeyPatch, stage: str, owner: str, name: str
) -> None:
    async def run() -> World:
        world = World()
        pipeline = world.pipeline()

        def fails(*_: Any, **__: Any) -> None:
            raise ZeroDivisionError

        monkeypatch.setattr(getattr(pipeline, owner) if owner else pipeline, name, fails)
        owned = await world.owned()
        with contextlib.suppress(Unwritten, ZeroDivisionError):
            await pipeline.process(owned, chunk(records_of(simulated(1, 5))))
        return world

    world = asyncio.run(run())
    failed = {name for name in STAGES if value(world.metrics, "tellwire_stage_errors_total", stage=name)}
    assert stage in failed
    assert failed <= {stage, "publish"} or stage == "write"


def test_time_without_a_dependency_is_added_up_by_name() -> None:
    metrics = Metrics()
    assert {value(metrics, "tellwire_degraded_seconds_total", dependency=name) for name in DEPENDENCIES} == {0}
    degraded = metrics.degraded_time
    degraded.look(0.5, ())
    degraded.note("counters")
    degraded.note("counters")
    degraded.look(0.5, ("store",))
    degraded.look(2.0, ("store",))
    found = {name: value(metrics, "tellwire_degraded_seconds_total", dependency=name) for name in DEPENDENCIES}
    assert found == {"broker": 0, "store": 2.5, "counters": 0.5, "movements": 0}
