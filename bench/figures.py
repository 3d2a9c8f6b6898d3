"""Arithmetic of the figures: percentiles, medians with their spread, ratios of what was measured side by side."""

import statistics
from collections.abc import Sequence
from typing import NamedTuple


class Spread(NamedTuple):
    """The median of some repetitions, and the lowest and highest of them."""

    median: float
    low: float
    high: float


def spread(values: Sequence[float]) -> Spread:
    """Return median and range. Raises `ValueError` for nothing at all."""
    if not values:
        raise ValueError("no values")
    return Spread(statistics.median(values), min(values), max(values))


def percentile(ordered: Sequence[float], share: float) -> float:
    """Return the smallest of the sorted values that at least a share of them do not pass (nearest rank).

    Raises `ValueError` for nothing at all, and for a share outside (0, 1].
    """
    if not ordered or not 0.0 < share <= 1.0:
        raise ValueError("needs values, and a share above 0 and not above 1")
    rank = -(-len(ordered) * share // 1)
    return float(ordered[max(0, int(rank) - 1)])


def ratios(of: Sequence[float], to: Sequence[float]) -> Spread:
    """Return the spread of quotients of repetitions that were measured side by side, pair by pair.

    Raises `ValueError` where they are not as many.
    """
    return spread([one / other for one, other in zip(of, to, strict=True)])


def slope(points: Sequence[tuple[float, float]]) -> float:
    """Return the slope of the least-squares line through points (x, y); 0 where all have one x."""
    mean_x = statistics.fmean(x for x, _ in points)
    mean_y = statistics.fmean(y for _, y in points)
    spread_x = sum((x - mean_x) ** 2 for x, _ in points)
    return sum((x - mean_x) * (y - mean_y) for x, y in points) / spread_x if spread_x else 0.0
