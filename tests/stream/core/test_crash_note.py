"""What an owner makes of the note that it finds: every case, and what no sequence of them may do."""

from __future__ import annotations

import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from stream.crash_note import DEATHS_ALONE, IN_DOUBT_RECORDS, UNCLEAN_STARTS, Note, at_start, decode, encode
from stream.state import MAX_CRASH_NOTE_BYTES

ID = "AAECAwQFBgcICQoLDA0ODw"


def note(offset: int, **more: object) -> Note:
    return Note(owner="before", topic_id=ID, offset=offset, **more)  # type: ignore[arg-type]


def start(found: Note | None, at: int, end: int = 10_000, topic_id: str = ID) -> Note:
    return at_start(found, owner="me", topic_id=topic_id, start=at, end=end)


FRESH = Note(owner="me", topic_id=ID, offset=100)


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (None, FRESH),
        (note(100), replace(FRESH, starts=2)),
        # Progress was made, or the state went back: counting starts over.
        (note(99), FRESH),
        (note(101), FRESH),
        # The third start at one offset: what may have ended the process goes one by one.
        (note(100, starts=2), replace(FRESH, starts=3, until=1_099)),
        (note(99, starts=2), FRESH),
        # One by one. Nothing was being worked on: nobody died of anything.
        (note(100, starts=3, until=150), replace(FRESH, starts=3, until=150)),
        # The record was being worked on: one death, then the second, which condemns it.
        (note(100, starts=3, until=150, working=True), replace(FRESH, starts=3, until=150, deaths=1)),
        (note(100, starts=3, until=150, working=True, deaths=1), replace(FRESH, starts=3, until=150, deaths=2)),
        # Condemned and not yet a dead letter: still condemned.
        (note(100, starts=3, until=150, deaths=2), replace(FRESH, starts=3, until=150, deaths=2)),
        # It was done; the process ended before the next one was begun.
        (note(99, starts=3, until=150, working=True, deaths=1), replace(FRESH, starts=3, until=150)),
        # Its commit is behind (the door has no watermark): the record is still the one ahead.
        (note(120, starts=3, until=150, working=True), replace(FRESH, offset=120, starts=3, until=150, deaths=1)),
        (note(100, starts=3, until=150, condemned=4), replace(FRESH, starts=3, until=150, condemned=4)),
        # All in doubt are done.
        (note(99, starts=3, until=99, working=True), FRESH),
        # The state went far back: other records come first.
        (note(50_000, starts=3, until=50_100, working=True, deaths=1), FRESH),
    ],
)
def test_what_follows_from_what_was_found(found: Note | None, expected: Note) -> None:
    assert start(found, 100) == expected


def test_a_start_with_nothing_to_read_counts_for_nothing() -> None:
    found: Note | None = None
    for _ in range(10):
        found = start(found, 100, end=100)
        assert found.starts == 1
    assert start(found, 100, end=101).starts == 2
    assert start(note(100, starts=2), 100, end=100) == replace(FRESH, starts=2)


def test_another_topic_of_the_same_name_has_no_past() -> None:
    for found in (note(100, starts=2), note(100, starts=3, until=150, working=True, deaths=1)):
        assert start(found, 100, topic_id="another") == Note(owner="me", topic_id="another", offset=100)


@pytest.mark.parametrize(("end", "until"), [(100, -1), (99, -1), (101, 100), (1_100, 1_099), (1_000_000, 1_099)])
def test_only_records_that_are_there_are_in_doubt_and_not_too_many(end: int, until: int) -> None:
    assert start(note(100, starts=2), 100, end).until == until


@given(
    st.lists(
        st.tuples(st.integers(0, 5), st.integers(0, 5), st.booleans()),  # progress, more in the log, clean end
        max_size=40,
    )
)
def test_without_a_record_worked_on_no_sequence_of_starts_condemns(history: list[tuple[int, int, bool]]) -> None:
    found: Note | None = None
    at, end = 0, 3
    for progress, arrived, clean in history:
        held = start(found, at, end)
        assert not held.is_condemned
        assert held.deaths == 0
        end += arrived
        at = min(end, at + progress)
        if held.is_one_by_one and at <= held.until:
            found = replace(held, offset=at)
        else:
            found = None if clean or held.is_one_by_one else held


def test_a_record_that_always_kills_is_condemned_and_its_neighbours_are_not() -> None:
    """Replayed by hand: two deaths in a chunk, one start one by one, two deaths alone."""
    poison, found, deaths = 107, None, 0
    for _ in range(10):
        held = start(found, 100 if found is None or not found.is_one_by_one else found.offset)
        if held.is_condemned:
            assert held.offset == poison
            break
        deaths += 1
        if held.is_one_by_one:
            # Alone, each with its note, up to the one that kills.
            found = replace(held, offset=poison, working=True, deaths=held.deaths if held.offset == poison else 0)
        else:
            found = held
    else:
        pytest.fail("never condemned")
    assert deaths == UNCLEAN_STARTS - 1 + DEATHS_ALONE


def test_a_note_is_small_and_comes_back() -> None:
    largest = Note(
        owner="x" * 64,
        topic_id="y" * 128,
        offset=(1 << 63) - 1,
        starts=1_000_000,
        until=(1 << 63) - 1,
        deaths=1_000_000,
        working=True,
        condemned=1_000_000,
    )
    assert len(encode(largest)) < MAX_CRASH_NOTE_BYTES // 2
    for each in (largest, FRESH):
        assert decode(encode(each)) == each
    assert IN_DOUBT_RECORDS < 10_000


@pytest.mark.parametrize(
    "stored",
    [b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"owner":"a"}', b"[" * 1_000, encode(FRESH)[:-1], encode(FRESH) + b"x",
     encode(FRESH).replace(b"100", b"-1"), encode(FRESH).replace(b"100", b"9" * 30),
     encode(FRESH).replace(b'"offset"', b'"more":1,"offset"')],
)  # fmt: skip
def test_what_no_worker_wrote_counts_from_one_again(stored: bytes, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert decode(stored) is None
    assert "can't be read" in caplog.text
    assert decode(None) is None
