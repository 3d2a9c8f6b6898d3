"""A chunk is assessed as its twin assesses each event alone: the same bits, whatever lies beside it."""

import copy
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from features.camera import Camera
from features.fusion import RESULTS
from features.registry import INDEX, N_FEATURES, NAMES
from features.session import Meta
from features.signal_table import SIGNALS
from features.velocity import PAIR_NAMES
from models.anomaly import FlatHST
from models.calibration import CalibrationBuilder
from models.cells import Cell
from models.channels import Planner
from models.engine import Engine
from models.policy import parse_policy
from models.snapshots import SnapshotSet
from models.trial import edge_rows
from schemas.base import FLOWS
from schemas.risk import CHANNELS, Scores, SignalValue, Velocity
from tests.models.conftest import vectors
from tests.support.naive_scoring import NaiveScoring

Floats = NDArray[np.float64]
EVIDENCE = INDEX["pointer_samples"], INDEX["pointer_strokes"]
"""What the shipped pointer model needs."""
ENCODE = msgspec.msgpack.encode


@pytest.fixture(scope="module")
def shipped() -> Engine:
    """What ships: 200 trees, a keystroke scorer, declared priors, cells of several input types."""
    return Engine.load()


@pytest.fixture(scope="module")
def live(hst: FlatHST) -> SnapshotSet:
    """A snapshot with trees and people of one flow."""
    builder = CalibrationBuilder()
    rng = np.random.default_rng(71)
    for person in range(300):
        for kind in ("mouse", "keys", "mouse+keys", "none"):
            raw = [*rng.uniform(0, 0.9, 2), np.nan, rng.uniform(0, 0.5), np.nan, np.nan]
            builder.add(f"p{person}", Cell("login", kind, "web", "lt15s"), raw, raw)
    return SnapshotSet({"login": hst}, {"login": builder.build("live")})


def rows_of(rng: np.random.Generator, n: int) -> Floats:
    rows = np.vstack([vectors(n, bot=False, seed=int(rng.integers(1 << 30))), edge_rows()])
    rows[rng.random(len(rows)) < 0.3, :] += 0.2
    rows = rows[rng.permutation(len(rows))[:n]]
    typed = rng.random(n) < 0.4
    for i, name in enumerate(NAMES):
        if name.startswith("keystroke_"):
            rows[typed, i] = rng.uniform(0, 300, typed.sum())
    rows[typed, INDEX["keystroke_keys"]] = rng.choice([1.0, 9.0, 10.0, 60.0], typed.sum())
    moved = rng.random(n) < 0.7
    rows[moved, EVIDENCE[0]], rows[moved, EVIDENCE[1]] = 40.0, 3.0
    rows[rng.random(n) < 0.2, INDEX["pointer_samples"]] = 0.0
    rows[rng.random(rows.shape) < 0.02] = np.nan
    return np.ascontiguousarray(rows)


def signals_of(rng: np.random.Generator) -> dict[str, SignalValue]:
    names = rng.choice(list(SIGNALS), size=int(rng.choice([0, 0, 0, 1, 2, 5])), replace=False)
    values: list[bool | float | str | None] = [True, False, None, 1.0, 0.25, "text"]
    return {
        str(name): SignalValue(
            value=values[int(rng.integers(len(values)))],
            severity=SIGNALS[str(name)].severity,
            confidence=("low", "medium", "high")[int(rng.integers(3))],
            exempt="mobile" if rng.random() < 0.2 else None,
        )
        for name in names
    }


def velocity_of(rng: np.random.Generator) -> dict[str, Velocity]:
    if rng.random() < 0.3:
        return {}
    many = 12 if rng.random() < 0.3 else 3
    return {
        name: Velocity(
            m5=None if rng.random() < 0.1 else int(rng.integers(many)),
            h1=int(rng.integers(many)),
            h24=None if rng.random() < 0.1 else int(rng.integers(many)),
            approximate=bool(rng.random() < 0.1),
        )
        for name in PAIR_NAMES
        if rng.random() < 0.8
    }


def camera_of(rng: np.random.Generator) -> Camera | None:
    if rng.random() < 0.5:
        return None
    kinds = rng.choice(list(RESULTS), size=int(rng.integers(0, 4)), replace=False)
    times = {str(kind): rng.choice([-1, 0, 5_000, 60_000], 3).tolist() for kind in kinds}
    return Camera(results={kind: (a, b, c) for kind, (a, b, c) in times.items()})


def metas_of(rng: np.random.Generator, n: int) -> list[Meta]:
    return [
        Meta(
            flow=FLOWS[int(rng.integers(len(FLOWS)))],
            pointer_type=str(rng.choice(["mouse", "touch", ""])),
            collector=str(rng.choice(["web", "odd/name"])),
            sampling_interval_ms=float(rng.choice([0.0, 16.0])),
            blocks=int(rng.integers(1 << 10)),
            ended=bool(rng.random() < 0.2),
            assistive=bool(rng.random() < 0.2),
            evaluations=int(rng.integers(3)),
            raw_max=[float(v) if rng.random() < 0.5 else float("nan") for v in rng.uniform(0, 1, len(CHANNELS))],
            latched_action=None if rng.random() < 0.7 else str(rng.choice(["step_up", "block"])),
            latched_evaluation=1,
            camera=camera_of(rng),
        )
        for _ in range(n)
    ]


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**31), n=st.integers(1, 24), is_live=st.booleans())
def test_a_chunk_is_assessed_as_its_twin_does_each_event(
    shipped: Engine, live: SnapshotSet, seed: int, n: int, is_live: bool
) -> None:
    rng = np.random.default_rng(seed)
    rows, metas = rows_of(rng, n), metas_of(rng, n)
    signals, velocity = [signals_of(rng) for _ in range(n)], [velocity_of(rng) for _ in range(n)]
    degraded = [[] if rng.random() < 0.8 else [str(rng.choice(["counters", "snapshot", "models"]))] for _ in range(n)]
    snapshot = live if is_live else None
    before = rows.copy()
    twin, naive_metas, other_metas = NaiveScoring(shipped), copy.deepcopy(metas), copy.deepcopy(metas)
    for _ in range(2):  # a second event of each session meets maxima and latches
        raw = shipped.raw(rows, [meta.flow for meta in metas], signals, snapshot, [meta.camera for meta in metas])
        naive_raw = [
            twin.raw(x, meta.flow, fired, snapshot, meta.camera)
            for x, meta, fired in zip(rows, metas, signals, strict=True)
        ]
        assert ENCODE(raw.tolist()) == ENCODE(naive_raw)
        found = shipped.assess_chunk(rows, raw, metas, signals, velocity, degraded, snapshot)
        events = list(zip(rows, naive_raw, naive_metas, signals, velocity, degraded, strict=True))
        for one, event in zip(found, events, strict=True):
            assert msgspec.to_builtins(one) == msgspec.to_builtins(twin.assess(*event, snapshot=snapshot))
        alone = [
            shipped.assess(x, r, meta, fired, counts, missing, snapshot)
            for x, r, meta, fired, counts, missing in zip(
                rows, raw, other_metas, signals, velocity, degraded, strict=True
            )
        ]
        assert ENCODE(alone) == ENCODE(found)
        assert ENCODE(metas) == ENCODE(naive_metas) == ENCODE(other_metas)
    assert np.array_equal(rows, before, equal_nan=True)


def test_what_comes_again_is_the_same_object(shipped: Engine) -> None:
    """Decisions, scores without data and reasons of signals are shared, so that their bytes can be kept."""
    rows = np.full((2, N_FEATURES), np.nan)
    rows[:, INDEX["session_device_seen"]] = 1.0
    fired = [{"webdriver_true": SignalValue(value=True, severity="strong", confidence="high")} for _ in range(2)]
    cases: list[list[dict[str, SignalValue]]] = [[{}, {}], fired]
    for signals in cases:
        raw = shipped.raw(rows, ["login"] * 2, signals)
        metas = [Meta(flow="login", collector="web") for _ in range(2)]
        a, b = shipped.assess_chunk(rows, raw, metas, signals, [{}, {}], [[], []])
        assert a.decision is b.decision
        assert all(getattr(a.scores, name) is getattr(b.scores, name) for name in CHANNELS)
        assert all(one is other for one, other in zip(a.reasons, b.reasons, strict=True))
        assert bool(a.reasons) == (signals is fired)


def test_another_snapshot_and_policy_take_effect_at_once(shipped: Engine, live: SnapshotSet) -> None:
    x = np.ascontiguousarray(vectors(1, bot=True, seed=73))
    x[0, INDEX["session_observed_s"]], x[0, INDEX["pointer_strokes"]] = 10.0, 3.0
    states = []
    for snapshot in (None, live, None, SnapshotSet(live.anomaly, live.calibration)):
        raw = shipped.raw(x, ["login"], [{}], snapshot)
        found = shipped.assess(
            x[0], raw[0], Meta(flow="login", pointer_type="mouse", collector="web"), {}, {}, [], snapshot
        )
        assert found.scores.bot is not None
        assert found.scores.bot.calibration is not None
        states.append(found.scores.bot.calibration.state)
    assert states == ["prior", "live", "prior", "live"]
    text = (Path(__file__).parents[2] / "models" / "policies" / "default.toml").read_text()
    strict = shipped.with_policy(parse_policy(text.replace("step_up_at = 0.95", "step_up_at = 0.0001").encode(), "x"))
    decisions = [
        engine.assess(x[0], engine.raw(x, ["login"], [{}])[0], Meta(flow="login"), {}, {}, []).decision
        for engine in (shipped, strict)
    ]
    assert decisions[0].policy.revision != decisions[1].policy.revision
    assert decisions[1].action == "step_up"


def test_plans_are_bounded_whatever_collectors_call_themselves(shipped: Engine) -> None:
    planner = Planner(shipped.policy, shipped._tables, shipped.scorers)
    for k in range(2_500):
        planner.plan(Meta(flow="login", collector=f"c{k}"), 20.0, 0.0, 5.0, None)
    assert len(planner._plans) <= 1_000
    calibrator = planner._calibrators["login"]
    assert len(calibrator._scorers) < 20, "cells that back off to one share its ranking"


def test_scores_has_a_field_for_each_channel() -> None:
    assert tuple(Scores.__struct_fields__) == ("overall", "overall_anytime", *CHANNELS)
