"""Filling in of the features that only the session's Meta and the entity counters know."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from features.context import F_INPUT, T, V, context_of
from features.counted import Counted
from features.meta import Meta
from features.registry import feature_offset

_FIRST, _END = feature_offset("session") + F_INPUT, feature_offset("session") + T.count
_VELOCITY, _VELOCITY_END = feature_offset("velocity"), feature_offset("velocity") + V.count


def fill_contexts(out: npt.NDArray[np.float64], metas: Sequence[Meta]) -> None:
    """Write context features into the vectors (float64[n, N_FEATURES]) of n sessions' events, in place."""
    out[:, _FIRST:_END] = [context_of(meta) for meta in metas]


def fill_counters(out: npt.NDArray[np.float64], shown: Sequence[Counted]) -> None:
    """Write counter features into the vectors (float64[n, N_FEATURES]) of n sessions' events, in place."""
    for i, counted in enumerate(shown):
        out[i, _VELOCITY:_VELOCITY_END] = counted.features


def fill_context(out_row: npt.NDArray[np.float64], meta: Meta, counted: Counted | None = None) -> None:
    """Write context and counter features into one vector (float64[N_FEATURES]), in place; without counters: NaN."""
    out_row[_FIRST:_END] = context_of(meta)
    if counted is not None:
        out_row[_VELOCITY:_VELOCITY_END] = counted.features
