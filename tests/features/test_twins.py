"""The compiled families agree with their naive twins."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.registry import INDEX
from tests.features import build, twins


def compare(family: str, vector: build.Vector, expected: dict[str, float]) -> None:
    wrong = []
    for name, want in expected.items():
        got = build.value(vector, f"{family}_{name}")
        same = math.isnan(got) == math.isnan(want)
        # Sums are float32: means to 1e-4, higher moments lose a little more.
        if not same or not (math.isnan(want) or math.isclose(got, want, rel_tol=2e-3, abs_tol=2e-3)):
            wrong.append((name, got, want))
    assert not wrong


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("clock_ms", [8.0, 16.0, 50.0, 110.0])
def test_pointer_agrees_with_its_twin(seed: int, clock_ms: float) -> None:
    samples = build.wander(seed, 1.0 + 2.0 * seed, clock_ms=clock_ms)
    vector = build.fold(build.batches(samples))[-1]
    compare("pointer", vector, twins.pointer(samples))


@pytest.mark.parametrize("seed", range(12))
def test_pointer_agrees_with_its_twin_on_rough_paths(seed: int) -> None:
    """Uneven steps and turns of every size, with rests: what smooth paths have none of."""
    rng = np.random.default_rng(seed)
    n = 400
    heading = np.cumsum(rng.normal(0.0, 0.5, n))
    length = np.round(rng.lognormal(1.5, 1.0, n), 0) * (rng.uniform(size=n) < 0.9)
    x, y = np.cumsum(length * np.cos(heading)), np.cumsum(length * np.sin(heading))
    t = np.cumsum(rng.choice([8.0, 16.0, 24.0, 60.0, 400.0], n, p=[0.2, 0.5, 0.2, 0.08, 0.02]))
    samples = [
        (float(a), float(np.float32(round(b, 1))), float(np.float32(round(c, 1))), 0)
        for a, b, c in zip(t, x, y, strict=True)
    ]
    vector = build.fold(build.batches(samples))[-1]
    compare("pointer", vector, twins.pointer(samples))


@pytest.mark.parametrize("seed", range(12))
def test_keystroke_agrees_with_its_twin(seed: int) -> None:
    keys = build.typing(seed, 4 + 12 * seed)
    vector = build.fold([build.event(keys=build.keys_of(keys))])[-1]
    compare("keystroke", vector, twins.keystroke(keys))


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 400),
            st.integers(0, 1500),
            st.integers(0, 1000),
            st.sampled_from([0, 0, 0, 0, 4, 1, 2, 3, 5]),
        ),
        min_size=1,
        max_size=80,
    )
)
def test_pointer_agrees_with_its_twin_on_anything(steps: list[tuple[int, int, int, int]]) -> None:
    """Any sequence of samples in time order: equal times, leaps, wheels, presses without releases."""
    times = np.cumsum([s[0] for s in steps]).tolist()
    samples = [(float(t), float(s[1]), float(s[2]), s[3]) for t, s in zip(times, steps, strict=True)]
    vector = build.fold([build.event(pointer=build.pointer_of(samples))])[-1]
    expected = twins.pointer(samples)
    # Where two maxima are equal, or a turn is half a circle, rounding chooses; a spread of equals is all rounding.
    chance = ("_place_mean", "turn_net_share_mean", "turn_memory_mean", "turn_flips_mean", "_sd")
    expected = {name: v for name, v in expected.items() if not name.endswith(chance)}
    compare("pointer", vector, expected)


def test_every_trained_stroke_figure_has_a_twin() -> None:
    expected = twins.pointer(build.wander(1, 30.0))
    stroke = [n for n in INDEX if n.startswith("pointer_") and n.endswith(("_mean", "_sd"))]
    untold = {n for n in stroke if n.removeprefix("pointer_") not in expected}
    assert untold == {
        "pointer_interval_log_sd",
        "pointer_hold_log_mean",
        "pointer_hold_log_sd",
        "pointer_dwell_log_mean",
        "pointer_dwell_log_sd",
    }
