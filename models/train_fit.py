"""Fits the pointer model: which columns and rows it learns from, how much each weighs, and LightGBM's parameters.

Weights are the defence against the traps of the data: people count equally within their source, families equally within
their instrument, and people and bots of one instrument the same, so that the instrument by itself says nothing.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from features.registry import FEATURES, INDEX
from models.artifact import Outside, indexes_of
from models.train_vectors import STROKES, Table

Rows = NDArray[np.bool_]

EXCLUDED_ENDINGS: tuple[str, ...] = ("_sd",)
"""Bot features left out of the model, by the end of their names: they lowered the leave-out figures."""

CAPPED = {"delbot_gan": 0.4}
"""Weight of families that have no recorder behind them, others being 1."""

SOURCE_WEIGHT = {"sapimouse": 1.2, "balabit": 0.8, "delbot": 1.0}
"""Weight of an instrument; people and bots of it have this weight each. By how many people stand behind it, damped."""

CUT_WEIGHT: tuple[float, ...] = (0.5, 0.7, 1.0, 1.0, 1.0)


LED_BY_KEYS = [
    Outside(["pointer_axis_ratio", "pointer_diagonal_ratio"], 0.95),
    Outside(["pointer_ahead_ratio"], 0.9),
]
"""A pointer that steps along axes and diagonals alone, and straight on: led by keys (or along a rail), not by a hand.
No recording is of somebody who needs that; what a hand's path says of people says nothing of them."""
TOO_COARSE = [Outside(["pointer_interval_ms"], 75.0)]
"""Samples further apart than a corrective sub-movement lasts: what lies between them was not seen, and a stroke's shape
is mostly the straight lines that join them (remote desktops, slow devices)."""
OUTSIDE = [LED_BY_KEYS, TOO_COARSE]
"""Cases in which the pointer model can't judge: there is no score, as there is none without a pointer."""


@dataclass(frozen=True, slots=True)
class FitSettings:
    """LightGBM's parameters and the share of generated counterparts; defaults are what ships."""

    seed: int = 20261122
    rounds: int = 200
    generated_weight: float = 8.0
    """Weight of all generated counterparts of an instrument, in families (at least two families' worth is kept)."""
    parameters: dict[str, Any] = field(
        default_factory=lambda: {
            "objective": "binary",
            "num_leaves": 24,
            "max_depth": 7,
            "learning_rate": 0.05,
            "min_data_in_leaf": 40,
            "feature_fraction": 0.25,
            "bagging_fraction": 0.7,
            "bagging_freq": 1,
            "lambda_l2": 5.0,
            "max_bin": 127,
            "deterministic": True,
            "force_row_wise": True,
            "num_threads": 1,
            "verbosity": -1,
        }
    )


DEFAULT = FitSettings()


def pointer_columns() -> NDArray[np.int64]:
    """Indexes of the pointer model's inputs: the registry's bot features less the excluded ones."""
    names = [f.name for f in FEATURES if f.bot and not f.name.endswith(EXCLUDED_ENDINGS)]
    return np.asarray([INDEX[name] for name in names], dtype=np.int64)


def sample_weights(table: Table, rows: Rows, settings: FitSettings = DEFAULT) -> NDArray[np.float64]:
    """Weight of each sample of `table` (0 outside `rows`), see the module's first lines."""
    weights = np.zeros(len(table))
    for group in np.unique(table.group[rows]):
        own = SOURCE_WEIGHT.get(str(group), 1.0)
        people = rows & (table.label == 0) & (table.group == group)
        bots = rows & (table.label == 1) & (table.group == group)
        for person in np.unique(table.person[people]):
            mine = people & (table.person == person)
            # Not quite equal: someone with a hundred windows says a little more than one with two.
            weights[mine] = float(mine.sum()) ** -0.7
        for family, share in _family_shares(table, bots, settings).items():
            mine = bots & (table.family == family)
            weights[mine] = share / mine.sum()
        for side in (people, bots):
            total = weights[side].sum()
            if total > 0.0:
                weights[side] *= own / total
    return weights


def _family_shares(table: Table, bots: Rows, settings: FitSettings) -> dict[str, float]:
    families = np.unique(table.family[bots]).tolist()
    generated = [family for family in families if str(family).startswith("own_")]
    recorded = [family for family in families if family not in generated]
    each = settings.generated_weight * max(len(recorded), 2) / max(len(generated), 1) / 2.0
    shares = {str(family): CAPPED.get(str(family), 1.0) for family in recorded}
    shares.update({str(family): each for family in generated})
    return shares


def usable(table: Table) -> NDArray[np.bool_]:
    """(samples, cuts): rows that tell something new and hold at least one stroke."""
    return np.asarray(table.reached & (table.X[:, :, STROKES] >= 1.0))


def outside(X: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Vectors (..., N_FEATURES) that the pointer model doesn't judge: all of one case of OUTSIDE holds."""
    cases = [np.ones(X.shape[:-1], dtype=bool) for _ in OUTSIDE]
    for case, first, other, bound in indexes_of(OUTSIDE, INDEX):
        cases[case] &= X[..., first] + (X[..., other] if other >= 0 else 0.0) >= bound
    return np.asarray(np.any(cases, axis=0), dtype=bool)


def fit(table: Table, rows: Rows, settings: FitSettings = DEFAULT, columns: NDArray[np.int64] | None = None) -> Any:
    """Train LightGBM on the cuts of `rows`; returns its Booster. Needs the extra `train`."""
    import lightgbm

    inputs = pointer_columns() if columns is None else columns
    weights = sample_weights(table, rows, settings)
    take = usable(table) & (weights > 0.0)[:, None]
    sample, cut = np.nonzero(take)
    weight = weights[sample] * np.asarray(CUT_WEIGHT)[np.minimum(cut, len(CUT_WEIGHT) - 1)]
    data = lightgbm.Dataset(
        table.X[sample, cut][:, inputs],
        label=table.label[sample],
        weight=weight * len(weight) / weight.sum(),
        feature_name=[FEATURES[i].name for i in inputs],
        free_raw_data=True,
    )
    return lightgbm.train({**settings.parameters, "seed": settings.seed}, data, settings.rounds)


def predict(
    booster: Any, table: Table, rows: Rows, columns: NDArray[np.int64] | None = None, *, of_all: bool = False
) -> NDArray[np.float64]:
    """Raw scores (samples, cuts), NaN outside `rows`, where there is no stroke and (but for `of_all`) in OUTSIDE."""
    inputs = pointer_columns() if columns is None else columns
    out = np.full(table.X.shape[:2], np.nan)
    judged = np.ones(out.shape, dtype=bool) if of_all else ~outside(table.X)
    sample, cut = np.nonzero((table.X[:, :, STROKES] >= 1.0) & rows[:, None] & judged)
    if len(sample):
        out[sample, cut] = booster.predict(table.X[sample, cut][:, inputs].astype(np.float64), num_threads=1)
    return out


def person_folds(table: Table, folds: int, seed: int) -> NDArray[np.int64]:
    """Fold of each sample by its person (people, and what was generated from them); -1 for bots of no person.

    People of one source are spread evenly over the folds.
    """
    out = np.full(len(table), -1, dtype=np.int64)
    rng = np.random.default_rng((seed, 7))
    at = 0
    for group in np.unique(table.group[table.person != ""]):
        people = np.unique(table.person[(table.group == group) & (table.person != "")])
        for person in rng.permutation(people):
            out[table.person == person] = at % folds
            at += 1
    return out
