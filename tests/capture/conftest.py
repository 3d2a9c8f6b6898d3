"""Fixtures of the browser tests: one Chromium and one small site for each file, a fresh page for each test."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import pytest

from tests.support import collector
from tests.support.browser import driven_or_skipped
from tests.support.capture_site import CaptureSite

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

SITE = Path(__file__).parent / "site"


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    yield from driven_or_skipped()


@pytest.fixture(scope="module")
def _site() -> Iterator[CaptureSite]:
    site = CaptureSite({"/collector/": collector.BROWSER, "/": SITE})
    yield site
    site.close()


@pytest.fixture
def site(_site: CaptureSite) -> CaptureSite:
    _site.reset()
    return _site


@pytest.fixture
def context(chromium: Browser) -> Iterator[BrowserContext]:
    context = chromium.new_context(viewport={"width": 1000, "height": 800}, permissions=["camera"])
    yield context
    context.close()


@pytest.fixture
def opened(context: BrowserContext, site: CaptureSite) -> Callable[..., Page]:
    """Open the test page with a consent and the collector's options; what goes wrong in the page fails the test."""

    def opened(
        consent: Mapping[str, bool] | None = None, options: Mapping[str, Any] | None = None, **asked: str
    ) -> Page:
        page = context.new_page()
        agreed = {"behaviour": True} if consent is None else dict(consent)
        query = {"consent": json.dumps(agreed), "options": json.dumps(dict(options or {})), **asked}
        page.goto(f"{site.url}/page.html?{urlencode(query)}")
        page.wait_for_function("() => window.collector")
        return page

    return opened
