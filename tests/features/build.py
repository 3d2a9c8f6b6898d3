"""Builders of telemetry and of seeded movement for the feature tests."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from features.registry import INDEX, N_FEATURES
from features.session import columns_of, fold_chunk, new_states
from schemas.telemetry import Keys, Pointer, Telemetry
from tests.support.events import telemetry

Sample = tuple[float, float, float, int]
Key = tuple[float, float | None, int]
Vector = npt.NDArray[np.float64]


def event(start_ms: float = 0.0, *, session: str = "s", sequence: int = 0, **blocks: Any) -> Telemetry:
    return telemetry(session, sequence, at_ms=round(start_ms), **blocks)


def pointer_of(samples: Sequence[Sample], start: float = 0.0, **more: Any) -> Pointer:
    return Pointer(
        t=[s[0] - start for s in samples],
        x=[s[1] for s in samples],
        y=[s[2] for s in samples],
        kind=[s[3] for s in samples],
        **more,
    )


def keys_of(keys: Sequence[Key], start: float = 0.0, **more: Any) -> Keys:
    return Keys(
        down=[k[0] - start for k in keys],
        up=[None if k[1] is None else k[1] - start for k in keys],
        key_class=[k[2] for k in keys],
        **more,
    )


def fold(events: Sequence[Telemetry]) -> Vector:
    """Vectors after each event of one session, float64[n, N_FEATURES]."""
    out = np.empty((len(events), N_FEATURES))
    fold_chunk(new_states(1), np.zeros(len(events), np.int32), columns_of(events), out)
    return out


def value(vector: Vector, name: str) -> float:
    return float(vector[INDEX[name]])


def batches(samples: Sequence[Sample], batch_ms: float = 500.0) -> list[Telemetry]:
    """One event for each batch that has samples."""
    numbers = sorted({int(s[0] // batch_ms) for s in samples})
    return [
        event(b * batch_ms, sequence=i, pointer=pointer_of([s for s in samples if s[0] // batch_ms == b], b * batch_ms))
        for i, b in enumerate(numbers)
    ]


def wander(
    seed: int, seconds: float, *, clock_ms: float = 16.0, jitter_ms: float = 0.0, scale: float = 1.0
) -> list[Sample]:
    """A smooth seeded path with reaches, curvature, pauses and presses, sampled every `clock_ms` where it moves.

    The underlying path is continuous, so that it can be sampled with any clock; positions are rounded to 0.1 px.
    """
    rng = np.random.default_rng(seed)
    samples: list[Sample] = []
    now, here = 0.0, np.array([400.0, 300.0])
    jitter = np.random.default_rng(seed + 1)
    while now < seconds * 1000.0:
        target = rng.uniform(50.0, 900.0, 2)
        distance = float(np.hypot(*(target - here)))
        duration = 250.0 + 150.0 * np.log2(1.0 + distance / 60.0) * rng.uniform(0.8, 1.3)
        bow = rng.normal(0.0, 0.12) * distance
        phase = rng.uniform(0.0, 6.28)
        normal = np.array([here[1] - target[1], target[0] - here[0]]) / max(distance, 1.0)
        t = np.arange(0.0, duration, clock_ms)
        t = t + jitter.uniform(-jitter_ms, jitter_ms, len(t)) if jitter_ms else t
        u = np.clip(t / duration, 0.0, 1.0)
        ease = u**3 * (10.0 - 15.0 * u + 6.0 * u * u)
        side = bow * np.sin(np.pi * ease) + 0.01 * distance * np.sin(2 * np.pi * 3 * u + phase) * np.sin(np.pi * u)
        path = here + ease[:, None] * (target - here) + side[:, None] * normal
        for ti, (x, y) in zip(t, path, strict=True):
            samples.append((round(now + ti, 1), round(scale * x, 1), round(scale * y, 1), 0))
        now += duration
        here = path[-1]
        if rng.uniform() < 0.6:
            hold = rng.lognormal(4.5, 0.3)
            dwell = rng.lognormal(4.6, 0.4)
            x, y = round(scale * here[0], 1), round(scale * here[1], 1)
            samples.append((round(now + dwell, 1), x, y, 1))
            samples.append((round(now + dwell + hold, 1), x, y, 2))
            now += dwell + hold
        now += rng.lognormal(6.2, 0.5)
    ordered = sorted(samples, key=lambda s: s[0])
    # Stored positions are float32: so are the twin's.
    return [(t, float(np.float32(x)), float(np.float32(y)), k) for t, x, y, k in ordered]


def typing(seed: int, n: int, *, hold: float = 95.0, dd: float = 160.0, sigma: float = 0.45) -> list[Key]:
    """Seeded log-normal typing with rollover, spaces, modifiers and unseen releases."""
    rng = np.random.default_rng(seed)
    now, keys = 0.0, []
    for _ in range(n):
        code = int(rng.choice([1, 1, 1, 1, 1, 3, 5, 7, 6]))
        up = None if rng.uniform() < 0.05 else round(now + float(rng.lognormal(np.log(hold), 0.3)), 1)
        keys.append((round(now, 1), up, code))
        now += float(rng.lognormal(np.log(dd), sigma)) + (2500.0 if rng.uniform() < 0.03 else 0.0)
    return keys
