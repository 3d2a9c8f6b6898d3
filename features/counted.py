"""A session's counters as its events show them: as features of the vector and as the `velocity` block.

Both follow from the values alone, and most sessions share theirs with others, so what was made last is remembered.
"""

import functools
import math
from typing import Final, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from features.meta import Meta
from features.velocity import (
    CAPTURE_NAMES,
    PAIR_NAMES,
    TEMPLATE_NAMES,
    UNKNOWN,
    WINDOWS,
    Count,
    Part,
    Parts,
    counts_of,
)
from schemas.envelope import encode
from schemas.risk import Velocity

REMEMBERED: Final = 2_048
"""Different sets of counters that are remembered, about 2.5 kB each."""


class Counted(NamedTuple):
    """What one set of counters looks like. Shared by all who have the same values: nobody may change it."""

    features: npt.NDArray[np.float64]
    """float64[len(PAIRS) * len(WINDOWS)], in the order of the registry; NaN where unknown."""
    velocity: dict[str, Velocity]
    """By `<entity>_<what>`, without those that are unknown."""
    text: msgspec.Raw
    """`velocity` as JSON."""
    parts: Parts
    """The values; one object for all who share this."""


_same: Final[dict[int, Counted]] = {}
"""Some of what is remembered, by the id of its own `parts`: found without a look at 39 numbers."""


_same_with_more: Final[dict[tuple[int, int, int], tuple[Counted, tuple[Parts, Part, Part]]]] = {}
"""Likewise by the ids of all three, with the objects that have them."""


def counted_of(meta: Meta) -> Counted:
    """Return what a session's counters look like; from now on it holds the same object as all with the same values."""
    if meta.capture_counters or meta.template_counters:
        return _more_of(meta)
    parts = meta.counters
    found = _same.get(id(parts))
    # It holds its parts, so no other object has their id while it is here.
    if found is None:
        found = counted(parts)
        meta.counters = found.parts
        if len(_same) >= REMEMBERED:
            _same.clear()
        _same[id(found.parts)] = found
    return found


def _more_of(meta: Meta) -> Counted:
    """The same with those of a captured image and a device template, which are no features."""
    held = meta.counters, meta.capture_counters, meta.template_counters
    found = _same_with_more.get((id(held[0]), id(held[1]), id(held[2])))
    if found is None:
        found = _with_more(*held)
        held = meta.counters, meta.capture_counters, meta.template_counters = found[1]
        if len(_same_with_more) >= REMEMBERED:
            _same_with_more.clear()
        _same_with_more[id(held[0]), id(held[1]), id(held[2])] = found
    return found[0]


@functools.lru_cache(maxsize=REMEMBERED)
def counted(parts: Parts) -> Counted:
    """Return what a session's counters look like."""
    features = np.full(len(PAIR_NAMES) * len(WINDOWS), math.nan)
    velocity: dict[str, Velocity] = {}
    counts = [count for part in parts for count in counts_of(part)]
    for index, (name, count) in enumerate(zip(PAIR_NAMES, counts, strict=True)):
        if count is None:
            continue
        for window, value in enumerate((count.m5, count.h1, count.h24)):
            if value >= 0:
                features[index * len(WINDOWS) + window] = value
        velocity[name] = _shown(count)
    features.flags.writeable = False
    return Counted(features, velocity, msgspec.Raw(encode(velocity)), parts)


@functools.lru_cache(maxsize=REMEMBERED)
def _with_more(parts: Parts, capture: Part, template: Part) -> tuple[Counted, tuple[Parts, Part, Part]]:
    found = counted(parts)
    velocity = dict(found.velocity)
    for names, part in ((CAPTURE_NAMES, capture), (TEMPLATE_NAMES, template)):
        if part != UNKNOWN:
            counts = zip(names, counts_of(part), strict=False)  # a part has room for four
            velocity |= {name: _shown(count) for name, count in counts if count is not None}
    made = Counted(found.features, velocity, msgspec.Raw(encode(velocity)), parts)
    return made, (parts, capture, template)


@functools.lru_cache(maxsize=2 * REMEMBERED)
def _shown(count: Count) -> Velocity:
    return Velocity(m5=_known(count.m5), h1=_known(count.h1), h24=_known(count.h24), approximate=count.approximate)


def _known(value: int) -> int | None:
    return None if value < 0 else value
