"""The slow part of a session: sequence window, references, upstream results."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.context import F_INPUT
from features.counted import counted
from features.fill import fill_context
from features.meta import MAX_RECENT_SIGNALS, MAX_UPSTREAM, SEQUENCE_WINDOW, Meta, upstream_risk
from features.recorded import START_MS
from features.registry import INDEX, N_FEATURES
from features.velocity import Count
from schemas.signals import Signal
from schemas.telemetry import Device, Network, Pointer, SessionEnd, Viewport
from tests.features import build
from tests.support.counts import parts_of


@given(st.lists(st.integers(0, 700), max_size=300))
def test_the_sequence_window_is_a_set_with_a_horizon(sequences: list[int]) -> None:
    meta, known, highest = Meta(), set[int](), -1
    for sequence in sequences:
        expected = "new"
        if highest - sequence >= SEQUENCE_WINDOW:
            expected = "too_old"
        elif sequence in known:
            expected = "duplicate"
        assert meta.seen(sequence) == expected
        meta.mark(sequence)
        known.add(sequence)
        highest = max(highest, sequence)
        assert meta.highest_sequence == highest
        assert len(meta.window) <= SEQUENCE_WINDOW // 8


def test_the_horizon_is_exact() -> None:
    meta = Meta()
    meta.mark(1000)
    assert meta.seen(1000 - SEQUENCE_WINDOW + 1) == "new"
    assert meta.seen(1000 - SEQUENCE_WINDOW) == "too_old"
    meta.mark(1000 - SEQUENCE_WINDOW + 1)
    assert meta.seen(1000 - SEQUENCE_WINDOW + 1) == "duplicate"


def test_a_huge_leap_forgets_the_window() -> None:
    meta = Meta()
    meta.mark(3)
    meta.mark(2**31 - 1)
    assert meta.seen(2**31 - 1) == "duplicate"
    assert meta.seen(2**31 - 2) == "new"
    assert meta.seen(3) == "too_old"


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 60_000)), max_size=60))
def test_a_clocks_steps_back_are_those_between_events_that_came_in_their_order(told: list[tuple[int, int]]) -> None:
    meta, latest, highest = Meta(), 0, -1
    steps, was_behind = 0, False
    for sequence, begins in told:
        meta.mark(sequence)
        meta.observe(build.event(begins, sequence=sequence), 0)
        latest = max(latest, begins)
        highest = max(highest, sequence)
        if sequence == highest:
            steps += latest - begins > 5_000 and not was_behind
            was_behind = latest - begins > 5_000
        assert (meta.clock_steps, meta.clock_behind) == (steps, was_behind)


def test_a_clock_is_not_compared_with_an_upstream_results() -> None:
    meta = Meta()
    for number, (begins, result) in enumerate([(0, 90_000), (1_000, 95_000), (2_000, 96_000), (3_000, 97_000)]):
        meta.observe_signal(signal(event_id=f"r{number}", effective_at=START_MS + result), 0)
        meta.mark(number)
        meta.observe(build.event(begins, sequence=number), 0)
    assert meta.clock_steps == 0


def test_first_references_are_kept_and_new_ones_ask_for_links() -> None:
    meta = Meta()
    meta.observe(build.event(0, account_ref="a1"), 1_000)
    meta.link_bucket_ms = 7
    meta.observe(build.event(500, sequence=1, account_ref="a2"), 1_500)
    assert (meta.account_ref, meta.link_bucket_ms) == ("a1", 7)
    meta.observe(build.event(900, sequence=2, network=Network(ip_ref="i1", ip_country="DE")), 1_900)
    assert (meta.ip_ref, meta.ip_country, meta.link_bucket_ms, meta.ip_changes) == ("i1", "DE", 0, 0)
    meta.observe(build.event(950, sequence=3, network=Network(ip_ref="i2")), 1_950)
    assert (meta.ip_ref, meta.ip_changes) == ("i2", 1)
    assert (meta.n_events, meta.first_ingested_ms, meta.last_ingested_ms) == (4, 1_000, 1_950)


def test_what_was_seen_and_ended() -> None:
    meta = Meta()
    pointer = Pointer(t=[0.0], x=[1.0], y=[1.0], pointer_type="mouse")
    meta.observe(build.event(0, pointer=pointer, viewport=Viewport(width_px=800, height_px=600)), 1)
    assert (meta.pointer_type, meta.viewport_width_px, meta.has("pointer"), meta.has("keys")) == (
        "mouse",
        800,
        True,
        False,
    )
    meta.observe(build.event(1, sequence=1, end=SessionEnd(reason="completed")), 2)
    assert meta.ended


def signal(**more: Any) -> Signal:
    given: dict[str, Any] = {
        "event_id": "x",
        "session_id": "s",
        "tenant": "t",
        "flow": "login",
        "effective_at": 1_700_000_000_000,
        "observed_at": 1_700_000_000_001,
        "kind": "liveness",
        "provider": "p",
        "outcome": "scored",
        "score": 0.2,
        "direction": "high_is_genuine",
    }
    return Signal(**(given | more))


def test_upstream_results_are_bounded_and_counted_once() -> None:
    meta = Meta()
    assert meta.observe_signal(signal(), 5)
    assert not meta.observe_signal(signal(), 6)
    assert (meta.n_events, meta.last_ingested_ms) == (1, 5)
    for i in range(100):
        assert meta.observe_signal(signal(event_id=f"e{i}"), 7)
    assert (len(meta.recent_signals), len(meta.upstream)) == (MAX_RECENT_SIGNALS, MAX_UPSTREAM)


@pytest.mark.parametrize(
    ("more", "risk"),
    [
        ({}, 0.8),
        ({"direction": "high_is_risk"}, 0.2),
        ({"score": 80.0, "score_min": 0.0, "score_max": 100.0}, 0.2),
        ({"score": 250.0, "score_min": 0.0, "score_max": 100.0, "direction": "high_is_risk"}, 1.0),
        ({"score": 42.0}, None),
        ({"outcome": "timeout", "score": None, "direction": None}, None),
    ],
)
def test_upstream_scores_are_turned_to_risk(more: dict[str, Any], risk: float | None) -> None:
    found = upstream_risk(signal(**more))
    assert found is None if risk is None else found == pytest.approx(risk)


def test_context_is_filled_from_meta_and_counters() -> None:
    meta = Meta()
    meta.observe(build.event(0, keys=build.keys_of(build.typing(1, 3)), device=Device(ua_mobile=True)), 1)
    row = build.fold([build.event(keys=build.keys_of(build.typing(1, 3)))])[-1]
    before = row.copy()
    counters: list[Count | None] = [Count(1, 2, 3), *[Count(0, 0, 0)] * 3]
    counters += [None] * 4
    counters += [*[Count(0, 0, 0)] * 3, Count(4, -1, 6)]
    fill_context(row, meta, counted(parts_of(counters)))
    assert [row[INDEX[f"velocity_account_sessions_{w}"]] for w in ("m5", "h1", "h24")] == [1, 2, 3]
    assert row[INDEX["velocity_ip_countries_m5"]] == 4
    assert row[INDEX["velocity_ip_countries_h1"]] != row[INDEX["velocity_ip_countries_h1"]]
    assert row[F_INPUT] == 5
    assert row[INDEX["session_blocks"]] == 2
    changed = {
        i for i in range(N_FEATURES) if row[i] != before[i] and not (row[i] != row[i] and before[i] != before[i])
    }
    assert all(i >= INDEX["velocity_account_sessions_m5"] or i <= INDEX["session_state_cold"] for i in changed)
