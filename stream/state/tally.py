"""Counts the members of many packed entities in one compiled pass."""

from collections.abc import Sequence
from typing import Final

import numba
import numpy as np

from features.velocity import COUNTED, WHAT_INDEX, ZERO_PART
from stream.state.counters import BUCKET_SPAN, ENTRY, SPILLED, WHAT_NAMES, WINDOW_BUCKETS

KINDS: Final = {entity: kind for kind, entity in enumerate(COUNTED)}
"""Numbers of the kinds of entity."""
_PLACES: Final = np.array(
    [[3 * WHAT_INDEX[entity][what] if what in WHAT_INDEX[entity] else -1 for what in WHAT_NAMES] for entity in COUNTED],
    dtype=np.int64,
)
"""Where the counts of a `what` begin in a part, by kind of entity and number; negative: it is not counted with it."""
_WINDOWS: Final = np.array(WINDOW_BUCKETS, dtype=np.int64)
assert ENTRY.size == 12 and BUCKET_SPAN == 1 << 24 and SPILLED == 0x80, "the kernel reads this form"  # noqa: PT018


# No other file's kernels are called here, so numba's cache sees every change by itself.
@numba.njit(nogil=True, cache=True, error_model="numpy")
def _tally(packed, jobs, places, windows, out):  # type: ignore[no-untyped-def]
    """Add up each value's members by window into its row of `out`.

    packed: uint8, all values one after another; jobs: int64, length, kind of entity and bucket to read as of for each.
    """
    at = 0
    for i in range(len(out)):
        end, kind, as_of = at + jobs[3 * i], jobs[3 * i + 1], jobs[3 * i + 2]
        while at < end:
            number = packed[at + 3]
            if number < places.shape[1] and places[kind, number] >= 0:
                age = as_of - (packed[at] | packed[at + 1] << 8 | packed[at + 2] << 16)
                if age >= 0:
                    for k in range(3):
                        if age <= windows[k]:
                            out[i, places[kind, number] + k] += 1
            at += 12


def tally(values: Sequence[bytes], jobs: Sequence[int]) -> list[list[int]]:
    """Return the counts in packed values, flat as in `Part`.

    `jobs` has three numbers for each value: its length, the kind of its entity (`KINDS`), the bucket to read as of.
    """
    out = np.zeros((len(values), len(ZERO_PART)), dtype=np.int64)
    packed = np.frombuffer(b"".join(values), dtype=np.uint8)
    _tally(packed, np.array(jobs, dtype=np.int64), _PLACES, _WINDOWS, out)
    found: list[list[int]] = out.tolist()
    return found


def warm_up() -> None:
    """Compile the kernel, or load it from numba's cache."""
    tally([bytes(ENTRY.size)], (ENTRY.size, 0, 0))
