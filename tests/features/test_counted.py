"""What counters look like in a vector and in an event, against pair by pair."""

import math
from random import Random

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from features import counted as module
from features.counted import REMEMBERED, counted, counted_of
from features.session import Meta
from features.velocity import CAPTURE_NAMES, PAIR_NAMES, TEMPLATE_NAMES, WINDOWS, Count, counts_of
from schemas.envelope import encode
from schemas.risk import Velocity
from tests.support.counts import part_of, parts_of, two_of

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
    assert bytes(found.text) == encode(velocity)
    assert counted(parts) is found


@given(st.lists(st.lists(PART_COUNTS, min_size=3, max_size=3), min_size=1, max_size=4), st.randoms())
def test_sessions_with_the_same_values_share_one_object(each: list[list[list[Count | None]]], chance: Random) -> None:
    values = [[count for part in parts for count in part] for parts in each]
    metas = [Meta(counters=parts_of(chance.choice(values))) for _ in range(12)]
    before = [meta.counters for meta in metas]
    for _ in range(2):
        shown = [counted_of(meta) for meta in metas]
        assert [meta.counters for meta in metas] == before
        for parts, found in zip(before, shown, strict=True):
            assert found.text == counted(parts).text
            assert found.features.tobytes() == counted(parts).features.tobytes()
        assert all(meta.counters is found.parts for meta, found in zip(metas, shown, strict=True))


@given(st.lists(st.tuples(PART_COUNTS, PART_COUNTS), min_size=1, max_size=3), st.randoms())
def test_what_a_session_shows_is_beside_what_it_belongs_to(
    each: list[tuple[list[Count | None], list[Count | None]]], chance: Random
) -> None:
    mine = parts_of([Count(1, 2, 3)] * 12)
    shown = [(part_of(capture), two_of(template)) for capture, template in each]
    metas = []
    for _ in range(8):
        capture, template = chance.choice(shown)
        metas.append(Meta(counters=mine, capture_counters=capture, template_counters=template))
    before = [(meta.counters, meta.capture_counters, meta.template_counters) for meta in metas]
    for _ in range(2):
        found = [counted_of(meta) for meta in metas]
        assert [(meta.counters, meta.capture_counters, meta.template_counters) for meta in metas] == before
        for (_, capture, template), one in zip(before, found, strict=True):
            velocity = dict(counted(mine).velocity)
            for names, part in ((CAPTURE_NAMES, capture), (TEMPLATE_NAMES, template)):
                for name, count in zip(names, counts_of(part), strict=False):
                    if count is not None:
                        m5, h1, h24 = (value if value >= 0 else None for value in (count.m5, count.h1, count.h24))
                        velocity[name] = Velocity(m5=m5, h1=h1, h24=h24, approximate=count.approximate)
            assert one.velocity == velocity
            assert bytes(one.text) == encode(velocity)
            assert one.features.tobytes() == counted(mine).features.tobytes()


def test_what_is_remembered_is_bounded_and_never_another_s() -> None:
    """Ids are given out again once their objects are gone."""
    for number in range(3 * REMEMBERED):
        counts = [Count(number, number, number, False)] * 4 + [None] * 8
        found = counted_of(Meta(counters=parts_of(counts)))
        assert found.velocity["account_sessions"].h24 == number
        found = counted_of(Meta(counters=parts_of(counts), template_counters=(number,) * 12 + (0,)))
        assert found.velocity["account_sessions"].h24 == found.velocity["template_ips"].h24 == number
    assert len(module._same) <= REMEMBERED
    assert len(module._same_with_more) <= REMEMBERED


def test_an_entity_is_known_whole_or_not_at_all() -> None:
    assert part_of([Count(1, 1, 1), None, Count(1, 1, 1), Count(1, 1, 1)]) == ()
