"""The matrix as a table: for a terminal, and as Markdown between markers in a page of the documentation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite
from pathlib import Path

from rich.markup import escape
from rich.table import Table

from tests.fault.row import Outcome, Row

PAGE = Path(__file__).resolve().parents[2] / "docs" / "explanation" / "guarantees.md"
BEGIN = "<!-- fault-matrix: written by `make faults ARGS=--write`, not by hand -->"
END = "<!-- fault-matrix: end -->"
HEADINGS = ("#", "Fault", "Runs", "Events", "Observables", "Recovery, s", "RSS, MB", "Verdict")

Results = Mapping[str, tuple[Row, Outcome]]


def cells(row: Row, outcome: Outcome) -> tuple[str, ...]:
    """Return a row's cells, in the order of `HEADINGS`."""
    fault = row.fault + (f". {outcome.note}" if outcome.note else "")
    return (
        str(row.number),
        fault,
        str(outcome.runs),
        f"{outcome.events:,}".replace(",", " "),
        ", ".join(_observable(row, outcome, name) for name in row.observables),
        _recovery(_meant(row, outcome.recovery_s)),
        f"{outcome.rss_mb:.0f}" if outcome.rss_mb else "",
        verdict(row, outcome),
    )


def verdict(row: Row, outcome: Outcome) -> str:
    """Return one or few words: held, failed, or that stock Faust fails, as it must."""
    if row.failures(outcome):
        return "FAILED"
    if row.must_fail:
        return f"{row.system}: fails, as it must"
    return "held"


def _observable(row: Row, outcome: Outcome, name: str) -> str:
    found = outcome.verdicts.get(name)
    if found is None:
        return f"{name}: not checked"
    if name in row.must_fail:
        return f"{name} held" if found.ok else f"{name} fails"
    return name if found.ok else f"{name} FAILED"


def _meant(row: Row, figures: Sequence[float]) -> Sequence[float]:
    """Where recovery is no observable, nothing new may come behind a fault that would show it."""
    if row.must_fail or "I5" in row.observables:
        return figures
    return [figure for figure in figures if isfinite(figure)]


def _recovery(figures: Sequence[float]) -> str:
    if not figures:
        return ""
    ordered = sorted(figures)
    middle, worst = (
        f"{figure:.1f}" if isfinite(figure) else "never" for figure in (ordered[len(ordered) // 2], ordered[-1])
    )
    return worst if len(ordered) == 1 else f"median {middle}, longest {worst}"


def rich_table(results: Results, title: str) -> Table:
    """Return the table for a terminal, with the reasons of what failed below each row."""
    table = Table(title=title, show_lines=True)
    for heading in HEADINGS:
        table.add_column(heading, justify="right" if heading in {"#", "Runs", "Events", "RSS, MB"} else "left")
    for row, outcome in results.values():
        shown = [escape(cell) for cell in cells(row, outcome)]
        failures = row.failures(outcome)
        shown[-1] = f"[red]{shown[-1]}[/red]" if failures else f"[green]{shown[-1]}[/green]"
        table.add_row(*shown)
    return table


def markdown(results: Results) -> str:
    """Return the table as Markdown."""
    lines = ["| " + " | ".join(HEADINGS) + " |", "|" + "---|" * len(HEADINGS)]
    lines += [
        "| " + " | ".join(cell.replace("|", "\\|") for cell in cells(row, outcome)) + " |"
        for row, outcome in results.values()
    ]
    return "\n".join(lines)


def write(results: Results, introduction: str, page: Path = PAGE) -> None:
    """Put the table between its markers on the page; makes the markers at the end where they are missing."""
    text = page.read_text(encoding="utf-8") if page.exists() else "# What is guaranteed\n"
    block = f"{BEGIN}\n\n{introduction}\n\n{markdown(results)}\n\n{END}"
    before, found, rest = text.partition(BEGIN)
    if not found:
        text = f"{text.rstrip()}\n\n{block}\n"
    else:
        _, _, after = rest.partition(END)
        text = f"{before}{block}{after}"
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(text, encoding="utf-8")
