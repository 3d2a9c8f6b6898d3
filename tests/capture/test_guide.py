"""The guide for app teams: its code runs as it is written, and its table of consents is the collector's."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest

from tests.support import collector, pages
from tests.support.capture_site import CaptureSite
from tests.support.captured import checked, distinct, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import BrowserContext

PAGE = "docs/how-to/emit-telemetry-from-a-page.md"
GUIDE = (collector.ROOT / PAGE).read_text()


@pytest.fixture
def guided(request: pytest.FixtureRequest) -> Iterator[CaptureSite]:
    here: Path = request.path.parent
    site = CaptureSite({"/tellwire/": collector.BROWSER, "/": here / "site"})
    yield site
    site.close()


def test_its_code_runs(context: BrowserContext, guided: CaptureSite) -> None:
    assert pages.blocks(PAGE, "html") == ['<script src="/tellwire/tellwire.js"></script>\n']
    blocks = pages.blocks(PAGE, "js")
    assert len(blocks) == 3
    grant = {"endpoint": f"{guided.url}/v1/telemetry", "session_id": "s_guide", "nonce": "n", "token": "v1.t"}
    assert set(json.loads(pages.blocks(PAGE, "json")[0])) == set(grant)
    page = context.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(f"{guided.url}/guide.html")
    code = "\n".join([*blocks[:2], "await new Promise((resolve) => setTimeout(resolve, 2500));", *blocks[2:]])
    page.evaluate(f"async (session) => {{ {code.replace('done();', 'setTimeout(done, 2000);')} }}", grant)
    page.goto("about:blank")
    wait_for(lambda: any("end" in event for event in guided.events()))
    events = checked(distinct(guided.events()))
    assert any(event.capture and event.capture.camera_label for event in events)
    assert any(event.device for event in events)
    assert events[-1].end
    assert errors == []


def test_its_consents_are_the_collectors() -> None:
    types = (collector.FOLDER / "src" / "options.ts").read_text()
    declared = re.findall(
        r"^  (\w+)\?: boolean;", types.partition("interface Consent")[2].partition("}")[0], re.MULTILINE
    )
    assert re.findall(r"^\| `(\w+)` \|", GUIDE, re.MULTILINE) == declared
