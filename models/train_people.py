"""Raw scores of people by models that never saw their source, for the prior calibration; the anomaly prior.

The unit is the person. A person is scored by a pointer model and half-space trees trained without the whole source (its
people, its bots, what was generated from them), over whole sessions, event by event, as a live system would see them.
Leaving out the person alone would be too kind: a new deployment is a new source, and people of one look riskier to a
model that never saw it. So the prior is made for that, and asks more of a score than people of known sources would.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from features.registry import FEATURES, N_FEATURES
from models.anomaly import FlatHST
from models.anomaly_learn import AnomalyLearner
from models.artifact import indexes_of
from models.bot import PointerModel
from models.calibration import DECLARED_PRIORS, CalibrationBuilder, CalibrationTable
from models.cells import ANY, Cell, evidence_of
from models.dataset import DatasetError, Floats
from models.train_fit import OUTSIDE, FitSettings, fit, pointer_columns, usable
from models.train_vectors import OBSERVED, Sample, Table, fold_recordings, in_batches, last_within
from models.train_windows import group_of
from schemas.risk import CHANNELS

BOT, ANOMALY = CHANNELS.index("bot"), CHANNELS.index("anomaly")
PRIOR_CUTS_S: tuple[float, ...] = (1.0, 2.0, 5.0, 10.0, 30.0, 120.0, float("inf"))
"""Observed times at which a person's session enters the prior, one at least for each amount of evidence."""
EVIDENCE = {"pointer_samples": 10.0, "pointer_strokes": 1.0}
"""Least evidence for a pointer score."""
VALUES_PER_PERSON = 20


@dataclass(frozen=True, slots=True)
class AnomalySettings:
    """Half-space trees of the prior: size, and how many of a person's vectors are learnt at most."""

    trees: int = 40
    height: int = 8
    window: int = 500
    per_person: int = 40
    seed: int = 20261122


def pointer_model(booster: Any) -> PointerModel:
    """The served form of a trained booster: the scores of training and serving come from the same code."""
    columns = pointer_columns()
    names = [FEATURES[i].name for i in columns]
    index = {feature.name: i for i, feature in enumerate(FEATURES)}
    evidence = {index[name]: least for name, least in EVIDENCE.items()}
    return PointerModel(model_text(booster), names, columns, evidence, indexes_of(OUTSIDE, index))


def model_text(booster: Any) -> bytes:
    """LightGBM's text model."""
    text: str = booster.model_to_string(num_iteration=-1)
    return text.encode()


def anomaly_columns() -> NDArray[np.int64]:
    """Indexes of the features that the anomaly model reads."""
    return np.asarray([i for i, feature in enumerate(FEATURES) if feature.anomaly], dtype=np.int64)


def anomaly_prior(table: Table, rows: NDArray[np.bool_], settings: AnomalySettings) -> FlatHST:
    """Half-space trees that have learnt people's vectors: recorded windows of `rows`, each person equally often.

    Limits are people's 1 % and 99 % quantiles, so that the trees' splits fall where people are.
    """
    rng = np.random.default_rng((settings.seed, 3))
    columns = anomaly_columns()
    sample, cut = np.nonzero(usable(table) & (rows & (table.label == 0) & (table.origin == "recorded"))[:, None])
    owner = table.person[sample]
    chosen: list[int] = []
    for person in np.unique(owner):
        mine = np.flatnonzero(owner == person)
        chosen += rng.choice(mine, size=min(settings.per_person, len(mine)), replace=False).tolist()
    if not chosen:
        raise DatasetError("no recorded people with pointer or keys are left to learn from: more groups are needed")
    order = rng.permutation(np.asarray(chosen, dtype=np.int64))
    X = table.X[sample[order], cut[order]].astype(np.float64)
    with np.errstate(all="ignore"):
        some = ~np.isnan(X[:, columns]).all(axis=0)
    columns = columns[some]
    low, high = np.nanquantile(X[:, columns], (0.01, 0.99), axis=0)
    apart = high - low > 1e-9
    columns, low, high = columns[apart], low[apart], high[apart]
    learner = AnomalyLearner(
        [FEATURES[i].name for i in columns], columns, low, high,
        n_trees=settings.trees, height=settings.height, window_size=settings.window, seed=settings.seed,
    )  # fmt: skip
    # Twice through: the second pass completes a window, so that the reference holds everybody.
    learner.learn(np.concatenate([X, X])[: max(settings.window, (2 * len(X)) // settings.window * settings.window)])
    return learner.export()


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Models by source, each trained without that source."""

    pointer: Mapping[str, PointerModel]
    anomaly: Mapping[str, FlatHST]


def left_out(table: Table, settings: FitSettings, anomaly: AnomalySettings) -> LeftOut:
    """Train the models without each source of people."""
    groups = [str(group) for group in np.unique(table.group[table.label == 0])]
    return LeftOut(
        pointer={group: pointer_model(fit(table, table.group != group, settings)) for group in groups},
        anomaly={group: anomaly_prior(table, table.group != group, anomaly) for group in groups},
    )


@dataclass(frozen=True, slots=True)
class PersonScores:
    """Raw scores of one session of a person after each event: raw float64 (events, CHANNELS), observed_s (events,)."""

    person: str
    source: str
    pointer_type: str
    raw: Floats
    observed_s: Floats
    whole: bool


def score_people(samples: Iterable[Sample], models: LeftOut, *, whole: bool) -> Iterator[PersonScores]:
    """Score people's recordings with models that never saw their source. whole: they are whole sessions.

    Also where the pointer model doesn't judge: people whose recorder is too coarse look riskier, and a prior without
    them would ask less of the next recorder's people.
    """
    for batch in in_batches(samples):
        for sample, vectors in zip(batch, fold_recordings([s.recording for s in batch]), strict=True):
            if sample.label or sample.person is None or sample.group not in models.pointer:
                continue
            raw = np.full((len(vectors), len(CHANNELS)), np.nan)
            assert vectors.shape[1] == N_FEATURES
            raw[:, BOT] = models.pointer[sample.group].raw_of_all(vectors)
            raw[:, ANOMALY] = models.anomaly[sample.group].raw(vectors)
            yield PersonScores(
                sample.person, sample.source, sample.recording.pointer_type, raw, vectors[:, OBSERVED].copy(), whole
            )


def prior_calibration(scores: Iterable[PersonScores]) -> CalibrationTable:
    """The prior: people by input type and amount of evidence; sources weigh as in `rank_sources`.

    A session whose recorder does not say which device it was is ranked among everybody who moved a pointer.
    """
    builder = CalibrationBuilder(values_per_person=VALUES_PER_PERSON)
    for one in scores:
        at = np.unique(last_within(one.observed_s, PRIOR_CUTS_S))
        at = at[at >= 0]
        largest = np.fmax.accumulate(one.raw, axis=0)
        for kind in dict.fromkeys((one.pointer_type, "unknown")):
            # One value an amount of evidence: the latest within it.
            latest = {evidence_of(float(one.observed_s[i])): int(i) for i in at}
            for k, (evidence, i) in enumerate(latest.items()):
                final = one.whole and k == len(latest) - 1
                cell, top = Cell(ANY, kind, ANY, evidence), largest[-1].tolist() if final else None
                builder.add(one.person, cell, one.raw[i], top, group_of(one.source))
    return builder.build("prior", declared=DECLARED_PRIORS)
