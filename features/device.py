"""Signals that a device or browser is not what it claims: contradictions between what it says in different places."""

import re
from typing import Final

from features.automation import LEGAL_MEMORY_GIB, MAX_CORES, Found
from features.hardware import cores_are_usual, cores_fit, memory_fits, memory_is_told, screen_fits
from features.meta import Meta
from features.useragent import browser_of, is_emulator, is_mobile, os_of, platform_os
from schemas.telemetry import Device, Scope, Telemetry

DAY_MS = 86_400_000
AHEAD_MS = 600_000
OLDEST_SERVED: Final = {"tellwire-web": (0, 1, 0)}
"""Oldest release of each collector that is served; other collectors have none."""

EVENT_IDS: Final = {"tellwire-web": re.compile(r"[0-9a-f]{32}")}
"""The form of every event id that a collector makes, in all of its releases; of other collectors nobody knows it."""

_EVAL_LENGTH = {"chrome": 33, "firefox": 37, "safari": 37}
_PRODUCT_SUB = {"chrome": "20030107", "firefox": "20100101", "safari": "20030107"}
_COMPARED = ("user_agent", "platform", "hardware_concurrency", "device_memory_gib", "timezone", "gpu_renderer")
_APPLE_GPU = re.compile(r"\bApple (GPU|M\d|A\d+)")


def device_signals(event: Telemetry, meta: Meta, found: Found) -> None:
    """Add contradictions of the device block, and of the event's clock."""
    device = event.device
    if device is None:
        return
    ahead = event.effective_at - event.observed_at
    if ahead > AHEAD_MS or -ahead > DAY_MS:
        found["clock_skew"] = round(ahead / 1000.0, 1)
    form = EVENT_IDS.get(event.collector.name)
    if form is not None and not form.fullmatch(event.event_id):
        found["collector_forged"] = event.collector.name
    oldest = OLDEST_SERVED.get(event.collector.name)
    if oldest is not None and _is_older(event.collector.version, oldest):
        found["sdk_obsolete"] = event.collector.version
    if is_emulator(device.user_agent or "", device.gpu_renderer or ""):
        found["emulator"] = True
    _hardware(device, found)
    _engine(device, found)
    _system(device, found)
    _scopes(device, found)
    agent = device.user_agent or ""
    phone = is_mobile(agent) and os_of(agent) in {"android", "ios"}
    if phone and (device.max_touch_points == 0 or (meta.pointer_type == "mouse" and not meta.has("touch"))):
        found["touch_mismatch"] = True


def _is_older(version: str, oldest: tuple[int, ...]) -> bool:
    """Whether a semantic version lies before `oldest`; what is no such version does not."""
    parts = version.partition("-")[0].split(".")
    return all(part.isdecimal() for part in parts) and tuple(int(part) for part in parts) < oldest


def _hardware(device: Device, found: Found) -> None:
    cores, memory = device.hardware_concurrency, device.device_memory_gib
    if cores is not None and (cores == 0 or cores > MAX_CORES):
        found["impossible_hardware"] = float(cores)
    elif memory is not None and (memory not in LEGAL_MEMORY_GIB or not memory_is_told(memory, device.user_agent or "")):
        found["impossible_hardware"] = memory
    if cores is not None and not cores_are_usual(cores, os_of(device.user_agent or "")):
        found["cores_unusual"] = float(cores)
    if device.gpu_renderer:
        _graphics(device, device.gpu_renderer, found)
    for avail, whole in (
        (device.avail_width_px, device.screen_width_px),
        (device.avail_height_px, device.screen_height_px),
    ):
        if avail is not None and whole is not None and avail > whole:
            found["screen_contradiction"] = True
    if device.canvas_stable is False:
        found["canvas_noise"] = True
    if device.audio_stable is False:
        found["audio_noise"] = True


def _graphics(device: Device, renderer: str, found: Found) -> None:
    """Add what is not of the machine that the graphics are of."""
    cores, memory, agent = device.hardware_concurrency, device.device_memory_gib, device.user_agent or ""
    if cores is not None:
        fits = cores_fit(renderer, cores)
        if fits is False:
            found["cores_gpu_mismatch"] = float(cores)
        if fits is not None:
            # The chip says more than what is usual.
            found.pop("cores_unusual", None)
    if memory is not None and memory_fits(renderer, memory, agent) is False:
        found["memory_gpu_mismatch"] = memory
    width, height = device.screen_width_px, device.screen_height_px
    if (
        os_of(agent) == "macos"
        and width is not None
        and height is not None
        and screen_fits(renderer, width, height) is False
    ):
        found["screen_gpu_mismatch"] = f"{width:.0f}x{height:.0f}"


def _engine(device: Device, found: Found) -> None:
    browser = browser_of(device.user_agent or "")
    length = _EVAL_LENGTH.get(browser)
    if length is not None and device.eval_length is not None and device.eval_length != length:
        found["engine_mismatch"] = "eval"
    sub = _PRODUCT_SUB.get(browser)
    if sub is not None and device.product_sub is not None and device.product_sub != sub:
        found["engine_mismatch"] = "productSub"


def _system(device: Device, found: Found) -> None:
    agent = device.user_agent or ""
    claimed = os_of(agent)
    ipad_desktop = claimed == "macos" and (device.max_touch_points or 0) > 1
    if claimed != "other" and not ipad_desktop:
        for text in (device.platform, device.ua_platform):
            stated = platform_os(text) if text else "other"
            # Android and Chrome OS report a Linux platform.
            linux = {stated, claimed} <= {"linux", "android", "chromeos"}
            # What is missing is no Mac without touch: it may be an iPad that asks for desktop pages.
            apple = {stated, claimed} == {"macos", "ios"} and device.max_touch_points is None
            if stated not in {"other", claimed} and not linux and not apple:
                found["ua_platform_mismatch"] = f"{claimed}/{stated}"
    renderer = device.gpu_renderer or ""
    if claimed not in {"macos", "ios", "other"} and _APPLE_GPU.search(renderer):
        found["gpu_os_mismatch"] = "apple"
    if claimed not in {"windows", "other"} and ("Direct3D" in renderer or "D3D11" in renderer):
        found["gpu_os_mismatch"] = "direct3d"


def _scopes(device: Device, found: Found) -> None:
    for scope in (device.worker, device.iframe):
        if scope is None:
            continue
        for name in _COMPARED:
            here, there = getattr(device, name), getattr(scope, name)
            if here is not None and there is not None and here != there:
                found["worker_window_mismatch"] = name
        if _languages_differ(device, scope):
            found["worker_window_mismatch"] = "languages"


def _languages_differ(device: Device, scope: Scope) -> bool:
    return bool(device.languages and scope.languages and device.languages != scope.languages)
