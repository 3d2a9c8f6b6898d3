"""Calibrated scores: the naive p-value, its validity for exchangeable people, back-off, and the stored form."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import beta, binom

from models import flat
from models.binomial import _log_scale, _regularized_beta, upper_bound95
from models.calibration import (
    DECLARED_PRIORS,
    KINDS,
    CalibrationBuilder,
    CalibrationTable,
    Calibrator,
    Declared,
    rank_people,
)
from models.cells import ANY, Cell, chain, evidence_of, input_of, parse_cell, source_of
from schemas.risk import CHANNELS

BOT = CHANNELS.index("bot")
CELL = Cell("login", "mouse", "web", "lt7s")


def only_bot(value: float) -> list[float]:
    return [value if i == BOT else math.nan for i in range(len(CHANNELS))]


def table_of(people: dict[str, list[float]], cell: Cell = CELL, **options: int) -> CalibrationTable:
    builder = CalibrationBuilder(values_per_person=options.pop("values_per_person", 10_000))
    for person, values in people.items():
        for value in values:
            builder.add(person, cell, only_bot(value), only_bot(value))
    return builder.build("prior", min_people=options.pop("min_people", 1))


def naive_score(people: list[list[float]], raw: float) -> float:
    """1 - (1 + people at or above) / (n + 1), a person with several sessions counting by their share."""
    above = sum(sum(value >= raw for value in values) / len(values) for values in people)
    return max(0.0, 1.0 - (1.0 + above) / (len(people) + 1.0))


values = st.lists(st.floats(0.0, 1.0), min_size=1, max_size=5)


def naive_of_sources(sources: list[list[list[float]]], raw: float) -> float:
    """The p-value of the mean share of people at or above the score: a source weighs the root of its people."""
    n = sum(map(len, sources))
    above = weights = 0.0
    for people in sources:
        share = sum(sum(v >= raw for v in one) / len(one) for one in people) / len(people)
        above += math.sqrt(len(people)) * share
        weights += math.sqrt(len(people))
    return max(0.0, 1.0 - (1.0 + n * above / weights) / (n + 1.0))


@settings(max_examples=200, deadline=None)
@given(
    sources=st.lists(st.lists(values, min_size=1, max_size=12), min_size=1, max_size=4),
    raw=st.floats(-0.5, 1.5),
)  # fmt: skip
def test_a_source_weighs_the_root_of_how_many_people_it_has(sources: list[list[list[float]]], raw: float) -> None:
    builder = CalibrationBuilder(values_per_person=10_000)
    for k, people in enumerate(sources):
        for i, own in enumerate(people):
            for value in own:
                builder.add(f"{k}-{i}", CELL, only_bot(value), only_bot(value), source=f"source {k}")
    table = CalibrationTable.from_flat(builder.build("prior", min_people=1).to_flat())
    for kind in KINDS:
        found = Calibrator([table]).score("bot", kind, CELL, raw)
        assert found.score == pytest.approx(naive_of_sources(sources, raw), abs=1e-8)
        assert found.calibration.n_people == sum(map(len, sources))


@settings(max_examples=200, deadline=None)
@given(people=st.lists(values, min_size=1, max_size=30), raw=st.floats(-0.5, 1.5))
def test_score_agrees_with_its_naive_twin(people: list[list[float]], raw: float) -> None:
    table = table_of({f"p{i}": v for i, v in enumerate(people)})
    for kind in KINDS:
        found = Calibrator([table]).score("bot", kind, CELL, raw)
        assert found.score == pytest.approx(naive_score(people, raw), abs=1e-9)
        assert found.score <= 1.0 - 1.0 / (len(people) + 1.0) + 1e-12
        assert found.calibration.n_people == len(people)


@settings(max_examples=50, deadline=None)
@given(people=st.lists(values, min_size=2, max_size=20), low=st.floats(0, 1), high=st.floats(0, 1))
def test_a_higher_raw_score_never_scores_lower(people: list[list[float]], low: float, high: float) -> None:
    calibrator = Calibrator([table_of({f"p{i}": v for i, v in enumerate(people)})])
    low, high = sorted((low, high))
    assert calibrator.score("bot", "now", CELL, low).score <= calibrator.score("bot", "now", CELL, high).score


@pytest.mark.parametrize("n", [50, 120])
def test_a_threshold_is_a_false_positive_budget(n: int) -> None:
    """For exchangeable people with unequal numbers of sessions, P(score >= t) <= 1 - t for a session of a new one."""
    rng = np.random.default_rng(n)
    trials = 1_200
    scores = np.empty(trials)
    for trial in range(trials):
        level = rng.normal(size=n + 1)  # people differ
        people = [level[k] + 0.5 * rng.normal(size=rng.integers(1, 6)) for k in range(n)]
        ranks = rank_people([values.tolist() for values in people])
        raw = level[n] + 0.5 * rng.normal()
        at = int(np.searchsorted(ranks.values, raw, side="left"))
        above = ranks.tail[at] if at < len(ranks.tail) else 0.0
        scores[trial] = 1.0 - (1.0 + above) / (n + 1.0)
    for threshold in (0.8, 0.9, 0.95, 0.99):
        hits = int(np.sum(scores >= threshold - 1e-12))
        assert hits <= binom.ppf(1 - 1e-6, trials, 1.0 - threshold)


def test_that_property_sees_a_wrong_formula() -> None:
    """A seeded fault: without the +1, few people promise too much."""
    rng = np.random.default_rng(1)
    hits = sum(np.mean(rng.normal(size=20) >= rng.normal()) <= 0.01 for _ in range(4_000))
    assert hits > binom.ppf(1 - 1e-6, 4_000, 0.01)


def test_running_maximum_holds_over_a_whole_session() -> None:
    """P(a person ever crosses 0.9 in a session) <= 10 %, although each session is looked at 40 times."""
    rng = np.random.default_rng(5)
    crossed, trials, n, looks = 0, 300, 29, 40
    for _ in range(trials):
        sessions = rng.normal(size=(n + 1, looks)).cumsum(axis=1) / 10
        builder = CalibrationBuilder()
        for k in range(n):
            builder.add(f"p{k}", CELL, only_bot(math.nan), only_bot(float(sessions[k].max())))
        calibrator = Calibrator([builder.build("prior")])
        running = np.maximum.accumulate(sessions[n])
        crossed += any(calibrator.score("bot", "anytime", CELL, float(raw)).score >= 0.9 for raw in running)
    assert 0 < crossed <= binom.ppf(1 - 1e-6, trials, 0.1)


def test_nothing_is_promised_without_people() -> None:
    found = Calibrator([]).score("bot", "now", CELL, 0.999)
    assert found.score == 0.0
    assert (found.calibration.n_people, found.calibration.state, found.calibration.fpr_upper95) == (0, "prior", 1.0)


def test_backs_off_where_people_are_few_and_never_over_the_input_type() -> None:
    builder = CalibrationBuilder()
    for i in range(60):
        builder.add(f"a{i}", Cell("signup", "mouse", "web", "lt7s"), only_bot(i / 60))
    for i in range(5):
        builder.add(f"b{i}", CELL, only_bot(0.9))
    for i in range(80):
        builder.add(f"c{i}", Cell("login", "touch", "web", "lt7s"), only_bot(0.5))
    calibrator = Calibrator([builder.build("prior", min_people=50)])
    assert calibrator.score("bot", "now", CELL, 0.95).calibration.cell == "*/mouse/web/lt7s"
    assert calibrator.score("bot", "now", CELL, 0.95).calibration.n_people == 65
    assert calibrator.score("bot", "now", CELL._replace(source="app"), 0.9).calibration.cell == "*/mouse/*/lt7s"
    assert calibrator.score("bot", "now", CELL._replace(evidence="ge60s"), 0.9).calibration.cell == "*/mouse/*/*"
    keys = calibrator.score("bot", "now", CELL._replace(input="keys"), 0.9)
    assert (keys.score, keys.calibration.n_people) == (0.0, 0)


def test_mixed_input_adds_the_p_values_of_its_parts() -> None:
    builder = CalibrationBuilder()
    for i in range(60):
        builder.add(f"m{i}", CELL, only_bot(i / 100))
        builder.add(f"k{i}", CELL._replace(input="keys"), only_bot(i / 200))
    calibrator = Calibrator([builder.build("prior")])
    mouse, keys = (calibrator.score("bot", "now", CELL._replace(input=i), 0.25) for i in ("mouse", "keys"))
    mixed = calibrator.score("bot", "now", CELL._replace(input="mouse+keys"), 0.25)
    assert 1 - mixed.score == pytest.approx((1 - mouse.score) + (1 - keys.score))
    assert mixed.calibration.cell == "login/mouse/web/lt7s|login/keys/web/lt7s"
    assert calibrator.score("anomaly", "now", CELL._replace(input="mouse+keys"), 0.25).score == 0.0


def test_mixed_input_is_valid_for_the_maximum() -> None:
    """The maximum of two scores that depend on each other exceeds the level no more often than promised."""
    rng = np.random.default_rng(9)
    n, trials, hits = 29, 300, 0
    for _ in range(trials):
        common = rng.normal(size=n + 1)
        mouse, keys = common + rng.normal(size=n + 1), common + rng.normal(size=n + 1)
        builder = CalibrationBuilder()
        for k in range(n):
            builder.add(f"m{k}", CELL, only_bot(float(mouse[k])))
            builder.add(f"k{k}", CELL._replace(input="keys"), only_bot(float(keys[k])))
        calibrator = Calibrator([builder.build("prior")])
        raw = float(max(mouse[n], keys[n]))
        hits += calibrator.score("bot", "now", CELL._replace(input="mouse+keys"), raw).score >= 0.8
    assert 0 < hits <= binom.ppf(1 - 1e-6, trials, 0.2)


def test_declared_priors_serve_only_without_people() -> None:
    table = CalibrationBuilder().build("prior", declared=DECLARED_PRIORS)
    calibrator = Calibrator([table])
    keys = CELL._replace(input="keys")
    for p in (0.5, 0.1, 0.02):
        found = calibrator.score("bot", "now", keys, (1 - p) ** 4)
        assert found.score == pytest.approx(1 - p)
        assert (found.calibration.n_people, found.calibration.fpr_upper95) == (0, None)
    assert calibrator.score("bot", "anytime", keys, 1.0).score == pytest.approx(0.99)
    assert calibrator.score("device", "now", CELL, 1.0).score == pytest.approx(0.98)
    assert calibrator.score("bot", "now", CELL, 1.0).score == 0.0

    builder = CalibrationBuilder()
    for i in range(50):
        builder.add(f"p{i}", keys, only_bot(0.99))
    recorded = Calibrator([builder.build("prior", declared=DECLARED_PRIORS)])
    assert recorded.score("bot", "now", keys, 0.95).score == 0.0


def test_the_first_table_with_enough_people_serves() -> None:
    def people(state: str, n: int) -> CalibrationTable:
        builder = CalibrationBuilder()
        for i in range(n):
            builder.add(f"p{i}", CELL, only_bot(0.5))
        return builder.build(state, min_people=50)  # type: ignore[arg-type]

    cases = [(60, 60, 60, "live"), (10, 60, 60, "source"), (10, 20, 60, "prior"), (10, 20, 5, "source")]
    for live, source, prior, wanted in cases:
        tables = [people("live", live), people("source", source), people("prior", prior)]
        assert Calibrator(tables).score("bot", "now", CELL, 0.9).calibration.state == wanted


def test_stored_and_read_back_it_is_the_same() -> None:
    rng = np.random.default_rng(3)
    table = table_of({f"p{i}": rng.uniform(size=3).tolist() for i in range(40)})
    again = CalibrationTable.from_flat(flat.decode(table.to_flat().encode()))
    assert again.hash == table.hash
    for raw in rng.uniform(size=50).tolist():
        assert Calibrator([again]).score("bot", "now", CELL, raw) == Calibrator([table]).score("bot", "now", CELL, raw)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("values", lambda a: a[::-1].copy(), "not sorted"),
        ("values", lambda a: a * np.nan, "not finite"),
        ("tail", lambda a: a * 2, "add up"),
        ("tail", lambda a: a * -1, "not sorted|add up"),
        ("n_people", lambda a: a + 5, "add up"),
        ("start", lambda a: a + 1, "empty or out of order|needed"),
        ("start", lambda a: a * 100_000, "more than"),
    ],
)
def test_damaged_tables_are_refused(name: str, change, message: str) -> None:  # type: ignore[no-untyped-def]
    good = table_of({f"p{i}": [i / 10] for i in range(10)}).to_flat()
    arrays = {**good.arrays, name: change(good.arrays[name])}
    with pytest.raises(ValueError, match=message):
        CalibrationTable.from_flat(flat.FlatModel(good.kind, good.definition, arrays))


@pytest.mark.parametrize("state", ["other", ["live"], 1, 0.5])
def test_a_table_of_an_unknown_state_is_refused(state: str | list[str] | float) -> None:
    good = table_of({f"p{i}": [i / 10] for i in range(10)}).to_flat()
    with pytest.raises(ValueError, match="state is not prior, source or live"):
        CalibrationTable.from_flat(flat.FlatModel(good.kind, {**good.definition, "state": state}, good.arrays))


def test_caps_keep_a_random_part_and_one_vote_a_person() -> None:
    builder = CalibrationBuilder(values_per_person=4, people_per_cell=10)
    for i in range(40):
        for k in range(20):
            builder.add(f"p{i}", CELL, only_bot(i + k / 100))
    table = builder.build("live")
    assert table.people("bot", "now", CELL) == 10
    assert len(table.to_flat().arrays["values"]) == len(table) * 10 * 4


@settings(max_examples=200, deadline=None)
@given(n=st.integers(1, 3_000), share=st.floats(0, 1))
def test_clopper_pearson_is_scipys(n: int, share: float) -> None:
    k = min(n, int(share * n))
    wanted = 1.0 if k == n else float(beta.ppf(0.95, k + 1, n - k))
    assert upper_bound95(k, n) == pytest.approx(wanted, abs=1e-9)


def regularized_beta(a: float, b: float, x: float) -> float:
    """I_x(a, b) by the kernel that the bound rests on."""
    if not 0.0 < x < 1.0:
        return float(x >= 1.0)
    return float(_regularized_beta(a, b, x, _log_scale(a, b) + a * math.log(x) + b * math.log1p(-x)))


def _bisected_bound(k: int, n: int) -> float:
    """The naive twin: halve the interval sixty times."""
    if n <= 0 or k >= n:
        return 1.0
    low, high = k / n, 1.0
    for _ in range(60):
        middle = 0.5 * (low + high)
        if regularized_beta(k + 1.0, float(n - k), middle) < 0.95:
            low = middle
        else:
            high = middle
    return high


@settings(max_examples=500, deadline=None)
@given(data=st.data(), n=st.one_of(st.integers(0, 200), st.integers(0, 100_000_000)))
def test_clopper_pearson_is_the_bisections(data: st.DataObject, n: int) -> None:
    k = data.draw(st.one_of(st.integers(0, min(n + 1, 100)), st.integers(max(0, n - 100), n), st.integers(0, n)))
    # Both have the rounding of the logarithms of gamma, which grows with n; the steps add nothing to it.
    assert upper_bound95(k, n) == pytest.approx(_bisected_bound(k, n), rel=1e-12 + 1e-17 * n * 10, abs=1e-13)


@settings(max_examples=200, deadline=None)
@given(a=st.floats(0.5, 5_000), b=st.floats(0.5, 5_000), x=st.floats(0, 1))
def test_incomplete_beta_is_scipys(a: float, b: float, x: float) -> None:
    assert regularized_beta(a, b, x) == pytest.approx(float(beta.cdf(x, a, b)), abs=1e-9)


def test_bound_covers_the_share_of_people_above() -> None:
    found = Calibrator([table_of({f"p{i}": [i / 100] for i in range(100)})]).score("bot", "now", CELL, 0.95)
    assert found.calibration.fpr_upper95 == pytest.approx(float(beta.ppf(0.95, 6, 95)))


def test_what_a_calibrator_keeps_is_bounded_and_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    table = table_of({f"p{i}": [i / 100] for i in range(100)})
    wanted = Calibrator([table])
    monkeypatch.setattr("models.calibration.MAX_CELLS", 5)
    bounded = Calibrator([table])
    for number in range(23):
        cell = CELL._replace(source=f"collector-{number % 9}")
        for channel in CHANNELS:
            assert bounded.score(channel, "now", cell, 0.5) == wanted.score(channel, "now", cell, 0.5)
            assert len(bounded._scorers) <= len(bounded._cells) <= 5


def test_cells() -> None:
    assert parse_cell(CELL.key) == CELL
    assert [evidence_of(s) for s in (0.0, 1.49, 1.5, 6.9, 14.0, 59.0, 60.0, math.nan)] == [
        "lt1.5s", "lt1.5s", "lt3s", "lt7s", "lt15s", "lt60s", "ge60s", "lt1.5s",
    ]  # fmt: skip
    assert input_of("mouse", has_pointer=True, has_keys=False) == "mouse"
    assert input_of("", has_pointer=True, has_keys=True) == "unknown+keys"
    assert input_of("mouse", has_pointer=False, has_keys=True) == "keys"
    assert input_of(None, has_pointer=False, has_keys=False) == "none"
    assert source_of("a/b", 20.0) == "a_b@20ms"
    assert len(source_of("x" * 500, 20.0)) <= 64
    for channel in CHANNELS:
        cells = chain(CELL, channel)
        assert len(set(cells)) == len(cells)
        if channel in ("bot", "anomaly", "replay"):
            assert {cell.input for cell in cells} == {"mouse"}
    for bad in ("a/b/c", "a/b/c/", "a/b/c/d/e", f"a/b/c/{'x' * 65}"):
        with pytest.raises(ValueError, match="not a cell"):
            parse_cell(bad)
    assert Declared(4.0, 0.01).floor > 0
    assert ANY == "*"
