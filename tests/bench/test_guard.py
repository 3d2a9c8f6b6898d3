"""The guard's verdict is that of the median of all pairs, however few are measured; a reference is set from pairs."""

from __future__ import annotations

import itertools
import statistics

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.guard import FILE, LEAST_MARGIN, MOST_MARGIN, PAIRS, Reference, is_settled, reference_of, verdict

REFERENCE = Reference(worker_to_loop_cpu=1.2, margin=0.15, low=1.15, high=1.25, pairs=7)


@given(st.lists(st.floats(0.5, 3.0), min_size=PAIRS, max_size=PAIRS))
def test_the_verdict_on_the_first_pairs_is_that_on_all(ratios: list[float]) -> None:
    count = next(count for count in itertools.count(1) if is_settled(ratios[:count], REFERENCE.limit))
    assert PAIRS // 2 < count <= PAIRS
    early = verdict(ratios[:count], REFERENCE)
    assert (early is not None) == (statistics.median(ratios) > REFERENCE.limit)


def test_it_says_what_is_wrong_and_what_to_do() -> None:
    assert verdict([1.37, 1.2, 1.3, 1.6, 1.2], REFERENCE) is None
    why = verdict([1.5, 1.5, 1.1, 1.7, 1.5], REFERENCE)
    assert why is not None
    assert "1.50 (1.10 to 1.70) times" in why
    assert "limit 1.38" in why
    assert "ARGS=--set" in why


@given(st.floats(0.8, 2.0), st.lists(st.floats(0.97, 1.03), min_size=PAIRS, max_size=PAIRS))
def test_noise_like_the_references_own_passes_and_two_fifths_more_fail(ratio: float, noise: list[float]) -> None:
    reference = reference_of([ratio * one for one in noise])
    assert LEAST_MARGIN <= reference.margin <= MOST_MARGIN
    assert verdict([ratio * one for one in reversed(noise)], reference) is None
    assert verdict([ratio * one * 1.4 for one in noise], reference) is not None


def test_the_margin_is_the_range_of_the_pairs_within_its_bounds() -> None:
    assert reference_of([1.0] * PAIRS).margin == LEAST_MARGIN
    assert reference_of([0.9, 1.0, 1.0, 1.0, 1.1]).margin == pytest.approx(0.2)
    assert reference_of([0.5, 1.0, 1.0, 1.0, 1.5]).margin == MOST_MARGIN


def test_the_committed_reference_is_readable_and_its_margin_moderate() -> None:
    reference = msgspec.json.decode(FILE.read_bytes(), type=Reference)
    assert 0.9 < reference.worker_to_loop_cpu < 3.0
    assert LEAST_MARGIN <= reference.margin <= MOST_MARGIN
    assert reference.low <= reference.worker_to_loop_cpu <= reference.high
