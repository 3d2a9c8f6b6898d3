"""Our own compiled walk over a LightGBM forest: margins, and the share of each feature along the decision path.

The attribution is Saabas's: at each split the feature gets the change of the expected value from the node to its child,
so that bias plus all contributions is the margin. It is exact for the path taken and, unlike SHAP, does not average
over other paths; SHAP costs a hundred times more and stays offline.
"""

import numba
import numpy as np

from models.forest import Forest
from models.scorer import FloatArray, IntArray

ZERO = float(np.float32(1e-35))
"""LightGBM's kZeroThreshold: what counts as zero."""


@numba.njit(cache=True, nogil=True)
def _goes_left(value: float, threshold: float, kind: int) -> bool:
    """LightGBM's numerical decision. `kind`: bit 1 default left, bits 2-3 missing type (0 none, 1 zero, 2 NaN)."""
    missing = (kind >> 2) & 3
    if np.isnan(value):
        if missing == 2:
            return (kind & 2) != 0
        value = 0.0
    if -ZERO <= value <= ZERO:
        if missing == 1:
            return (kind & 2) != 0
        value = 0.0
    return value <= threshold


@numba.njit(cache=True, nogil=True)
def gather(x: FloatArray, columns: IntArray, out: FloatArray) -> bool:
    """Copy `x[columns]` into `out`; return whether any of it is a number."""
    known = False
    for k in range(len(columns)):
        out[k] = x[columns[k]]
        known |= not np.isnan(out[k])
    return known


@numba.njit(cache=True, nogil=True)
def _margins(  # type: ignore[no-untyped-def]
    rows, node_start, leaf_start, split_feature, threshold, decision_type, left, right, leaf_value, out
):
    """Write the sum of leaf values of each row (n, n_features) into `out` (n,), in LightGBM's order of addition."""
    for i in range(rows.shape[0]):
        margin = 0.0
        for tree in range(len(node_start) - 1):
            first = node_start[tree]
            node = 0 if node_start[tree + 1] > first else -1
            while node >= 0:
                at = first + node
                value = rows[i, split_feature[at]]
                node = left[at] if _goes_left(value, threshold[at], decision_type[at]) else right[at]
            margin += leaf_value[leaf_start[tree] + ~node]
        out[i] = margin


@numba.njit(cache=True, nogil=True)
def _attribute(  # type: ignore[no-untyped-def]
    x, node_start, leaf_start, split_feature, threshold, decision_type, left, right, node_value, leaf_value, out
):
    """Write each feature's share of the margin of `x` (n_features,) into `out`; return the margin."""
    margin = 0.0
    out[:] = 0.0
    for tree in range(len(node_start) - 1):
        first = node_start[tree]
        if node_start[tree + 1] == first:
            margin += leaf_value[leaf_start[tree]]
            continue
        node = 0
        expected = node_value[first]
        while node >= 0:
            at = first + node
            feature = split_feature[at]
            node = left[at] if _goes_left(x[feature], threshold[at], decision_type[at]) else right[at]
            below = node_value[first + node] if node >= 0 else leaf_value[leaf_start[tree] + ~node]
            out[feature] += below - expected
            expected = below
        margin += expected
    return margin


def margins(forest: Forest, rows: FloatArray) -> FloatArray:
    """Log-odds of `rows` (n, n_features): bit for bit those of LightGBM."""
    out = np.empty(len(rows), dtype=np.float64)
    _margins(
        np.ascontiguousarray(rows, dtype=np.float64),
        forest.node_start,
        forest.leaf_start,
        forest.split_feature,
        forest.threshold,
        forest.decision_type,
        forest.left,
        forest.right,
        forest.leaf_value,
        out,
    )
    return out


def attribute(forest: Forest, x: FloatArray, out: FloatArray) -> float:
    """Write each feature's share of the margin of `x` (n_features,) into `out`; return the margin.

    `forest.bias + out.sum()` is the margin up to rounding.
    """
    return float(
        _attribute(
            x,
            forest.node_start,
            forest.leaf_start,
            forest.split_feature,
            forest.threshold,
            forest.decision_type,
            forest.left,
            forest.right,
            forest.node_value,
            forest.leaf_value,
            out,
        )
    )
