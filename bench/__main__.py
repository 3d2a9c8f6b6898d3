"""`python -m bench`: measures tellwire beside its contestants and writes `bench/REPORT.md` with its plots.

Real Kafka, real Redis; generator, worker and verifier in separate processes, pinned alike for all. What is measured in
one section is measured in one run, interleaved; a section that is not measured anew keeps the figures that it had, and
one that fails costs only itself. README and the page on where the time goes get the figures, too.
"""

import argparse
import json
import shlex
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench import guard, pages, report
from bench.drain import Load, by_contestant, over
from bench.environments import IN_DRAIN, PROFILER, ROOT, set_up, versions
from bench.figures import spread
from bench.latency import beside_the_echo
from bench.machine import describe
from bench.outcome import Failed
from bench.plan import PLANS, Plan
from bench.reasons import shares
from bench.worker_facts import flame_graph, memory, stalls, start, store_bytes
from bench.world import World
from tests.support import UnavailableError

RESULTS = ROOT / "bench" / "results.json"
PLOTS = "plots"
SECTIONS = ("workload", "drain", "latency", "scoring", "stages", "stalls", "scale", "store", "start", "memory", "flame")
"""In the order in which they are measured: what others rest on, and what is asked for most, first."""


def _half(results: dict[str, Any]) -> float:
    """Return half of the drain rate that was measured last, in tens."""
    runs = results.get("drain", {}).get("runs", {}).get("tellwire")
    if not runs:
        raise Failed("half of the drain rate is not known: measure `drain` first")
    return float(spread([run["events_per_s"] for run in runs]).median // 20 * 10)


def _drain(world: World, plan: Plan) -> dict[str, Any]:
    skipped = {}
    for contestant in IN_DRAIN:
        if contestant.lock is not None and (why := set_up(contestant.lock)) is not None:
            skipped[contestant.name] = why
    return by_contestant(world, Load(plan.events, sessions=plan.live), plan.rounds, skipped)


def measure(world: World, plan: Plan, name: str, results: dict[str, Any], plots: Path) -> dict[str, Any]:
    """Measure one section. Raises `Failed`."""
    steps: dict[str, Callable[[], dict[str, Any]]] = {
        "workload": lambda: shares(world, Load(plan.events)),
        "drain": lambda: _drain(world, plan),
        "latency": lambda: beside_the_echo(world, [*plan.rates, _half(results)], plan.loop_s, plan.rounds),
        "scoring": lambda: json.loads(world.said("-m", "bench.scoring", "--json")),
        "stages": lambda: json.loads(world.said("-m", "bench.stages", "--json")),
        "stalls": lambda: stalls(world, plan.events, _half(results), plan.loop_s),
        "scale": lambda: over(world, plan.loads(), plan.rounds),
        "store": lambda: store_bytes(world, Load(plan.events)),
        "start": lambda: start(world, plan.starts),
        "memory": lambda: memory(world, min(1_000.0, _half(results)), plan.memory_s),
        "flame": lambda: {"why_not": set_up(PROFILER) or flame_graph(world, plan.events, plots / "flame.svg")},
    }
    return steps[name]()


def main() -> int:
    """Measure, write results and report; exit status 1 where something could not be measured."""
    options = _options()
    results: dict[str, Any] = json.loads(options.results.read_text()) if options.results.is_file() else {}
    failures: list[str] = []
    try:
        if options.guard:
            with tempfile.TemporaryDirectory() as folder, World(Path(folder)) as world:
                return guard.set_reference(world) if options.set else guard.compare(world, as_json=options.json)
        if not options.report:
            given = {name: value for name in ("rounds", "events") if (value := getattr(options, name)) is not None}
            plan = replace(PLANS[options.plan], **given)
            failures = _measure_all(plan, options.only.split(","), results, options.results)
    except UnavailableError as missing:
        print(missing, file=sys.stderr)
        return 2
    except Failed as failed:
        print(failed, file=sys.stderr)
        return 1
    _write(results, options.results)
    if options.json:
        print(json.dumps(results, indent=1))
    for failure in failures:
        print(failure, file=sys.stderr)
    return 1 if failures else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--plan", choices=PLANS, default="short", help="how much is measured")
    parser.add_argument("--full", action="store_const", const="full", dest="plan", help="the same as --plan full")
    parser.add_argument("--rounds", type=int, help="interleaved repetitions, instead of the plan's")
    parser.add_argument("--events", type=int, help="backlog, instead of the plan's")
    parser.add_argument("--only", default=",".join(SECTIONS), help="sections, comma-separated: " + ", ".join(SECTIONS))
    parser.add_argument(
        "--results", type=Path, default=RESULTS, help="the figures, read first and written; the report goes beside them"
    )
    parser.add_argument("--report", action="store_true", help="only render the figures anew, into report and pages")
    parser.add_argument("--guard", action="store_true", help="compare the worker with the hand-written loop, no report")
    parser.add_argument("--set", action="store_true", help="with --guard: make what is measured now its reference")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    options = parser.parse_args()
    if unknown := set(options.only.split(",")) - set(SECTIONS):
        parser.error(f"unknown section {', '.join(sorted(unknown))}")
    return options


def _write(results: dict[str, Any], file: Path) -> None:
    """Render the report beside the figures; where they are the committed ones, the pages that tell them, too."""
    report.write(results, file.with_name("REPORT.md"), file.with_name(PLOTS))
    if file == RESULTS:
        for page in pages.bring_in_step(results):
            print(f"{page} has new figures", file=sys.stderr)


def _measure_all(plan: Plan, wanted: list[str], results: dict[str, Any], file: Path) -> list[str]:
    failures = []
    plots = file.with_name(PLOTS)
    plots.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, World(Path(folder)) as world:
        for name in (name for name in SECTIONS if name in wanted):
            began = time.monotonic()
            print(f"{name} ...", file=sys.stderr, flush=True)
            try:
                found = measure(world, plan, name, results, plots)
            except UnavailableError:
                raise
            except Exception as error:  # noqa: BLE001 - whatever breaks a section costs this section only
                if not isinstance(error, Failed):
                    traceback.print_exc()
                failures.append(f"{name} was not measured: {error}")
                print(f"{name}: failed: {error}", file=sys.stderr, flush=True)
                continue
            print(f"{name}: {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
            arguments = shlex.join(sys.argv[1:])
            command = f"make bench ARGS='{arguments}'" if arguments else "make bench"
            results[name] = found | {"command": command, "rounds": plan.rounds}
            results["machine"] = describe(world.cores) | world.servers()
            results["versions"] = {one.name: versions(one) for one in IN_DRAIN}
            # After each section: a long run that is cut off keeps what it has.
            file.write_text(json.dumps(results, indent=1) + "\n")
    return failures


if __name__ == "__main__":
    sys.exit(main())
