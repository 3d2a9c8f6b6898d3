"""The readers: recordings and truth apart, odd input bounded or refused with one line."""

import gzip
import os
from dataclasses import fields
from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from models import dataset
from models.dataset import (
    RECORDING_COLUMNS,
    DatasetError,
    Recording,
    check_recordings,
    count_recordings,
    is_records,
    read_recordings,
    read_records,
    read_truth,
)
from models.train_vectors import events_of
from tests.models.recordings import folder, row


@pytest.fixture
def rows() -> list[dict[str, object]]:
    return [
        row("a", "sapimouse", 1, user="p1"),
        row("b", "key_gen", 2, family="key_x", keys=12, pointer=False),
        row("c", "balabit", 3, user="p1", keys=5),
    ]


def test_reads_what_was_written(tmp_path: Path, rows: list[dict[str, object]]) -> None:
    found = list(read_recordings(folder(tmp_path, rows), batch_rows=2))
    assert count_recordings(tmp_path) == 3
    for recording, wanted in zip(found, rows, strict=True):
        assert recording.session_id == wanted["session_id"]
        assert recording.source == wanted["source"]
        assert recording.t_ms.tolist() == wanted["t_ms"]
        assert recording.x.tolist() == wanted["x"]
        assert recording.kind.tolist() == wanted["kind"]
        assert recording.key_down_ms.tolist() == wanted["key_down_ms"]
        assert recording.key_class.tolist() == wanted["key_cat"]
        assert recording.viewport == (1280.0, 720.0)
    assert found[0].duration_ms == float(found[0].t_ms.max())


def test_truth_is_kept_apart(tmp_path: Path, rows: list[dict[str, object]]) -> None:
    truths = read_truth(folder(tmp_path, rows))
    assert truths["a"].person == "sapimouse/p1"
    assert truths["c"].person == "balabit/p1"
    assert (truths["b"].label, truths["b"].family, truths["b"].person) == (1, "key_x", None)
    names = {field.name for field in fields(Recording)}
    assert names.isdisjoint({"label", "bot_family", "family", "user_id", "person", "note", "capture"})


def test_scoring_asks_the_file_for_no_truth(
    tmp_path: Path, rows: list[dict[str, object]], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[list[str]] = []
    original = pq.ParquetFile.iter_batches

    def spy(self: object, *args: object, **kwargs: object) -> object:
        asked.append(kwargs["columns"])  # type: ignore[arg-type]
        return original(self, *args, **kwargs)

    monkeypatch.setattr(pq.ParquetFile, "iter_batches", spy)
    list(read_recordings(folder(tmp_path, rows)))
    assert asked
    assert set(asked[0]) <= set(RECORDING_COLUMNS)
    assert set(RECORDING_COLUMNS).isdisjoint({"label", "bot_family", "user_id", "note", "capture"})


def test_missing_columns_are_no_data(tmp_path: Path, rows: list[dict[str, object]]) -> None:
    dropped = ("source", "pointer_type", "viewport_w", "button", "key_up_ms", "label", "user_id", "bot_family", "note")
    found = list(read_recordings(folder(tmp_path, rows, drop=dropped)))
    assert found[0].source == "unknown"
    assert found[0].pointer_type == "unknown"
    assert found[0].viewport is None
    assert not found[0].button.any()
    assert np.isnan(found[1].key_up_ms).all()
    assert len(found[1].key_up_ms) == 12
    with pytest.raises(DatasetError, match="label"):
        read_truth(tmp_path)


def test_bad_samples_are_left_out_and_keys_put_in_order(tmp_path: Path) -> None:
    one = row("a", "s", 1, keys=6)
    one["x"][3] = float("nan")  # type: ignore[index]
    one["key_down_ms"] = [50.0, 10.0, float("nan"), 30.0, 40.0, 20.0]
    one["key_up_ms"] = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
    found = next(iter(read_recordings(folder(tmp_path, [one]))))
    assert len(found.t_ms) == len(one["t_ms"]) - 1  # type: ignore[arg-type]
    assert found.key_down_ms.tolist() == [10.0, 20.0, 30.0, 40.0, 50.0]
    assert found.key_up_ms.tolist() == [2.0, 6.0, 4.0, 5.0, 1.0]


def test_times_that_are_none_are_left_out(tmp_path: Path) -> None:
    one = row("a", "s", 1, keys=3)
    one["t_ms"] = [1e30, -1e30, float("inf"), *one["t_ms"][3:]]  # type: ignore[index]
    one["key_down_ms"] = [1e30, 10.0, 20.0]
    found = next(iter(read_recordings(folder(tmp_path, [one]))))
    assert len(found.t_ms) == len(one["t_ms"]) - 3  # type: ignore[arg-type]
    assert found.key_down_ms.tolist() == [10.0, 20.0]


def test_null_lists_are_empty(tmp_path: Path) -> None:
    one = row("a", "s", 1)
    one["key_down_ms"] = one["key_up_ms"] = one["key_cat"] = None
    found = next(iter(read_recordings(folder(tmp_path, [one]))))
    assert len(found.key_down_ms) == 0
    assert len(found.t_ms) > 100


@pytest.mark.parametrize("name", ["nothing", "text"])
def test_refuses_in_one_line(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if name == "text":
        path.write_text("no parquet")
    with pytest.raises(DatasetError) as error:
        list(read_recordings(path))
    assert "\n" not in str(error.value)


def test_says_which_extra_is_missing(
    tmp_path: Path, rows: list[dict[str, object]], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder(tmp_path, rows)
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(DatasetError, match="extra `train`"):
        list(dataset.read_recordings(tmp_path))


def _lines(tmp_path: Path, rows: list[dict[str, object]]) -> list[bytes]:
    recording = next(iter(read_recordings(folder(tmp_path / "data", rows))))
    return [msgspec.json.encode(event) for event in events_of(recording)]


@pytest.mark.parametrize("name", ["r.jsonl", "r.ndjson.gz"])
def test_records_round_trip(tmp_path: Path, rows: list[dict[str, object]], name: str) -> None:
    lines = _lines(tmp_path, rows)
    data = b"\n".join(lines) + b"\n\n"
    (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith("gz") else data)
    assert is_records(tmp_path / name)
    assert [msgspec.json.encode(event) for event in read_records(tmp_path / name)] == lines


def test_records_of_another_type_are_passed_over_and_bad_ones_named(
    tmp_path: Path, rows: list[dict[str, object]]
) -> None:
    lines = _lines(tmp_path, rows)
    path = tmp_path / "r.jsonl"
    path.write_bytes(b"\n".join([b'{"type": "risk.label.v1", "label_id": "x"}', lines[0]]))
    assert len(list(read_records(path))) == 1
    path.write_bytes(b"\n".join([lines[0], lines[1][:-20], lines[2]]))
    with pytest.raises(DatasetError, match="line 2"):
        list(read_records(path))


@pytest.mark.parametrize("name", ["deep.jsonl", "deep.jsonl.gz"])
@pytest.mark.parametrize(
    "line",
    [
        b"[" * 100_000,
        b"[" * 100_000 + b"]" * 100_000,
        b'{"a":' * 100_000,
        b'{"type":"capture.telemetry.v1","x":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"type":"risk.label.v1","x":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    ],
    ids=["open", "closed", "objects", "telemetry", "other"],
)
def test_a_line_nested_very_deep_is_named_not_a_crash(tmp_path: Path, name: str, line: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(gzip.compress(line) if name.endswith("gz") else line)
    with pytest.raises(DatasetError, match=r"deep\.jsonl(\.gz)? line 1, ") as error:
        list(read_records(path))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["long.jsonl", "long.jsonl.gz"])
def test_a_line_without_end_is_never_in_memory(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dataset, "MAX_LINE_BYTES", 10)
    lines = [b"short\n", b"x" * 10 + b"\n", b"y" * 33 + b"\n", b"z" * 22 + b"\n", b"\n", b"after\n", b"e" * 32]
    data = b"".join(lines)
    (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    found = list(dataset.lines_of(tmp_path / name))
    assert found == [(number, line[:11]) for number, line in enumerate(lines, start=1)]


def test_compressed_records_that_are_none_or_cut_off_or_damaged(tmp_path: Path, rows: list[dict[str, object]]) -> None:
    path = tmp_path / "r.jsonl.gz"
    whole = gzip.compress(b"\n".join(_lines(tmp_path, rows)))
    path.write_bytes(b"plain text")
    with pytest.raises(DatasetError, match=r"^r\.jsonl\.gz cannot be read as gzip: Not a gzipped file"):
        list(read_records(path))
    path.write_bytes(whole[: len(whole) // 2])
    read: list[object] = []
    with pytest.raises(DatasetError, match=r"cut off after line (\d+): its gzip stream has no end"):
        read.extend(read_records(path))
    damaged = bytearray(whole)
    damaged[-6] ^= 0xFF  # in the checksum
    path.write_bytes(damaged)
    with pytest.raises(DatasetError, match=r"is damaged after line \d+: CRC check failed"):
        list(read_records(path))


def test_paths_that_cannot_be_scored_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_text("{}")
    (tmp_path / "data" / "sessions.parquet").mkdir(parents=True)
    (tmp_path / "empty").mkdir()
    os.mkfifo(tmp_path / "pipe.jsonl")
    (tmp_path / "folder.jsonl").mkdir()
    for path, words in (
        (tmp_path / "missing.jsonl", "missing.jsonl: not found"),
        (tmp_path / "x.txt" / "y.jsonl", "Not a directory"),
        (tmp_path / ("a" * 300 + ".jsonl"), "File name too long"),
        (tmp_path / "x.txt", r"whose name ends in \.jsonl or \.ndjson \(also \.gz\), recorded sessions in a folder"),
        (tmp_path / "data", r"sessions\.parquet is not a regular file"),
        (tmp_path / "empty", r"empty has no sessions\.parquet"),
        (tmp_path / "folder.jsonl", r"folder\.jsonl has no sessions\.parquet"),
        (tmp_path / "pipe.jsonl", "neither a regular file nor a folder"),
        (Path("/dev/null"), "neither a regular file nor a folder"),
    ):
        with pytest.raises(DatasetError, match=words) as error:
            is_records(path)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("column", "values", "words"),
    [
        ("t_ms", ["1"], "column t_ms is string, wanted a list of numbers"),
        ("t_ms", [1.5], "column t_ms is double, wanted a list of numbers"),
        ("kind", [["down"]], r"column kind is list<.*string>, wanted a list of numbers"),
        ("viewport_w", ["wide"], "column viewport_w is string, wanted a number"),
    ],
)
def test_columns_of_another_kind_are_refused(
    tmp_path: Path, rows: list[dict[str, object]], column: str, values: list[object], words: str
) -> None:
    table = pq.read_table(folder(tmp_path, rows[:1]) / "sessions.parquet")
    table = table.set_column(table.schema.get_field_index(column), column, pa.array(values))
    pq.write_table(table, tmp_path / "sessions.parquet")
    with pytest.raises(DatasetError, match=words):
        check_recordings(tmp_path)
    with pytest.raises(DatasetError, match=words):
        next(read_recordings(tmp_path))


def test_a_column_without_a_type_is_no_data(tmp_path: Path, rows: list[dict[str, object]]) -> None:
    table = pq.read_table(folder(tmp_path, rows[:1]) / "sessions.parquet")
    for column in ("key_down_ms", "button", "viewport_w"):
        table = table.set_column(table.schema.get_field_index(column), column, pa.array([None]))
    pq.write_table(table, tmp_path / "sessions.parquet")
    check_recordings(tmp_path)
    (found,) = read_recordings(tmp_path)
    assert len(found.key_down_ms) == 0
    assert found.viewport is None
    assert len(found.t_ms) > 100


def test_a_folder_without_sessions_or_with_damaged_ones_is_refused(
    tmp_path: Path, rows: list[dict[str, object]]
) -> None:
    with pytest.raises(DatasetError, match=r"has no session$"):
        check_recordings(folder(tmp_path, []))
    file = folder(tmp_path, rows) / "sessions.parquet"
    whole = bytearray(file.read_bytes())
    whole[4 : len(whole) // 2] = bytes(len(whole) // 2 - 4)  # the footer, which is at the end, is as it was
    file.write_bytes(whole)
    with pytest.raises(DatasetError, match=r"sessions\.parquet cannot be read as parquet: ") as error:
        list(read_recordings(tmp_path))
    assert "\n" not in str(error.value)


def test_a_label_that_is_none_is_named(tmp_path: Path, rows: list[dict[str, object]]) -> None:
    rows[1]["label"] = None
    with pytest.raises(DatasetError, match="the label of session b is None, wanted 0 or 1"):
        read_truth(folder(tmp_path, rows))
