"""Bot paths for training, each paired with a person's recording: same targets, pauses and recorder, another hand.

A family that exists with one recorder only is found by its recorder. So every recorder's people get counterparts from
the same generators: the person's runs between pauses are reduced to their corner points, and the pointer is driven from
corner to corner by a rule of a published kind (straight, Bézier, spline, noisy, wind-blown, hopping, traced), at the
person's sample times, at the same intervals in another order, or at even ones. These rows exist in training alone: no
figure is taken on them, and they leave training together with the person or source that they were made from.
"""

from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from models.dataset import Codes, Floats, Recording

STYLES: tuple[str, ...] = (
    "line", "bezier", "arc", "waves", "shaky", "wander", "spline", "walk", "hop", "trace", "trace_rough",
)  # fmt: skip
"""Path rules. Each session draws one, with its parameters."""

RUN_GAP_MS = 150.0
"""Time between samples that separates runs: pauses stay where the person made them."""

EASINGS = 6


@dataclass(frozen=True, slots=True)
class Style:
    """A session's rule and parameters.

    tempo: how the way is spread over time (even, eased, or a random flow whose ln speed has the deviation tempo_sd);
    exponent: steepness of the easing; curve: sideways deviation over distance; noise_px: sample noise, smoothed over
    `smooth` samples; corner_ratio: what counts as a corner, over the run's path; clock: the person's intervals, the
    same in another order, or even ones.
    """

    rule: str
    tempo: str
    tempo_sd: float
    easing: int
    easing_varies: bool
    exponent: float
    corner_ratio: float
    curve: float
    noise_px: float
    noisy: bool
    smooth: int
    waypoints: int
    waves: float
    overshoots: bool
    clock: str


def draw_style(rng: np.random.Generator, rules: tuple[str, ...] = STYLES) -> Style:
    """A rule and its parameters at random, from smooth to rough on both sides of what people do."""
    return Style(
        rule=str(rng.choice(np.asarray(rules))),
        tempo=str(rng.choice(np.asarray(("even", "eased", "eased", "eased", "flow", "flow")))),
        tempo_sd=float(np.exp(rng.uniform(np.log(0.1), np.log(1.5)))),
        easing=int(rng.integers(0, EASINGS)),
        easing_varies=bool(rng.random() < 0.3),
        exponent=float(np.exp(rng.uniform(np.log(1.3), np.log(5.0)))),
        corner_ratio=float(np.exp(rng.uniform(np.log(0.04), np.log(0.3)))),
        curve=float(np.exp(rng.uniform(np.log(0.02), np.log(0.6)))),
        noise_px=float(np.exp(rng.uniform(np.log(0.3), np.log(6.0)))),
        noisy=bool(rng.random() < 0.35),
        smooth=int(rng.integers(1, 8)),
        waypoints=int(rng.integers(2, 6)),
        waves=float(rng.uniform(0.5, 4.0)),
        overshoots=bool(rng.random() < 0.25),
        clock=str(rng.choice(np.asarray(("person", "person", "shuffled", "even")))),
    )


def corners(x: Floats, y: Floats, tolerance_px: float) -> list[int]:
    """Indexes of the points that Douglas and Peucker's rule keeps: no other is further than the tolerance from them."""
    keep = {0, len(x) - 1}
    open_parts = [(0, len(x) - 1)]
    while open_parts:
        a, b = open_parts.pop()
        if b - a < 4:
            continue
        cx, cy = x[b] - x[a], y[b] - y[a]
        chord = float(np.hypot(cx, cy))
        dx, dy = x[a + 1 : b] - x[a], y[a + 1 : b] - y[a]
        distance = np.abs(cx * dy - cy * dx) / chord if chord > 1e-6 else np.hypot(dx, dy)
        furthest = int(distance.argmax())
        if distance[furthest] > tolerance_px and 0 < furthest < b - a - 2:
            at = a + 1 + furthest
            keep.add(at)
            open_parts += [(a, at), (at, b)]
    return sorted(keep)


def ease(u: Floats, easing: int, exponent: float) -> Floats:
    """Share of the way at share u of the time, both 0 to 1: even, in-out, out, minimum-jerk, in, cosine."""
    if easing == 1:
        return np.where(u < 0.5, 0.5 * (2 * u) ** exponent, 1 - 0.5 * np.abs(2 * (1 - u)) ** exponent)
    if easing == 2:
        return np.asarray(1 - np.abs(1 - u) ** exponent)
    if easing == 3:
        return np.asarray(10 * u**3 - 15 * u**4 + 6 * u**5)
    if easing == 4:
        return np.asarray(u**exponent)
    if easing == 5:
        return np.asarray(0.5 - 0.5 * np.cos(np.pi * u))
    return u


def _smooth_noise(n: int, length: int, rng: np.random.Generator) -> Floats:
    noise = rng.normal(size=n + length)
    return np.convolve(noise, np.ones(length) / np.sqrt(length), "valid")[:n]


def _flow(u: Floats, knots: int, sd: float, rng: np.random.Generator) -> Floats:
    """Share of the way under a speed that changes at random between knots."""
    grid = np.linspace(0.0, 1.0, 129)
    speed = np.interp(grid, np.linspace(0.0, 1.0, knots), np.exp(rng.normal(0.0, sd, knots)))
    way = np.concatenate(([0.0], np.cumsum(0.5 * (speed[1:] + speed[:-1]))))
    shares: Floats = np.interp(u, grid, way / way[-1])
    return shares


def progress(u: Floats, style: Style, rng: np.random.Generator) -> Floats:
    """Share of the way at shares `u` of the time, by the style's tempo."""
    if style.tempo == "even":
        return u
    if style.tempo == "flow":
        return _flow(u, 2 + 2 * style.waypoints, style.tempo_sd, rng)
    return ease(u, int(rng.integers(0, EASINGS)) if style.easing_varies else style.easing, style.exponent)


def _walk(n: int, curve: float, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """A pull to the target under a wind that changes at random: (along, sideways), as shares of the distance."""
    gusts = rng.normal(0.0, curve * 0.15, (n, 2))
    along, side = np.zeros(n), np.zeros(n)
    at = velocity = wind = np.zeros(2)
    pull = 1.5 / max(n, 3)
    target = np.array([1.0, 0.0])
    for i in range(1, n):
        wind = 0.7 * wind + gusts[i]
        velocity = 0.8 * velocity + pull * (target - at) + 3.0 / n * wind
        at = at + 0.2 * velocity + 0.5 / max(n - i, 1) * (target - at)
        along[i], side[i] = at[0], at[1]
    along[-1], side[-1] = 1.0, 0.0
    return along, side


def leg(
    start: tuple[float, float], end: tuple[float, float], u: Floats, style: Style, rng: np.random.Generator
) -> tuple[Floats, Floats]:
    """Path from start to end (px) at shares `u` of the leg's time, by the style's rule. Returns x and y, px."""
    n = len(u)
    s = progress(u, style, rng)
    side = np.zeros(n)
    if style.rule == "bezier":
        (c1, c2), (a1, a2) = rng.normal(0.0, style.curve, 2), rng.uniform((0.1, 0.5), (0.5, 0.9))
        side = 3 * (1 - s) ** 2 * s * c1 + 3 * (1 - s) * s**2 * c2
        s = 3 * (1 - s) ** 2 * s * a1 + 3 * (1 - s) * s**2 * a2 + s**3
    elif style.rule == "arc":
        side = rng.normal(0.0, style.curve) * 4 * s * (1 - s)
    elif style.rule == "waves":
        side = 0.5 * style.curve * np.sin(2 * np.pi * style.waves * s + rng.uniform(0, 6)) * np.sin(np.pi * s)
    elif style.rule == "wander":
        side = 0.3 * style.curve * _smooth_noise(n, 2 * style.smooth, rng) * np.sin(np.pi * s)
    elif style.rule == "spline":
        knots = np.concatenate(([0.0], rng.normal(0.0, style.curve, style.waypoints), [0.0]))
        side = np.interp(s, np.linspace(0.0, 1.0, len(knots)), knots)
        for _ in range(2):
            side[1:-1] = 0.25 * side[:-2] + 0.5 * side[1:-1] + 0.25 * side[2:]
    elif style.rule == "walk":
        s, side = _walk(n, style.curve, rng)
    elif style.rule == "hop":
        hops = int(rng.integers(1, 4))
        s = np.floor(s * hops) / hops
    if style.overshoots and style.rule in {"line", "bezier", "arc", "shaky", "wander"}:
        beyond = float(rng.uniform(0.02, 0.1))
        s = np.where(u < 0.75, s * (1 + beyond), 1 + beyond - beyond * (u - 0.75) / 0.25)
    dx, dy = end[0] - start[0], end[1] - start[1]
    return start[0] + dx * s - dy * side, start[1] + dy * s + dx * side


def trace(x: Floats, y: Floats, u: Floats, style: Style, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """The person's own way, its corners rounded, ridden at the style's tempo."""
    length = float(np.hypot(np.diff(x), np.diff(y)).sum())
    points = np.asarray(corners(x, y, max(1.5, style.curve * 0.1 * length)))
    way = np.concatenate(([0.0], np.cumsum(np.hypot(np.diff(x[points]), np.diff(y[points])))))
    at = progress(u, style, rng) * way[-1]
    px, py = np.interp(at, way, x[points]), np.interp(at, way, y[points])
    if len(u) > 4:
        for _ in range(1 + style.smooth):
            px[1:-1] = 0.25 * px[:-2] + 0.5 * px[1:-1] + 0.25 * px[2:]
            py[1:-1] = 0.25 * py[:-2] + 0.5 * py[1:-1] + 0.25 * py[2:]
    return px, py


def _times(t: Floats, clock: str, rng: np.random.Generator) -> Floats:
    if clock == "person" or len(t) < 4:
        return t
    if clock == "even":
        return np.asarray(np.round(np.linspace(t[0], t[-1], len(t))), dtype=np.float64)
    return np.asarray(t[0] + np.concatenate(([0.0], np.cumsum(rng.permutation(np.diff(t))))), dtype=np.float64)


def _shares(t: Floats) -> Floats:
    span = float(t[-1] - t[0])
    return (t - t[0]) / span if span > 0.0 else np.linspace(0.0, 1.0, len(t))


def _drive(t: Floats, x: Floats, y: Floats, style: Style, rng: np.random.Generator) -> tuple[Floats, Floats, Floats]:
    """One run between pauses, driven anew."""
    times = _times(t, style.clock, rng)
    if style.rule.startswith("trace"):
        px, py = trace(x, y, _shares(times), style, rng)
    else:
        px, py = x.copy(), y.copy()
        length = float(np.hypot(np.diff(x), np.diff(y)).sum())
        points = corners(x, y, max(8.0, style.corner_ratio * length))
        for i, j in pairwise(points):
            start, end = (float(x[i]), float(y[i])), (float(x[j]), float(y[j]))
            px[i : j + 1], py[i : j + 1] = leg(start, end, _shares(times[i : j + 1]), style, rng)
    if style.noisy or style.rule in {"shaky", "trace_rough"}:
        px[1:-1] += style.noise_px * _smooth_noise(len(px) - 2, 1 + style.smooth // 3, rng)
        py[1:-1] += style.noise_px * _smooth_noise(len(py) - 2, 1 + style.smooth // 3, rng)
    return times, px, py


def counterpart(recording: Recording, style: Style, rng: np.random.Generator) -> Recording:
    """The bot that goes where the person went: same runs, presses and pauses, paths by the style, in whole px."""
    t, x, y = recording.t_ms.copy(), recording.x.copy(), recording.y.copy()
    borders = np.concatenate(([0], np.flatnonzero(np.diff(t) > RUN_GAP_MS) + 1, [len(t)])).astype(int)
    for a, b in pairwise(borders.tolist()):
        if b - a >= 5:
            t[a:b], x[a:b], y[a:b] = _drive(t[a:b], x[a:b], y[a:b], style, rng)
    codes: Codes = recording.kind
    return replace(recording, t_ms=np.maximum.accumulate(t), x=np.round(x), y=np.round(y), kind=codes)
