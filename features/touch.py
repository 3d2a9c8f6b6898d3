"""The touch family's room: how much there is; contact geometry has no recorded people and bots to learn from yet."""

import math

from features.kernel import inner
from features.table import Table

T = Table("touch", revision=1)

SAMPLES = T.sum("samples")

F_SAMPLES = T.feature(
    "samples", "samples", 0, 1e9, "Number of touch contact samples; no trained weight.", "own", basis="context"
)


@inner
def fold(s, n):  # type: ignore[no-untyped-def]
    """Count n samples into the family's part of the row."""
    s[SAMPLES] += n


@inner
def finalize(s, out):  # type: ignore[no-untyped-def]
    """Write the number of samples, NaN when there are none."""
    out[F_SAMPLES] = s[SAMPLES] if s[SAMPLES] > 0.0 else math.nan
