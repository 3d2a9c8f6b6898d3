"""What counters look like in a vector and in an event, against pair by pair."""

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from features.counted import counted
from features.velocity import PAIR_NAMES, WINDOWS, Count, counts_of
from schemas.envelope import encode
from schemas.risk import Velocity
from tests.support.counts import part_of, parts_of

NUMBERS = st.integers(-1, 40_000_000)
COUNTS = st.builds(Count, NUMBERS, NUMBERS, NUMBERS, st.booleans())
PART_COUNTS = st.one_of(st.lists(COUNTS, min_size=4, max_size=4), st.just([None] * 4))


@given(st.lists(PART_COUNTS, min_size=3, max_size=3))
def test_counters_are_shown_pair_by_pair(each: list[list[Count | None]]) -> None:
    counts = [count for part in each for count in part]
    parts = parts_of(counts)
    assert [count for part in parts for count in counts_of(part)] == counts
    found = counted(parts)
    naive = np.full(len(PAIR_NAMES) * len(WINDOWS), math.nan)
    velocity = {}
    for i, (name, count) in enumerate(zip(PAIR_NAMES, counts, strict=True)):
        if count is not None:
            values = [count.m5, count.h1, count.h24]
            naive[3 * i : 3 * i + 3] = [value if value >= 0 else math.nan for value in values]
            m5, h1, h24 = (value if value >= 0 else None for value in values)
            velocity[name] = Velocity(m5=m5, h1=h1, h24=h24, approximate=count.approximate)
    assert found.features.tobytes() == naive.tobytes()
    assert found.velocity == velocity
    assert found.text == encode(velocity)
    assert counted(parts) is found


def test_an_entity_is_known_whole_or_not_at_all() -> None:
    assert part_of([Count(1, 1, 1), None, Count(1, 1, 1), Count(1, 1, 1)]) == ()
