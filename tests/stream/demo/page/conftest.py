"""Fixtures of the page's browser tests: one Chromium and one stand-in of the pipeline a file, a fresh page a test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from tests.stream.demo.page.stand_in import StandIn
from tests.support.browser import driven_or_skipped

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page


@dataclass
class Opened:
    """A loaded page, and what it would rather not have seen."""

    page: Page
    noted: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    """Every address that was asked."""


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    yield from driven_or_skipped()


@pytest.fixture(scope="module")
def pipeline() -> Iterator[StandIn]:
    found = StandIn()
    yield found
    found.close()


@pytest.fixture
def opened(chromium: Browser, pipeline: StandIn) -> Iterator[Callable[..., Opened]]:
    """Load the page; what goes wrong in it fails the test at its end. Options are those of a browser context."""
    contexts = []
    pages: list[Opened] = []

    def load(path: str = "/", *, ready: bool = True, **options: Any) -> Opened:
        context = chromium.new_context(
            **{"viewport": {"width": 1440, "height": 1000}, "permissions": ["camera"]} | options
        )
        contexts.append(context)
        context.set_default_timeout(60_000)
        context.add_init_script(
            "window.violations = []; addEventListener('securitypolicyviolation', (event) => "
            "violations.push(`${event.violatedDirective} ${event.blockedURI}`))"
        )
        page = context.new_page()
        found = Opened(page)
        page.on("pageerror", lambda error: found.noted.append(str(error)))
        page.on("console", lambda told: found.noted.append(told.text) if told.type in ("error", "warning") else None)
        page.on("request", lambda request: found.asked.append(request.url))
        page.goto(pipeline.page.url + path)
        if ready:
            page.wait_for_function("() => document.documentElement.dataset.ready === 'true'")
        pages.append(found)
        return found

    yield load
    try:
        for found in pages:
            assert found.noted == []
            assert found.page.evaluate("() => window.violations ?? []") == []
            ours = (pipeline.page.url, f"http://127.0.0.1:{pipeline.port}/")
            assert [url for url in found.asked if not url.startswith(ours)] == []
    finally:
        for context in contexts:
            context.close()
        # Few run at once: the next test, in whatever order they come, has all places for its own.
        pipeline.end_bots()
