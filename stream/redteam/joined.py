"""One page of several runs of one build, from what they recorded: where there is no hour at a time, parts are run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from stream.redteam.attacks import ATTACKS
from stream.redteam.report import About, made_by, render
from stream.redteam.run import Trial

_SAME: Final = ("pipeline", "policy", "bar", "browser", "cores")


def joined(folders: Sequence[Path]) -> tuple[str, list[Trial]]:
    """Return the report and every session of runs, each in the folder that it recorded into.

    Raises ValueError where two runs are not of one build, or a folder holds none; OSError.
    """
    runs = [_read(folder) for folder in folders]
    first = runs[0][0]
    trials: list[Trial] = []
    versions: dict[str, dict[str, str]] = {}
    missing: dict[str, str] = {}
    models: dict[str, str] = {}
    for folder, (about, told) in zip(folders, runs, strict=True):
        other = next((name for name in _SAME if getattr(about, name) != getattr(first, name)), None)
        if other is None and any(models.get(name, digest) != digest for name, digest in about.models.items()):
            other = "models"
        if other is not None:
            msg = f"{folder}: {other} differ from those of {folders[0]}: these runs are not of one build"
            raise ValueError(msg)
        models |= about.models
        versions |= about.versions
        missing |= about.missing
        trials += told
    order = {attack.name: place for place, attack in enumerate(ATTACKS)}
    trials.sort(key=lambda trial: (order.get(trial.attack, len(order)), trial.number))
    about = msgspec.structs.replace(
        first,
        versions=versions,
        missing={name: why for name, why in missing.items() if name not in versions},
        models=models,
        notes=list(dict.fromkeys(note for each, _ in runs for note in each.notes)),
        load=max(each.load for each, _ in runs),
        also=[made_by(each) for each, _ in runs[1:]],
    )
    chosen = [attack for attack in ATTACKS if attack.name in versions or attack.name in about.missing]
    return render(chosen, [trial for trial in trials if trial.attack in order], about), trials


def _read(folder: Path) -> tuple[About, list[Trial]]:
    try:
        about = msgspec.json.decode((folder / "run.json").read_bytes(), type=About)
        lines = (folder / "trials.jsonl").read_bytes().splitlines()
        return about, [msgspec.json.decode(line, type=Trial) for line in lines]
    except msgspec.DecodeError as error:
        msg = f"{folder} holds no run that this version recorded: {error}"
        raise ValueError(msg) from None
