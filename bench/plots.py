"""Draws the plots of the report, as SVG: throughput by contestant, latency against load, CPU time against sessions."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.figures import spread

_COLOURS = {"tellwire": "#0b6e4f", "echo": "#8d99ae", "hand-written loop": "#577590"}
_OTHER = "#c08552"


def draw(results: dict[str, Any], to: Path) -> list[str]:
    """Draw what was measured; return the names of all plots that are there, the profile among them."""
    kinds: dict[str, Callable[[Axes, dict[str, Any]], None]] = {
        "drain": _drain,
        "latency": _latency,
        "scale": _scale,
        "memory": _memory,
    }
    to.mkdir(parents=True, exist_ok=True)
    with mpl.rc_context({"svg.hashsalt": "bench", "svg.fonttype": "none", "font.size": 9}):
        for name, kind in kinds.items():
            if name in results:
                figure = Figure(figsize=(7.2, 3.4), layout="constrained")
                kind(figure.add_subplot(), results[name])
                figure.savefig(to / f"{name}.svg", metadata={"Date": None})
    return [f"{name}.svg" for name in (*kinds, "flame") if (to / f"{name}.svg").is_file()]


def _drain(axes: Axes, found: dict[str, Any]) -> None:
    medians = {
        name: spread([run["events_per_s"] for run in runs]) for name, runs in found["runs"].items() if name != "echo"
    }
    names = sorted(medians, key=lambda name: medians[name].median)
    values = [medians[name].median for name in names]
    errors = [[medians[n].median - medians[n].low for n in names], [medians[n].high - medians[n].median for n in names]]
    axes.barh(names, values, xerr=errors, color=[_COLOURS.get(name, _OTHER) for name in names], capsize=3)
    for at, value in enumerate(values):
        axes.annotate(f" {value:,.0f}", (value, at), va="bottom")
    axes.set_xlabel("events a second, one worker, one core")
    axes.set_title("Draining a backlog")


def _latency(axes: Axes, found: dict[str, Any]) -> None:
    for name, runs in found["runs"].items():
        for key, style in (("p50_ms", "-"), ("p99_ms", "--"), ("p999_ms", ":")):
            points = sorted(
                (rate, spread([run[at][key] for run in runs]).median) for at, rate in enumerate(found["rates"])
            )
            label = f"{name} {key.removesuffix('_ms').replace('p999', 'p99.9')}"
            axes.plot(*zip(*points, strict=True), style, marker="o", color=_COLOURS.get(name, _OTHER), label=label)
    axes.set(xscale="log", yscale="log", xlabel="events a second, open loop", ylabel="ms")
    axes.set_title("From event to risk event")
    axes.legend(ncols=2)


def _scale(axes: Axes, found: dict[str, Any]) -> None:
    points = []
    for name, runs in found["runs"].items():
        what, _, number = name.partition(" ")
        if what == "sessions":
            points.append((int(number), spread([run["worker_us"] for run in runs])))
    points.sort()
    medians = [one.median for _, one in points]
    errors = [[one.median - one.low for _, one in points], [one.high - one.median for _, one in points]]
    axes.errorbar([at for at, _ in points], medians, yerr=errors, marker="o", capsize=3, color=_COLOURS["tellwire"])
    axes.set(xscale="log", xlabel="live sessions", ylabel="CPU µs an event")
    axes.set_ylim(bottom=0)
    axes.set_title("CPU time an event against live sessions")


def _memory(axes: Axes, found: dict[str, Any]) -> None:
    minutes, values = zip(*((at / 60.0, mb) for at, mb in found["points"]), strict=True)
    axes.plot(minutes, values, color=_COLOURS["tellwire"], label="worker")
    axes.axhline(found["floor_mb"], color=_COLOURS["echo"], linestyle="--", label="imports alone")
    axes.set(xlabel="minutes", ylabel="resident MB")
    axes.set_ylim(bottom=0)
    axes.set_title("Memory under load")
    axes.legend()
