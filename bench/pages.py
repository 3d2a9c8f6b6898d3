"""Brings the pages that tell figures in step with what was measured: between marks, the rest of a page is its own.

A mark is a comment in Markdown: `<!-- bench: NAME -->` before, `<!-- bench: end -->` behind.
"""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from bench.environments import ROOT
from bench.figures import spread
from bench.markdown import ranged, shown, table
from bench.report import missed, stage_table, summary_table, unmet
from bench.stages import BACKLOG
from bench.summary import Results, column, rows, times_drained

PAGES: Final = ("README.md", "docs/explanation/where-each-microsecond-goes.md")
_NOTHING: Final = ["(not measured yet: `make bench`)"]


def bring_in_step(results: Results, root: Path = ROOT) -> list[str]:
    """Write the figures into all pages; return the names of those that were not in step."""
    changed = []
    for name in PAGES:
        page = root / name
        old = page.read_text(encoding="utf-8")
        if (new := rendered(old, results)) != old:
            page.write_text(new, encoding="utf-8")
            changed.append(name)
    return changed


def rendered(page: str, results: Results) -> str:
    """Return a page with its figures. Raises `KeyError` for a mark that nobody knows."""

    def put(found: re.Match[str]) -> str:
        lines = BLOCKS[found[1]](results) or _NOTHING
        return "\n".join([f"<!-- bench: {found[1]} -->", "", *lines, "", "<!-- bench: end -->"])

    return re.sub(r"<!-- bench: (?!end)(.+?) -->\n.*?<!-- bench: end -->", put, page, flags=re.DOTALL)


def _summary(results: Results) -> list[str]:
    return summary_table(found) if (found := rows(results)) else []


def _drained(results: Results) -> list[str]:
    if "drain" not in results:
        return []
    found = results["drain"]
    lines = [
        [
            name,
            "" if name == "tellwire" else ranged(times_drained(found, name)),
            *(ranged(spread(column(its, key))) for key in ("events_per_s", "worker_us")),
        ]
        for name, its in found["runs"].items()
        if name != "echo"
    ]
    return table(["Contestant", "tellwire ÷ it", "Events a second", "Its CPU, µs an event"], lines)


def _readme(results: Results) -> list[str]:
    """The drain, and how many figures are met, with those that are not."""
    drained, found = _drained(results), rows(results)
    if not drained:
        return []
    not_met = [missed(row) for row in found if row.is_missed]
    count = f"**{len(found) - len(not_met)} of the {len(found)} figures that are aimed at are met**"
    told = f"{count}; not met: {'; '.join(not_met)}." if not_met else f"{count}."
    machine = f"Measured on {results['machine']['processor']}, a core for the worker, another one for all else."
    picture = "![Events a second by contestant](bench/plots/drain.svg)"
    return [picture, "", *drained, "", f"{told} {machine} All of it: [bench/REPORT.md](bench/REPORT.md)."]


def _stages(results: Results) -> list[str]:
    return stage_table(results["stages"]["chunks"]) if "stages" in results else []


def _parts(results: Results) -> list[str]:
    """What a worker's CPU time in a drain consists of."""
    if not {"drain", "stages"} <= results.keys():
        return []
    lines = []
    pure = sum(results["stages"]["chunks"][BACKLOG].values())
    for name in ("tellwire", "hand-written loop"):
        its = results["drain"]["runs"][name]
        whole, main = (spread(column(its, key)).median for key in ("worker_us", "main_thread_us"))
        lines.append([name, *(shown(one) for one in (pure, main - pure, whole - main)), f"**{shown(whole)}**"])
    head = ["µs an event", "The stages, without servers", "Rest of the main thread", "librdkafka's threads", "All"]
    told = f"\nIts chunks had {shown(_chunk(results))} records on average in the runs of tellwire."
    return [*table(head, lines), told]


def _chunk(results: Results) -> float:
    return spread(column(results["drain"]["runs"]["tellwire"], "records_a_chunk")).median


def _unmet(results: Results) -> list[str]:
    found = rows(results)
    if not found:
        return []
    return [*(unmet(found) or ["All figures are met."]), "", "All figures: [bench/REPORT.md](../../bench/REPORT.md)."]


BLOCKS: Final[dict[str, Callable[[Results], Sequence[str]]]] = {
    "summary": _summary,
    "readme": _readme,
    "stages": _stages,
    "parts": _parts,
    "unmet": _unmet,
}
