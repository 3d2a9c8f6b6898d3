"""Examples of what is sent to tellwire, and what they have in common with those of what it writes; see `examples`."""

from typing import Final

from schemas.erasure import Erasure
from schemas.label import Label
from schemas.signals import Finding, Routing, Signal, SignalRefs
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

SESSION: Final = "ses_7Qm2vXb9"
CAPTURE_SESSION: Final = "ses_9LtW40ce"
BATCH_AT: Final = 1_790_000_012_500
ACCOUNT_REF: Final = "k3:8f1d0a6b2c9e4475"
DEVICE_REF: Final = "k3:51c7e0d98ab34f20"
TOPIC_ID: Final = "kR2bq0mWQ5aV1n3tYx8uCg"
FEATURES_HASH: Final = "5d1f9d2b7c64"
POLICY_HASH: Final = "c0b8f2a1934e"
COLLECTOR: Final = Collector(name="tellwire-web", version="1.0.0", sampling_interval_ms=0.0)

POINTER_BATCH: Final = Telemetry(
    event_id="c41f0a7be2d84e5f9a3b6d7081c2e9f4",
    session_id=SESSION,
    tenant="example-bank",
    flow="login",
    sequence=25,
    effective_at=BATCH_AT,
    observed_at=BATCH_AT + 543,
    collector=COLLECTOR,
    account_ref=ACCOUNT_REF,
    device_ref=DEVICE_REF,
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

FIRST_EVENT: Final = Telemetry(
    event_id="0b97d3c65a184f2ebd6c41e87f20a935",
    session_id=SESSION,
    tenant="example-bank",
    flow="login",
    sequence=0,
    effective_at=1_790_000_000_000,
    observed_at=1_790_000_000_611,
    collector=COLLECTOR,
    account_ref=ACCOUNT_REF,
    device_ref=DEVICE_REF,
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

LAST_EVENT: Final = Telemetry(
    event_id="7e2a90d4c8b54163af1d5b0296e38c7f",
    session_id=CAPTURE_SESSION,
    tenant="example-bank",
    flow="kyc_capture",
    sequence=61,
    effective_at=1_790_000_031_000,
    observed_at=1_790_000_031_120,
    collector=COLLECTOR,
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

FACE_MATCH: Final = Signal(
    event_id="sig_77f0",
    session_id=CAPTURE_SESSION,
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

VENDOR_TIMEOUT: Final = Signal(
    event_id="sig_77f1",
    session_id=CAPTURE_SESSION,
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

LABEL: Final = Label(
    label_id="lab_2201",
    session_id=SESSION,
    tenant="example-bank",
    label="bot",
    source="MANUAL_REVIEW",
    effective_at=1_790_000_000_000,
    labelled_at=1_790_259_200_000,
    confidence="high",
    analyst_ref="k3:an-7",
)

ERASURE: Final = Erasure(event_id="era_1", session_id=SESSION, tenant="example-bank", observed_at=BATCH_AT + 86_400_000)
