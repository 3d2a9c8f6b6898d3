"""Examples of every message, invented for the contracts: they validate, and they are not taken from anybody's session.

AsyncAPI and the reference page show them; tests decode and validate them.
"""

from typing import Final

import msgspec

from schemas.erasure import Erasure
from schemas.label import Label
from schemas.risk import (
    Automation,
    Calibration,
    ChannelScore,
    Decision,
    Policy,
    Reason,
    RiskEvent,
    Scores,
    SignalValue,
    Source,
    Velocity,
    Versions,
)
from schemas.served import ServedFeatures
from schemas.signals import Finding, Routing, Signal, SignalRefs
from schemas.snapshot import ArrayBlob, Snapshot
from schemas.telemetry import (
    CameraTrack,
    Capture,
    Collector,
    Device,
    Focus,
    Form,
    FormField,
    Keys,
    Network,
    Pointer,
    SessionEnd,
    Telemetry,
    Viewport,
)


class Example(msgspec.Struct, frozen=True, kw_only=True):
    """One example: a name for machines, a sentence for people, the message."""

    name: str
    summary: str
    message: msgspec.Struct


_SESSION: Final = "ses_7Qm2vXb9"
_CAPTURE_SESSION: Final = "ses_9LtW40ce"
_BATCH_AT: Final = 1_790_000_012_500
_ACCOUNT_REF: Final = "k3:8f1d0a6b2c9e4475"
_DEVICE_REF: Final = "k3:51c7e0d98ab34f20"
_TOPIC_ID: Final = "kR2bq0mWQ5aV1n3tYx8uCg"
_FEATURES_HASH: Final = "5d1f9d2b7c64"
_POLICY_HASH: Final = "c0b8f2a1934e"
_COLLECTOR: Final = Collector(name="tellwire-web", version="1.0.0", sampling_interval_ms=0.0)

_POINTER_BATCH: Final = Telemetry(
    event_id="evt_0001J8-25",
    session_id=_SESSION,
    tenant="example-bank",
    flow="login",
    sequence=25,
    effective_at=_BATCH_AT,
    observed_at=_BATCH_AT + 543,
    collector=_COLLECTOR,
    account_ref=_ACCOUNT_REF,
    device_ref=_DEVICE_REF,
    ref_key_version="k3",
    viewport=Viewport(width_px=1440.0, height_px=789.0, device_pixel_ratio=2.0),
    pointer=Pointer(
        t=[3.1, 19.8, 36.4, 53.2, 69.9, 86.5, 103.1, 119.9, 136.6, 231.4, 312.7],
        x=[512.0, 519.5, 533.0, 552.5, 574.0, 593.5, 607.0, 614.5, 617.0, 617.0, 617.0],
        y=[401.0, 398.5, 392.0, 383.5, 375.0, 368.5, 364.0, 362.0, 361.5, 361.5, 361.5],
        kind=[0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2],
        button=[0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1],
        pointer_type="mouse",
        coalesced_count=0,
        click_offset_px=[7.4],
    ),
    keys=Keys(down=[371.0, 488.5], up=[452.3, None], key_class=[1, 1]),
    focus=Focus(t=[316.2], kind=[4]),
    form=Form(
        fields=[FormField(field="email", focus_ms=183.8, hesitation_ms=54.8, key_count=2, input_count=2)],
    ),
)

_FIRST_EVENT: Final = Telemetry(
    event_id="evt_0001J8-0",
    session_id=_SESSION,
    tenant="example-bank",
    flow="login",
    sequence=0,
    effective_at=1_790_000_000_000,
    observed_at=1_790_000_000_611,
    collector=_COLLECTOR,
    account_ref=_ACCOUNT_REF,
    device_ref=_DEVICE_REF,
    ref_key_version="k3",
    nonce="n_4cV1qk0T",
    device=Device(
        user_agent="Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) "
        "Chrome/142.0.0.0 Safari/537.36",
        ua_platform="Linux",
        ua_mobile=False,
        platform="Linux x86_64",
        languages=["en-GB", "en"],
        timezone="Europe/Dublin",
        timezone_offset_min=0,
        hardware_concurrency=8,
        device_memory_gib=8.0,
        max_touch_points=0,
        screen_width_px=1440.0,
        screen_height_px=900.0,
        webdriver=False,
        has_focus=True,
    ),
    network=Network(ip_ref="k3:0b77a1c2d3e4f506", ip_country="IE", asn=64496, asn_type="residential", vpn=False),
)

_LAST_EVENT: Final = Telemetry(
    event_id="evt_0001J9-61",
    session_id=_CAPTURE_SESSION,
    tenant="example-bank",
    flow="kyc_capture",
    sequence=61,
    effective_at=1_790_000_031_000,
    observed_at=1_790_000_031_120,
    collector=_COLLECTOR,
    capture=Capture(
        camera_label="HD Webcam",
        asked=CameraTrack(width_px=1280.0, height_px=720.0, frame_rate_hz=30.0, facing_mode="user"),
        reported=CameraTrack(width_px=1280.0, height_px=720.0, frame_rate_hz=30.0, response_ms=412.0),
        frame_t=[12.0, 45.4, 78.7, 112.1],
        media_t=[0.0, 0.0334, 0.0667, 0.1001],
        hooked_functions=[],
    ),
    end=SessionEnd(reason="completed"),
)

_FACE_MATCH: Final = Signal(
    event_id="sig_77f0",
    session_id=_CAPTURE_SESSION,
    tenant="example-bank",
    flow="kyc_capture",
    effective_at=1_790_000_030_200,
    observed_at=1_790_000_031_020,
    kind="face_match_1to1",
    provider="acme-face",
    model_version="4.2",
    outcome="scored",
    score=0.87,
    score_min=0.0,
    score_max=1.0,
    direction="high_is_genuine",
    threshold=0.6,
    verdict="pass",
    quality=0.91,
    findings=[Finding(name="eyes_open", value=True), Finding(name="yaw_deg", value=4.5)],
    country="IE",
    region="eu-west",
    document_type="passport",
    attempt=1,
    latency_ms=640.0,
    cost_micros=21_000,
    currency="EUR",
    routing=Routing(arm="primary", propensity=0.9, policy_revision="2026-08"),
    refs=SignalRefs(document_ref="k3:9a0de1c6", face_cluster_ref="k3:44ab12fe", ref_key_version="k3"),
)

_VENDOR_TIMEOUT: Final = Signal(
    event_id="sig_77f1",
    session_id=_CAPTURE_SESSION,
    tenant="example-bank",
    flow="kyc_capture",
    effective_at=1_790_000_030_200,
    observed_at=1_790_000_035_200,
    kind="deepfake",
    provider="acme-face",
    outcome="timeout",
    latency_ms=5000.0,
    routing=Routing(arm="shadow-b", propensity=0.1, shadow=True),
)

_VERSIONS: Final = Versions(
    pipeline="0.1.0",
    features=_FEATURES_HASH,
    models={"bot": "9be1c4d07a52", "keystroke": "2f77a00c1d34", "device": "77d1b6e2409c"},
    calibration="a6e3c1b95d08",
    policy=_POLICY_HASH,
    snapshot="e1f4070c2b9d",
    ref_key="k3",
)

_STEP_UP: Final = RiskEvent(
    evaluation_id=f"{_TOPIC_ID}:2:48211",
    event_id=_POINTER_BATCH.event_id,
    session_id=_SESSION,
    tenant="example-bank",
    flow="login",
    source=Source(topic="capture.telemetry", topic_id=_TOPIC_ID, partition=2, offset=48211),
    sequence=26,
    evaluation_status="superseding",
    is_final=False,
    effective_at=_BATCH_AT,
    observed_at=_BATCH_AT + 543,
    ingested_at=_BATCH_AT + 549,
    scored_at=_BATCH_AT + 553,
    observed_s=13.0,
    scores=Scores(
        overall=0.952,
        overall_anytime=0.952,
        bot=ChannelScore(
            state="scored",
            score=0.976,
            score_anytime=0.976,
            raw=0.9812,
            raw_max=0.9812,
            weight=0.5,
            calibration=Calibration(cell="login/mouse/*/5-10s", n_people=412, state="prior", fpr_upper95=0.038),
        ),
        anomaly=ChannelScore(
            state="scored",
            score=0.61,
            score_anytime=0.74,
            raw=0.5531,
            raw_max=0.6027,
            weight=0.25,
            calibration=Calibration(
                cell="login/mouse/*/*", n_people=1180, state="live", basis="unlabelled", fpr_upper95=0.4143
            ),
        ),
        device=ChannelScore(state="no_data", weight=0.25),
        injection=ChannelScore(state="not_expected"),
    ),
    risk_score=95,
    risk_level="high",
    decision=Decision(
        action="step_up",
        policy=Policy(id="default", revision=_POLICY_HASH, rule="login-bot-step-up"),
        step_up_methods=["passkey", "otp"],
        changed=True,
    ),
    reasons=[
        Reason(
            code="POINTER_UNIFORM_SPEED",
            category="behaviour",
            weight=0.62,
            polarity="risk",
            evidence="speed varies by 3 % along a path of 118 px",
            basis="model",
            channel="bot",
        ),
        Reason(
            code="DISTINCT_ACCOUNTS_PER_DEVICE",
            category="velocity",
            weight=0.38,
            polarity="risk",
            severity="medium",
            evidence="6 accounts in 1 h",
            basis="counter",
            channel="anomaly",
        ),
    ],
    signals={"clicks_at_centre": SignalValue(value=True, severity="medium", confidence="medium")},
    coverage=0.5,
    missing_signals=["device"],
    degraded=[],
    velocity={
        "device_accounts": Velocity(m5=2, h1=6, h24=6),
        "ip_sessions": Velocity(m5=None, h1=None, h24=None),
    },
    versions=_VERSIONS,
    latency_ms={"decode": 0.02, "read": 0.61, "features": 0.05, "models": 0.12, "decide": 0.04, "total": 1.4},
    account_ref=_ACCOUNT_REF,
    device_ref=_DEVICE_REF,
    automation=Automation(kind="humanised", basis="model", confidence="medium", rule="bot_score"),
)

_NO_DATA: Final = RiskEvent(
    evaluation_id=f"{_TOPIC_ID}:2:48102",
    event_id=_FIRST_EVENT.event_id,
    session_id=_SESSION,
    tenant="example-bank",
    flow="login",
    source=Source(topic="capture.telemetry", topic_id=_TOPIC_ID, partition=2, offset=48102),
    sequence=1,
    evaluation_status="new",
    is_final=False,
    replayed=True,
    effective_at=1_790_000_000_000,
    observed_at=1_790_000_000_611,
    ingested_at=1_790_000_000_615,
    scored_at=1_790_000_000_617,
    observed_s=0.0,
    scores=Scores(
        overall=0.0,
        overall_anytime=0.0,
        bot=ChannelScore(state="no_data", weight=0.5),
        anomaly=ChannelScore(state="no_data", weight=0.25),
        device=ChannelScore(
            state="scored",
            score=0.0,
            score_anytime=0.0,
            raw=0.0,
            raw_max=0.0,
            weight=0.25,
            calibration=Calibration(cell="login/*/*/*", n_people=0, state="prior"),
        ),
        injection=ChannelScore(state="not_expected"),
    ),
    risk_score=0,
    risk_level="low",
    decision=Decision(action="allow", policy=Policy(id="default", revision=_POLICY_HASH, rule="otherwise")),
    reasons=[],
    signals={},
    coverage=0.25,
    missing_signals=["pointer", "keys"],
    degraded=[],
    velocity={"account_sessions": Velocity(m5=1, h1=1, h24=3)},
    versions=_VERSIONS,
    latency_ms={"decode": 0.02, "read": 0.58, "features": 0.03, "models": 0.1, "decide": 0.02, "total": 1.1},
    account_ref=_ACCOUNT_REF,
    device_ref=_DEVICE_REF,
)

_SERVED: Final = ServedFeatures(
    evaluation_id=_STEP_UP.evaluation_id,
    session_id=_SESSION,
    flow="login",
    cell=["login", "mouse", "web", "5-10s"],
    features_hash=_FEATURES_HASH,
    features=[0.031, 118.2, None, 0.5],
    raw={"bot": 0.9812, "anomaly": 0.5531},
    raw_max={"bot": 0.9812, "anomaly": 0.6027},
    overall=0.952,
    flagged_by=["bot"],
    cohort="unlabelled",
    sequence=26,
    is_final=False,
    ingested_at=_BATCH_AT + 549,
    observed_s=13.0,
    sampling_ratio=1.0,
    scorers="9d2f61c07be4a815",
    account_ref=_ACCOUNT_REF,
    device_ref=_DEVICE_REF,
    source_ref=_ACCOUNT_REF,
)

_LABEL: Final = Label(
    label_id="lab_2201",
    session_id=_SESSION,
    tenant="example-bank",
    label="bot",
    source="MANUAL_REVIEW",
    effective_at=1_790_000_000_000,
    labelled_at=1_790_259_200_000,
    confidence="high",
    analyst_ref="k3:an-7",
)

_SNAPSHOT: Final = Snapshot(
    kind="calibration",
    flow="login",
    hash="3f786850e387550fdab836ed7e6dc881de23001b3f786850e387550fdab836ed",
    created_at=1_790_003_600_000,
    features_hash=_FEATURES_HASH,
    offsets={"0": 1204, "1": 1190, "2": 1333, "3": 1271},
    n_learnt=4998,
    definition={"people_max": 4096, "channel": "anomaly"},
    arrays={"raw_sorted": ArrayBlob(dtype="<f4", shape=[2], data=b"\x00\x00\x80>\x00\x00\x00?")},
)
_ERASURE: Final = Erasure(
    event_id="era_1", session_id=_SESSION, tenant="example-bank", observed_at=_BATCH_AT + 86_400_000
)

EXAMPLES: Final[tuple[Example, ...]] = (
    Example(
        name="pointer_batch", summary="Half a second of a login: pointer, keys, focus, form.", message=_POINTER_BATCH
    ),
    Example(name="first_event", summary="First event of a session: device and network.", message=_FIRST_EVENT),
    Example(
        name="last_event", summary="Last event of a capture session: camera facts and the end.", message=_LAST_EVENT
    ),
    Example(name="face_match", summary="A vendor's face match.", message=_FACE_MATCH),
    Example(name="vendor_timeout", summary="A vendor asked in shadow, which did not answer.", message=_VENDOR_TIMEOUT),
    Example(name="erasure", summary="A session to be forgotten.", message=_ERASURE),
    Example(name="reviewed", summary="A reviewer's label, three days later.", message=_LABEL),
    Example(name="step_up", summary="Pointer movement unlike a person's: stepped up once.", message=_STEP_UP),
    Example(name="no_data", summary="Too early for behaviour, published again after a crash.", message=_NO_DATA),
    Example(name="served_vector", summary="The vector behind a risk event, shortened.", message=_SERVED),
    Example(name="calibration", summary="A calibration snapshot with two numbers.", message=_SNAPSHOT),
)


def examples_of(message: type[msgspec.Struct]) -> list[Example]:
    """The examples of one message type, in order."""
    return [example for example in EXAMPLES if type(example.message) is message]
