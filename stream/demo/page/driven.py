"""A driven browser that fills in the demo's form, in a process of its own: `python -m stream.demo.page.driven`.

The first line of standard input says where: `{"url": "...", "browser": "path, or empty for Playwright's own"}`. It is a
bot like any that does not hide: a headless Chromium that moves in straight lines and strikes keys at an even beat.
"""

from __future__ import annotations

import sys
from typing import Final

from playwright.sync_api import Error, Page, sync_playwright

from stream.chromium import launch
from stream.demo.children import told_by_parent

ENTRIES: Final = {
    "name": "Robin Example",
    "email": "robin@example.org",
    "phone": "+1 555 0100",
    "password": "correct-horse-battery",
    "document": "X1234567",
}
"""What the bot types, by field: made up, and never sent."""
KEY_DELAY_MS: Final = 35
SENT_MS: Final = 15_000


def fill(page: Page) -> None:
    """Agree, fill in the form, show the fake camera, submit, and wait until all is sent."""
    page.wait_for_function("() => document.documentElement.dataset.ready === 'true'", timeout=SENT_MS)
    page.click("#agree-all")
    for field, text in ENTRIES.items():
        box = page.locator(f"#{field}").bounding_box()
        if box is not None:
            page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2, steps=12)
        page.click(f"#{field}")
        page.keyboard.type(text, delay=KEY_DELAY_MS)
    page.click("#camera-open")
    page.wait_for_timeout(1_500)
    if page.locator("#camera-take").is_visible():
        page.click("#camera-take")
    page.click("#submit")
    page.wait_for_function("() => document.documentElement.dataset.sent === 'true'", timeout=SENT_MS)


def main() -> int:
    """Run the bot; returns its exit status."""
    told = told_by_parent()
    try:
        with sync_playwright() as playwright:
            browser = launch(playwright, told["browser"])
            try:
                page = browser.new_context(viewport={"width": 1280, "height": 900}, permissions=["camera"]).new_page()
                page.goto(told["url"])
                fill(page)
            finally:
                browser.close()
    except Error as error:
        sys.stderr.write(f"{str(error).splitlines()[0]}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
