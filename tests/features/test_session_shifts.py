"""What must not matter to a session's features, or hardly: place, time, screen scale, the recorder's clock."""

import numpy as np
import pytest

from features.registry import select
from tests.features import build

BOT = select(lambda f: f.bot)


def spread() -> build.Vector:
    """Standard deviation of each feature between seeded people: what a shift is measured against."""
    vectors = np.array([build.fold(build.batches(build.wander(s, 20.0)))[-1] for s in range(20)])
    deviations = np.zeros(len(BOT))
    known = ~np.isnan(vectors[:, BOT]).all(axis=0)
    deviations[known] = np.nanstd(vectors[:, BOT[known]], axis=0)
    return deviations


def shift_of(shifts: list[build.Vector], deviations: build.Vector) -> build.Vector:
    """Mean shift of each known feature in standard deviations between people."""
    known = ~np.isnan(shifts).all(axis=0)
    moved: build.Vector = np.abs(np.nanmean(np.array(shifts)[:, known], axis=0))
    return moved / np.maximum(deviations[known], 1e-3)


def test_position_does_not_matter() -> None:
    samples = build.wander(5, 10.0)
    moved = [(t, x + 64.0, y - 32.0, k) for t, x, y, k in samples]
    a, b = build.fold(build.batches(samples))[-1], build.fold(build.batches(moved))[-1]
    np.testing.assert_allclose(a[BOT], b[BOT], rtol=1e-3, atol=1e-3)


def test_when_a_session_begins_does_not_matter() -> None:
    samples = build.wander(5, 10.0)
    later = [build.event(86_400_000.0 * 300, pointer=build.pointer_of(samples))]
    a, b = build.fold([build.event(pointer=build.pointer_of(samples))])[-1], build.fold(later)[-1]
    assert a.tobytes() == b.tobytes()


@pytest.mark.parametrize("scale", [0.5, 2.0])
def test_screen_scale_hardly_matters(scale: float) -> None:
    deviations = spread()
    shifts = []
    for seed in range(6):
        a = build.fold(build.batches(build.wander(seed, 20.0)))[-1][BOT]
        b = build.fold(build.batches(build.wander(seed, 20.0, scale=scale)))[-1][BOT]
        shifts.append(b - a)
    moved = shift_of(shifts, deviations)
    assert np.median(moved) < 0.1
    assert np.mean(moved < 0.6) > 0.85


@pytest.mark.parametrize("clock_ms", [8.0, 20.0])
def test_the_recorders_clock_hardly_matters(clock_ms: float) -> None:
    deviations = spread()
    shifts = []
    for seed in range(6):
        a = build.fold(build.batches(build.wander(seed, 20.0)))[-1][BOT]
        b = build.fold(build.batches(build.wander(seed, 20.0, clock_ms=clock_ms)))[-1][BOT]
        shifts.append(b - a)
    moved = shift_of(shifts, deviations)
    assert np.median(moved) < 0.25
    assert np.mean(moved < 1.0) > 0.85
