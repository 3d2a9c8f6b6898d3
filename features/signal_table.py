"""The one table of derived signals: severity, category, cue, exemption and source of each."""

from typing import Literal

import msgspec

Severity = Literal["strong", "medium", "weak"]
Category = Literal["automation", "device", "network", "behaviour", "capture"]


class SignalDefinition(msgspec.Struct, frozen=True, kw_only=True):
    """One signal. `exempt_if`: facts of the session under which it does not count. `stays`: once seen it holds."""

    name: str
    severity: Severity
    category: Category
    cue: str
    exemption: str
    source: str
    confidence: Literal["low", "medium", "high"] = "medium"
    exempt_if: tuple[str, ...] = ()
    stays: bool = True


_table: dict[str, SignalDefinition] = {}

_S: Severity = "strong"
_M: Severity = "medium"
_W: Severity = "weak"


def _add(
    name: str,
    severity: Severity,
    category: Category,
    cue: str,
    source: str,
    exemption: str = "",
    *,
    exempt_if: tuple[str, ...] = (),
    stays: bool = True,
) -> None:
    confidence: dict[str, Literal["low", "medium", "high"]] = {"strong": "high", "medium": "medium", "weak": "low"}
    _table[name] = SignalDefinition(
        name=name,
        severity=severity,
        category=category,
        cue=cue,
        exemption=exemption,
        source=source,
        confidence=confidence[severity],
        exempt_if=exempt_if,
        stays=stays,
    )


_PRIVATE = ("privacy_mode",)
_ASSISTED = ("assistive_technology",)

_add(
    "webdriver_true",
    _S,
    "automation",
    "navigator.webdriver is true in the window, an iframe or a worker",
    "BotD, fpscanner, CreepJS",
)
_add("webdriver_patched", _S, "automation", "navigator.webdriver is not the browser's own getter", "fpscanner")
_add("driver_artifacts", _S, "automation", "globals or attributes that only automation tools leave", "BotD")
_add("playwright_binding", _S, "automation", "Playwright's own globals", "fpscanner")
_add("cdp_open", _M, "automation", "a console serialisation probe fired", "fpscanner, FCaptcha", "open developer tools")
_add("headless_ua", _S, "automation", "the user agent names a headless or scripted shell", "BotD")
_add(
    "engine_mismatch",
    _M,
    "device",
    "eval length or productSub of another engine than claimed",
    "BotD",
    exempt_if=_PRIVATE,
)
_add("languages_empty", _M, "automation", "no languages", "BotD, CreepJS")
_add("language_order_mismatch", _M, "device", "navigator.language is not the first of the languages", "BotD, CreepJS")
_add(
    "plugins_inconsistent",
    _M,
    "automation",
    "no plugins in desktop Chrome",
    "BotD",
    "BotD issue 135: some builds have none",
    exempt_if=_PRIVATE,
)
_add("rtt_zero", _W, "automation", "connection.rtt is 0 off Android", "BotD issue 83", "local networks")
_add(
    "permission_contradiction",
    _M,
    "automation",
    "Notification.permission denied while the query says prompt",
    "BotD, CreepJS",
)
_add("window_zero", _M, "automation", "outer window of size 0 while focused", "BotD", "iframes of some browsers")
_add(
    "headless_like",
    _W,
    "automation",
    "at least three of: no window.chrome in Chrome, 800x600, UTC, no taskbar, viewport as large as the screen",
    "CreepJS",
    "kiosks, full screen",
    exempt_if=("mobile",),
)
_add(
    "stealth_patch",
    _M,
    "automation",
    "native functions replaced or proxied",
    "CreepJS",
    "privacy extensions",
    exempt_if=_PRIVATE,
)
_add(
    "impossible_hardware",
    _M,
    "device",
    "more than 70 cores, or a deviceMemory no browser reports",
    "fpscanner, CreepJS",
    "large servers",
    exempt_if=_PRIVATE,
)
_add(
    "software_renderer",
    _S,
    "automation",
    "software GPU (SwiftShader, llvmpipe, Mesa OffScreen) with a desktop user agent",
    "BotD, CreepJS",
    "virtual desktops",
)
_add("agent_unsigned", _S, "automation", "the edge saw an undeclared or unsigned agent", "Fingerprint bot_info, Arkose")
_add(
    "agent_signed",
    _S,
    "automation",
    "the edge verified a signed agent",
    "Fingerprint bot_info, Web Bot Auth",
    "agents that the flow allows",
)
_add("agent_spoofed", _S, "automation", "the edge refuted an agent's claim", "Fingerprint bot_info, Arkose")
_add(
    "headers_not_browser",
    _M,
    "network",
    "headers missing that this browser always sends",
    "Fingerprint edge, AWS WAF",
    "proxies that strip headers",
)
_add(
    "tls_ua_mismatch",
    _M,
    "network",
    "TLS client class differs from the user agent's engine",
    "DataDome; own inference",
    "TLS-breaking company proxies",
)
_add(
    "header_ua_mismatch",
    _M,
    "network",
    "User-Agent header differs from navigator.userAgent",
    "own inference",
    "extensions that change one of them",
    exempt_if=_PRIVATE,
)
_add(
    "header_hints_mismatch",
    _M,
    "network",
    "client hints in headers name another platform, or form factor, than navigator.userAgentData",
    "own inference",
    "extensions that change one of them",
    exempt_if=_PRIVATE,
)
_add(
    "header_language_mismatch",
    _W,
    "network",
    "first language of Accept-Language is none of navigator.languages",
    "CreepJS; own inference",
    "extensions, privacy modes that send fewer languages",
    exempt_if=_PRIVATE,
)
_add(
    "worker_window_mismatch",
    _S,
    "device",
    "platform, agent, cores, memory, languages, time zone or GPU differ between scopes",
    "CreepJS, fpscanner",
    "privacy modes",
    exempt_if=_PRIVATE,
)
_add(
    "ua_platform_mismatch",
    _S,
    "device",
    "user agent, navigator.platform and client hints name different systems",
    "fpscanner",
    "iPad in desktop mode",
    exempt_if=_PRIVATE,
)
_add("gpu_os_mismatch", _M, "device", "GPU string impossible on the claimed system", "fpscanner", exempt_if=_PRIVATE)
_add(
    "touch_mismatch",
    _M,
    "device",
    "mobile user agent without touch points, or with a mouse alone",
    "fpscanner; own inference",
    "phones with a mouse, remote control",
)
_add("screen_contradiction", _M, "device", "available screen larger than the screen", "CreepJS", exempt_if=_PRIVATE)
_add(
    "canvas_noise",
    _M,
    "device",
    "two reads of the canvas differ",
    "CreepJS",
    "Brave, Firefox resist fingerprinting",
    exempt_if=_PRIVATE,
)
_add(
    "audio_noise",
    _M,
    "device",
    "two reads of the audio rendering differ",
    "CreepJS",
    "Brave, Firefox resist fingerprinting",
    exempt_if=_PRIVATE,
)
_add(
    "clock_skew",
    _M,
    "device",
    "client clock more than a day off the server's, or ten minutes ahead",
    "own inference",
    "wrongly set clocks, long offline queues",
)
_add(
    "tz_ip_mismatch",
    _M,
    "network",
    "time zone of the browser and of the address differ in their offset",
    "Fingerprint timezone_mismatch",
    "travel, VPN",
)
_add("ip_hosting", _M, "network", "address of a hosting network", "Fingerprint", "company egress")
_add("ip_proxy", _M, "network", "known proxy", "Fingerprint")
_add("ip_vpn", _M, "network", "known VPN", "Fingerprint", "privacy and company VPN")
_add("ip_relay", _W, "network", "known privacy relay", "Fingerprint", "iCloud Private Relay")
_add("ip_tor", _S, "network", "known Tor exit", "Fingerprint")
_add(
    "ip_change_mid_session",
    _M,
    "network",
    "the address changed during the session",
    "own inference",
    "mobile networks, Wi-Fi to mobile",
    exempt_if=("mobile",),
)
_add(
    "untrusted_events",
    _S,
    "behaviour",
    "input events with isTrusted = false",
    "FCaptcha",
    "password managers, assistive tools",
    exempt_if=_ASSISTED,
    stays=False,
)
_add(
    "no_coalesced",
    _M,
    "behaviour",
    "no coalesced events at high speed, where they are supported",
    "own inference",
    "recorders without them, remote desktop",
    exempt_if=_ASSISTED,
    stays=False,
)
_add(
    "click_without_move",
    _S,
    "behaviour",
    "most presses lie where no path led, or fall without rest on the last point",
    "FCaptcha; FP-Agent 2605.01247",
    "touch, pen, keyboard-made clicks",
    exempt_if=(*_ASSISTED, "touch_input", "mobile"),
    stays=False,
)
_add(
    "zero_ms_hold",
    _S,
    "behaviour",
    "most key presses last under 5 ms",
    "drivers' documented behaviour",
    "IME, swipe keyboards",
    exempt_if=(*_ASSISTED, "ime", "mobile", "touch_input"),
    stays=False,
)
_add(
    "cdp_rate",
    _M,
    "behaviour",
    "pointer samples at a fixed 20 to 40 Hz, finer ones being recorded",
    "browser-harness PR 396",
    "remote desktop",
    exempt_if=_ASSISTED,
    stays=False,
)
_add(
    "value_without_keys",
    _M,
    "behaviour",
    "a field's value changed with no key, paste, autofill or IME event",
    "FCaptcha, Persona",
    "password managers",
    exempt_if=_ASSISTED,
    stays=False,
)
_add(
    "keys_while_unfocused",
    _S,
    "behaviour",
    "key events while the document had no focus",
    "own inference",
    "assistive tools",
    exempt_if=_ASSISTED,
    stays=False,
)
_add(
    "tab_hidden_activity",
    _M,
    "behaviour",
    "pointer or key events while the page was hidden",
    "own inference",
    "picture in picture, odd window managers",
    exempt_if=_ASSISTED,
    stays=False,
)
_add(
    "centre_clicks",
    _M,
    "behaviour",
    "nearly all clicks 0 to 2 px from the target's centre",
    "FCaptcha",
    "switch access, clicks made by keyboard",
    exempt_if=_ASSISTED,
    stays=False,
)
_add(
    "virtual_camera_label",
    _M,
    "capture",
    "the camera's label names virtual camera software",
    "Deep-Live-Cam issue 1851 and others",
    "broadcasters; labels can be changed",
)
_add("media_api_hooked", _S, "capture", "media functions are not the browser's own", "Alibaba MediaHook")
_add("upload_instead_of_live", _M, "capture", "a file was uploaded in place of a live capture", "Onfido")
_add(
    "camera_switch_mid_capture",
    _M,
    "capture",
    "the camera changed during the capture",
    "own inference",
    "front and back camera",
)
_add("label_enum_mismatch", _M, "capture", "the track's label is not among the enumerated cameras", "own inference")

SIGNALS: dict[str, SignalDefinition] = _table
"""Every derived signal by name, in the order of documents and events."""
