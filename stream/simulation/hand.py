"""How a simulated person's hand moves a pointer: sub-movements with sigma-lognormal speed, corrections, tremor, clicks.

Part of the simulation (see the package). The form follows the literature, the numbers are plausible choices: speed
profiles of rapid movements (Plamondon's sigma-lognormal model), time by Fitts' law, and an aimed movement as one
primary and some corrective sub-movements (Meyer's optimised sub-movement model).
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from schemas.telemetry import PointerKind
from stream.simulation.recording import Float, Recording

Rng = np.random.Generator

# Slope of the logistic function that follows the normal distribution to 0.01.
_PROBIT = 1.702
_SMOOTH_MS = 40.0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Hand:
    """One person's motor habits with one device. Times in ms, angles in rad, lengths in CSS px."""

    report_ms: float
    """Time between two samples of the device as the page sees it."""
    report_jitter_ms: float
    fitts_a_ms: float
    fitts_b_ms: float
    gain: float
    """Share of the way that the primary sub-movement covers; above 1 overshoots."""
    gain_sd: float
    aim_sd: float
    curl: float
    """Usual turn of direction within a stroke."""
    detour_ratio: float
    """Share of movements that set out in another direction."""
    skew: float
    """Sigma of the log-normal speed profile."""
    tremor_px: float
    tremor_hz: float
    noise_ratio: float
    """Lateral noise a pixel travelled."""
    dwell_ms: float
    hold_ms: float


def hand_of(rng: Rng, *, touchpad: bool = False) -> Hand:
    """Draw a person's hand; a touchpad is slower, shorter in its strokes and less exact."""
    slow = 1.25 if touchpad else 1.0
    return Hand(
        report_ms=float(rng.choice([8.0, 8.0, 10.0, 16.67, 16.67])),
        report_jitter_ms=float(rng.uniform(0.3, 1.6)),
        fitts_a_ms=float(rng.uniform(90, 230)) * slow,
        fitts_b_ms=float(rng.uniform(110, 190)) * slow,
        gain=float(rng.normal(0.93, 0.04)) * (0.94 if touchpad else 1.0),
        gain_sd=float(rng.uniform(0.04, 0.09)),
        aim_sd=float(rng.uniform(0.02, 0.07)),
        curl=float(rng.normal(0.0, 0.35)),
        detour_ratio=float(rng.uniform(0.2, 0.7)),
        skew=float(rng.uniform(0.26, 0.46)),
        tremor_px=float(rng.uniform(0.05, 0.3)),
        tremor_hz=float(rng.uniform(7.5, 12.0)),
        noise_ratio=float(rng.uniform(0.02, 0.06)),
        dwell_ms=float(rng.lognormal(math.log(130), 0.3)),
        hold_ms=float(rng.lognormal(math.log(85), 0.25)),
    )


def reach(
    rng: Rng,
    hand: Hand,
    start: tuple[float, float],
    target: tuple[float, float],
    width_px: float,
    t_ms: float,
) -> tuple[Float, Float, Float]:
    """Return the samples `(t, x, y)` of one aimed movement that begins at `t_ms`; ends within about `width_px` / 2."""
    strokes = _strokes(rng, hand, start, target, width_px)
    end = max(stroke.onset_ms + stroke.duration_ms for stroke in strokes)
    t = sample_times(rng, hand, t_ms, t_ms + end + 30.0)
    x, y = np.full(t.shape, start[0]), np.full(t.shape, start[1])
    for stroke in strokes:
        share = _lognormal_share(t - t_ms - stroke.onset_ms, stroke.duration_ms, stroke.sigma)
        along, across = _arc(share, stroke.turn)
        x += along * stroke.dx - across * stroke.dy
        y += along * stroke.dy + across * stroke.dx
    wobble_x, wobble_y = _wobble(rng, hand, t, x, y)
    return t, x + wobble_x, y + wobble_y


def rest(rng: Rng, hand: Hand, at: tuple[float, float], t_ms: float, for_ms: float) -> tuple[Float, Float, Float]:
    """Return the samples of a hand that rests on the device: tremor, and now and then a small drift."""
    t = sample_times(rng, hand, t_ms, t_ms + for_ms)
    if t.size < 2:
        return t[:0], t[:0], t[:0]
    drift = rng.normal(0.0, 4.0, 2) * np.minimum(1.0, (t - t_ms)[:, None] / max(for_ms, 1.0)) ** 2
    phase = rng.uniform(0, 2 * math.pi, 2)
    shake = hand.tremor_px * np.sin(2 * math.pi * hand.tremor_hz * t[:, None] / 1000 + phase)
    return t, at[0] + drift[:, 0] + shake[:, 0], at[1] + drift[:, 1] + shake[:, 1]


def press(rng: Rng, hand: Hand, recording: Recording, at: tuple[float, float], t_ms: float) -> tuple[float, float]:
    """Record a left press and release at `at` after the hand's dwell; returns the times of both, ms."""
    down = t_ms + hand.dwell_ms * float(rng.lognormal(0.0, 0.35))
    up = down + hand.hold_ms * float(rng.lognormal(0.0, 0.22))
    x, y = round(at[0]), round(at[1])
    recording.pointer.append((down, x, y, int(PointerKind.DOWN), 1))
    if rng.random() < 0.2:
        slip = rng.integers(-1, 2, 2)
        x, y = x + int(slip[0]), y + int(slip[1])
        recording.pointer.append((down + 0.6 * (up - down), x, y, int(PointerKind.DRAG), 1))
    recording.pointer.append((up, x, y, int(PointerKind.UP), 1))
    return down, up


def sample_times(rng: Rng, hand: Hand, begin_ms: float, end_ms: float) -> Float:
    """Times at which the page sees the device: regular but for jitter, with a frame missed now and then, ms."""
    n = int((end_ms - begin_ms) / hand.report_ms) + 1
    gaps = np.maximum(1.0, rng.normal(hand.report_ms, hand.report_jitter_ms, n))
    gaps += hand.report_ms * (rng.random(n) < 0.02)
    t = begin_ms + np.cumsum(gaps)
    return np.asarray(t[t <= end_ms], dtype=np.float64)


@dataclasses.dataclass(frozen=True, slots=True)
class _Stroke:
    """One sub-movement: when it begins and how long it lasts, ms; its chord, px; its turn, rad; its profile's sigma."""

    onset_ms: float
    duration_ms: float
    dx: float
    dy: float
    turn: float
    sigma: float


def _strokes(
    rng: Rng, hand: Hand, start: tuple[float, float], target: tuple[float, float], width_px: float
) -> list[_Stroke]:
    """Sub-movements to a target: often a detour, a primary one, then corrections of what is left."""
    dx, dy = target[0] - start[0], target[1] - start[1]
    distance = math.hypot(dx, dy)
    difficulty = math.log2(distance / max(width_px, 4.0) + 1.0)
    duration = 0.8 * (hand.fitts_a_ms + hand.fitts_b_ms * difficulty) * float(rng.lognormal(0.0, 0.2))
    onset, strokes = 0.0, list[_Stroke]()

    def add(step_x: float, step_y: float) -> None:
        turn = float(np.clip(hand.curl + rng.normal(0.0, 0.45), -2.4, 2.4))
        sigma = float(np.clip(hand.skew * rng.lognormal(0.0, 0.3), 0.12, 0.8))
        strokes.append(_Stroke(onset, duration, step_x, step_y, turn, sigma))

    if distance > 80 and rng.random() < hand.detour_ratio:
        # The hand sets out before the eye has found the target: the movement is bent on its way.
        share, aside = float(rng.uniform(0.2, 0.7)), float(rng.normal(0.0, 0.3))
        step_x, step_y = share * dx - aside * dy, share * dy + aside * dx
        add(step_x, step_y)
        dx, dy = dx - step_x, dy - step_y
        onset += duration * float(rng.uniform(0.35, 0.75))
    gain, gain_sd, aim_sd = hand.gain, hand.gain_sd, hand.aim_sd
    for _ in range(4):
        gain_now = float(np.clip(rng.normal(gain, gain_sd), 0.6, 1.25))
        aim = float(rng.normal(0.0, aim_sd))
        step_x = gain_now * (dx * math.cos(aim) - dy * math.sin(aim))
        step_y = gain_now * (dx * math.sin(aim) + dy * math.cos(aim))
        add(step_x, step_y)
        dx, dy = dx - step_x, dy - step_y
        left = math.hypot(dx, dy)
        if left < width_px * float(rng.uniform(0.2, 0.45)):
            break
        # A correction begins before the previous sub-movement has died away, and is aimed the better the shorter it is.
        onset += duration * float(rng.uniform(0.6, 1.1))
        duration = float(rng.uniform(110, 240)) + 30.0 * math.log2(left / max(width_px, 4.0) + 1.0)
        gain, gain_sd = 0.97, 0.12
    return strokes


def _lognormal_share(t: Float, duration: float, sigma: float) -> Float:
    """Share of a stroke done at `t` ms after its onset, 0 to 1: a log-normal distribution that ends at `duration`."""
    mu = math.log(max(duration, 1.0)) - 2.33 * sigma
    z = (np.log(np.maximum(t, 1e-6)) - mu) / sigma
    share = 1.0 / (1.0 + np.exp(-np.clip(_PROBIT * z, -40.0, 40.0)))
    at_end = 1.0 / (1.0 + math.exp(-_PROBIT * 2.33))
    return np.asarray(np.where(t <= 0.0, 0.0, np.minimum(1.0, share / at_end)), dtype=np.float64)


def _arc(share: Float, turn: float) -> tuple[Float, Float]:
    """Position on an arc over the unit chord that turns by `turn` rad: `(along, across)`."""
    if abs(turn) < 1e-3:
        return share, np.zeros_like(share)
    heading = -turn / 2 + turn * share
    length = (turn / 2) / math.sin(turn / 2)
    along = length * (np.sin(heading) + math.sin(turn / 2)) / turn
    across = length * (math.cos(turn / 2) - np.cos(heading)) / turn
    return along, across


def _wobble(rng: Rng, hand: Hand, t: Float, x: Float, y: Float) -> tuple[Float, Float]:
    """Tremor, and noise that grows with speed and is smooth over a few samples, px."""
    if t.size < 2:
        return np.zeros_like(t), np.zeros_like(t)
    step = np.hypot(np.diff(x, prepend=x[0]), np.diff(y, prepend=y[0]))
    # A limb follows no command faster than some 10 Hz: noise is smooth over about 40 ms, whatever the sampling.
    half = max(1, round(2 * _SMOOTH_MS / hand.report_ms))
    kernel = np.exp(-0.5 * (np.arange(-half, half + 1) * hand.report_ms / _SMOOTH_MS) ** 2)
    kernel /= np.sqrt(np.sum(kernel**2))
    noise = rng.normal(0.0, 1.0, (2, t.size + 2 * half)) * hand.noise_ratio
    smooth = np.stack([np.convolve(row, kernel, mode="valid") for row in noise]) * step
    phase = rng.uniform(0.0, 2 * math.pi, 2)
    tremor = hand.tremor_px * np.sin(2 * math.pi * hand.tremor_hz * t / 1000 + phase[:, None])
    return smooth[0] + tremor[0], smooth[1] + tremor[1]
