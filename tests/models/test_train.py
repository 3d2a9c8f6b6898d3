"""Training: transforms and counterparts keep their promises, weights balance, the same data gives the same bytes."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.registry import INDEX, REGISTRY_HASH
from models import train_windows
from models.adapted import ADAPTED, Adapt
from models.artifact import shipped_directory
from models.dataset import DatasetError, Recording, read_recordings, read_truth
from models.engine import Engine
from models.train import TrainSettings, hashes, quick, train
from models.train_fit import (
    DEFAULT,
    SOURCE_WEIGHT,
    fit,
    outside,
    person_folds,
    pointer_columns,
    predict,
    sample_weights,
    usable,
)
from models.train_generators import RUN_GAP_MS, STYLES, corners, counterpart, draw_style, ease
from models.train_people import anomaly_prior, pointer_model
from models.train_transforms import RECORDED, draw_instrument, thin, through, window
from models.train_vectors import Table, tabulate
from models.train_windows import SHIPPABLE, Recipe, recorded_samples, training_samples, windows_of
from tests.models.recordings import folder, recording, row, small_world
from tests.support import require

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"


@settings(max_examples=60)
@given(st.integers(0, 10_000))
def test_an_instrument_gives_a_recording(seed: int) -> None:
    rng = np.random.default_rng(seed)
    one = recording(seed % 17, 4.0, keys=6)
    other = through(one, draw_instrument(rng), rng)
    n = len(other.t_ms)
    assert n == len(other.x) == len(other.y) == len(other.kind) == len(other.button)
    assert 0 < n <= len(one.t_ms)
    assert (np.diff(other.t_ms) >= 0).all()
    assert np.isfinite(other.x).all()
    assert (other.kind != 0).sum() == (one.kind != 0).sum(), "a press was lost"
    assert len(other.key_down_ms) == 6
    assert (other.key_up_ms > other.key_down_ms).all()


def test_the_recorded_instrument_changes_nothing() -> None:
    one = recording(1)
    assert through(one, RECORDED, np.random.default_rng(0)) is one


@given(st.lists(st.tuples(st.floats(0, 40), st.integers(0, 5)), max_size=60), st.floats(0, 60))
def test_thinning_against_its_naive_twin(steps: list[tuple[float, int]], interval: float) -> None:
    t = np.cumsum([dt for dt, _ in steps]) if steps else np.zeros(0)
    kind = np.asarray([k for _, k in steps], dtype=np.int64)
    kept: list[int] = []
    for i in range(len(t)):
        if kind[i] in (1, 2, 3, 5) or not kept or t[i] - t[kept[-1]] >= interval:
            kept.append(i)
    assert thin(t, kind, interval).tolist() == kept


def test_windows_begin_at_zero_and_hold_their_part() -> None:
    one = recording(3, 10.0, keys=30)
    part = window(one, 2_000.0, 3_000.0)
    inside = (one.t_ms >= 2_000.0) & (one.t_ms < 5_000.0)
    assert part.x.tolist() == one.x[inside].tolist()
    assert min(part.t_ms[0], part.key_down_ms[0]) == 0.0
    assert np.allclose(np.diff(part.t_ms), np.diff(one.t_ms[inside]))
    rng = np.random.default_rng(1)
    assert len(windows_of(one, 4, rng)) == 1
    parts = windows_of(recording(3, 120.0), 4, rng)
    assert len(parts) == 4
    assert all(p.duration_ms <= 20_000.0 for p in parts)


@pytest.mark.parametrize("rule", STYLES)
def test_counterparts_keep_targets_pauses_and_recorder(rule: str) -> None:
    for seed in range(12):
        rng = np.random.default_rng(seed)
        one = recording(seed, 6.0)
        bot = counterpart(one, draw_style(rng, (rule,)), rng)
        assert len(bot.t_ms) == len(one.t_ms)
        assert bot.kind.tolist() == one.kind.tolist()
        assert (np.diff(bot.t_ms) >= 0).all()
        assert np.isfinite(bot.x).all()
        assert np.isfinite(bot.y).all()
        gaps = np.flatnonzero(np.diff(one.t_ms) > RUN_GAP_MS)
        assert np.allclose(bot.t_ms[gaps + 1], one.t_ms[gaps + 1])
        assert abs(bot.t_ms[-1] - one.t_ms[-1]) < 1.0
        # It ends where the person ended, and goes another way.
        assert np.hypot(bot.x[-1] - one.x[-1], bot.y[-1] - one.y[-1]) <= 0.15 * np.ptp(one.x) + 40
        assert not np.array_equal(bot.x, one.x)


def test_corners_of_an_angle() -> None:
    x = np.concatenate([np.linspace(0, 100, 21), np.full(20, 100.0)])
    y = np.concatenate([np.zeros(21), np.linspace(5, 100, 20)])
    assert corners(x, y, 5.0) == [0, 20, 40]


@given(st.integers(0, 5), st.floats(1.1, 5.0))
def test_easings_go_from_start_to_end(easing: int, exponent: float) -> None:
    way = ease(np.linspace(0, 1, 50), easing, exponent)
    assert way[0] == pytest.approx(0, abs=1e-9)
    assert way[-1] == pytest.approx(1)
    assert (np.diff(way) >= -1e-12).all()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return folder(tmp_path_factory.mktemp("world"), small_world())


@pytest.fixture(scope="module")
def table(world: Path) -> Table:
    samples = training_samples(read_recordings(world), read_truth(world), Recipe(windows=2), 1)
    return tabulate(samples)


def test_weights_give_people_and_bots_of_an_instrument_the_same(table: Table) -> None:
    weights = sample_weights(table, np.ones(len(table), dtype=bool))
    for group, own in SOURCE_WEIGHT.items():
        for label in (0, 1):
            assert weights[(table.group == group) & (table.label == label)].sum() == pytest.approx(own)
    rows = table.group != "delbot"
    assert not sample_weights(table, rows)[~rows].any()


def test_what_is_left_out_leaves_with_what_was_made_from_it(table: Table) -> None:
    fold = person_folds(table, 3, 1)
    for person in np.unique(table.person[table.person != ""]):
        assert len(np.unique(fold[table.person == person])) == 1
    generated = table.origin == "generated"
    assert generated.any()
    assert (table.person[generated] != "").all()
    assert (table.label[generated] == 1).all()
    assert (fold[(table.label == 1) & ~generated] == -1).all()
    assert set(table.group[table.source == "sapimouse_gen"]) == {"sapimouse"}


def test_people_who_move_otherwise_are_learnt_as_people_and_mouse_keys_are_nobodys_bot(
    world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[str, int]] = []
    current: list[int] = []

    def noted(name: str, change: Adapt) -> Adapt:
        def of(one: Recording, rng: np.random.Generator) -> Recording:
            seen.append((name, current[-1]))
            return change(one, rng)

        return of

    monkeypatch.setattr(train_windows, "ADAPTED", {name: noted(name, change) for name, change in ADAPTED.items()})
    truths = read_truth(world)
    labels = {name: truth.label for name, truth in truths.items()}
    recipe = Recipe(windows=1, copies=0, bot_copies=0, adapted=3, bot_adapted=2, counterparts=0)
    made: dict[str, int] = {}

    def recordings() -> Iterator[Recording]:
        for one in read_recordings(world):
            current.append(labels[one.session_id])
            yield one

    for sample in training_samples(recordings(), truths, recipe, 1):
        made[sample.recording.session_id] = made.get(sample.recording.session_id, 0) + 1
        assert sample.label == labels[sample.recording.session_id]
    assert {made[name] for name in made if labels[name] == 0} == {4}
    assert {made[name] for name in made if labels[name] == 1} == {3}
    assert {name for name, label in seen if label == 0} == set(train_windows.PEOPLE_ADAPTED)
    assert ("mouse keys", 1) not in seen


def test_training_and_evaluation_score_where_the_served_model_does(table: Table) -> None:
    recorded = table.origin == "recorded"
    changed = replace(table, X=table.X.copy())
    number = np.arange(len(table))
    keys, coarse = recorded & (number % 3 == 0), recorded & (number % 3 == 1)
    changed.X[recorded, :, INDEX["pointer_interval_ms"]] = 20.0
    for name, value in (("axis", 0.7), ("diagonal", 0.3), ("ahead", 0.95)):
        changed.X[recorded, :, INDEX[f"pointer_{name}_ratio"]] = np.where(keys, value, 0.1)[recorded, None]
    changed.X[coarse, :, INDEX["pointer_interval_ms"]] = 80.0
    assert np.array_equal(outside(changed.X)[recorded].any(axis=1), (keys | coarse)[recorded])
    booster = fit(table, np.ones(len(table), dtype=bool), replace(DEFAULT, rounds=5))
    scores = predict(booster, changed, recorded)
    assert np.isnan(scores[keys | coarse]).all()
    judged = recorded & ~keys & ~coarse
    assert np.isfinite(scores[judged, -1]).all()
    served = pointer_model(booster).raw(changed.X[recorded, -1].astype(np.float64))
    assert np.array_equal(np.isnan(served), np.isnan(scores[recorded, -1]))
    everybody = predict(booster, changed, recorded, of_all=True)[recorded, -1]
    assert np.isfinite(everybody).all()
    of_all = pointer_model(booster).raw_of_all(changed.X[recorded, -1].astype(np.float64))
    assert np.allclose(of_all, everybody, atol=1e-6)
    known = ~np.isnan(served)
    assert np.allclose(served[known], scores[recorded, -1][known], atol=1e-6)


def test_nobody_to_learn_from_is_said_in_one_line(table: Table) -> None:
    with pytest.raises(DatasetError, match="no recorded people"):
        anomaly_prior(table, np.zeros(len(table.group), dtype=bool), TrainSettings().anomaly)


def test_rows_after_the_end_tell_nothing_new(table: Table) -> None:
    short = (table.session == "pyclick-0") & (table.origin == "recorded")
    assert table.reached[short].tolist() == [[True, True, True, True, False]] * int(short.sum())
    assert usable(table).any()


def test_training_ignores_sources_that_may_not_ship(tmp_path: Path) -> None:
    rows = small_world(3)
    more = [row(f"cap-{k}", "captcha2017", 700 + k) for k in range(4)] + [
        row("aa", "aalto_sample", 9, keys=9, pointer=False)
    ]
    found = []
    # Beside each other in the file, so that numbers of sessions shift only behind them.
    for name, content in (("a", rows), ("b", rows + more)):
        path = folder(tmp_path / name, content)
        found.append(tabulate(training_samples(read_recordings(path), read_truth(path), Recipe(windows=1), 1)))
    assert np.array_equal(found[0].X, found[1].X, equal_nan=True)
    assert set(found[1].source) <= set(SHIPPABLE)
    path = tmp_path / "b"
    assert len(list(recorded_samples(read_recordings(path), read_truth(path), ("captcha2017",), 1, 1))) == 4


def test_quick_training_repeats_byte_for_byte_and_loads(world: Path, tmp_path: Path) -> None:
    few = quick(TrainSettings())
    few = TrainSettings(few.fit, Recipe(windows=1, bot_copies=1, counterparts=1), few.anomaly)
    reports = [train(world, tmp_path / name, few) for name in ("a", "b")]
    assert reports[0].files == reports[1].files == hashes(tmp_path / "b")
    assert len(reports[0].files) == 7
    engine = Engine.load(tmp_path / "a")
    assert engine.artifacts.manifest.features_hash == REGISTRY_HASH
    assert engine.artifacts.manifest.sources == list(SHIPPABLE)
    assert engine.artifacts.pointer is not None
    assert engine.artifacts.pointer.inputs.tolist() == pointer_columns().tolist()
    assert reports[0].people == {"balabit": 3, "delbot": 3, "sapimouse": 3}
    other = TrainSettings(few.fit, Recipe(windows=1, bot_copies=1, counterparts=2), few.anomaly)
    assert train(world, tmp_path / "c", other).files["bot_pointer.txt"] != reports[0].files["bot_pointer.txt"]


def test_what_ships_fits_this_registry() -> None:
    engine = Engine.load()
    manifest = engine.artifacts.manifest
    assert manifest.features_hash == REGISTRY_HASH
    assert set(manifest.sources) == set(SHIPPABLE)
    assert manifest.metrics["people"] >= 80
    calibration = engine.artifacts.calibration
    assert calibration.state == "prior"


@pytest.mark.recorded
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_shipped_artefacts_are_reproduced_byte_for_byte(tmp_path: Path) -> None:
    require((DATA / "sessions.parquet").is_file(), "recorded data (../shared/data) is not here")
    assert train(DATA, tmp_path).files == hashes(shipped_directory())
