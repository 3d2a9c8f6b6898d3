"""Events reach the receiver in order and once, over refusals, lost connections, hidden pages and pages that go away."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from tests.support.capture_site import Answer
from tests.support.captured import checked, distinct, settled, wait_for

if TYPE_CHECKING:
    from playwright.sync_api import Page

    from tests.support.capture_site import CaptureSite

Open = Callable[..., "Page"]


def move(page: Page, count: int = 3) -> None:
    page.mouse.move(10, 10)
    page.mouse.move(300, 200, steps=count)


def test_requests_are_plain_and_carry_the_token(opened: Open, site: CaptureSite) -> None:
    page = opened(options={"deviceRef": "device-7"})
    move(page)
    settled(page, site)
    request = site.received[0]
    sent = request.sent()
    assert request.headers["Content-Type"] == "text/plain;charset=UTF-8"
    assert "Cookie" not in request.headers
    assert "Referer" not in request.headers
    assert (sent["token"], sent["device_ref"]) == ("v1.token", "device-7")
    assert set(sent) == {"token", "sent_at", "device_ref", "events"}


def test_a_page_that_goes_away_takes_neither_cookies_nor_its_address_along(opened: Open, site: CaptureSite) -> None:
    page = opened(session="s_quiet", secret="zq-address-kjx")
    page.evaluate("() => { document.cookie = 'account=zq-cookie-kjx'; location.hash = 'zq-hash-kjx'; }")
    gate = threading.Event()
    site.answers.append(Answer(200, {"accepted": 1, "refused": []}, after=lambda: gate.wait(20)))
    for _ in range(3):
        move(page)
        page.evaluate("() => collector.flush()")
    page.goto("about:blank")
    wait_for(lambda: len(site.received) >= 2)
    gate.set()
    assert len(checked(distinct(site.events()))) >= 3
    assert not [part for part in site.everything() if b"zq-" in part]
    assert not [one.headers for one in site.received if {"Referer", "Cookie"} & set(one.headers)]


def test_a_large_event_holds_up_nothing_when_the_page_goes_away(opened: Open, site: CaptureSite) -> None:
    """More is gathered than a browser lets a page that goes away send at once: it goes in several events, whole."""
    page = opened({"behaviour": True, "motion": True}, {"batchMs": 5000}, session="s_large")
    gate = threading.Event()
    site.answers.append(Answer(200, {"accepted": 1, "refused": []}, after=lambda: gate.wait(20)))
    move(page)
    page.evaluate("() => collector.flush()")
    page.evaluate(
        """() => {
            const now = performance.now();
            const at = (event, time) => Object.defineProperty(event, "timeStamp", { value: time });
            for (let one = 0; one < 350; one++) {
                const time = now - 6000 + one * 16;
                const place = { clientX: one + 0.123, clientY: one + 0.456, bubbles: true, pointerType: "mouse" };
                document.body.dispatchEvent(at(new PointerEvent("pointermove", place), time));
                const contact = { identifier: 0, target: document.body, radiusX: 11.11, force: 0.777 };
                const finger = new Touch({ ...contact, ...place });
                const touched = { changedTouches: [finger], bubbles: true };
                document.body.dispatchEvent(at(new TouchEvent("touchmove", touched), time));
                const accelerationIncludingGravity = { x: 0.123, y: -1.234, z: 9.876 };
                const rotationRate = { alpha: 1.111, beta: 2.222, gamma: 3.333 };
                const moved = { accelerationIncludingGravity, rotationRate };
                dispatchEvent(at(new DeviceMotionEvent("devicemotion", moved), time));
            }
        }"""
    )
    page.goto("about:blank")
    wait_for(lambda: len({event["sequence"] for event in site.events()}) >= 3)
    gate.set()
    events = checked(distinct(site.events()))
    assert len(events) >= 3
    for block, least in (("pointer", 354), ("touch", 350), ("motion", 350)):
        found = [getattr(event, block) for event in events if getattr(event, block)]
        assert sum(len(one.t) for one in found) == least, block
    assert max(len(request.body) for request in site.received) < 48_000


def test_an_outage_loses_and_doubles_nothing(opened: Open, site: CaptureSite) -> None:
    page = opened()
    site.answers.extend(
        [
            Answer(503, {"code": "overloaded"}, {"Retry-After": "1"}),
            Answer(0),
            Answer(429, {"code": "rate_limited", "retry_after_s": 1}),
            Answer(500),
        ]
    )
    for _ in range(4):
        move(page)
        page.evaluate("() => collector.flush()")
    page.wait_for_function("() => !collector.stats().queued", timeout=60_000)
    events = checked(site.events())
    stats = page.evaluate("() => collector.stats()")
    assert (stats["sent"], stats["dropped"]) == (len(events), 0)
    first = [request.sent()["events"][0] for request in site.received[:5]]
    assert all(one == first[0] for one in first)
    assert {request.sent()["token"] for request in site.received} == {"v1.token"}


def test_one_request_at_a_time(opened: Open, site: CaptureSite) -> None:
    page = opened(options={"batchMs": 100})
    gate = threading.Event()
    site.answers.append(Answer(200, {"accepted": 1, "refused": []}, after=lambda: gate.wait(20)))
    for _ in range(4):
        move(page, 8)
        page.evaluate("() => collector.flush()")
    assert len(site.received) == 1
    gate.set()
    events = settled(page, site)
    assert len(events) >= 4
    assert len(site.received) <= 3


def test_an_expired_token_is_renewed(opened: Open, site: CaptureSite) -> None:
    page = opened(renew="v1.later")
    site.answers.append(Answer(401, {"code": "token_expired"}))
    move(page)
    settled(page, site)
    assert [request.sent()["token"] for request in site.received[:2]] == ["v1.token", "v1.later"]
    assert site.received[0].sent()["events"] == site.received[1].sent()["events"]


def test_a_refused_token_ends_it_quietly(opened: Open, site: CaptureSite) -> None:
    page = opened()
    site.answers.append(Answer(401, {"code": "token_invalid"}))
    move(page)
    page.evaluate("() => collector.flush()")
    page.wait_for_function("() => collector.stats().stopped === 'token_invalid'")
    move(page)
    page.evaluate("() => collector.flush()")
    page.wait_for_timeout(700)
    assert len(site.received) == 1
    assert page.evaluate("() => noted") == {"errors": [], "violations": [], "collector": []}


def test_numbers_go_on_over_the_pages_of_a_session(opened: Open, site: CaptureSite) -> None:
    page = opened(session="s_pages")
    for _ in range(3):
        move(page)
        # No flush: what is open when the page goes away goes by beacon.
        page.reload()
        page.wait_for_function("() => window.collector")
    move(page)
    page.goto("about:blank")
    wait_for(lambda: len({event["sequence"] for event in site.events()}) >= 4)
    page.wait_for_timeout(300)
    events = distinct(site.events())
    assert len(checked(events)) >= 4
    assert {event["session_id"] for event in events} == {"s_pages"}


def test_another_session_begins_anew(opened: Open, site: CaptureSite) -> None:
    page = opened(session="s_one")
    move(page)
    settled(page, site)
    site.reset()
    page.goto(page.url.replace("s_one", "s_two"))
    page.wait_for_function("() => window.collector")
    move(page)
    page.evaluate("() => collector.flush()")
    wait_for(lambda: [event for event in site.events() if event["session_id"] == "s_two"])
    assert next(event["sequence"] for event in site.events() if event["session_id"] == "s_two") == 0


def test_a_page_that_goes_away_sends_what_waits_behind_a_request(opened: Open, site: CaptureSite) -> None:
    page = opened(session="s_leaves")
    gate = threading.Event()
    site.answers.append(Answer(200, {"accepted": 1, "refused": []}, after=lambda: gate.wait(20)))
    for _ in range(3):
        move(page)
        page.evaluate("() => collector.flush()")
    page.keyboard.down("a")
    page.goto("about:blank")
    wait_for(lambda: len(site.received) >= 2)
    gate.set()
    page.wait_for_timeout(300)
    events = checked(distinct(site.events()))
    # A key still down is told at the end, without its release.
    assert [event.keys.up for event in events if event.keys] == [[None]]


def test_the_end_is_said_once_and_then_it_is_quiet(opened: Open, site: CaptureSite) -> None:
    page = opened()
    move(page)
    page.evaluate("() => { collector.end('completed'); collector.end('error'); }")
    move(page)
    page.evaluate("() => collector.flush()")
    page.wait_for_function("() => !collector.stats().queued")
    page.goto("about:blank")
    events = checked(distinct(site.events()))
    assert [event.end.reason for event in events if event.end] == ["completed"]
    assert events[-1].end


def test_nothing_more_is_done_after_stop(opened: Open, site: CaptureSite) -> None:
    page = opened()
    move(page)
    settled(page, site)
    sent = len(site.received)
    page.evaluate("() => collector.stop()")
    move(page)
    page.wait_for_timeout(700)
    page.goto("about:blank")
    assert len(site.received) == sent


def test_a_still_page_sends_nothing(opened: Open, site: CaptureSite) -> None:
    page = opened()
    page.wait_for_timeout(400)
    settled(page, site)
    sent = len(site.received)
    page.wait_for_timeout(1200)
    assert len(site.received) == sent
