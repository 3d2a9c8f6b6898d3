"""Half-space trees as served: flat arrays and a compiled walk that gives exactly River's score.

The learner (`models.anomaly_learn`) grows and updates River's trees; a worker only reads their masses. Features are
mapped to 0..1 by the model's own limits and clipped; a missing value becomes 0.5, the middle, for learner and worker
alike: absence alone says little here, since coverage reports it.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models import walk
from models.flat import FlatModel
from models.scorer import Contribution, FloatArray, IntArray
from models.walk import Trees

MAX_TREES: Final = 200
MAX_HEIGHT: Final = 12
MAX_WINDOW: Final = 1_000_000
MAX_FEATURES: Final = 1_000


class TreeArrays(NamedTuple):
    """Complete binary trees in heap order: the children of node i are 2i+1 and 2i+2.

    feature: int16 (n_trees, 2^h - 1), a position in the list of features; threshold: float64, same, in 0..1;
    mass: int32 (n_trees, 2^(h+1) - 1), River's reference mass; latest: same shape, the mass of the window in progress.
    """

    feature: NDArray[np.int16]
    threshold: NDArray[np.float64]
    mass: NDArray[np.int32]
    latest: NDArray[np.int32]


class FlatHST:
    """River's HalfSpaceTrees, frozen.

    Args:
        names: Features that it reads, in the order of `arrays.feature`.
        columns: Index of each in the feature vector.
        low, high: Limits that are mapped to 0 and 1, in the features' units.
        arrays: The trees.
        window_size: Observations in one window.
        n_in_window: Observations of the window in progress (River's counter).
        ready: A first window is complete; before that there is no score.
        n_learnt: Observations learnt in all.

    Raises:
        ValueError: the parts don't fit each other.
    """

    def __init__(
        self,
        names: Sequence[str],
        columns: IntArray,
        low: FloatArray,
        high: FloatArray,
        arrays: TreeArrays,
        *,
        window_size: int,
        n_in_window: int,
        ready: bool,
        n_learnt: int,
        name: str = "anomaly_hst",
    ) -> None:
        self.name = name
        self.names = tuple(names)
        self.inputs = np.ascontiguousarray(columns, dtype=np.int64)
        self.columns: IntArray = np.unique(self.inputs)
        self.low = np.ascontiguousarray(low, dtype=np.float64)
        self.high = np.ascontiguousarray(high, dtype=np.float64)
        self.arrays = arrays
        self.window_size = window_size
        self.n_in_window = n_in_window
        self.ready = ready
        self.n_learnt = n_learnt
        self.height = int(arrays.mass.shape[-1] + 1).bit_length() - 2
        self._check()
        n_trees = arrays.feature.shape[0]
        # River: size_limit and _max_score, in the same arithmetic.
        size_limit = 0.1 * window_size
        max_score = float(n_trees * window_size * (2 ** (self.height + 1) - 1))
        self._trees = self._flat_trees(size_limit, max_score)
        self.hash = self.to_flat().hash

    def _check(self) -> None:
        n, trees, height = len(self.names), self.arrays.feature.shape[0], self.height
        _need(1 <= n <= MAX_FEATURES and len(set(self.names)) == n, "features are missing, repeated or too many")
        _need(self.inputs.shape == self.low.shape == self.high.shape == (n,), "limits and features differ in length")
        finite = np.isfinite(self.low) & np.isfinite(self.high)
        _need(bool(np.all(finite & (self.high > self.low))), "limits are no ranges")
        _need(1 <= trees <= MAX_TREES and 1 <= height <= MAX_HEIGHT, "number or height of trees is out of range")
        inner, nodes = 2**height - 1, 2 ** (height + 1) - 1
        _need(
            self.arrays.feature.shape == self.arrays.threshold.shape == (trees, inner)
            and self.arrays.mass.shape == self.arrays.latest.shape == (trees, nodes),
            "arrays are not complete trees of one height",
        )
        _need(bool(np.all((self.arrays.feature >= 0) & (self.arrays.feature < n))), "a split has no such feature")
        _need(bool(np.all((self.arrays.threshold >= 0) & (self.arrays.threshold <= 1))), "a threshold is outside 0..1")
        _need(1 <= self.window_size <= MAX_WINDOW, f"window_size is not 1 to {MAX_WINDOW}")
        _need(0 <= self.n_in_window < self.window_size and self.n_learnt >= 0, "counters are out of range")
        for mass in (self.arrays.mass, self.arrays.latest):
            _need(bool(np.all((mass >= 0) & (mass <= self.window_size))), "a mass is outside 0..window_size")
            children = mass[:, 1::2].astype(np.int64) + mass[:, 2::2]
            _need(bool(np.all(children == mass[:, :inner])), "masses of children don't add up to their parent's")

    def _flat_trees(self, size_limit: float, max_score: float) -> Trees:
        """The trees as the flat table of `models.walk`, in heap order: children lie side by side there too.

        The score of a tree is 1 minus the sum over levels of mass x 2^level, so a node's value is that sum down to it.
        A split changes that term for its own child and all levels below, so its input is charged with the change times
        the levels left; levels never reached count as mass 0.
        """
        a, height = self.arrays, self.height
        n_trees, n_nodes = a.mass.shape
        n_inputs, n_inner = len(self.inputs), a.feature.shape[1]
        level = np.repeat(np.arange(height + 1), 2 ** np.arange(height + 1))
        term = a.mass * 2.0**level
        few = a.mass < size_limit
        value = term.copy()
        change = np.zeros((n_trees, n_nodes, 2))
        for depth in range(1, height + 1):
            own = np.flatnonzero(level == depth)
            above = (own - 1) // 2
            value[:, own] += value[:, above]
            change[:, own, 0] = (term[:, own] - term[:, above]) * (height - depth + 1) / max_score
            if depth < height:
                # The walk ends here: the levels below contribute nothing.
                rest = term[:, own] * (height - depth) / max_score
                change[:, own, 1] = np.where(few[:, own], rest, 0.0)
        ends = few.copy()
        ends[:, n_inner:] = True
        delta = np.arange(n_nodes) + 1
        split = np.full((n_trees, n_nodes), n_inputs, dtype=np.int64)
        split[:, :n_inner] = a.feature
        threshold = np.full((n_trees, n_nodes), np.inf)
        # River goes left below a threshold, the walk up to it.
        threshold[:, :n_inner] = np.nextafter(a.threshold, -np.inf)
        word = walk.words(np.where(ends, n_inputs, split), np.where(ends, 0, delta))
        columns = np.full((n_inputs + 1, 3), walk.UNIT, dtype=np.int64)
        columns[:, 0], columns[:, 2] = [*self.inputs, 0], np.arange(n_inputs + 1)
        columns[n_inputs, 1] = walk.NOTHING
        return Trees(
            inputs=self.inputs,
            evidence=np.empty((0, 2), dtype=np.float64),
            outside=np.empty((0, 4), dtype=np.float64),
            columns=columns,
            limits=np.column_stack([[*self.low, 0.0], [*self.high, 1.0]]),
            trees=np.column_stack([np.arange(n_trees) * n_nodes, np.full(n_trees, height)]).astype(np.int64),
            word=word.ravel(),
            threshold=np.where(ends, np.inf, threshold).ravel(),
            value=value.ravel(),
            change=change.reshape(-1, 2),
            finish=walk.REST,
            scale=max_score,
        )

    def raw(self, rows: FloatArray) -> FloatArray:
        """River's score of each row (n, N_FEATURES); NaN without any of its features, or before it is ready."""
        return walk.score(self._trees, rows) if self.ready else np.full(len(rows), np.nan)

    def explain(self, x: FloatArray) -> list[Contribution]:
        """Share of each feature in the score above its value for evenly spread masses, largest first."""
        score, (shares,) = self.shares(x.reshape(1, -1), np.zeros(1, dtype=np.int64))
        if np.isnan(score[0]):
            return []
        order = np.argsort(-np.abs(shares), kind="stable")
        return [Contribution(int(self.inputs[k]), float(shares[k])) for k in order if shares[k] != 0.0]

    def shares(self, rows: FloatArray, at: IntArray) -> tuple[FloatArray, FloatArray]:
        """Score (len(at),) of the rows `at`, NaN where there is none, and share (len(at), n_inputs) of each input.

        `bias` and the shares of a row add up to its score.
        """
        if not self.ready:
            return np.full(len(at), np.nan), np.zeros((len(at), len(self.inputs)))
        return walk.share(self._trees, rows, at)

    @property
    def bias(self) -> float:
        """What the score would be if the roots' masses were spread evenly."""
        roots = self.arrays.mass[:, 0].sum(dtype=np.float64)
        return float(1.0 - roots * (self.height + 1) / self._trees.scale)

    def to_flat(self) -> FlatModel:
        """Definition and arrays: all that worker and learner need to go on from here."""
        return FlatModel(
            kind="anomaly_hst",
            definition={
                "format": 1,
                "features": list(self.names),
                "n_trees": int(self.arrays.feature.shape[0]),
                "height": self.height,
                "window_size": self.window_size,
                "n_in_window": self.n_in_window,
                "ready": int(self.ready),
                "n_learnt": self.n_learnt,
            },
            arrays={
                "feature": self.arrays.feature.astype("<i2"),
                "threshold": self.arrays.threshold.astype("<f8"),
                "mass": self.arrays.mass.astype("<i4"),
                "latest": self.arrays.latest.astype("<i4"),
                "low": self.low.astype("<f8"),
                "high": self.high.astype("<f8"),
            },
        )

    @classmethod
    def from_flat(cls, flat: FlatModel, index: dict[str, int]) -> "FlatHST":
        """Read a model back; `index` maps feature names to positions. ValueError with one line if it doesn't fit."""
        definition = flat.definition
        _need(flat.kind == "anomaly_hst" and definition.get("format") == 1, "not half-space trees of format 1")
        names = definition.get("features")
        if not isinstance(names, list):
            raise ValueError("anomaly_hst: features are not named")  # noqa: TRY004
        numbers: dict[str, int] = {}
        for key in ("n_trees", "height", "window_size", "n_in_window", "ready", "n_learnt"):
            value = definition.get(key)
            if not isinstance(value, int) or value < 0:
                raise ValueError(f"anomaly_hst: {key} is not a whole number from 0")
            numbers[key] = value
        unknown = [name for name in names if name not in index]
        _need(not unknown, f"feature {unknown[0][:60] if unknown else ''} is not in the registry")
        trees, height = numbers["n_trees"], numbers["height"]
        _need(1 <= trees <= MAX_TREES and 1 <= height <= MAX_HEIGHT, "number or height of trees is out of range")
        inner, nodes = 2**height - 1, 2 ** (height + 1) - 1
        return cls(
            names,
            np.array([index[name] for name in names], dtype=np.int64),
            flat.array("low", "<f8", (len(names),)),
            flat.array("high", "<f8", (len(names),)),
            TreeArrays(
                flat.array("feature", "<i2", (trees, inner)),
                flat.array("threshold", "<f8", (trees, inner)),
                flat.array("mass", "<i4", (trees, nodes)),
                flat.array("latest", "<i4", (trees, nodes)),
            ),
            window_size=numbers["window_size"],
            n_in_window=numbers["n_in_window"],
            ready=bool(numbers["ready"]),
            n_learnt=numbers["n_learnt"],
        )


def _need(condition: object, what: str) -> None:
    if not condition:
        raise ValueError(f"anomaly_hst: {what}")
