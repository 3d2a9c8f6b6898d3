"""Filling in of the features that only the session's Meta and the entity counters know."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from features.context import T, V, write_context
from features.meta import Meta
from features.registry import feature_offset
from features.velocity import Count

_SESSION = feature_offset("session")
_VELOCITY = feature_offset("velocity")


def fill_context(out_row: npt.NDArray[np.float64], meta: Meta, velocity: Sequence[Count | None]) -> None:
    """Write context and counter features into one vector (float64[N_FEATURES]), in place.

    velocity: counters in the order of velocity.PAIRS, None where unknown; may be empty (all unknown).
    """
    write_context(
        out_row[_SESSION : _SESSION + T.count],
        out_row[_VELOCITY : _VELOCITY + V.count],
        meta,
        velocity,
    )
