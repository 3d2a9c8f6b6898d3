"""Compact calibrations: small, never understating a p-value, and with everybody who can serve."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.calibration import CalibrationBuilder, CalibrationTable, Calibrator
from models.cells import EVIDENCE, Cell
from models.flat import FlatModel
from models.snapshots import MAX_CALIBRATION_BYTES, compact
from schemas.risk import CHANNELS

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
