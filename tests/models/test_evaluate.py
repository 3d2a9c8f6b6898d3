"""Evaluation: figures against naive twins, protocols that leave out what they say, a small run from data to text."""

from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.dataset import read_recordings, read_truth
from models.evaluate import EvaluateSettings, evaluate
from models.evaluate_baseline import NAMES, at_cuts, measure
from models.evaluate_keys import RANDOM_DELAYS, first_keys, random_delay_bot
from models.evaluate_pointer import Fit, calibration_of, leave_family_out, leave_source_out
from models.evaluate_report import markdown, write_cards, write_report
from models.evaluate_stats import auc, curve, found_at, share_with_interval, side, threshold_at, with_interval
from models.train import TrainSettings, quick
from models.train_vectors import Table, tabulate
from models.train_windows import Recipe, training_samples
from tests.models.recordings import folder, recording, row, small_world

scores = st.lists(st.integers(0, 20), min_size=1, max_size=30)


@given(scores, scores, st.integers(0, 5))
def test_auc_against_its_naive_twin(people: list[int], bots: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    unit = rng.integers(0, 5, len(people)).astype(np.str_)
    humans = side(np.asarray(people, dtype=float), unit)
    robots = side(np.asarray(bots, dtype=float), np.arange(len(bots)).astype(np.str_))
    total = won = 0.0
    for p, pu in zip(people, unit, strict=True):
        for b in bots:
            weight = 1.0 / (unit == pu).sum()
            total += weight
            won += weight * (1.0 if b > p else 0.5 if b == p else 0.0)
    assert auc(humans, robots) == pytest.approx(won / total)
    false, true = curve(humans, robots)
    assert (np.diff(false) >= -1e-12).all()
    assert true[-1] == pytest.approx(1)
    assert false[-1] == pytest.approx(1)
    assert np.trapezoid(true, false) == pytest.approx(won / total)


@given(scores, st.floats(0.0, 0.6))
def test_thresholds_keep_to_the_budget(people: list[int], rate: float) -> None:
    humans = side(np.asarray(people, dtype=float), np.arange(len(people)).astype(np.str_))
    threshold = threshold_at(humans, rate)
    above = np.asarray(people) > threshold
    assert above.mean() <= rate + 1e-9
    lower = [p for p in people if p < threshold]
    if lower:
        assert (np.asarray(people) > max(lower)).mean() > rate


def test_bots_without_a_score_are_not_found() -> None:
    humans = side(np.linspace(0, 0.5, 200), np.arange(200).astype(np.str_))
    bots = side(np.r_[np.full(50, 0.9), np.full(50, np.nan)], np.arange(100).astype(np.str_))
    area, found = with_interval(humans, bots)
    assert area.value == 1.0
    assert found.value == pytest.approx(0.5)
    assert found_at(humans, bots.known(), 0.01) == 1.0
    assert with_interval(side(np.zeros(2), np.array(["a", "b"])), bots)[0].text() == "n=0"


def test_intervals_are_over_people_not_windows() -> None:
    hit = np.repeat([True, False, False, False], 500)
    unit = np.repeat(["a", "b", "c", "d"], 500)
    by_person = share_with_interval(hit, unit)
    by_window = share_with_interval(hit, np.arange(2000).astype(np.str_))
    assert by_person.value == by_window.value == 0.25
    assert by_person.high - by_person.low > 5 * (by_window.high - by_window.low)
    # A person with many windows counts once.
    uneven = share_with_interval(np.r_[np.ones(99, bool), False], np.r_[np.full(99, "a"), ["b"]])
    assert uneven.value == pytest.approx(0.5)


def test_calibration_is_the_conformal_one() -> None:
    held, unit = np.arange(99) / 100.0, np.arange(99).astype(np.str_)
    calibrate, n = calibration_of(held, np.ones(99, dtype=bool), unit, np.full(99, "a"))
    assert n == 99
    assert calibrate(0.981) == pytest.approx(0.99)
    assert calibrate(0.0) == pytest.approx(0.0)
    assert calibrate(0.98) == pytest.approx(1 - 2 / 100)


def test_baseline_figures() -> None:
    t = np.arange(0.0, 500.0, 10.0)
    figures = dict(zip(NAMES, measure(t, t * 2.0, np.zeros(len(t))), strict=True))
    assert figures["speed_mean"] == pytest.approx(2.0)
    assert figures["speed_sd"] == pytest.approx(0, abs=1e-9)
    assert figures["straightness"] == pytest.approx(1.0)
    assert figures["pause_count"] == 0
    one = recording(1, 6.0)
    late = at_cuts(one)
    assert late.shape == (5, len(NAMES))
    assert late[0].tolist() == pytest.approx(
        measure(*(v[one.t_ms <= 1000] for v in (one.t_ms, one.x, one.y))), rel=1e-5
    )


@pytest.mark.parametrize("name", RANDOM_DELAYS)
def test_random_delay_bots_are_recordings(name: str) -> None:
    for seed in range(20):
        bot = random_delay_bot(name, np.ones(50, dtype=np.int64), np.random.default_rng(seed))
        assert (np.diff(bot.key_down_ms) > 0).all()
        assert (bot.key_up_ms >= bot.key_down_ms).all()
        assert (bot.key_up_ms[:-1] <= bot.key_down_ms[1:] + 0.1).all()
        assert len(np.unique(np.round(np.diff(bot.key_down_ms)))) > 5
    cut = first_keys(recording(1, 2.0, keys=12), 10)
    assert cut is not None
    assert len(cut.key_down_ms) == 10
    assert cut.key_down_ms[0] == 0.0
    assert len(cut.t_ms) == 0
    assert first_keys(recording(1, 2.0, keys=9), 10) is None


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rows = small_world(8)
    rows += [row(f"cap-{k}", "captcha2017", 700 + k, seconds=4.0) for k in range(14)]
    rows += [row(f"capbot-{k}", "captcha2017", 800 + k, family="captcha2017_unknown", seconds=4.0) for k in range(12)]
    for s, source in enumerate(("hofstra", "aalto_sample", "mobikey", "cmu_partial")):
        rows += [row(f"{source}-{k}", source, 900 + 50 * s + k, user=f"u{k}", keys=45, pointer=False) for k in range(6)]
    rows += [
        row(f"kg-{k}", "key_gen", 1200 + k, family="key_pyautogui_write", keys=45, pointer=False) for k in range(6)
    ]
    return folder(tmp_path_factory.mktemp("world"), rows)


@pytest.fixture(scope="module")
def table(world: Path) -> Table:
    return tabulate(
        training_samples(read_recordings(world), read_truth(world), Recipe(windows=1, bot_copies=1, counterparts=1), 1)
    )


def _spy(table: Table, seen: list[np.ndarray]) -> Fit:
    def learn(rows: np.ndarray):  # type: ignore[no-untyped-def]
        seen.append(rows)

        def score(wanted: np.ndarray) -> np.ndarray:
            assert not (rows & wanted).any(), "judged on what was learnt"
            out = np.full(table.X.shape[:2], np.nan)
            out[wanted] = 0.5
            return out

        return score

    return learn


def test_a_left_out_family_and_its_judges_are_in_no_training(table: Table) -> None:
    seen: list[np.ndarray] = []
    out = leave_family_out(table, _spy(table, seen), "windmouse")
    recorded = table.origin == "recorded"
    assert not np.isnan(out[recorded & ((table.label == 0) | (table.family == "windmouse"))]).any()
    assert np.isnan(out[recorded & (table.family == "pyclick")]).all()
    for rows in seen:
        assert not (rows & (table.family == "windmouse")).any()
        # Whoever is judged against it, and what was made from them, is missing here.
        missing = set(table.person[~rows]) - {""}
        assert missing
        assert missing.isdisjoint(set(table.person[rows]) - {""})


def test_a_left_out_source_takes_everything_with_it(table: Table) -> None:
    seen: list[np.ndarray] = []
    results = leave_source_out(table, _spy(table, seen), "sapimouse")
    for rows in seen:
        assert not (rows & np.isin(table.source, ["sapimouse", "sapimouse_gen"])).any()
    assert {r.source for r in results} == {"sapimouse"}
    assert set(results[0].bots) == {"pyclick", "windmouse"}
    assert results[0].calibrated_on == 8
    # The prior of the others is made as the shipped one: each source scored by a model that never saw it.
    assert sorted(len(set(table.group[rows])) for rows in seen) == [1, 1, 2]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_small_run_from_data_to_text(world: Path, tmp_path: Path) -> None:
    base = TrainSettings()
    few = replace(quick(base), recipe=Recipe(windows=1, bot_copies=1, counterparts=1), fit=replace(base.fit, rounds=10))
    result = evaluate(world, EvaluateSettings(train=few, key_seeds=1))
    summary = result.summary
    assert msgspec.json.encode(summary)
    assert {f.family for f in summary.families} == {"pyclick", "windmouse", "delbot_pynput"}
    assert all(0.0 <= f.auc_all.value <= 1.0 for f in summary.families if f.cut == "5")
    assert set(result.curves["baseline"]) == {f.family for f in summary.families_baseline}
    assert {r.source for r in summary.unseen} == {"captcha2017"}
    assert {e.source for e in summary.end_to_end} >= {"captcha2017", "key_gen", "hofstra"}
    assert all(sum(e.kinds.values()) == pytest.approx(1.0) for e in summary.end_to_end)
    write_report(result, tmp_path)
    write_cards(result, tmp_path / "cards")
    text = (tmp_path / "reference" / "detection.md").read_text()
    assert text == markdown(summary)
    assert "not for use" not in text
    assert "not for use" in markdown(replace(summary, quick=True))
    assert "nan" not in text.lower().replace("scenario", "")
    for name in ("roc", "det", "time", "sources", "keys"):
        assert f"img/detection-{name}.png" in text
        assert (tmp_path / "reference" / "img" / f"detection-{name}.png").stat().st_size > 5_000
    assert {p.stem for p in (tmp_path / "cards").glob("*.md")} == {
        "bot_pointer",
        "bot_keystroke",
        "anomaly_hst",
        "calibration",
    }
