"""A page is used in a real Chromium, and risk events come out: collector, gateway, Kafka, worker, Redis, all real.

The browser is driven, so it is a bot, and is told as one.
"""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urlsplit

import pytest

from schemas.envelope import encode
from schemas.risk import RiskEvent
from tests.support import UnavailableError, collector, require
from tests.support.browser import driven
from tests.support.capture_site import STRICT_POLICY, CaptureSite
from tests.support.pipeline import Pipeline
from tests.support.process import free_ports

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

SITE = Path(__file__).resolve().parents[2] / "capture" / "site"
SECRET = "the-secret-of-the-shop-0123456789abcdef"
ACCOUNT = "account-of-ann-0042"
CONSENT = {"behaviour": True, "device": True, "camera": True}


def open_session(gateway: str) -> dict[str, Any]:
    """What the app's server does."""
    body = json.dumps({"flow": "kyc_capture", "account_ref": ACCOUNT}).encode()
    headers = {"Authorization": f"Bearer {SECRET}", "Content-Type": "application/json"}
    with urllib.request.urlopen(urllib.request.Request(f"{gateway}/v1/sessions", body, headers), timeout=10) as answer:
        found: dict[str, Any] = json.load(answer)
    return found


def use(page: Page) -> None:
    page.mouse.move(20, 20)
    page.mouse.move(500, 300, steps=30)
    page.click("[name=fullname]")
    page.keyboard.type("Ann of the test", delay=15)
    page.fill("[name=email]", "ann@example.org")
    page.evaluate(
        """async () => {
            const video = document.querySelector("#video");
            video.srcObject = await collector.openCamera({ video: { width: 640, height: 480 } });
            window.done = collector.watchCamera(video);
            await video.play();
        }"""
    )
    page.wait_for_timeout(1500)
    page.evaluate("() => done()")
    page.click("#go")
    page.evaluate("() => collector.end('completed')")
    page.wait_for_function("() => !collector.stats().queued", timeout=60_000)


def test_a_used_page_is_scored(pipeline: Pipeline) -> None:
    site = CaptureSite({"/collector/": collector.BROWSER, "/": SITE})
    port = free_ports(1)[0]
    url = f"http://127.0.0.1:{port}"
    site.policy = STRICT_POLICY.replace("connect-src 'self'", f"connect-src {url}")
    gateway = pipeline.start(
        "gateway",
        GATEWAY__PORT=str(port),
        GATEWAY__TENANTS=json.dumps({"shop": SECRET}),
        GATEWAY__ORIGINS=json.dumps({site.url: "shop"}),
        GATEWAY__TOKEN_KEY="a-key-of-tokens-0123456789-0123456789",
    )
    worker = pipeline.start("worker")
    gateway.wait_ready()
    worker.wait_ready()
    session = open_session(url)
    query = {
        "endpoint": f"{url}/v1/telemetry",
        "session": session["session_id"],
        "consent": json.dumps(CONSENT),
        "options": json.dumps({"session": {"endpoint": f"{url}/v1/telemetry", **session}, "deviceRef": "device-raw-7"}),
    }
    try:
        with driven() as browser:
            page = browser.new_context(permissions=["camera"]).new_page()
            page.goto(f"{site.url}/page.html?{urlencode(query)}")
            page.wait_for_function("() => window.collector")
            use(page)
            stats = page.evaluate("() => collector.stats()")
            noted = page.evaluate("() => noted")
    except UnavailableError as missing:
        require(condition=False, reason=str(missing))
        raise
    finally:
        site.close()
    assert noted == {"errors": [], "violations": [], "collector": []}
    assert (stats["dropped"], stats["errors"], stats["sent"]) == (0, 0, stats["events"])

    pipeline.wait_answered(worker, stats["events"])
    assert worker.stop() == 0
    assert gateway.stop() == 0
    report = pipeline.audit()
    assert report.ok, str(report)
    assert report.dead_letters == 0
    events = [event for event in pipeline.risk_events() if event.session_id == session["session_id"]]
    assert len(events) == stats["events"]
    told_as_a_bot(events[-1])
    assert events[-1].is_final
    assert {(event.tenant, event.flow) for event in events} == {("shop", "kyc_capture")}
    # The references that the page and its server gave are nowhere in the clear.
    whole = b"".join(map(encode, events))
    for raw in (ACCOUNT, "device-raw-7", "Ann of the test", "ann@example.org", urlsplit(site.url).hostname or ""):
        assert raw.encode() not in whole


def told_as_a_bot(event: RiskEvent) -> None:
    assert {"webdriver_true", "headless_ua"} <= set(event.signals)
    assert event.decision.action != "allow"
