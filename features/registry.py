"""THE ordered list of features: name, unit, range, family, exemption; its hash; its docs table.

The families declare their own features; here they are put in order, and nowhere else. Position in this list is the
column in every vector, so an order, once served, changes only together with `REGISTRY_HASH`.
"""

import hashlib
from collections.abc import Callable

import msgspec
import numpy as np
import numpy.typing as npt

from features import context, focus, form, keystroke_vector, motion, pointer_vector, scroll, touch
from features.table import Feature, Table

TABLES: tuple[Table, ...] = (
    context.T,
    pointer_vector.T,
    keystroke_vector.T,
    focus.T,
    form.T,
    touch.T,
    scroll.T,
    motion.T,
    context.V,
)
"""Families in the order of the vector and of the state row."""

FEATURES: tuple[Feature, ...] = tuple(feature for table in TABLES for feature in table.features)
"""Every feature, in order."""

NAMES: tuple[str, ...] = tuple(feature.name for feature in FEATURES)
INDEX: dict[str, int] = {name: i for i, name in enumerate(NAMES)}
N_FEATURES = len(FEATURES)
FAMILIES: tuple[str, ...] = tuple(table.family for table in TABLES)

if len(INDEX) != N_FEATURES:
    msg = "feature names must be unique"
    raise RuntimeError(msg)

LOW: npt.NDArray[np.float64] = np.array([feature.low for feature in FEATURES], dtype=np.float64)
HIGH: npt.NDArray[np.float64] = np.array([feature.high for feature in FEATURES], dtype=np.float64)
"""Bounds of each feature: a served value is NaN or within them."""

REGISTRY_HASH: str = hashlib.sha256(
    msgspec.json.encode([[table.revision for table in TABLES], FEATURES], order="deterministic")
).hexdigest()
"""sha256 of the definitions, in order, with the families' revisions."""


def select(predicate: Callable[[Feature], bool]) -> npt.NDArray[np.int64]:
    """Columns of the features for which `predicate` holds, in order."""
    return np.array([i for i, feature in enumerate(FEATURES) if predicate(feature)], dtype=np.int64)


def state_offset(family: str) -> int:
    """First slot of a family in the state row."""
    offset = 0
    for table in TABLES:
        if table.family == family:
            return offset
        offset += table.width
    raise KeyError(family)


def feature_offset(family: str) -> int:
    """First column of a family in the vector."""
    offset = 0
    for table in TABLES:
        if table.family == family:
            return offset
        offset += table.count
    raise KeyError(family)
