"""Percentiles, spreads and ratios are what their definitions say, compared with counting."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.figures import percentile, ratios, slope, spread

values = st.lists(st.floats(0, 1e6, allow_nan=False), min_size=1, max_size=200)


@given(values, st.floats(0.001, 1.0))
def test_a_percentile_is_the_smallest_value_that_enough_do_not_pass(found: list[float], share: float) -> None:
    ordered = sorted(found)
    at = percentile(ordered, share)
    assert at in ordered
    assert sum(one <= at for one in ordered) >= share * len(ordered) - 1e-9
    smaller = [one for one in ordered if one < at]
    assert len(smaller) < share * len(ordered) + 1e-9


def test_percentiles_of_a_hundred() -> None:
    ordered = [float(number) for number in range(1, 101)]
    assert [percentile(ordered, share) for share in (0.5, 0.99, 0.999, 1.0)] == [50.0, 99.0, 100.0, 100.0]


@pytest.mark.parametrize(("ordered", "share"), [([], 0.5), ([1.0], 0.0), ([1.0], 1.1)])
def test_a_percentile_of_nothing_is_refused(ordered: list[float], share: float) -> None:
    with pytest.raises(ValueError, match="needs values"):
        percentile(ordered, share)


def test_a_spread_has_the_middle_and_both_ends() -> None:
    assert spread([3.0, 1.0, 2.0]) == (2.0, 1.0, 3.0)
    assert spread([1.0, 2.0]).median == 1.5
    with pytest.raises(ValueError, match="no values"):
        spread([])


def test_ratios_are_taken_pair_by_pair() -> None:
    assert ratios([2.0, 9.0], [1.0, 3.0]) == (2.5, 2.0, 3.0)
    with pytest.raises(ValueError, match="shorter"):
        ratios([1.0, 2.0], [1.0])


@given(st.floats(-100, 100), st.floats(-100, 100))
def test_the_slope_of_a_line_is_found(rise: float, at: float) -> None:
    assert slope([(float(x), at + rise * x) for x in range(20)]) == pytest.approx(rise, abs=1e-6)
    assert slope([(1.0, 2.0), (1.0, 5.0)]) == 0.0
