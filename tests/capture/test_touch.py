"""Fingers and motion sensors as Chromium itself emulates them: contacts, gestures, permission, gravity."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

from schemas.telemetry import Motion, PointerKind, Touch
from tests.support.captured import settled

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, CDPSession, Page

    from tests.support.capture_site import CaptureSite

Open = Callable[..., "Page"]
MOVE, START, END, CANCEL = range(4)


@pytest.fixture
def context(chromium: Browser) -> Iterator[BrowserContext]:
    """A phone's: with a touch screen."""
    context = chromium.new_context(viewport={"width": 400, "height": 800}, has_touch=True)
    yield context
    context.close()


def send(session: CDPSession, kind: str, *points: dict[str, Any]) -> None:
    session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": list(points)})


def finger(x: float, y: float, number: int = 0, radius: float = 8, force: float = 0.5) -> dict[str, Any]:
    return {"x": x, "y": y, "id": number, "radiusX": radius, "radiusY": radius, "force": force}


def rows(blocks: list[Touch]) -> list[tuple[float, float, int, int]]:
    """x, y, kind and contact number of each sample."""
    return [row for one in blocks for row in zip(one.x, one.y, one.kind, one.id or [0] * len(one.t), strict=True)]


def touches(page: Page, site: CaptureSite) -> list[Touch]:
    return [event.touch for event in settled(page, site) if event.touch]


def test_a_contact_has_size_and_force(opened: Open, site: CaptureSite) -> None:
    page = opened()
    session = page.context.new_cdp_session(page)
    # Beside every field and link, and sideways, so that nothing scrolls.
    send(session, "touchStart", finger(300, 20, radius=7, force=0.25))
    for step in range(1, 6):
        send(session, "touchMove", finger(300 - 10 * step, 20, radius=7 + step, force=0.25 + step / 16))
    send(session, "touchEnd")
    found = touches(page, site)
    samples = rows(found)
    assert samples[0] == (300, 20, START, 0)
    assert [kind for _, _, kind, _ in samples].count(END) == 1
    assert samples[-1][:2] == (250, 20)
    radii = [radius for one in found for radius in one.radius_px or []]
    forces = [force for one in found for force in one.force or []]
    assert (radii[0], forces[0]) == (7, 0.25)
    assert max(radii) == 12
    assert max(forces) == pytest.approx(0.5625, abs=0.001)
    assert {one.untrusted_count for one in found} == {0}


def test_fingers_are_told_apart_and_numbers_are_used_again(opened: Open, site: CaptureSite) -> None:
    page = opened()
    session = page.context.new_cdp_session(page)
    for _ in range(3):
        send(session, "touchStart", finger(100, 20, 5))
        send(session, "touchStart", finger(100, 20, 5), finger(300, 30, 9))
        send(session, "touchMove", finger(110, 20, 5), finger(290, 30, 9))
        send(session, "touchEnd", finger(290, 30, 9))
        send(session, "touchEnd")
    samples = rows(touches(page, site))
    assert {number for *_, number in samples} == {0, 1}
    starts = [(x, number) for x, _, kind, number in samples if kind == START]
    assert starts == [(100, 0), (300, 1)] * 3
    assert [number for *_, kind, number in samples if kind == END] == [1, 0] * 3


def test_a_cancelled_touch_is_no_lift(opened: Open, site: CaptureSite) -> None:
    page = opened()
    session = page.context.new_cdp_session(page)
    send(session, "touchStart", finger(200, 20))
    send(session, "touchCancel")
    assert [kind for _, _, kind, _ in rows(touches(page, site))] == [START, CANCEL]


def test_a_finger_whose_target_leaves_the_page_frees_its_number(opened: Open, site: CaptureSite) -> None:
    page = opened()
    session = page.context.new_cdp_session(page)
    for number in range(4):
        page.evaluate(
            """() => {
                const target = document.createElement("div");
                target.style.cssText = "position: fixed; inset: 0; z-index: 9";
                target.ontouchstart = () => target.remove();
                document.body.append(target);
            }"""
        )
        send(session, "touchStart", finger(200, 20, number))
        send(session, "touchEnd")
    samples = rows(touches(page, site))
    assert [kind for _, _, kind, _ in samples] == [START] * 4, "their ends went to what is no longer there"
    assert {number for *_, number in samples} == {0}


def test_a_swipe_that_scrolls_goes_on_as_touch_where_its_pointer_ends(opened: Open, site: CaptureSite) -> None:
    page = opened()
    session = page.context.new_cdp_session(page)
    send(session, "touchStart", finger(390, 700))
    for step in range(1, 25):
        send(session, "touchMove", finger(390, 700 - 20 * step))
    page.wait_for_function("() => scrollY > 100")
    send(session, "touchEnd")
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    events = settled(page, site)
    samples = rows([event.touch for event in events if event.touch])
    assert [kind for _, _, kind, _ in samples].count(MOVE) >= 5
    assert samples[-1][2] == END
    pointers = [event.pointer for event in events if event.pointer]
    assert {one.pointer_type for one in pointers} == {"touch"}
    points = sum(len(one.t) for one in pointers)
    assert points < len(samples)
    scrolled = [y for event in events if event.scroll for y in event.scroll.y]
    assert scrolled == sorted(scrolled)
    assert scrolled[-1] > 100


def test_a_tap_is_a_press_with_a_click_where_it_was(opened: Open, site: CaptureSite) -> None:
    page = opened()
    page.locator("#plain").tap()
    events = settled(page, site)
    kinds = [kind for event in events if event.pointer for kind in event.pointer.kind or []]
    assert (kinds.count(PointerKind.DOWN), kinds.count(PointerKind.UP)) == (1, 1)
    assert PointerKind.CLICK not in kinds
    offsets = [one for event in events if event.pointer for one in event.pointer.click_offset_px or []]
    assert offsets == [pytest.approx(0, abs=1.5)]


def motions(page: Page, site: CaptureSite) -> list[Motion]:
    return [event.motion for event in settled(page, site) if event.motion]


def emulated(page: Page, **readings: tuple[float, float, float]) -> None:
    """Give the browser's own sensors these values, by sensor."""
    session = page.context.new_cdp_session(page)
    for name, (x, y, z) in readings.items():
        kind = name.replace("_", "-")
        session.send("Emulation.setSensorOverrideEnabled", {"enabled": True, "type": kind})
        session.send(
            "Emulation.setSensorOverrideReadings", {"type": kind, "reading": {"xyz": {"x": x, "y": y, "z": z}}}
        )


def test_motion_is_what_the_sensors_say(opened: Open, site: CaptureSite) -> None:
    page = opened({})
    emulated(page, accelerometer=(0.5, -1.2, 9.8), linear_acceleration=(0.1, 0.2, 0.3), gyroscope=(0.1, 0.2, -0.3))
    page.evaluate("() => collector.setConsent({ motion: true })")
    page.wait_for_timeout(1500)
    found = motions(page, site)
    assert found
    count = sum(len(one.t) for one in found)
    assert 10 <= count <= 140
    for one in found:
        assert {(abs(x), abs(y), abs(z)) for x, y, z in zip(one.ax, one.ay, one.az, strict=True)} <= {(0.5, 1.2, 9.8)}
        gaps = [after - before for before, after in zip(one.t, one.t[1:], strict=False)]
        assert all(gap >= 13.5 for gap in gaps)
        # Degrees a second: the sensor gives radians.
        assert one.rx
        assert one.rx[0] == pytest.approx(5.7, abs=0.3)


IPHONE = """(answer) => {
    window.askings = [];
    DeviceMotionEvent.requestPermission = function () {
        askings.push(this === DeviceMotionEvent && navigator.userActivation.isActive);
        const refused = new DOMException("not in a tap", "NotAllowedError");
        return answer === "throws" ? Promise.reject(refused) : Promise.resolve(answer);
    };
}"""


@pytest.mark.parametrize(("answer", "expected"), [("granted", True), ("denied", False), ("throws", False)])
def test_permission_is_asked_where_a_browser_wants_that(
    opened: Open, site: CaptureSite, answer: str, *, expected: bool
) -> None:
    page = opened({"motion": True})
    page.evaluate(IPHONE, answer)
    page.evaluate("() => { plain.onclick = async () => { window.got = await collector.requestMotion(); }; }")
    page.locator("#plain").tap()
    page.wait_for_function("() => window.got !== undefined")
    assert page.evaluate("() => [got, askings]") == [expected, [True]]
    assert page.evaluate("() => noted.errors") == []
    assert site.received == []


def test_permission_is_not_even_asked_without_consent(opened: Open) -> None:
    page = opened({"behaviour": True})
    page.evaluate(IPHONE, "granted")
    assert page.evaluate("async () => [await collector.requestMotion(), askings]") == [False, []]


def test_machines_without_sensors_tell_nothing(opened: Open, site: CaptureSite) -> None:
    """They send one event of nulls; a gyroscope alone may be missing."""
    page = opened({"motion": True})
    tilt = "(moved) => dispatchEvent(new DeviceMotionEvent('devicemotion', moved))"
    page.evaluate(tilt, {})
    page.evaluate(tilt, {"accelerationIncludingGravity": {"x": None, "y": None, "z": None}})
    page.evaluate("() => collector.flush()")
    page.wait_for_timeout(300)
    assert site.received == []
    page.evaluate(tilt, {"accelerationIncludingGravity": {"x": 0, "y": 0, "z": 9.81}})
    (found,) = motions(page, site)
    assert (found.az, found.rx) == ([9.81], None)
