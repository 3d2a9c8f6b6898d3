"""The one-class keystroke scorer: how far typing lies outside the ranges that published studies of people allow.

Nothing is trained. A term names a feature and a bound of what people do, with a scale. What lies beyond costs, in
scales widened by sampling noise that shrinks with the number of keys, capped and weighted. Most bounds are those of
about 95 % of people, and within them nothing is gained. Terms with `trust` are graded: their bound is what is usual,
and the side of it that scripts with random delays hardly reach (uneven rhythm, slower around words, pauses, rollover)
lowers the sum. So T nats add up; the surprise is U = ln(1 + exp(T - offset)), or T itself where the artefact has no
offset. The stated p-value of people is exp(-U), and the raw score is (1 - exp(-U))^4, a scale on which a person is
mostly near 0; its inverse stands in `models.calibration_table`. Below `min_keys` presses there is no score. The
parameters and their sources are an artefact.
"""

import hashlib
import math
from collections.abc import Mapping
from typing import Annotated, Literal

import msgspec
import numba
import numpy as np
from msgspec import Meta

from features.kernel import inner
from models.errors import ArtifactError
from models.scorer import Contribution, FloatArray, IntArray

Positive = Annotated[float, Meta(gt=0.0, le=1e6)]
POWER = 4.0
"""raw = (1 - p) ** POWER; `models.calibration_table.DECLARED_PRIORS` has the same number."""


class Source(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where a range comes from, and whether the figure was read at the source."""

    key: str
    reference: str
    taken: str
    read_at_source: bool


class Term(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One range. Units are the feature's; `noise` is the standard error of the feature at one key."""

    feature: str
    weight: Positive
    cap: Positive
    sources: list[str]
    why: str
    low: float | None = None
    high: float | None = None
    scale: Positive = 1.0
    noise: Annotated[float, Meta(ge=0.0, le=100.0)] = 0.0
    only_below: tuple[str, float] | None = None
    """Counts only while another feature is below a value: (name, value)."""
    trust: Annotated[float, Meta(ge=0.0, le=100.0)] = 0.0
    """How many scales on the good side of the bound lower the sum, at most; of terms with one bound alone."""


class Ranges(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The artefact."""

    format: Literal[1]
    note: str
    count_feature: str
    min_keys: Annotated[float, Meta(ge=2.0, le=1000.0)]
    terms: Annotated[list[Term], Meta(min_length=1, max_length=64)]
    sources: list[Source]
    offset: Annotated[float, Meta(gt=0.0, le=100.0)] | None = None
    """The sum in nats at which the stated p-value is one half; None: the sum itself is the surprise."""


@inner
def _surprises(x, keys, columns, table, out):  # type: ignore[no-untyped-def]
    """Write each term's cost in nats into `out`; return their sum, NaN where no term had data.

    Columns of `table`: low, high, scale, noise, weight, cap, other column (-1: none), other's bound, least excess.
    """
    total, seen = 0.0, 0
    for k in range(len(columns)):
        out[k] = 0.0
        value = x[columns[k]]
        if np.isnan(value):
            continue
        other = int(table[k, 6])
        if other >= 0 and not x[other] < table[k, 7]:
            continue
        seen += 1
        excess = max(table[k, 0] - value, value - table[k, 1])
        scale = np.sqrt(table[k, 2] ** 2 + table[k, 3] ** 2 / keys)
        out[k] = table[k, 4] * min(table[k, 5], max(table[k, 8], excess / scale))
        total += out[k]
    return total if seen > 0 else np.nan


@inner
def _raw_of(total, offset):  # type: ignore[no-untyped-def]
    """(1 - p) ** POWER of a sum of costs, one way for scores and shares, so that they have the same bits.

    NaN stays NaN; p = exp(-total), or with an offset (not NaN) 1 / (1 + exp(total - offset)).
    """
    base = 1.0 - np.exp(-total) if np.isnan(offset) else 1.0 / (1.0 + np.exp(offset - total))
    return (base * base) * (base * base)


@numba.njit(cache=True, nogil=True)
def _raw(rows, count, min_keys, offset, columns, table, out):  # type: ignore[no-untyped-def]
    """Raw score of each row (n, N_FEATURES) into `out` (n,); NaN below `min_keys` or without any term."""
    costs = np.empty(len(columns), dtype=np.float64)
    for i in range(rows.shape[0]):
        keys = rows[i, count]
        if not keys >= min_keys:
            out[i] = np.nan
            continue
        out[i] = _raw_of(_surprises(rows[i], keys, columns, table, costs), offset)


@numba.njit(cache=True, nogil=True)
def _share(rows, at, count, min_keys, offset, columns, table, costs, scores):  # type: ignore[no-untyped-def]
    """Raw score of each row in `at` into `scores` (len(at),), each term's cost into `costs` (len(at), n_terms)."""
    for i in range(len(at)):
        keys = rows[at[i], count]
        scores[i] = np.nan
        if keys >= min_keys:
            scores[i] = _raw_of(_surprises(rows[at[i]], keys, columns, table, costs[i]), offset)


class KeystrokeRange:
    """One-class scorer of typing by published ranges.

    Args:
        ranges: The artefact.
        index: Feature names to positions in the vector.

    Raises:
        ArtifactError: a term names an unknown feature, source, or an empty range.
    """

    name = "bot_keystroke"

    def __init__(self, ranges: Ranges, index: Mapping[str, int]) -> None:
        self.ranges = ranges
        self.hash = hashlib.sha256(msgspec.json.encode(ranges, order="sorted")).hexdigest()
        known = {source.key for source in ranges.sources}
        rows: list[list[float]] = []
        used = [self._index(index, ranges.count_feature)]
        self._count = used[0]
        for term in ranges.terms:
            low = -np.inf if term.low is None else term.low
            high = np.inf if term.high is None else term.high
            if not low < high or (term.low is None and term.high is None):
                raise ArtifactError(f"keystroke ranges: {term.feature} has no range")
            if term.trust > 0.0 and term.low is not None and term.high is not None:
                raise ArtifactError(f"keystroke ranges: {term.feature} is graded and has two bounds")
            foreign = [key for key in term.sources if key not in known]
            if foreign or not term.sources:
                raise ArtifactError(f"keystroke ranges: {term.feature} cites {foreign or 'nothing'}")
            other, bound = -1.0, 0.0
            if term.only_below is not None:
                used.append(self._index(index, term.only_below[0]))
                other, bound = float(used[-1]), term.only_below[1]
            rows.append([low, high, term.scale, term.noise, term.weight, term.cap, other, bound, 0.0 - term.trust])
        self._inputs: IntArray = np.array([self._index(index, t.feature) for t in ranges.terms], dtype=np.int64)
        self._table: FloatArray = np.array(rows, dtype=np.float64)
        self._offset = math.nan if ranges.offset is None else ranges.offset
        self.columns: IntArray = np.unique(np.concatenate([self._inputs, np.array(used, dtype=np.int64)]))

    @staticmethod
    def _index(index: Mapping[str, int], name: str) -> int:
        if name not in index:
            raise ArtifactError(f"keystroke ranges: feature {name[:60]} is not in the registry")
        return index[name]

    @classmethod
    def decode(cls, data: bytes, index: Mapping[str, int]) -> "KeystrokeRange":
        """Read the artefact; ArtifactError with one line if it is malformed."""
        try:
            ranges = msgspec.json.decode(data, type=Ranges)
        except (msgspec.DecodeError, RecursionError) as error:
            raise ArtifactError(f"keystroke ranges: {error}") from None
        return cls(ranges, index)

    def encode(self) -> bytes:
        """The artefact."""
        return msgspec.json.format(msgspec.json.encode(self.ranges), indent=2) + b"\n"

    def raw(self, rows: FloatArray) -> FloatArray:
        """Raw score of each row (n, N_FEATURES): near 0 for people, near 1 far outside; NaN without enough keys."""
        out = np.empty(len(rows), dtype=np.float64)
        _raw(rows, self._count, self.ranges.min_keys, self._offset, self._inputs, self._table, out)
        return out

    @property
    def inputs(self) -> IntArray:
        """Index of each term's feature (`columns` has the count and conditions too)."""
        return self._inputs

    def shares(self, rows: FloatArray, at: IntArray) -> tuple[FloatArray, FloatArray]:
        """Raw score (len(at),) of the rows `at`, and cost (len(at), n_inputs) of each input in nats, below 0 for trust.

        Without evidence the score is NaN and the surprises mean nothing.
        """
        scores = np.empty(len(at), dtype=np.float64)
        costs = np.zeros((len(at), len(self._inputs)), dtype=np.float64)
        _share(rows, at, self._count, self.ranges.min_keys, self._offset, self._inputs, self._table, costs, scores)
        return scores, costs

    def explain(self, x: FloatArray) -> list[Contribution]:
        """Surprise in nats by feature, largest first; only what lies outside its range."""
        score, (costs,) = self.shares(x.reshape(1, -1), np.zeros(1, dtype=np.int64))
        if math.isnan(score[0]):
            return []
        order = np.argsort(-costs, kind="stable")
        return [Contribution(int(self._inputs[k]), float(costs[k])) for k in order if costs[k] > 0.0]
