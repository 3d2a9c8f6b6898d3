"""For each signal a case in which it fires, and one near it in which it does not."""

from collections.abc import Callable, Sequence
from typing import Any

from features.fusion import RESULTS
from features.meta import Meta
from features.recorded import START_MS
from features.signals import SIGNALS, derive_signals
from features.velocity import NOTHING_KNOWN, WHAT_INDEX
from schemas.signals import Finding, Routing, Signal
from schemas.telemetry import CameraTrack, Capture, Collector, Device, Network, Scope, Telemetry
from tests.features import build
from tests.features.test_signals import (
    ANDROID,
    BEHAVIOUR_CUES,
    CAPTURE_CUES,
    CHROME,
    DEVICE_CUES,
    FIREFOX,
    IPHONE,
    NETWORK_CUES,
    SAFARI,
    changed,
    fired,
    vector,
)

Fired = Callable[[], Any]

MAC_CHROME = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 Chrome/{version}.0.0.0 Safari/537.36"
STEADY = [i / 30.0 for i in range(40)]
LIVE = [i / 30.0 + 0.002 * ((i * 7) % 5) for i in range(40)]


def signal(**more: Any) -> Signal:
    base: dict[str, Any] = {
        "event_id": "u",
        "session_id": "s",
        "tenant": "t",
        "flow": "signup",
        "effective_at": START_MS,
        "observed_at": START_MS,
        "kind": "liveness",
        "provider": "acme",
        "outcome": "no_decision",
    }
    return Signal(**(base | more))


def upstream(*signals: Signal, meta: Meta | None = None, row: build.Vector | None = None) -> dict[str, Any]:
    """Signals after the upstream results, in order."""
    meta, found = meta or Meta(), {}
    for i, one in enumerate(signals):
        one.event_id = f"u{i}"
        meta.observe_signal(one, one.observed_at)
        found = derive_signals(one, meta, row)
    return found


def told(kind: str, verdict: str) -> Signal:
    return signal(kind=kind, verdict=verdict)


def frames(media: Sequence[float], capture: Sequence[float | None] | None = None) -> Telemetry:
    shown = [1000.0 * t for t in media]
    captured = [*(shown if capture is None else capture)]
    return build.event(capture=Capture(frame_t=shown, media_t=[*media], capture_t=captured))


def tracks(reported: tuple[float, float], delivered: tuple[float, float]) -> Telemetry:
    said, got = (CameraTrack(width_px=w, height_px=h) for w, h in (reported, delivered))
    return build.event(capture=Capture(reported=said, delivered=got))


def counted(*, countries_m5: int = 1, accounts_h24: int = 1) -> Meta:
    account, address = [1] * 12 + [0], [1] * 12 + [0]
    account[3 * WHAT_INDEX["account"]["countries"]] = countries_m5
    address[3 * WHAT_INDEX["ip"]["accounts"] + 2] = accounts_h24
    return Meta(counters=(tuple(account), (), tuple(address)))


def clocks(*starts_ms: float, first: int = 0) -> dict[str, Any]:
    meta, found = Meta(), {}
    for i, start in enumerate(starts_ms):
        event = build.event(start, sequence=first + i, network=Network())
        meta.mark(event.sequence)
        found = fired(event, None, meta)
    return found


def of_collector(version: str, name: str = "tellwire-web", event_id: str = "0a" * 16) -> Telemetry:
    event = build.event(device=Device())
    event.collector = Collector(name=name, version=version)
    event.event_id = event_id
    return event


def on_phone(capabilities: list[str], agent: str = ANDROID) -> dict[str, Any]:
    return fired(build.event(device=Device(user_agent=agent), capture=Capture(capabilities=capabilities)))


def slow_fields(log_mean: float) -> build.Vector:
    return vector(form_hesitation_log_mean=log_mean)


CALL, SHARED = (Finding(name=name, value=True) for name in ("active_call", "remote_software_active"))


def scam(row: build.Vector, *findings: Finding) -> dict[str, Any]:
    return upstream(signal(kind="device_reputation", findings=list(findings)), row=row)


def camera(label: str, *others: str) -> dict[str, Any]:
    return fired(build.event(capture=Capture(camera_label=label, camera_labels=[label, *others])))


def shown(row: dict[str, float] | None = None, **blocks: Any) -> Fired:
    return lambda: fired(build.event(**blocks), None if row is None else vector(**row))


def accepted(name: str) -> Fired:
    kind = SIGNALS[name].accepted_from[-1]
    return lambda: upstream(signal(kind=kind, findings=[Finding(name=name, value=True)]))


def graphics(renderer: str, cores: int) -> dict[str, Any]:
    return fired(build.event(device=Device(gpu_renderer=renderer, hardware_concurrency=cores)))


def alike(accounts: int, addresses: int) -> dict[str, Any]:
    """Signals of a device that looks as those of so many others in an hour."""
    meta = Meta(template_counters=(0, accounts, accounts, 0, addresses, addresses, *(0,) * 7))
    return derive_signals(build.event(device=Device(user_agent=CHROME)), meta)


def mac(chip: str, version: int = 150, **more: Any) -> dict[str, Any]:
    """Signals of a Mac's Chrome; memory: GiB, screen: CSS px."""
    width, height = more.get("screen", (None, None))
    device = Device(
        user_agent=MAC_CHROME.format(version=version),
        gpu_renderer=f"ANGLE (Apple, ANGLE Metal Renderer: {chip}, Unspecified Version)",
        device_memory_gib=more.get("memory"),
        screen_width_px=width,
        screen_height_px=height,
    )
    return fired(build.event(device=device))


def failing(kind: str) -> Fired:
    return lambda: upstream(told(kind, "fail"))


def passing(kind: str) -> Fired:
    """A pass, a failure that never was one, and a score of which its provider has no threshold."""
    return lambda: (
        upstream(told(kind, "pass"))
        | upstream(signal(kind=kind, verdict="fail", outcome="timeout"))
        | upstream(signal(kind=kind, outcome="scored", score=0.99, direction="high_is_risk"))
    )


FIRES: dict[str, Fired] = {
    **{name: shown(device=device) for name, device in DEVICE_CUES},
    **{name: shown(device=changed(), network=network) for name, network in NETWORK_CUES},
    **{name: shown(capture=capture) for name, capture in CAPTURE_CUES},
    **{name: shown(row) for name, row in BEHAVIOUR_CUES},
    **{name: accepted(name) for name, definition in SIGNALS.items() if definition.accepted_from},
    "cdp_rate": lambda: fired_by_recorder(8.0),
    "clock_skew": lambda: skewed(601_000),
    "clock_backwards": lambda: clocks(100_000, 0),
    "clock_unsteady": lambda: clocks(0, 40_000, 8_000, 48_000, 16_000, 56_000, 50_999),
    "collector_forged": lambda: fired(of_collector("1.0.0", event_id="s_1.0")),
    "client_not_browser": lambda: fired(
        build.event(device=changed(), network=Network(headers_missing=["accept-language", "user-agent"]))
    ),
    "sdk_obsolete": lambda: fired(of_collector("0.0.9")),
    "cores_gpu_mismatch": lambda: graphics("ANGLE (Apple, ANGLE Metal Renderer: Apple M1, Unspecified Version)", 10),
    "cores_unusual": lambda: fired(build.event(device=Device(user_agent=CHROME, hardware_concurrency=7))),
    "memory_gpu_mismatch": lambda: mac("Apple M1", memory=4.0),
    "screen_gpu_mismatch": lambda: mac("Apple M1", screen=(1512, 982)),
    "emulator": lambda: fired(build.event(device=Device(user_agent=ANDROID.replace("Pixel 8", "sdk_gphone64_x86_64")))),
    "ip_change_mid_session": lambda: addresses("i1", "i2"),
    "locale_country_mismatch": lambda: fired(build.event(device=changed(), network=Network(ip_country="BR"))),
    "document_country_mismatch": lambda: upstream(signal(kind="document", country="BR"), meta=Meta(ip_country="DE")),
    "impossible_travel": lambda: fired(build.event(network=Network()), None, counted(countries_m5=2)),
    "ip_session_fanout": lambda: fired(
        build.event(network=Network(asn_type="residential")), None, counted(accounts_h24=8)
    ),
    "fingerprint_copies": lambda: alike(20, 20),
    "loopback_camera_label": lambda: camera("Dummy video device (0x0000)"),
    "virtual_camera_installed": lambda: camera("HD Webcam", "OBS Virtual Camera"),
    "device_list_changed": lambda: fired(build.event(capture=Capture(device_list_changed=True))),
    "capability_implausible": lambda: on_phone(["width", "height"]),
    "constraint_challenge_fail": lambda: fired(tracks((1280, 720), (640, 480))),
    "frame_interval_too_regular": lambda: fired(frames(STEADY)),
    "frame_duplicate_ratio": lambda: fired(frames([i // 2 / 30.0 for i in range(40)])),
    "frame_drop_pattern": lambda: fired(frames([i / 30.0 for i in range(60) if i % 3])),
    "capture_time_constant": lambda: fired(frames(LIVE, [5.0] * len(LIVE))),
    "capture_retries": lambda: upstream(signal(attempt=4)),
    "cv_conflict": lambda: upstream(told("liveness", "pass"), told("injection", "fail")),
    **{rule.signal: failing(kind) for kind, rule in RESULTS.items()},
    "result_to_review": lambda: upstream(told("pad", "review")),
    "results_disagree": lambda: upstream(told("pad", "pass"), told("pad", "fail")),
    "attestation_failed": lambda: upstream(told("device_attestation", "fail")),
    "coercion_pattern": lambda: scam(slow_fields(2.0), CALL, SHARED),
}


def fired_by_recorder(sampling_ms: float) -> dict[str, Any]:
    event = build.event()
    event.collector = Collector(name="c", version="1.0.0", sampling_interval_ms=sampling_ms)
    cue = dict(BEHAVIOUR_CUES)["cdp_rate"]
    return fired(event, vector(**cue))


def skewed(ahead_ms: int) -> dict[str, Any]:
    event = build.event(device=changed())
    event.observed_at = event.effective_at - ahead_ms
    return fired(event)


def addresses(*refs: str) -> dict[str, Any]:
    meta, found = Meta(), {}
    for i, ref in enumerate(refs):
        found = fired(build.event(sequence=i, network=Network(ip_ref=ref)), None, meta)
    return found


def on_device(**more: Any) -> Fired:
    return lambda: fired(build.event(device=changed(**more)))


def on_edge(**more: Any) -> Fired:
    return lambda: fired(build.event(device=changed(ua_mobile=False), network=Network(**more)))


def on_input(**more: float) -> Fired:
    return lambda: fired(build.event(), vector(**more), Meta())


def not_true(name: str) -> Fired:
    """The finding of a signal, said by whoever may not say it, or not said to be true."""
    kind = SIGNALS[name].accepted_from[0]

    def found() -> dict[str, Any]:
        other = signal(kind="watchlist", findings=[Finding(name=name, value=True)])
        unlike = [signal(kind=kind, findings=[Finding(name=name, value=v)]) for v in (False, None, 1.0, "true")]
        return upstream(other, *unlike)

    return found


SILENT: dict[str, Fired] = {
    **{name: not_true(name) for name, definition in SIGNALS.items() if definition.accepted_from},
    "webdriver_true": on_device(webdriver=False, worker=Scope(webdriver=False)),
    "webdriver_patched": on_device(webdriver_native=None),
    "driver_artifacts": on_device(automation_globals=["webpackChunk", "drivers"]),
    "playwright_binding": on_device(automation_globals=["playwright"]),
    "cdp_open": on_device(cdp_open=True, devtools_open=True),
    "scripted_keys": lambda: (
        on_device(capitals_unshifted=False)()
        | fired(build.event(device=Device(user_agent=FIREFOX, capitals_unshifted=True)))
        | fired(build.event(device=Device(user_agent=ANDROID, capitals_unshifted=True, partial=True)))
        | fired(build.event(device=Device(capitals_unshifted=True)))
    ),
    "headless_ua": on_device(user_agent=CHROME),
    "engine_mismatch": lambda: fired(build.event(device=Device(user_agent=FIREFOX, eval_length=37))),
    "languages_empty": on_device(languages=None),
    "language_order_mismatch": on_device(language=None),
    "plugins_inconsistent": lambda: fired(build.event(device=Device(user_agent=ANDROID, plugin_count=0))),
    "rtt_zero": lambda: (
        fired(build.event(device=Device(user_agent=ANDROID, rtt_ms=0.0)))
        | fired(build.event(device=Device(rtt_ms=0.0)))
    ),
    "permission_contradiction": on_device(notification_permission="denied", notification_query="denied"),
    "window_zero": on_device(outer_width_px=0.0, has_focus=False),
    "headless_like": on_device(timezone="UTC", avail_height_px=1080),
    "stealth_patch": on_device(native_functions_patched=[]),
    "impossible_hardware": lambda: (
        fired(build.event(device=changed(hardware_concurrency=64, device_memory_gib=8.0)))
        | fired(build.event(device=changed(user_agent=CHROME.replace("/130.", "/150."), device_memory_gib=32.0)))
        | fired(build.event(device=Device(user_agent=FIREFOX, device_memory_gib=32.0)))
    ),
    "software_renderer": lambda: (
        fired(build.event(device=Device(user_agent=ANDROID, gpu_renderer="SwiftShader")))
        | fired(build.event(device=Device(gpu_renderer="SwiftShader")))
    ),
    "worker_window_mismatch": on_device(worker=Scope(platform="Win32"), iframe=Scope()),
    "ua_platform_mismatch": lambda: fired(
        build.event(device=Device(user_agent=SAFARI, platform="iPad", max_touch_points=5))
    ),
    "gpu_os_mismatch": lambda: fired(build.event(device=Device(user_agent=SAFARI, gpu_renderer="Apple M2"))),
    "cores_gpu_mismatch": lambda: (
        graphics("ANGLE (Apple, ANGLE Metal Renderer: Apple M1 Pro, Unspecified Version)", 10)
        | graphics("Apple M1, or similar", 12)
        | graphics("ANGLE (NVIDIA, NVIDIA GeForce RTX 3060 Direct3D11 vs_5_0 ps_5_0, D3D11)", 3)
        | graphics("ANGLE (Intel, Intel(R) UHD Graphics 620 Direct3D11 vs_5_0 ps_5_0, D3D11)", 8)
        | fired(build.event(device=Device(hardware_concurrency=3)))
    ),
    "cores_unusual": lambda: (
        fired(build.event(device=Device(user_agent=CHROME, hardware_concurrency=8)))
        | fired(build.event(device=Device(user_agent=MAC_CHROME.format(version=150), hardware_concurrency=11)))
        | fired(build.event(device=Device(hardware_concurrency=7)))
        # A processor with these graphics has 5.
        | graphics("ANGLE (Intel, Intel(R) UHD Graphics (0x000046B3) Direct3D11 vs_5_0 ps_5_0, D3D11)", 5)
    ),
    # A monitor goes with any Mac; 8 is what an older browser tells of 16.
    "memory_gpu_mismatch": lambda: mac("Apple M1", memory=16.0) | mac("Apple M4", 146, memory=8.0) | mac("Apple M4"),
    "screen_gpu_mismatch": lambda: (
        mac("Apple M1", screen=(2560, 1440)) | mac("Apple M3", screen=(1512, 982)) | mac("Apple M1, or similar")
    ),
    # One fleet behind one address; a template of a few.
    "fingerprint_copies": lambda: alike(500, 3) | alike(19, 500),
    "touch_mismatch": lambda: fired(build.event(device=Device(user_agent=IPHONE, max_touch_points=None))),
    "screen_contradiction": on_device(avail_width_px=1920, avail_height_px=None),
    "canvas_noise": on_device(canvas_stable=None),
    "audio_noise": on_device(audio_stable=None),
    "clock_skew": lambda: skewed(599_000),
    # A clock that is set by a minute, and an old event that comes late.
    "clock_backwards": lambda: clocks(60_000, 0) | clocks(100_000) | late_event(),
    # A clock that was set back twice and catches up between; one that goes by less each time; what comes late.
    "clock_unsteady": lambda: (
        clocks(0, 40_000, 8_000, 9_000, 48_000, 16_000, 17_000)
        | clocks(0, 40_000, 35_000, 75_000, 70_000, 110_000, 105_000)
        | late_event()
    ),
    "collector_forged": lambda: (
        fired(of_collector("0.1.0")) | fired(of_collector("0.1.0", "other", event_id="s_1.0")) | fired(build.event())
    ),
    "client_not_browser": lambda: (
        on_edge(headers_missing=["user-agent", "accept"])()
        | on_edge(user_agent=FIREFOX, headers_missing=["accept-language"])()
        | fired(build.event(device=Device(), network=Network(headers_missing=["accept-language", "user-agent"])))
        | fired(build.event(device=Device(user_agent="App/1.0"), network=Network(user_agent="okhttp/4.12")))
        | fired(build.event(network=Network(user_agent="python-requests/2.32.3")))
    ),
    "sdk_obsolete": lambda: (
        fired(of_collector("0.1.0")) | fired(of_collector("0.0.1", "other")) | fired(of_collector("next"))
    ),
    "emulator": lambda: fired(build.event(device=Device(user_agent=ANDROID, gpu_renderer="Mali-G715"))),
    "agent_unsigned": on_edge(agent="none"),
    "agent_signed": on_edge(agent="none"),
    "agent_spoofed": on_edge(agent="none"),
    "headers_not_browser": on_edge(headers_missing=[]),
    "tls_ua_mismatch": on_edge(tls_class="chrome"),
    "header_ua_mismatch": on_edge(user_agent=CHROME),
    "header_hints_mismatch": on_edge(ua_platform="windows", ua_mobile=False),
    "header_language_mismatch": on_edge(languages=["de-AT", "en"]),
    "tz_ip_mismatch": on_edge(timezone="Europe/Paris"),
    "tcp_os_mismatch": lambda: (
        fired(build.event(device=Device(user_agent=ANDROID), network=Network(tcp_os="linux")))
        | fired(build.event(device=Device(user_agent=CHROME), network=Network(tcp_os="unknown")))
        | fired(build.event(device=Device(), network=Network(tcp_os="linux")))
        | fired(build.event(device=changed(), network=Network(tcp_os="Windows NT")))
    ),
    "ip_hosting": on_edge(asn_type="business"),
    "ip_proxy": on_edge(proxy=False),
    "ip_vpn": on_edge(vpn=False),
    "ip_relay": on_edge(relay=False),
    "ip_tor": on_edge(tor=False),
    "ip_change_mid_session": lambda: addresses("i1", "i1"),
    "locale_country_mismatch": lambda: (
        fired(build.event(device=changed(languages=["de", "es-419"]), network=Network(ip_country="BR")))
        | fired(
            build.event(
                device=changed(languages=["en-US", "de-DE"], language="en-US"), network=Network(ip_country="DE")
            )
        )
    ),
    "document_country_mismatch": lambda: (
        upstream(signal(kind="document", country="DE"), meta=Meta(ip_country="DE"))
        | upstream(signal(kind="document", country="DE"))
        | upstream(signal(kind="watchlist", country="BR"), meta=Meta(ip_country="DE"))
    ),
    "impossible_travel": lambda: (
        fired(build.event(network=Network()), None, counted())
        | fired(build.event(network=Network(relay=True)), None, counted(countries_m5=3))
        | fired(build.event(network=Network()), None, Meta(counters=NOTHING_KNOWN))
    ),
    "ip_session_fanout": lambda: (
        fired(build.event(network=Network(asn_type="mobile")), None, counted(accounts_h24=500))
        | fired(build.event(network=Network()), None, counted(accounts_h24=500))
        | fired(build.event(network=Network(asn_type="business")), None, counted(accounts_h24=39))
    ),
    "untrusted_events": on_input(pointer_untrusted_ratio=0.0),
    "no_coalesced": on_input(pointer_coalesced_ratio=0.0, pointer_speed_px_s=1500, pointer_samples=200),
    "click_without_move": on_input(pointer_presses=3, pointer_press_unmoved_ratio=1.0),
    "press_without_rest": on_input(pointer_presses=9, pointer_dwell_zero_ratio=0.89),
    "zero_ms_hold": on_input(keystroke_keys=7, keystroke_hold_zero_ratio=1.0),
    "cdp_rate": lambda: fired_by_recorder(20.0),
    "value_without_keys": on_input(form_unexplained_ratio=0.0, form_silent_ratio=0.0),
    "keys_while_unfocused": on_input(keystroke_unfocused_ratio=0.0),
    "tab_hidden_activity": on_input(focus_hidden_activity_ratio=0.0),
    "centre_clicks": on_input(pointer_centre_click_ratio=0.89),
    "virtual_camera_label": lambda: camera("FaceTime HD Camera"),
    "loopback_camera_label": lambda: camera("Integrated Webcam (04f2:b6d9)"),
    "virtual_camera_installed": lambda: camera("HD Webcam", "Logitech Brio"),
    "media_api_hooked": lambda: fired(build.event(capture=Capture(hooked_functions=[]))),
    "upload_instead_of_live": lambda: fired(build.event(capture=Capture(upload=False))),
    "camera_switch_mid_capture": lambda: fired(build.event(capture=Capture(camera_switched=False))),
    "device_list_changed": lambda: fired(build.event(capture=Capture(device_list_changed=False))),
    "label_enum_mismatch": lambda: fired(build.event(capture=Capture(camera_label="A"))),
    "capability_implausible": lambda: (
        on_phone(["facingMode", "width"]) | on_phone([]) | on_phone(["width"], agent=CHROME)
    ),
    "constraint_challenge_fail": lambda: (
        fired(tracks((1280, 720), (720, 1280))) | fired(tracks((1280, 720), (640, 360))) | fired(tracks((0, 0), (1, 2)))
    ),
    "frame_interval_too_regular": lambda: fired(frames(LIVE)) | fired(frames(STEADY[:29])),
    "frame_duplicate_ratio": lambda: fired(frames([0.0] * 29)),
    "frame_drop_pattern": lambda: fired(frames([t for i, t in enumerate(LIVE) if i % 9])),
    "capture_time_constant": lambda: fired(frames(LIVE, [None] * len(LIVE))),
    "capture_retries": lambda: upstream(signal(attempt=3), signal(kind="watchlist", attempt=9), signal()),
    "cv_conflict": lambda: (
        upstream(told("liveness", "fail"), told("injection", "fail"))
        | upstream(told("liveness", "pass"), told("injection", "review"))
        | upstream(told("liveness", "pass"), unasked(told("injection", "fail")))
    ),
    **{rule.signal: passing(kind) for kind, rule in RESULTS.items()},
    "result_to_review": lambda: (
        upstream(told("pad", "pass"), told("capture_quality", "review")) | upstream(unasked(told("pad", "review")))
    ),
    "results_disagree": lambda: (
        upstream(told("pad", "pass"), told("liveness", "fail"))
        | upstream(told("pad", "fail"), signal(kind="pad", verdict="pass", effective_at=START_MS + 60_000))
    ),
    "attestation_failed": lambda: (
        upstream(told("device_attestation", "pass"), signal(kind="device_attestation"))
        | upstream(signal(kind="device_attestation", verdict="fail", outcome="error"))
    ),
    "coercion_pattern": lambda: (
        scam(slow_fields(1.0), CALL, SHARED) | scam(vector(), CALL, SHARED) | scam(slow_fields(3.0), CALL)
    ),
}


def unasked(result: Signal) -> Signal:
    result.routing = Routing(arm="a", shadow=True)
    return result


def late_event() -> dict[str, Any]:
    meta, found = Meta(), {}
    for start, sequence in ((100_000, 5), (0, 2)):
        event = build.event(start, sequence=sequence, network=Network())
        meta.mark(sequence)
        found = fired(event, None, meta)
    return found
