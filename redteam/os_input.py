"""An attacker who leaves the browser alone: a Chromium that nothing drives, and the system's own mouse and keys.

HumanCursor's SystemCursor moves the pointer of the display that it is given. Where things are on the page
it learns beforehand, from a visit of its own with another tool.
"""

from __future__ import annotations

import contextlib
import random
import shutil
import subprocess
import tempfile
import time
from typing import Any

from redteam import browsers

SHOWN_S, SENT_S = 6.0, 3.0
"""Until the page is there, and until all of it has been sent: it cannot be asked."""
LAYOUT = """
(() => Object.fromEntries(["agree-all", "name", "email", "phone", "document", "password", "submit"].map((id) => {
  const r = document.getElementById(id).getBoundingClientRect();
  return [id, [r.x, r.y, r.width, r.height]];
})))()
"""

Box = tuple[float, float, float, float]


def run(told: dict[str, Any], dice: random.Random) -> None:
    """Visit the page with mouse and keys of the system alone."""
    boxes = _layout(told)
    # They look for a display while they are imported.
    import pyautogui
    from humancursor import SystemCursor

    profile = tempfile.mkdtemp(prefix="tellwire-profile-")
    flags = [*browsers.arguments(told), f"--user-data-dir={profile}", "--kiosk", "--window-position=0,0"]
    chromium = subprocess.Popen([told["browser"], *flags, told["url"]], stderr=subprocess.DEVNULL)
    try:
        time.sleep(SHOWN_S)
        cursor = SystemCursor()
        _click(cursor, boxes["agree-all"], dice)
        for field, text in told["entries"].items():
            _click(cursor, boxes[field], dice)
            pyautogui.PAUSE = 0
            for char in text:
                _strike(pyautogui, char, dice)
        _click(cursor, boxes["submit"], dice)
        time.sleep(SENT_S)
    finally:
        chromium.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            chromium.wait(10.0)
        shutil.rmtree(profile, ignore_errors=True)


def _click(cursor: Any, box: Box, dice: random.Random) -> None:
    x, y, width, height = box
    place = (round(x + width * dice.uniform(0.2, 0.8)), round(y + height * dice.uniform(0.25, 0.75)))
    cursor.move_to(place, duration=dice.uniform(0.5, 1.3))
    time.sleep(dice.uniform(0.08, 0.3))
    cursor.click_on(place, click_duration=dice.uniform(0.05, 0.12))
    time.sleep(dice.uniform(0.1, 0.4))


def _strike(pyautogui: Any, char: str, dice: random.Random) -> None:
    if char.isalnum() and char == char.lower():
        pyautogui.keyDown(char)
        time.sleep(max(0.03, dice.gauss(0.085, 0.02)))
        pyautogui.keyUp(char)
    else:
        pyautogui.write(char)
    time.sleep(min(0.8, dice.lognormvariate(-2.6, 0.5)))


def _layout(told: dict[str, Any]) -> dict[str, Box]:
    first = {**told, "tool": "playwright", "url": told["probe"], "headless": True, "viewport": told["screen"]}
    with browsers.playwright(first) as browser:
        browsers.wait_for(browser, "document.documentElement.dataset.ready === 'true'")
        # The page shifts when it says what it is; and once more when it is agreed to.
        browser.page.click("#agree-all")
        time.sleep(0.5)
        found: dict[str, Box] = browser.js(LAYOUT)
    return found
