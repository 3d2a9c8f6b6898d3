"""What the demo counts, against naive twins over random risk events."""

from __future__ import annotations

import collections
import math

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.risk import Action, RiskEvent
from schemas.telemetry import Collector, SessionEnd, Telemetry
from stream.demo.probe import counter_total, histogram_quantiles
from stream.demo.tally import ACTIONS, Rate, Tally, families, histogram, quantiles, total
from stream.simulation.traffic import Counts, TruthLine
from tests.stream.demo.fake_worker import risk_of

START_MS = 1_790_000_000_000


def risk(
    session: str, offset: int, action: Action, observed_s: float, *, final: bool = False, partition: int = 0
) -> RiskEvent:
    telemetry = Telemetry(
        event_id=f"{session}.{offset}",
        session_id=session,
        tenant="demo",
        flow="signup",
        sequence=offset,
        effective_at=START_MS,
        observed_at=START_MS + 100,
        collector=Collector(name="c", version="1"),
        end=SessionEnd(reason="completed") if final else None,
    )
    event = risk_of(telemetry, partition, offset)
    return msgspec.structs.replace(
        event, observed_s=observed_s, decision=msgspec.structs.replace(event.decision, action=action)
    )


def truth(session: str, actor: str, family: str) -> TruthLine:
    return TruthLine(session_id=session, actor=actor, family=family, flow="signup", n_events=9, ends=True)


ROWS = st.lists(
    st.tuples(st.integers(0, 5), st.sampled_from(ACTIONS), st.floats(0, 60), st.booleans(), st.integers(0, 2)),
    max_size=60,
)


@given(rows=ROWS)
def test_families_agree_with_a_naive_count(rows: list[tuple[int, Action, float, bool, int]]) -> None:
    kinds = [("person", "mouse"), ("bot", "wind"), ("bot", "straight"), ("person", "phone"), ("bot", "wind"), None]
    tally = Tally()
    for number, kind in enumerate(kinds):
        if kind is not None:
            tally.learn(truth(f"s{number}", *kind))
    for offset, (number, action, observed_s, final, partition) in enumerate(rows):
        assert tally.take(
            risk(f"s{number}", offset, action, observed_s, final=final, partition=partition), START_MS + 130, 1.0
        )

    for row in [*families(tally), total(tally, "bot"), total(tally, "person")]:
        mine = []
        for number, kind in enumerate(kinds):
            actor, family = kind or ("unknown", "unknown")
            if actor == row.actor and row.family in {family, "all"}:
                mine.append([(a, s) for k, a, s, _, _ in rows if k == number])
        mine = [events for events in mine if events]
        strongest = [max((ACTIONS.index(a) for a, _ in events)) for events in mine]
        first = [next(s for a, s in events if a != "allow") for events in mine if any(a != "allow" for a, _ in events)]
        assert row.sessions == len(mine)
        assert (row.step_up, row.block) == (strongest.count(1), strongest.count(2))
        assert row.found == len(first)
        if first:
            ordered = sorted(first)
            middle = (ordered[(len(first) - 1) // 2] + ordered[len(first) // 2]) / 2
            assert row.median_found_s == pytest.approx(middle)
        else:
            assert row.median_found_s is None
    assert tally.events == len(rows)
    assert sum(row.sessions for row in families(tally)) == len({row[0] for row in rows})


@given(order=st.lists(st.tuples(st.integers(0, 2), st.integers(0, 12)), max_size=80))
def test_repeats_are_dropped_by_partition_and_offset(order: list[tuple[int, int]]) -> None:
    tally = Tally()
    seen: dict[int, int] = {}
    counted = 0
    for partition, offset in order:
        fresh = offset > seen.get(partition, -1)
        assert tally.take(risk("s", offset, "allow", 1.0, partition=partition), START_MS, 0.0) == fresh
        if fresh:
            seen[partition] = offset
            counted += 1
    assert (tally.events, tally.repeats) == (counted, len(order) - counted)


def test_lost_is_what_has_neither_a_risk_event_nor_a_dead_letter() -> None:
    tally = Tally()
    tally.hear(Counts(sent=5, acked=5), 0.0)
    for offset in range(3):
        tally.take(risk("s", offset, "allow", 1.0), START_MS, 0.0)
    tally.bury("invalid_json")
    assert tally.lost() == 1
    tally.take(risk("s", 2, "allow", 1.0), START_MS, 0.0)
    assert tally.lost() == 1, "a repeat is no answer"
    tally.take(risk("s", 3, "allow", 1.0), START_MS, 0.0)
    assert tally.lost() == 0


def test_sessions_of_others_are_left_out_on_a_shared_broker() -> None:
    tally = Tally(".run1")
    assert tally.take(risk("s.run1", 0, "block", 1.0), START_MS, 0.0)
    assert not tally.take(risk("s.run2", 1, "block", 1.0), START_MS, 0.0)
    assert (tally.events, tally.foreign, list(tally.sessions)) == (1, 1, ["s.run1"])


def test_a_long_demo_does_not_grow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stream.demo.tally.SESSIONS_KEPT", 10)
    tally = Tally()
    for offset in range(35):
        tally.learn(truth(f"s{offset}", "bot", "wind"))
        tally.take(risk(f"s{offset}", offset, "block", 1.0), START_MS, 0.0)
    assert list(tally.sessions) == list(tally.truth) == [f"s{k}" for k in range(25, 35)]
    assert (tally.events, tally.forgotten) == (35, 25)


def test_a_moment_is_a_change_to_stronger_or_an_end() -> None:
    tally = Tally()
    steps: list[tuple[Action, bool]] = [
        ("allow", False), ("step_up", False), ("step_up", False), ("block", False), ("block", True)
    ]  # fmt: skip
    for offset, (action, final) in enumerate(steps):
        tally.take(risk("s", offset, action, float(offset), final=final), START_MS, 0.0)
    assert [(m.action, m.observed_s) for m in reversed(tally.moments)] == [
        ("step_up", 1.0),
        ("block", 3.0),
        ("block", 4.0),
    ]
    assert tally.sessions["s"].found_s == 1.0


@given(values=st.lists(st.floats(0, 1e4), max_size=300))
def test_quantiles_are_nearest_ranks(values: list[float]) -> None:
    found = quantiles(values)
    if not values:
        assert found is None
        return
    assert found is not None
    for share, value in ((0.5, found.p50_ms), (0.99, found.p99_ms)):
        assert value in values
        assert sum(v <= value for v in values) >= share * len(values)
        assert sum(v < value for v in values) < share * len(values)


@given(values=st.lists(st.floats(0, 1), max_size=100), bins=st.integers(1, 40))
def test_histogram_counts_each_value_once(values: list[float], bins: int) -> None:
    counts = histogram(values, bins)
    twin = collections.Counter(min(bins - 1, sum(value >= (k + 1) / bins for k in range(bins - 1))) for value in values)
    assert counts == [twin[k] for k in range(bins)]


@given(adds=st.lists(st.tuples(st.floats(0, 100), st.integers(0, 50)), max_size=50), now=st.floats(0, 110))
def test_a_rate_is_the_mean_of_whole_seconds(adds: list[tuple[float, int]], now: float) -> None:
    rate = Rate()
    for at, n in sorted(adds):
        rate.add(at, n)
    wanted = sum(n for at, n in adds if math.floor(now) - 3 <= math.floor(at) < math.floor(now)) / 3
    assert rate.per_s(now) == pytest.approx(wanted)
    assert sum(rate.last(now, 120)) == sum(n for at, n in adds if math.floor(at) < math.floor(now))


def test_a_counter_is_summed_over_its_labels_and_never_mixed_with_another() -> None:
    body = 'a_total{flow="signup"} 3.0\na_total{flow="login"} 4.0\na_total_created{flow="x"} 9e9\nba_total 5.0\n'
    assert counter_total(body, "a_total") == 7
    assert counter_total(body, "c_total") == 0
    assert counter_total("c_total 2.0\n", "c_total") == 2


def test_the_workers_histogram_is_read_as_prometheus_reads_it() -> None:
    name = "tellwire_received_to_acked_seconds"
    body = f"""# HELP {name} x
# TYPE {name} histogram
{name}_bucket{{le="0.001"}} 40.0
{name}_bucket{{le="0.0025"}} 80.0
{name}_bucket{{le="0.005"}} 100.0
{name}_bucket{{le="+Inf"}} 100.0
{name}_count 100.0
{name}_sum 0.2
"""
    found = histogram_quantiles(body)
    assert found is not None
    assert found.n == 100
    assert found.p50_ms == pytest.approx(1.0 + 1.5 * 10 / 40)
    assert found.p99_ms == pytest.approx(2.5 + 2.5 * 19 / 20)
    assert histogram_quantiles("other 1.0\n") is None
    assert histogram_quantiles(f'{name}_bucket{{le="+Inf"}} 0.0\n') is None
    beyond = histogram_quantiles(f'{name}_bucket{{le="1.0"}} 1.0\n{name}_bucket{{le="+Inf"}} 10.0\n')
    assert beyond is not None
    assert beyond.p99_ms == 1000.0
