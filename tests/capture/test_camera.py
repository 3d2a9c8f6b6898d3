"""Facts of the camera step with Chromium's fake camera: what was asked and got, frames, devices, hooks, uploads."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from features.camera import Camera
from features.capture import capture_signals
from schemas.telemetry import Capture
from tests.support.captured import settled, wait_for

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, Page

    from tests.support.capture_site import CaptureSite

Open = Callable[..., "Page"]

SHOW = """async (constraints) => {
    const video = document.querySelector("#video");
    video.srcObject = await collector.openCamera({ video: constraints });
    window.unwatch = collector.watchCamera(video);
    await video.play();
}"""
ASKED = {"width": {"ideal": 640}, "height": 480, "frameRate": {"max": 20}, "facingMode": "user"}


def captures(page: Page, site: CaptureSite) -> list[Capture]:
    return [event.capture for event in settled(page, site) if event.capture]


def watched(page: Page, site: CaptureSite, seconds: float = 2.0) -> list[Capture]:
    page.evaluate(SHOW, ASKED)
    page.wait_for_timeout(seconds * 1000)
    return captures(page, site)


def test_what_was_asked_and_got(opened: Open, site: CaptureSite) -> None:
    found = watched(opened({"camera": True}), site)
    asked = next(one.asked for one in found if one.asked)
    assert (asked.width_px, asked.height_px, asked.frame_rate_hz, asked.facing_mode) == (640, 480, 20, "user")
    assert asked.response_ms
    reported = next(one.reported for one in found if one.reported)
    assert (reported.width_px, reported.height_px) == (640, 480)
    first = next(one for one in found if one.camera_label)
    assert first.camera_label == "fake_device_0"
    assert first.capabilities
    assert "frameRate" in first.capabilities
    assert any(one.camera_labels and "fake_device_0" in one.camera_labels for one in found)
    assert [one.hooked_functions for one in found if one.hooked_functions is not None] == [[]]
    signals: dict[str, Any] = {}
    camera = Camera()
    for at, one in enumerate(found):
        capture_signals(one, signals)
        camera.take(one, 500 * at)
        assert one.upload is None
        assert one.camera_switched is None
    assert camera.frames == sum(len(one.media_t or []) for one in found)
    # Chromium's own fake camera is found by its name, and nothing else that one event shows is.
    assert signals == {"loopback_camera_label": "fake_device_0"}


def test_frames_are_timed(opened: Open, site: CaptureSite) -> None:
    found = watched(opened({"camera": True}), site)
    media = [at for one in found for at in one.media_t or []]
    assert len(media) >= 8
    assert media == sorted(media)
    for one in found:
        if one.frame_t:
            assert one.delivered
            assert (one.delivered.width_px, one.delivered.height_px) == (640, 480)
            assert one.capture_t
            assert all(
                at is not None and at <= shown + 50 for at, shown in zip(one.capture_t, one.frame_t, strict=True)
            )
    presented = [one.presented_frames for one in found if one.presented_frames]
    assert presented == sorted(presented)
    assert sum(len(one.frame_t or []) for one in found) <= presented[-1]


def test_watching_ends(opened: Open, site: CaptureSite) -> None:
    page = opened({"camera": True})
    watched(page, site, 1)
    page.evaluate("() => unwatch()")
    settled(page, site)
    before = len(site.events())
    page.wait_for_timeout(1000)
    settled(page, site)
    assert len(site.events()) <= before


def test_a_watch_from_before_consent_begins_with_it_ends_with_it_and_goes_on(opened: Open, site: CaptureSite) -> None:
    page = opened({})
    page.evaluate(SHOW, ASKED)
    page.wait_for_timeout(500)
    page.evaluate("() => collector.flush()")
    assert site.received == []
    seen = before = 0
    for _ in range(2):
        page.evaluate("() => collector.setConsent({ camera: true })")
        page.wait_for_timeout(900)
        events = settled(page, site)[seen:]
        seen += len(events)
        found = [event.capture for event in events if event.capture]
        # Each time it is told anew which camera it is, and nothing of the time between is.
        assert [one.camera_label for one in found if one.camera_label] == ["fake_device_0"]
        assert not any(one.camera_switched for one in found)
        assert any(one.frame_t for one in found)
        page.evaluate("() => collector.setConsent({})")
        before = len(site.received)
        page.wait_for_timeout(600)
        page.evaluate("() => collector.flush()")
        assert len(site.received) == before
    page.evaluate("() => { unwatch(); collector.setConsent({ camera: true }); }")
    page.wait_for_timeout(600)
    page.evaluate("() => collector.flush()")
    assert len(site.received) == before


def test_another_camera_for_another_step_is_no_switch(opened: Open, site: CaptureSite) -> None:
    page = opened({"camera": True})
    watched(page, site, 0.7)
    page.evaluate("() => unwatch()")
    found = watched(page, site, 0.7)
    assert len([one for one in found if one.camera_label]) == 2
    assert not any(one.camera_switched for one in found)


def test_hooked_media_functions_show(context: BrowserContext, opened: Open, site: CaptureSite) -> None:
    context.add_init_script(
        """
        const own = MediaDevices.prototype.getUserMedia;
        MediaDevices.prototype.getUserMedia = function getUserMedia(asked) { return own.call(this, asked); };
        navigator.mediaDevices.enumerateDevices = async () => [];
        MediaStreamTrack.prototype.getSettings = new Proxy(MediaStreamTrack.prototype.getSettings, {});
        """
    )
    found = watched(opened({"camera": True}), site, 1)
    (hooking,) = [one for one in found if one.hooked_functions is not None]
    hooked = hooking.hooked_functions
    assert hooked == ["getUserMedia", "MediaStreamTrack.getSettings", "mediaDevices.enumerateDevices"]
    signals: dict[str, Any] = {}
    capture_signals(hooking, signals)
    assert "media_api_hooked" in signals


def test_a_switched_camera_and_a_changed_list_show(opened: Open, site: CaptureSite) -> None:
    page = opened({"camera": True})
    watched(page, site, 0.7)
    page.evaluate("() => navigator.mediaDevices.dispatchEvent(new Event('devicechange'))")
    page.evaluate(
        """async () => {
            const video = document.querySelector("#video");
            video.srcObject = await navigator.mediaDevices.getUserMedia({ video: { width: 320, height: 240 } });
            await video.play();
        }"""
    )
    page.wait_for_timeout(700)
    found = captures(page, site)
    assert [one.camera_switched for one in found if one.camera_switched is not None] == [True]
    assert any(one.device_list_changed for one in found)


def test_a_canvas_stream_has_no_camera_behind_it(opened: Open, site: CaptureSite) -> None:
    """An injected stream: its track has no label, and is in no list."""
    page = opened({"camera": True})
    page.evaluate(
        """async () => {
            const canvas = document.createElement("canvas");
            canvas.getContext("2d").fillRect(0, 0, 10, 10);
            const video = document.querySelector("#video");
            video.srcObject = canvas.captureStream(30);
            collector.watchCamera(video, { asked: { width: 640 }, responseMs: 3 });
            setInterval(() => canvas.getContext("2d").fillRect(0, 0, 10, 10), 30);
            await video.play();
        }"""
    )
    page.wait_for_timeout(1000)
    found = captures(page, site)
    labels = [one.camera_label for one in found if one.camera_label is not None]
    assert labels
    assert labels[0] != "fake_device_0"
    asked = next(one.asked for one in found if one.asked)
    assert (asked.width_px, asked.response_ms) == (640, 3)


def test_an_error_of_looking_at_the_camera_is_told_and_does_not_reach_the_page(
    context: BrowserContext, opened: Open, site: CaptureSite
) -> None:
    context.add_init_script("MediaDevices.prototype.enumerateDevices = async () => { throw new Error('no list'); };")
    page = opened({"camera": True})
    page.evaluate(SHOW, ASKED)
    page.wait_for_function("() => collector.stats().errors > 0")
    told = page.evaluate("() => noted")
    assert (told["errors"], told["violations"]) == ([], [])
    assert all("no list" in text for text in told["collector"])
    page.evaluate("() => collector.flush()")
    wait_for(lambda: any(event["capture"].get("camera_label") == "fake_device_0" for event in site.events()))


def test_uploads_and_references_are_told(opened: Open, site: CaptureSite) -> None:
    page = opened({"camera": True})
    page.evaluate("() => collector.reportCapture({ upload: true, captureRef: 'sha256:12ab' })")
    page.wait_for_function("() => collector.stats().events > 0")
    found = captures(page, site)
    assert (found[0].upload, found[0].capture_ref) == (True, "sha256:12ab")


def test_a_refused_camera_rejects_as_the_browser_does(context: BrowserContext, opened: Open, site: CaptureSite) -> None:
    page = opened({"camera": True})
    name = page.evaluate(
        "() => collector.openCamera({ video: { width: { exact: 99999 } } }).then(() => '', (error) => error.name)"
    )
    assert name == "OverconstrainedError"
    assert page.evaluate("() => noted") == {"errors": [], "violations": [], "collector": []}
    assert site.events() == []
    assert context.pages
