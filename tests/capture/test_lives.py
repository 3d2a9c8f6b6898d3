"""A page's lives: shown again out of the cache, loaded before anybody sees it, in frames, and hidden."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from tests.support.browser import chromium as executable
from tests.support.capture_site import STRICT_POLICY, CaptureSite
from tests.support.captured import checked, distinct, settled, wait_for

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page


Open = Callable[..., "Page"]


def move(page: Page) -> None:
    page.mouse.move(10, 10)
    page.mouse.move(300, 200, steps=3)


def test_a_page_shown_again_out_of_the_cache_goes_on(opened: Open, site: CaptureSite) -> None:
    """As a browser tells it: gone with all that it has, another page of the session meanwhile, then back as it was."""
    page = opened(session="s_back")
    move(page)
    page.evaluate("() => dispatchEvent(new PageTransitionEvent('pagehide', { persisted: true }))")
    wait_for(site.events)
    other = opened(session="s_back")
    # Another tab has a storage of its own: what the page between remembers is put where the first one looks.
    move(other)
    other.evaluate("() => collector.flush()")
    other.wait_for_function("() => !collector.stats().queued")
    other.close()
    kept = json.dumps([["s_back", 7]])
    page.evaluate("(kept) => sessionStorage.setItem('tellwire', kept)", kept)
    page.evaluate("() => dispatchEvent(new PageTransitionEvent('pageshow', { persisted: true }))")
    move(page)
    page.evaluate("() => collector.flush()")
    wait_for(lambda: any(event["sequence"] == 7 for event in site.events()))
    assert page.evaluate("() => collector.stats().errors") == 0


PRERENDER = """
    let early = true;
    Object.defineProperty(Document.prototype, "prerendering", { get: () => early, configurable: true });
    window.activate = () => {
        early = false;
        document.dispatchEvent(new Event("prerenderingchange"));
    };
    const own = performance.getEntriesByType.bind(performance);
    const seen = () => [{ activationStart: performance.now() - 5 }];
    performance.getEntriesByType = (type) => (type === "navigation" ? seen() : own(type));
"""


def test_a_page_that_nobody_sees_yet_tells_nothing(context: BrowserContext, opened: Open, site: CaptureSite) -> None:
    context.add_init_script(PRERENDER)
    page = opened({"behaviour": True, "device": True})
    move(page)
    page.evaluate("() => { collector.reportSubmit(); collector.flush(); }")
    page.wait_for_timeout(1500)
    assert site.received == []
    assert page.evaluate("() => [sessionStorage.length, collector.stats().events]") == [0, 0]
    # What was agreed to meanwhile counts, from when it is seen.
    page.evaluate("() => { collector.setConsent({ behaviour: true }); activate(); }")
    move(page)
    page.evaluate("() => collector.reportSubmit()")
    events = settled(page, site)
    assert any(event.pointer for event in events)
    assert not any(event.device for event in events)
    (submitted,) = [event.form.submit_ms for event in events if event.form and event.form.submitted]
    assert submitted is not None
    assert submitted < 1000, "counted from when the page was seen"


def test_a_page_and_its_frame_share_a_session(opened: Open, site: CaptureSite) -> None:
    """Each has a collector of its own; what happens in the frame is the frame's, and no number is given twice."""
    site.policy = STRICT_POLICY.replace("frame-src 'none'", "frame-src 'self'")
    try:
        page = opened(session="s_frames")
    finally:
        site.policy = STRICT_POLICY
    page.evaluate(
        """(source) => {
            const frame = document.createElement("iframe");
            Object.assign(frame, { src: source, name: "inner", id: "inner" });
            frame.style.cssText = "position: fixed; left: 500px; top: 0; width: 450px; height: 400px";
            document.body.append(frame);
        }""",
        f"/page.html?{urlencode({'session': 's_frames'})}",
    )
    handle = page.wait_for_selector("#inner", state="attached")
    inner = handle.content_frame() if handle else None
    assert inner
    inner.wait_for_function("() => window.collector")
    for _ in range(3):
        page.focus("[name=email]")
        page.keyboard.type("ab")
        page.evaluate("() => collector.flush()")
        inner.focus("[name=fullname]")
        page.keyboard.type("cde")
        inner.evaluate("() => collector.flush()")
    for one in (page.main_frame, inner):
        one.wait_for_function("() => !collector.stats().queued")
    events = checked(distinct(site.events()))
    assert sum(len(event.keys.down) for event in events if event.keys) == 15
    keys: dict[str, int] = {}
    for event in events:
        for field in event.form.fields if event.form else ():
            keys[field.field] = keys.get(field.field, 0) + field.key_count
    assert (keys["email"], keys["fullname"]) == (6, 9)


def test_two_sessions_of_two_tenants_share_a_page(opened: Open, site: CaptureSite) -> None:
    page = opened(session="s_first")
    page.evaluate(
        """() => {
            window.second = tellwire.start({
                session: { endpoint: "/v1/telemetry", session_id: "s_second", nonce: "n_2", token: "v1.second" },
                consent: { behaviour: true },
            });
        }"""
    )
    for _ in range(2):
        move(page)
        page.evaluate("() => { collector.flush(); second.flush(); }")
        page.wait_for_function("() => !collector.stats().queued && !second.stats().queued")
        page.evaluate("() => collector.end('completed')")
    events = site.events()
    first = [event for event in events if event["session_id"] == "s_first"]
    second = [event for event in events if event["session_id"] == "s_second"]
    assert [event["sequence"] for event in first] == list(range(len(first)))
    assert len(checked(second)) >= 2, "the end of one is not the other's"
    assert {request.sent()["token"] for request in site.received} == {"v1.token", "v1.second"}


def test_a_hidden_page_says_so_and_sends_what_it_has(opened: Open, site: CaptureSite) -> None:
    page = opened(options={"batchMs": 5000})
    move(page)
    page.evaluate(
        """() => {
            const get = () => (window.shown ? "visible" : "hidden");
            Object.defineProperty(document, "visibilityState", { get, configurable: true });
            document.dispatchEvent(new Event("visibilitychange"));
        }"""
    )
    wait_for(site.events)
    page.evaluate("() => { window.shown = true; document.dispatchEvent(new Event('visibilitychange')); }")
    move(page)
    events = settled(page, site)
    kinds = [kind for event in events if event.focus for kind in event.focus.kind]
    assert [kind for kind in kinds if kind in {2, 3}] == [3, 2]


def test_chromiums_own_cache_of_pages_brings_one_back_whole(chromium: Browser, site: CaptureSite) -> None:
    """Drivers turn that cache off. A page that it does not keep is loaded anew: numbers go on alike."""
    kept = chromium.browser_type.launch(
        executable_path=executable(),
        chromium_sandbox=os.geteuid() != 0,
        ignore_default_args=["--disable-back-forward-cache"],
    )
    try:
        page = kept.new_page()
        query = urlencode({"session": "s_real", "consent": '{"behaviour":true}'})
        for address in (f"/page.html?{query}", f"/page.html?{query}&between=1"):
            page.goto(site.url + address)
            page.wait_for_function("() => window.collector")
            page.evaluate("() => addEventListener('pageshow', (event) => { window.restored = event.persisted; })")
            move(page)
        page.go_back(wait_until="commit")
        page.wait_for_function("() => window.collector")
        move(page)
        page.evaluate("() => collector.flush()")
        page.wait_for_function("() => !collector.stats().queued")
        print("out of the cache" if page.evaluate("() => window.restored === true") else "loaded anew")
        assert page.evaluate("() => noted") == {"errors": [], "violations": [], "collector": []}
        assert len(checked(distinct(site.events()))) >= 3
    finally:
        kept.close()
