"""Devices that look alike are counted with their accounts and addresses, the same however the log is cut."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from features.signals import MOST_ALIKE
from features.template import template_of
from schemas.risk import RiskEvent
from schemas.telemetry import Collector, Device, Network, Telemetry
from tests.features.test_template import LOOKS
from tests.support.oracle import Oracle
from tests.support.pipeline_world import (
    REFS_WITH_TEMPLATES,
    START_MS,
    FakeRecord,
    World,
    chunk,
    engine,
    records_of,
)

COPY, OTHER = Device(**LOOKS), Device(**(LOOKS | {"canvas_hash": "another", "hardware_concurrency": 8}))


def shown(session: str, account: str | None, ip: str | None, device: Device | None, number: int = 0) -> Telemetry:
    return Telemetry(
        event_id=f"{session}:{number}",
        session_id=session,
        tenant="t",
        flow="signup",
        sequence=number,
        effective_at=START_MS + 500 * number,
        observed_at=START_MS + 500 * number + 100,
        collector=Collector(name="c", version="1.0.0"),
        account_ref=account,
        device_ref=f"device-of-{session}",
        network=Network(ip_ref=ip) if ip is not None else None,
        device=device,
    )


def run(events: list[Any], size: int = 100) -> list[RiskEvent]:
    return asyncio.run(_processed(events, size, templates=True)).events()


async def _processed(events: list[Any], size: int, *, templates: bool) -> World:
    world, records = World(templates=templates), records_of(events)
    await world.store.open()
    pipeline, owned = world.pipeline(), await world.owned()
    for first in range(0, len(records), size):
        await pipeline.process(owned, chunk(records[first : first + size]))
    return world


def test_copies_behind_many_accounts_and_addresses_are_told_and_never_decide_alone() -> None:
    events = [shown(f"s{i}", f"a{i}", f"i{i}", COPY) for i in range(MOST_ALIKE)]
    events += [shown("other", "b", "j", OTHER), shown("none", "c", "k", None)]
    for size in (1, 7, 100):
        found = run(events, size)
        assert all("fingerprint_copies" not in event.signals for event in (*found[: MOST_ALIKE - 1], *found[-2:]))
        last = found[MOST_ALIKE - 1]
        told = last.signals["fingerprint_copies"]
        assert (told.value, told.severity) == (float(MOST_ALIKE), "weak")
        assert (last.velocity["template_accounts"].h1, last.velocity["template_ips"].h1) == (MOST_ALIKE, MOST_ALIKE)
        assert last.decision.action == "allow"
        assert not any(name.startswith("template_") for name in found[-1].velocity)


def test_one_account_one_address_or_nobody_s_sessions_are_no_copies() -> None:
    many = 2 * MOST_ALIKE
    for events in (
        [shown(f"s{i}", "anna", f"i{i}", COPY) for i in range(many)],
        [shown(f"s{i}", f"a{i}", "office", COPY) for i in range(many)],
        [shown(f"s{i}", None, None, COPY) for i in range(many)],
    ):
        assert all("fingerprint_copies" not in event.signals for event in run(events))


def test_nobody_is_counted_by_looks_unless_it_is_asked_for() -> None:
    events = [shown(f"s{i}", f"a{i}", f"i{i}", COPY) for i in range(2 * MOST_ALIKE)]
    found = asyncio.run(_processed(events, 100, templates=False)).events()
    assert len(found) == len(events)
    for event in found:
        assert not event.signals
        assert not any(name.startswith("template_") for name in event.velocity)


def test_what_a_device_looks_like_is_kept_as_a_keyed_digest() -> None:
    world = asyncio.run(_processed([shown("s1", "a", "i", COPY), shown("s2", "b", "j", COPY)], 100, templates=True))

    async def load() -> list[bytes]:
        loaded = await world.store.load("capture.telemetry", 0, ["s1", "s2"], [])
        return [blob for blob in loaded.blobs.values() if blob is not None]

    stored = asyncio.run(load())
    assert len(stored) == 2
    assert not any(b"RTX 3060" in blob for blob in stored)
    raw = template_of(COPY)
    assert raw is not None
    assert not any(raw.encode() in blob for blob in stored), "found without the key"


@st.composite
def logs(draw: st.DrawFn) -> list[Telemetry]:
    found: list[Telemetry] = []
    sent = dict.fromkeys("abcd", 0)
    for _ in range(draw(st.integers(1, 14))):
        session = draw(st.sampled_from("abcd"))
        account = draw(st.sampled_from([None, "anna", "bert"]))
        ip = draw(st.sampled_from([None, "i", "j"]))
        device = draw(st.sampled_from([None, COPY, OTHER]))
        found.append(shown(session, account, ip, device, sent[session]))
        sent[session] += 1
    return found


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(logs(), st.lists(st.integers(1, 13), max_size=4, unique=True).map(sorted), st.booleans())
def test_the_log_gives_the_same_however_it_is_cut_and_replayed(
    events: list[Telemetry], at: list[int], restart: bool
) -> None:
    records = records_of(events)

    async def process(cut_at: list[int], *, anew: bool) -> World:
        world = World(templates=True)
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
    oracle = Oracle(engine(), REFS_WITH_TEMPLATES)
    for record, event in zip(records, events, strict=True):
        again = oracle.evaluate(record.content or b"", record.append_ms, event.velocity, event.degraded)
        assert again is not None
        assert again.scores == event.scores
        assert again.reasons == event.reasons
        assert oracle.counters_follow


def _core(event: RiskEvent) -> RiskEvent:
    return msgspec.structs.replace(event, scored_at=0, latency_ms={}, replayed=False)
