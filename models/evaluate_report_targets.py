"""The part of the evaluation's text that holds figures against what is asked, and says how much data there is."""

from collections.abc import Sequence

import numpy as np

from models.evaluate_stats import Interval
from models.evaluate_targets import Slice, Target


def _short(name: str) -> str:
    return name.removeprefix("delbot_").removeprefix("random delay: ")


def _measured(target: Target) -> str:
    if np.isnan(target.worst.value):
        return "not measured" if target.n == "not measured" else "n=0"
    worst = f"{target.worst.text()} `{_short(target.worst_of)}`"
    if "mean / worst" in target.figure:
        return f"{target.mean.text()} / {worst}"
    return f"worst {worst}" if len(target.each) > 1 else worst


def _each(each: dict[str, Interval]) -> str:
    return ", ".join(
        f"{_short(name)} {'n=0' if np.isnan(one.value) else f'{one.value:.3f}'}" for name, one in each.items()
    )


def targets_text(targets: Sequence[Target], slices: Sequence[Slice]) -> str:
    """The table of figures, each family's and source's own below it, and the slices."""
    lines = [
        "| figure | left out | at least | aim | measured | rests on |",
        "|---|---|---|---|---|---|",
        *(
            f"| {t.figure} | {t.left_out} | {t.at_least} | {t.aim} | {_measured(t)} | {t.n} |"
            for t in targets
        ),
        "",
    ]  # fmt: skip
    for t in targets:
        if t.each or t.not_counted:
            silent = f"; not counted: {', '.join(t.not_counted)}" if t.not_counted else ""
            lines.append(f"- {t.figure}, {t.left_out} left out: {_each(t.each) or 'none'}{silent}")
    lines += [
        "",
        "What there is with a pointer (people where the source names them, else sessions):",
        "",
        "| input | source | people | their sessions | bot sessions |",
        "|---|---|---|---|---|",
        *(
            f"| {s.pointer_type} | {s.source} | {s.people} | {s.people_sessions} | {s.bot_sessions} |"
            if s.people_sessions or s.bot_sessions
            else f"| {s.pointer_type} | - | n=0 | n=0 | n=0 |"
            for s in slices
        ),
        "",
    ]  # fmt: skip
    return "\n".join(lines)
