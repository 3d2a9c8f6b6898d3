"""The index of dead letters against its naive twin, and its bounds: memory, and a disk that is full."""

from __future__ import annotations

import dataclasses
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.cli.failures import exit_code_and_line
from stream.dead_letter_index import ALL, DeadLetter, DeadLetterIndex, Filter, Group, Identity
from stream.exit_status import FAILED

LETTER = DeadLetter(
    partition=0,
    offset=0,
    time_ms=0,
    source=("capture.telemetry", "id", 0, 0),
    source_time_ms=None,
    attempts=1,
    reason="schema",
    path="$.flow",
    detail="not one of the values",
    app_version="1",
    size_bytes=7,
    truncated=False,
    failed_at=None,
)


class Note(NamedTuple):
    """A dead letter of this attempt was sent again."""

    source: Identity
    attempts: int


sources = st.builds(
    lambda topic, partition, offset: (topic, f"id of {topic}", partition, offset),
    st.sampled_from(["capture.telemetry", "capture.signals", "\x00'"]),
    st.integers(0, 2),
    st.sampled_from([0, 1, 2**63 - 1]),
)
attempts = st.integers(1, 3)
letters = st.builds(
    dataclasses.replace,
    st.just(LETTER),
    source=sources,
    attempts=attempts,
    time_ms=st.integers(-1, 3),
    source_time_ms=st.none() | st.just(2**53 - 1),
    reason=st.sampled_from(["schema", "empty", "", "\u202e\U0001f642"]),
    path=st.text(max_size=3),
    truncated=st.booleans(),
    failed_at=st.none() | st.just((3, 4)),
)
filters = st.builds(
    Filter, st.lists(st.sampled_from(["schema", "empty", "other"])), st.lists(st.integers(0, 3), max_size=2)
)


class Twin:
    """The same by keeping everything."""

    def __init__(self, log: list[DeadLetter | Note]) -> None:
        self.letters: dict[Identity, list[DeadLetter]] = {}
        for each in log:
            if isinstance(each, DeadLetter):
                self.letters.setdefault(each.source, []).append(each)
        self.notes = [each for each in log if isinstance(each, Note)]

    def known(self, source: Identity) -> tuple[DeadLetter, bool, int]:
        found = self.letters[source]
        latest = max(found, key=lambda each: each.attempts)  # the first of equal ones
        redriven = any(note.source == source and note.attempts >= latest.attempts for note in self.notes)
        return latest, redriven, len(found) - len({each.attempts for each in found})

    def records(self, chosen: Filter) -> list[tuple[DeadLetter, bool, int]]:
        return [
            known
            for known in map(self.known, self.letters)
            if (not chosen.reasons or known[0].reason in chosen.reasons)
            and (not chosen.partitions or known[0].source[2] in chosen.partitions)
        ]


@given(st.lists(letters | st.builds(Note, sources, attempts), max_size=12), filters, st.integers(0, 3))
def test_it_knows_of_every_record_what_its_naive_twin_does(
    log: list[DeadLetter | Note], chosen: Filter, limit: int
) -> None:
    log = [
        dataclasses.replace(each, partition=place % 2, offset=place) if isinstance(each, DeadLetter) else each
        for place, each in enumerate(log)
    ]
    twin = Twin(log)
    places = {(each.partition, each.offset): each for each in log if isinstance(each, DeadLetter)}
    with DeadLetterIndex([*places, (9, 9)]) as index:
        for each in log:
            if isinstance(each, Note):
                index.add_note(*each)
            else:
                index.add(each)
        for place, letter in places.items():
            assert index.at(place) == twin.known(letter.source)
        assert index.at((9, 9)) is None
        wanted = sorted(twin.records(chosen), key=lambda one: (one[0].partition, one[0].offset))
        assert list(index.records(chosen)) == wanted
        latest = sorted(wanted, key=lambda one: (-one[0].time_ms, one[0].partition, -one[0].offset))
        assert list(index.records(chosen, "latest", limit)) == latest[:limit]
        assert index.repeats(chosen) == sum(repeats for _, _, repeats in wanted)
        names: dict[Group, Callable[[DeadLetter], str]] = {
            "reason": lambda letter: letter.reason,
            "topic": lambda letter: letter.source[0],
            "place": lambda letter: f"{letter.source[0]}[{letter.source[2]}]",
        }
        for by, name_of in names.items():
            counts = Counter(name_of(letter) for letter, _, _ in wanted)
            waiting = Counter(name_of(letter) for letter, redriven, _ in wanted if not redriven)
            expected = [(name, n, waiting[name]) for name, n in sorted(counts.items(), key=lambda c: (-c[1], c[0]))]
            assert index.counts(by, chosen) == expected


def rss_mib() -> float:
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="this system does not tell a process's memory so")
def test_a_large_topic_takes_disk_and_not_memory() -> None:
    """200 000 records with a text of their own each: 100 MB and more as objects."""
    with DeadLetterIndex() as index:
        index.add(LETTER)
        before = rss_mib()
        for offset in range(1, 200_001):
            text = f"{offset:0300d}"
            index.add(dataclasses.replace(LETTER, offset=offset, source=("t", "i", 0, offset), path=text, detail=text))
        assert [count.records for count in index.counts("topic")] == [200_000, 1]
        assert len(list(index.records(ALL, "latest", 20))) == 20
        assert rss_mib() - before < 80


def test_a_full_disk_is_one_line() -> None:
    def fill(index: DeadLetterIndex) -> None:
        for offset in range(10_000):
            index.add(dataclasses.replace(LETTER, offset=offset, source=("t", "i", 0, offset)))

    with DeadLetterIndex() as index:
        index._db.execute("PRAGMA max_page_count = 20")
        with pytest.raises(OSError, match="No space left") as told:
            fill(index)
    line = "a temporary file could not be written: No space left on device"
    assert exit_code_and_line(told.value) == (FAILED, line)
