"""`tellwire train`: makes the artefacts that ship, byte for byte the same from the same data and library versions.

Everything is seeded, single-threaded and in a fixed order. Only sources that may be shipped are used; what was used is
in the manifest and in the report that `train` returns.
"""

import hashlib
import importlib.metadata
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from features.registry import FEATURES, HIGH, INDEX, LOW, N_FEATURES, NAMES, REGISTRY_HASH
from models.artifact import MANIFEST, SEAL, PointerSpec, indexes_of, shipped_directory, write_manifest
from models.dataset import read_recordings, read_truth
from models.keystroke_range import KeystrokeRange, Ranges
from models.scorer import FloatArray
from models.train_fit import DEFAULT, OUTSIDE, FitSettings, fit, pointer_columns
from models.train_people import (
    EVIDENCE,
    AnomalySettings,
    anomaly_prior,
    left_out,
    model_text,
    prior_calibration,
    score_people,
)
from models.train_vectors import Sample, Table, tabulate
from models.train_windows import LEAST_SAMPLES, SHIPPABLE, Recipe, group_of, recorded_samples, training_samples

POINTER_FILE = "bot_pointer.txt"
KEYSTROKE_FILE = "keystroke_ranges.json"
SIGNALS_FILE = "signal_weights.json"
ANOMALY_FILE = "anomaly.json"
CALIBRATION_FILE = "calibration.json"

LIBRARIES = ("lightgbm", "numba", "numpy", "river")

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class TrainSettings:
    """What `train` does; the defaults make what ships."""

    fit: FitSettings = DEFAULT
    recipe: Recipe = field(default_factory=Recipe)
    anomaly: AnomalySettings = field(default_factory=AnomalySettings)


def quick(settings: TrainSettings) -> TrainSettings:
    """A small run of the whole pipeline: a sixth of the sessions, few rounds. For tests, not for use."""
    return replace(
        settings,
        fit=replace(settings.fit, rounds=20),
        recipe=replace(settings.recipe, windows=2, every=6),
        anomaly=replace(settings.anomaly, trees=10, per_person=10, window=100),
    )


@dataclass(frozen=True, slots=True)
class TrainReport:
    """What was trained on, and what came out."""

    directory: str
    sources: dict[str, int]
    """Windows by source, recorded ones."""
    people: dict[str, int]
    families: dict[str, int]
    """Windows by bot family, recorded ones."""
    generated: int
    transformed: int
    seed: int
    versions: dict[str, str]
    features_hash: str
    files: dict[str, str]
    """SHA-256 by file, the manifest and its seal included."""


def train(
    data: Path, out: Path, settings: TrainSettings | None = None, progress: Progress | None = None
) -> TrainReport:
    """Train on the folder `data` and write the artefacts to the folder `out`.

    Raises DatasetError when the data cannot be read or lack a source that ships, ArtifactError when the result fails
    its own check.
    """
    settings = settings or TrainSettings()
    tell = progress or (lambda _: None)
    tell("reading and folding windows")
    truths = read_truth(data)
    seed = settings.fit.seed
    table = tabulate(training_samples(read_recordings(data), truths, settings.recipe, seed))
    everything = np.ones(len(table), dtype=bool)
    out.mkdir(parents=True, exist_ok=True)
    tell(f"pointer model on {len(table)} windows")
    booster = fit(table, everything, settings.fit)
    (out / POINTER_FILE).write_bytes(model_text(booster))
    tell("half-space trees")
    trees = anomaly_prior(table, everything, settings.anomaly)
    (out / ANOMALY_FILE).write_bytes(trees.to_flat().encode())
    tell("the same without each source of people")
    models = left_out(table, settings.fit, settings.anomaly)
    tell("people's scores, event by event")
    windows = recorded_samples(
        read_recordings(data), truths, SHIPPABLE, settings.recipe.windows, seed, settings.recipe.every
    )
    people = [s for s in windows if s.label == 0]
    scores = [
        *score_people(people, models, whole=False),
        *score_people(whole_sessions(data, settings), models, whole=True),
    ]
    calibration = prior_calibration(scores)
    (out / CALIBRATION_FILE).write_bytes(calibration.to_flat().encode())
    copy_stated(out)
    versions = {name: importlib.metadata.version(name) for name in LIBRARIES}
    report = report_of(table)
    tell("manifest and check")
    write_manifest(
        out,
        NAMES,
        REGISTRY_HASH,
        golden_rows=with_typing(golden_rows(table), typing_ranges()),
        signals=SIGNALS_FILE,
        keystroke=KEYSTROKE_FILE,
        pointer=PointerSpec(POINTER_FILE, [FEATURES[i].name for i in pointer_columns()], dict(EVIDENCE), OUTSIDE),
        anomaly={"*": ANOMALY_FILE},
        calibration=CALIBRATION_FILE,
        sources=list(SHIPPABLE),
        versions=versions,
        seed=seed,
        metrics=report,
    )
    return TrainReport(
        directory=str(out),
        sources=_counts(table.source, table.origin == "recorded"),
        people={
            str(g): len(np.unique(table.person[(table.group == g) & (table.label == 0)]))
            for g in np.unique(table.group)
        },
        families=_counts(table.family, (table.origin == "recorded") & (table.label == 1)),
        generated=int((table.origin == "generated").sum()),
        transformed=int((table.origin == "transformed").sum()),
        seed=seed,
        versions=versions,
        features_hash=REGISTRY_HASH,
        files=hashes(out),
    )


def hashes(directory: Path) -> dict[str, str]:
    """SHA-256 of each artefact of a folder, by name."""
    names = (MANIFEST, SEAL, POINTER_FILE, KEYSTROKE_FILE, SIGNALS_FILE, ANOMALY_FILE, CALIBRATION_FILE)
    return {n: hashlib.sha256((directory / n).read_bytes()).hexdigest() for n in names if (directory / n).is_file()}


def whole_sessions(data: Path, settings: TrainSettings) -> list[Sample]:
    """Whole sessions of the shippable people."""
    truths = read_truth(data)
    found: list[Sample] = []
    for number, recording in enumerate(read_recordings(data)):
        truth = truths[recording.session_id]
        if truth.label or truth.source not in SHIPPABLE or len(recording.t_ms) < LEAST_SAMPLES:
            continue
        if number % settings.recipe.every == 0:
            found.append(Sample(recording, 0, truth.source, group_of(truth.source), truth.person, None))
    return found


def copy_stated(out: Path) -> None:
    """Copy what is stated, not learnt: the published ranges of typing and the weights of signals."""
    for name in (KEYSTROKE_FILE, SIGNALS_FILE):
        source = shipped_directory() / name
        if source.resolve() != (out / name).resolve():
            (out / name).write_bytes(source.read_bytes())


def golden_rows(table: Table, n: int = 32, seed: int = 5) -> FloatArray:
    """Vectors that no session ever had, for the load-time check.

    Each feature is drawn anew between its 2 % and 98 % quantile in training, some missing; rounded, to be short. The
    last ones are those of OUTSIDE, a case each: the pointer model must not judge them.
    """
    rng = np.random.default_rng(seed)
    X = table.X[:, -1].astype(np.float64)
    rows = np.full((n, N_FEATURES), np.nan)
    for column in range(N_FEATURES):
        values = X[:, column][np.isfinite(X[:, column])]
        share, missing = rng.random(n), rng.random(n)
        if len(values):
            low, high = np.quantile(values, (0.02, 0.98))
            rows[:, column] = np.where(missing < 0.1, np.nan, np.round(low + share * (high - low), 6))
    for case, first, other, bound in indexes_of(OUTSIDE, INDEX):
        rows[:, first] = np.minimum(rows[:, first], 0.5 * bound)
        rows[-1 - case, first] = bound
        if other >= 0:
            rows[-1 - case, other] = 0.0
    return rows


def typing_ranges() -> Ranges:
    """The published ranges of typing that ship."""
    index = {name: i for i, name in enumerate(NAMES)}
    return KeystrokeRange.decode((shipped_directory() / KEYSTROKE_FILE).read_bytes(), index).ranges


def with_typing(rows: FloatArray, ranges: Ranges, seed: int = 6) -> FloatArray:
    """Golden rows of which every other one has typing, within the ranges and beyond, some of it missing.

    Recordings that train the pointer models hold no keys: without this no golden row would have a keystroke score.
    What a row has already stays.
    """
    rng = np.random.default_rng(seed)
    found = rows.copy()
    # One row stays within what people do, another lies up to three scales beyond: so scores of all sizes occur.
    beyond = 3.0 * rng.random(len(rows))
    ends: dict[str, list[float]] = {}
    scales: dict[str, float] = {}
    for term in ranges.terms:
        ends.setdefault(term.feature, []).extend(end for end in (term.low, term.high) if end is not None)
        scales[term.feature] = max(term.scale, scales.get(term.feature, 0.0))
    typed = np.arange(len(rows)) % 2 == 0
    column = NAMES.index(ranges.count_feature)
    keys = np.round(rng.uniform(ranges.min_keys, 20.0 * ranges.min_keys, len(rows)))
    found[:, column] = np.where(typed & np.isnan(found[:, column]), keys, found[:, column])
    for name, bounds in ends.items():
        column, apart = NAMES.index(name), beyond * scales[name]
        low, high = min(bounds) - apart, max(bounds) + np.maximum(apart, scales[name])
        drawn = np.clip(np.round(low + rng.random(len(rows)) * (high - low), 6), LOW[column], HIGH[column])
        empty = typed & np.isnan(found[:, column]) & (rng.random(len(rows)) >= 0.1)
        found[empty, column] = drawn[empty]
    return found


def report_of(table: Table) -> dict[str, float]:
    """Sizes that the manifest states."""
    return {
        "windows": float(len(table)),
        "people": float(len(np.unique(table.person[table.label == 0]))),
        "bot_families": float(len(np.unique(table.family[(table.label == 1) & (table.origin == "recorded")]))),
    }


def _counts(key: NDArray[np.str_], rows: NDArray[np.bool_]) -> dict[str, int]:
    names, counts = np.unique(key[rows], return_counts=True)
    return {str(name): int(count) for name, count in zip(names, counts, strict=True)}
