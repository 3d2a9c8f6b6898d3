"""The records of scored events, against the encoder that makes each event's bytes whole."""

from __future__ import annotations

import functools
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.envelope import cloud_event_headers, decode_risk_event, encode, trace_context
from schemas.examples import examples_of
from schemas.risk import Reason, RiskEvent, SignalValue, Velocity
from schemas.served import ServedFeatures
from schemas.telemetry import Telemetry
from stream.batch import Evaluated, Item
from stream.outgoing import HalfEncoder, outgoing
from tests.schemas.strategies import messages
from tests.support.pipeline_world import FakeRecord, World, chunk, records_of, simulated

STAGES = {"features": 0.25, "models": 1e-7, "decide": 1.0 / 3.0}
TRACE = [("traceparent", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")]
EVENTS: list[RiskEvent] = [one.message for one in examples_of(RiskEvent) if isinstance(one.message, RiskEvent)]
encoder = HalfEncoder()


def scored(event: RiskEvent, served: bytes | None = None, headers: Any = None, stages: Any = None) -> Evaluated:
    """`event` as the evaluator leaves it; only the session of its input is read."""
    telemetry = msgspec.structs.replace(_telemetry(), session_id=event.session_id)
    item = Item(FakeRecord(7, b"", b"", 0), 7, 0, telemetry, headers or [], 0)  # type: ignore[arg-type]
    bare = msgspec.structs.replace(event, latency_ms={})
    # What many events share, the evaluator hands in encoded.
    raw: Any = bare
    raw.velocity, raw.versions = msgspec.Raw(encode(event.velocity)), msgspec.Raw(encode(event.versions))
    halves = encoder.encode(bare)
    return Evaluated(
        item,
        event.evaluation_id,
        event.scored_at,
        event.flow,
        event.decision.action,
        [],
        event.scores,
        event.coverage,
        stages or STAGES,
        halves,
        served,
    )


@functools.cache
def _telemetry() -> Telemetry:
    return simulated(1, 1)[0]


@settings(max_examples=40, deadline=None)
@given(event=messages(RiskEvent), decode_ms=st.floats(0, 1e6), read_ms=st.floats(0, 1e6), total_ms=st.floats(0, 1e6))
def test_the_bytes_are_those_of_the_whole_event(
    event: RiskEvent, decode_ms: float, read_ms: float, total_ms: float
) -> None:
    event.scored_at = event.observed_at  # any whole number by the contract, but headers hold times that there are
    (record,) = outgoing([scored(event)], 3, decode_ms, read_ms, total_ms)
    event.latency_ms = {"decode": decode_ms, "read": read_ms, **STAGES, "total": total_ms}
    assert record.value == encode(event)
    assert (record.topic, record.partition, record.key) == ("risk.events", 3, event.session_id.encode())


@given(text=st.sampled_from(['"latency_ms":{}', 'x","latency_ms":{},"y":"', '\\"latency_ms":{}', "latency_ms", "{}"]))
def test_no_text_is_taken_for_the_place_of_the_latency(text: str) -> None:
    event = next(one for one in EVENTS if one.reasons)
    reason: Reason = msgspec.structs.replace(event.reasons[0], evidence=text)
    signal = SignalValue(value=text, severity="weak", confidence="low", exempt=text)
    event = msgspec.structs.replace(
        event,
        session_id=text,
        reasons=[reason],
        signals={"latency_ms": signal, text: signal},
        velocity={"latency_ms": Velocity(), text: Velocity()},
        account_ref=text,
        device_ref=text,
        state_cold=True,
    )
    (record,) = outgoing([scored(event)], 0, 1.0, 2.0, 500.0)
    event.latency_ms = {"decode": 1.0, "read": 2.0, **STAGES, "total": 500.0}
    assert record.value == encode(event)


def test_events_and_vectors_go_in_order_with_their_own_headers_and_stages() -> None:
    event = EVENTS[0]
    other = msgspec.structs.replace(event, evaluation_id="T:0:8", session_id="ß", scored_at=event.scored_at + 1)
    evaluated = [scored(event, b"vector", TRACE), scored(other, stages={"models": 2.0})]
    records = outgoing(evaluated, 1, 3.0, 4.0, 500.0)
    assert [r.topic for r in records] == ["risk.events", "risk.features", "risk.events"]
    assert records[1].value == b"vector"
    kinds: list[type[msgspec.Struct]] = [RiskEvent, ServedFeatures, RiskEvent]
    for record, kind, source, trace in zip(
        records,
        kinds,
        (event, event, other),
        (trace_context(TRACE), trace_context(TRACE), ()),
        strict=True,
    ):
        assert record.key == source.session_id.encode()
        assert len(record) == len(msgspec.structs.replace(record, header_bytes=None))
        assert record.headers == cloud_event_headers(
            kind, id=source.evaluation_id, subject=source.session_id, time_ms=source.scored_at, trace=trace
        )
    first, second = (decode_risk_event(records[i].value, records[i].key) for i in (0, 2))
    assert first.latency_ms == {"decode": 3.0, "read": 4.0, **STAGES, "total": 500.0}
    assert second.latency_ms == {"decode": 3.0, "read": 4.0, "models": 2.0, "total": 500.0}


@pytest.mark.parametrize("size", [1, 64])
async def test_every_event_says_its_stages_and_what_they_add_up_to_at_least(size: int) -> None:
    world = World()
    await world.store.open()
    pipeline, owned = world.pipeline(), await world.owned()
    records = records_of(simulated(128, 5))
    for at in range(0, len(records), size):
        await pipeline.process(owned, chunk(records[at : at + size]))
    events = world.events()
    assert len(events) == len(records)
    for event in events:
        assert list(event.latency_ms) == ["decode", "read", "features", "models", "decide", "total"]
        *stages, total = event.latency_ms.values()
        assert 0.0 < sum(stages) <= total + 1e-6 or size > 1
