"""The pointer model: LightGBM through ctypes gives LightGBM's scores, and our walk gives LightGBM's margins."""

import math
import time
from collections.abc import Callable

import lightgbm
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from features.registry import INDEX, N_FEATURES
from models import lightgbm_native, walk
from models.bot import PointerModel
from models.errors import ArtifactError
from models.forest import Forest, parse_forest
from models.lightgbm_native import NativeBooster
from models.scorer import check_scorer
from models.treewalk import flat_trees
from models.walk import Trees
from tests.models.conftest import POINTER_COLUMNS, POINTER_NAMES, vectors
from tests.support.naive_shares import pointer_shares, walk_forest

Floats = NDArray[np.float64]


def trees_of(forest: Forest) -> Trees:
    return flat_trees(forest, np.arange(len(forest.feature_names)), {})


def margins(forest: Forest, rows: Floats) -> Floats:
    return walk.score(trees_of(forest), rows, as_sum=True)


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


def chain_of(n_features: int) -> Forest:
    """One tree that is a chain: each feature once, to the left a leaf, to the right the next node."""
    n = n_features
    return Forest(
        feature_names=tuple(f"f{i}" for i in range(n_features)), sigmoid=1.0,
        node_start=np.array([0, n]), leaf_start=np.array([0, n + 1]),
        split_feature=np.arange(n, dtype=np.int32), threshold=np.zeros(n),
        decision_type=np.zeros(n, dtype=np.int8), left=~np.arange(n, dtype=np.int32),
        right=np.append(np.arange(1, n, dtype=np.int32), ~np.int32(n)),
        node_value=np.zeros(n), leaf_value=np.arange(n + 1.0), bias=0.0, canonical=b"",
    )  # fmt: skip


def full_tree(depth: int) -> Forest:
    """One tree that is full: its nodes in heap order."""
    n = 2**depth - 1
    child = np.arange(2 * n + 1)
    child = np.where(child < n, child, ~(child - n)).astype(np.int32)
    return Forest(
        feature_names=("f",), sigmoid=1.0, node_start=np.array([0, n]), leaf_start=np.array([0, n + 1]),
        split_feature=np.zeros(n, dtype=np.int32), threshold=np.zeros(n), decision_type=np.zeros(n, dtype=np.int8),
        left=child[1::2], right=child[2::2], node_value=np.zeros(n), leaf_value=np.arange(n + 1.0), bias=0.0,
        canonical=b"",
    )  # fmt: skip


def test_a_forest_that_does_not_fit_a_nodes_word_is_refused() -> None:
    # The columns of the last one that fits are 0 to 65 534, and 65 535 for leaves.
    fits = trees_of(chain_of(65_535))
    assert int((fits.word >> 16).max()) == 65_535
    with pytest.raises(ArtifactError, match="too large to be walked: columns"):
        trees_of(chain_of(65_536))
    # From the last split of a full tree it is as far as there are splits beside it.
    deep = trees_of(full_tree(16))
    assert int((deep.word & 0xFFFF).max()) == 65_535
    assert walk.score(deep, np.array([[1.0]]), as_sum=True).tolist() == [65_535.0]
    with pytest.raises(ArtifactError, match="too large to be walked: a way"):
        trees_of(full_tree(17))


@pytest.mark.parametrize(("column", "delta"), [(-1, 0), (0, -1), (65_536, 0), (0, 65_536)])
def test_a_word_holds_what_fits_and_nothing_else(column: int, delta: int) -> None:
    packed = walk.words(np.array([0, 65_535, 3]), np.array([0, 65_535, 2]))
    assert packed.tolist() == [0, 0xFFFFFFFF, 3 << 16 | 2]
    assert packed.dtype == np.uint32
    with pytest.raises(ArtifactError, match="too large to be walked"):
        walk.words(np.array([0, column]), np.array([0, delta]))


def test_walk_gives_lightgbms_probabilities_bit_for_bit(case: tuple[bytes, Floats]) -> None:
    text, probe = case
    forest = parse_forest(text)
    assert np.array_equal(walk.score(trees_of(forest), probe), NativeBooster(forest).predict(probe))


def test_attribution_agrees_with_its_naive_twin_and_adds_up(case: tuple[bytes, Floats]) -> None:
    text, probe = case
    forest = parse_forest(text)
    at = np.arange(99, -1, -1)
    scores, shares = walk.share(trees_of(forest), probe, at)
    assert np.array_equal(scores, walk.score(trees_of(forest), probe)[at])
    for i, own in zip(at, shares, strict=True):
        margin, naive = walk_forest(forest, probe[i])
        assert margin == margins(forest, probe[i : i + 1])[0]
        assert forest.bias + own.sum() == pytest.approx(margin, abs=1e-9)
        assert own.tolist() == [naive.get(feature, 0.0) for feature in range(len(own))]


@settings(max_examples=60, deadline=None)
@given(data=st.data(), n_trees=st.integers(1, 9))
def test_any_forest_is_walked_as_its_twin_walks_it(data: st.DataObject, n_trees: int) -> None:
    """Trees of any shape, thresholds at and beyond the edges, every way to treat what is missing."""
    edges = st.sampled_from([0.0, -0.0, 1e-36, -1e-36, 1.0, -1.0, 2.5, 1e308, -1e308, math.inf, -math.inf])
    parts = [data.draw(trees(edges)) for _ in range(n_trees)]
    forest = forest_of(parts)
    values = st.one_of(edges, st.just(math.nan), st.floats(-3, 3))
    rows = np.array(data.draw(st.lists(st.lists(values, min_size=3, max_size=3), min_size=1, max_size=5)))
    rows = rows[~np.isnan(rows).all(axis=1)]
    scores, shares = walk.share(trees_of(forest), rows, np.arange(len(rows)))
    assert np.array_equal(scores, walk.score(trees_of(forest), rows))
    for x, margin, own in zip(rows, margins(forest, rows), shares, strict=True):
        naive_margin, naive = walk_forest(forest, x)
        assert margin == naive_margin
        assert own.tolist() == [naive.get(feature, 0.0) for feature in range(3)]


@st.composite
def trees(draw: st.DrawFn, thresholds: st.SearchStrategy[float]) -> tuple[list[tuple[int, float, int, int, int]], int]:
    """Nodes (feature, threshold, decision type, left, right) and the number of leaves of one tree."""
    nodes: list[tuple[int, float, int, int, int]] = []
    n_inner = draw(st.integers(0, 12))
    ends: list[tuple[int, bool]] = []  # where a leaf hangs: parent and side
    for node in range(n_inner):
        kind = draw(st.sampled_from([0, 2, 4, 6, 8, 10]))
        nodes.append((draw(st.integers(0, 2)), draw(thresholds), kind, 0, 0))
        if ends:
            parent, is_left = ends.pop(draw(st.integers(0, len(ends) - 1)))
            old = nodes[parent]
            nodes[parent] = (*old[:3], node, old[4]) if is_left else (*old[:4], node)
        ends += [(node, True), (node, False)]
    for leaf, (parent, is_left) in enumerate(ends):
        old = nodes[parent]
        nodes[parent] = (*old[:3], ~leaf, old[4]) if is_left else (*old[:4], ~leaf)
    return nodes, max(1, len(ends))


def forest_of(parts: list[tuple[list[tuple[int, float, int, int, int]], int]]) -> Forest:
    nodes = [node for part, _ in parts for node in part]
    n_leaves = sum(leaves for _, leaves in parts)
    rng = np.random.default_rng(len(nodes))
    columns = list(zip(*nodes, strict=True)) or [()] * 5
    return Forest(
        feature_names=("a", "b", "c"),
        sigmoid=1.0,
        node_start=np.cumsum([0, *(len(part) for part, _ in parts)]),
        leaf_start=np.cumsum([0, *(leaves for _, leaves in parts)]),
        split_feature=np.array(columns[0], dtype=np.int32),
        threshold=np.array(columns[1], dtype=np.float64),
        decision_type=np.array(columns[2], dtype=np.int8),
        left=np.array(columns[3], dtype=np.int32),
        right=np.array(columns[4], dtype=np.int32),
        node_value=rng.normal(size=len(nodes)),
        leaf_value=rng.normal(size=n_leaves),
        bias=0.0,
        canonical=b"",
    )


def test_passes_the_public_check(pointer: PointerModel, model_text: bytes) -> None:
    def reload() -> PointerModel:
        return PointerModel(model_text, POINTER_NAMES, POINTER_COLUMNS, {INDEX["pointer_samples"]: 10.0})

    rows = np.vstack([vectors(40, bot=False, seed=11), vectors(40, bot=True, seed=12)])
    check_scorer(pointer, rows, reload=reload, clock=time.perf_counter)
    pointer.check(rows)
    evidence = {INDEX["pointer_samples"]: 10.0}
    rows[::3, [AXIS, DIAGONAL, AHEAD]] = (0.6, 0.4, 1.0)
    fussy = PointerModel(model_text, POINTER_NAMES, POINTER_COLUMNS, evidence, LED_BY_KEYS)
    check_scorer(
        fussy, rows, reload=lambda: PointerModel(model_text, POINTER_NAMES, POINTER_COLUMNS, evidence, LED_BY_KEYS)
    )


def test_without_enough_samples_there_is_no_score(pointer: PointerModel) -> None:
    rows = vectors(3, bot=True, seed=13)
    rows[0, INDEX["pointer_samples"]] = 9.0
    rows[1, INDEX["pointer_samples"]] = np.nan
    assert np.isnan(pointer.raw(rows)).tolist() == [True, True, False]
    assert pointer.explain(rows[0]) == []


AXIS, DIAGONAL, AHEAD = (INDEX[f"pointer_{name}_ratio"] for name in ("axis", "diagonal", "ahead"))
INTERVAL = INDEX["pointer_interval_ms"]
LED_BY_KEYS = ((0, AXIS, DIAGONAL, 0.95), (0, AHEAD, -1, 0.9))
TOO_COARSE = ((1, INTERVAL, -1, 75.0),)
SHOWN = (0.0, 0.1, 0.5, 0.85, 0.9, 0.95, 1.0, math.nan)


@settings(max_examples=100, deadline=None)
@given(
    st.tuples(*[st.sampled_from(SHOWN) for _ in range(3)], st.sampled_from([20.0, 74.9, 75.0, 200.0, math.nan])),
    st.sampled_from([(), LED_BY_KEYS, LED_BY_KEYS[:1], TOO_COARSE, (*LED_BY_KEYS, *TOO_COARSE)]),
)
def test_in_a_case_that_it_cannot_judge_a_model_has_no_score(
    model_text: bytes, shown: tuple[float, float, float, float], outside: tuple[tuple[int, int, int, float], ...]
) -> None:
    model = PointerModel(model_text, POINTER_NAMES, POINTER_COLUMNS, {INDEX["pointer_samples"]: 10.0}, outside)
    rows = vectors(2, bot=True, seed=21)
    rows[0, [AXIS, DIAGONAL, AHEAD, INTERVAL]] = shown
    rows[1, [AXIS, DIAGONAL, AHEAD, INTERVAL]] = 0.2
    axis, diagonal, ahead, interval = shown
    along = axis + diagonal >= 0.95
    withheld = (outside == LED_BY_KEYS[:1] and along) or (set(LED_BY_KEYS) <= set(outside) and along and ahead >= 0.9)
    withheld |= set(TOO_COARSE) <= set(outside) and interval >= 75.0
    assert np.isnan(model.raw(rows)).tolist() == [withheld, False]
    assert (pointer_shares(model, rows[0]) is None) == withheld
    assert (model.explain(rows[0]) == []) == withheld
    read = set(model.columns.tolist()) - set(POINTER_COLUMNS.tolist()) - {INDEX["pointer_samples"]}
    assert read == {i for one in outside for i in one[1:3] if i >= 0} - set(POINTER_COLUMNS.tolist())
    model.check(rows)


def test_the_cases_are_part_of_a_models_identity(model_text: bytes) -> None:
    made = [
        PointerModel(model_text, POINTER_NAMES, POINTER_COLUMNS, {}, outside).hash
        for outside in ((), LED_BY_KEYS, LED_BY_KEYS[:1], TOO_COARSE)
    ]
    assert len(set(made)) == 4


def test_features_must_be_the_manifests_in_their_order(model_text: bytes) -> None:
    swapped = [POINTER_NAMES[1], POINTER_NAMES[0], *POINTER_NAMES[2:]]
    with pytest.raises(ArtifactError, match="number 0 is"):
        PointerModel(model_text, swapped, POINTER_COLUMNS, {})


def test_the_check_sees_reasons_that_do_not_fit(model_text: bytes) -> None:
    """A seeded fault: a threshold moved in our copy of the trees only."""
    model = PointerModel(model_text, POINTER_NAMES, POINTER_COLUMNS, {})
    model._trees = model._trees._replace(threshold=model._trees.threshold + 0.3)
    with pytest.raises(ArtifactError, match="margins differ"):
        model.check(vectors(50, bot=True, seed=14))


def test_explanation_speaks_of_the_score(pointer: PointerModel) -> None:
    """Shares add up to the log-odds of the score itself."""
    for x in vectors(20, bot=True, seed=15):
        score = float(pointer.raw(x.reshape(1, -1))[0])
        (probability,), (shares,) = pointer.shares(x.reshape(1, -1), np.zeros(1, dtype=np.int64))
        assert probability == score
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


def test_without_the_library_the_model_is_served_uncompared(
    model_text: bytes, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    model = PointerModel(model_text, POINTER_NAMES, POINTER_COLUMNS, {})
    rows = vectors(3, bot=True, seed=16)
    scores = model.raw(rows)

    def unloadable() -> None:
        raise OSError("libgomp.so.1: cannot open shared object file")

    monkeypatch.setattr(lightgbm_native, "_library", unloadable)
    again = PointerModel(model_text, POINTER_NAMES, POINTER_COLUMNS, {})
    again.check(rows)
    assert "libgomp" in caplog.text
    assert np.array_equal(again.raw(rows), scores)
