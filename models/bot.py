"""The pointer model: LightGBM's bot-against-human probability from movement features, with path attribution."""

import hashlib
import math
from collections.abc import Mapping, Sequence

import numpy as np

from models.errors import ArtifactError
from models.forest import parse_forest
from models.lightgbm_native import open_booster
from models.scorer import Contribution, FloatArray, IntArray
from models.treewalk import attribute, gather, margins


class PointerModel:
    """LightGBM on the pointer features.

    Args:
        text: LightGBM text model, untrusted.
        feature_names: Names that the model must have, in this order; also their order in `columns`.
        columns: Index of each of them in the feature vector.
        evidence: Smallest value of features (by index in the vector) without which there is no score, e.g. 10 moves.

    Raises:
        ArtifactError: the text is damaged, or was trained on other features.
    """

    name = "bot_pointer"

    def __init__(
        self,
        text: bytes,
        feature_names: Sequence[str],
        columns: IntArray,
        evidence: Mapping[int, float],
    ) -> None:
        forest = parse_forest(text)
        if list(forest.feature_names) != list(feature_names):
            raise ArtifactError(
                f"model has {len(forest.feature_names)} features "
                f"({_first_difference(forest.feature_names, feature_names)}), not the manifest's in their order"
            )
        self._forest = forest
        self._booster = open_booster(forest)
        self._inputs = np.ascontiguousarray(columns, dtype=np.int64)
        self._evidence = tuple(sorted(evidence.items()))
        self._values = np.zeros(len(self._inputs), dtype=np.float64)
        self._shares = np.zeros(len(self._inputs), dtype=np.float64)
        self.columns: IntArray = np.unique(np.array([*self._inputs, *evidence], dtype=np.int64))
        digest = hashlib.sha256(text)
        digest.update(repr((list(feature_names), self._inputs.tolist(), self._evidence)).encode())
        self.hash = digest.hexdigest()

    def raw(self, rows: FloatArray) -> FloatArray:
        """Probability of a bot for each row (n, N_FEATURES); NaN without enough pointer evidence."""
        if len(rows) == 1:
            return np.array([self._one(rows[0])])
        inputs = rows.take(self._inputs, axis=1)
        out = self._booster.predict(inputs)
        enough = ~np.isnan(inputs).all(axis=1)
        for index, least in self._evidence:
            enough &= rows[:, index] >= least
        out[~enough] = np.nan
        return out

    def _one(self, x: FloatArray) -> float:
        if not self._has_evidence(x) or not gather(x, self._inputs, self._booster.row):
            return math.nan
        return self._booster.predict_row()

    def _has_evidence(self, x: FloatArray) -> bool:
        return all(x[index] >= least for index, least in self._evidence)

    @property
    def inputs(self) -> IntArray:
        """Indexes of the model's own inputs, in its order (`columns` has the evidence features too)."""
        return self._inputs

    def shares(self, x: FloatArray) -> tuple[float, FloatArray] | None:
        """Probability, and log-odds of each of `inputs` along the decision paths; None without evidence.

        The array is reused by the next call.
        """
        if not self._has_evidence(x) or not gather(x, self._inputs, self._values):
            return None
        margin = attribute(self._forest, self._values, self._shares)
        return 1.0 / (1.0 + math.exp(-self._forest.sigmoid * margin)), self._shares

    def explain(self, x: FloatArray) -> list[Contribution]:
        """Log-odds by feature for one vector of shape (N_FEATURES,), largest first, zeros left out."""
        found = self.shares(x)
        if found is None:
            return []
        inputs, shares = self._inputs, found[1]
        order = np.argsort(-np.abs(shares), kind="stable")
        return [Contribution(int(inputs[k]), float(shares[k])) for k in order if shares[k] != 0.0]

    def check(self, rows: FloatArray) -> None:
        """Raise ArtifactError unless our own tree walk gives LightGBM's margins on `rows`, bit for bit."""
        inputs = rows.take(self._inputs, axis=1)
        ours, theirs = margins(self._forest, inputs), self._booster.predict(inputs, raw_score=True)
        if not np.array_equal(ours, theirs):
            worst = float(np.max(np.abs(ours - theirs)))
            raise ArtifactError(f"the model's reasons don't fit its scores: margins differ by up to {worst:g}")


def _first_difference(found: Sequence[str], wanted: Sequence[str]) -> str:
    for k, (a, b) in enumerate(zip(found, wanted, strict=False)):
        if a != b:
            return f"number {k} is {a!r}, {b!r} is needed"
    return f"{len(wanted)} are needed"
