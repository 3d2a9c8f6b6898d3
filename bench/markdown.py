"""Markdown of the figures: tables, numbers with about three digits, medians with their range."""

from collections.abc import Sequence

from bench.figures import Spread


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return a Markdown table; all columns but the first are numbers."""
    align = ["---", *["---:"] * (len(head) - 1)]
    return ["| " + " | ".join(row) + " |" for row in (head, align, *rows)]


def shown(value: float) -> str:
    """Return a number with about three digits."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def ranged(found: Spread) -> str:
    """Return a median with its range, where it has one."""
    if found.low == found.high:
        return shown(found.median)
    return f"{shown(found.median)} ({shown(found.low)} to {shown(found.high)})"
