"""`python -m bench`: measures tellwire beside its contestants and writes `bench/REPORT.md` with its plots.

Real Kafka, real Redis; generator, worker and verifier in separate processes, pinned alike for all. What is measured in
one section is measured in one run, interleaved; a section that is not measured anew keeps the figures that it had.
"""

import argparse
import json
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench import guard, report
from bench.drain import Load, by_contestant, over
from bench.environments import IN_DRAIN, PROFILER, ROOT, set_up, versions
from bench.figures import spread
from bench.latency import beside_the_echo
from bench.machine import describe, pin
from bench.plan import PLANS, Plan
from bench.reasons import shares
from bench.worker_facts import flame_graph, memory, stalls, start, store_bytes
from bench.world import Failed, World
from tests.support import UnavailableError

RESULTS = ROOT / "bench" / "results.json"
PLOTS = ROOT / "bench" / "plots"
SECTIONS = ("drain", "latency", "scale", "memory", "start", "store", "stalls", "workload", "scoring", "flame")


def _half(results: dict[str, Any]) -> float:
    """Return half of the drain rate that was measured last, in tens."""
    runs = results.get("drain", {}).get("runs", {}).get("tellwire")
    if not runs:
        raise Failed("half of the drain rate is not known: measure `drain` first")
    return float(spread([run["events_per_s"] for run in runs]).median // 20 * 10)


def _scoring(world: World) -> dict[str, Any]:
    """Return what scoring one event by itself takes, on the worker's core; see `bench.scoring`."""
    process = subprocess.Popen([sys.executable, "-m", "bench.scoring", "--json"], stdout=subprocess.PIPE)
    pin(process.pid, world.cores.worker)
    said, _ = process.communicate()
    if process.returncode:
        raise Failed("bench.scoring failed")
    found: dict[str, Any] = json.loads(said)
    return found


def measure(world: World, plan: Plan, name: str, results: dict[str, Any]) -> dict[str, Any]:
    """Measure one section. Raises `Failed`."""
    if name == "drain":
        skipped = {}
        for contestant in IN_DRAIN:
            if contestant.lock is not None and (why := set_up(contestant.lock)) is not None:
                skipped[contestant.name] = why
        return by_contestant(world, plan.events, plan.rounds, skipped)
    if name == "memory":
        return memory(world, min(1_000.0, _half(results)), plan.memory_s)
    if name == "flame":
        why = set_up(PROFILER) or flame_graph(world, plan.events, 10, PLOTS / "flame.svg")
        return {"why_not": why}
    rates = [*plan.rates]
    if name in {"latency", "stalls"}:
        rates.append(_half(results))
    steps: dict[str, Callable[[], dict[str, Any]]] = {
        "latency": lambda: beside_the_echo(world, rates, plan.loop_s, plan.rounds),
        "scale": lambda: over(world, plan.loads(), plan.rounds),
        "start": lambda: start(world, plan.starts),
        "store": lambda: store_bytes(world, Load(plan.events)),
        "stalls": lambda: stalls(world, plan.events, rates[-1], plan.loop_s),
        "workload": lambda: shares(world, Load(plan.events)),
        "scoring": lambda: _scoring(world),
    }
    return steps[name]()


def main() -> int:
    """Measure, write results and report; exit status 1 where something could not be measured."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--plan", choices=PLANS, default="short", help="how much is measured")
    parser.add_argument("--full", action="store_const", const="full", dest="plan", help="the same as --plan full")
    parser.add_argument("--rounds", type=int, help="interleaved repetitions, instead of the plan's")
    parser.add_argument("--events", type=int, help="backlog, instead of the plan's")
    parser.add_argument("--only", default=",".join(SECTIONS), help="sections, comma-separated: " + ", ".join(SECTIONS))
    parser.add_argument("--results", type=Path, default=RESULTS, help="file of the figures, read first and written")
    parser.add_argument("--report", action="store_true", help="only write the report anew from the figures")
    parser.add_argument("--guard", action="store_true", help="compare the worker with the hand-written loop, no report")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    options = parser.parse_args()
    wanted = options.only.split(",")
    if unknown := set(wanted) - set(SECTIONS):
        parser.error(f"unknown section {', '.join(sorted(unknown))}")
    results: dict[str, Any] = json.loads(options.results.read_text()) if options.results.is_file() else {}
    failures: list[str] = []
    try:
        if options.guard:
            with tempfile.TemporaryDirectory() as folder, World(Path(folder)) as world:
                return guard.compare(world, as_json=options.json)
        if not options.report:
            given = {name: value for name in ("rounds", "events") if (value := getattr(options, name)) is not None}
            failures = _measure_all(replace(PLANS[options.plan], **given), wanted, results, options.results)
    except UnavailableError as missing:
        print(missing, file=sys.stderr)
        return 2
    report.write(results, ROOT / "bench" / "REPORT.md", PLOTS)
    if options.json:
        print(json.dumps(results, indent=1))
    for failure in failures:
        print(failure, file=sys.stderr)
    return 1 if failures else 0


def _measure_all(plan: Plan, wanted: list[str], results: dict[str, Any], file: Path) -> list[str]:
    failures = []
    PLOTS.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, World(Path(folder)) as world:
        for name in (name for name in SECTIONS if name in wanted):
            began = time.monotonic()
            print(f"{name} ...", end=" ", file=sys.stderr, flush=True)
            try:
                found = measure(world, plan, name, results)
            except Failed as failed:
                failures.append(f"{name}: {failed}")
                print("failed", file=sys.stderr)
                continue
            print(f"{time.monotonic() - began:.0f} s", file=sys.stderr)
            arguments = shlex.join(sys.argv[1:])
            command = f"make bench ARGS='{arguments}'" if arguments else "make bench"
            results[name] = found | {"command": command, "rounds": plan.rounds}
            results["machine"] = describe()
            results["versions"] = {one.name: versions(one) for one in IN_DRAIN}
            # After each section: a long run that is cut off keeps what it has.
            file.write_text(json.dumps(results, indent=1) + "\n")
    return failures


if __name__ == "__main__":
    sys.exit(main())
