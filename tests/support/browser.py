"""Starts this machine's Chromium, driven by Playwright: with a fake camera, and nothing of its own on the network."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from typing import TYPE_CHECKING

from tests.support import UnavailableError

if TYPE_CHECKING:
    from playwright.sync_api import Browser

_NAMES = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
_OPTIONS = (
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
    # Nothing but the page talks: no updates, no field trials, no components.
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--metrics-recording-only",
)


def chromium() -> str:
    """Path of a Chromium or Chrome; raise UnavailableError where there is none."""
    for name in (os.environ.get("CHROMIUM", ""), *_NAMES):
        found = shutil.which(name) if name else None
        if found:
            return found
    raise UnavailableError("no Chromium: install it (Debian: apt-get install chromium), or name it in CHROMIUM")


@contextlib.contextmanager
def driven(*options: str) -> Iterator[Browser]:
    """Run a headless browser until the end of the block. It is a bot, and looks like one."""
    path = chromium()
    from playwright.sync_api import sync_playwright  # of the tests' lock

    # Chromium's sandbox needs user namespaces, which containers that run as root seldom have.
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=path, chromium_sandbox=os.geteuid() != 0, args=[*_OPTIONS, *options]
        )
        try:
            yield browser
        finally:
            browser.close()
