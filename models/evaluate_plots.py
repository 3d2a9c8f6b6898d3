"""Plots of the evaluation, small PNGs for the documentation. Needs the extra `train`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from models.evaluate import Result
from models.evaluate_pointer import CUT_NAMES, FamilyResult

COLOURS = ("#1b6ca8", "#d1495b", "#3a9679", "#edae49", "#7b5ea7", "#5c5c5c", "#c98bb9", "#00798c")


def save_plots(result: Result, folder: Path) -> list[str]:
    """Write the plots to `folder`; return their file names."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    folder.mkdir(parents=True, exist_ok=True)
    plt.rcParams.update(
        {"font.size": 9, "axes.grid": True, "grid.alpha": 0.25, "axes.axisbelow": True, "figure.dpi": 110}
    )
    made = []
    for name, draw in (("roc", _roc), ("det", _det), ("time", _time), ("sources", _sources), ("keys", _keys)):
        figure = draw(result, plt)
        path = folder / f"detection-{name}.png"
        figure.savefig(path, bbox_inches="tight", metadata={"Software": None}, pil_kwargs={"optimize": True})
        plt.close(figure)
        made.append(path.name)
    return made


def _roc(result: Result, plt: Any) -> Any:
    figure, axes = plt.subplots(1, 2, figsize=(9.5, 4.3), sharey=True)
    for axis, name, title in zip(axes, ("model", "baseline"), ("this model", "plain baseline"), strict=True):
        for colour, (family, (false, true)) in zip(COLOURS, sorted(result.curves[name].items()), strict=False):
            axis.plot(np.maximum(false, 1e-3), true, color=colour, label=_short(family), lw=1.6)
        axis.set_xscale("log")
        axis.set_xlim(1e-3, 1.0)
        axis.set_ylim(0.0, 1.02)
        axis.axvline(0.01, color="black", lw=0.8, ls=":")
        axis.set_title(f"{title}: family left out, after 5 s")
        axis.set_xlabel("share of people above the threshold (log)")
    axes[0].set_ylabel("share of the family's bots found")
    _legend(axes[1], "upper left")
    return figure


def _det(result: Result, plt: Any) -> Any:
    figure, axis = plt.subplots(figsize=(5.6, 5.0))
    for colour, (family, (false, true)) in zip(COLOURS, sorted(result.curves["model"].items()), strict=False):
        axis.plot(_probit(false), _probit(1.0 - true), color=colour, label=_short(family), lw=1.6)
    ticks = np.asarray([0.001, 0.01, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 0.95])
    names = [f"{100 * t:g} %" for t in ticks]
    axis.set_xticks(_probit(ticks), names, rotation=45)
    axis.set_yticks(_probit(ticks), names)
    axis.set_xlim(*_probit(np.asarray([0.002, 0.7])))
    axis.set_ylim(*_probit(np.asarray([0.001, 0.98])))
    axis.set_xlabel("people above the threshold")
    axis.set_ylabel("bots missed")
    axis.set_title("DET, family left out, after 5 s")
    _legend(axis, "best")
    return figure


def _probit(share: Any) -> Any:
    """Normal deviate, by bisection on the error function (no scipy)."""
    import math

    def one(p: float) -> float:
        p = min(max(p, 1e-6), 1.0 - 1e-6)
        low, high = -6.0, 6.0
        for _ in range(60):
            middle = 0.5 * (low + high)
            if 0.5 * (1.0 + math.erf(middle / math.sqrt(2.0))) < p:
                low = middle
            else:
                high = middle
        return 0.5 * (low + high)

    return np.asarray([one(float(p)) for p in np.atleast_1d(share)])


def _time(result: Result, plt: Any) -> Any:
    figure, axes = plt.subplots(1, 2, figsize=(9.5, 4.0), sharey=True)
    at = np.arange(len(CUT_NAMES))
    pairs = ((result.summary.families, "this model"), (result.summary.families_baseline, "plain baseline"))
    for axis, (families, title) in zip(axes, pairs, strict=True):
        for k, family in enumerate(dict.fromkeys(f.family for f in families)):
            mine = [f for f in families if f.family == family]
            values = np.asarray([f.auc_all.value for f in mine])
            low, high = np.asarray([f.auc_all.low for f in mine]), np.asarray([f.auc_all.high for f in mine])
            error = np.vstack([np.maximum(values - low, 0.0), np.maximum(high - values, 0.0)])
            axis.errorbar(
                at + 0.05 * (k - 3), values, yerror(error), color=COLOURS[k % len(COLOURS)], label=_short(family),
                marker="o", ms=3.5, lw=1.3, capsize=2,
            )  # fmt: skip
        axis.axhline(0.5, color="black", lw=0.8, ls=":")
        axis.set_xticks(at, [f"{c} s" if c != "end" else "end" for c in CUT_NAMES])
        axis.set_title(f"{title}: AUC of a left-out family")
        axis.set_xlabel("observed time")
        axis.set_ylim(0.0, 1.02)
    _legend(axes[0], "lower right")
    return figure


def yerror(error: Any) -> Any:
    """Error bars with unknown ends drawn as none."""
    return np.nan_to_num(error)


def _sources(result: Result, plt: Any) -> Any:
    figure, axis = plt.subplots(figsize=(6.4, 3.6))
    rows = [s for s in [*result.summary.sources, *result.summary.unseen] if s.cut in {"2", "5", "end"}]
    sources = list(dict.fromkeys(s.source for s in rows))
    for k, cut in enumerate(("2", "5", "end")):
        mine = [next(s for s in rows if s.source == source and s.cut == cut) for source in sources]
        values = np.asarray([s.flagged["0.95"].value for s in mine])
        low, high = (np.asarray([getattr(s.flagged["0.95"], e) for s in mine]) for e in ("low", "high"))
        label = "at the end" if cut == "end" else f"after {cut} s"
        axis.bar(
            np.arange(len(sources)) + 0.26 * (k - 1), values, 0.24, color=COLOURS[k], label=label,
            yerr=np.nan_to_num(np.vstack([np.maximum(values - low, 0), np.maximum(high - values, 0)])), capsize=2,
        )  # fmt: skip
    axis.axhline(0.05, color="black", lw=0.8, ls=":")
    axis.set_xticks(np.arange(len(sources)), sources)
    axis.set_ylabel("people at or above 0.95")
    axis.set_title("people of a source left out (dotted: the stated 5 %)")
    _legend(axis, "best")
    return figure


def _keys(result: Result, plt: Any) -> Any:
    figure, axis = plt.subplots(figsize=(6.4, 3.8))
    kinds = [b for b in dict.fromkeys(k.bots for k in result.summary.keys) if b.startswith("random")]
    for colour, kind in zip(COLOURS, kinds, strict=False):
        counts = sorted({k.keys for k in result.summary.keys if k.bots == kind})
        values = [
            np.nanmin([k.worst_seed_auc for k in result.summary.keys if k.bots == kind and k.keys == n]) for n in counts
        ]
        axis.plot(counts, values, marker="o", color=colour, label=kind)
    axis.set_xscale("log")
    counts = sorted({k.keys for k in result.summary.keys})
    axis.set_xticks(counts, [str(c) for c in counts])
    axis.minorticks_off()
    axis.set_ylim(0.4, 1.02)
    axis.set_xlabel("keys seen")
    axis.set_ylabel("AUC, worst source and seed")
    axis.set_title("typing with random delays against people")
    _legend(axis, "lower right")
    return figure


def _legend(axis: Any, place: str) -> None:
    if axis.get_legend_handles_labels()[0]:
        axis.legend(fontsize=8, loc=place)


def _short(family: str) -> str:
    return family.removeprefix("delbot_")


def best(results: Sequence[FamilyResult], cut: str) -> list[FamilyResult]:
    """Results at a cut, best first."""
    return sorted((r for r in results if r.cut == cut), key=lambda r: -r.auc_all.value)
