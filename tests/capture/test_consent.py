"""Nothing is read, kept or sent before consent, nor anything that it does not cover; what is withdrawn is gone."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.capture_site import Answer
from tests.support.captured import settled, wait_for

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, Page

    from tests.support.capture_site import CaptureSite

Open = Callable[..., "Page"]
BEHAVIOUR = {"pointer", "touch", "scroll", "keys", "form", "focus", "viewport"}
BLOCKS = BEHAVIOUR | {"device", "capture", "motion"}

CAMERA = """async () => {
    const video = document.querySelector("#video");
    video.srcObject = await collector.openCamera({ video: { width: 320, height: 240 } });
    window.unwatch = collector.watchCamera(video);
    await new Promise((resolve) => video.requestVideoFrameCallback(resolve));
}"""
TILT = """() => dispatchEvent(new DeviceMotionEvent("devicemotion", {
    accelerationIncludingGravity: { x: 0.1, y: 0.2, z: 9.8 },
    rotationRate: { alpha: 1, beta: 2, gamma: 3 },
    interval: 16,
}))"""


def use(page: Page) -> None:
    page.mouse.move(10, 10)
    page.mouse.move(200, 200, steps=3)
    page.focus("[name=fullname]")
    page.keyboard.type("abc")
    page.mouse.wheel(0, 50)
    page.evaluate(TILT)
    page.evaluate(CAMERA)


def listened(page: Page) -> set[str]:
    """What the collector's scripts listen to on the window and the document."""
    session = page.context.new_cdp_session(page)
    own: set[str] = set()
    session.on(
        "Debugger.scriptParsed", lambda script: own.add(script["scriptId"]) if "/collector/" in script["url"] else None
    )
    session.send("Debugger.enable")
    kinds: set[str] = set()
    for target in ("window", "document"):
        found = session.send("Runtime.evaluate", {"expression": target})["result"]["objectId"]
        listeners = session.send("DOMDebugger.getEventListeners", {"objectId": found})["listeners"]
        kinds |= {listener["type"] for listener in listeners if listener["scriptId"] in own}
    assert own
    return kinds


def blocks(events: list[Any]) -> set[str]:
    return {name for event in events for name in BLOCKS if getattr(event, name) is not None}


def test_before_consent_nothing_happens(context: BrowserContext, opened: Open, site: CaptureSite) -> None:
    loaded: list[str] = []
    context.on("request", lambda request: loaded.append(request.url))
    page = opened({})
    use(page)
    page.evaluate("() => { collector.flush(); collector.reportSubmit(); collector.reportCapture({ upload: true }); }")
    page.wait_for_timeout(700)
    page.evaluate("() => collector.end('completed')")
    page.goto("about:blank")
    assert site.received == []
    own = [url for url in loaded if "collector" in url or "telemetry" in url]
    assert [url.rpartition("/")[2] for url in own] == ["tellwire.js"]


def test_before_consent_nothing_is_listened_to_or_stored(opened: Open, site: CaptureSite) -> None:
    page = opened({})
    use(page)
    assert listened(page) == {"pagehide", "visibilitychange"}
    assert page.evaluate("() => [sessionStorage.length, localStorage.length, document.cookie]") == [0, 0, ""]
    page.evaluate("() => collector.setConsent({ behaviour: true })")
    assert {"pointermove", "keydown", "scroll", "focusin"} <= listened(page)
    page.evaluate("() => collector.setConsent({})")
    assert listened(page) == {"pagehide", "visibilitychange"}
    assert page.evaluate("() => collector.stats()") == {"events": 0, "sent": 0, "queued": 0, "dropped": 0, "errors": 0}
    assert site.received == []


@pytest.mark.parametrize(
    ("consent", "expected"),
    [
        ({"behaviour": True}, {"pointer", "scroll", "keys", "form", "focus", "viewport"}),
        ({"device": True}, {"device", "viewport"}),
        ({"camera": True}, {"capture"}),
        ({"motion": True}, {"motion"}),
        ({"motion": True, "camera": True}, {"motion", "capture"}),
    ],
    ids=lambda value: "+".join(sorted(value)),
)
def test_what_consent_does_not_cover_is_absent(
    opened: Open, site: CaptureSite, consent: dict[str, bool], expected: set[str]
) -> None:
    page = opened(consent)
    use(page)
    if "device" in consent:
        page.wait_for_function("() => collector.stats().events > 0")
    assert blocks(settled(page, site)) == expected


def test_consent_counts_from_when_it_is_given(opened: Open, site: CaptureSite) -> None:
    page = opened({})
    page.focus("[name=fullname]")
    page.keyboard.type("before")
    page.evaluate("() => collector.setConsent({ behaviour: true })")
    page.keyboard.type("xy")
    events = settled(page, site)
    assert sum(len(event.keys.down) for event in events if event.keys) == 2
    assert [field.field for event in events if event.form for field in event.form.fields] == ["fullname"]


def test_withdrawn_consent_takes_along_what_waits(opened: Open, site: CaptureSite) -> None:
    page = opened({"behaviour": True, "motion": True})
    site.answers.extend([Answer(503, {}, {"Retry-After": "1"})] * 3)
    page.mouse.move(10, 10)
    page.mouse.move(200, 200, steps=3)
    page.evaluate("() => collector.flush()")
    wait_for(lambda: site.received)
    page.mouse.move(300, 300, steps=3)
    page.evaluate("() => collector.setConsent({ motion: true })")
    tried = len(site.received)
    page.mouse.move(100, 100, steps=3)
    page.evaluate(TILT)
    page.evaluate("() => collector.flush()")
    page.wait_for_function("() => !collector.stats().queued")
    later = [event for request in site.received[tried:] for event in request.sent()["events"]]
    assert later
    assert all("pointer" not in event and "motion" in event for event in later)
    # A number is missing, which the other side sees.
    assert later[0]["sequence"] == 1


def test_declared_assistive_technology_is_told_with_any_consent_and_never_without(
    opened: Open, site: CaptureSite
) -> None:
    page = opened({"behaviour": True}, {"assistiveTechnology": True})
    page.mouse.move(20, 20)
    page.mouse.move(50, 50)
    first, *_ = settled(page, site)
    assert first.device
    assert first.device.assistive_technology is True
    assert first.device.user_agent is None
    site.reset()
    page = opened({}, {"assistiveTechnology": True})
    use(page)
    page.evaluate("() => collector.flush()")
    page.wait_for_timeout(600)
    assert site.received == []
