"""`make pictures`: runs the demo, uses its page in a real Chromium, and takes the pictures and recording of the docs.

The browser is driven, so the page tells its session as a bot's, which is what the pictures show. Numbers are those of
the machine at that moment.
"""

from __future__ import annotations

import argparse
import io
import itertools
import json
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from PIL import Image

from tests.support.browser import driven

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

ROOT: Final = Path(__file__).resolve().parents[2]
ENTRIES: Final = {"name": "Ann Example", "email": "ann@example.org", "phone": "+1 555 0100", "document": "X1234567"}
COLOURS: Final = 192
"""Of a picture: as many as a page of flat areas and text needs, in a third of the bytes."""
FILM_WIDTH: Final = 1_000
FRAME_S: Final = 0.25
LAST_S: Final = 2.5
"""For so long the recording rests on its last frame, s."""


@dataclass
class Film:
    """Frames of the page with their times."""

    page: Page
    frames: list[tuple[float, bytes]] = field(default_factory=list)

    def roll(self, seconds: float) -> None:
        """Take frames for so long."""
        until = time.monotonic() + seconds
        while (now := time.monotonic()) < until:
            self.frames.append((now, self.page.screenshot(type="jpeg", quality=92)))
            self.page.wait_for_timeout(max(0.0, 1000 * (now + FRAME_S - time.monotonic())))

    def save(self, path: Path) -> None:
        """Write an animated WebP that keeps the time."""
        pictures = []
        for _, frame in self.frames:
            picture = Image.open(io.BytesIO(frame)).convert("RGB")
            height = round(picture.height * FILM_WIDTH / picture.width)
            pictures.append(picture.resize((FILM_WIDTH, height), Image.Resampling.LANCZOS))
        times = [at for at, _ in self.frames]
        lasting = [round(1000 * (after - at)) for at, after in itertools.pairwise(times)]
        pictures[0].save(
            path, save_all=True, append_images=pictures[1:], duration=[*lasting, round(1000 * LAST_S)], loop=0,
            quality=62, method=4, minimize_size=True,
        )  # fmt: skip


def main() -> int:
    """Take all pictures; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.pictures", description=main.__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "img", help="folder to write to")
    parser.add_argument("--rate", default="3", help="simulated sessions a second")
    options = parser.parse_args()
    command = [sys.executable, "-m", "stream", "demo", "--json", "--keep", "--rate", options.rate]
    demo = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert demo.stdout is not None
    try:
        url = json.loads(demo.stdout.readline())["page"]
        # Something has flowed past before the first picture.
        for _ in range(60):
            demo.stdout.readline()
        with driven() as browser:
            take(browser, url, options.out)
    finally:
        demo.terminate()
        demo.communicate()
    return 0


def take(browser: Browser, url: str, out: Path) -> None:
    """Use the page, and take its pictures."""
    context = browser.new_context(
        viewport={"width": 1440, "height": 1040}, permissions=["camera"], reduced_motion="reduce", color_scheme="light"
    )
    page = context.new_page()
    page.goto(url)
    page.wait_for_function("() => document.documentElement.dataset.ready === 'true'")
    film = Film(page)
    film.roll(1.5)
    page.click("#agree-all")
    film.roll(0.8)
    for name, text in ENTRIES.items():
        box = page.locator(f"#{name}").bounding_box()
        assert box is not None
        page.mouse.move(box["x"] + 60, box["y"] + 18, steps=18)
        page.mouse.down()
        page.mouse.up()
        for piece in (text[: len(text) // 2], text[len(text) // 2 :]):
            page.keyboard.type(piece, delay=45)
            film.roll(0.6)
        if name == "email":
            page.mouse.move(1400, 120, steps=20)
            page.click("#unleash")
            film.roll(1.0)
    page.click("#camera-open")
    film.roll(2.5)
    page.wait_for_function("() => document.querySelectorAll('.run .reasons li').length >= 3", timeout=60_000)
    film.roll(3.0)
    film.save(out / "demo.webp")
    keep(page, out / "demo-light.png")
    page.emulate_media(color_scheme="dark")
    keep(page, out / "demo-dark.png")
    page.emulate_media(color_scheme="light")
    page.set_viewport_size({"width": 390, "height": 844})
    page.evaluate("() => scrollTo(0, document.querySelector('#you').offsetTop - 60)")
    keep(page, out / "demo-phone.png", whole=False)
    context.close()


def keep(page: Page, path: Path, *, whole: bool = True) -> None:
    """Take one picture, in few colours."""
    page.wait_for_timeout(600)
    picture = Image.open(io.BytesIO(page.screenshot(full_page=whole))).convert("RGB")
    picture.quantize(COLOURS, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE).save(path, optimize=True)


if __name__ == "__main__":
    sys.exit(main())
