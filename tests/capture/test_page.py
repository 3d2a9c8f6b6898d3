"""The page does not suffer: no error reaches it, and its strict policy holds."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from tests.support.captured import settled

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, Page

    from tests.support.capture_site import CaptureSite

Open = Callable[..., "Page"]
ALL = {"behaviour": True, "device": True, "camera": True, "motion": True}


def test_a_strict_policy_holds_with_everything_on(opened: Open, site: CaptureSite) -> None:
    page = opened(ALL)
    page.wait_for_function("() => collector.stats().events > 0", timeout=60_000)
    page.evaluate(
        """async () => {
            const video = document.querySelector("#video");
            video.srcObject = await collector.openCamera({ video: true });
            collector.watchCamera(video);
        }"""
    )
    page.mouse.move(100, 100, steps=3)
    page.wait_for_timeout(1000)
    # `settled` asserts that nothing was violated.
    assert settled(page, site)
    assert page.locator("iframe").count() == 1, "the collector's own frame is gone"


HOSTILE = {
    "fetch throws": "window.fetch = navigator.sendBeacon = () => { throw new Error('no') };",
    "storage throws": "Object.defineProperty(window, 'sessionStorage', { get() { throw new Error('no') } });",
    "no crypto": "Object.defineProperty(window, 'crypto', { get() { throw new Error('no') } });",
    "closest throws": "Element.prototype.closest = () => { throw new Error('no') };",
    "no frames": "Object.defineProperty(HTMLIFrameElement.prototype, 'contentWindow', { get() { return null } });",
    "old": "delete window.requestIdleCallback; delete PointerEvent.prototype.getCoalescedEvents; delete window.Worker;"
    "delete HTMLVideoElement.prototype.requestVideoFrameCallback; delete window.OffscreenCanvas;",
}


@pytest.mark.parametrize("script", HOSTILE.values(), ids=HOSTILE)
def test_no_error_reaches_the_page(context: BrowserContext, opened: Open, site: CaptureSite, script: str) -> None:
    context.add_init_script(script)
    page = opened(ALL)
    page.mouse.move(100, 100, steps=5)
    page.click("[name=fullname]")
    page.keyboard.type("abc")
    page.wait_for_timeout(1500)
    page.evaluate("() => { collector.flush(); collector.end('completed'); }")
    assert page.evaluate("() => [noted.errors, noted.violations]") == [[], []]
    assert page.input_value("[name=fullname]") == "abc"
    assert len(site.received) >= (0 if "throw" in script else 1)


def test_an_own_error_is_told_and_ends_it_when_it_repeats(context: BrowserContext, opened: Open) -> None:
    context.add_init_script("Element.prototype.closest = () => { throw new Error('broken page'); };")
    page = opened()
    for _ in range(30):
        page.locator("#plain").hover()
        page.locator("#go").hover()
    stats = page.evaluate("() => collector.stats()")
    assert stats["stopped"] == "errors"
    assert any("broken page" in text for text in page.evaluate("() => noted.collector"))
    assert page.evaluate("() => noted.errors") == []


def test_a_grant_that_lacks_something_is_told_and_collects_nothing(opened: Open, site: CaptureSite) -> None:
    page = opened()
    told = page.evaluate(
        """() => {
            const errors = [];
            const other = tellwire.start({
                session: { endpoint: "/v1/telemetry", session_id: "s" },
                consent: { behaviour: true },
                onError: (error) => errors.push(error.message),
            });
            return [errors, other.stats().stopped];
        }"""
    )
    assert told == [["tellwire: no nonce, token in session: what your server got from the gateway"], "options"]
    assert site.received == []
