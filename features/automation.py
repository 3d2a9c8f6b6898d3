"""Signals that a browser is driven by a program: what automation tools and headless shells leave behind."""

import re

from features.useragent import browser_of, is_headless, is_mobile, os_of
from schemas.telemetry import Device

Found = dict[str, bool | float | str]

_ARTIFACTS = re.compile(
    r"cdc_|wdc_|__webdriver|__driver_|__fxdriver|__selenium|_selenium|callSelenium|_WEBDRIVER_ELEM_CACHE|"
    r"ChromeDriverw|domAutomation|__nightmare|callPhantom|_phantom|awesomium|CefSharp|_?geb\b|wdioElectron|"
    r"^(selenium|webdriver|driver)$"
)
_PLAYWRIGHT = re.compile(r"__playwright|__pwInitScripts|__pw_")
_SOFTWARE_GPU = re.compile(r"swiftshader|llvmpipe|mesa offscreen|softpipe|microsoft basic render", re.IGNORECASE)
LEGAL_MEMORY_GIB = frozenset({0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0})
MAX_CORES = 70
LIKE_HEADLESS_LEAST = 3


def automation_signals(device: Device, found: Found) -> None:
    """Add what the device block shows of automation."""
    agent = device.user_agent or ""
    scopes = (device, device.worker, device.iframe)
    if any(scope is not None and scope.webdriver for scope in scopes):
        found["webdriver_true"] = True
    if device.webdriver_native is False:
        found["webdriver_patched"] = True
    names = device.automation_globals or []
    artifacts = [name for name in names if _ARTIFACTS.search(name)]
    if artifacts:
        found["driver_artifacts"] = artifacts[0][:64]
    if any(_PLAYWRIGHT.search(name) for name in names):
        found["playwright_binding"] = True
    # Developer tools of a person's own set the probe off, too.
    if device.cdp_open and not device.devtools_open:
        found["cdp_open"] = True
    # Phones and tablets, and other engines on them, give capitals of their own even to keys that are pressed.
    if device.capitals_unshifted and browser_of(agent) == "chrome" and not is_mobile(agent):
        found["scripted_keys"] = True
    agents = [scope.user_agent for scope in scopes if scope is not None and scope.user_agent]
    if any(is_headless(text) for text in agents):
        found["headless_ua"] = True
    if device.languages is not None and not device.languages:
        found["languages_empty"] = True
    elif device.languages and device.language is not None and device.languages[0] != device.language:
        found["language_order_mismatch"] = True
    desktop_chrome = browser_of(agent) == "chrome" and not is_mobile(agent)
    if desktop_chrome and device.plugin_count == 0:
        found["plugins_inconsistent"] = True
    # Without a user agent nobody knows what is usual there.
    if device.rtt_ms == 0.0 and os_of(agent) not in {"android", "other"}:
        found["rtt_zero"] = True
    if device.notification_permission == "denied" and device.notification_query == "prompt":
        found["permission_contradiction"] = True
    if device.has_focus and (device.outer_width_px == 0.0 or device.outer_height_px == 0.0):
        found["window_zero"] = True
    if device.native_functions_patched:
        found["stealth_patch"] = device.native_functions_patched[0][:64]
    if _SOFTWARE_GPU.search(device.gpu_renderer or "") and agent and not is_mobile(agent):
        found["software_renderer"] = True
    like = like_headless(device)
    if like >= LIKE_HEADLESS_LEAST:
        found["headless_like"] = float(like)


def like_headless(device: Device) -> int:
    """How many of five weak traits of a headless browser are there."""
    width, height = device.screen_width_px, device.screen_height_px
    known = width is not None and height is not None
    return sum(
        (
            device.chrome_object is False and browser_of(device.user_agent or "") == "chrome",
            known and (width, height) == (800.0, 600.0),
            device.timezone in {"UTC", "Etc/UTC"},
            known and (device.avail_width_px, device.avail_height_px) == (width, height),
            known and (device.outer_width_px, device.outer_height_px) == (width, height),
        )
    )
