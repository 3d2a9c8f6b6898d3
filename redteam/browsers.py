"""Browsers as attackers start them: each tool with the settings that its own documentation names, and a common grip.

All start the Chromium that is told, on the display that is told, without anything of its own on the network.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_COMMON = json.loads(Path(__file__).with_name("chromium.json").read_text())
"""What Chromium is started with by every tool, whichever language it is written for."""
WIDTH, HEIGHT = _COMMON["width"], _COMMON["height"]
QUIET = (*_COMMON["quiet"], f"--window-size={WIDTH},{HEIGHT}")
FAKE_CAMERA = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")
CANVAS_CAMERA = """
(() => {
  const canvas = document.createElement("canvas");
  canvas.width = 640; canvas.height = 480;
  const draw = canvas.getContext("2d");
  setInterval(() => { draw.fillStyle = `hsl(${Math.random() * 360} 50% 50%)`; draw.fillRect(0, 0, 640, 480); }, 33);
  navigator.mediaDevices.getUserMedia = async () => canvas.captureStream(30);
})();
"""
"""What injects a picture in place of the camera: the page gets a canvas."""


def sandboxed() -> bool:
    """Whether Chromium's sandbox can be used: not by root, who is who runs most containers."""
    return os.geteuid() != 0


def arguments(told: dict[str, Any]) -> list[str]:
    """Chromium's arguments for a told attack."""
    found = [*QUIET, *(() if sandboxed() else ("--no-sandbox",))]
    camera = told.get("camera")
    if camera in {"fake", "file"}:
        found += FAKE_CAMERA
    if camera == "file":
        found.append(f"--use-file-for-fake-video-capture={told['camera_file']}")
    if camera == "hook":
        found.append("--use-fake-ui-for-media-stream")
    return found


class PlaywrightLike:
    """A page of Playwright, or of what has its interface."""

    def __init__(self, page: Any) -> None:
        self.page = page

    def js(self, expression: str) -> Any:
        """Value of a JavaScript expression in the page."""
        return self.page.evaluate(expression)

    def move(self, x: float, y: float) -> None:
        """Move the pointer there at once."""
        self.page.mouse.move(x, y)

    def down(self) -> None:
        """Press the left button."""
        self.page.mouse.down()

    def up(self) -> None:
        """Release the left button."""
        self.page.mouse.up()

    def wheel(self, pixels: float) -> None:
        """Turn the wheel."""
        self.page.mouse.wheel(0, pixels)

    def key_down(self, char: str) -> None:
        """Press the key of a character."""
        self.page.keyboard.down(char)

    def key_up(self, char: str) -> None:
        """Release it."""
        self.page.keyboard.up(char)

    def insert(self, text: str) -> None:
        """Put a whole text into what has focus."""
        self.page.keyboard.insert_text(text)

    def click(self, selector: str) -> None:
        """Click in the tool's own way."""
        self.page.click(selector)

    def type(self, selector: str, text: str) -> None:
        """Click and type in the tool's own way."""
        self.page.click(selector)
        self.page.keyboard.type(text, delay=30)


class SeleniumLike:
    """A driver of Selenium, or of what has its interface."""

    def __init__(self, driver: Any) -> None:
        from selenium.webdriver.common.by import By

        self.driver = driver
        self._by = By.CSS_SELECTOR

    def find(self, selector: str) -> Any:
        """The element."""
        return self.driver.find_element(self._by, selector)

    def js(self, expression: str) -> Any:
        """Value of a JavaScript expression in the page."""
        return self.driver.execute_script(f"return {expression}")

    def _mouse(self, kind: str, x: float, y: float, **more: Any) -> None:
        self.driver.execute_cdp_cmd("Input.dispatchMouseEvent", {"type": kind, "x": x, "y": y, **more})

    def move(self, x: float, y: float) -> None:
        """Move the pointer there at once."""
        self._at = (x, y)
        self._mouse("mouseMoved", x, y)

    def down(self) -> None:
        """Press the left button."""
        self._mouse("mousePressed", *self._at, button="left", clickCount=1)

    def up(self) -> None:
        """Release the left button."""
        self._mouse("mouseReleased", *self._at, button="left", clickCount=1)

    def wheel(self, pixels: float) -> None:
        """Turn the wheel."""
        self._mouse("mouseWheel", WIDTH / 2, HEIGHT / 2, deltaX=0, deltaY=pixels)

    def key_down(self, char: str) -> None:
        """Press the key of a character."""
        self.driver.execute_cdp_cmd("Input.dispatchKeyEvent", {"type": "keyDown", "text": char, "key": char})

    def key_up(self, char: str) -> None:
        """Release it."""
        self.driver.execute_cdp_cmd("Input.dispatchKeyEvent", {"type": "keyUp", "key": char})

    def insert(self, text: str) -> None:
        """Put a whole text into what has focus."""
        self.driver.execute_cdp_cmd("Input.insertText", {"text": text})

    def click(self, selector: str) -> None:
        """Click in the tool's own way."""
        element = self.find(selector)
        self.driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", element)
        element.click()

    def type(self, selector: str, text: str) -> None:
        """Click and type in the tool's own way."""
        self.click(selector)
        self.find(selector).send_keys(text)


@contextlib.contextmanager
def playwright(told: dict[str, Any]) -> Iterator[PlaywrightLike]:
    """Playwright as it comes, with stealth, with a sampled fingerprint, or its patched twin."""
    tool = told["tool"]
    if tool == "patchright":
        from patchright.sync_api import sync_playwright
    else:
        from playwright.sync_api import sync_playwright
    starter: Any = sync_playwright()
    if tool == "playwright_stealth":
        from playwright_stealth import Stealth

        starter = Stealth().use_sync(starter)
    flags = arguments(told)
    left_out: list[str] = []
    if tool == "chromium_flags":
        flags.append("--disable-blink-features=AutomationControlled")
        left_out.append("--enable-automation")
    with starter as api, tempfile.TemporaryDirectory(prefix="tellwire-profile-", ignore_cleanup_errors=True) as profile:
        common: dict[str, Any] = {
            "executable_path": told["browser"],
            "headless": told["headless"],
            "args": flags,
            "chromium_sandbox": sandboxed(),
        }
        if tool == "patchright":
            # As its own documentation asks for it.
            context = api.chromium.launch_persistent_context(profile, no_viewport=True, **common)
            browser = context
        else:
            browser = api.chromium.launch(ignore_default_args=left_out, **common)
            if tool == "browserforge":
                from browserforge.injectors.playwright import NewContext

                context = NewContext(browser, fingerprint_options={"browser": "chrome", "device": "desktop"})
                # With headers of a navigation on every request no other origin would take one from it.
                context.set_extra_http_headers({})
            elif tool == "playwright":
                width, height = told.get("viewport") or (WIDTH, 720)
                context = browser.new_context(viewport={"width": width, "height": height})
            else:
                context = browser.new_context(no_viewport=True)
        try:
            if told.get("camera"):
                context.grant_permissions(["camera"], origin=told["url"].split("/?")[0])
            page = context.pages[0] if context.pages else context.new_page()
            if told.get("camera") == "hook":
                page.add_init_script(CANVAS_CAMERA)
            page.goto(told["url"])
            yield PlaywrightLike(page)
        finally:
            browser.close()


@contextlib.contextmanager
def selenium(told: dict[str, Any]) -> Iterator[SeleniumLike]:
    """Selenium as it comes, or undetected-chromedriver, which patches a copy of the driver."""
    with tempfile.TemporaryDirectory(prefix="tellwire-driver-", ignore_cleanup_errors=True) as folder:
        driver: Any
        if told["tool"] == "undetected_chromedriver":
            import undetected_chromedriver

            own = Path(folder) / "chromedriver"
            shutil.copy(told["driver"], own)
            driver = undetected_chromedriver.Chrome(
                options=_options(undetected_chromedriver.ChromeOptions(), told),
                driver_executable_path=str(own),
                browser_executable_path=told["browser"],
                version_main=major_version(told["browser"]),
                user_data_dir=str(Path(folder) / "profile"),
            )
        else:
            from selenium import webdriver

            options = _options(webdriver.ChromeOptions(), told)
            options.binary_location = told["browser"]
            driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(told["driver"]))
        try:
            driver.get(told["url"])
            yield SeleniumLike(driver)
        finally:
            driver.quit()


def _options(options: Any, told: dict[str, Any]) -> Any:
    for argument in arguments(told):
        options.add_argument(argument)
    if told["headless"]:
        options.add_argument("--headless=new")
    return options


def major_version(browser: str) -> int:
    """The browser's first number, which the driver's must be."""
    said = subprocess.run([browser, "--version"], capture_output=True, text=True, check=True, timeout=30).stdout
    return int(said.split("Chromium ")[-1].split("Chrome ")[-1].split(".")[0])


def wait_for(browser: Any, expression: str, seconds: float = 20.0) -> None:
    """Wait until a JavaScript expression holds. Raises TimeoutError."""
    until = time.monotonic() + seconds
    while not browser.js(expression):
        if time.monotonic() > until:
            msg = f"the page did not come to {expression} within {seconds:g} s"
            raise TimeoutError(msg)
        time.sleep(0.1)


def seed_all(seed: int) -> random.Random:
    """Seed every dice that the packages throw, and return one for the hands."""
    random.seed(seed)
    with contextlib.suppress(ImportError):
        import numpy as np

        np.random.seed(seed % (1 << 32))  # noqa: NPY002 - the packages throw this one
    return random.Random(seed)
