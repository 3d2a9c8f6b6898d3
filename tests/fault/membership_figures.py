"""Measures how long partitions stand still when workers are restarted, killed or added, with each group protocol.

`python -m tests.fault.membership_figures [--only "classic,static classic"] [--rounds 3]` runs three real workers on a
real Kafka and a real Redis, six partitions, 300 events a second, and prints one line of a Markdown table for each way
to run the group: lowest and highest of the rounds, each of the worst partition, in seconds. Nothing else should run.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from tests.fault.members import CLASSIC, COOPERATIVE, STATIC, Members, Mode, consumer_mode
from tests.fault.row import Needs, Outcome, Row
from tests.fault.trial import Grounds, Trial, run_row

MODES = (
    CLASSIC,
    COOPERATIVE,
    replace(consumer_mode(45, 5), name="consumer, Kafka's defaults", broker=()),
    replace(consumer_mode(10, 1), name="consumer, 10 s and 1 s"),
    replace(consumer_mode(6, 0.5), name="consumer, 6 s and 0.5 s"),
    STATIC,
    replace(consumer_mode(30, 1, is_static=True), name="static consumer, 30 s and 1 s"),
)
HEAD = ("group", "planned restart", "kill -9", "a worker more", "start", "stop", "events", "repeats, marked")


def measure(mode: Mode, rounds: int) -> tuple[dict[str, str], Outcome]:
    """Run one mode; return a table row, and the outcome with what was wrong, if anything was."""
    cells: dict[str, str] = {"group": mode.name}

    def run(trial: Trial) -> None:
        members = Members(trial, mode)
        members.begin(3)
        for turn in range(rounds):
            with members.phase("planned restart"):
                members.restart(turn % 3)
        for turn in range(rounds):
            _kill(members, turn % 3)
        evidence = members.finish()
        for name, found in (members.stalls_s(evidence) | members.times_s).items():
            cells[name] = f"{min(found):.1f} to {max(found):.1f}"
        cells["events"] = f"{evidence.report.scored:,}".replace(",", " ")
        cells["repeats, marked"] = str(evidence.report.replayed_repeats)

    with Grounds() as grounds:
        outcome = run_row(_row(mode, run), "full", grounds, _kept)
    return cells, outcome


def _kill(members: Members, number: int) -> None:
    if members.mode.is_static and members.mode.protocol != "consumer":
        # The successor of the same name takes the dead one's place at once.
        with members.phase("kill -9"):
            members.kill(number)
            members.start(number)
        return
    with members.phase("kill -9", settle_s=members.mode.session_s + 5.0):
        members.kill(number)
    with members.phase("a worker more"):
        members.start(number)


def _row(mode: Mode, run: Callable[[Trial], None]) -> Row:
    needs = Needs(own_broker=True, own_redis=True, broker_properties=mode.broker)
    return Row(0, mode.name, ("I1", "I3"), needs, (), run, "tellwire", in_ci=False)


def _kept(folder: Path) -> None:
    print(f"logs: {folder}", file=sys.stderr)


def main(arguments: Sequence[str]) -> int:
    """Measure what was asked for; 1 where an event was lost or a commit passed unfinished work."""
    parser = argparse.ArgumentParser(prog="python -m tests.fault.membership_figures", description=__doc__)
    parser.add_argument("--only", default="", help="names of ways to run the group, with ';' between; all without it")
    parser.add_argument("--rounds", type=int, default=3, help="restarts, and kills, of each")
    given = parser.parse_args(arguments)
    wanted = {name.strip() for name in given.only.split(";") if name.strip()}
    failed = False
    print("| " + " | ".join(HEAD) + " |\n" + "|---" * len(HEAD) + "|", flush=True)
    for mode in MODES:
        if wanted and mode.name not in wanted:
            continue
        cells, outcome = measure(mode, given.rounds)
        print("| " + " | ".join(cells.get(name, "") for name in HEAD) + " |", flush=True)
        wrong = _row(mode, lambda _: None).failures(outcome)
        failed = failed or bool(wrong)
        for line in wrong:
            print(f"{mode.name}: {line}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
