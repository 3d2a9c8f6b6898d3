"""The injection channel in an assessment: expected from the first camera evidence on, beside the device's weight."""

import math
from pathlib import Path

import msgspec
import numpy as np
import pytest

from features.camera import Camera
from features.meta import Meta
from features.registry import INDEX, N_FEATURES
from features.signal_table import SIGNALS
from models.artifact import shipped_directory
from models.assessment import Assessment
from models.calibration import CalibrationTable
from models.channels import shared_weights
from models.device_risk import DEFAULT_WEIGHTS, SignalScorer
from models.engine import INJECTION, Engine
from models.errors import PolicyError
from models.injection import InjectionScorer
from models.policy import parse_policy
from schemas.risk import SignalValue

DEFAULT = (Path(__file__).parents[2] / "models" / "policies" / "default.toml").read_text()
HOOKED = {"media_api_hooked": SignalValue(value="getUserMedia", severity="strong", confidence="high")}
CONFLICT = {"cv_conflict": SignalValue(value="document/face_match_1to1", severity="weak", confidence="high")}
DRIVEN = {"webdriver_true": SignalValue(value=True, severity="strong", confidence="high")}
PASSED = {"liveness": (9, -1, -1), "pad": (9, -1, -1)}


@pytest.fixture(scope="module")
def shipped() -> Engine:
    return Engine.load()


def assessed(
    engine: Engine,
    signals: dict[str, SignalValue],
    camera: Camera | None,
    *,
    flow: str = "kyc_capture",
    meta: Meta | None = None,
) -> Assessment:
    row = np.full((1, N_FEATURES), math.nan)
    row[0, INDEX["session_device_seen"]] = 1.0
    meta = meta or Meta(flow=flow, collector="web")
    meta.camera = camera
    raw = engine.raw(row, [flow], [signals], None, [camera])
    return engine.assess(row[0], raw[0], meta, signals, {}, [])


def test_without_a_camera_step_there_is_no_such_channel(shipped: Engine) -> None:
    row = np.full((1, N_FEATURES), math.nan)
    assert math.isnan(shipped.raw(row, ["kyc_capture"], [HOOKED])[0, INJECTION])
    found = assessed(shipped, DRIVEN, None)
    assert found.scores.injection is not None
    assert msgspec.to_builtins(found.scores.injection) == {"state": "not_expected"}
    beside = assessed(shipped, DRIVEN, Camera())
    for name in ("overall", "overall_anytime", "bot", "anomaly", "device", "replay", "ring"):
        assert getattr(found.scores, name) == getattr(beside.scores, name)


def test_a_camera_step_is_scored_beside_the_device_under_its_weight(shipped: Engine) -> None:
    quiet = assessed(shipped, {}, Camera()).scores.injection
    assert quiet is not None
    assert (quiet.state, quiet.raw, quiet.score, quiet.weight) == ("scored", 0.0, 0.0, 0.4)
    found = assessed(shipped, HOOKED, Camera())
    channel, device = found.scores.injection, found.scores.device
    assert channel is not None
    assert device is not None
    assert channel.calibration is not None
    assert (channel.calibration.state, channel.calibration.n_people) == ("prior", 0)
    assert channel.score == pytest.approx(0.95)
    assert device.raw == 0.0
    assert found.scores.overall == pytest.approx(1.0 - 0.05 / 0.4)
    assert [(reason.code, reason.channel) for reason in found.reasons] == [("MEDIA_API_HOOKED", "injection")]
    assert found.flagged_by == ["injection"]
    # As strong as they come, it ends where its prior ends.
    sure = HOOKED | dict.fromkeys(("injection_detected", "loopback_camera_label"), HOOKED["media_api_hooked"])
    most = assessed(shipped, sure, Camera()).scores.injection
    assert most is not None
    assert most.score == pytest.approx(0.98)


def test_a_policy_may_give_it_a_weight_of_its_own(shipped: Engine) -> None:
    text = DEFAULT.replace(
        "weights = { bot = 0.4, anomaly = 0.2, device = 0.4 }",
        "weights = { bot = 0.3, anomaly = 0.1, device = 0.3, injection = 0.3 }",
    )
    engine = shipped.with_policy(parse_policy(text.encode(), "own"))
    without = assessed(engine, {}, None).scores.injection
    assert without is not None
    assert (without.state, without.weight) == ("no_data", 0.3)
    shared = {"device": 0.4, "bot": 0.6, "injection": 0.4, "replay": 0.6}
    assert shared_weights({"device": 0.4, "bot": 0.6}) == shared
    assert shared_weights({"bot": 1.0}) == {"bot": 1.0, "replay": 1.0}
    assert shared_weights({"device": 0.4, "injection": 0.6}) == {"device": 0.4, "injection": 0.6}


def test_results_that_contradict_go_to_a_person(shipped: Engine) -> None:
    for flow in ("kyc_capture", "signup"):
        decision = assessed(shipped, CONFLICT, Camera(results=PASSED), flow=flow).decision
        assert (decision.action, decision.policy.rule) == ("step_up", "camera_results_contradict")
        assert decision.step_up_methods == ["manual_review"]
    strong = assessed(shipped, HOOKED, Camera()).decision
    assert (strong.policy.rule, strong.step_up_methods) == ("strong_fact", ["liveness", "document", "manual_review"])
    # In a flow that blocks at all: elsewhere that alone would be refused.
    blocking = DEFAULT.replace(
        'action = "step_up"\nstep_up_methods', 'flows = ["login"]\naction = "block"\nstep_up_methods'
    )
    with pytest.raises(PolicyError, match=r"camera_results_contradict.*step_up_methods, but its action is block"):
        parse_policy(blocking.encode(), "x")


def test_what_passed_speaks_for_the_person_and_takes_nothing_off(shipped: Engine) -> None:
    meta = Meta(flow="kyc_capture", collector="web", ended=True)
    (reason,) = assessed(shipped, {}, Camera(results=PASSED), meta=meta).reasons
    assert (reason.code, reason.polarity, reason.channel) == ("CAMERA_RESULTS_PASSED", "trust", "injection")
    assert reason.evidence.startswith("passed: pad, liveness; no result of: injection, deepfake, document tamper")
    assert assessed(shipped, {}, Camera(), meta=Meta(flow="kyc_capture", ended=True)).reasons == []
    with_passes, without = (assessed(shipped, HOOKED, Camera(results=results)) for results in (PASSED, {}))
    assert with_passes.scores == without.scores


def test_artefacts_older_than_the_channel_keep_its_signals_in_the_device() -> None:
    old = msgspec.structs.replace(DEFAULT_WEIGHTS, injection_signals=[], injection_support=[])
    scorer = SignalScorer(old)
    assert scorer.raw(HOOKED) == pytest.approx((0.95, 0.0))
    assert InjectionScorer(scorer).raw(HOOKED) == 0.0
    assert SignalScorer().raw(HOOKED) == (0.0, 0.0)


def test_shipped_people_say_nothing_of_cameras() -> None:
    engine = Engine.load(shipped_directory())
    assert isinstance(engine.artifacts.calibration, CalibrationTable)
    assert not any(channel == "injection" for channel, _, _ in engine.artifacts.calibration._cells)


def test_every_signal_about_the_capture_counts_in_the_channel() -> None:

    wanted = {name for name, definition in SIGNALS.items() if definition.category == "capture"}
    assert set(DEFAULT_WEIGHTS.injection_signals) == wanted
    assert {SIGNALS[name].category for name in DEFAULT_WEIGHTS.injection_support} <= {"device", "automation"}
