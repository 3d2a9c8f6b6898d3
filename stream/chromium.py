"""Finds this machine's Chromium and starts it, driven by Playwright: a fake camera, no network of its own.

Playwright is no dependency of tellwire: what drives a browser asks `drivable` first.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Playwright

NAMES: Final = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome", "chrome")
OPTIONS: Final = (
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
    # Nothing but the page talks: no updates, no field trials, no components.
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--metrics-recording-only",
)


def installed() -> str | None:
    """Return the path of a Chromium or Chrome: the one that CHROMIUM names, else one on PATH; None: there is none."""
    for name in (os.environ.get("CHROMIUM", ""), *NAMES):
        found = shutil.which(name) if name else None
        if found:
            return found
    return None


def drivable() -> str | None:
    """Return the path of a Chromium that Playwright can drive here; empty: its own; None: there is none."""
    if importlib.util.find_spec("playwright") is None:
        return None
    if (found := installed()) is not None:
        return found
    own = Path(os.environ.get("PLAYWRIGHT_BROWSERS_PATH") or Path.home() / ".cache" / "ms-playwright")
    return "" if any(own.glob("chromium-*")) else None


def launch(playwright: Playwright, path: str, *options: str) -> Browser:
    """Start it without a window. `path`: empty for Playwright's own; `options`: more of its command line."""
    # Chromium's sandbox needs user namespaces, which containers that run as root seldom have.
    return playwright.chromium.launch(
        executable_path=path or None, chromium_sandbox=os.geteuid() != 0, args=[*OPTIONS, *options]
    )
