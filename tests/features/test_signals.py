"""Derived signals: each fires on its cue, and none on an ordinary person's device and behaviour."""

from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features import forensics
from features.meta import Meta
from features.registry import INDEX, N_FEATURES
from features.signals import SIGNALS, derive_signals, signal_values, signals_of
from schemas.telemetry import Capture, Collector, Device, Network, Pointer, Scope, Telemetry
from tests.features import build

KIT = "AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.0"
CHROME = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Safari/537.36"
)
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:131.0) Gecko/20100101 Firefox/131.0"
SAFARI = f"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) {KIT} Safari/605.1.15"
IPHONE = f"Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) {KIT} Mobile/15E148 Safari/604.1"
ANDROID = CHROME.replace("Windows NT 10.0; Win64; x64", "Linux; Android 14; Pixel 8").replace(
    "Safari/", "Mobile Safari/"
)

ORDINARY: dict[str, dict[str, Any]] = {
    "windows chrome": {
        "user_agent": CHROME,
        "platform": "Win32",
        "ua_platform": "Windows",
        "product_sub": "20030107",
        "eval_length": 33,
        "languages": ["de-DE", "de"],
        "language": "de-DE",
        "timezone": "Europe/Berlin",
        "hardware_concurrency": 8,
        "device_memory_gib": 8.0,
        "screen_width_px": 1920,
        "screen_height_px": 1080,
        "avail_width_px": 1920,
        "avail_height_px": 1040,
        "outer_width_px": 1600,
        "outer_height_px": 900,
        "plugin_count": 5,
        "rtt_ms": 50.0,
        "has_focus": True,
        "webdriver": False,
        "webdriver_native": True,
        "automation_globals": [],
        "native_functions_patched": [],
        "chrome_object": True,
        "gpu_renderer": "ANGLE (NVIDIA GeForce RTX 3060 Direct3D11 vs_5_0 ps_5_0, D3D11)",
        "canvas_stable": True,
        "audio_stable": True,
        "max_touch_points": 0,
        "notification_permission": "default",
        "notification_query": "prompt",
    },
    "linux firefox": {"user_agent": FIREFOX, "platform": "Linux x86_64", "product_sub": "20100101", "eval_length": 37},
    "mac safari": {"user_agent": SAFARI, "platform": "MacIntel", "gpu_renderer": "Apple GPU", "eval_length": 37},
    "ipad desktop": {"user_agent": SAFARI, "platform": "iPad", "max_touch_points": 5},
    "iphone": {"user_agent": IPHONE, "platform": "iPhone", "max_touch_points": 5, "gpu_renderer": "Apple GPU"},
    "android": {"user_agent": ANDROID, "platform": "Linux armv81", "max_touch_points": 5, "rtt_ms": 0.0},
    "nothing collected": {},
}


def fired(event: Telemetry, vector: build.Vector | None = None, meta: Meta | None = None) -> dict[str, Any]:
    meta = meta or Meta()
    meta.observe(event, event.observed_at)
    return derive_signals(event, meta, vector)


@pytest.mark.parametrize("name", ORDINARY)
def test_an_ordinary_device_fires_nothing(name: str) -> None:
    device = Device(**ORDINARY[name])
    scope = Scope(user_agent=device.user_agent, platform=device.platform, languages=device.languages)
    event = build.event(device=Device(**ORDINARY[name], worker=scope), network=Network(asn_type="residential"))
    assert fired(event) == {}


def changed(**more: Any) -> Device:
    return Device(**(ORDINARY["windows chrome"] | more))


DEVICE_CUES: list[tuple[str, Device]] = [
    ("webdriver_true", changed(webdriver=True)),
    ("webdriver_true", changed(worker=Scope(webdriver=True))),
    ("webdriver_patched", changed(webdriver_native=False)),
    ("driver_artifacts", changed(automation_globals=["cdc_adoQpoasnfa76pfcZLmcfl_Array"])),
    ("driver_artifacts", changed(automation_globals=["__selenium_unwrapped"])),
    ("playwright_binding", changed(automation_globals=["__playwright__binding__"])),
    ("cdp_open", changed(cdp_open=True)),
    ("scripted_keys", changed(capitals_unshifted=True)),
    ("scripted_keys", Device(user_agent=CHROME, capitals_unshifted=True, partial=True)),
    ("headless_ua", changed(user_agent=CHROME.replace("Chrome/", "HeadlessChrome/"))),
    ("engine_mismatch", changed(eval_length=37)),
    ("engine_mismatch", changed(product_sub="20100101")),
    ("languages_empty", changed(languages=[])),
    ("language_order_mismatch", changed(language="en-US")),
    ("plugins_inconsistent", changed(plugin_count=0)),
    ("rtt_zero", changed(rtt_ms=0.0)),
    ("permission_contradiction", changed(notification_permission="denied")),
    ("window_zero", changed(outer_width_px=0.0)),
    ("headless_like", changed(chrome_object=False, timezone="UTC", avail_height_px=1080)),
    ("stealth_patch", changed(native_functions_patched=["Function.prototype.toString"])),
    ("impossible_hardware", changed(hardware_concurrency=128)),
    ("impossible_hardware", changed(device_memory_gib=3.0)),
    ("impossible_hardware", changed(device_memory_gib=16.0)),
    ("software_renderer", changed(gpu_renderer="Google SwiftShader")),
    ("worker_window_mismatch", changed(worker=Scope(platform="Linux x86_64"))),
    ("worker_window_mismatch", changed(iframe=Scope(languages=["en"]))),
    ("ua_platform_mismatch", changed(platform="Linux x86_64")),
    ("ua_platform_mismatch", changed(ua_platform="macOS")),
    ("gpu_os_mismatch", changed(gpu_renderer="Apple M2")),
    ("screen_contradiction", changed(avail_width_px=4000)),
    ("canvas_noise", changed(canvas_stable=False)),
    ("audio_noise", changed(audio_stable=False)),
    ("touch_mismatch", Device(user_agent=IPHONE, platform="iPhone", max_touch_points=0)),
]


@pytest.mark.parametrize(("name", "device"), DEVICE_CUES, ids=[f"{n}-{i}" for i, (n, _) in enumerate(DEVICE_CUES)])
def test_a_device_cue_fires_its_signal_alone(name: str, device: Device) -> None:
    found = fired(build.event(device=device))
    assert set(found) == {name}
    assert (found[name].severity, found[name].exempt) == (SIGNALS[name].severity, None)


NETWORK_CUES = [
    ("agent_unsigned", Network(agent="unsigned")),
    ("agent_signed", Network(agent="signed")),
    ("agent_spoofed", Network(agent="spoofed")),
    ("headers_not_browser", Network(headers_missing=["accept-language"])),
    ("ip_hosting", Network(asn_type="hosting")),
    ("ip_proxy", Network(proxy=True)),
    ("ip_vpn", Network(vpn=True)),
    ("ip_relay", Network(relay=True)),
    ("ip_tor", Network(tor=True)),
    ("tls_ua_mismatch", Network(tls_class="python")),
    ("tz_ip_mismatch", Network(timezone="America/New_York")),
    ("tcp_os_mismatch", Network(tcp_os="Linux")),
    ("header_ua_mismatch", Network(user_agent=CHROME.replace("Chrome/", "HeadlessChrome/"))),
    ("header_hints_mismatch", Network(ua_platform="Linux")),
    ("header_language_mismatch", Network(languages=["en-US", "en"])),
]


@pytest.mark.parametrize(("name", "network"), NETWORK_CUES, ids=[n for n, _ in NETWORK_CUES])
def test_a_network_cue_fires_its_signal_alone(name: str, network: Network) -> None:
    assert set(fired(build.event(network=network, device=changed()))) == {name}


def test_headers_that_say_what_the_scripts_say_fire_nothing() -> None:
    for network in (
        Network(user_agent=CHROME, languages=["de"], ua_platform="windows", ua_mobile=False),
        Network(languages=["de-AT", "en"]),
        Network(languages=["*"]),
        Network(user_agent="", languages=[]),
    ):
        assert fired(build.event(network=network, device=changed(ua_mobile=False))) == {}
    mobile = build.event(network=Network(ua_mobile=True), device=changed(ua_mobile=False))
    assert set(fired(mobile)) == {"header_hints_mismatch"}
    private = build.event(network=Network(languages=["en-US"]), device=changed(resist_fingerprinting=True))
    assert fired(private)["header_language_mismatch"].exempt == "privacy_mode"


def test_zones_of_one_offset_do_not_differ() -> None:
    assert fired(build.event(network=Network(timezone="Europe/Paris"), device=changed())) == {}
    assert fired(build.event(network=Network(timezone="Nowhere/Atall"), device=changed())) == {}


CAPTURE_CUES = [
    ("virtual_camera_label", Capture(camera_label="OBS Virtual Camera")),
    ("media_api_hooked", Capture(hooked_functions=["getUserMedia"])),
    ("upload_instead_of_live", Capture(upload=True)),
    ("camera_switch_mid_capture", Capture(camera_switched=True)),
    ("label_enum_mismatch", Capture(camera_label="A", camera_labels=["B"])),
]


@pytest.mark.parametrize(("name", "capture"), CAPTURE_CUES, ids=[n for n, _ in CAPTURE_CUES])
def test_a_capture_cue_fires_its_signal_alone(name: str, capture: Capture) -> None:
    assert set(fired(build.event(capture=capture))) == {name}


def test_an_ordinary_camera_fires_nothing() -> None:
    assert (
        fired(build.event(capture=Capture(camera_label="FaceTime HD Camera", camera_labels=["FaceTime HD Camera"])))
        == {}
    )


def vector(**values: float) -> build.Vector:
    row = np.full(N_FEATURES, np.nan)
    for name, value in values.items():
        row[INDEX[name]] = value
    return row


BEHAVIOUR_CUES: list[tuple[str, dict[str, float]]] = [
    ("untrusted_events", {"pointer_untrusted_ratio": 0.1}),
    ("no_coalesced", {"pointer_coalesced_ratio": 0.0, "pointer_speed_px_s": 2000, "pointer_samples": 200}),
    ("click_without_move", {"pointer_presses": 5, "pointer_press_unmoved_ratio": 0.8}),
    ("press_without_rest", {"pointer_presses": 5, "pointer_dwell_zero_ratio": 1.0}),
    ("zero_ms_hold", {"keystroke_keys": 10, "keystroke_hold_zero_ratio": 0.9}),
    ("cdp_rate", {"pointer_interval_log_sd": 0.01, "pointer_interval_ms": 33.0, "pointer_samples": 80}),
    ("value_without_keys", {"form_unexplained_ratio": 0.5}),
    ("keys_while_unfocused", {"keystroke_unfocused_ratio": 0.2}),
    ("tab_hidden_activity", {"focus_hidden_activity_ratio": 0.2}),
    ("centre_clicks", {"pointer_centre_click_ratio": 1.0}),
]


@pytest.mark.parametrize(
    ("name", "values"), BEHAVIOUR_CUES, ids=[f"{n}-{i}" for i, (n, _) in enumerate(BEHAVIOUR_CUES)]
)
def test_a_behaviour_cue_fires_its_signal_alone_and_is_judged_anew(name: str, values: dict[str, float]) -> None:
    meta = Meta()
    event = build.event(pointer=Pointer(t=[0.0], x=[0.0], y=[0.0], pointer_type="mouse"))
    event.collector = Collector(name="c", version="1.0.0", sampling_interval_ms=8.0)
    assert set(fired(event, vector(**values), meta)) == {name}
    assert derive_signals(event, meta, vector()) == {}


CUE_VALUES = st.fixed_dictionaries(
    {},
    optional={
        name: st.sampled_from(
            (-1.0, 0.0, 1e-9, 0.049, 0.05, 0.59, 0.6, 0.89, 0.9, 1.0, 3.0, 4.0, 8.0, 25.0, 33.0, 50.0)
        )
        | st.sampled_from((50.1, 59.0, 60.0, 99.0, 100.0, 1500.0, 1501.0))
        for name in forensics._NAMES
    },
)


@given(CUE_VALUES, st.sampled_from((0.0, 8.0, 19.9, 20.0, 100.0)))
def test_what_may_hold_is_what_the_rules_find_in_some_session(values: dict[str, float], sampling_ms: float) -> None:
    row = vector(**values)
    found: dict[str, bool | float | str] = {}
    forensics.forensic_signals(Meta(sampling_interval_ms=sampling_ms), row, found)
    may_hold = forensics.may_hold.py_func(row)  # type: ignore[attr-defined]
    assert may_hold or not found
    if 0.0 < sampling_ms < 20.0:
        assert bool(found) == may_hold


@given(st.lists(st.tuples(CUE_VALUES, st.sampled_from(("plain", "device", "network", "capture"))), max_size=6))
def test_signals_of_a_chunk_are_those_of_each_event(steps: list[tuple[dict[str, float], str]]) -> None:
    """One session, event by event: with and without the short cut, the same signals and the same Meta."""
    blocks: dict[str, dict[str, Any]] = {
        "plain": {},
        "device": {"device": Device(webdriver=True)},
        "network": {"network": Network(tor=True)},
        "capture": {"capture": Capture(upload=True)},
    }
    short, long = Meta(sampling_interval_ms=8.0), Meta(sampling_interval_ms=8.0)
    for values, block in steps:
        event, row = build.event(**blocks[block]), vector(**values)
        marks = np.array([forensics.may_hold.py_func(row)])  # type: ignore[attr-defined]
        assert signals_of([event], [short], row[None, :], marks) == [derive_signals(event, long, row)]
        assert msgspec.msgpack.encode(short) == msgspec.msgpack.encode(long)


def test_no_data_fires_nothing() -> None:
    assert fired(build.event(), vector()) == {}


@pytest.mark.parametrize("seed", range(5))
def test_people_fire_no_behaviour_signal(seed: int) -> None:
    events = [*build.batches(build.wander(seed, 30.0)), build.event(31_000, keys=build.keys_of(build.typing(seed, 60)))]
    assert fired(events[-1], build.fold(events)[-1]) == {}


def test_scripted_clicks_and_keys_fire() -> None:
    rng = np.random.default_rng(1)
    clicks = []
    for i in range(8):
        x, y = float(rng.integers(0, 900)), float(rng.integers(0, 900))
        clicks += [(i * 700.0, x, y, 1), (i * 700.0 + 1.0, x, y, 2)]
    keys: list[build.Key] = [(i * 50.0, i * 50.0 + 0.4, 1) for i in range(20)]
    events = [build.event(pointer=build.pointer_of(clicks)), build.event(9_000, sequence=1, keys=build.keys_of(keys))]
    assert set(fired(events[-1], build.fold(events)[-1])) == {"click_without_move", "zero_ms_hold"}


def test_facts_stay_and_exemptions_follow_what_is_known_later() -> None:
    meta = Meta()
    keys = build.keys_of([(i * 50.0, i * 50.0 + 0.4, 1) for i in range(20)])
    event = build.event(keys=keys)
    found = fired(event, build.fold([event])[-1], meta)
    assert found["zero_ms_hold"].exempt is None
    later = build.event(900, sequence=1, device=changed(assistive_technology=True, webdriver=True))
    found = fired(later, build.fold([event, later])[-1], meta)
    assert found["zero_ms_hold"].exempt == "assistive_technology"
    # Assistive technology explains odd input, never a driven browser.
    assert found["webdriver_true"].exempt is None
    assert set(signal_values(meta)) == {"webdriver_true", "zero_ms_hold"}
    assert list(found) == [name for name in SIGNALS if name in found]


def test_a_privacy_mode_exempts_what_it_fakes() -> None:
    found = fired(build.event(device=changed(canvas_stable=False, resist_fingerprinting=True)))
    assert found["canvas_noise"].exempt == "privacy_mode"


def test_clock_and_address_changes() -> None:
    event = build.event(device=changed())
    event.observed_at = event.effective_at - 3_600_000
    assert set(fired(event)) == {"clock_skew"}
    meta = Meta()
    fired(build.event(network=Network(ip_ref="i1")), None, meta)
    assert set(fired(build.event(sequence=1, network=Network(ip_ref="i2")), None, meta)) == {"ip_change_mid_session"}
