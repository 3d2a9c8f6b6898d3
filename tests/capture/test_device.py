"""Device attributes: read once, with their twins in a worker and a frame; what was tampered with shows.

A driven browser is a bot and looks like one: nothing here is a person's device.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from features.automation import automation_signals
from features.device import device_signals
from features.meta import Meta
from schemas.telemetry import Device
from tests.support.capture_site import STRICT_POLICY, CaptureSite
from tests.support.captured import settled, wait_for

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, Page, Route

Open = Callable[..., "Page"]


def device_of(page: Page, site: CaptureSite) -> Device:
    page.wait_for_function("() => collector.stats().events > 0", timeout=60_000)
    devices = [event.device for event in settled(page, site) if event.device]
    assert len(devices) == 1
    return devices[0]


def test_a_driven_browser_shows_itself_and_its_scopes_agree(opened: Open, site: CaptureSite) -> None:
    device = device_of(opened({"device": True}), site)
    assert device.webdriver is True
    assert device.webdriver_native is True
    assert device.native_functions_patched == []
    # A driver reads its console. (Without one Chromium formats no stack for it: tried by hand, since tests drive.)
    assert device.cdp_open is True
    for scope in (device.worker, device.iframe):
        assert scope
        assert (scope.user_agent, scope.platform) == (device.user_agent, device.platform)
        assert (scope.languages, scope.timezone) == (device.languages, device.timezone)
        assert scope.hardware_concurrency == device.hardware_concurrency
    assert device.worker
    assert device.worker.gpu_renderer == device.gpu_renderer
    assert (device.eval_length, device.product_sub, device.vendor) == (33, "20030107", "Google Inc.")
    assert (device.canvas_stable, device.audio_stable) == (True, True)
    assert device.canvas_hash
    assert device.fonts_hash
    assert device.outer_width_px
    assert device.resist_fingerprinting is None
    found: dict[str, Any] = {}
    automation_signals(device, found)
    assert {"webdriver_true", "headless_ua", "software_renderer", "cdp_open"} <= set(found)


def test_the_same_browser_gives_the_same_hashes(opened: Open, site: CaptureSite) -> None:
    first = device_of(opened({"device": True}), site)
    site.reset()
    second = device_of(opened({"device": True}), site)
    hashes = [(one.canvas_hash, one.audio_hash, one.fonts_hash) for one in (first, second)]
    assert hashes[0] == hashes[1]


@pytest.mark.parametrize("how", ["() => collector.end('completed')", "() => dispatchEvent(new Event('pagehide'))"])
def test_a_session_that_is_short_tells_what_is_known_at_once(
    context: BrowserContext, opened: Open, site: CaptureSite, how: str
) -> None:
    context.route("**/device.js", lambda _: None)  # still on its way
    page = opened({"device": True})
    page.evaluate(how)
    (event,) = settled(page, site)
    device = event.device
    assert device
    assert device.partial is True
    assert device.webdriver is True
    assert "Headless" in (device.user_agent or "")
    assert (device.languages, device.max_touch_points) == (["en-US", "en"], 0)
    assert None not in (device.platform, device.screen_width_px, device.outer_width_px, device.has_focus)
    # What takes work, or asks another process, is not there yet.
    assert (device.iframe, device.gpu_renderer, device.plugin_count, device.timezone) == (None, None, None, None)


def test_the_first_event_of_behaviour_has_the_device_and_a_later_one_the_whole(
    context: BrowserContext, opened: Open, site: CaptureSite
) -> None:
    held: list[Route] = []
    context.route("**/device.js", lambda route: held.append(route))  # noqa: PLW0108 - a builtin is no handler
    page = opened({"behaviour": True, "device": True})
    page.mouse.move(20, 20)
    page.mouse.move(200, 200, steps=5)
    page.wait_for_function("() => collector.stats().sent > 0", timeout=60_000)
    for route in held:
        route.continue_()
    wait_for(lambda: sum("device" in event for event in site.events()) > 1, 60)
    first, *_, last = [event.device for event in settled(page, site) if event.device]
    assert site.events()[0]["device"]["partial"] is True
    assert last.partial is None
    facts = {name: value for name, value in msgspec.to_builtins(first).items() if value is not None}
    whole = msgspec.to_builtins(last)
    assert {name: whole[name] for name in facts if name != "partial"} == {
        name: value for name, value in facts.items() if name != "partial"
    }
    assert last.gpu_renderer


STEALTH = """
    Object.defineProperty(Navigator.prototype, "webdriver", { get: () => false, configurable: true });
    Object.defineProperty(navigator, "languages", { get: () => ["de-DE", "de"] });
    Navigator.prototype.__defineGetter__("hardwareConcurrency", function hardwareConcurrency() { return 64; });
    const own = HTMLCanvasElement.prototype.toDataURL;
    let reads = 0;
    HTMLCanvasElement.prototype.toDataURL = new Proxy(own, {
      apply: (target, self, given) => Reflect.apply(target, self, given) + reads++,
    });
    const text = Function.prototype.toString;
    Function.prototype.toString = function toString() {
      return this === Function.prototype.toString || this === HTMLCanvasElement.prototype.toDataURL
        ? `function ${this.name}() { [native code] }`
        : text.call(this);
    };
    window.$cdc_asdjflasutopfhvcZLmcfl_ = 1;
    window.__playwright__binding__ = 1;
"""


def test_tampering_shows(context: BrowserContext, opened: Open, site: CaptureSite) -> None:
    context.add_init_script(STEALTH)
    device = device_of(opened({"device": True}), site)
    assert device.webdriver is False
    assert device.webdriver_native is False
    assert device.native_functions_patched
    assert {"Navigator.webdriver", "HTMLCanvasElement.toDataURL", "Function.toString"} <= set(
        device.native_functions_patched
    )
    assert "Navigator.hardwareConcurrency" in device.native_functions_patched
    assert device.canvas_stable is False
    assert device.automation_globals
    assert {"$cdc_asdjflasutopfhvcZLmcfl_", "__playwright__binding__"} <= set(device.automation_globals)
    assert device.worker
    assert device.worker.webdriver is not False
    assert device.worker.hardware_concurrency != device.hardware_concurrency
    found: dict[str, Any] = {}
    automation_signals(device, found)
    assert {"webdriver_patched", "stealth_patch", "driver_artifacts", "playwright_binding"} <= set(found)


def is_scripted(page: Page, site: CaptureSite, *keys: str) -> bool:
    """Whether keys pressed in the page's first field show a program."""
    page.click("[name=fullname]")
    for key in keys:
        page.keyboard.press(key)
    page.wait_for_function("() => collector.stats().events > 0", timeout=60_000)
    found: dict[str, Any] = {}
    for event in settled(page, site):
        if event.device and event.device.capitals_unshifted:
            automation_signals(event.device, found)
    return "scripted_keys" in found


def test_capitals_of_a_program_come_without_shift(opened: Open, site: CaptureSite) -> None:
    assert is_scripted(opened({"behaviour": True, "device": True}), site, *"Robin Example")


def test_what_typing_shows_of_the_device_needs_consent_to_that(opened: Open, site: CaptureSite) -> None:
    assert not is_scripted(opened({"behaviour": True}), site, *"Robin Example")


def test_capitals_of_a_keyboard_come_with_shift(opened: Open, site: CaptureSite) -> None:
    keys = ["Shift+R", "o", "b", "Shift+E", "A", "x", "7", "Shift+E", "A", "A", "R"]
    assert not is_scripted(opened({"behaviour": True, "device": True}), site, *keys)


def test_a_spoofed_agent_shows_in_the_worker(context: BrowserContext, opened: Open, site: CaptureSite) -> None:
    context.add_init_script(
        "Object.defineProperty(navigator, 'platform', { get: () => 'Win32' });"
        "Object.defineProperty(navigator, 'userAgent', { get: () => 'Mozilla/5.0 (Windows NT 10.0; Win64; x64)' });"
    )
    page = opened({"device": True})
    page.wait_for_function("() => collector.stats().events > 0", timeout=60_000)
    event = next(event for event in settled(page, site) if event.device)
    found: dict[str, Any] = {}
    device_signals(event, Meta(), found)
    assert found["worker_window_mismatch"]


@pytest.mark.parametrize(
    "policy",
    [
        STRICT_POLICY.replace("worker-src 'self'", "worker-src 'none'"),
        STRICT_POLICY.replace("trusted-types tellwire", "trusted-types 'none'"),
    ],
    ids=["no workers", "no trusted types"],
)
def test_what_a_policy_forbids_is_absent(opened: Open, site: CaptureSite, policy: str) -> None:
    site.policy = policy
    try:
        page = opened({"device": True})
        page.wait_for_function("() => collector.stats().events > 0", timeout=60_000)
        assert page.evaluate("() => [noted.errors, noted.collector]") == [[], []]
    finally:
        site.policy = STRICT_POLICY
    wait_for(site.events)
    event = site.events()[0]
    assert "worker" not in event["device"]
    assert "iframe" in event["device"]


def test_reading_stops_when_consent_is_withdrawn(opened: Open, site: CaptureSite) -> None:
    page = opened({})
    page.evaluate("() => { collector.setConsent({ device: true }); collector.setConsent({}); }")
    page.wait_for_timeout(2500)
    assert site.received == []


def test_consent_given_again_reads_again(opened: Open, site: CaptureSite) -> None:
    page = opened({})
    page.evaluate("() => { collector.setConsent({ device: true }); collector.setConsent({}); }")
    page.wait_for_timeout(500)
    page.evaluate("() => collector.setConsent({ device: true })")
    assert device_of(page, site).user_agent
