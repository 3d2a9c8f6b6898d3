"""Records that are only folded again after a rewind: the same state and later events, and none of their own."""

from __future__ import annotations

import msgspec
import pytest

from schemas.envelope import encode
from schemas.risk import RiskEvent
from tests.support.pipeline_world import TOPIC, World, processed, records_of, simulated

COUNT, TOLD_FROM = 90, 61
_event = msgspec.json.Decoder(RiskEvent).decode


def sample(world: World, name: str) -> float:
    """All series of a counter together."""
    samples = [one for metric in world.metrics.registry.collect() for one in metric.samples]
    return sum(one.value for one in samples if one.name == name)


@pytest.mark.parametrize("size", [1, 32])
async def test_what_is_only_folded_is_not_told_nor_counted_as_told(size: int) -> None:
    records = records_of(simulated(COUNT, 4))
    whole, again = await processed(records, size), await processed(records, size, publish_from=TOLD_FROM)
    told = [event for event in whole.events() if event.source.offset >= TOLD_FROM]
    found = again.events()
    assert [event.source.offset for event in found] == list(range(TOLD_FROM, COUNT))
    for event in (*told, *found):
        event.scored_at, event.latency_ms = 0, {}
    assert found == told
    sessions = [event.session_id for event in whole.events()]
    kept, rebuilt = [(await world.store.load(TOPIC, 0, sessions, [])).blobs for world in (whole, again)]
    assert rebuilt == kept
    assert sample(whole, "tellwire_risk_events_total") == COUNT
    assert sample(again, "tellwire_risk_events_total") == COUNT - TOLD_FROM
    assert sample(again, "tellwire_folded_only_total") == TOLD_FROM


@pytest.mark.parametrize("size", [1, 64])
async def test_an_event_that_is_put_together_has_the_bytes_of_its_object(size: int) -> None:
    world = await processed(records_of(simulated(200, 9)), size)
    assert len(world.log) == 200
    for record in world.log:
        assert record.value is not None
        assert encode(_event(record.value)) == record.value
