"""One whole run of the red team: which attacks, against a fresh world, with its recordings and its report."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import msgspec

from models.policy import load_policy
from stream import __version__
from stream.redteam.attacks import ATTACKS, GROUPS, Attack
from stream.redteam.recordings import Recordings
from stream.redteam.report import About, render
from stream.redteam.run import Run, Trial, command_line
from stream.redteam.tools import Tools
from stream.redteam.world import Seen, world

__all__ = ["Plan", "Tools", "choose", "json_lines", "missing", "run"]


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What was asked for. `recordings`: the folder in which a run's own folder of that name is made."""

    chosen: Sequence[Attack]
    missing: Mapping[str, str]
    """By attack that can't be run here: why."""
    sessions: int
    at_once: int
    seed: int
    data: Path | None
    recordings: tuple[Path, str] | None


def choose(names: Sequence[str]) -> list[Attack]:
    """Attacks of these names and groups, all for none, in the table's order. Raises ValueError for what is neither."""
    known = {attack.name for attack in ATTACKS} | set(GROUPS)
    unknown = [name for name in names if name not in known]
    if unknown:
        msg = f"--only: there is neither an attack nor a group {unknown[0]!r}; --list says which there are"
        raise ValueError(msg)
    return [attack for attack in ATTACKS if not names or attack.name in names or attack.group in names]


def missing(chosen: Sequence[Attack], tools: Tools, data: Path | None) -> dict[str, str]:
    """Why each attack that can't be run here can't, by name."""
    found = {attack.name: tools.missing(attack, has_recordings=data is not None) for attack in chosen}
    return {name: why for name, why in found.items() if why is not None}


def run(plan: Plan, tools: Tools, tell: Callable[[str], None]) -> tuple[str, list[Trial]]:
    """Run it; return the report and every session. Raises DemoError where the pipeline can't be started or dies."""
    loaded = load_policy()
    recordings = None if plan.recordings is None else Recordings(*plan.recordings)
    models: dict[str, str] = {}
    able = [attack for attack in plan.chosen if attack.name not in plan.missing]
    total, done = plan.sessions * len(able), 0

    def kept(trial: Trial, attack: Attack, seen: Seen) -> None:
        for event in seen.events[-1:]:
            models.update(event.versions.models)
        if recordings is not None:
            recordings.keep(trial, attack, seen)

    def told(trial: Trial) -> None:
        nonlocal done
        done += 1
        verdict = trial.verdict
        said = "refused" if trial.refused else verdict.action if verdict is not None else "nothing"
        tell(f"{done} of {total}: {trial.attack} #{trial.number}: {said}{f' ({trial.note})' if trial.note else ''}")

    with world(tell) as attacked:
        team = Run(attacked, tools, seed=plan.seed, bar=loaded.policy.corroborate_at, data=plan.data, kept=kept)
        team.attack(able, plan.sessions, plan.at_once, told)
    about = About(
        command=command_line(),
        seed=plan.seed,
        sessions=plan.sessions,
        pipeline=__version__,
        policy=f"{loaded.policy.id} `{loaded.revision[:12]}`",
        models=models,
        bar=loaded.policy.corroborate_at,
        browser=tools.chromium_version,
        versions={attack.name: tools.versions(attack) for attack in able},
        missing=dict(plan.missing),
        notes=tools.notes(),
        load=os.getloadavg()[2],
        cores=os.cpu_count() or 1,
    )
    if recordings is not None and (why := recordings.close(msgspec.to_builtins(about))) is not None:
        tell(why)
    return render(plan.chosen, team.trials, about), team.trials


def json_lines(trials: Sequence[Trial]) -> str:
    """Each session as a line of JSON."""
    return "\n".join(msgspec.json.encode(trial).decode() for trial in trials)
