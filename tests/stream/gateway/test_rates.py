"""Token buckets: the twin counts every bucket for itself, and forgets none."""

from __future__ import annotations

import time
from fractions import Fraction
from statistics import median

from hypothesis import given
from hypothesis import strategies as st

from stream.gateway.rates import Buckets


def naive(asked: list[tuple[str, int]], rate: int, burst: int) -> list[bool]:
    """Exact arithmetic, no bound on memory. Times in ms."""
    left: dict[str, Fraction] = {}
    at: dict[str, int] = {}
    said = []
    for key, now_ms in asked:
        tokens = min(
            Fraction(burst), left.get(key, Fraction(burst)) + Fraction((now_ms - at.get(key, now_ms)) * rate, 1_000)
        )
        at[key] = now_ms
        said.append(tokens >= 1)
        left[key] = tokens - 1 if tokens >= 1 else tokens
    return said


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 700)), max_size=60),
    st.integers(1, 50),
    st.integers(1, 5),
)
def test_each_key_gets_what_exact_arithmetic_gives_it(steps: list[tuple[str, int]], rate: int, burst: int) -> None:
    asked, now = [], 0
    for key, after in steps:
        now += after
        asked.append((key, now))
    buckets = Buckets(rate, burst, 1_000)
    assert [buckets.take(key, now_ms / 1_000) == 0.0 for key, now_ms in asked] == naive(asked, rate, burst)


@given(st.lists(st.tuples(st.integers(0, 30), st.floats(0, 3)), max_size=100), st.integers(1, 8))
def test_memory_is_bounded_and_the_least_recently_asked_is_forgotten(asked: list[tuple[int, float]], most: int) -> None:
    buckets, now = Buckets(1e-6, 1, most), 0.0
    recent: list[int] = []
    for key, after in asked:
        now += after
        is_known = key in recent
        assert (buckets.take(key, now) > 0.0) == is_known  # a bucket that is remembered is empty
        recent = [*(other for other in recent if other != key), key][-most:]
        assert len(buckets) == len(recent)


def test_the_wait_that_is_told_is_enough_and_not_too_much() -> None:
    buckets = Buckets(0.5, 2, 10)
    assert [buckets.take("a", 0.0) for _ in range(2)] == [0.0, 0.0]
    wait = buckets.take("a", 1.0)
    assert wait == 1.0
    assert buckets.take("a", 1.9) > 0.0
    assert buckets.take("a", 2.0) == 0.0


def test_a_clock_that_goes_back_gives_nothing_away() -> None:
    buckets = Buckets(1.0, 1, 10)
    assert buckets.take("a", 100.0) == 0.0
    assert buckets.take("a", 50.0) > 0.0


def test_forgetting_costs_the_same_however_many_were_forgotten() -> None:
    # From a plain dict the first of those left is found behind all that were deleted: 50 times slower by then.
    buckets, seconds = Buckets(1.0, 1, 50_000), []
    for start in range(0, 110_000, 10_000):
        began = time.process_time()
        for key in range(start, start + 10_000):
            buckets.take(key, 0.0)
        seconds.append(time.process_time() - began)
    assert median(seconds[6:]) < 8 * min(seconds)
