"""Whole movements as shapes: against a naive twin, whatever the chunks; what a copy keeps, and what has no shape."""

import math
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from features.columns import columns_of
from features.movement import MOST_AN_EVENT, WIDTH, Movements, movements_of
from features.session import Meta, decode, encode, new_states
from schemas.telemetry import Telemetry
from tests.features.build import Sample, event, pointer_of


class Ended(NamedTuple):
    """What the twin found."""

    shape: list[float]
    log_ms: float


def naive(samples: list[Sample]) -> list[Ended]:
    """All movements of samples (ms, x, y, kind), from the whole list, word by word."""
    ended: list[Ended] = []
    way: list[tuple[float, float, float]] = []
    last = -math.inf
    for t, x, y, kind in samples:
        if kind == 3:
            continue
        if not way or t < last - 1e-3:
            way = [(t, x, y)]
        else:
            moved = (x, y) != way[-1][1:]
            if (moved and t - way[-1][0] > 250.001) or kind in (1, 2, 5) or t - way[0][0] > 3000.001:
                shape = naive_shape(way)
                if shape is not None:
                    ended.append(Ended(shape, math.log(way[-1][0] - way[0][0])))
                way = [(t, x, y)]
            elif moved:
                way.append((t, x, y))
        last = t
    return ended


def naive_shape(way: list[tuple[float, float, float]]) -> list[float] | None:
    """One movement's shape; None where it has none."""
    t, x, y = (np.array(column) for column in zip(*way, strict=True))
    duration = float(t[-1] - t[0])
    path = sum(math.dist(a[1:], b[1:]) for a, b in pairwise(way))
    chord = math.hypot(x[-1] - x[0], y[-1] - y[0])
    if len(way) < 8 or path < 250 or duration < 200 or chord < 0.2 * path:
        return None
    step = 20.0
    while duration // step >= 32:
        step *= 2
    grid = np.append(np.arange(duration // step + 1) * step, duration)
    gx, gy = (np.interp(grid, t - t[0], v - v[0]).astype(np.float32).astype(float) for v in (x, y))
    at = np.arange(1, 16) * duration / 16
    px, py = np.interp(at, grid, gx), np.interp(at, grid, gy)
    cos, sin = (x[-1] - x[0]) / chord, (y[-1] - y[0]) / chord
    side = py * cos - px * sin
    if max(abs(side)) < max(8.0, 0.025 * chord):
        return None
    side = -side if side.sum() < 0 else side
    return [*((px * cos + py * sin) / chord), *(side / chord)]


def events_of(samples: list[Sample], size: int) -> list[Telemetry]:
    """The samples in batches of `size`, each with times of its own."""
    found = []
    for number, begin in enumerate(range(0, len(samples), size)):
        some = samples[begin : begin + size]
        start = math.floor(some[0][0])
        found.append(event(start, sequence=number, pointer=pointer_of(some, start)))
    return found


def kernel(samples: list[Sample], size: int, chunk: int = 1_000) -> Movements:
    """What the kernel finds in the samples, with chunks of so many events and the state stored in between."""
    states = new_states(1)
    found = []
    events = events_of(samples, size)
    for begin in range(0, len(events), chunk):
        some = events[begin : begin + chunk]
        found.append(movements_of(states, np.zeros(len(some), dtype=np.int32), columns_of(some)))
        states[0] = decode("s", encode("s", Meta(), states[0]))[1]
    return Movements(*(np.concatenate(part) for part in zip(*found, strict=True)))


def curve(start_ms: float, steps: int, step_ms: float, angle: float, bend: float, px: float) -> list[Sample]:
    """A bent movement of `px` pixels from chord end to chord end, quick in the middle."""
    found = []
    for i in range(steps + 1):
        u = i / steps
        s = u * u * (3 - 2 * u)
        along, side = px * s, px * bend * math.sin(math.pi * s) * (1 + 0.3 * math.cos(5 * s))
        found.append(
            (
                start_ms + i * step_ms,
                float(round(400 + along * math.cos(angle) - side * math.sin(angle))),
                float(round(300 + along * math.sin(angle) + side * math.cos(angle))),
                0,
            )
        )
    return found


STEPS = st.tuples(
    st.sampled_from([0.0, 8.0, 16.0, 33.0, 120.0, 249.0, 260.0, 700.0, -400.0]),
    st.integers(-60, 120),
    st.integers(-40, 60),
    st.sampled_from([0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5]),
)


@settings(max_examples=60, deadline=None)
@given(
    parts=st.lists(
        st.one_of(
            st.lists(STEPS, max_size=12),
            st.tuples(st.integers(5, 200), st.sampled_from([8.0, 15.6, 16.0]), st.floats(0, 6), st.floats(-0.5, 0.5)),
        ),
        max_size=8,
    ),
    size=st.integers(1, 60),
    chunk=st.integers(1, 5),
)
def test_the_kernel_is_its_naive_twin_whatever_the_chunks(
    parts: list[list[tuple[float, int, int, int]] | tuple[int, float, float, float]], size: int, chunk: int
) -> None:
    samples: list[Sample] = [(0.0, 10.0, 10.0, 0)]
    for part in parts:
        t, x, y, _ = samples[-1]
        if isinstance(part, tuple):
            steps, step_ms, angle, bend = part
            samples += curve(t + 400, steps, step_ms, angle, bend, 420.0)
        else:
            for dt, dx, dy, kind in part:
                t, x, y = max(t + dt, 0.0), x + dx, y + dy
                samples.append((t, x, y, kind))
    found, expected = kernel(samples, size), naive(samples)
    if len(expected) <= MOST_AN_EVENT:
        assert len(found.log_ms) == len(expected)
        for shape, log_ms, twin in zip(found.shape, found.log_ms, expected, strict=True):
            np.testing.assert_allclose(shape, twin.shape, atol=2e-3)
            assert log_ms == pytest.approx(twin.log_ms, abs=1e-4)
    again = kernel(samples, size, chunk)
    for one, other in zip(found[:2], again[:2], strict=True):
        np.testing.assert_array_equal(one, other)


def only(samples: list[Sample]) -> NDArray[np.float32]:
    """The one shape in the samples, ended by a press."""
    t, x, y, _ = samples[-1]
    found = kernel([*samples, (t + 30, x, y, 1)], 20)
    assert len(found.log_ms) == 1
    return np.asarray(found.shape[0])


def test_a_copy_that_is_shifted_turned_scaled_mirrored_or_slowed_has_nearly_the_same_shape() -> None:
    first = only(curve(0.0, 60, 16.0, 0.3, 0.2, 600.0))
    for copy in (
        curve(5_000.0, 60, 16.0, 2.3, 0.2, 600.0),
        curve(0.0, 60, 16.0, 0.3, 0.2, 900.0),
        curve(0.0, 60, 16.0, 0.3, -0.2, 600.0),
        curve(0.0, 60, 16.8, 0.3, 0.2, 600.0),
        curve(0.0, 29, 33.0, 0.3, 0.2, 600.0),
    ):
        assert np.sqrt(((only(copy) - first) ** 2).mean()) < 0.01
    assert np.sqrt(((only(curve(0.0, 60, 16.0, 0.3, 0.4, 600.0)) - first) ** 2).mean()) > 0.05


@pytest.mark.parametrize(
    "samples",
    [
        curve(0.0, 60, 16.0, 0.0, 0.005, 400.0),
        curve(0.0, 60, 16.0, 0.0, 0.2, 150.0),
        curve(0.0, 6, 16.0, 0.0, 0.2, 600.0),
        curve(0.0, 10, 16.0, 0.0, 0.2, 600.0),
    ],
    ids=["a plain drag of a slider", "too short", "too few samples", "too quick"],
)
def test_what_says_nothing_has_no_shape(samples: list[Sample]) -> None:
    t, x, y, _ = samples[-1]
    assert len(kernel([*samples, (t + 30, x, y, 2)], 20).log_ms) == 0


def test_an_event_gives_back_a_bounded_number_and_rows_are_checked() -> None:
    samples = [s for i in range(9) for s in curve(2_000.0 * i, 60, 16.0, 0.3, 0.2, 600.0)]
    events = events_of(samples, len(samples))
    found = movements_of(new_states(1), np.zeros(1, dtype=np.int32), columns_of(events))
    assert found.shape.shape == (MOST_AN_EVENT, WIDTH)
    assert found.event.tolist() == [0] * MOST_AN_EVENT
    with pytest.raises(ValueError, match="rows within"):
        movements_of(new_states(1), np.ones(1, dtype=np.int32), columns_of(events))
