"""Shapes of strokes and the figures on replays: what a shape forgets, naive twins, known answers on made-up people."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from models.dataset import Recording
from models.evaluate_replay import (
    EARLIER,
    MATCHING,
    MORPHS,
    STROKES,
    TRANSFORMS,
    figure_of,
    measure,
    morphs_of,
    people_from,
    replay_targets,
    resampled,
    spliced,
    threshold_of,
    transformed,
)
from models.replay_shapes import (
    DURATION_TOLERANCE,
    POINTS,
    WIDTH,
    Shapes,
    joined,
    movements,
    nearest,
    relative,
    shape_of,
    shapes_of,
)

Floats = NDArray[np.float64]


def _movement(seed: int, samples: int = 40, length: float = 500.0) -> tuple[Floats, Floats, Floats]:
    """One bent movement at an uneven pace: t ms, x, y px, not rounded."""
    rng = np.random.default_rng(seed)
    t = np.cumsum(rng.uniform(12.0, 20.0, samples))
    u = np.linspace(0.0, 1.0, samples) ** rng.uniform(0.6, 1.8)
    bend = np.zeros(samples)
    for k in (1, 2, 3):
        bend += rng.normal(0.0, 0.25 / k) * np.sin(np.pi * k * u)
    return t - t[0], length * u, length * bend


def _recording(seed: int, strokes: int = 12) -> Recording:
    """A person: movements with rests of half a second between them."""
    parts = [_movement(1000 * seed + k) for k in range(strokes)]
    t, x, y = np.zeros(0), np.zeros(0), np.zeros(0)
    for a, b, c in parts:
        start = (t[-1] + 500.0) if len(t) else 0.0
        dx, dy = (x[-1], y[-1]) if len(t) else (0.0, 0.0)
        t, x, y = np.r_[t, np.round(start + a)], np.r_[x, np.round(dx + b)], np.r_[y, np.round(dy + c)]
    none, zeros = np.zeros(0), np.zeros(len(t), dtype=np.int64)
    return Recording(f"s{seed}", "lab", "mouse", None, t, x, y, zeros, zeros, none, none, zeros[:0])


@given(st.integers(0, 50), st.floats(0.6, 3.0), st.floats(-3.0, 3.0), st.floats(0.8, 1.2), st.booleans())
def test_a_shape_forgets_place_size_direction_side_and_pace(
    seed: int, scale: float, turn: float, pace: float, mirrored: bool
) -> None:
    t, x, y = _movement(seed)
    first = shape_of(t, x, y)
    assert first is not None
    assert first.shape == (WIDTH,)
    side = -y if mirrored else y
    again = shape_of(
        t * pace,
        77.0 + scale * (x * np.cos(turn) - side * np.sin(turn)),
        -5.0 + scale * (x * np.sin(turn) + side * np.cos(turn)),
    )
    assert again is not None
    assert again == pytest.approx(first, abs=1e-4)
    other = shape_of(*_movement(seed + 1000))
    assert other is not None
    assert np.sqrt(((other - first) ** 2).mean()) > 0.005


def test_a_shape_against_its_naive_twin() -> None:
    t, x, y = _movement(3)
    found = shape_of(t, x, y)
    assert found is not None
    turn = np.exp(-1j * np.angle(complex(x[-1] - x[0], y[-1] - y[0])))
    chord = abs(complex(x[-1] - x[0], y[-1] - y[0]))
    points = []
    for k in range(1, POINTS - 1):
        at = t[0] + (t[-1] - t[0]) * k / (POINTS - 1)
        i = max(j for j in range(len(t)) if t[j] <= at)
        share = (at - t[i]) / (t[i + 1] - t[i])
        points.append(
            complex(x[i] + share * (x[i + 1] - x[i]) - x[0], y[i] + share * (y[i + 1] - y[i]) - y[0]) * turn / chord
        )
    bulge = 1.0 if sum(p.imag for p in points) >= 0.0 else -1.0
    assert found == pytest.approx([p.real for p in points] + [bulge * p.imag for p in points], abs=1e-5)


def test_what_has_no_shape() -> None:
    t, x, y = _movement(1)
    assert shape_of(t[:5], x[:5], y[:5]) is None
    assert shape_of(t, x * 0.1, y * 0.1) is None
    assert shape_of(t * 0.1, x, y) is None
    assert shape_of(t, np.r_[x, x[::-1]][: len(t)], np.zeros(len(t))) is not None
    loop = np.linspace(0, 2 * np.pi, len(t))
    assert shape_of(t, 300 * np.cos(loop), 300 * np.sin(loop)) is None


def test_movements_end_at_pauses_buttons_and_three_seconds() -> None:
    one = _recording(1, strokes=3)
    assert len(movements(one)) == 3
    assert len(shapes_of(one)) == 3
    kind = one.kind.copy()
    middle = movements(one)[1]
    kind[(middle[0] + middle[1]) // 2] = 1
    assert len(movements(replace(one, kind=kind))) == 4
    wheel = one.kind.copy()
    wheel[(middle[0] + middle[1]) // 2] = 3
    assert len(movements(replace(one, kind=wheel))) == 3
    slow = replace(one, t_ms=one.t_ms * 6.0)
    assert max(slow.t_ms[b] - slow.t_ms[a] for a, b in movements(slow)) <= 3000.0
    nothing = replace(one, t_ms=one.t_ms[:0], x=one.x[:0], y=one.y[:0], kind=one.kind[:0], button=one.button[:0])
    assert len(shapes_of(nothing)) == 0


@given(st.integers(1, 20), st.integers(1, 30), st.integers(1, 4), st.booleans(), st.integers(0, 99))
def test_nearest_against_its_naive_twin(n: int, stored: int, neighbour: int, same: bool, seed: int) -> None:
    rng = np.random.default_rng(seed)

    def some(count: int) -> Shapes:
        shape = rng.normal(size=(count, WIDTH)).astype(np.float32)
        return Shapes(shape, rng.uniform(6.0, 6.3, count), np.zeros(count))

    query, store = some(n), some(stored)
    mine, theirs = rng.integers(0, 3, n), rng.integers(0, 3, stored)
    found = nearest(
        query, store, neighbour=neighbour, same_duration=same, query_owner=mine, store_owner=theirs, batch=7
    )
    for i in range(n):
        far = sorted(
            float(np.sqrt(((query.shape[i] - store.shape[j]) ** 2).mean()))
            for j in range(stored)
            if mine[i] != theirs[j]
            and (not same or abs(query.log_ms[i] - store.log_ms[j]) <= DURATION_TOLERANCE)
        )  # fmt: skip
        twin = far[neighbour - 1] if len(far) >= neighbour else np.inf
        assert found[i] == pytest.approx(twin, abs=1e-3)


def test_a_common_shape_is_no_replay() -> None:
    # Everybody drags a slider in a straight line: near the next one, but people lie dense there.
    rng = np.random.default_rng(1)
    straight = np.r_[np.linspace(0, 1, POINTS)[1:-1], np.zeros(POINTS - 2)]
    drags = Shapes((straight + rng.normal(0, 0.01, (60, WIDTH))).astype(np.float32), np.full(60, 6.0), np.zeros(60))
    own = np.arange(60)
    near = nearest(drags, drags, query_owner=own, store_owner=own)
    density = nearest(drags, drags, neighbour=20, query_owner=own, store_owner=own)
    assert near.max() < 0.02
    assert relative(near, density).min() > 0.5
    # The copy of one of them is nearer than anybody's.
    copy = Shapes(drags.shape[:1] + np.float32(0.0005), drags.log_ms[:1], drags.start_ms[:1])
    assert relative(nearest(copy, drags), nearest(copy, drags, neighbour=20))[0] < 0.1


def test_figures_and_thresholds() -> None:
    assert figure_of(np.asarray([[5.0, 1.0, 3.0, 2.0]])).tolist() == [sorted([5.0, 1.0, 3.0, 2.0])[MATCHING - 1]]
    assert figure_of(np.asarray([1.0, 2.0])) == np.inf
    figures = np.random.default_rng(1).uniform(0, 1, 4000)
    assert 0.0 < threshold_of(figures) < figures.min()


@pytest.mark.parametrize("kind", [k for k in TRANSFORMS if k != "spliced"])
def test_replays_keep_most_shapes(kind: str) -> None:
    one = _recording(5)
    before, after = shapes_of(one), shapes_of(transformed(one, kind, np.random.default_rng(2)))
    assert len(after) >= (7 if kind == "cropped" else 10)
    near = nearest(after, before)
    # A new grid moves where a movement begins and ends by up to a step of it.
    assert np.median(near) < (0.05 if kind == "resampled" else 0.02)
    if kind in {"exact", "mirrored"}:
        assert near.max() == pytest.approx(0.0, abs=1e-3)
    else:
        assert not (len(after) == len(before) and (after.shape == before.shape).all())


def test_splices_and_new_grids_hold_what_they_are_made_of() -> None:
    a, b = _recording(1), _recording(2)
    both = shapes_of(spliced(a, b))
    assert len(both) >= STROKES
    near_a, near_b = nearest(both, shapes_of(a)), nearest(both, shapes_of(b))
    assert (near_a < 0.01).sum() >= 4
    assert (near_b < 0.01).sum() >= 4
    grid = resampled(replace(a, kind=np.where(np.arange(len(a.t_ms)) == 50, 1, 0)), 33.0)
    assert (np.diff(grid.t_ms) >= 0).all()
    assert (grid.kind == 1).sum() == 1
    assert len(movements(resampled(a, 33.0))) == len(movements(a))
    assert resampled(replace(a, t_ms=a.t_ms[:1]), 33.0).t_ms.tolist() == a.t_ms[:1].tolist()


def test_replays_are_found_and_people_are_not() -> None:
    people = people_from([_recording(k, strokes=16) for k in range(40)], [f"p{k // 2}" for k in range(40)])
    found = measure(people, replays=20, morph_sessions=15)
    assert found.store == len(people.shapes) == 640
    assert found.false.value <= 0.02
    for kind in ("exact", "slowed", "mirrored", "jittered"):
        assert found.found[kind].value > 0.9, kind
    assert set(found.found) == set(TRANSFORMS)
    assert len(found.morphs) == len(MORPHS) * len(EARLIER)
    # The more sessions of a family came before, the better it is known.
    assert found.morphs["warped 100 after 100"].value > found.morphs["warped 100 after 10"].value - 0.05
    assert found.morphs["warped 100 after 100"].value > 0.9
    replays, false, *morphs = replay_targets(found)
    assert replays.mean.value == pytest.approx(np.mean([one.value for one in found.found.values()]))
    assert false.n == found.false_by
    assert "people" in false.n
    assert [len(target.each) for target in morphs] == [len(MORPHS)] * len(EARLIER)
    assert morphs_of(people, 15, 1) == found.morphs


def test_stores_are_joined_in_order() -> None:
    a, b = shapes_of(_recording(1)), shapes_of(_recording(2))
    assert len(joined([a, b])) == len(a) + len(b)
    assert (joined([a, b]).shape[len(a) :] == b.shape).all()


def test_too_few_people_say_nothing() -> None:
    found = measure(people_from([_recording(1, strokes=16)], ["p"]), replays=2, morph_sessions=2)
    assert {one.text() for one in (*found.found.values(), *found.morphs.values(), found.false)} == {"n=0"}
    assert len(replay_targets(found)) == 2 + len(EARLIER)
