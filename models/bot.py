"""The pointer model: LightGBM's bot-against-human probability from movement features, with path attribution."""

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np

from models import walk
from models.errors import ArtifactError
from models.forest import parse_forest
from models.lightgbm_native import open_booster
from models.scorer import Contribution, FloatArray, IntArray
from models.treewalk import flat_trees


class PointerModel:
    """LightGBM on the pointer features.

    Args:
        text: LightGBM text model, untrusted.
        feature_names: Names that the model must have, in this order; also their order in `columns`.
        columns: Index of each of them in the feature vector.
        evidence: Smallest value of features (by index in the vector) without which there is no score, e.g. 10 moves.
        outside: Number of a case, features (two indexes in the vector, or one and -1) and a bound of their sum. Where
            all of a case reach it, the model can't judge, and there is no score: a pointer led by keys, say.

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
        outside: Sequence[tuple[int, int, int, float]] = (),
    ) -> None:
        forest = parse_forest(text)
        if list(forest.feature_names) != list(feature_names):
            raise ArtifactError(
                f"model has {len(forest.feature_names)} features "
                f"({_first_difference(forest.feature_names, feature_names)}), not the manifest's in their order"
            )
        self._forest = forest
        self._inputs = np.ascontiguousarray(columns, dtype=np.int64)
        self._trees = flat_trees(forest, self._inputs, evidence, outside)
        self._unlimited = self._trees._replace(outside=np.empty((0, 4)))
        led_by = [index for one in outside for index in one[1:3] if index >= 0]
        self.columns: IntArray = np.unique(np.array([*self._inputs, *evidence, *led_by], dtype=np.int64))
        digest = hashlib.sha256(text)
        digest.update(repr((list(feature_names), self._inputs.tolist(), tuple(sorted(evidence.items())))).encode())
        digest.update(repr(tuple(outside)).encode() if outside else b"")
        self.hash = digest.hexdigest()

    def raw(self, rows: FloatArray) -> FloatArray:
        """Probability of a bot for each row (n, N_FEATURES); NaN without enough evidence, or outside."""
        return walk.score(self._trees, rows)

    def raw_of_all(self, rows: FloatArray) -> FloatArray:
        """The same also outside: for ranking people, never for judging anybody."""
        return walk.score(self._unlimited, rows)

    @property
    def inputs(self) -> IntArray:
        """Indexes of the model's own inputs, in its order (`columns` has the evidence features too)."""
        return self._inputs

    def shares(self, rows: FloatArray, at: IntArray) -> tuple[FloatArray, FloatArray]:
        """Probability (len(at),) of the rows `at`, and log-odds (len(at), n_inputs) of each input along their paths.

        Without evidence the probability is NaN and the shares mean nothing.
        """
        return walk.share(self._trees, rows, at)

    def explain(self, x: FloatArray) -> list[Contribution]:
        """Log-odds by feature for one vector of shape (N_FEATURES,), largest first, zeros left out."""
        probability, (shares,) = self.shares(x.reshape(1, -1), np.zeros(1, dtype=np.int64))
        if np.isnan(probability[0]):
            return []
        order = np.argsort(-np.abs(shares), kind="stable")
        return [Contribution(int(self._inputs[k]), float(shares[k])) for k in order if shares[k] != 0.0]

    def check(self, rows: FloatArray) -> None:
        """Raise ArtifactError unless our own walk gives LightGBM's margins on `rows` (n, N_FEATURES), bit for bit.

        Where LightGBM's library can't be loaded there is nothing to compare with: that is logged, and the walk serves.
        """
        booster = open_booster(self._forest)
        if booster is None:
            return
        theirs = booster.predict(rows.take(self._inputs, axis=1), raw_score=True)
        ours = walk.score(self._trees._replace(evidence=np.empty((0, 2)), outside=np.empty((0, 4))), rows, as_sum=True)
        known = ~np.isnan(ours)  # LightGBM has a margin also for a row of which nothing is known
        if not np.array_equal(ours[known], theirs[known]):
            worst = float(np.max(np.abs(ours - theirs)[known]))
            raise ArtifactError(f"the model does not score as in LightGBM: margins differ by up to {worst:g}")


def _first_difference(found: Sequence[str], wanted: Sequence[str]) -> str:
    for k, (a, b) in enumerate(zip(found, wanted, strict=False)):
        if a != b:
            return f"number {k} is {a!r}, {b!r} is needed"
    return f"{len(wanted)} are needed"
