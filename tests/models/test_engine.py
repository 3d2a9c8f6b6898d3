"""The engine: a chunk is its rows, decisions follow from scores, everything recorded gives the same score again."""

import math
import subprocess
import sys
from pathlib import Path

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from features.registry import FEATURES, INDEX, N_FEATURES, NAMES, REGISTRY_HASH
from features.session import Meta
from models import reasons as reasons_module
from models.anomaly import FlatHST
from models.calibration import CalibrationBuilder
from models.cells import Cell
from models.channels import Planner
from models.engine import ANOMALY, BOT, DEVICE, Engine
from models.policy import parse_policy
from models.reason_codes import code_of, stem_of
from models.reasons import Draft
from models.snapshots import EMPTY, SnapshotSet
from schemas.base import FLOWS
from schemas.risk import CHANNELS, Reason, Scores, SignalValue, Velocity
from tests.models.conftest import N_PEOPLE, vectors
from tests.support.naive_scoring import overall

Floats = NDArray[np.float64]
WEBDRIVER = {"webdriver_true": SignalValue(value=True, severity="strong", confidence="high")}
UNTRUSTED = {"untrusted_events": SignalValue(value=0.4, severity="strong", confidence="high")}


def mouse(flow: str = "login") -> Meta:
    return Meta(flow=flow, pointer_type="mouse", collector="web", blocks=0b1)


def test_a_chunk_is_its_rows(engine: Engine) -> None:
    rows = np.vstack([vectors(20, bot=False, seed=31), vectors(20, bot=True, seed=32)])
    rows[3, INDEX["pointer_samples"]] = 0.0
    rows[4, INDEX["session_device_seen"]] = np.nan
    flows = [FLOWS[i % len(FLOWS)] for i in range(len(rows))]
    signals = [WEBDRIVER if i % 3 == 0 else UNTRUSTED if i % 3 == 1 else {} for i in range(len(rows))]
    whole = engine.raw(rows, flows, signals)
    for i in range(len(rows)):
        alone = engine.raw(rows[i : i + 1], flows[i : i + 1], signals[i : i + 1])[0]
        assert np.array_equal(alone, whole[i], equal_nan=True)
    for size in (1, 7, 40):
        parts = [engine.raw(rows[i : i + size], flows[i : i + size], signals[i : i + size]) for i in range(0, 40, size)]
        assert np.array_equal(np.vstack(parts), whole, equal_nan=True)
    assert whole.shape == (40, len(CHANNELS))
    assert engine.raw(rows[:0], [], []).shape == (0, len(CHANNELS))


def test_channels_without_evidence_are_no_data(engine: Engine) -> None:
    row = np.full((1, N_FEATURES), np.nan)
    raw = engine.raw(row, ["login"], [{}])
    assert np.isnan(raw).all()
    found = engine.assess(row[0], raw[0], mouse(), {}, {}, [])
    assert found.scores.bot is not None
    assert (found.scores.bot.state, found.scores.bot.score, found.scores.bot.raw) == ("no_data", None, None)
    assert (found.scores.overall, found.scores.overall_anytime, found.decision.action) == (0.0, 0.0, "allow")
    assert found.scores.injection is not None
    assert found.scores.injection.state == "not_expected"


def test_signals_reach_their_channels(engine: Engine) -> None:
    row = np.full((1, N_FEATURES), np.nan)
    device = engine.raw(row, ["login"], [WEBDRIVER])[0]
    assert device[DEVICE] == pytest.approx(0.95)
    assert math.isnan(device[BOT])
    forensic = engine.raw(row, ["login"], [UNTRUSTED])[0]
    assert forensic[BOT] == pytest.approx(0.95)
    assert math.isnan(forensic[DEVICE])
    quiet = row.copy()
    quiet[0, INDEX["session_device_seen"]] = 1.0
    assert engine.raw(quiet, ["login"], [{}])[0, DEVICE] == 0.0


def test_people_pass_and_bots_are_stepped_up(engine: Engine) -> None:
    actions: dict[bool, list[str]] = {False: [], True: []}
    for bot in (False, True):
        rows = vectors(100, bot=bot, seed=33)
        raw = engine.raw(rows, ["login"] * 100, [{}] * 100)
        found = [engine.assess(x, r, mouse(), {}, {}, []) for x, r in zip(rows, raw, strict=True)]
        actions[bot] = [assessment.decision.action for assessment in found]
    assert actions[False].count("allow") >= 90
    assert actions[True].count("step_up") >= 90
    assert "block" not in actions[True]


def test_scores_follow_from_what_the_event_says(engine: Engine) -> None:
    """Overall is recomputed from the channels of the event, the way a reader would."""
    for x in vectors(20, bot=True, seed=34):
        raw = engine.raw(x.reshape(1, -1), ["signup"], [WEBDRIVER])[0]
        found = engine.assess(x, raw, mouse("signup"), WEBDRIVER, {}, [])
        scores = msgspec.json.decode(msgspec.json.encode(found.scores), type=Scores)
        channels = {name: getattr(scores, name) for name in CHANNELS if getattr(scores, name).weight is not None}
        weights = {name: channel.weight for name, channel in channels.items()}
        assert sum(weights.values()) == pytest.approx(1.0)
        now: dict[str, float] = {str(n): c.score for n, c in channels.items() if c.score is not None}
        ever: dict[str, float] = {str(n): c.score_anytime for n, c in channels.items() if c.score_anytime is not None}
        assert overall(weights, now) == scores.overall
        assert overall(weights, ever) == scores.overall_anytime
        assert found.risk_score == int(scores.overall_anytime * 100 + 1e-9)
        for channel in channels.values():
            if channel.calibration is not None and channel.calibration.n_people:
                assert channel.score <= 1 - 1 / (channel.calibration.n_people + 1) + 1e-12


def test_the_running_maximum_and_the_latch_live_in_meta(engine: Engine) -> None:
    person, bot = vectors(1, bot=False, seed=35)[0], vectors(1, bot=True, seed=36)[0]
    meta, seen = mouse(), []
    for x in (person, bot, person, np.full(N_FEATURES, np.nan)):
        raw = engine.raw(x.reshape(1, -1), ["login"], [{}])[0]
        seen.append(engine.assess(x, raw, meta, {}, {}, []))
    maxima = [s.scores.bot.raw_max for s in seen if s.scores.bot is not None]
    assert maxima == sorted(maxima)  # type: ignore[type-var]
    assert [s.decision.action for s in seen] == ["allow", "step_up", "step_up", "step_up"]
    assert [s.decision.changed for s in seen] == [False, True, False, False]
    assert [s.decision.latched for s in seen] == [False, False, True, True]
    assert (meta.evaluations, meta.latched_action, meta.latched_evaluation) == (4, "step_up", 2)
    assert seen[2].scores.overall < 0.9 < seen[2].scores.overall_anytime
    last = seen[3].scores.bot
    assert last is not None
    assert (last.state, last.score) == ("no_data", None)
    assert last.score_anytime is not None


def test_the_same_inputs_give_the_same_assessment(engine: Engine, artifacts_dir: Path) -> None:
    other = Engine.load(artifacts_dir)
    velocity = {"device_accounts": Velocity(m5=1, h1=2, h24=7, approximate=True)}
    for x in vectors(10, bot=True, seed=37):
        raws = [e.raw(x.reshape(1, -1), ["login"], [WEBDRIVER])[0] for e in (engine, other)]
        found = [e.assess(x, r, mouse(), WEBDRIVER, velocity, []) for e, r in zip((engine, other), raws, strict=True)]
        assert msgspec.json.encode(found[0].scores) == msgspec.json.encode(found[1].scores)
        assert found[0] == found[1]
    assert other.versions == engine.versions


def test_reasons_are_sorted_bounded_and_checkable(engine: Engine) -> None:
    x = vectors(1, bot=True, seed=38)[0]
    raw = engine.raw(x.reshape(1, -1), ["login"], [WEBDRIVER])[0]
    velocity = {"device_accounts": Velocity(h24=12, approximate=True)}
    found = engine.assess(x, raw, mouse(), WEBDRIVER, velocity, [])
    reasons = found.reasons
    assert 4 <= len(reasons) <= 8
    weights = [reason.weight for reason in reasons]
    assert weights == sorted(weights, reverse=True)
    by_code = {reason.code: reason for reason in reasons}
    assert by_code["WEBDRIVER_TRUE"].severity == "strong"
    assert by_code["WEBDRIVER_TRUE"].category == "automation"
    assert by_code["DEVICE_ACCOUNTS_H24"].evidence == "about 12 accounts with this device in 24 hours"
    models = [reason for reason in reasons if reason.basis == "model" and reason.channel == "bot"]
    assert models
    assert all(r.code.endswith("_UNLIKE_PEOPLE" if r.polarity == "risk" else "_LIKE_PEOPLE") for r in models)
    assert all(": " in reason.evidence for reason in models)
    assert msgspec.json.decode(msgspec.json.encode(reasons), type=list[Reason]) == reasons


def test_people_get_reasons_for_trust_when_the_session_ends(engine: Engine) -> None:
    trust = 0
    for x in vectors(20, bot=False, seed=39):
        raw = engine.raw(x.reshape(1, -1), ["login"], [{}])[0]
        going_on, meta = engine.assess(x, raw, mouse(), {}, {}, []), mouse()
        assert going_on.reasons == [] or going_on.risk_level != "low"
        meta.ended = True
        found = engine.assess(x, raw, meta, {}, {}, [])
        assert len(found.reasons) <= 2 or found.risk_level != "low"
        trust += any(reason.polarity == "trust" for reason in found.reasons)
    assert trust >= 15


def reasons_of(engine: Engine, x: Floats) -> list[Reason]:
    """What moved the scores of one vector (N_FEATURES,), told in full, heaviest first."""
    draft: list[Draft] = []
    engine._explain(x.reshape(1, -1), [0], ["full"], ["login"], None, [draft])
    return engine._reasoner.written(draft)


def test_shares_of_a_group_are_the_sum_of_its_features(engine: Engine) -> None:
    """The naive twin of the grouping: plain sums by code over the explanation."""
    x = vectors(1, bot=True, seed=40)[0]
    pointer = engine.artifacts.pointer
    assert pointer is not None
    sums: dict[str, float] = {}
    total = 0.0
    for part in pointer.explain(x):
        stem = stem_of(NAMES[part.feature])
        sums[stem] = sums.get(stem, 0.0) + part.value
        total += abs(part.value)
    score = float(pointer.raw(x.reshape(1, -1))[0])
    raw = engine.raw(x.reshape(1, -1), ["login"], [{}])[0]
    raw[ANOMALY] = np.nan
    for reason in reasons_of(engine, x):
        stem = reason.code.removesuffix("_UNLIKE_PEOPLE").removesuffix("_LIKE_PEOPLE")
        side = score if reason.polarity == "risk" else 1.0 - score
        assert reason.weight == pytest.approx(abs(sums[stem]) / total * side)
        assert (sums[stem] > 0) == (reason.polarity == "risk")


def test_missing_dependencies_are_told_and_act(engine: Engine) -> None:
    row = np.full((1, N_FEATURES), np.nan)
    raw = engine.raw(row, ["recovery"], [{}])[0]
    found = engine.assess(row[0], raw, mouse("recovery"), {}, {}, ["counters", "snapshot"])
    assert found.scores.anomaly is not None
    assert found.scores.anomaly.state == "degraded"
    assert (found.decision.action, found.decision.policy.rule) == ("step_up", "degraded")


def test_coverage_names_what_is_missing(engine: Engine) -> None:
    row = np.full((1, N_FEATURES), np.nan)
    meta = mouse("kyc_capture")
    found = engine.assess(row[0], np.full(len(CHANNELS), np.nan), meta, {}, {}, [])
    assert (found.coverage, found.missing_signals) == (0.25, ["device", "capture", "network"])
    touch = Meta(flow="kyc_capture", pointer_type="touch", blocks=0b10)
    assert "pointer" not in engine.assess(row[0], np.full(len(CHANNELS), np.nan), touch, {}, {}, []).missing_signals


def test_live_models_are_served_and_named(engine: Engine, hst: FlatHST) -> None:
    x = vectors(1, bot=False, seed=41)
    builder = CalibrationBuilder()
    for i in range(120):
        builder.add(f"p{i}", Cell("login", "mouse", "web", "lt7s"), [0.5] * len(CHANNELS), [0.5] * len(CHANNELS))
    live = SnapshotSet({"login": hst}, {"login": builder.build("live")})
    x[0, INDEX["session_observed_s"]] = 5.0
    raw = engine.raw(x, ["login"], [{}], live)[0]
    found = engine.assess(x[0], raw, mouse(), {}, {}, [], live)
    assert found.scores.bot is not None
    assert found.scores.bot.calibration is not None
    assert (found.scores.bot.calibration.state, found.scores.bot.calibration.n_people) == ("live", 120)
    other = engine.assess(x[0], raw, mouse("signup"), {}, {}, [], live)
    assert other.scores.bot is not None
    assert other.scores.bot.calibration is not None
    assert (other.scores.bot.calibration.state, other.scores.bot.calibration.n_people) == ("prior", N_PEOPLE)
    versions = engine.versions_of(pipeline="1", snapshot=live)
    assert (versions.snapshot, versions.features) == (live.hash, REGISTRY_HASH)
    assert engine.versions_of(pipeline="1", snapshot=EMPTY).snapshot is None


def test_people_of_the_source_rank_before_the_shipped_ones(engine: Engine) -> None:
    builder = CalibrationBuilder()
    for i in range(60):
        builder.add(f"p{i}", Cell("login", "mouse", "web", "lt7s"), [1.0] * len(CHANNELS), [1.0] * len(CHANNELS))
    there = engine.with_calibration(builder.build("source"))
    x = vectors(1, bot=True, seed=42)
    x[0, INDEX["session_observed_s"]] = 5.0
    raw = there.raw(x, ["login"], [{}])[0]
    found = there.assess(x[0], raw, mouse(), {}, {}, [])
    assert found.scores.bot is not None
    assert found.scores.bot.calibration is not None
    assert (found.scores.bot.calibration.state, found.scores.bot.score) == ("source", 0.0)
    assert there.versions["calibration"] != engine.versions["calibration"]


def test_a_stray_key_press_does_not_change_the_input_type(engine: Engine) -> None:
    planner = Planner(engine.policy, [], engine.scorers)
    cases = [(0, 100, "mouse"), (3, 100, "mouse"), (30, 100, "mouse+keys"), (30, 4, "keys"), (3, 4, "mouse+keys")]
    for keys, samples, wanted in cases:
        assert planner.plan(mouse(), samples, keys, 5.0, None).cell.input == wanted


def test_shadow_mode_is_said(engine: Engine) -> None:
    text = (Path(sys.modules["models.policy"].__file__ or "").parent / "policies" / "default.toml").read_text()
    shadow = engine.with_policy(parse_policy(text.replace('mode = "live"', 'mode = "shadow"').encode(), "x"))
    x = vectors(1, bot=True, seed=44)
    found = shadow.assess(x[0], shadow.raw(x, ["login"], [{}])[0], mouse(), {}, {}, [])
    assert (found.decision.action, found.decision.policy.mode) == ("step_up", "shadow")


def test_codes() -> None:
    assert code_of("webdriver_true") == "WEBDRIVER_TRUE"
    assert stem_of("pointer_speed_rough_log_mean") == "POINTER_SMOOTHNESS"
    assert stem_of("pointer_speed_cv_mean") == "POINTER_SPEED_PROFILE"
    assert stem_of("pointer_something_new") == "POINTER_MOVEMENT"
    assert stem_of("gaze_x") == "GAZE"


def test_a_worker_loads_neither_river_nor_the_lightgbm_package_nor_what_they_pull_in(artifacts_dir: Path) -> None:
    """Numba by itself imports scipy.linalg where scipy is installed, to find BLAS; no more of it may come with us."""
    code = (
        "import sys; from pathlib import Path; from models.engine import Engine; "
        f"Engine.load(Path({str(artifacts_dir)!r})); "
        "heavy = 'scipy.special scipy.stats scipy.sparse river lightgbm sklearn pandas'.split(); "
        "bad = sorted(set(heavy) & set(sys.modules)); print(bad); "
        "sys.exit(1 if bad else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=110)
    assert done.returncode == 0, done.stdout + done.stderr


def test_each_row_is_scored_by_the_model_of_its_flow(engine: Engine, hst: FlatHST) -> None:
    other = FlatHST(
        hst.names,
        hst.inputs,
        hst.low,
        hst.high + 1.0,
        hst.arrays,
        window_size=hst.window_size,
        n_in_window=0,
        ready=True,
        n_learnt=1,
    )
    live = SnapshotSet({"signup": other})
    rows = vectors(9, bot=False, seed=45)
    flows = ["login", "signup", "recovery"] * 3
    found = engine.raw(rows, flows, [{}] * 9, live)[:, ANOMALY]
    wanted = np.where(np.array(flows) == "signup", other.raw(rows), hst.raw(rows))
    assert np.array_equal(found, wanted)
    assert not np.array_equal(other.raw(rows), hst.raw(rows))


def strongest(shares: list[list[float]], risks: list[float]) -> list[tuple[int, int, int, float]]:
    """Row, group, feature and weight of each reason of rows with four features in two groups."""
    whole, real = np.zeros((3, 99), dtype=np.int64), np.zeros((2, 99))
    n = reasons_module._strongest_groups(
        np.zeros((len(shares), 4)), np.arange(len(shares)), np.arange(4), np.array(shares), np.array(risks),
        np.array([0, 0, 1, 1]), 2, np.full(len(shares), 2), whole, real,
    )  # fmt: skip
    return [(*whole[:, k].tolist(), float(real[0, k])) for k in range(n)]


def test_a_rows_reasons_don_t_depend_on_the_row_before_it_nor_on_shares_that_are_no_numbers() -> None:
    plain, nan = [0.1, 0.7, -0.2, 0.0], [np.nan, 0.7, -0.2, 0.0]
    alone = strongest([plain], [0.9])
    assert [(group, feature) for _, group, feature, _ in alone] == [(0, 1), (~1, 2)][: len(alone)]
    assert alone[0][3] == pytest.approx(0.8 / 1.0 * 0.9)
    for before in (plain[::-1], nan, [np.inf, 0.0, 0.0, 0.0], [0.0] * 4):
        found = strongest([before, plain], [0.9, 0.9])
        assert [one[1:] for one in found if one[0] == 1] == [one[1:] for one in alone]
    for broken in (nan, [0.1, np.nan, -0.2, np.nan], [np.inf, 0.7, 0.0, 0.0], [0.0] * 4):
        assert strongest([broken], [0.9]) == []
    assert strongest([plain], [np.nan]) == []


def test_the_evidence_is_the_strongest_feature_of_its_group(engine: Engine) -> None:
    x = vectors(1, bot=True, seed=46)[0]
    pointer = engine.artifacts.pointer
    assert pointer is not None
    first: dict[str, str] = {}
    for part in pointer.explain(x):  # sorted by size
        first.setdefault(stem_of(NAMES[part.feature]), FEATURES[part.feature].description.rstrip("."))
    reasons = reasons_of(engine, x)
    shown = {
        r.code.removesuffix("_UNLIKE_PEOPLE").removesuffix("_LIKE_PEOPLE"): r for r in reasons if r.channel == "bot"
    }
    assert shown
    for stem, reason in shown.items():
        assert reason.evidence.startswith(first[stem] + ": ")
