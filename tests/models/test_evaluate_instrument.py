"""What tells the instrument: known answers on made-up people, a naive twin, persons never on both sides."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.evaluate_instrument import Rows, apart, instrument_text, leaks, told_apart
from models.train_fit import pointer_columns

INPUTS = len(pointer_columns())
values = st.lists(st.integers(0, 9), min_size=5, max_size=25)


@given(values, values, st.integers(0, 9))
def test_apart_against_its_naive_twin(a: list[int], b: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    of_a, of_b = rng.integers(0, 3, len(a)).astype(np.str_), rng.integers(0, 3, len(b)).astype(np.str_)
    total = won = 0.0
    for x, p in zip(a, of_a, strict=True):
        for y, q in zip(b, of_b, strict=True):
            weight = 1.0 / (of_a == p).sum() / (of_b == q).sum()
            total += weight
            won += weight * (1.0 if y > x else 0.5 if y == x else 0.0)
    found = apart(np.asarray(a, dtype=float), of_a, np.asarray(b, dtype=float), of_b)
    assert found == pytest.approx(max(won / total, 1.0 - won / total))
    # Which group is named first, and which way the feature runs, says nothing.
    assert apart(-np.asarray(b, dtype=float), of_b, -np.asarray(a, dtype=float), of_a) == pytest.approx(found)


def _people(seed: int, shift: float, persons: int = 12, each: int = 10) -> Rows:
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(persons * each, INPUTS))
    X[:, 0] += shift
    X[:, 1] = np.nan
    return Rows(X, np.repeat([f"{seed}-{i}" for i in range(persons)], each))


def test_the_input_that_encodes_the_source_comes_first() -> None:
    people = {"lab": _people(1, 0.0), "shop": _people(2, 9.0), "bank": _people(3, 18.0)}
    bots = {"robot": ("lab", _people(4, 9.0))}
    found = leaks(people, bots)
    assert found[0].mean == pytest.approx(1.0)
    assert found[0].bots == pytest.approx(1.0)
    assert found[0].pairs == 3
    assert found[1].mean < 0.7
    assert found[-1].pairs == 0
    assert np.isnan(found[-1].mean)
    text = instrument_text(found, told_apart(people))
    assert "nan" not in text
    assert text.count("| `") == 30
    assert "lab / shop 1.000" in text
    assert "n=0" in instrument_text([], [])


def test_a_person_is_never_on_both_sides() -> None:
    # Each person is known by an own number, and nothing else is there: only a model that saw the person could tell.
    def marked(seed: int) -> Rows:
        one = _people(seed, 0.0, persons=30)
        X = np.full_like(one.X, np.nan)
        X[:, 0] = np.repeat(np.random.default_rng(seed).permutation(1000)[:30].astype(float), 10)
        return Rows(X, one.unit)

    (both,) = told_apart({"lab": marked(1), "shop": marked(2)})
    assert both.auc == pytest.approx(0.5, abs=0.2)
    (same,) = told_apart({"lab": _people(5, 0.0), "shop": _people(6, 3.0)})
    assert same.auc > 0.95
