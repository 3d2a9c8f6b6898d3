"""Streams: what is served gives River's scores, and a difference shows. Takeovers: seams, drift, delay."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from models.anomaly import FlatHST
from models.dataset import DatasetError
from models.evaluate_streams import one_stream, streams, streams_text
from models.evaluate_takeover import (
    DRIFT,
    OWN,
    SLICE_S,
    SPLICE_S,
    STEP_S,
    Spliced,
    _delay,
    _rise,
    own_drift,
    slices,
    splice,
    spliced,
    takeovers,
    takeovers_text,
)
from models.train_vectors import Sample
from tests.models.recordings import recording


def stream(seed: int = 1, n: int = 1_500) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    values, labels = rng.normal(10.0, 1.0, n), np.zeros(n, dtype=np.int64)
    for at in (900, 1_300):
        values[at : at + 20] += 12.0
        labels[at : at + 20] = 1
    return values, labels


def test_what_is_served_gives_rivers_scores_on_a_stream() -> None:
    found = one_stream("made up", *stream(), window_size=100)
    assert found.difference == 0.0
    assert found.served_auc == found.river_auc > 0.9
    assert (found.points, found.labelled, found.windows, found.found) == (1_275, 40, 2, 1.0)
    assert "| made up | 1275 | 40 |" in streams_text([found])
    assert "n=0" in streams_text([])


def test_another_score_than_rivers_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = FlatHST.raw
    monkeypatch.setattr(FlatHST, "raw", lambda self, rows: raw(self, rows) * (1.0 - 1e-9))
    assert one_stream("made up", *stream(), window_size=100).difference > 0.0


def test_streams_are_read_from_the_folder(tmp_path: Path) -> None:
    assert streams(tmp_path) == []
    (tmp_path / "streams").mkdir()
    values, labels = stream(2, 1_400)
    columns = {"stream": ["one"] * 1_400, "value": values.tolist(), "is_anomaly": labels.astype(int).tolist()}
    pq.write_table(pa.table(columns), tmp_path / "streams" / "nab.parquet")
    (one,) = streams(tmp_path)
    assert (one.name, one.difference) == ("one", 0.0)
    (tmp_path / "streams" / "nab.parquet").write_bytes(b"no parquet")
    with pytest.raises(DatasetError, match="nab"):
        streams(tmp_path)


def test_a_splice_goes_on_where_the_hand_was() -> None:
    one, two = recording(1, 70.0), recording(2, 70.0)
    found = spliced(one, two)
    assert (np.diff(found.t_ms) >= 0.0).all()
    seam = int(np.searchsorted(found.t_ms, SPLICE_S * 1000.0))
    assert np.hypot(*(np.diff(c)[seam - 1] for c in (found.x, found.y))) == 0.0
    assert np.array_equal(found.x[:seam], one.x[: len(found.x[:seam])])
    assert found.duration_ms == pytest.approx((SPLICE_S + 60.0) * 1000.0, rel=0.01)
    assert len(slices(found)) == int((found.duration_ms / 1000.0 - SLICE_S) // STEP_S) + 1


def test_drift_is_small_for_who_stays_and_large_for_who_comes() -> None:
    rng = np.random.default_rng(3)
    n, begin = 23, 11
    same = rng.normal(0.0, 1.0, (n, 30))
    other = same.copy()
    other[begin + 1 :, :15] += 4.0
    spread = np.ones(30)
    calm, moved = own_drift(same, spread), own_drift(other, spread)
    assert np.array_equal(calm[:begin], moved[:begin], equal_nan=True)
    assert moved[begin + 3] > calm[begin + 3] + 1.0
    naive = np.minimum(np.abs(other[14:16].mean(axis=0) - other[:begin].mean(axis=0)), 4.0).mean()
    assert moved[15] == pytest.approx(naive)
    assert np.isnan(own_drift(np.full((n, 30), np.nan), spread)).all()


def test_rise_and_delay_count_from_the_seam() -> None:
    at = np.arange(0.0, 130.0, 5.0)
    values = np.where(at > 80.0, 0.9, 0.2)
    values[3] = 5.0
    assert _rise(at, values) == pytest.approx(0.7)
    assert _delay(at, values, 0.5) == 85.0 - SPLICE_S
    assert _delay(at, values, 0.8) is None
    assert np.isnan(_rise(at[:10], values[:10]))


class Scores:
    """A model that says bot once the vector's session lasts longer than the seam."""

    def __init__(self, column: int) -> None:
        self.column = column

    def raw(self, rows: np.ndarray) -> np.ndarray:
        return (rows[:, self.column] > SPLICE_S).astype(float) * 0.5


def test_takeovers_are_judged_against_who_stays() -> None:
    samples = [
        Sample(replace(recording(k, 65.0), session_id=f"s-{k}"), int(k >= 12), "one", "one",
               f"p{k % 6}" if k < 12 else None, "a bot" if k >= 12 else None)
        for k in range(15)
    ]  # fmt: skip
    made = splice(samples, most=8)
    assert {one.kind for one in made} == {OWN, "another person", "bot"}
    assert all(isinstance(one, Spliced) for one in made)
    model = Scores(0)
    found = takeovers("one", made, model, model)  # type: ignore[arg-type]
    assert {(one.kind, one.statistic) for one in found} == {
        (kind, name) for kind in ("another person", "bot") for name in ("bot score", "anomaly score", DRIFT)
    }
    by_score = next(one for one in found if one.kind == "bot" and one.statistic == "bot score")
    assert (by_score.sessions, by_score.controls, by_score.auc, by_score.found) == (8, 8, 0.5, 0.0)
    one_person = [one for one in made if one.person == made[0].person]
    assert takeovers("one", one_person, model, model) == []  # type: ignore[arg-type]
    assert "| `one` | bot | bot score | 8 (8) | 0.500 | 0.00 | n=0 |" in takeovers_text(found)
