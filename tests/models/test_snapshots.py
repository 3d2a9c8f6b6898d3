"""Compact calibrations: small, never understating a p-value, and with everybody who can serve."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.registry import NAMES, REGISTRY_HASH
from models.calibration import CalibrationBuilder, CalibrationTable, Calibrator
from models.calibration_table import MAX_CELLS
from models.cells import EVIDENCE, Cell
from models.errors import ArtifactError, SnapshotError
from models.flat import FlatModel
from models.snapshots import MAX_CALIBRATION_BYTES, compact, read_snapshot
from schemas.envelope import decode_snapshot, encode
from schemas.risk import CHANNELS
from schemas.snapshot import Snapshot

ANOMALY = CHANNELS.index("anomaly")


def table_of(people: int, *, seed: int, kinds: int = 1, sources: int = 1, decimals: int = 6) -> CalibrationTable:
    """People of one flow with a value for each amount of evidence."""
    rng = np.random.default_rng(seed)
    builder = CalibrationBuilder()
    inputs = ("mouse", "touch", "keys", "pen")[:kinds]
    for i in range(people):
        cell = Cell("login", inputs[i % kinds], f"source-{rng.integers(sources)}", "")
        for evidence in EVIDENCE:
            raw = np.full(len(CHANNELS), np.nan)
            raw[ANOMALY] = round(float(rng.beta(8, 2)), decimals)
            builder.add(f"p{i}", cell._replace(evidence=evidence), raw, raw if evidence == EVIDENCE[-1] else None)
    return builder.build("live")


def size_of(flat: FlatModel) -> int:
    return sum(array.nbytes * 4 // 3 for array in flat.arrays.values())


@given(
    people=st.integers(1, 400),
    seed=st.integers(0, 99),
    sources=st.integers(1, 4),
    decimals=st.integers(1, 6),
    raw=st.floats(0.0, 1.0),
)
@settings(max_examples=40, deadline=None)
def test_no_score_is_higher_and_none_much_lower_than_by_the_whole_table(
    people: int, seed: int, sources: int, decimals: int, raw: float
) -> None:
    whole = table_of(people, seed=seed, sources=sources, decimals=decimals)
    small = compact(whole)
    for evidence in EVIDENCE[:2]:
        for source in ("source-0", "unknown"):
            cell = Cell("login", "mouse", source, evidence)
            for kind in ("now", "anytime"):
                exact = Calibrator([whole]).score("anomaly", kind, cell, raw)
                found = Calibrator([small]).score("anomaly", kind, cell, raw)
                assert 1 - exact.score <= 1 - found.score + 1e-12 <= 1.02 * (1 - exact.score) + 2e-12
                assert found.calibration.n_people == exact.calibration.n_people
    again = CalibrationTable.from_flat(small.to_flat())
    assert again.hash == small.hash


def test_the_strangest_keep_their_own_ranks() -> None:
    whole = table_of(2_000, seed=1)
    small, cell = compact(whole), Cell("login", "mouse", "source-0", EVIDENCE[0])
    values = np.sort(whole.resolve("anomaly", "now", cell).parts[0].values)[-20:]  # type: ignore[union-attr]
    for value in values.tolist():
        exact = Calibrator([whole]).score("anomaly", "now", cell, value)
        assert Calibrator([small]).score("anomaly", "now", cell, value) == exact


@pytest.mark.parametrize(("kinds", "sources"), [(1, 1), (2, 3), (4, 8), (4, 5_000)])
def test_a_calibration_is_small_whatever_there_is_to_rank(kinds: int, sources: int) -> None:
    small = compact(table_of(2_000, seed=2, kinds=kinds, sources=sources)).to_flat()
    names = small.definition["cells"]
    assert isinstance(names, list)
    assert size_of(small) + sum(len(name) + 3 for name in names) < MAX_CALIBRATION_BYTES < 200_000


def test_a_lower_limit_costs_accuracy_and_never_validity() -> None:
    whole = table_of(2_000, seed=3)
    small, cell = compact(whole, max_bytes=8_000), Cell("login", "mouse", "source-0", EVIDENCE[0])
    assert size_of(small.to_flat()) < size_of(compact(whole).to_flat()) / 2
    for raw in np.linspace(0.2, 1.0, 200).tolist():
        exact = Calibrator([whole]).score("anomaly", "now", cell, raw).score
        assert Calibrator([small]).score("anomaly", "now", cell, raw).score <= exact


@pytest.mark.parametrize("error", [ArtifactError, SnapshotError])
def test_what_an_error_quotes_neither_breaks_nor_floods_a_log(error: type[ArtifactError | SnapshotError]) -> None:
    text = str(error("a\nb\r\x1b[31m\u202e\x00 " + "x" * 10_000))
    assert text.startswith("a?b??[31m?? x")
    assert text.endswith("xx...")
    assert len(text) == 500
    assert text.isprintable()
    assert str(error("manifest.json: is not there")) == "manifest.json: is not there"


def test_the_largest_calibration_there_may_be_is_checked_in_time() -> None:
    """A hostile one, with as many cells as are allowed: seconds at most, in a thread of its own."""
    cells = [f"anomaly now signup/mouse/s{i}/lt3s" for i in range(MAX_CELLS)]
    flat = FlatModel(
        "calibration",
        {"format": 1, "state": "live", "min_people": 50, "cells": cells, "declared": [], "trees": "0" * 64},
        {
            "start": np.arange(MAX_CELLS + 1, dtype="<i4"),
            "n_people": np.full(MAX_CELLS, 60, dtype="<i4"),
            "values": np.full(MAX_CELLS, 0.5),
            "tail": np.full(MAX_CELLS, 60.0),
        },
    )
    large = Snapshot(
        kind="calibration",
        flow="signup",
        hash=flat.hash,
        created_at=0,
        features_hash=REGISTRY_HASH,
        offsets={},
        n_learnt=0,
        definition=flat.definition,
        arrays=flat.blobs(),
    )
    began = time.process_time()
    read_snapshot(decode_snapshot(encode(large), None), NAMES, REGISTRY_HASH)
    assert time.process_time() - began < 3.0
