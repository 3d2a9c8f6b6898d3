"""Leave-out protocols of the pointer model: a bot family, a source, people never seen; the baseline by the same rules.

A model that is judged on a family has seen neither the family nor the people that it is judged against; one that is
judged on a source has seen neither its people nor its bots nor what was generated from them. All figures are on
recorded windows.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models import evaluate_baseline as baseline
from models.calibration import CalibrationBuilder, Calibrator
from models.cells import ANY, Cell
from models.evaluate_stats import NOTHING, Floats, Interval, curve, share_with_interval, side, with_interval
from models.train_fit import FitSettings, fit, person_folds, predict
from models.train_vectors import CUTS_S, Table
from schemas.risk import CHANNELS

Rows = NDArray[np.bool_]
Fit = Callable[[Rows], Callable[[Rows], Floats]]
"""Given the rows to learn from, returns what gives raw scores (samples, cuts) for other rows."""

FOLDS = 3
LEAST_SESSIONS = 20
CUT_NAMES: tuple[str, ...] = ("1", "2", "5", "10", "end")
BARS: tuple[float, ...] = (0.95, 0.98)


@dataclass(frozen=True, slots=True)
class FamilyResult:
    """A left-out family at one cut: AUC against all people and against those of its own instrument, share found."""

    family: str
    cut: str
    sessions: int
    auc_all: Interval
    auc_same: Interval
    found_at_1pct: Interval


@dataclass(frozen=True, slots=True)
class SourceResult:
    """A left-out source at one cut: its people's share at or above calibrated bars, and its bots' AUC."""

    source: str
    cut: str
    people: int
    windows: int
    calibrated_on: int
    flagged: dict[str, Interval]
    bots: dict[str, Interval]


class PointerLearner:
    """Trains the product's pointer model on rows of a table, once for each choice of rows."""

    def __init__(self, table: Table, settings: FitSettings, *, generated: bool = True) -> None:
        self._table = table
        self._settings = settings
        self._allowed = table.origin != "generated" if not generated else np.ones(len(table), dtype=bool)
        self._known: dict[bytes, Any] = {}

    def booster(self, rows: Rows) -> Any:
        """The model of these rows (and no others)."""
        key = np.packbits(rows).tobytes()
        if key not in self._known:
            self._known[key] = fit(self._table, rows & self._allowed, self._settings)
        return self._known[key]

    def __call__(self, rows: Rows) -> Callable[[Rows], Floats]:
        """What gives raw scores (samples, cuts) for other rows."""
        booster = self.booster(rows)
        return lambda wanted: predict(booster, self._table, wanted)

    def of_all(self, rows: Rows) -> Callable[[Rows], Floats]:
        """The same also where the model doesn't judge: for ranking people, as the shipped prior does."""
        booster = self.booster(rows)
        return lambda wanted: predict(booster, self._table, wanted, of_all=True)


def pointer_fit(table: Table, settings: FitSettings, *, generated: bool = True) -> PointerLearner:
    """The product's model; generated=False leaves its own counterparts out (an ablation)."""
    return PointerLearner(table, settings, generated=generated)


def baseline_fit(table: Table, X: NDArray[np.float32]) -> Fit:
    """The plain baseline on recorded windows; `X` is aligned with the table, NaN on rows that are not recorded."""
    recorded = table.origin == "recorded"

    def learn(rows: Rows) -> Callable[[Rows], Floats]:
        booster = baseline.fit(X, table, rows & recorded)
        return lambda wanted: baseline.predict(booster, X, wanted)

    return learn


def families_of(table: Table) -> list[str]:
    """Recorded bot families with enough sessions, in order."""
    recorded = (table.origin == "recorded") & (table.label == 1)
    return [
        str(f) for f in np.unique(table.family[recorded]) if (recorded & (table.family == f)).sum() >= LEAST_SESSIONS
    ]


def without_family(table: Table, family: str, kept: Rows) -> Rows:
    """Rows to learn from where a family is left out, and the people who are not `kept`."""
    return np.asarray((table.family != family) & kept)


def leave_family_out(table: Table, learn: Fit, family: str, folds: int = FOLDS, seed: int = 1) -> Floats:
    """Raw scores (samples, cuts) of all people and of one family, by models that saw neither. Bots: mean over folds."""
    fold = person_folds(table, folds, seed)
    recorded = table.origin == "recorded"
    theirs = recorded & (table.family == family)
    out = np.full(table.X.shape[:2], np.nan)
    total = np.zeros(table.X.shape[:2])
    for q in range(folds):
        score = learn(without_family(table, family, fold != q))
        people = recorded & (table.label == 0) & (fold == q)
        scores = score(people | theirs)
        out[people] = scores[people]
        total[theirs] += scores[theirs]
    out[theirs] = total[theirs] / folds
    return out


def unit_of(table: Table) -> NDArray[np.str_]:
    """Whom a row belongs to: the person where known, else the session."""
    return np.where(table.person != "", table.person, table.session)


def family_results(table: Table, scores: Floats, family: str, instrument: str, seed: int = 1) -> list[FamilyResult]:
    """Figures of one left-out family at each cut. People's sources weigh the same, people within a source too."""
    people = (table.origin == "recorded") & (table.label == 0)
    theirs = (table.origin == "recorded") & (table.family == family)
    unit = unit_of(table)
    found: list[FamilyResult] = []
    for c, name in enumerate(CUT_NAMES):
        bots = side(scores[theirs, c], table.session[theirs])
        humans = _known(scores, people, c)
        same = humans & (table.group == instrument)
        auc_all, found_all = with_interval(side(scores[humans, c], unit[humans], table.group[humans]), bots, seed)
        auc_same, _ = with_interval(side(scores[same, c], unit[same]), bots, seed)
        found.append(FamilyResult(family, name, int(theirs.sum()), auc_all, auc_same, found_all))
    return found


def family_curve(table: Table, scores: Floats, family: str, cut: int) -> tuple[Floats, Floats]:
    """ROC of one left-out family at a cut."""
    people = _known(scores, (table.origin == "recorded") & (table.label == 0), cut)
    theirs = _known(scores, (table.origin == "recorded") & (table.family == family), cut)
    unit = unit_of(table)
    return curve(
        side(scores[people, cut], unit[people], table.group[people]), side(scores[theirs, cut], table.session[theirs])
    )


def _known(scores: Floats, rows: Rows, cut: int) -> Rows:
    return np.asarray(rows & ~np.isnan(scores[:, cut]))


def held_out_people(
    table: Table, learn: Fit, among: Rows, *, by_source: bool, folds: int = FOLDS, seed: int = 1
) -> Floats:
    """Raw scores of the recorded people of `among`, by models learnt from `among` without the source of each.

    So the shipped prior is made. With by_source=False they are learnt without each fold of persons, as is usual.
    """
    people = among & (table.origin == "recorded") & (table.label == 0)
    part = person_folds(table, folds, seed)
    if by_source:
        _, part = np.unique(table.group, return_inverse=True)
    out = np.full(table.X.shape[:2], np.nan)
    of_all = learn.of_all if isinstance(learn, PointerLearner) else learn
    for one in np.unique(part[people]):
        rows = people & (part == one)
        out[rows] = of_all(among & (part != one))(rows)[rows]
    return out


def leave_source_out(
    table: Table, learn: Fit, source: str, *, by_source: bool = True, seed: int = 1
) -> list[SourceResult]:
    """Figures of one source of people by models, and a calibration, that never saw it nor its bots."""
    others = table.group != source
    recorded = table.origin == "recorded"
    scores = learn(others)(recorded & ~others)
    held = held_out_people(table, learn, others, by_source=by_source, seed=seed)
    people = recorded & ~others & (table.label == 0)
    unit = unit_of(table)
    found: list[SourceResult] = []
    for c, name in enumerate(CUT_NAMES):
        calibrate, n = calibration_of(held[:, c], others & recorded & (table.label == 0), unit, table.group)
        mine = _known(scores, people, c)
        values = np.asarray([calibrate(v) for v in scores[mine, c].tolist()])
        flagged = {f"{bar:g}": share_with_interval(values >= bar, unit[mine], seed) for bar in BARS}
        bots: dict[str, Interval] = {}
        for family in families_of(table):
            theirs = recorded & (table.family == family) & (table.group == source)
            if theirs.any():
                humans = side(scores[mine, c], unit[mine])
                bots[family] = with_interval(humans, side(scores[theirs, c], table.session[theirs]), seed)[0]
        found.append(SourceResult(source, name, len(np.unique(unit[mine])), int(mine.sum()), n, flagged, bots))
    return found


def calibration_of(
    held: Floats, rows: Rows, unit: NDArray[np.str_], source: NDArray[np.str_]
) -> tuple[Callable[[float], float], int]:
    """The product's calibrated score on people's held-out raw scores, and how many people there are."""
    cell = Cell(ANY, "mouse", ANY, ANY)
    builder = CalibrationBuilder()
    blank = [float("nan")] * len(CHANNELS)
    bot = CHANNELS.index("bot")
    for row in np.flatnonzero(rows & ~np.isnan(held)).tolist():
        raw = [*blank[:bot], float(held[row]), *blank[bot + 1 :]]
        builder.add(str(unit[row]), cell, raw, source=str(source[row]))
    table = builder.build("prior", min_people=1)
    calibrator = Calibrator([table])
    return (lambda raw: calibrator.score("bot", "now", cell, raw).score), table.people("bot", "now", cell)


def unseen_source(
    table: Table,
    scores: Floats,
    calibrate: Callable[[float], float] | None,
    calibrated_on: int,
    source: str,
    seed: int = 1,
) -> list[SourceResult]:
    """Figures of a source that is in no training at all, by given raw scores (samples, cuts)."""
    unit = unit_of(table)
    found: list[SourceResult] = []
    for c, name in enumerate(CUT_NAMES):
        mine, theirs = _known(scores, table.label == 0, c), table.label == 1
        humans = side(scores[mine, c], unit[mine])
        area = (
            with_interval(humans, side(scores[theirs, c], table.session[theirs]), seed)[0] if theirs.any() else NOTHING
        )
        flagged: dict[str, Interval] = {}
        if calibrate is not None:
            values = np.asarray([calibrate(v) for v in scores[mine, c].tolist()])
            flagged = {f"{bar:g}": share_with_interval(values >= bar, unit[mine], seed) for bar in BARS}
        families = {str(f): area for f in np.unique(table.family[theirs])}
        found.append(
            SourceResult(source, name, len(np.unique(unit[mine])), int(mine.sum()), calibrated_on, flagged, families)
        )
    return found


__all__ = ["CUTS_S", "CUT_NAMES", "FamilyResult", "SourceResult"]
