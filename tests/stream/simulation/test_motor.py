"""People move and type like people, and each bot family has the trait that names it."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from schemas.base import Flow
from stream.simulation import paths
from stream.simulation.bots import FAMILIES, stock_of
from stream.simulation.hand import hand_of, reach
from stream.simulation.people import Visit, person
from stream.simulation.typist import pattern, type_keys, typist_of

Rng = np.random.Generator
STOCK = stock_of(np.random.default_rng(0))


def bots(family: str, n: int = 12, flow: Flow = "signup") -> list[Visit]:
    return [FAMILIES[family](np.random.default_rng([7, i]), flow, STOCK) for i in range(n)]


def people(kind: str, n: int = 30, flow: Flow = "signup") -> list[Visit]:
    return [person(np.random.default_rng([8, i]), kind, flow) for i in range(n)]


def rollover_ratio(visit: Visit) -> float:
    keys = sorted(row for row in visit.recording.keys if row[2] != 6)
    return float(np.mean([b[0] < (a[1] or 0.0) for a, b in itertools.pairwise(keys)])) if len(keys) > 1 else 0.0


@example(seed=0, x=324.0, y=276.0, width=87.0)
@given(seed=st.integers(0, 10_000), x=st.floats(0, 1900), y=st.floats(0, 1000), width=st.floats(20, 400))
def test_a_reach_ends_near_its_target_after_corrections(seed: int, x: float, y: float, width: float) -> None:
    rng = np.random.default_rng(seed)
    hand = hand_of(rng)
    t, xs, ys = reach(rng, hand, (400.0, 300.0), (x, y), width, 1000.0)
    if math.dist((400, 300), (x, y)) < 40:
        return
    assert np.all(np.diff(t) > 0)
    assert t[0] >= 1000.0
    distance = math.dist((400, 300), (x, y))
    assert math.dist((xs[-1], ys[-1]), (x, y)) < 0.5 * width + 0.05 * distance + 6
    # The device is asked first when a frame or two of the movement are over.
    assert math.dist((xs[0], ys[0]), (400, 300)) < 0.12 * distance + 6


def test_people_accelerate_brake_and_correct() -> None:
    peaks, ratios, bends = [], [], []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        t, x, y = reach(rng, hand_of(rng), (100.0, 100.0), (900.0, 500.0), 60.0, 0.0)
        speed = np.hypot(np.diff(x), np.diff(y)) / np.diff(t)
        smooth = np.convolve(speed, np.ones(3) / 3, mode="valid")
        peaks.append(
            int(
                np.sum(
                    (smooth[1:-1] > smooth[:-2]) & (smooth[1:-1] >= smooth[2:]) & (smooth[1:-1] > 0.05 * smooth.max())
                )
            )
        )
        ratios.append(float(smooth[0] / smooth.max()))
        path = float(np.hypot(np.diff(x), np.diff(y)).sum())
        bends.append(path / math.dist((x[0], y[0]), (x[-1], y[-1])))
    assert np.median(peaks) >= 2, "a primary movement and a correction"
    assert np.median(ratios) < 0.25, "movements begin slowly"
    assert 1.0 < np.median(bends) < 1.25


Point = tuple[float, float]


@pytest.mark.parametrize("path", [paths.straight, paths.steps, paths.bezier, paths.wind])
@given(seed=st.integers(0, 1000), x=st.integers(0, 1900), y=st.integers(0, 1000))
def test_scripts_hit_their_target_exactly(path: paths.Path, seed: int, x: int, y: int) -> None:
    if math.dist((500, 400), (x, y)) < 2:
        return
    t, xs, ys = path(np.random.default_rng(seed), (500.0, 400.0), (float(x), float(y)), 50.0)
    assert (xs[-1], ys[-1]) == pytest.approx((x, y), abs=1e-6)
    assert np.all(np.diff(t) > 0)
    assert t[0] >= 50.0


def test_people_roll_over_keys_and_scripts_never_do() -> None:
    assert np.mean([rollover_ratio(v) for v in people("keyboard_only")]) > 0.05
    for family in ("mouse_straight", "mouse_bezier", "typist_constant", "typist_random", "headless_webdriver"):
        assert all(rollover_ratio(v) == 0 for v in bots(family)), family


def test_people_differ_from_each_other_and_correct_themselves() -> None:
    typists = [typist_of(np.random.default_rng(i)) for i in range(200)]
    assert 90 < np.percentile([t.gap_ms for t in typists], 10) < np.percentile([t.gap_ms for t in typists], 90) < 400
    corrections = 0
    for i, typist in enumerate(typists[:60]):
        rng = np.random.default_rng([4, i])
        presses, acts = type_keys(rng, typist, pattern(rng, "email"), 100.0)
        assert presses == sorted(presses)
        assert presses[0][0] >= 100.0
        assert all(up > down for down, up, _ in presses)
        corrections += sum(act == "correction" for _, act in acts)
    assert corrections > 5


def test_the_constant_typist_is_constant_and_the_random_one_is_not() -> None:
    def spreads(family: str) -> tuple[float, float]:
        keys = sorted(bots(family, 1)[0].recording.keys)
        gaps = np.diff([down for down, _, _ in keys])
        holds = [(up or 0.0) - down for down, up, _ in keys]
        return float(np.std(holds)), float(np.std(gaps[gaps < 200]))

    assert max(spreads("typist_constant")) < 1e-6
    assert min(spreads("typist_random")) > 5


def test_a_teleport_moves_nothing_and_a_straight_line_keeps_its_speed() -> None:
    for visit in bots("teleport_click"):
        assert {row[3] for row in visit.recording.pointer} == {5}
        assert visit.recording.untrusted
    for visit in bots("mouse_straight"):
        moves = np.array([row[:3] for row in sorted(visit.recording.pointer) if row[3] == 0])
        step = np.hypot(np.diff(moves[:, 1]), np.diff(moves[:, 2])) / np.diff(moves[:, 0])
        within = step[np.diff(moves[:, 0]) < 11]
        assert np.std(within) / np.mean(within) < 0.4


def test_replays_are_one_recording_and_people_are_not() -> None:
    def shape(visit: Visit) -> np.ndarray:
        rows = sorted(visit.recording.pointer)[:40]
        return np.array([row[1:3] for row in rows])

    replays = [shape(v) for v in bots("replay_jitter", 5)]
    assert max(float(np.abs(a - b).mean()) for a, b in itertools.combinations(replays, 2)) < 6.0
    persons = [shape(v) for v in people("mouse", 5)]
    n = min(len(p) for p in persons)
    assert min(float(np.abs(a[:n] - b[:n]).mean()) for a, b in itertools.combinations(persons, 2)) > 30.0


def test_machines_say_what_their_family_is() -> None:
    for visit in bots("headless_webdriver"):
        assert visit.machine.device.webdriver
        assert "Headless" in (visit.machine.device.user_agent or "")
    for visit in bots("stealth_worker"):
        device = visit.machine.device
        assert device.worker is not None
        assert device.worker.platform != device.platform
        assert not device.webdriver
    for visit in bots("http_forged"):
        assert not visit.recording.pointer
        assert not visit.recording.keys
        assert visit.machine.network.tls_class == "python"
    for visit in people("privacy_browser"):
        assert visit.machine.device.resist_fingerprinting
        assert visit.machine.device.canvas_stable is False
    assert all(not v.recording.pointer for v in people("keyboard_only"))
    assert {v.recording.pointer_type for v in people("phone")} == {"touch"}
    declared = [v.machine.device.assistive_technology for v in people("assistive_technology")]
    assert True in declared
    assert None in declared
