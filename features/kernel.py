"""Small compiled helpers that the families share: exact times in float32 pairs, log histograms, moments, entropy.

State rows are float32; every helper reads to float64, computes there and stores back, so a stored row is exactly what
was computed with. No kernel raises; all guard their divisions, so no input yields infinity.
"""

import math
from collections.abc import Callable
from typing import Any

import numba

NAN = math.nan

Kernel = Callable[..., Any]


def inner(function: Callable[..., Any]) -> Kernel:
    """Compile a helper kernel. It is not cached by itself: it becomes part of the entry point that calls it.

    Inside, ask for one of some constants with a tuple, `code in (1, 2)`: a set would be built each time, some 40 ns.
    """
    # Nothing but other kernels calls it, so it needs no wrapper for Python or C.
    options: dict[str, Any] = {
        "nogil": True,
        "error_model": "numpy",
        "no_cpython_wrapper": True,
        "no_cfunc_wrapper": True,
    }
    compiled: Kernel = numba.njit(**options)(function)
    return compiled


@inner
def put_time(s, slot, t_ms):  # type: ignore[no-untyped-def]
    """Store a time in two float32 slots: the pair is exact to 2**-24 of itself twice over, 0.1 ms in a century."""
    high = numba.float32(t_ms)
    s[slot] = high
    s[slot + 1] = t_ms - numba.float64(high)


@inner
def get_time(s, slot):  # type: ignore[no-untyped-def]
    """Read a time stored by `put_time`, ms."""
    return numba.float64(s[slot]) + numba.float64(s[slot + 1])


@inner
def log_bin(value, first, bins):  # type: ignore[no-untyped-def]
    """Index of `value` among octaves: bin i holds [first * 2**i, first * 2**(i + 1)), the ends are open."""
    if not value >= first:
        return 0
    index = math.floor(math.log2(value / first))
    return min(max(index, 0), bins - 1)


@inner
def add_moments(s, slot, value):  # type: ignore[no-untyped-def]
    """Add a value to a (count, sum, sum of squares) triple."""
    s[slot] += 1.0
    s[slot + 1] += value
    s[slot + 2] += value * value


@inner
def add_pair(s, slot, u, v):  # type: ignore[no-untyped-def]
    """Add a pair to (n, sum u, sum v, sum u², sum v², sum uv)."""
    s[slot] += 1.0
    s[slot + 1] += u
    s[slot + 2] += v
    s[slot + 3] += u * u
    s[slot + 4] += v * v
    s[slot + 5] += u * v


@inner
def mean_of(n, total, least):  # type: ignore[no-untyped-def]
    """Mean, or NaN with fewer than `least` values."""
    if n < least:
        return NAN
    return total / n


@inner
def sd_of(n, total, squares, least):  # type: ignore[no-untyped-def]
    """Standard deviation with n - 1, or NaN with fewer than max(2, `least`) values."""
    if n < 2.0 or n < least:
        return NAN
    mean = total / n
    return math.sqrt(max(squares / n - mean * mean, 0.0) * n / (n - 1.0))


@inner
def ratio_of(part, whole, least):  # type: ignore[no-untyped-def]
    """Part / whole, or NaN while whole < least (at least: whole > 0)."""
    if whole <= 0.0 or whole < least:
        return NAN
    return part / whole


@inner
def entropy_of(s, slot, bins, least):  # type: ignore[no-untyped-def]
    """Shannon entropy of a histogram over log(bins), 0 to 1, with Miller-Madow's correction; NaN below `least`."""
    total = 0.0
    for i in range(bins):
        total += s[slot + i]
    if total <= 0.0 or total < least:
        return NAN
    entropy = 0.0
    used = 0.0
    for i in range(bins):
        p = s[slot + i] / total
        if p > 0.0:
            entropy -= p * math.log(p)
            used += 1.0
    entropy += (used - 1.0) / (2.0 * total)
    return min(max(entropy / math.log(bins), 0.0), 1.0)


@inner
def skew_of(n, s1, s2, s3, least):  # type: ignore[no-untyped-def]
    """Skewness from raw power sums, NaN with too few values or no spread."""
    if n < 3.0 or n < least:
        return NAN
    mean = s1 / n
    variance = s2 / n - mean * mean
    if variance < 1e-6:
        return NAN
    third = s3 / n - 3.0 * mean * s2 / n + 2.0 * mean * mean * mean
    return third / (variance * math.sqrt(variance))


@inner
def kurtosis_of(n, s1, s2, s3, s4, least):  # type: ignore[no-untyped-def]
    """Excess kurtosis from raw power sums, NaN with too few values or no spread."""
    if n < 4.0 or n < least:
        return NAN
    m = s1 / n
    variance = s2 / n - m * m
    if variance < 1e-6:
        return NAN
    fourth = s4 / n - 4.0 * m * s3 / n + 6.0 * m * m * s2 / n - 3.0 * m * m * m * m
    return fourth / (variance * variance) - 3.0


@inner
def slope_of(n, su, sv, suu, suv, least):  # type: ignore[no-untyped-def]
    """Least-squares slope of v on u from sums, NaN with too few values or no spread of u."""
    if n < 3.0 or n < least:
        return NAN
    spread = suu / n - (su / n) * (su / n)
    if spread < 1e-3:
        return NAN
    return (suv / n - (su / n) * (sv / n)) / spread


@inner
def correlation_of(n, su, sv, suu, svv, suv, least):  # type: ignore[no-untyped-def]
    """Pearson correlation from sums, NaN with too few values or no spread."""
    if n < 3.0 or n < least:
        return NAN
    spread_u = suu / n - (su / n) * (su / n)
    spread_v = svv / n - (sv / n) * (sv / n)
    if spread_u < 1e-6 or spread_v < 1e-6:
        return NAN
    r = (suv / n - (su / n) * (sv / n)) / math.sqrt(spread_u * spread_v)
    return min(max(r, -1.0), 1.0)
