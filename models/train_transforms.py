"""Other instruments for the same movement: transforms that training applies to people and bots alike.

A recorder's clock, thinning, screen and rounding must not tell a person from a bot, and neither must an unsteady hand
or a slow one. Each window is therefore seen once as recorded and again through instruments drawn at random. Every
function is pure: the random generator is passed in.
"""

from dataclasses import dataclass, replace

import numpy as np

from models.dataset import Codes, Floats, Recording

MOVING = (0, 4)
"""Kinds of sample that a recorder may thin or drop: moves and drags. Presses, releases and clicks are kept."""

CLOCK_STEPS_MS = (1.0, 1.0, 1.0, 4.0, 10.0, 15.6)
INTERVALS_MS = (0.0, 0.0, 8.0, 16.7, 33.3, 50.0)


@dataclass(frozen=True, slots=True)
class Instrument:
    """What a transform does to a recording; `RECORDED` changes nothing.

    time_scale, px_scale: factors; interval_ms: shortest time between kept moves; clock_ms: step of the clock;
    jitter_ms, jitter_px: standard deviations of added noise; tremor_px, tremor_hz: amplitude and frequency of an added
    oscillation while moving; mirrored: x is turned about; drops_still: samples without displacement are dropped.
    """

    time_scale: float = 1.0
    px_scale: float = 1.0
    interval_ms: float = 0.0
    clock_ms: float = 1.0
    jitter_ms: float = 0.0
    jitter_px: float = 0.0
    tremor_px: float = 0.0
    tremor_hz: float = 6.0
    mirrored: bool = False
    drops_still: bool = False


RECORDED = Instrument()


def draw_instrument(rng: np.random.Generator) -> Instrument:
    """An instrument at random: half to double the screen, 20 to 125 Hz or all, clocks of 1 to 15.6 ms, some tremor."""
    slow = rng.random() < 0.08
    return Instrument(
        time_scale=2.0 if slow else float(np.exp(np.clip(rng.normal(0.0, 0.12), -0.3, 0.3))),
        px_scale=float(np.exp(np.clip(rng.normal(0.0, 0.35), -0.8, 0.8))),
        interval_ms=float(rng.choice(INTERVALS_MS)) * float(rng.uniform(0.9, 1.1)),
        clock_ms=float(rng.choice(CLOCK_STEPS_MS)),
        jitter_ms=float(rng.choice((0.0, 0.0, 1.0, 3.0))),
        jitter_px=float(rng.choice((0.0, 0.0, 0.0, 0.5, 1.0))),
        tremor_px=float(rng.uniform(0.5, 3.0)) if rng.random() < 0.08 else 0.0,
        tremor_hz=float(rng.uniform(4.0, 8.0)),
        mirrored=bool(rng.random() < 0.5),
        drops_still=bool(rng.random() < 0.5),
    )


def thin(t_ms: Floats, kind: Codes, interval_ms: float) -> Codes:
    """Indexes of the samples that a recorder with a shortest interval keeps: moves that far apart, all else."""
    kept: list[int] = []
    last = -np.inf
    for i, (t, code) in enumerate(zip(t_ms.tolist(), kind.tolist(), strict=True)):
        if code in MOVING and t - last < interval_ms:
            continue
        kept.append(i)
        last = t
    return np.asarray(kept, dtype=np.int64)


def moving_samples(x: Floats, y: Floats, kind: Codes) -> Codes:
    """Indexes of all samples but moves without displacement since the sample before."""
    if not len(x):
        return np.zeros(0, dtype=np.int64)
    still = np.r_[False, (np.diff(x) == 0.0) & (np.diff(y) == 0.0)] & np.isin(kind, MOVING)
    return np.flatnonzero(~still)


def through(recording: Recording, instrument: Instrument, rng: np.random.Generator) -> Recording:
    """The recording as another instrument would have kept it. Keys go through the clock alone. RECORDED: unchanged."""
    if instrument == RECORDED or not len(recording.t_ms):
        return recording
    t = recording.t_ms * instrument.time_scale
    x, y = recording.x * instrument.px_scale, recording.y * instrument.px_scale
    kind, button = recording.kind, recording.button
    if instrument.mirrored:
        x = x.max() + x.min() - x
    if instrument.tremor_px > 0.0:
        phase = rng.uniform(0.0, 2.0 * np.pi, 2)
        turn = 2.0 * np.pi * instrument.tremor_hz * t / 1000.0
        moves = np.isin(kind, MOVING)
        x = x + instrument.tremor_px * np.sin(turn + phase[0]) * moves
        y = y + instrument.tremor_px * np.sin(turn + phase[1]) * moves
    if instrument.jitter_px > 0.0:
        x = x + rng.normal(0.0, instrument.jitter_px, len(x))
        y = y + rng.normal(0.0, instrument.jitter_px, len(y))
    if instrument.interval_ms > 0.0:
        keep = thin(t, kind, instrument.interval_ms)
        t, x, y, kind, button = t[keep], x[keep], y[keep], kind[keep], button[keep]
    if instrument.jitter_ms > 0.0:
        t = np.maximum.accumulate(t + np.abs(rng.normal(0.0, instrument.jitter_ms, len(t))))
    t = np.floor(t / instrument.clock_ms) * instrument.clock_ms
    x, y = np.round(x), np.round(y)
    if instrument.drops_still:
        keep = moving_samples(x, y, kind)
        t, x, y, kind, button = t[keep], x[keep], y[keep], kind[keep], button[keep]
    return replace(
        recording,
        t_ms=t, x=x, y=y, kind=kind, button=button,
        key_down_ms=recording.key_down_ms * instrument.time_scale,
        key_up_ms=recording.key_up_ms * instrument.time_scale,
    )  # fmt: skip


def window(recording: Recording, start_ms: float, length_ms: float) -> Recording:
    """The part of a recording in [start, start + length), its first event at time 0; keys by their press."""
    a, b = (int(i) for i in np.searchsorted(recording.t_ms, [start_ms, start_ms + length_ms]))
    c, d = (int(i) for i in np.searchsorted(recording.key_down_ms, [start_ms, start_ms + length_ms]))
    origin = min(
        float(recording.t_ms[a]) if b > a else np.inf,
        float(recording.key_down_ms[c]) if d > c else np.inf,
    )
    if not np.isfinite(origin):
        origin = start_ms
    return replace(
        recording,
        t_ms=recording.t_ms[a:b] - origin, x=recording.x[a:b], y=recording.y[a:b],
        kind=recording.kind[a:b], button=recording.button[a:b],
        key_down_ms=recording.key_down_ms[c:d] - origin,
        key_up_ms=recording.key_up_ms[c:d] - origin,
        key_class=recording.key_class[c:d],
    )  # fmt: skip
