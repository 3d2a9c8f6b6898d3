"""The pointer model: LightGBM through ctypes gives LightGBM's scores, and our walk gives LightGBM's margins."""

import math
import time
from collections.abc import Callable

import lightgbm
import numpy as np
import pytest
from numpy.typing import NDArray

from features.registry import INDEX, N_FEATURES
from models import lightgbm_native
from models.bot import PointerModel
from models.errors import ArtifactError
from models.forest import Forest, parse_forest
from models.lightgbm_native import NativeBooster, WalkBooster, open_booster
from models.scorer import check_scorer
from models.treewalk import attribute, margins
from tests.models.conftest import POINTER_COLUMNS, POINTER_NAMES, vectors

Floats = NDArray[np.float64]


def naive_walk(forest: Forest, x: Floats) -> tuple[float, dict[int, float]]:
    """Margin and shares, one tree at a time, in plain Python; LightGBM's rules for missing values spelled out."""
    margin = 0.0
    shares: dict[int, float] = {}

    def expected(tree: int, node: int) -> float:
        if node < 0:
            return float(forest.leaf_value[forest.leaf_start[tree] + ~node])
        return float(forest.node_value[forest.node_start[tree] + node])

    for tree in range(forest.n_trees):
        first = int(forest.node_start[tree])
        node = 0 if forest.node_start[tree + 1] > first else -1
        while node >= 0:
            at = first + node
            feature, kind = int(forest.split_feature[at]), int(forest.decision_type[at])
            value = float(x[feature])
            default_left, missing = bool(kind & 2), ("none", "zero", "nan")[kind >> 2]
            if math.isnan(value) and missing != "nan":
                value = 0.0
            is_missing = (missing == "nan" and math.isnan(value)) or (missing == "zero" and abs(value) <= 1e-35)
            left = default_left if is_missing else value <= forest.threshold[at]
            child = int(forest.left[at] if left else forest.right[at])
            shares[feature] = shares.get(feature, 0.0) + expected(tree, child) - expected(tree, node)
            node = child
        margin += expected(tree, node)
    return margin, shares


def models() -> list[tuple[str, bytes, Floats]]:
    """Models of all missing types: NaN, zero as missing, none."""
    rng = np.random.default_rng(7)
    made = []
    for name, options, holes in (("nan", {}, 0.2), ("zero", {"zero_as_missing": True}, 0.2), ("none", {}, 0.0)):
        rows = rng.normal(size=(800, 5))
        rows[rng.random(rows.shape) < 0.2] = 0.0
        rows[rng.random(rows.shape) < holes] = np.nan
        labels = (np.nan_to_num(rows[:, 0]) * np.nan_to_num(rows[:, 1]) + rng.normal(size=800) > 0).astype(int)
        parameters = {"objective": "binary", "num_leaves": 9, "verbose": -1, "num_threads": 1, "seed": 1, **options}
        booster = lightgbm.train(parameters, lightgbm.Dataset(rows, labels), 20)
        probe = rng.normal(size=(400, 5))
        probe[rng.random(probe.shape) < 0.2] = np.nan
        probe[rng.random(probe.shape) < 0.2] = 0.0
        probe[0], probe[1], probe[2] = np.inf, -np.inf, 1e-36
        made.append((name, booster.model_to_string().encode(), probe))
    return made


@pytest.fixture(scope="module", params=["nan", "zero", "none"])
def case(request: pytest.FixtureRequest) -> tuple[bytes, Floats]:
    return next((text, probe) for name, text, probe in models() if name == request.param)


def test_walk_gives_lightgbms_margins_bit_for_bit(case: tuple[bytes, Floats]) -> None:
    text, probe = case
    forest = parse_forest(text)
    assert np.array_equal(margins(forest, probe), NativeBooster(forest).predict(probe, raw_score=True))


def test_ctypes_gives_the_python_packages_scores(case: tuple[bytes, Floats]) -> None:
    text, probe = case
    native = NativeBooster(parse_forest(text))
    wanted = lightgbm.Booster(model_str=text.decode()).predict(probe)
    assert np.array_equal(native.predict(probe), wanted)
    for row, score in zip(probe, wanted, strict=True):
        native.row[:] = row
        assert native.predict_row() == score


def test_attribution_agrees_with_its_naive_twin_and_adds_up(case: tuple[bytes, Floats]) -> None:
    text, probe = case
    forest = parse_forest(text)
    out = np.empty(len(forest.feature_names))
    for x in probe[:100]:
        margin = attribute(forest, x, out)
        naive_margin, naive_shares = naive_walk(forest, x)
        assert margin == pytest.approx(naive_margin, abs=1e-12)
        assert forest.bias + out.sum() == pytest.approx(margin, abs=1e-9)
        for feature in range(len(out)):
            assert out[feature] == pytest.approx(naive_shares.get(feature, 0.0), abs=1e-12)


def test_passes_the_public_check(pointer: PointerModel, model_text: bytes) -> None:
    def reload() -> PointerModel:
        return PointerModel(model_text, POINTER_NAMES, POINTER_COLUMNS, {INDEX["pointer_samples"]: 10.0})

    rows = np.vstack([vectors(40, bot=False, seed=11), vectors(40, bot=True, seed=12)])
    check_scorer(pointer, rows, reload=reload, clock=time.perf_counter)
    pointer.check(rows)


def test_without_enough_samples_there_is_no_score(pointer: PointerModel) -> None:
    rows = vectors(3, bot=True, seed=13)
    rows[0, INDEX["pointer_samples"]] = 9.0
    rows[1, INDEX["pointer_samples"]] = np.nan
    assert np.isnan(pointer.raw(rows)).tolist() == [True, True, False]
    assert pointer.explain(rows[0]) == []


def test_features_must_be_the_manifests_in_their_order(model_text: bytes) -> None:
    swapped = [POINTER_NAMES[1], POINTER_NAMES[0], *POINTER_NAMES[2:]]
    with pytest.raises(ArtifactError, match="number 0 is"):
        PointerModel(model_text, swapped, POINTER_COLUMNS, {})


def test_the_check_sees_reasons_that_do_not_fit(model_text: bytes) -> None:
    """A seeded fault: a threshold moved in our copy of the trees only."""
    model = PointerModel(model_text, POINTER_NAMES, POINTER_COLUMNS, {})
    model._forest = model._forest._replace(threshold=model._forest.threshold + 0.3)
    with pytest.raises(ArtifactError, match="margins differ"):
        model.check(vectors(50, bot=True, seed=14))


def test_explanation_speaks_of_the_score(pointer: PointerModel) -> None:
    """Shares add up to the log-odds of the score itself."""
    for x in vectors(20, bot=True, seed=15):
        score = float(pointer.raw(x.reshape(1, -1))[0])
        found = pointer.shares(x)
        assert found is not None
        probability, shares = found
        assert probability == pytest.approx(score, abs=1e-12)
        assert pointer._forest.bias + shares.sum() == pytest.approx(math.log(score / (1 - score)), abs=1e-9)


def naughty(change: Callable[[Floats], Floats]) -> object:
    class Naughty:
        name, hash, columns = "naughty", "0", np.array([0])

        def raw(self, rows: Floats) -> Floats:
            return change(rows)

        def explain(self, x: Floats) -> list[object]:
            return []

    return Naughty()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: rows[:, 0] * 2.0, "outside 0..1"),
        (lambda rows: np.minimum(1.0, rows[:, 0] + len(rows) / 1e6), "one by one differs"),
        (lambda rows: np.clip(np.nan_to_num(rows[:, 0]), 0, 1), "without any data"),
        (lambda rows: rows[:, 0] * 0.0 + np.clip(np.nan_to_num(rows[:, 1]), 0, 1), "does not declare"),
    ],
)
def test_the_public_check_finds_broken_promises(change: Callable[[Floats], Floats], message: str) -> None:
    rows = np.random.default_rng(1).uniform(0.1, 0.9, size=(20, N_FEATURES))
    with pytest.raises(AssertionError, match=message):
        check_scorer(naughty(change), rows)  # type: ignore[arg-type]


def test_values_on_a_threshold_go_the_way_lightgbm_sends_them(case: tuple[bytes, Floats]) -> None:
    forest = parse_forest(case[0])
    rows = np.tile(case[1][3:4], (len(forest.threshold), 1))
    rows[np.arange(len(rows)), forest.split_feature] = forest.threshold
    assert np.array_equal(margins(forest, rows), NativeBooster(forest).predict(rows, raw_score=True))
    out = np.empty(len(forest.feature_names))
    assert [attribute(forest, row, out) for row in rows] == pytest.approx(margins(forest, rows).tolist(), abs=1e-12)


def test_the_walk_stands_in_for_the_library_with_the_same_bits(
    case: tuple[bytes, Floats], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    text, probe = case
    forest = parse_forest(text)
    native = open_booster(forest)

    def unloadable() -> None:
        raise OSError("libgomp.so.1: cannot open shared object file")

    with monkeypatch.context() as without_library:
        without_library.setattr(lightgbm_native, "_library", unloadable)
        walk = open_booster(forest)
    assert isinstance(native, NativeBooster)
    assert isinstance(walk, WalkBooster)
    assert "libgomp" in caplog.text
    assert np.array_equal(walk.predict(probe), native.predict(probe))
    assert np.array_equal(walk.predict(probe, raw_score=True), native.predict(probe, raw_score=True))
    walk.row[:] = probe[0]
    native.row[:] = probe[0]
    assert walk.predict_row() == native.predict_row()
