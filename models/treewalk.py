"""A LightGBM forest as the flat table of `models.walk`: its margins bit for bit, and each feature's part in them.

The attribution is Saabas's: at each split the feature gets the change of the expected value from the node to its child,
so that bias plus all contributions is the margin. It is exact for the path taken and, unlike SHAP, does not average
over other paths; SHAP costs a hundred times more and stays offline.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from models import walk
from models.forest import Forest
from models.scorer import IntArray
from models.walk import Trees

_DEFAULT_LEFT = 2


def flat_trees(
    forest: Forest, inputs: IntArray, evidence: Mapping[int, float], outside: Sequence[tuple[int, int, int, float]] = ()
) -> Trees:
    """The forest over rows in which its features lie at `inputs`.

    `evidence` holds the least values, by index in the row, without which there is no score; `outside` the cases in
    which there is none either, as `Trees.outside` has them. ArtifactError where a tree is too large for a node's word.
    """
    columns: dict[tuple[int, int], int] = {}
    word: list[tuple[int, int]] = []
    threshold: list[float] = []
    value: list[float] = []
    change: list[tuple[float, float]] = []
    trees: list[tuple[int, int]] = []

    def add(taken: float) -> int:
        word.append((-1, 0))
        threshold.append(np.inf)
        value.append(0.0)
        change.append((taken, 0.0))
        return len(word) - 1

    for tree in range(forest.n_trees):
        first, leaves = int(forest.node_start[tree]), int(forest.leaf_start[tree])
        root = 0 if forest.node_start[tree + 1] > first else ~0
        steps = 0
        waiting = [(root, add(0.0), 0)]
        trees.append((waiting[0][1], 0))
        for node, at, depth in waiting:
            steps = max(steps, depth)
            if node < 0:
                value[at] = float(forest.leaf_value[leaves + ~node])
                continue
            own = first + node
            expected = float(forest.node_value[own])
            below = [int(forest.left[own]), int(forest.right[own])]
            values = [
                float(forest.node_value[first + child] if child >= 0 else forest.leaf_value[leaves + ~child])
                for child in below
            ]
            # Side by side: one step further is to the right.
            places = [add(expected - after) for after in values]
            key = (int(forest.split_feature[own]), _kind(int(forest.decision_type[own])))
            word[at] = (columns.setdefault(key, len(columns)), places[0] - at)
            threshold[at] = min(walk.LARGEST, max(-walk.LARGEST, float(forest.threshold[own])))
            waiting += [(child, place, depth + 1) for child, place in zip(below, places, strict=True)]
        trees[-1] = (trees[-1][0], steps)
    nothing = len(columns)
    column, delta = np.array(word, dtype=np.int64).T
    return Trees(
        inputs=np.ascontiguousarray(inputs, dtype=np.int64),
        evidence=np.array(sorted(evidence.items()), dtype=np.float64).reshape(-1, 2),
        outside=np.array(outside, dtype=np.float64).reshape(-1, 4),
        columns=np.array(
            [*((int(inputs[k]), kind, k) for k, kind in columns), (0, walk.NOTHING, len(inputs))], dtype=np.int64
        ),
        limits=np.zeros((nothing + 1, 2), dtype=np.float64),
        trees=np.array(trees, dtype=np.int64),
        word=walk.words(np.where(column < 0, nothing, column), delta),
        threshold=np.array(threshold, dtype=np.float64),
        value=np.array(value, dtype=np.float64),
        change=np.array(change, dtype=np.float64),
        finish=walk.LOGISTIC,
        scale=forest.sigmoid,
    )


def _kind(decision: int) -> int:
    """How a node reads its feature. `decision`: bit 1 default left, bits 2-3 missing type (0 none, 1 zero, 2 NaN)."""
    missing = decision >> 2 & 3
    if missing == 0:
        return walk.NAN_IS_ZERO
    left = decision & _DEFAULT_LEFT
    if missing == 1:
        return walk.ZERO_LEFT if left else walk.ZERO_RIGHT
    return walk.NAN_LEFT if left else walk.NAN_RIGHT
