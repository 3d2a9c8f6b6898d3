"""Weighted ROC figures with intervals by resampling people: the person, not the window, is what there is one of."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
BOOTSTRAPS = 200


@dataclass(frozen=True, slots=True)
class Side:
    """Scores of one class: raw (n,), the unit that each belongs to (n,), and its weight (n,)."""

    score: Floats
    unit: NDArray[np.int64]
    weight: Floats

    def known(self) -> "Side":
        """Those with a score."""
        keep = ~np.isnan(self.score)
        return Side(self.score[keep], self.unit[keep], self.weight[keep])


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate with its 95 % interval; NaN where it can't be told."""

    value: float
    low: float
    high: float

    def text(self, digits: int = 3) -> str:
        """`0.912 (0.880-0.937)`, or `n=0`."""
        if np.isnan(self.value):
            return "n=0"
        if np.isnan(self.low):
            return f"{self.value:.{digits}f}"
        return f"{self.value:.{digits}f} ({self.low:.{digits}f}-{self.high:.{digits}f})"


NOTHING = Interval(float("nan"), float("nan"), float("nan"))


def side(score: Floats, unit: NDArray[np.str_], group: NDArray[np.str_] | None = None) -> Side:
    """Scores with each unit weighing the same; with `group`, each group the same, units equal within it."""
    _, number = np.unique(unit, return_inverse=True)
    weight = 1.0 / np.bincount(number)[number]
    if group is not None:
        _, of = np.unique(group, return_inverse=True)
        weight = weight / np.bincount(of, weights=weight)[of]
    return Side(score, number.astype(np.int64), weight)


def auc(people: Side, bots: Side) -> float:
    """Weighted chance that a bot scores above a person, ties counting half."""
    if not len(people.score) or not len(bots.score):
        return float("nan")
    order = np.argsort(people.score, kind="stable")
    ranked = people.score[order]
    below = np.concatenate(([0.0], np.cumsum(people.weight[order])))
    left, right = np.searchsorted(ranked, bots.score, "left"), np.searchsorted(ranked, bots.score, "right")
    mean = 0.5 * (below[left] + below[right])
    return float((mean * bots.weight).sum() / (below[-1] * bots.weight.sum()))


def threshold_at(people: Side, false_positive_rate: float) -> float:
    """Smallest observed score above which at most that weighted share of people lies."""
    order = np.argsort(-people.score, kind="stable")
    above = np.cumsum(people.weight[order]) / people.weight.sum()
    passed = int(np.searchsorted(above, false_positive_rate + 1e-12, side="right"))
    return float(people.score[order[min(passed, len(order) - 1)]])


def found_at(people: Side, bots: Side, false_positive_rate: float, bots_total: float | None = None) -> float:
    """Share of bots above the threshold that costs so many people.

    `bots_total`: weight that counts bots without a score as not found.
    """
    if not len(people.score) or not len(bots.score):
        return float("nan")
    above = bots.score > threshold_at(people, false_positive_rate)
    return float(bots.weight[above].sum() / (bots.weight.sum() if bots_total is None else bots_total))


def curve(people: Side, bots: Side) -> tuple[Floats, Floats]:
    """ROC: false-positive and true-positive rates at all thresholds, ascending."""
    scores = np.concatenate([people.score, bots.score])
    order = np.argsort(-scores, kind="stable")
    is_bot = np.concatenate([np.zeros(len(people.score)), np.ones(len(bots.score))])[order]
    weight = np.concatenate([people.weight / people.weight.sum(), bots.weight / bots.weight.sum()])[order]
    ends = np.append(np.flatnonzero(np.diff(scores[order])), len(order) - 1)
    false, true = np.cumsum(weight * (1.0 - is_bot))[ends], np.cumsum(weight * is_bot)[ends]
    return np.concatenate(([0.0], false)), np.concatenate(([0.0], true))


def resample(one: Side, rng: np.random.Generator) -> Side:
    """Units drawn with replacement; a unit drawn twice weighs double."""
    units = int(one.unit.max()) + 1 if len(one.unit) else 0
    times = np.bincount(rng.integers(0, units, units), minlength=units) if units else np.zeros(0, dtype=np.int64)
    return repeated(one, times)


def repeated(one: Side, times: NDArray[np.int64]) -> Side:
    """Each unit as often as `times` (units,) says."""
    weight = one.weight * times[one.unit]
    keep = weight > 0.0
    return Side(one.score[keep], one.unit[keep], weight[keep])


def with_interval(people: Side, bots: Side, seed: int = 1, bootstraps: int = BOOTSTRAPS) -> tuple[Interval, Interval]:
    """AUC, and share found at 1 % false positives, each with its interval over people and bot sessions.

    Rows without a score are left out of the AUC; a bot without a score is not found.
    """
    all_bots = float(bots.weight.sum())
    people, seen = people.known(), bots.known()
    if len(people.score) < 5 or len(seen.score) < 5:
        return NOTHING, NOTHING
    share = float(seen.weight.sum()) / all_bots
    rng = np.random.default_rng((seed, 11))
    areas, shares = [], []
    for _ in range(bootstraps):
        a, b = resample(people, rng), resample(seen, rng)
        if len(a.score) and len(b.score):
            areas.append(auc(a, b))
            shares.append(found_at(a, b, 0.01) * share)
    return (
        Interval(auc(people, seen), *np.quantile(areas, (0.025, 0.975)).tolist()),
        Interval(found_at(people, seen, 0.01) * share, *np.quantile(shares, (0.025, 0.975)).tolist()),
    )


def mean_with_interval(values: Floats, unit: NDArray[np.str_], seed: int = 1) -> Interval:
    """Mean of values, units weighing the same, with its interval over units."""
    if not len(values):
        return NOTHING
    one = side(values, unit)
    rng = np.random.default_rng((seed, 13))
    drawn = []
    for _ in range(BOOTSTRAPS):
        again = resample(one, rng)
        drawn.append(float((again.score * again.weight).sum() / again.weight.sum()))
    value = float((one.score * one.weight).sum() / one.weight.sum())
    return Interval(value, *np.quantile(drawn, (0.025, 0.975)).tolist())


def share_with_interval(hit: NDArray[np.bool_], unit: NDArray[np.str_], seed: int = 1) -> Interval:
    """Share of hits, units weighing the same, with its interval over units."""
    return mean_with_interval(hit.astype(np.float64), unit, seed)


@dataclass(frozen=True, slots=True)
class Judged:
    """What a family is judged by: raw scores of people and of its bots, and whom each belongs to (arrays alike).

    group: the source of each person's row; sources weigh the same. A NaN is a session without a score.
    """

    name: str
    people: Floats
    person: NDArray[np.str_]
    group: NDArray[np.str_]
    bots: Floats
    session: NDArray[np.str_]


@dataclass(frozen=True, slots=True)
class Across:
    """A figure over families: their mean, the worst of them and its name, and each by itself."""

    mean: Interval
    worst: Interval
    worst_of: str
    each: dict[str, Interval]


def across(
    judged: Sequence[Judged],
    figure: Callable[[Side, Side], float],
    *,
    unscored_lowest: bool = False,
    seed: int = 1,
    bootstraps: int = BOOTSTRAPS,
) -> Across:
    """Mean and worst of a figure over families, with intervals: a person who is drawn is drawn for every family.

    So the interval of the mean knows that all families are judged against the same few people, and the worst is the
    worst anew in each draw. Bots without a score are left out, or count as the lowest score there is.
    """
    named = [(one, *_sides(one, unscored_lowest=unscored_lowest)) for one in judged]
    sides = [(one, people, bots) for one, people, bots in named if len(people.score) >= 5 and len(bots.score) >= 5]
    if not sides:
        return Across(NOTHING, NOTHING, "", {one.name: NOTHING for one in judged})
    persons = np.unique(np.concatenate([one.person for one, _, _ in sides]))
    place = [np.searchsorted(persons, np.unique(one.person[~np.isnan(one.people)])) for one, _, _ in sides]
    rng = np.random.default_rng((seed, 17))
    drawn = np.full((bootstraps, len(sides)), np.nan)
    for b in range(bootstraps):
        times = np.bincount(rng.integers(0, len(persons), len(persons)), minlength=len(persons))
        for f, (_, people, bots) in enumerate(sides):
            again = repeated(people, times[place[f]])
            if len(again.score):
                drawn[b, f] = figure(again, resample(bots, rng))
    values = np.asarray([figure(people, bots) for _, people, bots in sides])
    known = drawn[~np.isnan(drawn).any(axis=1)]
    if not len(known):
        known = np.full((1, len(sides)), np.nan)
    worst = int(np.argmin(values))

    def interval(value: float, draws: Floats) -> Interval:
        return Interval(float(value), *np.quantile(draws, (0.025, 0.975)).tolist())

    each = {one.name: NOTHING for one in judged}
    each |= {one.name: interval(values[f], known[:, f]) for f, (one, _, _) in enumerate(sides)}
    return Across(
        interval(values.mean(), known.mean(axis=1)), interval(values[worst], known.min(axis=1)),
        sides[worst][0].name, each,
    )  # fmt: skip


def _sides(one: Judged, *, unscored_lowest: bool) -> tuple[Side, Side]:
    known = ~np.isnan(one.people)
    bots = side(np.where(np.isnan(one.bots), -1.0, one.bots) if unscored_lowest else one.bots, one.session).known()
    return side(one.people[known], one.person[known], one.group[known]), bots


def markdown_table(head: Sequence[str], rows: Sequence[str]) -> str:
    """A table of rows that are Markdown already; without any it says so in each column."""
    without = "| n=0" * len(head) + " |"
    return "\n".join([f"| {' | '.join(head)} |", "|---" * len(head) + "|", *(rows or [without]), ""])
