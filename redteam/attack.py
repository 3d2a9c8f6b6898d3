"""One visit of one attacker to the page: `python -m redteam.attack`, in the red team's own environment.

The first line of standard input is a JSON object: `url`, `browser`, `driver` (paths), `tool`, `hand`, `seed`,
`headless`, `entries` (texts by field), `camera`; for replays `strokes`, `keys`, `noise_px`, `stretch`; for the system's
own input `probe` and `screen`. Exit status 0: the form was sent; else the last line of standard error says
why not.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import sys
import threading
import time
from typing import Any

from redteam import browsers, hands, os_input

READY = "document.documentElement.dataset.ready === 'true'"
SENT = "document.documentElement.dataset.sent === 'true'"


def visit(browser: Any, hand: hands.Hand, told: dict[str, Any]) -> None:
    """Agree, fill in the form, show the camera where asked to, submit, and wait until all is sent."""
    browsers.wait_for(browser, READY)
    hand.click("#agree-all")
    for field, text in told["entries"].items():
        hand.type(f"#{field}", text)
    if told.get("camera"):
        hand.click("#camera-open")
        time.sleep(2.5)
        if browser.js("!document.querySelector('#camera-take').hidden"):
            hand.click("#camera-take")
    hand.click("#submit")
    browsers.wait_for(browser, SENT)


class HumanCursorHand:
    """HumanCursor's own WebCursor on Selenium; keys at drawn intervals."""

    def __init__(self, browser: browsers.SeleniumLike, dice: random.Random) -> None:
        from humancursor import WebCursor

        self._browser, self._dice = browser, dice
        self._cursor = WebCursor(browser.driver)

    def click(self, selector: str) -> None:
        """Click an element."""
        self._cursor.click_on(self._browser.find(selector), click_duration=self._dice.uniform(0.05, 0.12))

    def type(self, selector: str, text: str) -> None:
        """Click a field and type a text into it."""
        self.click(selector)
        element = self._browser.find(selector)
        for char in text:
            element.send_keys(char)
            time.sleep(self._dice.uniform(0.05, 0.18))


def hand_of(name: str, browser: Any, told: dict[str, Any], dice: random.Random) -> hands.Hand:
    """The hand that an attack uses."""
    if name == "own":
        return hands.Own(browser)
    if name == "agent":
        return hands.Agent(browser, dice)
    if name == "replay":
        # What differs from copy to copy is drawn; where nothing may differ, the copies are one another's twins.
        noise_px, stretch = told["noise_px"], told["stretch"]
        return hands.Replayed(browser, told["strokes"], told["keys"], dice, noise_px=noise_px, stretch=stretch)
    if name == "humancursor_selenium":
        return HumanCursorHand(browser, dice)
    return hands.Humanised(browser, hands.cursor_of(name), dice)


async def pydoll(told: dict[str, Any]) -> None:
    """Pydoll with its own humanised mouse and keys: its interface is asynchronous, so it has a visit of its own."""
    from pydoll.browser import Chrome
    from pydoll.browser.options import ChromiumOptions

    options = ChromiumOptions()
    options.binary_location = told["browser"]
    options.headless = told["headless"]
    for argument in browsers.arguments(told):
        # These it adds by itself, and refuses to have twice.
        if argument not in {"--no-first-run", "--no-default-browser-check"}:
            options.add_argument(argument)

    async with Chrome(options=options) as browser:
        tab = await browser.start()
        await tab.go_to(told["url"])

        async def holds(expression: str) -> None:
            for _ in range(200):
                said = await tab.execute_script(f"return {expression}", return_by_value=True)
                if said["result"]["result"].get("value"):
                    return
                await asyncio.sleep(0.1)
            msg = f"the page did not come to {expression} within 20 s"
            raise TimeoutError(msg)

        async def click(name: str) -> None:
            element = await tab.find(id=name)
            await element.scroll_into_view()
            await element.click(humanize=True)

        await holds(READY)
        await click("agree-all")
        for field, text in told["entries"].items():
            await click(field)
            await (await tab.find(id=field)).type_text(text, humanize=True)
        await click("submit")
        await holds(SENT)


def run(told: dict[str, Any]) -> None:
    """Run the attack that is told."""
    dice = browsers.seed_all(told["seed"])
    if told["tool"] == "pydoll":
        asyncio.run(pydoll(told))
        return
    if told["tool"] == "os_input":
        os_input.run(told, dice)
        return
    start = browsers.selenium if told["tool"] in {"selenium", "undetected_chromedriver"} else browsers.playwright
    with start(told) as browser:
        visit(browser, hand_of(told["hand"], browser, told, dice), told)


def main() -> int:
    """Run one attack; returns its exit status."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    told = json.loads(sys.stdin.buffer.readline())

    def follow_parent() -> None:
        while os.read(0, 4096):
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=follow_parent, daemon=True).start()
    try:
        run(told)
    except Exception as error:  # noqa: BLE001 - whatever a tool raises, the run's report tells it in one line
        sys.stderr.write(f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error) else ''}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
