"""Decision trees of every model as one flat table, and the compiled walk over it: scores, and what each input did.

A walk has no branches to guess wrong: each tree takes as many steps as it is deep, a leaf leads to itself, and four
trees go side by side, since they don't wait for each other. Sums are taken in the order of the trees, so a row's bits
depend on that row alone, and a LightGBM forest gives LightGBM's own.
"""

import math
from typing import Final, NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from features.kernel import inner
from models.errors import ArtifactError
from models.scorer import FloatArray, IntArray

ZERO: Final = float(np.float32(1e-35))
"""LightGBM's kZeroThreshold: what counts as zero."""
LARGEST: Final = float(np.finfo(np.float64).max)

NAN_IS_ZERO, NAN_LEFT, NAN_RIGHT, ZERO_LEFT, ZERO_RIGHT, UNIT, NOTHING = range(7)
"""How a column is read: LightGBM's kinds of missing values with where these go, 0..1 between limits, or no value."""
SUM, LOGISTIC, REST = range(3)
"""What a row's sum s becomes: s itself, 1 / (1 + exp(-scale * s)), or 1 - s / scale."""
NEUTRAL: Final = 0.5
"""What a missing value is mapped to by `unit`: the middle."""
_DELTA_BITS: Final = np.uint64(16)
_LARGEST_PART: Final = 0xFFFF
_DELTA: Final = np.uint64(_LARGEST_PART)
_NODE_BITS: Final = np.uint64(32)
_NODE: Final = np.uint64(0xFFFFFFFF)
_FIRST: Final = np.uint64(0)
_SECOND: Final = np.uint64(1)


class Trees(NamedTuple):
    """The flat table. From a node one goes to `node + delta`, and one further where the column's value > threshold.

    A leaf has delta 0, threshold infinity and the last column, which is always 0. A column is one way to read one
    input; an input is a feature of the model's own list.
    """

    inputs: IntArray
    """Index in the row of each input, (n_inputs,)."""
    evidence: FloatArray
    """(n, 2): index in the row, and the least value there without which there is no score."""
    outside: FloatArray
    """(n, 4): number of a case (rising), index in the row, another one or -1, and a bound of the sum of the two. Where
    all of a case reach their bound, the row is nothing that the trees can judge: there is no score. A missing value
    reaches none."""
    columns: IntArray
    """(n_columns, 3): index in the row, how it is read, number of its input (n_inputs for the last column)."""
    limits: FloatArray
    """(n_columns, 2): what UNIT maps to 0 and to 1."""
    trees: IntArray
    """(n_trees, 2): first node, and steps from it to the deepest leaf."""
    word: NDArray[np.uint32]
    """(n_nodes,): column << 16 | delta."""
    threshold: FloatArray
    """(n_nodes,)"""
    value: FloatArray
    """(n_nodes,): what a tree adds where its walk ends here."""
    change: FloatArray
    """(n_nodes, 2): what arriving here takes from the share of the input that was split on, and what it adds then."""
    finish: int
    scale: float


@numba.njit(cache=True, nogil=True, inline="always")
def unit(value, low, high):  # type: ignore[no-untyped-def]
    """`value` mapped to 0..1 between its limits, clipped; NaN becomes NEUTRAL."""
    if np.isnan(value):
        return NEUTRAL
    return min(1.0, max(0.0, (value - low) / (high - low)))


# Here, beside `unit`, and not where it is used: numba's cache of a kernel watches no other file than the kernel's own.
@numba.njit(cache=True, nogil=True)
def to_unit(rows: FloatArray, columns: IntArray, low: FloatArray, high: FloatArray) -> FloatArray:
    """Rows (n, N_FEATURES) mapped to 0..1 on `columns`; missing values become NEUTRAL."""
    out = np.empty((rows.shape[0], len(columns)), dtype=np.float64)
    for i in range(rows.shape[0]):
        for k in range(len(columns)):
            out[i, k] = unit(rows[i, columns[k]], low[k], high[k])
    return out


@inner
def _is_outside(x, outside):  # type: ignore[no-untyped-def]
    all_reached = False
    for k in range(outside.shape[0]):
        if k == 0 or outside[k, 0] != outside[k - 1, 0]:
            if all_reached:
                return True
            all_reached = True
        value = x[int(outside[k, 1])]
        if outside[k, 2] >= 0.0:
            value += x[int(outside[k, 2])]
        if not value >= outside[k, 3]:
            all_reached = False
    return all_reached


@inner
def _has_evidence(x, inputs, evidence, outside):  # type: ignore[no-untyped-def]
    for k in range(evidence.shape[0]):
        if not x[int(evidence[k, 0])] >= evidence[k, 1]:
            return False
    if _is_outside(x, outside):
        return False
    for k in range(inputs.shape[0]):  # noqa: SIM110 - compiled
        if not np.isnan(x[inputs[k]]):
            return True
    return False


@inner
def _read(x, inputs, evidence, outside, columns, limits, out):  # type: ignore[no-untyped-def]
    """Read one row's columns into `out`; False without evidence, outside of what is known, or without any number."""
    if not _has_evidence(x, inputs, evidence, outside):
        return False
    for k in range(columns.shape[0]):
        kind = columns[k, 1]
        value = x[columns[k, 0]]
        if kind == UNIT:
            out[k] = unit(value, limits[k, 0], limits[k, 1])
            continue
        missing = np.isnan(value)
        if kind == NOTHING:
            value = 0.0
        elif missing or -ZERO <= value <= ZERO:
            # A missing value lies below or above every threshold, as its side wants it.
            if (missing and kind == NAN_LEFT) or kind == ZERO_LEFT:
                value = -np.inf
            elif (missing and kind == NAN_RIGHT) or kind == ZERO_RIGHT:
                value = np.inf
            else:
                value = 0.0
        else:
            value = min(LARGEST, max(-LARGEST, value))
        out[k] = value
    return True


@inner
def _step(node, v, word, threshold):  # type: ignore[no-untyped-def]
    """The node behind this one for the columns in `v`."""
    w = np.uint64(word[node])
    return node + (w & _DELTA) + np.uint64(v[w >> _DELTA_BITS] > threshold[node])


@inner
def _finished(total, finish, scale):  # type: ignore[no-untyped-def]
    if finish == LOGISTIC:
        return 1.0 / (1.0 + math.exp(-scale * total))
    if finish == REST:
        return 1.0 - total / scale
    return total


@numba.njit(cache=True, nogil=True)
def _score(  # type: ignore[no-untyped-def]
    rows, inputs, evidence, outside, columns, limits, trees, word, threshold, value, finish, scale, out
):
    """Score of each row (n, N_FEATURES) into `out` (n,); NaN without evidence."""
    v = np.empty(columns.shape[0], dtype=np.float64)
    n_trees = trees.shape[0]
    for i in range(rows.shape[0]):
        if not _read(rows[i], inputs, evidence, outside, columns, limits, v):
            out[i] = np.nan
            continue
        total = 0.0
        t = 0
        while t + 4 <= n_trees:
            a, b = np.uint64(trees[t, 0]), np.uint64(trees[t + 1, 0])
            c, d = np.uint64(trees[t + 2, 0]), np.uint64(trees[t + 3, 0])
            steps = max(trees[t, 1], trees[t + 1, 1], trees[t + 2, 1], trees[t + 3, 1])
            for _ in range(steps):
                a = _step(a, v, word, threshold)
                b = _step(b, v, word, threshold)
                c = _step(c, v, word, threshold)
                d = _step(d, v, word, threshold)
            total += value[a]
            total += value[b]
            total += value[c]
            total += value[d]
            t += 4
        while t < n_trees:
            a = np.uint64(trees[t, 0])
            for _ in range(trees[t, 1]):
                a = _step(a, v, word, threshold)
            total += value[a]
            t += 1
        out[i] = _finished(total, finish, scale)


@numba.njit(cache=True, nogil=True)
def _share(  # type: ignore[no-untyped-def]
    rows,
    at,
    inputs,
    evidence,
    outside,
    columns,
    limits,
    trees,
    word,
    threshold,
    value,
    change,
    finish,
    scale,
    shares,
    scores,
):
    """Score of each row in `at` into `scores`, and what each input did to it into `shares` (len(at), n_inputs + 1).

    The last share is of no input and means nothing.
    """
    v = np.empty(columns.shape[0], dtype=np.float64)
    n_trees = trees.shape[0]
    deepest = 0
    for t in range(n_trees):
        deepest = max(deepest, trees[t, 1])
    # Where four trees went: what they did is added up in their order once all four have arrived.
    went = np.empty((4, deepest), dtype=np.uint64)
    input_of = np.empty(columns.shape[0], dtype=np.uint64)
    for k in range(columns.shape[0]):
        input_of[k] = columns[k, 2]
    for i in range(len(at)):
        own = shares[i]
        own[:] = 0.0
        if not _read(rows[at[i]], inputs, evidence, outside, columns, limits, v):
            scores[i] = np.nan
            continue
        total = 0.0
        for first in range(0, n_trees, 4):
            # The last ones go again where fewer than four are left, and don't count.
            t1, t2, t3 = min(first + 1, n_trees - 1), min(first + 2, n_trees - 1), min(first + 3, n_trees - 1)
            a, b, c, d = (
                np.uint64(trees[first, 0]),
                np.uint64(trees[t1, 0]),
                np.uint64(trees[t2, 0]),
                np.uint64(trees[t3, 0]),
            )
            for step in range(max(trees[first, 1], trees[t1, 1], trees[t2, 1], trees[t3, 1])):
                went[0, step] = np.uint64(word[a]) >> _DELTA_BITS << _NODE_BITS | _step(a, v, word, threshold)
                a = went[0, step] & _NODE
                went[1, step] = np.uint64(word[b]) >> _DELTA_BITS << _NODE_BITS | _step(b, v, word, threshold)
                b = went[1, step] & _NODE
                went[2, step] = np.uint64(word[c]) >> _DELTA_BITS << _NODE_BITS | _step(c, v, word, threshold)
                c = went[2, step] & _NODE
                went[3, step] = np.uint64(word[d]) >> _DELTA_BITS << _NODE_BITS | _step(d, v, word, threshold)
                d = went[3, step] & _NODE
            for k in range(min(4, n_trees - first)):
                node = np.uint64(trees[first + k, 0])
                for step in range(trees[first + k, 1]):
                    node = went[k, step] & _NODE
                    feature = input_of[went[k, step] >> _NODE_BITS]
                    own[feature] = own[feature] - change[node, _FIRST] + change[node, _SECOND]
                total += value[node]
        scores[i] = _finished(total, finish, scale)


def words(columns: IntArray, deltas: IntArray) -> NDArray[np.uint32]:
    """Column and delta of each node (same shape) as one number. ArtifactError where one is not 0 to 65 535."""
    for name, values in (("columns", columns), ("a way between two nodes", deltas)):
        if values.size and not 0 <= values.min() <= values.max() <= _LARGEST_PART:
            raise ArtifactError(f"trees are too large to be walked: {name} beyond 0 to {_LARGEST_PART}")
    return (columns << 16 | deltas).astype(np.uint32)


def score(found: Trees, rows: FloatArray, *, as_sum: bool = False) -> FloatArray:
    """Score of each row (n, N_FEATURES), NaN without evidence; with `as_sum` the sum before it is finished."""
    out = np.empty(len(rows), dtype=np.float64)
    # Another layout would be compiled anew.
    _score(
        np.ascontiguousarray(rows), found.inputs, found.evidence, found.outside, found.columns, found.limits,
        found.trees, found.word, found.threshold, found.value, SUM if as_sum else found.finish, found.scale, out,
    )  # fmt: skip
    return out


def share(found: Trees, rows: FloatArray, at: IntArray) -> tuple[FloatArray, FloatArray]:
    """Scores (len(at),) of the rows `at` of `rows` (n, N_FEATURES), and shares (len(at), n_inputs) of each input."""
    shares = np.empty((len(at), len(found.inputs) + 1), dtype=np.float64)
    scores = np.empty(len(at), dtype=np.float64)
    _share(
        np.ascontiguousarray(rows), at, found.inputs, found.evidence, found.outside, found.columns, found.limits,
        found.trees, found.word, found.threshold, found.value, found.change, found.finish, found.scale, shares, scores,
    )  # fmt: skip
    return scores, shares[:, :-1]
