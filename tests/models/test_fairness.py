"""Input that looks otherwise: each change does what it says, blocks nobody, and flags no more of those who type."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.registry import INDEX
from models.adapted import ADAPTED, Adapt
from models.dataset import Recording
from models.engine import Engine
from models.evaluate_fairness import (
    BAR,
    REDUCED_MOTION,
    Change,
    Judged,
    Verdicts,
    can_have,
    change_of,
    fairness_targets,
    fairness_text,
    judge,
    measure,
)
from models.evaluate_stats import Interval, share_with_interval
from models.train_transforms import Instrument, through
from models.train_vectors import events_of, fold_recordings
from tests.models.recordings import recording

MOVING = (0, 4)
COLUMNS = ("t_ms", "x", "y", "kind", "button", "key_down_ms", "key_up_ms", "key_class")


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine.load()


def changed(name: str, one: Recording, seed: int = 1) -> Recording:
    return ADAPTED[name](one, np.random.default_rng(seed))


@settings(max_examples=15, deadline=None)
@given(st.sampled_from(sorted(ADAPTED)), st.integers(0, 50), st.sampled_from([0, 1, 2, 30]), st.floats(0.0, 8.0))
def test_a_change_gives_a_recording_in_order_and_leaves_its_own_alone(
    name: str, seed: int, keys: int, seconds: float
) -> None:
    one = recording(seed, seconds, keys)
    before = {column: getattr(one, column).copy() for column in COLUMNS}
    found = changed(name, one, seed)
    for column in COLUMNS:
        assert np.array_equal(getattr(one, column), before[column], equal_nan=True)
    assert len({len(getattr(found, column)) for column in COLUMNS[:5]}) == 1
    assert len({len(getattr(found, column)) for column in COLUMNS[5:]}) == 1
    assert (np.diff(found.t_ms) >= 0.0).all()
    assert (np.diff(found.key_down_ms) >= 0.0).all()
    assert not (found.key_up_ms < found.key_down_ms).any()
    assert np.isfinite(found.t_ms).all()
    again = changed(name, one, seed)
    assert all(np.array_equal(getattr(found, c), getattr(again, c), equal_nan=True) for c in COLUMNS)
    assert (replace(found, t_ms=one.t_ms).session_id, found.pointer_type) == (one.session_id, one.pointer_type)


def test_mouse_keys_move_in_eight_directions_to_where_the_hand_went() -> None:
    one = recording(3, 12.0, 20)
    found = changed("mouse keys", one)
    dx, dy = np.abs(np.diff(found.x)), np.abs(np.diff(found.y))
    assert ((dx == dy) | (dx == 0.0) | (dy == 0.0)).all()
    presses, theirs = np.flatnonzero(one.kind == 1), np.flatnonzero(found.kind == 1)
    assert len(presses) == len(theirs) > 1
    for mine, its in zip(presses.tolist(), theirs.tolist(), strict=True):
        # A pixel of each axis may be left, and noise of the hand between the last move and the press.
        assert abs(found.x[its] - one.x[mine - 1]) <= 2.0
        assert abs(found.y[its] - one.y[mine - 1]) <= 2.0
    assert found.duration_ms > one.duration_ms
    assert len(found.key_down_ms) == 20
    assert np.allclose(found.key_up_ms - found.key_down_ms, one.key_up_ms - one.key_down_ms)


def test_dwell_clicks_come_after_a_rest_and_release_at_once() -> None:
    one = recording(4, 12.0)
    found = changed("dwell clicks", one)
    downs = np.flatnonzero(found.kind == 1)
    assert len(downs) > 1
    for at in downs.tolist():
        assert found.t_ms[at] - found.t_ms[at - 1] >= 500.0
        up = at + 1 + int(np.argmax(found.kind[at + 1 :] == 2))
        assert found.t_ms[up] - found.t_ms[at] <= 51.0
    assert np.array_equal(found.x, one.x)


def test_the_other_changes_do_what_they_say() -> None:
    one = recording(5, 10.0, 40)
    slow = changed("half speed", one)
    assert slow.duration_ms == pytest.approx(2.0 * one.duration_ms, rel=0.01)
    assert np.median(np.diff(slow.t_ms)) <= 1.2 * np.median(np.diff(one.t_ms))
    coarse = changed("30 Hz sampling", one)
    moves = coarse.t_ms[np.isin(coarse.kind, MOVING)]
    assert np.diff(moves).min() >= 33.0
    shaken = changed("tremor of 4 to 8 Hz", one)
    assert np.abs(shaken.x - one.x).max() <= 5.0
    assert len(shaken.t_ms) == len(one.t_ms)
    typed = changed("keyboard only", one)
    assert len(typed.t_ms) == 0
    text = typed.key_class != 8
    assert np.array_equal(typed.key_class[text], one.key_class)
    assert 1 <= (~text).sum() <= 40
    assert np.allclose((typed.key_up_ms - typed.key_down_ms)[text], one.key_up_ms - one.key_down_ms)
    unseen = changed("no pointer", one)
    assert len(unseen.t_ms) == 0
    assert np.array_equal(unseen.key_down_ms, one.key_down_ms)
    fewer = changed("missing batches", one)
    lost = set((one.t_ms // 500).tolist()) - set((fewer.t_ms // 500).tolist())
    assert 0 < len(lost) < 10
    assert not lost & set((fewer.t_ms // 500).tolist())
    assert np.isnan(changed("missing releases", one).key_up_ms).all()
    assert not (changed("missing releases", one).kind == 2).any()


def people(engine: Engine, kind: str, n: int) -> Judged:
    keys = 60 if kind == "keys" else 0
    made = [recording(seed, 0.0 if keys else 8.0, keys, f"s-{seed}") for seed in range(n)]
    return Judged("made up", kind, made, np.asarray([one.session_id for one in made]), [engine] * n)


@pytest.mark.parametrize("kind", ["mouse", "keys"])
def test_no_change_of_input_blocks_anybody_nor_flags_more_who_type(engine: Engine, kind: str) -> None:
    found = measure([people(engine, kind, 40 if kind == "keys" else 12)])
    assert {one.name for one in found} == {n for n in (*ADAPTED, REDUCED_MOTION) if can_have(n, kind)}
    assert all(one.blocked.value == 0.0 for one in found)
    for one in found:
        if kind == "keys":
            assert one.rise.value <= 0.01, one
            assert one.stepped_rise.value <= 0.01, one
        if one.name in {REDUCED_MOTION, "no pointer"}:
            assert one.after.value <= one.before.value
            assert one.stepped_rise.value <= 0.0


def test_what_was_not_seen_gives_no_score(engine: Engine) -> None:
    silent = [events_of(changed("no pointer", recording(k, 6.0, 0, f"s-{k}"))) for k in range(3)]
    verdicts = judge(engine, silent)
    assert (verdicts.bot == -1.0).all()
    assert (verdicts.action == 0).all()


def test_a_pointer_led_by_keys_is_not_judged(engine: Engine) -> None:
    pointer = engine.artifacts.pointer
    assert pointer is not None
    hands = [recording(seed, 12.0, 0, f"s-{seed}") for seed in range(6)]
    for by_hand, by_keys in zip(
        fold_recordings(hands), fold_recordings([changed("mouse keys", one) for one in hands]), strict=True
    ):
        known = ~np.isnan(by_keys[:, INDEX["pointer_axis_ratio"]])
        assert known.mean() > 0.8
        assert np.isnan(pointer.raw(by_keys)[known]).all()
        assert np.isfinite(pointer.raw(by_hand)[-1])


def test_samples_too_far_apart_are_not_judged(engine: Engine) -> None:
    pointer = engine.artifacts.pointer
    assert pointer is not None
    rng = np.random.default_rng(2)
    hands = [recording(seed, 12.0, 0, f"s-{seed}") for seed in range(3)]
    for interval, judged in ((50.0, True), (100.0, False)):
        coarse = [through(one, Instrument(interval_ms=interval), rng) for one in hands]
        last = np.stack([vectors[-1] for vectors in fold_recordings(coarse)])
        assert (np.isfinite(pointer.raw(last)) == judged).all()


def test_sessions_side_by_side_are_judged_as_alone(engine: Engine) -> None:
    made = [events_of(recording(k, 2.0 + k, 12 * k, f"s-{k}")) for k in range(4)]
    together = judge(engine, made)
    alone = [judge(engine, [one]) for one in made]
    assert together.bot.tolist() == [one.bot[0] for one in alone]
    assert together.action.tolist() == [one.action[0] for one in alone]


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 400), st.floats(-2e3, 2e3), st.floats(-2e3, 2e3), st.integers(0, 5)),
                max_size=60),
       st.lists(st.tuples(st.floats(0, 700), st.floats(0, 300), st.integers(1, 9)), max_size=60))  # fmt: skip
def test_input_alone_never_blocks_whatever_it_is(
    engine: Engine, moves: list[tuple[float, float, float, int]], presses: list[tuple[float, float, int]]
) -> None:
    t = np.cumsum([m[0] for m in moves])
    down = np.cumsum([p[0] for p in presses])
    kind = np.asarray([m[3] for m in moves], dtype=np.int64)
    anything = Recording(
        "any", "somewhere", "mouse", None, t, np.asarray([m[1] for m in moves]), np.asarray([m[2] for m in moves]),
        kind, np.isin(kind, (1, 2, 5)).astype(np.int64), down, down + np.asarray([p[1] for p in presses]),
        np.asarray([p[2] for p in presses], dtype=np.int64),
    )  # fmt: skip
    assert judge(engine, [events_of(anything)]).action[0] < 2


def test_figures_of_a_change_against_their_naive_twin() -> None:
    rng = np.random.default_rng(8)
    unit = rng.choice(["a", "b", "c"], 30)
    before, after = (Verdicts(rng.uniform(0.9, 1.0, 30), rng.integers(0, 3, 30)) for _ in range(2))
    judged = Judged("s", "mouse", [], unit.astype(np.str_), [])
    found = change_of("tremor", judged, before, after)

    def mean(values: list[float]) -> float:
        return float(np.mean([np.mean([v for v, u in zip(values, unit, strict=True) if u == one]) for one in "abc"]))

    assert found.after.value == pytest.approx(mean([float(v >= BAR) for v in after.bot]))
    rises = [float(b >= BAR) - float(a >= BAR) for a, b in zip(before.bot, after.bot, strict=True)]
    assert found.rise.value == pytest.approx(mean(rises))
    assert found.rise.value == pytest.approx(found.after.value - found.before.value)
    assert found.blocked == share_with_interval(after.action == 2, unit.astype(np.str_))
    assert (found.people, found.sessions) == (3, 30)


def test_inputs_without_people_print_that_there_is_nobody() -> None:
    one = Interval(0.01, 0.0, 0.02)
    rows = [Change("mouse keys", "mouse", s, 5, 9, one, Interval(0.01 + r, 0, 1), Interval(r, 0, 1), one, one,
                   Interval(0.0, 0, 0), Interval(0.0, 0, 0)) for s, r in (("one", 0.02), ("two", -0.01))]  # fmt: skip
    text = fairness_text(rows)
    (mouse,) = [line for line in text.splitlines() if line.startswith("| mouse keys | mouse")]
    assert "one: 0.010 to 0.030" in mouse
    assert "one (5, 9), two (5, 9)" in mouse
    assert "| tremor of 4 to 8 Hz | pen | n=0 |" in text
    assert "| mouse keys | pen" not in text
    flagged, stepped, blocked = fairness_targets(rows)
    assert (flagged.worst.value, flagged.worst_of, stepped.worst.value, blocked.worst.value) == (
        0.02,
        "mouse keys",
        0,
        0,
    )


def test_a_change_that_flags_people_shows(engine: Engine) -> None:
    def robot(one: Recording, rng: np.random.Generator) -> Recording:
        del rng
        down = np.arange(len(one.key_down_ms), dtype=np.float64) * np.float64(90.0)
        return replace(one, key_down_ms=np.asarray(down), key_up_ms=np.asarray(down + 30.0))

    seeded: dict[str, Adapt] = {"half speed": robot}
    found = measure([people(engine, "keys", 12)], adapted=seeded)
    assert found[0].rise.value > 0.9
    assert found[0].stepped_rise.value > 0.9
