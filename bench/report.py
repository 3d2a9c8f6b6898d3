"""Renders the figures as `bench/REPORT.md`: what was measured, on what, how, and what it came to."""

from collections.abc import Callable, Sequence
from pathlib import Path

from bench import plots
from bench.environments import IN_DRAIN
from bench.figures import ratios, spread
from bench.markdown import ranged, shown, table
from bench.summary import (
    Results,
    Row,
    Target,
    above_floor,
    beside,
    column,
    grown_mb,
    rows,
    times_drained,
    times_the_echo,
)
from bench.workload import BOT_RATIO, ZIPF_EXPONENT

LIVE_SESSIONS = 10_000
_WHERE = "Stage by stage: [where each microsecond goes](../docs/explanation/where-each-microsecond-goes.md)."
_HOW = """\
Real Apache Kafka (one broker, KRaft) and a real Valkey. Generator, worker and verifier are processes of their own; a
contestant has one core to itself, and broker, store, generator and verifier share another one, in all runs alike.
Repetitions are interleaved; a figure is the median, in brackets the lowest and the highest; a ratio is taken
repetition by repetition, within one run. Absolute figures depend on the machine: the ratios are what is claimed.

After each run the topics are read back: a ledger that imports nothing of tellwire fails the run for a missing, a
doubled or a wrongly named event, and what the models made of each event is compared between all contestants and
repetitions: one that differs fails the run, too.
"""
_JOB = """\
The job, for every event: decode and validate, session state in Redis folded and written back, entity counters, all
models, decision, reasons, risk event published with acks=all. All contestants do it with the same functions. tellwire
and the hand-written loop also publish the served vectors of a sample of sessions, and guard their state by a watermark.
"""


_HALF_AN_HOUR_S = 1_800.0
_BEHIND_MS = 500.0
"""Later than this with its last event, a generator fell behind."""
_SCALED = ("worker_us", "events_per_s", "peak_mb")


def write(results: Results, to: Path, plots_to: Path) -> None:
    """Write the report, and its plots into a folder beside it."""
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
        ("stages", "One event stage by stage", _stages),
        ("stalls", "Stalls of the loop", _stalls),
        ("memory", "Memory of a worker under load", _memory),
        ("store", "Memory in Redis", _store),
        ("start", "Start", _start),
        ("flame", "Where the CPU time goes", _flame),
    ]
    lines = ["# Benchmark", "", *_summary(results), "## How", "", _HOW, _JOB, *_machine(results)]
    for name, title, section in sections:
        if name in results:
            lines += ["", f"## {title}", "", *section(results[name]), *_picture(name, drawn)]
            lines += ["", f"`{results[name]['command']}`"] if "command" in results[name] else []
    lines += ["", *_contestants(results)]
    return "\n".join(lines).rstrip() + "\n"


def wanted(target: Target) -> str:
    """Return the bound that a figure must keep."""
    return f"{'≥' if target.is_high_good else '≤'} {target.least:,g}"


def missed(row: Row) -> str:
    """Return a figure that is not met, and what was wanted, in a few words."""
    return f"{row.target.name} ({shown(row.found.median)}, wanted {wanted(row.target)})"


def summary_table(found: Sequence[Row]) -> list[str]:
    """Return the figures beside what they must be."""
    lines = []
    for target, value, verdict in found:
        aim = "" if target.aim is None else f"{wanted(target)[0]} {target.aim:,g}"
        median, _, spread_of_it = ranged(value).partition(" ")
        unit = "" if target.unit == "times" else f" {target.unit}"
        lines.append([target.name, f"**{median}**{unit}", spread_of_it.strip("()"), wanted(target), aim, verdict])
    return table(["Figure", "Median", "Lowest to highest", "Wanted", "Aim", ""], lines)


def unmet(found: Sequence[Row]) -> list[str]:
    """Return what bounds each figure that is not met."""
    lines: dict[str, list[str]] = {}
    for row in found:
        if row.is_missed:
            lines.setdefault(row.target.bound, []).append(missed(row))
    return [f"- {'; '.join(names)}. {bound}".rstrip() for bound, names in lines.items()]


def _summary(results: Results) -> list[str]:
    found = rows(results)
    if not found:
        return []
    count = sum(not row.is_missed for row in found)
    lines = [f"{count} of {len(found)} figures are met.", "", *summary_table(found), ""]
    bounds = unmet(found)
    return [*lines, "**What bounds those that are not met:**", "", *bounds, "", _WHERE, ""] if bounds else lines


def _picture(name: str, drawn: Sequence[str]) -> list[str]:
    return [f"\n![{name}]({path})" for path in drawn if Path(path).stem == name]


def _machine(results: Results) -> list[str]:
    return [f"- {what}: {value}" for what, value in results.get("machine", {}).items()]


def _contestants(results: Results) -> list[str]:
    lines = []
    for one in IN_DRAIN:
        versions = results.get("versions", {}).get(one.name, {})
        lock = f"`requirements/{one.lock or 'run'}.txt`"
        lines.append([one.name, one.note, lock, ", ".join(f"{name} {version}" for name, version in versions.items())])
    return [
        "## Contestants",
        "",
        "Sources and settings: `bench/contestants/`; what is not set there is each one's default.",
        "",
        *["| " + " | ".join(row) + " |" for row in (["Name", "What", "Lock", "Versions"], ["---"] * 4, *lines)],
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
    lines = [[name, f"{share:.1%}"] for name, share in found["actions"].items()]
    lines += [[f"risk level {name}", f"{share:.1%}"] for name, share in found["levels"].items()]
    return [told, *table(["Decision", "Share of events"], lines)]


def _drain(found: Results) -> list[str]:
    lines = []
    for name, its in found["runs"].items():
        cpu = [spread(column(its, f"{who}_us")) for who in ("worker", "broker", "store")]
        lines.append(
            [
                name,
                "" if name == "tellwire" else ranged(times_drained(found, name)),
                ranged(spread(column(its, "events_per_s"))),
                ranged(cpu[0]),
                *(shown(one.median) for one in cpu[1:]),
                *(f"{spread(column(its, core)).median:.0%}" for core in ("worker_core", "other_core")),
                shown(spread(column(its, "peak_mb")).median),
            ]
        )
    head = ["Contestant", "tellwire ÷ it", "Events a second", "Its CPU, µs an event", "Broker's", "Store's"]
    told = (
        "\nThe echo only copies: it is no limit to the job, but to what the broker and its clients carry here. Where "
        "the other core is busy all the time, the broker bounds the rate, and not the contestant."
    )
    missing = [f"\n{name} was left out: {why}" for name, why in found["skipped"].items()]
    return [*table([*head, "Its core is busy", "The other core", "Peak MB"], lines), told, *missing]


def _latency(found: Results) -> list[str]:
    keys = ("p50_ms", "p99_ms", "p999_ms")
    lines = []
    for at, rate in enumerate(found["rates"]):
        by_echo = [ranged(times_the_echo(found, at, key)) for key in keys]
        lines.append([f"{rate:,.0f}", "**times the echo's**", *by_echo, "", "", ""])
        for name, runs in found["runs"].items():
            its = [run[at] for run in runs]
            busy = [f"{spread(column(its, core)).median:.0%}" for core in ("worker_core", "other_core")]
            cells = [ranged(spread(column(its, key))) for key in (*keys, "max_ms")]
            lines.append(["", f"{name}, ms", *cells, *busy])
    every = [one for runs in found["runs"].values() for run in runs for one in run]
    late = max(one["sent_late_p99_ms"] for one in every)
    told = (
        "\nFrom when an event was due, not from when it was sent, to when its answer was read; "
        f"{found['seconds']:.0f} s a loop, the first second left out. The highest rate is half of what tellwire "
        f"drained. The generator was late by {shown(late)} ms or less in 99 of 100 events of every loop, which counts "
        "as latency of both."
    )
    behind = sorted({one["per_s"] for one in every if one["last_late_ms"] > _BEHIND_MS})
    if behind:
        told += (
            f" At {', '.join(f'{rate:,.0f}' for rate in behind)} events a second it did not keep the pace on the core "
            "that it shares: there the figure is that core's."
        )
    head = ["Events a second", "", "p50", "p99", "p99.9", "max", "Its core is busy", "The other core"]
    return [*table(head, lines), told]


def _scale(found: Results) -> list[str]:
    runs = found["runs"]
    usual = runs["sessions 10000"]
    lines = []
    order = {"sessions": 0, "partitions": 1, "workers": 2}
    for name in sorted(runs, key=lambda name: (order[name.partition(" ")[0]], int(name.partition(" ")[2]))):
        its = runs[name]
        what, _, number = name.partition(" ")
        first = f"{int(number):,} {what if int(number) > 1 else what[:-1]}"
        cells = [ranged(beside(its, usual, "worker_us")), *(ranged(spread(column(its, key))) for key in _SCALED)]
        lines.append([first, *cells, str(len(its))])
    told = (
        "10,000 live sessions, 4 partitions and one worker where nothing else is said. Every session has had its first "
        "event before the clock starts; workers share one core, and are ready before the backlog comes.\n"
    )
    head = ["Load", "CPU, times the usual load's", "CPU µs an event, all workers", "Events a second", "Peak MB", "Runs"]
    return [told, *table(head, lines)]


def _scoring(found: Results) -> list[str]:
    unit = ", µs"
    lines = [[name.removesuffix(unit), shown(value)] for name, value in found.items() if name.endswith(unit)]
    return table(["One event by itself, nothing else to do", "µs"], lines)


def _stages(found: Results) -> list[str]:
    told = (
        "The pipeline as it ships on one partition, with a store in memory and no Kafka: the clients and the loop are "
        "what a drain takes beyond it.\n"
    )
    return [told, *stage_table(found["chunks"])]


def stage_table(chunks: dict[str, dict[str, float]]) -> list[str]:
    """Return microseconds an event by stage and size of chunk."""
    of_all = [[stage, *(f"{its[stage]:.1f}" for its in chunks.values())] for stage in next(iter(chunks.values()))]
    of_all.append(["**all**", *(f"**{sum(its.values()):.1f}**" for its in chunks.values())])
    return table(["µs an event", *(f"in chunks of {records}" for records in chunks)], of_all)


def _stalls(found: Results) -> list[str]:
    lines = [
        [name, *(shown(found[key][one]) for one in ("p99_ms", "p999_ms", "max_ms", "looks"))]
        for name, key in (("in a backlog", "backlog"), (f"at {found['per_s']:,.0f} events a second", "open_loop"))
    ]
    told = "How late the worker's loop comes to a timer of 1 ms, ms; the longest is its longest stall.\n"
    return [told, *table(["Load", "p99", "p99.9", "longest", "looks"], lines)]


def _memory(found: Results) -> list[str]:
    values = [mb for _, mb in found["points"]]
    floor, minutes = found["floor_mb"], found["seconds"] / 60
    told = (
        f"At {found['per_s']:,.0f} events a second for {minutes:.0f} min: at most "
        f"{shown(above_floor(found).high)} MB above the imports alone ({shown(floor)} MB); {shown(values[0])} MB at "
        f"first, {shown(max(values))} MB at most, {shown(values[-1])} MB at the end. Over the second half it grew by "
        f"{grown_mb(found):+.1f} MB."
    )
    longer = " `make bench ARGS=--full` goes on for 30 min." if found["seconds"] < _HALF_AN_HOUR_S else ""
    return [told + longer]


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
    told = (
        "A worker that drains a backlog, callers above: who holds the interpreter's lock, by py-spy; the wider, the "
        "more of the time. Threads of librdkafka do not need the lock, and compiled kernels stand under the function "
        "that calls them. Open the picture by itself to read the narrow frames."
    )
    return [told]
