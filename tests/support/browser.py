"""Starts this machine's Chromium for tests; where there is none, they say what to install."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from stream.chromium import installed, launch
from tests.support import UnavailableError, require

if TYPE_CHECKING:
    from playwright.sync_api import Browser


def chromium() -> str:
    """Path of a Chromium or Chrome; raise UnavailableError where there is none."""
    found = installed()
    if found is None:
        raise UnavailableError("no Chromium: install it (Debian: apt-get install chromium), or name it in CHROMIUM")
    return found


@contextlib.contextmanager
def driven(*options: str) -> Iterator[Browser]:
    """Run a headless browser until the end of the block. It is a bot, and looks like one."""
    path = chromium()
    from playwright.sync_api import sync_playwright  # of the tests' lock

    with sync_playwright() as playwright:
        browser = launch(playwright, path, *options)
        try:
            yield browser
        finally:
            browser.close()


def driven_or_skipped() -> Iterator[Browser]:
    """What a fixture yields: a browser, or its test is skipped (in CI: fails) with what is missing.

    Such a fixture is a module's and not the session's: while Playwright's plain calls serve, no other test of this
    process can run an event loop.
    """
    try:
        with driven() as browser:
            yield browser
    except UnavailableError as missing:
        require(condition=False, reason=str(missing))
