"""Exact binomial bounds (Clopper-Pearson) without scipy, for what a calibrated score can promise.

Compiled: nearly every event of a fresh worker, or after a snapshot, asks for a bound that nobody asked for before.
"""

import math
from functools import lru_cache

import numba

_TINY = 1e-300
_CONVERGED = 1e-14
"""Relative size of a step after which nothing but rounding is left."""


@numba.njit(cache=True, nogil=True)
def _beta_fraction(a: float, b: float, x: float) -> float:
    """Continued fraction of the incomplete beta function (modified Lentz), for x below (a + 1) / (a + b + 2)."""
    c, d = 1.0, 1.0 - (a + b) * x / (a + 1.0)
    d = 1.0 / (d if abs(d) > _TINY else _TINY)
    h = d
    # The fraction converges in about sqrt(max(a, b)) steps; the bound covers a hundred million people.
    for m in range(1, 20_000):
        even = m * (b - m) * x / ((a + 2 * m - 1.0) * (a + 2 * m))
        d = 1.0 + even * d
        c = 1.0 + even / c
        d = 1.0 / (d if abs(d) > _TINY else _TINY)
        c = c if abs(c) > _TINY else _TINY
        h *= d * c
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1.0))
        d = 1.0 + odd * d
        c = 1.0 + odd / c
        d = 1.0 / (d if abs(d) > _TINY else _TINY)
        c = c if abs(c) > _TINY else _TINY
        step = d * c
        h *= step
        if abs(step - 1.0) < 1e-15:
            break
    return h


@numba.njit(cache=True, nogil=True)
def _regularized_beta(a: float, b: float, x: float, log_front: float) -> float:
    front = math.exp(log_front)
    if x < (a + 1.0) / (a + b + 2.0):
        return front * _beta_fraction(a, b, x) / a
    return 1.0 - front * _beta_fraction(b, a, 1.0 - x) / b


@numba.njit(cache=True, nogil=True)
def _quantile(a: float, b: float, log_scale: float, wanted: float, begin: float) -> float:
    """Return the x at which I_x(a, b) is `wanted`, by Halley's rule within a bracket; `begin` is a first guess."""
    low, high, x = 0.0, 1.0, begin
    for _ in range(200):
        log_front = log_scale + a * math.log(x) + b * math.log1p(-x)
        off = _regularized_beta(a, b, x, log_front) - wanted
        if off < 0.0:
            low = x
        else:
            high = x
        density = math.exp(log_front) / (x * (1.0 - x))
        better = 0.5 * (low + high)
        if density > 0.0:
            newton = off / density
            curve = (a - 1.0) / x - (b - 1.0) / (1.0 - x)
            # Bounded on both sides: far from the root the rule's own step would be next to none, or too far.
            found = x - newton / (1.0 - 0.5 * max(-1.0, min(1.0, newton * curve)))
            if low <= found <= high:
                better = found
        if abs(better - x) <= _CONVERGED * x:
            return better
        x = better
    return x


def _log_scale(a: float, b: float) -> float:
    return math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b)


@lru_cache(maxsize=65_536)
def upper_bound95(k: int, n: int) -> float:
    """One-sided upper 95 % bound of a share of which `k` of `n` were seen (Clopper and Pearson 1934).

    The p with P(at most k of n | p) = 5 %. 1.0 where `k` >= `n` or nothing was seen at all.
    """
    if n <= 0 or k >= n:
        return 1.0
    a, b = k + 1.0, float(n - k)
    share = a / (n + 1.0)
    guess = share + 1.6448536269514722 * math.sqrt(share * (1.0 - share) / (n + 2.0))
    found: float = _quantile(a, b, _log_scale(a, b), 0.95, min(guess, 0.5 * (1.0 + share)))
    return found


def lower_tail(k: int, n: int, p: float) -> float:
    """Chance of at most `k` of `n` where each has the chance `p` (0 < p < 1); 1.0 from `k` >= `n`."""
    if k >= n:
        return 1.0
    if k < 0:
        return 0.0
    a, b, x = float(n - k), k + 1.0, 1.0 - p
    found: float = _regularized_beta(a, b, x, _log_scale(a, b) + a * math.log(x) + b * math.log1p(-x))
    return min(1.0, max(0.0, found))


def warm_up() -> None:
    """Compile the kernels, or load them from numba's cache."""
    upper_bound95(1, 10)
