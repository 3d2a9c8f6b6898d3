"""The scorer protocol, and the public check that every scorer passes.

A scorer turns feature vectors into raw risk between 0 and 1. It is pure: the same vector gives the same bits, alone or
in a batch, today or after a save and load. What it cannot judge is NaN, never 0.
"""

import itertools
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


class Contribution(NamedTuple):
    """How much one feature moved a raw score, in the scorer's own unit (log-odds, surprise, mass): above 0 is risk."""

    feature: int
    value: float


@runtime_checkable
class Scorer(Protocol):
    """Vectors in, raw scores out."""

    @property
    def name(self) -> str:
        """Short machine name, e.g. `bot_pointer`."""
        ...

    @property
    def hash(self) -> str:
        """SHA-256 of everything that can change a score, hex."""
        ...

    @property
    def columns(self) -> IntArray:
        """Indexes of the features that it reads, in the order of the registry."""
        ...

    def raw(self, rows: FloatArray) -> FloatArray:
        """Score `rows` of shape (n, N_FEATURES): n raw scores between 0 and 1, NaN where there is no evidence."""
        ...

    def explain(self, x: FloatArray) -> list[Contribution]:
        """What moved the score of one vector of shape (N_FEATURES,), largest first; empty without evidence."""
        ...


def check_scorer(
    scorer: Scorer,
    rows: FloatArray,
    *,
    reload: Callable[[], Scorer] | None = None,
    max_seconds_per_row: float = 0.01,
    clock: Callable[[], float] | None = None,
) -> None:
    """Raise AssertionError with one line unless `scorer` keeps the promises of the protocol on `rows`.

    Checked: range, purity (input untouched, same bits twice), batch = one by one bitwise, rows independent of their
    order, missing values anywhere, only declared columns read, explanation fits the columns, and, with `reload`,
    equality after a save and load. `clock` (seconds) bounds the time.
    """
    rows = np.ascontiguousarray(rows, dtype=np.float64)
    before = rows.copy()
    start = clock() if clock is not None else 0.0
    batch = scorer.raw(rows)
    if clock is not None:
        _expect(clock() - start <= max(0.1, max_seconds_per_row * len(rows)), scorer, "takes too long")
    _expect(_same(rows, before), scorer, "changed its input")
    _expect(batch.shape == (len(rows),) and batch.dtype == np.float64, scorer, f"raw has shape {batch.shape}")
    finite = batch[~np.isnan(batch)]
    _expect(bool(np.all((finite >= 0.0) & (finite <= 1.0))), scorer, "raw is outside 0..1")
    _expect(_same(scorer.raw(rows), batch), scorer, "two calls differ")
    singles = np.array([scorer.raw(rows[i : i + 1])[0] for i in range(len(rows))])
    _expect(_same(singles, batch), scorer, "one by one differs from the batch")
    _expect(_same(scorer.raw(rows[::-1].copy())[::-1], batch), scorer, "the order of rows matters")
    _expect(scorer.raw(rows[:0]).shape == (0,), scorer, "an empty batch fails")

    undeclared = np.ones(rows.shape[1], dtype=bool)
    undeclared[scorer.columns] = False
    noise = rows.copy()
    noise[:, undeclared] = np.where(np.isnan(rows[:, undeclared]), 1e9, np.nan)
    _expect(_same(scorer.raw(noise), batch), scorer, "reads a column that it does not declare")

    empty = np.full((1, rows.shape[1]), np.nan)
    _expect(bool(np.isnan(scorer.raw(empty)[0])), scorer, "scores a vector without any data")
    _expect(scorer.explain(empty[0]) == [], scorer, "explains a vector without any data")
    holes = rows.copy()
    for k, column in enumerate(scorer.columns):
        holes[k % max(1, len(rows)), column] = np.nan
    holed = scorer.raw(holes)
    ok = np.isnan(holed) | ((holed >= 0.0) & (holed <= 1.0))
    _expect(bool(np.all(ok)), scorer, "a missing value breaks it")
    declared = set(scorer.columns.tolist())
    for row in rows[: min(len(rows), 32)]:
        parts = scorer.explain(row)
        _expect(all(p.feature in declared and np.isfinite(p.value) for p in parts), scorer, "explains foreign columns")
        _expect(_descending([abs(p.value) for p in parts]), scorer, "explanation is not sorted")

    if reload is not None:
        again = reload()
        _expect(again.hash == scorer.hash and again.name == scorer.name, scorer, "has another identity after reload")
        _expect(_same(again.raw(rows), batch), scorer, "scores differ after save and load")


def _same(a: FloatArray, b: FloatArray) -> bool:
    return a.shape == b.shape and np.array_equal(a, b, equal_nan=True)


def _descending(values: Sequence[float]) -> bool:
    return all(a >= b for a, b in itertools.pairwise(values))


def _expect(condition: object, scorer: Scorer, what: str) -> None:
    if not condition:
        msg = f"scorer {scorer.name}: {what}"
        raise AssertionError(msg)
