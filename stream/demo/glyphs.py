"""The marks that the demo's view draws with: bars, columns and styles, told apart without colour too.

Colours are the terminal's own (they fit dark and light themes); where there are none, the marks' density says the same.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Final

from rich.text import Text

from schemas.risk import Action

STYLES: Final[Mapping[Action, str]] = {"allow": "green", "step_up": "dark_orange", "block": "red"}
WORDS: Final[Mapping[Action, str]] = {"allow": "allow", "step_up": "step up", "block": "block"}
FLOW_WORDS: Final[Mapping[str, str]] = {"kyc_capture": "kyc", "high_risk_action": "high risk"}
MUTED: Final = "dim"
ACCENT: Final = "cyan"


@dataclasses.dataclass(frozen=True, slots=True)
class Glyphs:
    """One character a mark; `columns` are heights from an eighth up to full."""

    bars: Mapping[Action, str]
    columns: str
    rule: str
    person: str
    bot: str
    dot: str
    arrow: str


UNICODE: Final = Glyphs({"allow": "░", "step_up": "▒", "block": "█"}, "▁▂▃▄▅▆▇█", "─", "○", "●", "·", "→")
ASCII: Final = Glyphs({"allow": ".", "step_up": "+", "block": "#"}, ".:-=+*%#", "-", "o", "*", "-", "->")


def heading(words: str, width: int, glyphs: Glyphs, note: str = "") -> Text:
    """A section's title with a rule to the right end, and a note at its end; where they don't fit, one word of it."""
    tail = f" {note}" if note else ""
    if len(words) + len(tail) + 3 > width:
        words = words.partition(" ")[0]
    rule = glyphs.rule * max(0, width - len(words) - len(tail) - 2)
    return Text.assemble((f" {words}", "bold"), " ", (rule, MUTED), (tail, MUTED))


def bar(counts: Mapping[Action, int], width: int, glyphs: Glyphs) -> Text:
    """Shares of the actions as one bar of `width`; whatever occurred has at least one cell."""
    total = sum(counts.values())
    if total == 0:
        return Text(" " * width)
    cells = {action: max(1, round(width * n / total)) if n else 0 for action, n in counts.items()}
    while sum(cells.values()) > width:
        cells[max(cells, key=lambda action: cells[action])] -= 1
    while sum(cells.values()) < width:
        cells[max(counts, key=lambda action: counts[action])] += 1
    return Text.assemble(*((glyphs.bars[action] * n, STYLES[action]) for action, n in cells.items()))


def spark(values: Sequence[float], glyphs: Glyphs) -> str:
    """One row of columns, scaled to the greatest value; zero is blank."""
    return columns(values, 1, glyphs)[0]


def columns(values: Sequence[float], height: int, glyphs: Glyphs, *, root: bool = False) -> list[str]:
    """Columns of `height` rows, top row first; with `root` heights go with the square root, so that few is seen too."""
    top = max(values, default=0.0)
    steps = len(glyphs.columns)
    rows = [""] * height
    for value in values:
        share = value / top if top > 0 else 0.0
        filled = math.ceil((math.sqrt(share) if root else share) * height * steps) if value > 0 else 0
        for row in range(height):
            level = min(steps, max(0, filled - (height - 1 - row) * steps))
            rows[row] += glyphs.columns[level - 1] if level else " "
    return rows


def number(n: float) -> str:
    """A whole number with thin groups, as `12 345`."""
    return f"{n:,.0f}".replace(",", " ")
