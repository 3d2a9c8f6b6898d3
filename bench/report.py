"""Renders the figures as `bench/REPORT.md`: what was measured, on what, how, and what it came to."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from bench import plots
from bench.environments import IN_DRAIN
from bench.figures import Spread, ratios, spread
from bench.workload import BOT_RATIO, ZIPF_EXPONENT

Results = dict[str, Any]
LIVE_SESSIONS = 10_000
_HOW = """\
Real Apache Kafka (one broker, KRaft) and a real Valkey; generator, worker and verifier are processes of their own. A
contestant has one core, and broker, store, generator and verifier share another one, in all runs alike. Repetitions are
interleaved; a figure is the median, in brackets the lowest and the highest; a ratio is taken repetition by repetition,
within one run. After each run a ledger that imports nothing of tellwire reads both topics: a missing, doubled or
differing event fails the run. Absolute figures depend on the machine; the ratios are what is claimed.
"""
_JOB = """\
The job, for every event: decode and validate, session state in Redis folded and written back, entity counters, all
models, decision, reasons, risk event published with acks=all. All contestants do it with the same functions. tellwire
and the hand-written loop also publish the served vectors of a sample of sessions, and guard their state by a watermark.
"""


def write(results: Results, to: Path, plots_to: Path) -> None:
    """Write the report, and its plots beside it."""
    drawn = plots.draw(results, plots_to)
    to.write_text(render(results, [f"{plots_to.name}/{name}" for name in drawn]), encoding="utf-8")


def render(results: Results, drawn: Sequence[str] = ()) -> str:
    """Return the report; sections that were not measured are left out."""
    sections: list[tuple[str, str, Callable[[Results], list[str]]]] = [
        ("workload", "The standard workload", _workload),
        ("drain", "Draining a backlog, one worker", _drain),
        ("latency", "From event to risk event, open loop", _latency),
        ("scale", "CPU time an event as the load grows", _scale),
        ("scoring", "Scoring one event", _scoring),
        ("stalls", "Stalls of the loop", _stalls),
        ("memory", "Memory of a worker under load", _memory),
        ("store", "Memory in Redis", _store),
        ("start", "Start", _start),
        ("flame", "Where the CPU time goes", _flame),
    ]
    lines = ["# Benchmark", "", _HOW, _JOB, *_machine(results)]
    for name, title, section in sections:
        if name in results:
            lines += ["", f"## {title}", "", *section(results[name]), *_picture(name, drawn)]
            lines += ["", f"`{results[name]['command']}`"] if "command" in results[name] else []
    lines += ["", *_contestants(results)]
    return "\n".join(lines).rstrip() + "\n"


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
    """Return a median with its range."""
    return f"{shown(found.median)} ({shown(found.low)} to {shown(found.high)})"


def column(runs: Sequence[dict[str, float]], key: str) -> list[float]:
    """Return one figure of all repetitions."""
    return [run[key] for run in runs]


def _picture(name: str, drawn: Sequence[str]) -> list[str]:
    return [f"\n![{name}]({path})" for path in drawn if Path(path).stem == name]


def _machine(results: Results) -> list[str]:
    return [f"- {what}: {value}" for what, value in results.get("machine", {}).items()]


def _contestants(results: Results) -> list[str]:
    rows = []
    for one in IN_DRAIN:
        versions = results.get("versions", {}).get(one.name, {})
        lock = f"`requirements/{one.lock or 'run'}.txt`"
        rows.append([one.name, one.note, lock, ", ".join(f"{name} {version}" for name, version in versions.items())])
    return [
        "## Contestants",
        "",
        "Sources and settings: `bench/contestants/`; what is not set there is each one's default.",
        "",
        *["| " + " | ".join(row) + " |" for row in (["Name", "What", "Lock", "Versions"], ["---"] * 4, *rows)],
    ]


def _workload(found: Results) -> list[str]:
    sizes = found["input_bytes"]
    told = (
        f"{LIVE_SESSIONS:,} live sessions in 4 partitions, {BOT_RATIO:.0%} of them bots', all others like people of "
        f"the simulated crowd; accounts and addresses by Zipf's law (exponent {ZIPF_EXPONENT:g}). "
        f"An event has {sizes['p50']} bytes in the median ({sizes['p10']} to {sizes['p90']} from the tenth to the "
        f"ninetieth of a hundred; the first event of a session also has its device), a risk event "
        f"{found['output_bytes_mean']:,.0f} on average. {found['with_reasons']:.0%} of the risk events have reasons.\n"
    )
    rows = [[name, f"{share:.1%}"] for name, share in found["actions"].items()]
    rows += [[f"risk level {name}", f"{share:.1%}"] for name, share in found["levels"].items()]
    return [told, *table(["Decision", "Share of events"], rows)]


def _drain(found: Results) -> list[str]:
    runs = found["runs"]
    ours = column(runs["tellwire"], "events_per_s")
    rows = []
    for name, its in runs.items():
        times = ratios(ours, column(its, "events_per_s"))
        cpu = [spread(column(its, f"{who}_us")) for who in ("worker", "broker", "store")]
        rows.append(
            [
                name,
                ranged(spread(column(its, "events_per_s"))),
                "" if name == "tellwire" else ranged(times),
                ranged(cpu[0]),
                *(shown(one.median) for one in cpu[1:]),
                shown(spread(column(its, "peak_mb")).median),
            ]
        )
    head = ["Contestant", "Events a second", "tellwire is so many times as fast", "CPU µs an event", "broker", "store"]
    missing = [f"\n{name} was left out: {why}" for name, why in found["skipped"].items()]
    return [*table([*head, "peak MB"], rows), *missing]


def _latency(found: Results) -> list[str]:
    rows = []
    ours, echoes = found["runs"]["tellwire"], found["runs"]["echo"]
    for at, rate in enumerate(found["rates"]):
        for name, runs in found["runs"].items():
            its = [run[at] for run in runs]
            cells = [ranged(spread(column(its, key))) for key in ("p50_ms", "p99_ms", "p999_ms", "max_ms")]
            rows.append([f"{rate:,.0f}", name, *cells])
        by_echo = [
            ranged(ratios([run[at][key] for run in ours], [run[at][key] for run in echoes]))
            for key in ("p50_ms", "p99_ms", "p999_ms")
        ]
        rows.append([f"{rate:,.0f}", "**times the echo's**", *by_echo, ""])
    late = max(one["sent_late_p99_ms"] for runs in found["runs"].values() for run in runs for one in run)
    told = (
        f"\nMilliseconds from when an event was due to when its answer was read; {found['seconds']:.0f} s a loop. "
        f"The generator itself was late by at most {shown(late)} ms in 99 of 100 events."
    )
    return [*table(["Events a second", "", "p50", "p99", "p99.9", "max"], rows), told]


def _scale(found: Results) -> list[str]:
    runs = found["runs"]
    usual = column(runs["sessions 10000"], "worker_us")
    rows = []
    for name, its in runs.items():
        cpu = column(its, "worker_us")
        what, _, number = name.partition(" ")
        first = f"{int(number):,} {what if int(number) > 1 else what[:-1]}"
        rate = ranged(spread(column(its, "events_per_s")))
        rows.append([first, ranged(spread(cpu)), ranged(ratios(cpu, usual)), rate])
    told = "10,000 live sessions, 4 partitions and one worker where nothing else is said.\n"
    head = ["Load", "CPU µs an event, all workers", "times the usual load's", "Events a second"]
    return [told, *table(head, rows)]


def _scoring(found: Results) -> list[str]:
    unit = ", µs"
    rows = [[name.removesuffix(unit), shown(value)] for name, value in found.items() if name.endswith(unit)]
    return table(["One event by itself, nothing else to do", "µs"], rows)


def _stalls(found: Results) -> list[str]:
    rows = [
        [name, *(shown(found[key][one]) for one in ("p99_ms", "p999_ms", "max_ms", "looks"))]
        for name, key in (("in a backlog", "backlog"), (f"at {found['per_s']:,.0f} events a second", "open_loop"))
    ]
    told = "How late the worker's loop comes to a timer of 1 ms, ms; the longest is its longest stall.\n"
    return [told, *table(["Load", "p99", "p99.9", "longest", "looks"], rows)]


def _memory(found: Results) -> list[str]:
    values = [mb for _, mb in found["points"]]
    floor = found["floor_mb"]
    minutes = found["seconds"] / 60
    told = (
        f"At {found['per_s']:,.0f} events a second for {minutes:.0f} min: {shown(values[0])} MB at first, "
        f"{shown(max(values))} MB at most, {shown(values[-1])} MB at the end; that is at most "
        f"{shown(max(values) - floor)} MB above the imports alone ({shown(floor)} MB). Over the second half it changed "
        f"by {found['mb_per_hour']:+.1f} MB an hour."
    )
    return [told]


def _store(found: Results) -> list[str]:
    told = (
        f"{shown(found['bytes_per_session'])} bytes a session over {found['sessions']:,} sessions, the key and the "
        f"server's own part included; entity counters, apart, "
        f"{shown(found['counter_bytes_per_session'])} bytes a session."
    )
    return [told]


def _start(found: Results) -> list[str]:
    ready, imports = found["ready_s"], found["import_s"]
    told = (
        f"From start to ready {ranged(spread(ready))} s with warm caches, {ranged(ratios(ready, imports))} times the "
        f"import of its modules ({ranged(spread(imports))} s)."
    )
    return [told]


def _flame(found: Results) -> list[str]:
    if found.get("why_not"):
        return [f"No profile: {found['why_not']}"]
    return ["A worker that drains a backlog: what holds the interpreter's lock; the wider, the more of the time."]
