"""Offline scoring: the pipeline's scores, blind to labels, never ahead of the cut, whatever stands beside a session."""

import csv
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pyarrow.parquet as pq
import pytest

from features.fill import fill_context
from features.registry import INDEX, N_FEATURES
from features.session import Meta, columns_of, fold_chunk, new_states
from features.signals import derive_signals
from models.calibration import MIN_PEOPLE
from models.dataset import DatasetError, Recording, read_recordings
from models.engine import Assessment, Engine
from models.offline import Cut, OfflineScorer, ScoredCut, parse_cuts
from models.offline_table import NAMES, Value, open_table, row_of
from models.train_vectors import END, events_of, last_within
from schemas.telemetry import Telemetry
from tests.models.recordings import folder, recording, row

Row = dict[str, Value]
CUTS = parse_cuts("1,2,5,end")


@pytest.fixture(scope="module")
def shipped() -> Engine:
    return Engine.load()


def scored(
    engine: Engine, recordings: Iterable[Recording], cuts: tuple[Cut, ...] = CUTS, *, stream: bool = False
) -> list[Row]:
    found = OfflineScorer(engine, cuts, stream=stream).recordings(recordings)
    return [row_of(one) for rows in found for one in rows]


def test_a_naive_twin_gives_the_same(shipped: Engine) -> None:
    recordings = [recording(k, 4.0 + k, keys=12 * (k % 2), session_id=f"s{k}") for k in range(5)]
    wanted: list[Row] = []
    for one in recordings:
        meta, state = Meta(), new_states(1)
        history: list[tuple[float, Assessment]] = []
        for event in events_of(one):
            out = np.full((1, N_FEATURES), np.nan)
            meta.mark(event.sequence)
            meta.observe(event, event.observed_at)
            fold_chunk(state, np.zeros(1, dtype=np.int32), columns_of([event]), out)
            fill_context(out[0], meta)
            signals = derive_signals(event, meta, out[0])
            raw = shipped.raw(out, [meta.flow], [signals], None)
            assessment = shipped.assess(out[0], raw[0], meta, signals, {}, (), None)
            history.append((float(out[0, INDEX["session_observed_s"]]), assessment))
        for cut in CUTS:
            within = [h for h in history if h[0] <= cut.seconds]
            observed, last = within[-1] if within else (0.0, None)
            wanted.append(row_of(ScoredCut(one.session_id, cut, observed, last)))
    assert scored(shipped, recordings) == wanted


def test_labels_users_notes_and_ids_change_nothing(shipped: Engine, tmp_path: Path) -> None:
    rows = [row(f"x-{k}", "sapimouse", k, user=f"u{k}", keys=10 * (k % 2)) for k in range(6)]
    rows += [row(f"bot-{k}", "sapimouse", 50 + k, family="pyclick") for k in range(3)]
    plain = scored(shipped, read_recordings(folder(tmp_path / "a", rows)))
    permuted = [dict(r) for r in rows]
    for r, other in zip(permuted, [*rows[4:], *rows[:4]], strict=True):
        for name in ("label", "bot_family", "user_id", "note", "capture"):
            r[name] = other[name]
    assert scored(shipped, read_recordings(folder(tmp_path / "b", permuted))) == plain
    gone = ("label", "bot_family", "user_id", "note", "capture", "n_pointer", "n_key", "duration_ms")
    assert scored(shipped, read_recordings(folder(tmp_path / "c", rows, drop=gone))) == plain
    renamed = [dict(r, session_id=f"{900 - k}") for k, r in enumerate(rows)]
    again = scored(shipped, read_recordings(folder(tmp_path / "d", renamed)))
    assert [{**r, "session_id": None} for r in again] == [{**r, "session_id": None} for r in plain]
    nameless = scored(shipped, read_recordings(folder(tmp_path / "e", rows, drop=("session_id",))))
    assert nameless[-1]["session_id"] == "row-8"
    same_name = scored(shipped, read_recordings(folder(tmp_path / "f", [dict(r, session_id="x") for r in rows])))
    for found in (nameless, same_name):
        assert [{**r, "session_id": None} for r in found] == [{**r, "session_id": None} for r in plain]


@pytest.mark.parametrize("seed", range(4))
def test_never_looks_beyond_a_cut(shipped: Engine, seed: int) -> None:
    whole = recording(seed, 8.0, keys=20)
    for cut in CUTS[:3]:
        keep, keys = whole.t_ms < cut.seconds * 1000.0, whole.key_down_ms < cut.seconds * 1000.0
        late = whole.key_up_ms >= cut.seconds * 1000.0
        # What happens after the cut is replaced by something else altogether.
        other = replace(
            whole,
            x=np.where(keep, whole.x, whole.x[::-1]),
            y=np.where(keep, whole.y, 7.0),
            key_class=np.where(keys, whole.key_class, 5),
            key_up_ms=np.where(late, np.nan, whole.key_up_ms) if not late[keys].any() else whole.key_up_ms,
        )
        mine, theirs = (next(r for r in scored(shipped, [r0]) if r["at"] == cut.name) for r0 in (whole, other))
        assert mine == theirs
        observed = mine["observed_s"]
        assert isinstance(observed, float)
        assert observed <= cut.seconds


def test_neighbours_and_order_change_nothing_when_stateless(shipped: Engine) -> None:
    recordings = [recording(k, 3.0 + k % 3, session_id=f"s{k}") for k in range(300)]
    together = scored(shipped, recordings)
    alone = [r for k in (0, 17, 255, 256, 299) for r in scored(shipped, [recordings[k]])]
    ids = {r["session_id"] for r in alone}
    assert [r for r in together if r["session_id"] in ids] == alone
    backwards = scored(shipped, recordings[::-1])
    key = lambda r: (r["session_id"], r["at"])  # noqa: E731
    assert sorted(backwards, key=key) == sorted(together, key=key)


def _interleaved(recordings: list[Recording], rng: np.random.Generator) -> list[Telemetry]:
    queues = [events_of(one) for one in recordings]
    found: list[Telemetry] = []
    while any(queues):
        queue = queues[rng.integers(len(queues))]
        if queue:
            found.append(queue.pop(0))
    return found


def test_records_give_what_recordings_give(shipped: Engine) -> None:
    recordings = [recording(k, 4.0, keys=8, session_id=f"s{k}") for k in range(9)]
    wanted = {(r["session_id"], r["at"]): r for r in scored(shipped, recordings)}
    events = _interleaved(recordings, np.random.default_rng(3))
    # Through the wire, and with repeats.
    events = [msgspec.json.decode(msgspec.json.encode(e), type=Telemetry) for e in events]
    repeated = [e for event in events for e in ((event, event) if event.sequence % 3 == 1 else (event,))]
    scorer = OfflineScorer(shipped, CUTS)
    found = {(r["session_id"], r["at"]): r for rows in scorer.records(repeated) for r in map(row_of, rows)}
    assert found == wanted
    assert scorer.repeats_total + scorer.after_end_total == sum(e.sequence % 3 == 1 for e in events)
    assert scorer.after_end_total == sum(e.sequence % 3 == 1 and e.end is not None for e in events)
    assert scorer.sessions_total == len(recordings)
    assert scorer.events_total == len(events)


def test_open_sessions_are_bounded(shipped: Engine) -> None:
    events = [events_of(recording(k, 2.0, session_id=f"s{k}"))[0] for k in range(40)]
    scorer = OfflineScorer(shipped, CUTS, max_open=8)
    rows = [one for rows in scorer.records(events) for one in rows]
    assert len({one.session_id for one in rows}) == 40
    assert scorer.closed_early_total == 32
    assert len(scorer._states) == 64


def test_a_session_of_which_nothing_was_seen_by_the_cut(shipped: Engine) -> None:
    late = recording(1, 3.0)
    late = replace(late, t_ms=late.t_ms + 1_400.0)
    rows = scored(shipped, [late], parse_cuts("0.1,end"))
    assert (rows[0]["observed_s"], rows[0]["overall"], rows[0]["decision"], rows[0]["bot_score"]) == (
        0.0,
        0.0,
        "allow",
        None,
    )
    assert rows[1]["bot_score"] is not None
    empty = replace(
        late, t_ms=np.zeros(0), x=np.zeros(0), y=np.zeros(0), kind=np.zeros(0, int), button=np.zeros(0, int)
    )
    assert [r["decision"] for r in scored(shipped, [empty])] == ["allow"] * len(CUTS)


def test_stream_learns_in_order_and_repeats_exactly(shipped: Engine) -> None:
    recordings = [recording(k, 4.0, session_id=f"s{k}") for k in range(MIN_PEOPLE + 80)]
    first = scored(shipped, recordings, stream=True)
    assert scored(shipped, recordings, stream=True) == first
    alone = scored(shipped, recordings)
    early = 4 * MIN_PEOPLE
    assert first[: early - 60] == alone[: early - 60]
    states = [r["bot_calibration_state"] for r in first if r["at"] == "end"]
    assert states[0] == "prior"
    assert states[-1] == "live"
    cell = first[-1]["bot_calibration_cell"]
    assert isinstance(cell, str)
    assert "somewhere" in cell
    # People of the source at hand now rank among each other: a sixth at most lies in the top tenth.
    late = np.asarray([r["bot_score"] for r in first if r["at"] == "end"][-60:], dtype=float)
    assert (late >= 0.9).mean() <= 1 / 6
    backwards = scored(shipped, recordings[::-1], stream=True)
    assert backwards != first


def test_cuts() -> None:
    assert [(c.name, c.seconds) for c in parse_cuts("end, 5,1")] == [("1", 1.0), ("5", 5.0), ("end", END)]
    for bad in ("", "0", "-1", "x", "1,,2", "1,1.0", "1e9", "nan"):
        with pytest.raises(ValueError):  # noqa: PT011
            parse_cuts(bad)
    assert last_within(np.array([0.4, 1.0, 1.2]), (0.3, 1.0, END)).tolist() == [-1, 1, 2]


def test_parquet_and_csv_hold_the_same(shipped: Engine, tmp_path: Path) -> None:
    recordings = [recording(k, 3.0, session_id=f"s,{k}") for k in range(3)]
    for name in ("o.csv", "o.parquet"):
        with open_table(tmp_path / name) as table:
            for rows in OfflineScorer(shipped, CUTS).recordings(recordings):
                table.write(rows)
    columns = pq.read_table(tmp_path / "o.parquet").to_pylist()
    with (tmp_path / "o.csv").open() as file:
        read = list(csv.DictReader(file))
    assert list(read[0]) == list(NAMES) == list(columns[0])
    assert len(read) == len(columns) == 12
    for a, b in zip(read, columns, strict=True):
        assert a == {k: "" if v is None else str(v) for k, v in b.items()}
    with pytest.raises(DatasetError, match=r"\.parquet or \.csv"):
        open_table(tmp_path / "o.txt")
    with pytest.raises(DatasetError, match="there is no folder"):
        open_table(tmp_path / "nowhere" / "o.csv")
