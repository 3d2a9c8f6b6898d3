"""Whole recorded sessions, scored after each event as the pipeline would, by models that never saw what is judged.

Windows say how much a few seconds tell; decisions are made over sessions, at whatever moment. So each whole session is
folded once, event by event, and scored by the served form of every model that left out its family or its source: the
last raw score and the running maximum are what the figures over sessions rest on.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.bot import PointerModel
from models.calibration import CalibrationBuilder, Calibrator
from models.cells import ANY, Cell
from models.dataset import Floats, Truth, read_recordings
from models.train_vectors import Sample, fold_recordings, in_batches
from models.train_windows import LEAST_SAMPLES, THINNED_FAMILIES, group_of
from schemas.risk import CHANNELS

LONGEST_S = 600.0
"""Genuine sessions up to this long are in the figure of who is ever flagged."""
FOLDS = 5

Strings = NDArray[np.str_]
Numbers = NDArray[np.int64]
BOT = CHANNELS.index("bot")


@dataclass(frozen=True, slots=True)
class Sessions:
    """What is known of each whole session, and its scores by each model that may judge it.

    unit: the person where the source says who, else the session; last, top: raw score after the last event and the
    largest ever, by model name, NaN where the model saw the session's like or where there was no evidence; ranked: the
    largest ever also where a model doesn't judge, which is how people enter the prior.
    """

    label: Numbers
    group: Strings
    unit: Strings
    family: Strings
    session: Strings
    pointer_type: Strings
    duration_s: Floats
    last: Mapping[str, Floats]
    top: Mapping[str, Floats]
    ranked: Mapping[str, Floats]

    def __len__(self) -> int:
        return len(self.label)


def whole_samples(
    data: Path, truths: Mapping[str, Truth], sources: tuple[str, ...], every: int = 1
) -> Iterator[Sample]:
    """Whole sessions of the sources that have pointer samples, people and bots, thinned as windows are."""
    for number, recording in enumerate(read_recordings(data)):
        truth = truths[recording.session_id]
        if truth.source not in sources or len(recording.t_ms) < LEAST_SAMPLES:
            continue
        if number % (THINNED_FAMILIES.get(truth.family or "", 1) * every) == 0:
            yield Sample(recording, truth.label, truth.source, group_of(truth.source), truth.person, truth.family)


def family_model(family: str, fold: int) -> str:
    """Name of the model that saw neither the family nor the people of a fold."""
    return f"family {family} {fold}"


def source_model(*sources: str) -> str:
    """Name of the model that saw nothing of some sources."""
    return f"source {' '.join(sorted(sources))}"


def judges(sample: Sample, models: Iterable[str], fold_of: Mapping[str, int], sources: Iterable[str]) -> list[str]:
    """Names of the models that may judge a session: those that saw neither its family or person, nor its source."""
    if sample.label:
        named = [name for name in models if sample.family and name.startswith(f"family {sample.family} ")]
    else:
        fold = fold_of.get(sample.person or "", -1)
        named = [name for name in models if name.startswith("family ") and name.endswith(f" {fold}")]
    named.append(source_model(sample.group))
    named += [source_model(sample.group, other) for other in sources if other != sample.group]
    known = set(models)
    return [name for name in named if name in known]


def score_sessions(
    samples: Iterable[Sample], models: Mapping[str, PointerModel], fold_of: Mapping[str, int], sources: tuple[str, ...]
) -> Sessions:
    """Fold each session once and score it, after each event, by every model that may judge it."""
    kept: list[tuple[int, str, str, str, str, str, float]] = []
    last: dict[str, list[float]] = {name: [] for name in models}
    top: dict[str, list[float]] = {name: [] for name in models}
    ranked: dict[str, list[float]] = {name: [] for name in models}
    for batch in in_batches(samples):
        for sample, vectors in zip(batch, fold_recordings([s.recording for s in batch]), strict=True):
            recording = sample.recording
            kept.append((
                sample.label, sample.group, sample.person or recording.session_id, sample.family or "",
                recording.session_id, recording.pointer_type, recording.duration_ms / 1000.0,
            ))  # fmt: skip
            named = judges(sample, models, fold_of, sources)
            for name in models:
                raw = models[name].raw(vectors) if name in named else np.full(1, np.nan)
                last[name].append(float(raw[-1]))
                top[name].append(float(np.fmax.reduce(raw)))
                ranks = sample.label == 0 and name in named and name.startswith("source ")
                ranked[name].append(float(np.fmax.reduce(models[name].raw_of_all(vectors))) if ranks else np.nan)
    words = [np.asarray([row[i] for row in kept], dtype=np.str_) for i in range(1, 6)]
    return Sessions(
        label=np.asarray([row[0] for row in kept], dtype=np.int64),
        group=words[0], unit=words[1], family=words[2], session=words[3], pointer_type=words[4],
        duration_s=np.asarray([row[6] for row in kept], dtype=np.float64),
        last={name: np.asarray(values) for name, values in last.items()},
        top={name: np.asarray(values) for name, values in top.items()},
        ranked={name: np.asarray(values) for name, values in ranked.items()},
    )  # fmt: skip


def by_family(sessions: Sessions, scores: Mapping[str, Floats], family: str, folds: int) -> Floats:
    """Scores of all people and of one family by the models without it: people by their fold's, bots by the mean."""
    theirs = np.stack([scores[family_model(family, q)] for q in range(folds)])
    judged = (sessions.label == 0) | (sessions.family == family)
    known = ~np.isnan(theirs)
    total = np.where(known, theirs, 0.0).sum(axis=0)
    counted = np.maximum(known.sum(axis=0), 1)
    return np.asarray(np.where(judged & known.any(axis=0), total / counted, np.nan))


def by_source(sessions: Sessions, scores: Mapping[str, Floats], beside: str = "") -> Floats:
    """Scores of each session by the model without its source; with `beside`, also without that source."""
    out = np.full(len(sessions), np.nan)
    for group in np.unique(sessions.group):
        name = source_model(str(group), beside) if beside and beside != group else source_model(str(group))
        if name in scores:
            out = np.where(sessions.group == group, scores[name], out)
    return out


def prior_of(sessions: Sessions, rows: NDArray[np.bool_], top: Floats) -> Calibrator:
    """The product's calibration of the running maximum over whole sessions, among the people of `rows`."""
    builder = CalibrationBuilder()
    blank = [float("nan")] * len(CHANNELS)
    for i in np.flatnonzero(rows & (sessions.label == 0) & ~np.isnan(top)).tolist():
        value = [*blank[:BOT], float(top[i]), *blank[BOT + 1 :]]
        for kind in dict.fromkeys((str(sessions.pointer_type[i]), "unknown")):
            builder.add(str(sessions.unit[i]), Cell(ANY, kind, ANY, ANY), blank, value, str(sessions.group[i]))
    return Calibrator([builder.build("prior")])


@dataclass(frozen=True, slots=True)
class Anytime:
    """`score_anytime` at the end of each session (NaN: no score), and how many people each was ranked among."""

    score: Floats
    people: Numbers


def anytime(sessions: Sessions, calibrator: Calibrator, rows: NDArray[np.bool_], top: Floats) -> Anytime:
    """Calibrate the running maxima of `rows` in the cell that each session's input type has."""
    score, people = np.full(len(sessions), np.nan), np.zeros(len(sessions), dtype=np.int64)
    for i in np.flatnonzero(rows & ~np.isnan(top)).tolist():
        cell = Cell(ANY, str(sessions.pointer_type[i]), ANY, ANY)
        found = calibrator.score("bot", "anytime", cell, float(top[i]))
        score[i], people[i] = found.score, found.calibration.n_people
    return Anytime(score, people)


def person_left_out(sessions: Sessions, sources: tuple[str, ...], seed: int = 1) -> Anytime:
    """Each person ranked among all others; every one scored by a model that never saw their source."""
    top, ranks = by_source(sessions, sessions.top), by_source(sessions, sessions.ranked)
    people = (sessions.label == 0) & np.isin(sessions.group, sources)
    names = np.unique(sessions.unit[people])
    fold_of = dict(zip(names.tolist(), np.random.default_rng((seed, 19)).permutation(len(names)) % FOLDS, strict=True))
    fold = np.asarray([fold_of.get(str(unit), -1) for unit in sessions.unit])
    score, ranked = np.full(len(sessions), np.nan), np.zeros(len(sessions), dtype=np.int64)
    for q in range(FOLDS):
        mine = people & (fold == q)
        found = anytime(sessions, prior_of(sessions, people & (fold != q), ranks), mine, top)
        score[mine], ranked[mine] = found.score[mine], found.people[mine]
    return Anytime(score, ranked)


def source_left_out(sessions: Sessions, source: str, sources: tuple[str, ...]) -> Anytime:
    """Sessions of a source by the model without it, among the others' people, scored without it and their own."""
    others = np.isin(sessions.group, [one for one in sources if one != source])
    beside = source if source in sources else ""
    calibrator = prior_of(sessions, others, by_source(sessions, sessions.ranked, beside))
    return anytime(sessions, calibrator, sessions.group == source, by_source(sessions, sessions.top))
