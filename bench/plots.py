"""Draws the plots of the report, as SVG: throughput by contestant, latency against load, CPU time against sessions.

A plot is one file for light and for dark pages: its colours change with the reader's scheme. Its text is drawn as
shapes, so that it looks the same everywhere.
"""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from bench.figures import spread
from bench.markdown import shown
from bench.summary import beside, column, times_drained, times_the_echo

_INK, _FAINT, _GRID, _PAPER = "#1f2328", "#59636e", "#d1d9e0", "#ffffff"
_OURS, _LIMIT, _OTHER, _TARGET = "#0a6c4b", "#4a6fa5", "#b0703c", "#a40e26"
_IN_THE_DARK: Final = {
    _INK: "#f0f6fc",
    _FAINT: "#9198a1",
    _GRID: "#3d444d",
    _PAPER: "#0d1117",
    _OURS: "#3fb68b",
    _LIMIT: "#79a5e8",
    _OTHER: "#e0a070",
    _TARGET: "#ff7b72",
}
_STYLE: Final[dict[Any, Any]] = {
    "svg.hashsalt": "bench",
    "font.size": 10,
    "font.family": "DejaVu Sans",
    "text.color": _INK,
    "axes.edgecolor": _FAINT,
    "axes.labelcolor": _INK,
    "axes.titlecolor": _INK,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.facecolor": _PAPER,
    "figure.facecolor": _PAPER,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": _GRID,
    "grid.linewidth": 0.6,
    "xtick.color": _FAINT,
    "ytick.color": _FAINT,
    "xtick.labelcolor": _INK,
    "ytick.labelcolor": _INK,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "lines.linewidth": 1.8,
    "lines.markersize": 5,
}


def draw(results: dict[str, Any], to: Path) -> list[str]:
    """Draw what was measured; return the names of all plots that are there, the profile among them."""
    to.mkdir(parents=True, exist_ok=True)
    with mpl.rc_context(_STYLE):
        for name, kind in _KINDS.items():
            if name in results:
                figure = Figure(figsize=(8.4, 3.6), layout="constrained")
                kind(figure, results[name])
                file = to / f"{name}.svg"
                figure.savefig(file, metadata={"Date": None, "Creator": None})
                file.write_text(_for_both_schemes(file.read_text(encoding="utf-8")), encoding="utf-8")
    return there(to)


def there(folder: Path) -> list[str]:
    """Return the names of the plots that a folder has, in the order of the report."""
    return [f"{name}.svg" for name in (*_KINDS, "flame") if (folder / f"{name}.svg").is_file()]


def _for_both_schemes(svg: str) -> str:
    rules = "".join(
        f'[style*="{what}: {light}"]{{{what}:{dark}!important}}'
        for light, dark in _IN_THE_DARK.items()
        for what in ("fill", "stroke")
    )
    # Text that is drawn as shapes has no colour of its own where it is black; ours never is.
    return svg.replace("<defs>", f"<style>@media (prefers-color-scheme:dark){{{rules}}}</style>\n <defs>", 1)


def _colour(name: str) -> str:
    return _OURS if name == "tellwire" else _LIMIT if name in {"echo", "hand-written loop"} else _OTHER


def _plain(axis: Any, ticks: Iterable[float] | None = None) -> None:
    """Label a logarithmic axis with plain numbers."""
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
    axis.set_minor_formatter(NullFormatter())
    if ticks is not None:
        axis.set_ticks(list(ticks))


def _drain(figure: Figure, found: dict[str, Any]) -> None:
    axes = figure.add_subplot()
    runs = found["runs"]
    medians = {name: spread(column(its, "events_per_s")) for name, its in runs.items() if name != "echo"}
    names = sorted(medians, key=lambda name: medians[name].median)
    values = [medians[name].median for name in names]
    errors = [[medians[n].median - medians[n].low for n in names], [medians[n].high - medians[n].median for n in names]]
    colours = [_colour(name) for name in names]
    axes.barh(names, values, 0.62, xerr=errors, capsize=3, color=colours, error_kw={"ecolor": _FAINT, "elinewidth": 1})
    for at, name in enumerate(names):
        told = f"{medians[name].median:,.0f} /s"
        if name != "tellwire":
            told += f"   tellwire: {shown(times_drained(found, name).median)} times"
        axes.annotate(
            told, (medians[name].high, at), xytext=(6, 0), textcoords="offset points", va="center", fontsize=9
        )
    axes.set_xlim(0, max(one.high for one in medians.values()) * 1.42)
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.set_xlabel("events a second; one worker on one core; bars: lowest to highest repetition", color=_FAINT)
    axes.set_title("Draining a backlog: the whole job, every event in the ledger")


def _latency(figure: Figure, found: dict[str, Any]) -> None:
    left, right = figure.subplots(1, 2)
    rates = found["rates"]
    order = sorted(range(len(rates)), key=lambda at: rates[at])
    xs = [rates[at] for at in order]
    for name, runs in found["runs"].items():
        for key, style, share in (("p50_ms", "-", "p50"), ("p99_ms", "--", "p99")):
            values = [spread([run[at][key] for run in runs]) for at in order]
            left.plot(
                xs, [one.median for one in values], style, marker="o", color=_colour(name), label=f"{name} {share}"
            )
            left.fill_between(
                xs, [one.low for one in values], [one.high for one in values], color=_colour(name), alpha=0.12, lw=0
            )
    left.set(xscale="log", yscale="log", ylabel="ms from due to read")
    left.set_title("From event to risk event")
    left.legend(ncols=2, loc="upper left")
    low, high = left.get_ylim()
    left.set_ylim(low, high * 3.5)
    _plain(left.yaxis)
    for key, style, share in (("p50_ms", "-", "p50"), ("p99_ms", "--", "p99")):
        values = [times_the_echo(found, at, key) for at in order]
        right.plot(xs, [one.median for one in values], style, marker="o", color=_OURS, label=share)
        right.fill_between(xs, [one.low for one in values], [one.high for one in values], color=_OURS, alpha=0.12, lw=0)
    steps = [3.0 if rate <= 1_000.0 else 5.0 for rate in xs]
    right.plot(xs, steps, drawstyle="steps-pre", color=_TARGET, linewidth=1.2, label="at most")
    right.set(xscale="log", ylabel="times the echo's")
    right.set_ylim(bottom=0)
    right.set_title("The same, beside a bare echo")
    right.legend(ncols=3, loc="upper left")
    low, high = right.get_ylim()
    right.set_ylim(0, high * 1.2)
    for axes in (left, right):
        axes.set_xlabel("events a second, open loop", color=_FAINT)
        _plain(axes.xaxis, xs)
        axes.tick_params(axis="x", which="minor", length=0)


def _scale(figure: Figure, found: dict[str, Any]) -> None:
    told = (
        ("sessions", "live sessions", "sessions 1000", 1.2),
        ("partitions", "partitions", "sessions 10000", 1.5),
        ("workers", "workers on the core", "sessions 10000", 1.2),
    )
    panels = figure.subplots(1, 3, sharey=True, width_ratios=(1.4, 1, 1))
    highest = 1.6
    for axes, (what, label, first, limit) in zip(panels, told, strict=True):
        runs = {int(name.partition(" ")[2]): its for name, its in found["runs"].items() if name.startswith(what)}
        usual = found["runs"].get(first)
        if usual is None:
            continue
        if what != "sessions":
            runs[4 if what == "partitions" else 1] = usual
        at = sorted(runs)
        cpu = [beside(runs[n], usual, "worker_us") for n in at]
        medians = [one.median for one in cpu]
        errors = [[one.median - one.low for one in cpu], [one.high - one.median for one in cpu]]
        places = range(len(at))
        axes.errorbar(places, medians, yerr=errors, marker="o", capsize=3, color=_OURS, ecolor=_FAINT, elinewidth=1)
        for place, value in zip(places, medians, strict=True):
            axes.annotate(f"{value:.2f}", (place, value), xytext=(0, -16), textcoords="offset points", ha="center")
        axes.axhline(limit, color=_TARGET, linewidth=1.2, linestyle="--")
        axes.annotate(f"at most {limit:g}", (-0.3, limit), xytext=(0, 3), textcoords="offset points", color=_TARGET)
        axes.set_xticks(list(places), [f"{n:,}" for n in at])
        axes.set_xlim(-0.4, len(at) - 0.6)
        axes.set_xlabel(label, color=_FAINT)
        axes.grid(visible=False, axis="x")
        highest = max(highest, *(one.high for one in cpu), limit)
    panels[0].set_ylim(0, highest * 1.12)
    panels[0].set_ylabel("times the first's")
    panels[0].set_title("CPU time an event as the load grows")


def _memory(figure: Figure, found: dict[str, Any]) -> None:
    axes = figure.add_subplot()
    minutes, values = zip(*((at / 60.0, mb) for at, mb in found["points"]), strict=True)
    floor = found["floor_mb"]
    axes.plot(minutes, values, color=_OURS, label="worker")
    axes.axhline(floor, color=_LIMIT, linestyle="--", linewidth=1.2, label="its imports alone")
    axes.axhline(floor + 120.0, color=_TARGET, linestyle="--", linewidth=1.2, label="at most: imports + 120 MB")
    axes.set_xlabel("minutes", color=_FAINT)
    axes.set_ylabel("resident MB")
    axes.set_ylim(0, max(*values, floor + 120.0) * 1.25)
    axes.set_title(f"Memory of a worker at {found['per_s']:,.0f} events a second")
    axes.legend(ncols=3, loc="upper left")


_KINDS: Final[dict[str, Callable[[Figure, dict[str, Any]], None]]] = {
    "drain": _drain,
    "latency": _latency,
    "scale": _scale,
    "memory": _memory,
}
