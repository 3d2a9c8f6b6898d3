"""The page does not suffer: no error reaches it, its strict policy holds, and using it costs next to nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.captured import settled

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

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


def traced(chromium: Browser, page: Page, work: Callable[[], None]) -> list[dict[str, Any]]:
    """Trace events of the page's thread while `work` runs, with the thread's own CPU time (`tdur`, µs)."""
    chromium.start_tracing(page=page, categories=["devtools.timeline", "v8.execute", "toplevel"])
    work()
    found: list[dict[str, Any]] = json.loads(chromium.stop_tracing())["traceEvents"]
    return found


def own_calls(events: list[dict[str, Any]]) -> list[float]:
    """CPU times, ms, of every call into the collector's script."""
    return [
        event["tdur"] / 1000
        for event in events
        if event.get("name") == "FunctionCall" and "/collector/" in event.get("args", {}).get("data", {}).get("url", "")
    ]


def test_moving_costs_under_a_hundredth_and_no_long_task(chromium: Browser, opened: Open, site: CaptureSite) -> None:
    page = opened()
    page.mouse.move(10, 10)
    page.mouse.move(400, 300, steps=60)
    settled(page, site)
    session = page.context.new_cdp_session(page)
    clock: list[float] = []

    def work() -> None:
        clock.append(page.evaluate("() => performance.now()"))
        for step in range(500):
            session.send("Input.dispatchMouseEvent", {"type": "mouseMoved", "x": 100 + step, "y": 300 + step % 40})
        clock.append(page.evaluate("() => performance.now()"))

    before = page.evaluate("() => collector.stats().events")
    calls = own_calls(traced(chromium, page, work))
    events = [event for event in settled(page, site) if event.pointer and event.sequence >= before]
    samples = sum(len(event.pointer.t) for event in events if event.pointer)
    assert samples >= 400
    assert len(calls) >= samples / 4
    # Browsers hand pointer moves over once a frame, sixty times a second, with what came between coalesced. Events
    # that were made and sent meanwhile are in the sum, and so is what tracing itself costs.
    share = sum(calls) / 1000 * 60 / samples
    print(f"{samples} moves: {sum(calls):.1f} ms of CPU, {share:.2%} at 60 a second, longest {max(calls):.2f} ms")
    assert share < 0.01
    assert max(calls) < 5.0


def test_many_coalesced_samples_cost_little_more(opened: Open) -> None:
    """A 1 kHz mouse gives 16 samples a frame: their event costs less than 16 events of one sample."""
    page = opened()
    cost = """(samples) => {
        const times = [];
        for (let round = 0; round < 30; round++) {
            const began = performance.now();
            for (let frame = 0; frame < 20; frame++) {
                const at = { bubbles: true, clientX: frame, clientY: round, pointerType: "mouse" };
                const coalescedEvents = Array.from({ length: samples }, () => new PointerEvent("pointermove", at));
                document.body.dispatchEvent(new PointerEvent("pointermove", { ...at, coalescedEvents }));
            }
            times.push(performance.now() - began);
        }
        return times.sort((a, b) => a - b)[5];
    }"""
    one, many = page.evaluate(cost, 1), page.evaluate(cost, 16)
    assert many < 16 * one


def test_starting_is_no_long_task(chromium: Browser, context: BrowserContext, site: CaptureSite) -> None:
    page = context.new_page()
    page.goto("about:blank")

    def work() -> None:
        page.goto(f"{site.url}/page.html")
        page.wait_for_function("() => window.collector")

    events = traced(chromium, page, work)
    scripts = [
        event["tdur"] / 1000
        for event in events
        if event.get("name") == "EvaluateScript"
        and "/collector/" in event.get("args", {}).get("data", {}).get("url", "")
    ]
    assert scripts
    assert max(scripts) < 5.0
