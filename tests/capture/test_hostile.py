"""Pages, browsers and networks that are broken or hostile: no page suffers, memory is bounded, no loss is silent."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from tests.support.capture_site import Answer
from tests.support.captured import checked, distinct, settled, wait_for

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, Page

    from tests.support.capture_site import CaptureSite

Open = Callable[..., "Page"]

PROTOTYPE_JS = """
    const toArray = function () { return Array.prototype.slice.call(this); };
    Array.from = (things) => toArray.call(things);
    for (const owner of [Array, String, Number, Date]) owner.prototype.toJSON = function () { return "spoilt"; };
    Object.assign(Array.prototype, { entries: toArray, each: Array.prototype.forEach, first() { return this[0]; } });
    Object.prototype.extended = function () {};
    Function.prototype.bind = function (self, ...given) {
        return (...more) => this.call(self, ...given, ...more);
    };
    Element.prototype.update = () => { throw new Error("no"); };
"""
ZONE_JS = """
    const Native = Promise;
    window.Promise = class ZoneAwarePromise {
        static resolve(value) { return new ZoneAwarePromise((resolve) => resolve(value)); }
        static reject(error) { return new ZoneAwarePromise((_, reject) => reject(error)); }
        static race(all) { return ZoneAwarePromise.resolve(Native.race(all)); }
        static all(all) { return ZoneAwarePromise.resolve(Native.all(all)); }
        constructor(work) { this.native = new Native(work); }
        then(...given) { return ZoneAwarePromise.resolve(this.native.then(...given)); }
        catch(given) { return this.then(undefined, given); }
        finally(work) { return ZoneAwarePromise.resolve(this.native.finally(work)); }
    };
    const wrapped = new WeakMap();
    const wrap = (work) => {
        if (typeof work !== "function") return work;
        if (!wrapped.has(work)) wrapped.set(work, function (...given) { return work.apply(this, given); });
        return wrapped.get(work);
    };
    for (const name of ["setTimeout", "requestIdleCallback", "requestAnimationFrame"]) {
        const own = window[name];
        window[name] = (work, ...given) => own.call(window, wrap(work), ...given);
    }
    for (const name of ["addEventListener", "removeEventListener"]) {
        const own = EventTarget.prototype[name];
        EventTarget.prototype[name] = function (type, work, how) {
            return own.call(this ?? window, type, wrap(work), how);
        };
    }
    const ownFetch = window.fetch;
    window.fetch = (...given) => Promise.resolve(ownFetch.apply(window, given));
"""
ERROR_TRACKER = """
    const own = Function.prototype.toString;
    Function.prototype.toString = function (...given) { return own.apply(this.original || this, given); };
    for (const name of ["fetch", "setTimeout"]) {
        const native = window[name];
        window[name] = (...given) => native.apply(window, given);
        window[name].original = native;
    }
"""
FROZEN_CLOCK = """
    const at = Date.now();
    Date.now = () => at;
    performance.now = () => 1000;
"""
PAGES = {
    "Prototype.js": PROTOTYPE_JS,
    "zone.js": ZONE_JS,
    "an error tracker": ERROR_TRACKER,
    "a frozen clock": FROZEN_CLOCK,
    "enumerable additions": "for (const one of [Object, Array, Function]) one.prototype.added = () => 1;",
    "no storage object": "Object.defineProperty(window, 'sessionStorage', { value: null });",
    "full storage": "Storage.prototype.setItem = () => { throw new DOMException('full', 'QuotaExceededError'); };",
    "a stranger's words in storage": "sessionStorage.setItem('tellwire', '{\"id\":');",
}


def use(page: Page) -> None:
    page.mouse.move(100, 100)
    page.mouse.move(200, 150, steps=5)
    page.click("[name=fullname]")
    page.keyboard.type("abc")


@pytest.mark.parametrize("script", PAGES.values(), ids=PAGES)
def test_a_page_with_other_ideas_still_tells_whole_events(
    context: BrowserContext, opened: Open, site: CaptureSite, script: str
) -> None:
    context.add_init_script(script)
    page = opened({"behaviour": True, "device": True})
    page.wait_for_function("() => collector.stats().events > 0", timeout=60_000)
    use(page)
    page.evaluate("() => collector.flush()")
    page.wait_for_function("() => { const { stopped, queued } = collector.stats(); return stopped || !queued; }")
    assert page.evaluate("() => noted") == {"errors": [], "violations": [], "collector": []}
    events = checked(site.events())
    assert sum(len(event.keys.down) for event in events if event.keys) == 3
    assert sum(len(event.pointer.t) for event in events if event.pointer) >= (2 if script == FROZEN_CLOCK else 6)
    (device,) = [event.device for event in events if event.device and event.device.user_agent]
    assert device.languages
    assert device.iframe
    assert page.input_value("[name=fullname]") == "abc"


def test_an_error_trackers_text_of_functions_is_no_tampering(
    context: BrowserContext, opened: Open, site: CaptureSite
) -> None:
    """Such trackers patch it on every page that they serve, for everybody."""
    context.add_init_script(ERROR_TRACKER)
    page = opened({"device": True})
    page.wait_for_function("() => collector.stats().events > 0", timeout=60_000)
    (device,) = [event.device for event in settled(page, site) if event.device]
    assert device.native_functions_patched == []


def test_timers_that_never_fire_bound_what_is_kept(context: BrowserContext, opened: Open, site: CaptureSite) -> None:
    """Fake timers of a test tool, or a page that is throttled to nothing: full columns still make events."""
    context.add_init_script("window.setTimeout = () => 0; window.setInterval = () => 0;")
    page = opened()
    page.evaluate(
        """() => {
            for (let one = 0; one < 2000; one++) {
                const at = { clientX: one % 900, clientY: 50, bubbles: true, pointerType: "mouse" };
                document.body.dispatchEvent(new MouseEvent("mousedown", at));
            }
        }"""
    )
    wait_for(lambda: len(site.events()) >= 2)
    assert all(len(event["pointer"]["t"]) <= 800 for event in site.events())


@pytest.mark.parametrize("how", ["blocked", "offline"])
def test_a_blocked_endpoint_costs_little_and_stays_bounded(
    context: BrowserContext, opened: Open, site: CaptureSite, how: str
) -> None:
    page = opened(options={"batchMs": 100})
    tried: list[str] = []
    page.on("request", lambda request: tried.append(request.url) if "telemetry" in request.url else None)
    if how == "blocked":
        page.route("**/v1/telemetry", lambda route: route.abort("blockedbyclient"))
    else:
        context.set_offline(offline=True)
    for _ in range(8):
        use(page)
        page.evaluate("() => collector.flush()")
    stats = page.evaluate("() => collector.stats()")
    assert stats["sent"] == 0
    assert stats["queued"] >= 8
    assert len(tried) <= 6, "tries grow rare"
    assert page.evaluate("() => noted") == {"errors": [], "violations": [], "collector": []}
    if how == "blocked":
        page.unroute("**/v1/telemetry")
    else:
        context.set_offline(offline=False)
    page.wait_for_function("() => !collector.stats().queued", timeout=60_000)
    assert len(checked(site.events())) == page.evaluate("() => collector.stats().sent")
    assert page.evaluate("() => collector.stats().dropped") == 0


def test_a_service_worker_that_answers_for_the_gateway_loses_nothing(opened: Open, site: CaptureSite) -> None:
    page = opened()
    answers = ["<html>Please log in</html>", "{}", "null", '{"ok":true}']
    page.route(
        "**/v1/telemetry",
        lambda route: route.fulfill(status=200, body=answers.pop(0)) if answers else route.continue_(),
    )
    use(page)
    page.evaluate("() => collector.flush()")
    page.wait_for_function("() => !collector.stats().queued", timeout=60_000)
    stats = page.evaluate("() => collector.stats()")
    assert (stats["sent"], stats["dropped"]) == (stats["events"], 0)
    assert len(checked(distinct(site.events()))) == stats["sent"]


def test_retry_after_is_understood_as_a_date(opened: Open, site: CaptureSite) -> None:
    page = opened()
    later = "Wed, 21 Oct 2015 07:28:02 GMT"
    # A gateway whose clock is eleven years slow asks for two seconds.
    site.answers.append(Answer(503, {}, {"Retry-After": later, "Date": "Wed, 21 Oct 2015 07:28:00 GMT"}))
    use(page)
    page.evaluate("() => collector.flush()")
    wait_for(lambda: site.received)
    page.wait_for_timeout(1500)
    assert len(site.received) == 1
    page.wait_for_function("() => !collector.stats().queued", timeout=60_000)
    assert checked(site.events())


def test_a_wrong_clock_of_the_page_is_told_as_it_is(context: BrowserContext, opened: Open, site: CaptureSite) -> None:
    """The gateway judges ages by the page's own clock, so a wrong one loses nothing."""
    context.add_init_script("const own = Date.now; Date.now = () => own() - 86_400_000 * 400;")
    page = opened()
    use(page)
    settled(page, site)
    for request in site.received:
        sent = request.sent()
        assert all(0 <= sent["sent_at"] - event["effective_at"] < 20_000 for event in sent["events"])


def test_a_machine_that_slept_moves_no_sample(opened: Open, site: CaptureSite) -> None:
    """The page's clock stands meanwhile: what was gathered before keeps its time, what comes after has the new."""
    page = opened(options={"batchMs": 5000})
    page.mouse.move(10, 10)
    page.mouse.move(60, 60)
    before = page.evaluate("() => Date.now()")
    page.evaluate("() => { const own = Date.now; Date.now = () => own() + 300_000; collector.flush(); }")
    page.mouse.move(90, 90)
    events = settled(page, site)
    assert len(events) == 2
    assert before - 10_000 < events[0].effective_at <= before
    assert events[1].effective_at >= before + 300_000 - 1000


def test_consent_of_anything_is_safe(opened: Open) -> None:
    page = opened({})
    page.evaluate(
        """() => {
            for (const odd of [null, undefined, 1, "all", [], { behaviour: 1, device: "yes", camera: null }]) {
                collector.setConsent(odd);
            }
            collector.watchCamera(document.querySelector("#video"))();
            collector.reportCapture({});
        }"""
    )
    assert page.evaluate("() => [collector.stats().events, noted.errors]") == [0, []]
