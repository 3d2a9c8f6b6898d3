"""The whole demo, nothing of it a stand-in, seen through its page: `tellwire demo` as a process, Chromium in front.

The browser is driven, so it is a bot, and is told as one.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.stream.demo.page.test_page import wait_text
from tests.support.process import end

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


def test_who_uses_the_page_sees_their_own_score_and_a_bots(chromium: Browser) -> None:
    command = [sys.executable, "-m", "stream", "demo", "--json", "--keep", "--rate", "2"]
    demo = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert demo.stdout is not None
    try:
        started = json.loads(demo.stdout.readline())
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+", started["page"])
        context = chromium.new_context(permissions=["camera"])
        page = context.new_page()
        page.set_default_timeout(90_000)
        page.goto(started["page"])
        page.click("#agree-all")
        page.select_option("#bot-kind", "http_forged")
        page.click("#unleash")
        page.mouse.move(40, 300)
        page.mouse.move(300, 500, steps=20)
        page.click("#name")
        page.keyboard.type("Ann of the test", delay=20)
        wait_text(page, "#reasons", "Webdriver true")
        assert page.text_content("#action-word") in ("Step up", "Block")
        page.wait_for_function("() => /ms$/.test(document.querySelector('#ms-browser').textContent)")
        page.click("#submit")
        wait_text(page, "#action-about", "Final.")
        page.wait_for_function("() => document.querySelectorAll('.run .reasons li').length > 0")
        page.wait_for_function("() => document.querySelectorAll('#rows tr').length > 1")
        wait_text(page, "#crowd-numbers", "risk events")
        # Sessions are told by short references alone.
        shown = page.content()
        assert "Ann of the test" not in shown
        assert not re.search(r"\bs[_-][A-Za-z0-9_-]{12,}", shown)
        context.close()
    finally:
        end(demo, wait_s=30)
        demo.stdout.close()
        assert demo.stderr is not None
        demo.stderr.close()
