"""The learner's half of the anomaly model: River's HalfSpaceTrees, and their export to flat arrays and back.

Only the learner and training import this module: River pulls in scipy, which a worker must not load.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from river.anomaly import HalfSpaceTrees
from river.tree.padded import PaddedBranch, PaddedLeaf

from models.anomaly import FlatHST, TreeArrays
from models.scorer import FloatArray, IntArray
from models.walk import to_unit


class AnomalyLearner:
    """Learns the usual feature vectors of one flow.

    Args:
        names, columns: Features to learn and their indexes in the vector.
        low, high: Limits mapped to 0 and 1; the registry's, or narrower quantiles of people.
        n_trees, height, window_size: Size of the model; the masses of a whole window become the reference at once.
        seed: Seed of the trees' splits. Splits are drawn once, so equal seeds give comparable models.
    """

    def __init__(
        self,
        names: Sequence[str],
        columns: IntArray,
        low: FloatArray,
        high: FloatArray,
        *,
        n_trees: int = 25,
        height: int = 8,
        window_size: int = 250,
        seed: int = 1,
    ) -> None:
        self.names = tuple(names)
        self.columns = np.ascontiguousarray(columns, dtype=np.int64)
        self.low = np.ascontiguousarray(low, dtype=np.float64)
        self.high = np.ascontiguousarray(high, dtype=np.float64)
        self.river = HalfSpaceTrees(n_trees=n_trees, height=height, window_size=window_size, seed=seed)
        self.n_learnt = 0

    def learn(self, rows: FloatArray) -> None:
        """Learn the rows of `rows` (n, N_FEATURES) in order; rows without any of the features are left out."""
        keep = ~np.isnan(rows[:, self.columns]).all(axis=1)
        for row in to_unit(np.ascontiguousarray(rows[keep]), self.columns, self.low, self.high):
            self.river.learn_one(dict(enumerate(row.tolist())))  # type: ignore[no-untyped-call]
            self.n_learnt += 1

    def export(self) -> FlatHST:
        """The present state; ValueError before the first observation, when there are no trees yet."""
        if not self.river.trees:
            raise ValueError("anomaly_hst: nothing was learnt yet")
        height = self.river.height
        n_trees, inner, nodes = len(self.river.trees), 2**height - 1, 2 ** (height + 1) - 1
        arrays = TreeArrays(
            np.zeros((n_trees, inner), dtype=np.int16),
            np.zeros((n_trees, inner), dtype=np.float64),
            np.zeros((n_trees, nodes), dtype=np.int32),
            np.zeros((n_trees, nodes), dtype=np.int32),
        )
        for t, root in enumerate(self.river.trees):
            stack = [(0, root)]
            while stack:
                at, node = stack.pop()
                arrays.mass[t, at] = node.r_mass
                arrays.latest[t, at] = node.l_mass
                if at < inner:
                    arrays.feature[t, at] = node.feature
                    arrays.threshold[t, at] = node.threshold
                    stack += [(2 * at + 1, node.children[0]), (2 * at + 2, node.children[1])]
        return FlatHST(
            self.names,
            self.columns,
            self.low,
            self.high,
            arrays,
            window_size=self.river.window_size,
            n_in_window=self.river.counter,
            ready=not self.river._first_window,  # noqa: SLF001
            n_learnt=self.n_learnt,
        )

    @classmethod
    def resume(cls, flat: FlatHST) -> "AnomalyLearner":
        """A learner that goes on exactly where `flat` was exported."""
        arrays = flat.arrays
        learner = cls(
            flat.names,
            flat.inputs,
            flat.low,
            flat.high,
            n_trees=arrays.feature.shape[0],
            height=flat.height,
            window_size=flat.window_size,
        )
        inner = arrays.feature.shape[1]

        def build(t: int, at: int) -> Any:
            masses = {"r_mass": int(arrays.mass[t, at]), "l_mass": int(arrays.latest[t, at])}
            if at >= inner:
                return PaddedLeaf(**masses)  # type: ignore[no-untyped-call]
            return PaddedBranch(  # type: ignore[no-untyped-call]
                left=build(t, 2 * at + 1),
                right=build(t, 2 * at + 2),
                feature=int(arrays.feature[t, at]),
                threshold=float(arrays.threshold[t, at]),
                **masses,
            )

        river = learner.river
        river.trees = [build(t, 0) for t in range(arrays.feature.shape[0])]
        river._tree_nodes = [list(tree.iter_dfs()) for tree in river.trees]  # type: ignore[no-untyped-call]  # noqa: SLF001
        river.counter = flat.n_in_window
        river._first_window = not flat.ready  # noqa: SLF001
        learner.n_learnt = flat.n_learnt
        return learner
