"""Half-space trees as served: exactly River's scores, exact continuation, and shares that add up."""

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from features.registry import INDEX
from models import flat
from models.anomaly import FlatHST
from models.anomaly_learn import AnomalyLearner
from models.scorer import check_scorer
from models.walk import NEUTRAL, to_unit
from tests.models.conftest import vectors

Floats = NDArray[np.float64]
NAMES = ["a", "b", "c", "d"]


def learner(seed: int, *, n_trees: int = 5, height: int = 4, window: int = 30) -> AnomalyLearner:
    return AnomalyLearner(
        NAMES, np.arange(4), np.zeros(4), np.ones(4), n_trees=n_trees, height=height, window_size=window, seed=seed
    )


def river_scores(model: AnomalyLearner, rows: Floats) -> Floats:
    unit = to_unit(rows, model.columns, model.low, model.high)
    return np.array([model.river.score_one(dict(enumerate(row.tolist()))) for row in unit])  # type: ignore[no-untyped-call]


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**31), learnt=st.integers(31, 150), trees=st.integers(1, 8), height=st.integers(1, 7))
def test_score_is_rivers_bit_for_bit(seed: int, learnt: int, trees: int, height: int) -> None:
    rng = np.random.default_rng(seed)
    model = learner(seed, n_trees=trees, height=height)
    model.learn(rng.beta(2, 5, size=(learnt, 4)))
    probe = rng.uniform(-0.3, 1.3, size=(40, 4))
    probe[rng.random(probe.shape) < 0.1] = np.nan
    probe[:, 0] = np.nan_to_num(probe[:, 0])
    assert np.array_equal(model.export().raw(probe), river_scores(model, probe))


def test_before_the_first_window_there_is_no_score() -> None:
    model = learner(1)
    model.learn(np.random.default_rng(1).uniform(size=(29, 4)))
    exported = model.export()
    assert not exported.ready
    assert np.isnan(exported.raw(np.full((2, 4), 0.5))).all()
    assert exported.explain(np.full(4, 0.5)) == []


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**31), first=st.integers(1, 80), second=st.integers(1, 80))
def test_a_resumed_learner_goes_on_exactly(seed: int, first: int, second: int) -> None:
    rows = np.random.default_rng(seed).uniform(size=(first + second, 4))
    whole, part = learner(seed), learner(seed)
    whole.learn(rows)
    part.learn(rows[:first])
    stored = FlatHST.from_flat(flat.decode(part.export().to_flat().encode()), {n: i for i, n in enumerate(NAMES)})
    resumed = AnomalyLearner.resume(stored)
    resumed.learn(rows[first:])
    assert resumed.export().hash == whole.export().hash


def test_missing_values_lie_in_the_middle_and_values_are_clipped() -> None:
    rows = np.array([[np.nan, -5.0, 20.0, 5.0]])
    unit = to_unit(rows, np.arange(4), np.zeros(4), np.full(4, 10.0))
    assert unit.tolist() == [[NEUTRAL, 0.0, 1.0, 0.5]]


def test_shares_add_up_to_the_score(hst: FlatHST) -> None:
    for x in np.vstack([vectors(30, bot=False, seed=21), vectors(30, bot=True, seed=22)]):
        (score,), (shares,) = hst.shares(x.reshape(1, -1), np.zeros(1, dtype=np.int64))
        assert score == hst.raw(x.reshape(1, -1))[0]
        assert hst.bias + shares.sum() == pytest.approx(float(hst.raw(x.reshape(1, -1))[0]), abs=1e-9)


def test_unusual_rows_score_higher(hst: FlatHST) -> None:
    people, strange = hst.raw(vectors(200, bot=False, seed=23)), hst.raw(vectors(200, bot=True, seed=24))
    assert np.median(strange) > np.quantile(people, 0.8)


def test_passes_the_public_check(hst: FlatHST) -> None:
    rows = np.vstack([vectors(40, bot=False, seed=25), vectors(20, bot=True, seed=26)])
    encoded = hst.to_flat().encode()
    check_scorer(hst, rows, reload=lambda: FlatHST.from_flat(flat.decode(encoded), INDEX), clock=time.perf_counter)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("feature", lambda a: a + 1000, "no such feature"),
        ("threshold", lambda a: a + 1.0, "outside 0..1"),
        ("threshold", lambda a: a * np.nan, "outside 0..1"),
        ("mass", lambda a: -a - 1, "mass is outside"),
        ("mass", lambda a: a[:, ::-1].copy(), "add up"),
        ("low", lambda a: a * np.inf, "no ranges"),
        ("high", lambda a: a * 0.0 - 1e9, "no ranges"),
        ("mass", lambda a: a[:1], "needed"),
        ("feature", lambda a: a.astype("<i4"), "needed"),
    ],
)
def test_damaged_arrays_are_refused(hst: FlatHST, name: str, change, message: str) -> None:  # type: ignore[no-untyped-def]
    good = hst.to_flat()
    arrays = dict(good.arrays)
    with np.errstate(invalid="ignore"):
        arrays[name] = change(arrays[name])
    with pytest.raises(ValueError, match=message):
        FlatHST.from_flat(flat.FlatModel(good.kind, good.definition, arrays), INDEX)


@pytest.mark.parametrize("key", ["n_trees", "height", "window_size"])
def test_absurd_definitions_are_refused(hst: FlatHST, key: str) -> None:
    good = hst.to_flat()
    definition = {**good.definition, key: 10**9}
    with pytest.raises(ValueError, match=r"anomaly_hst"):
        FlatHST.from_flat(flat.FlatModel(good.kind, definition, good.arrays), INDEX)


def test_a_file_that_was_changed_is_refused(hst: FlatHST) -> None:
    encoded = hst.to_flat().encode()
    at = encoded.index(b'"n_learnt":600')
    changed = encoded[:at] + b'"n_learnt":601' + encoded[at + 14 :]
    with pytest.raises(ValueError, match="hash"):
        flat.decode(changed)


def test_values_on_a_threshold_go_the_way_river_sends_them() -> None:
    model = learner(3, n_trees=4, height=5)
    model.learn(np.random.default_rng(3).beta(2, 5, size=(90, 4)))
    exported = model.export()
    feature, threshold = exported.arrays.feature.ravel(), exported.arrays.threshold.ravel()
    rows = np.full((len(feature), 4), 0.3)
    rows[np.arange(len(rows)), feature] = threshold
    assert np.array_equal(exported.raw(rows), river_scores(model, rows))
