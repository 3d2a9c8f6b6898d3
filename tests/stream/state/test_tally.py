"""The compiled pass over packed entities against one entry at a time."""

from __future__ import annotations

import struct
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from features.velocity import COUNTED, WHATS, Entity
from stream.state import CounterRead
from stream.state.counters import BUCKET_SPAN, WHAT_NAMES, WINDOW_BUCKETS
from stream.state.packing import count_replies
from stream.state.tally import KINDS, tally

NOW = 5_966_000
BUCKETS = st.one_of(
    st.integers(NOW - 300, NOW + 15),
    st.sampled_from([0, BUCKET_SPAN - 1, *(NOW - window + off for window in WINDOW_BUCKETS for off in (-1, 0, 1))]),
)
ENTRIES = st.tuples(st.one_of(st.integers(0, 5), st.integers(0, 255)), BUCKETS, st.binary(min_size=8, max_size=8))
VALUES = st.lists(ENTRIES, max_size=40).map(
    lambda entries: b"".join(
        (what * BUCKET_SPAN + bucket).to_bytes(4, "little") + hashed for what, bucket, hashed in entries
    )
)


def naive(value: bytes, entity: Entity, as_of: int) -> list[int]:
    counts = {what: [0, 0, 0] for what in WHATS[entity]}
    for number, _ in struct.iter_unpack("<I8s", value):
        what, bucket = divmod(number, BUCKET_SPAN)
        if what < len(WHAT_NAMES) and WHAT_NAMES[what] in counts:
            for i, window in enumerate(WINDOW_BUCKETS):
                counts[WHAT_NAMES[what]][i] += as_of - window <= bucket <= as_of
    flat = [count for what in WHATS[entity] for count in counts[what]]
    # An entity of which fewer things are counted leaves the last places empty.
    return [*flat, *[0] * (12 - len(flat)), 0]


@given(st.lists(st.tuples(VALUES, st.sampled_from(COUNTED), st.integers(NOW - 2, NOW + 2)), min_size=1, max_size=5))
def test_members_are_counted_entry_by_entry(asked: list[tuple[bytes, Entity, int]]) -> None:
    jobs = [number for value, entity, as_of in asked for number in (len(value), KINDS[entity], as_of)]
    found = tally([value for value, _, _ in asked], jobs)
    assert found == [naive(*each) for each in asked]


def test_each_reply_is_read_for_what_it_is() -> None:
    def entry(what: int, member: bytes) -> bytes:
        return (what * BUCKET_SPAN + NOW).to_bytes(4, "little") + member.ljust(8)

    read = CounterRead("account", "a", NOW * 300_000)
    spilled = struct.pack("<BIIIB", 0, 5, 6, 7_000, 1) + struct.pack("<BIIIB", 1, 9, 9, 9, 0)
    replies: list[Any] = [
        None,
        0,
        entry(2, b"d"),
        [entry(128, b"") + entry(2, b"d") + entry(4, b"c"), spilled, b""],
        b"",
    ]
    nothing, foreign, one, many, empty = count_replies([read] * 5, replies)
    assert foreign is None
    assert nothing is not None
    assert one is not None
    assert many is not None
    assert nothing == empty
    assert nothing.part == (0,) * 13
    assert one.part == (0, 0, 0, 1, 1, 1, *[0] * 7)
    assert many.part == (5, 6, 7_000, 1, 1, 1, 0, 0, 0, 1, 1, 1, 1), "what is not counted with accounts is left out"
