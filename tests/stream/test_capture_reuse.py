"""A captured image that comes again with another account: counted by its hash, the same however the log is cut."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from features.meta import Meta
from features.signals import derive_signals
from features.velocity import WHAT_INDEX
from schemas.risk import RiskEvent
from schemas.signals import Signal, SignalRefs
from schemas.telemetry import Capture, Telemetry
from tests.support.events import telemetry
from tests.support.oracle import Oracle
from tests.support.pipeline_world import REFS, START_MS, FakeRecord, World, chunk, engine, processed, records_of

CLIP = "sha256:of-one-clip"


def filmed(session: str, account: str | None, clip: str | None, number: int = 0) -> Telemetry:
    return telemetry(
        session, number, at_ms=500 * number, took_ms=100, flow="kyc_capture", account_ref=account,
        device_ref=f"device-of-{session}",
        capture=Capture(capture_ref=clip, upload=False) if clip is not None else None,
    )  # fmt: skip


def told(session: str, account: str | None, clip: str) -> Signal:
    return Signal(
        event_id=f"{session}:{account}:{clip}",
        session_id=session,
        tenant="t",
        flow="kyc_capture",
        effective_at=START_MS,
        observed_at=START_MS,
        kind="liveness",
        provider="acme",
        outcome="no_decision",
        verdict="pass",
        account_ref=account,
        refs=SignalRefs(capture_ref=clip),
    )


def run(events: list[Any], size: int = 100) -> list[RiskEvent]:
    return asyncio.run(processed(records_of(events), size)).events()


def test_the_second_account_with_a_captured_image_is_told() -> None:
    events = [
        filmed("s1", "anna", CLIP),
        filmed("s2", "bert", CLIP),
        filmed("s3", "carl", "another"),
        filmed("s4", "d", None),
    ]
    for size in (1, 100):
        first, second, other, without = run(events, size)
        assert "capture_hash_reuse" not in first.signals | other.signals | without.signals
        assert second.signals["capture_hash_reuse"].value == 2.0
        assert second.signals["capture_hash_reuse"].severity == "strong"
        assert second.velocity["capture_accounts"].h24 == 2
        assert not any(name.startswith("capture_") for name in without.velocity)
        assert second.scores.injection is not None
        assert second.scores.injection.raw == pytest.approx(0.95)
        assert second.decision.action == "step_up"
        # The first one learns of it with its next event about the capture.
        again = run([*events, filmed("s1", "anna", CLIP, 1)], size)[-1]
        assert again.signals["capture_hash_reuse"].value == 2.0


def test_results_and_telemetry_count_the_same_image() -> None:
    first, second = run([told("s1", "anna", CLIP), filmed("s2", "bert", CLIP)])
    assert "capture_hash_reuse" not in first.signals
    assert second.signals["capture_hash_reuse"].value == 2.0
    _, result = run([filmed("s1", "anna", CLIP), told("s2", "bert", CLIP)])
    assert result.signals["capture_hash_reuse"].value == 2.0
    assert result.signals["cv_conflict"].value == "liveness/capture_hash_reuse"


def test_one_account_and_nobodys_sessions_may_show_it_again() -> None:
    again = run([filmed(f"s{i}", "anna", CLIP) for i in range(5)])
    nobodys = run([filmed(f"s{i}", None, CLIP) for i in range(5)])
    assert all("capture_hash_reuse" not in event.signals for event in (*again, *nobodys))
    assert again[-1].velocity["capture_sessions"].h24 == 5


def test_another_image_is_not_judged_by_the_count_of_the_one_before() -> None:
    meta = Meta(capture_ref="first", capture_counters=(9,) * 12 + (0,))
    event = filmed("s1", "anna", "second")
    meta.observe(event, START_MS)
    assert (meta.capture_ref, meta.capture_counters, meta.link_bucket_ms) == ("second", (), 0)
    assert "capture_hash_reuse" not in derive_signals(event, meta)
    assert WHAT_INDEX["capture"] == {"sessions": 0, "accounts": 1, "devices": 2, "ips": 3}


def test_the_hash_travels_no_further_than_the_decoder() -> None:
    world = asyncio.run(processed(records_of([filmed("s1", "anna", CLIP), filmed("s2", "bert", CLIP)]), 100))
    assert not any(CLIP.encode() in (record.value or b"") for record in world.log)
    assert not any(CLIP.encode() in blob for blob in _stored(world))


def _stored(world: World) -> list[bytes]:
    async def load() -> list[bytes]:
        loaded = await world.store.load("capture.telemetry", 0, ["s1", "s2"], [])
        return [blob for blob in loaded.blobs.values() if blob is not None]

    found = asyncio.run(load())
    assert len(found) == 2
    return found


@st.composite
def logs(draw: st.DrawFn) -> list[Telemetry | Signal]:
    found: list[Telemetry | Signal] = []
    sent = dict.fromkeys("abcd", 0)
    for _ in range(draw(st.integers(1, 14))):
        session = draw(st.sampled_from("abcd"))
        account = draw(st.sampled_from([None, "anna", "bert"]))
        clip = draw(st.sampled_from([CLIP, "another"]))
        if draw(st.integers(0, 3)) == 0:
            found.append(told(session, account, clip))
        else:
            found.append(filmed(session, account, draw(st.sampled_from([clip, None])), sent[session]))
            sent[session] += 1
    return found


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(logs(), st.lists(st.integers(1, 13), max_size=4, unique=True).map(sorted), st.booleans())
def test_the_log_gives_the_same_however_it_is_cut_and_replayed(events: list[Any], at: list[int], restart: bool) -> None:
    records = records_of(events)

    async def process(cut_at: list[int], *, anew: bool) -> World:
        world = World()
        await world.store.open()
        pipeline, owned = world.pipeline(), await world.owned()
        for first, end in itertools.pairwise([0, *[cut for cut in cut_at if cut < len(records)], len(records)]):
            await pipeline.process(owned, chunk(records[first:end]))
            if anew:
                pipeline, owned = world.pipeline(), await world.owned()
        return world

    alone = asyncio.run(process(list(range(1, len(records))), anew=False)).events()
    cut = asyncio.run(process(at, anew=restart)).events()
    assert [_core(event) for event in cut] == [_core(event) for event in alone]
    _check_by_the_twin(records, alone)


def _check_by_the_twin(records: list[FakeRecord], events: list[RiskEvent]) -> None:
    oracle = Oracle(engine(), REFS)
    left = iter(events)
    seen: set[str] = set()
    for record in records:
        event_id = msgspec.json.decode(record.content or b"")["event_id"]
        if event_id in seen:
            continue
        seen.add(event_id)
        event = next(left)
        again = oracle.evaluate(record.content or b"", record.append_ms, event.velocity, event.degraded)
        assert again is not None
        assert again.scores == event.scores
        assert again.reasons == event.reasons
        assert oracle.counters_follow
    assert next(left, None) is None


def _core(event: RiskEvent) -> RiskEvent:
    return msgspec.structs.replace(event, scored_at=0, latency_ms={}, replayed=False)
