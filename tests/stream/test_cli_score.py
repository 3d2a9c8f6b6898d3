"""`tellwire score` with paths that lead nowhere, files that are something else, and discs that are full."""

import contextlib
import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from typer.testing import CliRunner

from models.dataset import DatasetError, read_recordings
from models.offline_table import open_table
from models.train_vectors import events_of
from stream.cli import app
from stream.cli.failures import CommandError, exit_code_and_line
from tests.models.recordings import folder, row

FULL = Path("/dev/full")


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """A folder with one of everything."""
    data = folder(tmp_path / "data", [row("s", "somewhere", 1, seconds=3.0)])
    events = events_of(next(iter(read_recordings(data))))
    (tmp_path / "ok.jsonl").write_bytes(b"\n".join(msgspec.json.encode(event) for event in events))
    (tmp_path / "x.txt").write_text("x")
    (tmp_path / "bad.jsonl.gz").write_text("x")
    (tmp_path / "deep.jsonl").write_text("[" * 100_000)
    (tmp_path / "empty.jsonl").write_text("\n")
    os.mkfifo(tmp_path / "pipe.ndjson")
    folder(tmp_path / "none", [])
    return tmp_path


def told(work: Path, *arguments: str) -> tuple[int, str]:
    """Exit code and message of a command that fails."""
    done = CliRunner().invoke(app, ["score", *(argument.format(work=work) for argument in arguments)])
    assert isinstance(done.exception, CommandError), done.output
    code, text = exit_code_and_line(done.exception)
    assert text is not None
    assert "\n" not in text
    return code, text


@pytest.mark.parametrize(
    ("path", "out", "words"),
    [
        ("missing.jsonl", "o.csv", "missing.jsonl: not found"),
        ("missing", "o.csv", "missing: not found"),
        ("x.txt", "o.csv", "ends in .jsonl or .ndjson (also .gz), recorded sessions in a folder with sessions.parquet"),
        ("pipe.ndjson", "o.csv", "pipe.ndjson is neither a regular file nor a folder"),
        ("none", "o.csv", "sessions.parquet has no session"),
        ("ok.jsonl", "o.txt", "o.txt: the output's name must end in .parquet or .csv"),
        ("ok.jsonl", "nope/x.csv", "nope/x.csv cannot be written: there is no folder"),
        ("ok.jsonl", "x.txt/x.csv", "there is no folder"),
        ("ok.jsonl", "l" * 300 + ".csv", "cannot be written: File name too long"),
        ("data", "data/sessions.parquet", "sessions.parquet is what is to be scored"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_2_before_the_models_load(
    work: Path, path: str, out: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("models.engine.Engine.load", lambda *_, **__: pytest.fail("the models were loaded"))
    before = (work / "data" / "sessions.parquet").read_bytes()
    code, text = told(work, f"{{work}}/{path}", "--out", f"{{work}}/{out}")
    assert code == 2
    assert words in text
    assert (work / "data" / "sessions.parquet").read_bytes() == before


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("bad.jsonl.gz", "bad.jsonl.gz cannot be read as gzip"),
        ("deep.jsonl", "deep.jsonl line 1, $: arrays and objects nest deeper than"),
        ("empty.jsonl", "empty.jsonl: there is no telemetry in it"),
    ],
)
def test_what_is_found_while_reading_is_one_line_and_exit_1(work: Path, path: str, words: str) -> None:
    code, text = told(work, f"{{work}}/{path}", "--out", "{work}/o.csv")
    assert code == 1
    assert words in text


@pytest.mark.parametrize("name", ["o.csv", "o.parquet"])
@pytest.mark.parametrize(
    ("path", "more", "wanted"),
    [("ok.jsonl", ["--policy", "{work}/x.txt"], 2), ("deep.jsonl", [], 1), ("empty.jsonl", [], 1)],
)
def test_a_failure_leaves_an_earlier_table_as_it_is(
    work: Path, path: str, more: list[str], wanted: int, name: str
) -> None:
    (work / name).write_text("earlier")
    before = set(work.iterdir())
    arguments = ["score", f"{{work}}/{path}", "--out", f"{{work}}/{name}", *more]
    done = CliRunner().invoke(app, [argument.format(work=work) for argument in arguments])
    assert done.exception is not None
    code, _ = exit_code_and_line(done.exception)
    assert code == wanted
    assert (work / name).read_text() == "earlier"
    assert set(work.iterdir()) == before


@pytest.mark.parametrize("name", ["o.csv", "o.parquet"])
def test_a_table_replaces_an_earlier_one_through_a_link_and_leaves_nothing_beside(work: Path, name: str) -> None:
    (work / "elsewhere").mkdir()
    real = work / "elsewhere" / name
    real.write_text("earlier")
    (work / name).symlink_to(real)
    done = CliRunner().invoke(app, ["score", str(work / "ok.jsonl"), "--out", str(work / name)])
    assert done.exit_code == 0, done.output
    assert (work / name).is_symlink()
    assert b"session_id" in real.read_bytes()
    assert list((work / "elsewhere").iterdir()) == [real]


@pytest.mark.skipif(not FULL.exists(), reason="this system has no /dev/full")
@pytest.mark.parametrize("name", ["o.csv", "o.parquet"])
def test_a_full_disc_is_one_line(work: Path, name: str) -> None:
    (work / name).symlink_to(FULL)
    code, text = told(work, "{work}/ok.jsonl", "--out", f"{{work}}/{name}")
    assert code == 1
    assert f"{name} cannot be written: " in text
    assert "No space left on device" in text


@pytest.mark.skipif(not FULL.exists(), reason="this system has no /dev/full")
def test_a_full_disc_does_not_hide_an_earlier_failure(tmp_path: Path) -> None:
    (tmp_path / "o.csv").symlink_to(FULL)
    with pytest.raises(DatasetError, match="line 7"), open_table(tmp_path / "o.csv"):
        raise DatasetError("line 7")


@pytest.mark.parametrize("name", ["x.csv", "x.parquet"])
def test_a_folder_that_takes_no_file_is_one_line(name: str) -> None:
    with pytest.raises(DatasetError, match=rf"/proc/{name} cannot be written: ") as error, contextlib.ExitStack() as on:
        on.enter_context(open_table(Path("/proc") / name))
    assert "\n" not in str(error.value)


def test_as_a_program_runs_it(work: Path) -> None:
    """The whole way: nothing but one line on standard error, and the exit code."""
    for path, out, code in (("missing.jsonl", "o.csv", 2), ("bad.jsonl.gz", "o.csv", 1)):
        done = subprocess.run(
            [sys.executable, "-m", "stream", "score", str(work / path), "--out", str(work / out)],
            capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        assert done.returncode == code
        assert done.stdout == ""
        assert len(done.stderr.splitlines()) == 1
        assert done.stderr.startswith("tellwire: ")
