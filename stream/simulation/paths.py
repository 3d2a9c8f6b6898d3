"""How simulated bots move a pointer: straight lines, Bezier curves, a walk in wind and gravity, a few even steps.

Part of the simulation (see the package). These are the published ideas behind automation tools, written anew; every
path is `(t, x, y)` in ms and CSS px and ends exactly on its target, as scripts do.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from stream.simulation.recording import Float

Rng = np.random.Generator
Point = tuple[float, float]
Path = Callable[[Rng, Point, Point, float], tuple[Float, Float, Float]]
"""From generator, start, target and start time to samples."""


def straight(rng: Rng, start: Point, target: Point, t_ms: float) -> tuple[Float, Float, Float]:
    """A line at constant speed, sampled each 10 ms."""
    speed = float(rng.uniform(0.8, 1.6))
    return _along(
        start,
        target,
        t_ms,
        np.linspace(0.0, 1.0, max(2, int(math.dist(start, target) / speed / 10.0))),
        10.0,
    )


def steps(rng: Rng, start: Point, target: Point, t_ms: float) -> tuple[Float, Float, Float]:
    """A browser driver's `move(x, y, steps=n)`: a handful of even steps as fast as they go."""
    return _along(
        start,
        target,
        t_ms,
        np.linspace(0.0, 1.0, int(rng.integers(6, 16))),
        float(rng.uniform(1.0, 2.5)),
    )


def bezier(rng: Rng, start: Point, target: Point, t_ms: float) -> tuple[Float, Float, Float]:
    """A cubic Bezier curve with random control points, eased out, with a little noise: a "human cursor" library."""
    distance = math.dist(start, target)
    duration = float(rng.uniform(350, 800)) + 0.35 * distance
    n = max(4, int(duration / 10.0))
    u = np.linspace(0.0, 1.0, n)
    s = 1.0 - (1.0 - u) ** 3
    span = 0.25 * distance
    control = [
        (start[0] + f * (target[0] - start[0]) + rng.uniform(-span, span),
         start[1] + f * (target[1] - start[1]) + rng.uniform(-span, span))
        for f in (0.33, 0.66)
    ]  # fmt: skip
    points = np.array([start, *control, target])
    weights = np.stack([(1 - s) ** 3, 3 * s * (1 - s) ** 2, 3 * s**2 * (1 - s), s**3])
    xy = points.T @ weights
    noise = rng.normal(0.0, 0.6, (2, n))
    noise[:, [0, -1]] = 0.0
    t = t_ms + np.cumsum(rng.uniform(8.0, 12.0, n))
    return t, xy[0] + noise[0], xy[1] + noise[1]


def wind(rng: Rng, start: Point, target: Point, t_ms: float) -> tuple[Float, Float, Float]:
    """A walk pulled by gravity to the target and pushed by a changing wind, in steps of bounded length."""
    gravity, gust, limit, calm_px = 9.0, 3.0, float(rng.uniform(10, 16)), 12.0
    x, y = start
    vx = vy = wx = wy = 0.0
    rows: list[Point] = []
    while len(rows) < 2_000:
        dx, dy = target[0] - x, target[1] - y
        distance = math.hypot(dx, dy)
        if distance < 1.0:
            break
        if distance >= calm_px:
            wx = wx / math.sqrt(3) + float(rng.uniform(-1, 1)) * gust / math.sqrt(5)
            wy = wy / math.sqrt(3) + float(rng.uniform(-1, 1)) * gust / math.sqrt(5)
        else:
            wx, wy = wx / math.sqrt(3), wy / math.sqrt(3)
            limit = max(3.0, limit / math.sqrt(5))
        vx, vy = vx + wx + gravity * dx / distance, vy + wy + gravity * dy / distance
        speed = math.hypot(vx, vy)
        if speed > limit:
            clip = limit / 2 + float(rng.random()) * limit / 2
            vx, vy = vx / speed * clip, vy / speed * clip
        if math.hypot(vx, vy) > distance:
            vx, vy = dx, dy
        x, y = x + vx, y + vy
        rows.append((x, y))
    rows.append(target)
    xy = np.array(rows, dtype=np.float64)
    t = np.asarray(t_ms + np.cumsum(rng.uniform(6.0, 12.0, len(rows))), dtype=np.float64)
    return t, xy[:, 0], xy[:, 1]


def _along(start: Point, target: Point, t_ms: float, share: Float, step_ms: float) -> tuple[Float, Float, Float]:
    t = t_ms + step_ms * np.arange(share.size, dtype=np.float64)
    return (
        t,
        start[0] + share * (target[0] - start[0]),
        start[1] + share * (target[1] - start[1]),
    )
