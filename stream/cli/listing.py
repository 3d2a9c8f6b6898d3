"""A table for a terminal, grouped under headings; names and values stay whole, only the last column wraps."""

from itertools import groupby
from textwrap import wrap
from typing import Final

GAP: Final = 2
MAX_VALUE_CHARS: Final = 20
"""Longer cells push their row's last column to the next line, instead of narrowing it for everybody."""
MIN_MEANING_CHARS: Final = 24


class Listing:
    """Rows of text under headings. Width is the terminal's, 80 where there is none."""

    def __init__(self, *columns: str) -> None:
        """`columns` are the titles; the last column is the one that wraps."""
        self._columns = columns
        self._rows: list[tuple[str, tuple[str, ...]]] = []

    def add(self, heading: str, *cells: str) -> None:
        """Add one row; rows of one heading come together."""
        self._rows.append((heading, cells))

    def print(self) -> None:
        """Write everything to standard output."""
        from rich.console import Console
        from rich.text import Text

        console = Console()
        for line, style in self.lines(console.width):
            console.print(Text(line, style=style), soft_wrap=True)

    def lines(self, width: int) -> list[tuple[str, str]]:
        """Return lines of at most `width` characters, where no single word is longer, with their styles."""
        count = len(self._columns) - 1
        widths = [
            max(len(self._columns[i]), *(min(len(cells[i]), MAX_VALUE_CHARS if i else 99) for _, cells in self._rows))
            for i in range(count)
        ]
        left = sum(widths) + GAP * count
        meaning = max(width - left, MIN_MEANING_CHARS)
        found = [(_pad([*self._columns], widths), "bold")]
        for heading, group in groupby(self._rows, key=lambda row: row[0]):
            found += [("", ""), (heading, "bold")]
            for _, cells in group:
                front = _pad([*cells[:-1], ""], widths).rstrip()
                texts = wrap(cells[-1], meaning, break_long_words=False, break_on_hyphens=False) or [""]
                if len(front) > left - GAP:
                    found.append((front, ""))
                else:
                    found.append((front.ljust(left) + texts.pop(0), ""))
                found += [(" " * left + text, "") for text in texts]
        return [(line.rstrip(), style) for line, style in found]


def _pad(cells: list[str], widths: list[int]) -> str:
    padded = [cell.ljust(width) + " " * GAP for cell, width in zip(cells, widths, strict=False)]
    return "".join(padded) + cells[-1]
