"""How much each input of the pointer model says about the instrument rather than the hand.

A feature that tells people of two sources apart (0.5 is not at all, 1 always) tells their recorders, screens or tasks
apart: nobody is a bot there. What it says of bots beyond that is worth something on a source that was never seen.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from features.registry import FEATURES
from models.evaluate_pointer import unit_of
from models.evaluate_stats import Floats, auc, side
from models.train_fit import pointer_columns
from models.train_vectors import Table

FOLDS = 2
LEAST = 5
"""Values of a feature in each source below which the two are not compared."""


@dataclass(frozen=True, slots=True)
class Leak:
    """One input: how well it tells sources of people apart, and bots from the people of their own source.

    0.5 is not at all, 1 always, whichever way round; pairs: compared pairs of sources; bots: mean over families.
    """

    feature: str
    mean: float
    worst: float
    pair: str
    pairs: int
    bots: float


@dataclass(frozen=True, slots=True)
class Apart:
    """Two sources of people told apart by all inputs together, by a model that saw none of the people judged."""

    pair: str
    auc: float


@dataclass(frozen=True, slots=True)
class Rows:
    """Vectors (n, inputs) at one cut, and whom each belongs to."""

    X: Floats
    unit: NDArray[np.str_]


def apart(a: Floats, of_a: NDArray[np.str_], b: Floats, of_b: NDArray[np.str_]) -> float:
    """How well a feature tells two groups apart, 0.5 to 1; NaN with too few values. People weigh the same."""
    x, y = side(a, of_a).known(), side(b, of_b).known()
    if len(x.score) < LEAST or len(y.score) < LEAST:
        return float("nan")
    value = auc(x, y)
    return max(value, 1.0 - value)


def people_of(tables: Sequence[Table], cut: int) -> dict[str, Rows]:
    """Recorded people's vectors at a cut, by source."""
    columns = pointer_columns()
    found: dict[str, Rows] = {}
    for table in tables:
        people = (table.origin == "recorded") & (table.label == 0) & table.reached[:, cut]
        for source in np.unique(table.group[people]):
            mine = people & (table.group == source)
            found[str(source)] = Rows(table.X[mine, cut][:, columns].astype(np.float64), unit_of(table)[mine])
    return found


def bots_of(tables: Sequence[Table], cut: int) -> dict[str, tuple[str, Rows]]:
    """Recorded bots' vectors at a cut, by family, with the source of each."""
    columns = pointer_columns()
    found: dict[str, tuple[str, Rows]] = {}
    for table in tables:
        bots = (table.origin == "recorded") & (table.label == 1) & table.reached[:, cut]
        for family in np.unique(table.family[bots]):
            mine = bots & (table.family == family)
            rows = Rows(table.X[mine, cut][:, columns].astype(np.float64), table.session[mine])
            found[str(family)] = (str(table.group[mine][0]), rows)
    return found


def leaks(people: Mapping[str, Rows], bots: Mapping[str, tuple[str, Rows]]) -> list[Leak]:
    """Each input of the model, the one that tells sources apart best first."""
    found: list[Leak] = []
    for k, column in enumerate(pointer_columns().tolist()):
        by_pair = {
            f"{a} / {b}": apart(people[a].X[:, k], people[a].unit, people[b].X[:, k], people[b].unit)
            for a, b in combinations(people, 2)
        }
        known = {pair: value for pair, value in by_pair.items() if not np.isnan(value)}
        theirs = [
            apart(people[source].X[:, k], people[source].unit, rows.X[:, k], rows.unit)
            for source, rows in bots.values()
            if source in people
        ]
        told = [value for value in theirs if not np.isnan(value)]
        worst = max(known, key=lambda pair: known[pair]) if known else ""
        found.append(Leak(
            FEATURES[column].name, float(np.mean(list(known.values()))) if known else float("nan"),
            known[worst] if known else float("nan"), worst, len(known), float(np.mean(told)) if told else float("nan"),
        ))  # fmt: skip
    return sorted(found, key=lambda leak: -np.nan_to_num(leak.mean))


def told_apart(people: Mapping[str, Rows], seed: int = 1) -> list[Apart]:
    """Each pair of sources by all inputs together: small LightGBM models, people in folds. Needs the extra `train`."""
    return [
        Apart(f"{a} / {b}", _together(people[a], people[b], np.random.default_rng((seed, 23))))
        for a, b in combinations(people, 2)
    ]


def _together(a: Rows, b: Rows, rng: np.random.Generator) -> float:
    import lightgbm

    parameters = {
        "objective": "binary", "num_leaves": 8, "learning_rate": 0.1, "min_data_in_leaf": 20, "verbosity": -1,
        "deterministic": True, "force_row_wise": True, "num_threads": 1, "seed": 1,
    }  # fmt: skip
    X, label = np.concatenate([a.X, b.X]), np.repeat([0, 1], [len(a.X), len(b.X)])
    weight = np.concatenate(
        [side(np.zeros(len(one.unit)), one.unit).weight / len(np.unique(one.unit)) for one in (a, b)]
    )
    fold = np.concatenate([_folds(one.unit, rng) for one in (a, b)])
    out = np.full(len(X), np.nan)
    for q in range(FOLDS):
        kept, mine = fold != q, fold == q
        if len(np.unique(label[kept])) == 2 and mine.any():
            data = lightgbm.Dataset(X[kept], label=label[kept], weight=weight[kept] * len(X))
            out[mine] = np.asarray(lightgbm.train(parameters, data, 30).predict(X[mine], num_threads=1))
    return auc(side(out[label == 0], a.unit).known(), side(out[label == 1], b.unit).known())


def _folds(unit: NDArray[np.str_], rng: np.random.Generator) -> NDArray[np.int64]:
    names, number = np.unique(unit, return_inverse=True)
    return np.asarray((rng.permutation(len(names)) % FOLDS)[number], dtype=np.int64)


def instrument_text(found: Sequence[Leak], pairs: Sequence[Apart], most: int = 15) -> str:
    """The pairs by all inputs, and the inputs that tell sources apart best and least, as Markdown."""
    named = ", ".join(f"{one.pair} {one.auc:.3f}" for one in pairs) or "n=0"
    known = [one for one in found if one.pairs]
    shown = known if len(known) <= 2 * most else [*known[:most], *known[-most:]]
    rows = [
        f"| `{one.feature}` | {one.mean:.2f} | {one.worst:.2f} ({one.pair}) | {'n=0' if np.isnan(one.bots) else f'{one.bots:.2f}'} |"  # noqa: E501
        for one in shown
    ]
    return "\n".join([
        f"By all inputs together, people held out: {named}.",
        "",
        "| input | tells sources of people apart, mean | worst pair | tells bots from their source's people, mean |",
        "|---|---|---|---|",
        *rows,
        "",
    ])  # fmt: skip
