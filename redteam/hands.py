"""How an attacker clicks and types: as the tool does by itself, by humanised cursor packages, as an agent, as a replay.

A hand works on a `Browser` (see `redteam.browsers`). Times are ms, positions CSS px of the viewport.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

Step = tuple[float, float, float]
"""Ms from the beginning of the path, x, y."""
Cursor = Callable[[tuple[float, float], tuple[float, float], random.Random], list[Step]]
"""A path from a point to another."""
MOUSE_MS = 8.0
"""Between samples of packages whose paths have no times: a usual mouse's 125 Hz."""


class Browser(Protocol):
    """What hands need of a driven browser."""

    def js(self, expression: str) -> Any:
        """Value of a JavaScript expression in the page."""

    def move(self, x: float, y: float) -> None:
        """Move the pointer there at once."""

    def down(self) -> None:
        """Press the left button."""

    def up(self) -> None:
        """Release the left button."""

    def wheel(self, pixels: float) -> None:
        """Turn the wheel."""

    def key_down(self, char: str) -> None:
        """Press the key of a character."""

    def key_up(self, char: str) -> None:
        """Release it."""

    def insert(self, text: str) -> None:
        """Put a whole text into what has focus."""

    def click(self, selector: str) -> None:
        """Click in the tool's own way."""

    def type(self, selector: str, text: str) -> None:
        """Click and type in the tool's own way."""


class Hand(Protocol):
    """A way to click and type."""

    def click(self, selector: str) -> None:
        """Click an element."""

    def type(self, selector: str, text: str) -> None:
        """Click a field and type a text into it."""


def box_of(browser: Browser, selector: str) -> tuple[float, float, float, float]:
    """x, y, width, height of an element that is scrolled into view by the wheel where it is not."""
    x = y = width = height = 0.0
    for _ in range(60):
        x, y, width, height, view = browser.js(
            f"(() => {{ const r = document.querySelector({selector!r}).getBoundingClientRect();"
            " return [r.x, r.y, r.width, r.height, innerHeight]; })()"
        )
        if y >= 0 and y + height <= view:
            break
        browser.wheel(120.0 if y > 0 else -120.0)
        time.sleep(0.09)
    return float(x), float(y), float(width), float(height)


def follow(browser: Browser, steps: Sequence[Step]) -> None:
    """Move along a path, each step at its time."""
    began = time.monotonic()
    for at_ms, x, y in steps:
        _until(began + at_ms / 1000.0)
        browser.move(round(x, 1), round(y, 1))


def _until(moment_s: float) -> None:
    left = moment_s - time.monotonic()
    if left > 0:
        time.sleep(left)


class Own:
    """Everything as the tool does it by itself."""

    def __init__(self, browser: Browser) -> None:
        self._browser = browser

    def click(self, selector: str) -> None:
        """Click an element."""
        self._browser.click(selector)

    def type(self, selector: str, text: str) -> None:
        """Click a field and type a text into it."""
        self._browser.type(selector, text)


class Humanised:
    """A path from a cursor package to somewhere in the target, a rest, a held press; keys at drawn intervals."""

    def __init__(self, browser: Browser, cursor: Cursor, dice: random.Random) -> None:
        self._browser, self._cursor, self._dice = browser, cursor, dice
        self._at = (dice.uniform(100, 900), dice.uniform(80, 600))
        browser.move(*self._at)

    def click(self, selector: str) -> None:
        """Click an element."""
        dice = self._dice
        x, y, width, height = box_of(self._browser, selector)
        goal = (x + width * dice.uniform(0.2, 0.8), y + height * dice.uniform(0.25, 0.75))
        follow(self._browser, self._cursor(self._at, goal, dice))
        self._browser.move(*goal)
        self._at = goal
        time.sleep(dice.uniform(0.06, 0.28))
        self._browser.down()
        time.sleep(dice.uniform(0.05, 0.13))
        self._browser.up()
        time.sleep(dice.uniform(0.12, 0.4))

    def type(self, selector: str, text: str) -> None:
        """Click a field and type a text into it."""
        self.click(selector)
        for char in text:
            self._browser.key_down(char)
            time.sleep(min(0.25, max(0.03, self._dice.gauss(0.09, 0.02))))
            self._browser.key_up(char)
            time.sleep(min(0.9, self._dice.lognormvariate(math.log(0.07), 0.5)))


class Agent:
    """A language model's way: long thought, then a burst; clicks out of nowhere, whole values, jumps of the page."""

    def __init__(self, browser: Browser, dice: random.Random) -> None:
        self._browser, self._dice = browser, dice
        self._think()

    def _think(self) -> None:
        time.sleep(min(4.0, self._dice.lognormvariate(math.log(1.3), 0.5)))

    def click(self, selector: str) -> None:
        """Click an element."""
        self._think()
        x, y, width, height = box_of(self._browser, selector)
        self._browser.move(x + width / 2, y + height / 2)
        self._browser.down()
        self._browser.up()

    def type(self, selector: str, text: str) -> None:
        """Click a field and put a whole value into it."""
        self.click(selector)
        self._browser.insert(text)


class Replayed:
    """A recorded person's strokes, turned and stretched to the page's targets, and their key times, played again.

    strokes: each a list of `[ms, x, y]` between two rests; keys: pairs `[hold, gap]`, ms. `noise_px` and `stretch` make
    every copy a little different; without them all copies of a seed are the same.
    """

    def __init__(
        self,
        browser: Browser,
        strokes: Sequence[Sequence[Step]],
        keys: Sequence[tuple[float, float]],
        dice: random.Random,
        *,
        noise_px: float,
        stretch: float,
    ) -> None:
        self._browser, self._strokes, self._keys, self._dice = browser, strokes, keys, dice
        self._noise_px, self._stretch = noise_px, stretch
        self._n_strokes = self._n_keys = 0
        self._at = (400.0, 300.0)
        browser.move(*self._at)

    def click(self, selector: str) -> None:
        """Click an element."""
        x, y, width, height = box_of(self._browser, selector)
        stroke = self._strokes[self._n_strokes % len(self._strokes)]
        # Where in the target differs by stroke, and is the same in every copy.
        share = 0.3 + 0.4 * ((self._n_strokes * 0.618) % 1.0)
        self._n_strokes += 1
        goal = (x + width * share, y + height * (0.35 + 0.3 * share))
        pace = 1.0 + self._dice.gauss(0.0, self._stretch)
        steps = [
            (at * pace, px + self._dice.gauss(0.0, self._noise_px), py + self._dice.gauss(0.0, self._noise_px))
            for at, px, py in morphed(stroke, self._at, goal)
        ]
        follow(self._browser, steps)
        self._browser.move(*goal)
        self._at = goal
        time.sleep(0.12 * pace)
        self._browser.down()
        time.sleep(0.085 * pace)
        self._browser.up()
        time.sleep(0.25 * pace)

    def type(self, selector: str, text: str) -> None:
        """Click a field and type a text into it."""
        self.click(selector)
        for char in text:
            hold_ms, gap_ms = self._keys[self._n_keys % len(self._keys)]
            self._n_keys += 1
            pace = 1.0 + self._dice.gauss(0.0, self._stretch)
            self._browser.key_down(char)
            time.sleep(max(0.02, hold_ms * pace / 1000.0))
            self._browser.key_up(char)
            time.sleep(max(0.005, min(1.5, gap_ms * pace / 1000.0)))


def morphed(stroke: Sequence[Step], start: tuple[float, float], end: tuple[float, float]) -> list[Step]:
    """A stroke turned and stretched so that it leads from `start` to `end`; its times stay."""
    _, x0, y0 = stroke[0]
    _, x1, y1 = stroke[-1]
    had, wanted = complex(x1 - x0, y1 - y0), complex(end[0] - start[0], end[1] - start[1])
    if abs(had) < 1.0:
        return [(stroke[-1][0] - stroke[0][0], *end)]
    turn = wanted / had
    found = []
    for at, x, y in stroke:
        moved = complex(*start) + turn * complex(x - x0, y - y0)
        found.append((at - stroke[0][0], moved.real, moved.imag))
    return found


def cursor_of(name: str) -> Cursor:
    """The path function of a cursor package. Raises ImportError where it is not installed."""
    if name == "cursory":
        import cursory

        def cursory_path(start: tuple[float, float], end: tuple[float, float], dice: random.Random) -> list[Step]:
            points, times = cursory.generate_trajectory(start, end, seed=dice.getrandbits(32))
            return [(float(t), float(x), float(y)) for t, (x, y) in zip(times, points, strict=True)]

        return cursory_path
    if name == "windmouse":
        from windmouse.core import Coordinate, wind_mouse

        def wind_path(start: tuple[float, float], end: tuple[float, float], dice: random.Random) -> list[Step]:
            del dice  # it throws numpy's, which are seeded as well
            places = [Coordinate(round(each)) for each in (*start, *end)]
            return [(n * MOUSE_MS, float(x), float(y)) for n, (x, y) in enumerate(wind_mouse(*places))]

        return wind_path
    if name == "humancursor":
        from humancursor.utilities.human_curve_generator import HumanizeMouseTrajectory

        def human_path(start: tuple[float, float], end: tuple[float, float], dice: random.Random) -> list[Step]:
            count = dice.randint(40, 90)
            points = HumanizeMouseTrajectory(
                [round(start[0]), round(start[1])], [round(end[0]), round(end[1])], target_points=count
            ).points
            return [(n * MOUSE_MS, float(x), float(y)) for n, (x, y) in enumerate(points)]

        return human_path
    msg = f"no cursor is called {name}"
    raise ValueError(msg)
