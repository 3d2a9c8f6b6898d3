"""The guard's verdict is that of the median of all pairs, however few are measured; a reference is set from pairs."""

from __future__ import annotations

import itertools
import statistics
import time

import pytest
from confluent_kafka import Message
from hypothesis import given
from hypothesis import strategies as st

from bench.guard import LEAST_MARGIN, MOST_MARGIN, PAIRS, WORDS, Reference, is_settled, read, reference_of, verdict
from bench.inside import chunk_to_json
from stream.batch import Batch
from stream.intake import Intake
from stream.partition import OwnedPartition

NAME = "worker_to_loop"
REFERENCE = Reference(ratio=1.2, margin=0.15, low=1.15, high=1.25, pairs=7)


@given(st.lists(st.floats(0.5, 3.0), min_size=PAIRS, max_size=PAIRS))
def test_the_verdict_on_the_first_pairs_is_that_on_all(ratios: list[float]) -> None:
    count = next(count for count in itertools.count(1) if is_settled(ratios[:count], REFERENCE.limit))
    assert PAIRS // 2 < count <= PAIRS
    early = verdict(NAME, ratios[:count], REFERENCE)
    assert (early is not None) == (statistics.median(ratios) > REFERENCE.limit)


def test_it_says_what_is_wrong_and_what_to_do() -> None:
    assert verdict(NAME, [1.37, 1.2, 1.3, 1.6, 1.2], REFERENCE) is None
    why = verdict(NAME, [1.5, 1.5, 1.1, 1.7, 1.5], REFERENCE)
    assert why is not None
    assert "worker over hand-written loop: 1.50 (1.10 to 1.70)" in why
    assert "limit 1.38" in why
    assert "ARGS=--set" in why


@given(st.floats(0.8, 2.0), st.lists(st.floats(0.97, 1.03), min_size=PAIRS, max_size=PAIRS))
def test_noise_like_the_references_own_passes_and_two_fifths_more_fail(ratio: float, noise: list[float]) -> None:
    reference = reference_of([ratio * one for one in noise])
    assert LEAST_MARGIN <= reference.margin <= MOST_MARGIN
    assert verdict(NAME, [ratio * one for one in reversed(noise)], reference) is None
    assert verdict(NAME, [ratio * one * 1.4 for one in noise], reference) is not None


def test_the_margin_is_the_range_of_the_pairs_within_its_bounds() -> None:
    assert reference_of([1.0] * PAIRS).margin == LEAST_MARGIN
    assert reference_of([0.9, 1.0, 1.0, 1.0, 1.1]).margin == pytest.approx(0.2)
    assert reference_of([0.5, 1.0, 1.0, 1.0, 1.5]).margin == MOST_MARGIN


@pytest.mark.parametrize("name", WORDS)
def test_the_committed_references_are_readable_and_their_margins_moderate(name: str) -> None:
    assert set(read()) == set(WORDS)
    reference = read()[name]
    assert 0.5 < reference.ratio < 5.0
    assert LEAST_MARGIN <= reference.margin <= MOST_MARGIN
    assert reference.low <= reference.ratio <= reference.high


def test_chunk_functions_that_became_dearer_show_beside_plain_json_work(monkeypatch: pytest.MonkeyPatch) -> None:
    before = chunk_to_json(1_024)
    decode = Intake.batch

    def dearer(self: Intake, owned: OwnedPartition, records: list[Message]) -> Batch:
        end = time.thread_time() + 100e-6 * len(records)
        while time.thread_time() < end:
            pass
        return decode(self, owned, records)

    monkeypatch.setattr(Intake, "batch", dearer)
    assert chunk_to_json(1_024) > 1.4 * before
