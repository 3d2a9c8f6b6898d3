"""The standard workload is what the report says it is: valid telemetry of the stated sizes, the same for a seed."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter

import msgspec
import numpy as np
import pytest

from bench.workload import BOT_RATIO, NETWORK_EVERY, SAMPLES, cast_of, event_number, workload
from schemas.envelope import decode, encode
from schemas.risk import RiskEvent
from schemas.telemetry import Telemetry
from tests.support.pipeline_world import START_MS, FakeRecord, World, chunk

EVENTS = 6_000


@pytest.fixture(scope="module")
def events() -> list[tuple[bytes, bytes]]:
    return list(workload(EVENTS, sessions=500))


@pytest.fixture(scope="module")
def decoded(events: list[tuple[bytes, bytes]]) -> list[Telemetry]:
    found = [decode(value, key) for key, value in events]
    assert all(isinstance(one, Telemetry) for one in found)
    return found  # type: ignore[return-value]


def test_the_same_arguments_give_the_same_bytes_and_fewer_events_their_beginning(
    events: list[tuple[bytes, bytes]],
) -> None:
    assert list(workload(2_500, sessions=500)) == events[:2_500]
    assert list(workload(10, sessions=500, seed=2)) != events[:10]


def test_events_are_those_that_the_contract_would_write(
    events: list[tuple[bytes, bytes]], decoded: list[Telemetry]
) -> None:
    for (key, value), event in itertools.islice(zip(events, decoded, strict=True), 0, EVENTS, 7):
        assert key == event.session_id.encode()
        assert msgspec.json.decode(value) == msgspec.json.decode(encode(event))


def test_sizes_are_the_stated_ones(events: list[tuple[bytes, bytes]], decoded: list[Telemetry]) -> None:
    later = sorted(
        len(value) for (_, value), event in zip(events, decoded, strict=True) if event.sequence % NETWORK_EVERY
    )
    assert later[len(later) // 20] >= 500
    assert later[len(later) * 19 // 20] <= 1_000
    samples = [len(event.pointer.t) for event in decoded if event.pointer is not None]
    assert len(samples) == EVENTS
    assert SAMPLES - 3 <= sum(samples) / EVENTS <= SAMPLES + 3


def test_sessions_count_from_nought_without_a_hole_and_others_take_their_places(decoded: list[Telemetry]) -> None:
    following: Counter[str] = Counter()
    for event in decoded:
        assert event.sequence == following[event.session_id]
        following[event.session_id] += 1
        assert (event.device is not None) == (event.sequence == 0)
        assert (event.network is not None) == (event.sequence % NETWORK_EVERY == 0)
    assert len({session.rpartition("-")[0] for session in following}) <= 500


def test_time_of_a_session_only_grows(decoded: list[Telemetry]) -> None:
    last: dict[str, int] = {}
    for event in decoded:
        assert event.effective_at >= last.get(event.session_id, 0)
        assert event.pointer is not None
        assert event.pointer.t == sorted(event.pointer.t)
        last[event.session_id] = event.effective_at + int(event.pointer.t[-1])


def test_in_turn_every_session_has_one_event_first() -> None:
    sessions = [key for key, _ in workload(400, sessions=300, in_turn=True)]
    assert len(set(sessions[:300])) == 300


def test_few_accounts_have_many_sessions_and_keep_device_and_country() -> None:
    seen: Counter[str] = Counter()
    countries: dict[str, set[str | None]] = {}
    own = 0
    for key, value in workload(3_000, sessions=3_000, in_turn=True):
        event = decode(value, key)
        assert isinstance(event, Telemetry)
        assert event.account_ref is not None
        assert event.device_ref is not None
        assert event.network is not None
        seen[event.account_ref] += 1
        own += event.account_ref.removeprefix("account-") == event.device_ref.removeprefix("device-")
        if event.pointer is not None and not event.pointer.untrusted_count:
            countries.setdefault(event.account_ref, set()).add(event.network.ip_country)
    assert seen.most_common(1)[0][1] > 20
    assert len(seen) > 1_000
    assert 0.85 < own / 3_000 < 0.95
    assert sum(len(found) > 1 for found in countries.values()) < 0.02 * len(countries) + 20


def test_bots_are_the_stated_share_and_both_kinds_move() -> None:
    cast = cast_of(1)
    assert 0.0 < BOT_RATIO < 0.1
    assert len(cast.people) > 50
    assert cast.bots
    assert all(len(script.pieces) >= 3 for actor in (*cast.people, *cast.bots) for script in actor)


def test_an_event_tells_its_number(events: list[tuple[bytes, bytes]]) -> None:
    numbers = [event_number(msgspec.json.decode(value)["event_id"].encode()) for _, value in events]
    assert numbers == list(range(EVENTS))


def test_no_person_is_a_copy_of_another() -> None:
    """Or a pipeline that looks for copies would have to explain a crowd of replays, which no live traffic is."""
    sessions = 120
    made = list(workload(20 * sessions, sessions=sessions, in_turn=True))

    async def score() -> list[RiskEvent]:
        world = World(movements=True)
        await world.store.open()
        pipeline, owned = world.pipeline(), await world.owned()
        for begin in range(0, len(made), 400):
            part = enumerate(made[begin : begin + 400], begin)
            await pipeline.process(owned, chunk([FakeRecord(n, value, key, START_MS + n) for n, (key, value) in part]))
        return world.events()

    compared = {event.session_id: event.scores.replay for event in asyncio.run(score()) if event.scores.replay}
    flagged = {session for session, replay in compared.items() if replay.raw}
    bots = np.flatnonzero(np.random.default_rng([1, 1]).random(sessions) < BOT_RATIO)
    assert sum(replay.state == "scored" for replay in compared.values()) > 40
    assert {int(session.split("-")[2]) for session in flagged} <= set(bots.tolist())
