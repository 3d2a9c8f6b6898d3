"""`make faults`, `python -m tests.fault`: runs the matrix, prints it, and writes it into the documentation.

Exit status 0: every row held (and stock Faust failed where it must); 1: not; 2: something that is needed is missing.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from tests.fault import table
from tests.fault.lanes import run_in_lanes
from tests.fault.row import Budget, Outcome, Row, Verdict, load_rows
from tests.support import UnavailableError
from tests.support.kafka_jars import KAFKA_VERSION


def main(arguments: list[str]) -> int:
    """Run the command; see its --help."""
    parser = argparse.ArgumentParser(prog="python -m tests.fault", description=__doc__)
    parser.add_argument("--rows", default="", help="numbers or names, such as 1,5 or 1-kill_mid_chunk; all without it")
    parser.add_argument(
        "--budget", choices=["ci", "full"], default="full", help="ci: what CI runs, seconds a row; full: all"
    )
    parser.add_argument("--write", action="store_true", help=f"write the table into {table.PAGE.name}")
    parser.add_argument("--list", action="store_true", help="list the rows and end")
    parser.add_argument(
        "--results", type=Path, help="file that keeps results: rows that are in it are shown, not run; new ones join"
    )
    parser.add_argument("--lanes", type=int, default=2, help="rows side by side, each with servers of its own (2)")
    options = parser.parse_args(arguments)
    # Written to a file or a pipe, the table keeps a width at which it can be read.
    console = Console(width=None if sys.stdout.isatty() else 160)
    rows = load_rows()
    chosen = _choose(rows.values(), options.rows, options.budget)
    if not chosen:
        console.print(f"no row is called {options.rows!r}; --list shows them", markup=False)
        return 2
    if options.list:
        for row in chosen:
            console.print(
                f"{row.name:<36} {'ci' if row.in_ci else '':<3} {row.system:<12} {row.fault}",
                markup=False,
                highlight=False,
            )
        return 0
    kept = _read(options.results)
    try:
        results = _run(chosen, options.budget, console, kept, options.results, options.lanes)
    except UnavailableError as missing:
        console.print(str(missing), markup=False)
        return 2
    seconds = sum(outcome.took_s for _, outcome in results.values())
    title = f"Fault matrix, budget {options.budget}, {seconds / 60:.1f} min of rows, {options.lanes} at a time"
    console.print(table.rich_table(results, title))
    failed = _tell_failures(results, console)
    if options.write:
        table.write(results, _introduction(options.budget, seconds, options.lanes))
        console.print(f"written to {table.PAGE}", markup=False)
    return 1 if failed else 0


def _choose(rows: Iterable[Row], wanted: str, budget: Budget) -> list[Row]:
    names = {part.strip() for part in wanted.split(",") if part.strip()}
    if names:
        return [row for row in rows if str(row.number) in names or row.name in names]
    return [row for row in rows if row.in_ci or budget == "full"]


def _run(
    rows: list[Row], budget: Budget, console: Console, kept: dict[str, Outcome], results_file: Path | None, lanes: int
) -> table.Results:
    def began(row: Row) -> None:
        console.print(f"[dim]{time.strftime('%H:%M:%S')}[/dim] {escape(row.name)}: {escape(row.fault)}")

    for done in run_in_lanes([row for row in rows if row.name not in kept], budget, lanes, began):
        kept[done.row.name] = done.outcome
        word = table.verdict(done.row, done.outcome)
        told = f"         {done.row.name}: {word} in {done.outcome.took_s:.0f} s"
        console.print(told, markup=False, highlight=False)
        for folder in done.folders:
            console.print(f"         its logs: {folder}", markup=False)
        _write(results_file, kept)
    return {row.name: (row, kept[row.name]) for row in rows}


def _tell_failures(results: table.Results, console: Console) -> int:
    failed = 0
    for row, outcome in results.values():
        for reason in row.failures(outcome):
            failed += 1
            console.print(f"{row.name}: {reason}", style="red", markup=False)
    return failed


def _introduction(budget: Budget, seconds: float, lanes: int) -> str:
    rehearsal = "" if budget == "full" else " This is the short run of CI, not the whole proof."
    return (
        f"Measured with `make faults` on Apache Kafka {KAFKA_VERSION} and real Redis (Valkey), {os.cpu_count()} CPU "
        f"cores, {seconds / 60:.0f} minutes of rows, {lanes} at a time.{rehearsal} Recovery: from the fault until the "
        "slowest partition published again. RSS: the highest of any process. A row in which something else is named "
        "was run against it to prove that the observables see the fault."
    )


def _read(path: Path | None) -> dict[str, Outcome]:
    if path is None or not path.exists():
        return {}
    found = {}
    for name, told in json.loads(path.read_text()).items():
        verdicts = {observable: Verdict(**verdict) for observable, verdict in told.pop("verdicts").items()}
        found[name] = Outcome(**told, verdicts=verdicts)
    return found


def _write(path: Path | None, kept: dict[str, Outcome]) -> None:
    if path is not None:
        path.write_text(json.dumps({name: asdict(outcome) for name, outcome in kept.items()}, indent=1))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
