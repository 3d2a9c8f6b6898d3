"""The validator of LightGBM text models: good ones pass, every kind of damage is refused before LightGBM sees it."""

import re
from collections.abc import Callable

import lightgbm
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.errors import ArtifactError
from models.forest import _float, _floats, _ints, _ints_one_by_one, parse_forest
from tests.models.conftest import POINTER_NAMES


def resized(text: bytes, old: bytes, new: bytes) -> bytes:
    """Replace once inside tree 0 and correct `tree_sizes`, so that only the content is wrong."""
    start, end = text.index(b"Tree=0\n"), text.index(b"Tree=1\n")
    block = text[start:end]
    assert old in block
    changed = block.replace(old, new, 1)
    text = text[:start] + changed + text[end:]
    sizes = text.split(b"tree_sizes=", 1)[1].split(b"\n", 1)[0].split(b" ")
    fixed = b" ".join([str(len(changed)).encode(), *sizes[1:]])
    return text.replace(b"tree_sizes=" + b" ".join(sizes), b"tree_sizes=" + fixed)


def line_of(text: bytes, key: bytes) -> bytes:
    """The first line of that key in tree 0."""
    block = text[text.index(b"Tree=0\n") :]
    found = re.search(rb"^" + key + rb"=.*$", block, re.MULTILINE)
    assert found is not None
    return found.group(0)


def test_good_model_is_understood(model_text: bytes, booster: lightgbm.Booster) -> None:
    forest = parse_forest(model_text)
    assert forest.n_trees == booster.num_trees()
    assert list(forest.feature_names) == POINTER_NAMES
    leaves = sum(tree["num_leaves"] for tree in booster.dump_model()["tree_info"])
    assert len(forest.leaf_value) == leaves


def test_canonical_text_loads_to_the_same_model(model_text: bytes, booster: lightgbm.Booster) -> None:
    rows = np.random.default_rng(0).normal(size=(50, len(POINTER_NAMES)))
    again = lightgbm.Booster(model_str=parse_forest(model_text).canonical.decode())
    assert np.array_equal(again.predict(rows), booster.predict(rows))


def test_missing_tree_sizes_is_refused(model_text: bytes) -> None:
    text = re.sub(rb"tree_sizes=.*\n", b"", model_text)
    with pytest.raises(ArtifactError, match="tree_sizes is missing"):
        parse_forest(text)


def test_cut_in_half_is_refused(model_text: bytes) -> None:
    with pytest.raises(ArtifactError):
        parse_forest(model_text[: len(model_text) // 2])


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        (b"left_child", b"0", "impossible child"),
        (b"left_child", b"999", "impossible child"),
        (b"left_child", b"-999", "impossible leaf"),
        (b"right_child", b"-1", "impossible leaf"),
        (b"split_feature", b"4096", "split_feature 4096 is outside"),
        (b"split_feature", b"-1", "split_feature -1 is outside"),
        (b"leaf_value", b"nan", "not finite"),
        (b"leaf_value", b"inf", "not finite"),
        (b"leaf_value", b"1e300", "not finite or beyond"),
        (b"threshold", b"nan", "threshold is NaN"),
        (b"threshold", b"0x10", "not a number"),
        (b"decision_type", b"1", "not a numerical split"),
        (b"decision_type", b"11", "not a numerical split"),
        (b"leaf_count", b"-5", "leaf_count is negative"),
    ],
)
def test_damaged_content_is_refused(model_text: bytes, key: bytes, value: bytes, message: str) -> None:
    line = line_of(model_text, key)
    values = line.split(b"=", 1)[1].split(b" ")
    damaged = key + b"=" + b" ".join([value, *values[1:]])
    if key == b"right_child":  # a leaf that the left side holds already
        taken = line_of(model_text, b"left_child").split(b"=")[1].split(b" ")[-1]
        damaged = key + b"=" + b" ".join([taken, *values[1:]])
    with pytest.raises(ArtifactError, match=message):
        parse_forest(resized(model_text, line, damaged))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (b"num_cat=0", b"num_cat=1", "categorical"),
        (b"is_linear=0", b"is_linear=1", "linear"),
        (b"num_leaves=", b"num_leaves=1", "num_leaves|values"),
        (b"shrinkage=", b"shrinkage2=", "unknown"),
    ],
)
def test_unsupported_trees_are_refused(model_text: bytes, old: bytes, new: bytes, message: str) -> None:
    with pytest.raises(ArtifactError, match=message):
        parse_forest(resized(model_text, old, new))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"objective=binary sigmoid:1", b"objective=regression"),
        (b"num_class=1", b"num_class=2"),
        (b"version=v4", b"version=v5"),
        (b"max_feature_idx=", b"max_feature_idx=1"),
    ],
)
def test_other_headers_are_refused(model_text: bytes, old: bytes, new: bytes) -> None:
    with pytest.raises(ArtifactError, match="header"):
        parse_forest(model_text.replace(old, new, 1))


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_any_damage_is_refused_or_harmless(model_text: bytes, data: st.DataObject) -> None:
    """Whatever bytes change, the parser either refuses or yields trees that end."""
    at = data.draw(st.integers(0, len(model_text) - 1))
    length = data.draw(st.integers(0, 12))
    new = data.draw(st.binary(max_size=12))
    try:
        forest = parse_forest(model_text[:at] + new + model_text[at + length :])
    except ArtifactError:
        return
    assert np.isfinite(forest.leaf_value).all()
    assert ((forest.split_feature >= 0) & (forest.split_feature < len(forest.feature_names))).all()


def test_a_node_with_two_parents_is_refused(model_text: bytes) -> None:
    """All leaves are still there, but one node hangs twice and another nowhere."""
    line = line_of(model_text, b"right_child")
    right = [int(v) for v in line.split(b"=")[1].split(b" ")]
    left = [int(v) for v in line_of(model_text, b"left_child").split(b"=")[1].split(b" ")]
    inner = [child for child in left if child > 0]
    parent, twice = next((k, c) for k, old in enumerate(right) for c in inner if old > 0 and c > k)
    right[parent] = twice
    damaged = b"right_child=" + b" ".join(str(v).encode() for v in right)
    with pytest.raises(ArtifactError, match="impossible child"):
        parse_forest(resized(model_text, line, damaged))


def outcome(read: Callable[[], list[float]] | Callable[[], list[int]]) -> tuple[list[str], str]:
    try:
        return [repr(value) for value in read()], ""
    except ArtifactError as error:
        return [], str(error)


NUMBERS = st.one_of(
    st.integers(-(10**11), 10**11).map(str),
    st.floats().map(repr),
    st.text("0123456789+-.eEinfa _\n", max_size=12),
    st.sampled_from(["", "-", "--1", "1_0", "\u0663", "+1", "0x1", "infinity", "1e400", "9" * 41, "nan", " ", "-0"]),
)


@given(st.lists(NUMBERS, max_size=6).map(" ".join))
def test_a_line_at_once_is_what_its_tokens_are_one_by_one(line: str) -> None:
    pairs = {"k": line}
    tokens = line.split(" ") if line else []
    assert outcome(lambda: _ints(pairs, "k", "t")) == outcome(lambda: _ints_one_by_one(tokens, "k", "t"))
    assert outcome(lambda: _floats(pairs, "k", "t")) == outcome(lambda: [_float(token, "t: k") for token in tokens])
