"""The commands train, evaluate and score as a person or a program meets them."""

import csv
import json
from pathlib import Path

import msgspec
import pytest
from typer.testing import CliRunner

from stream.cli import app
from stream.cli.failures import CommandError, exit_code_and_line
from stream.simulation.injections import known_results
from tests.models.recordings import folder, row


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return folder(tmp_path / "data", [row(f"s{k}", "somewhere", k, seconds=3.0) for k in range(4)])


def test_score_writes_a_table_and_says_what_it_did(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "o.csv"
    done = CliRunner().invoke(app, ["score", str(data), "--out", str(out), "--at", "1,end", "--json"])
    assert done.exit_code == 0, done.output
    summary = json.loads(done.stdout)
    assert (summary["sessions"], summary["rows"], summary["mode"]) == (4, 8, "stateless")
    assert sum(summary["decisions_at_last_cut"].values()) == 4
    with out.open() as file:
        rows = list(csv.DictReader(file))
    assert [r["at"] for r in rows] == ["1", "end"] * 4
    assert all(r["bot_raw"] for r in rows if r["at"] == "end")
    again = CliRunner().invoke(app, ["score", str(data), "--out", str(tmp_path / "p.parquet"), "--stream"])
    assert again.exit_code == 0
    assert again.stdout.startswith("4 sessions, ")


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["train", "--data", "{data}/nowhere"], "nowhere: not found"),
        (["train", "--data", "{data}/.."], "has no sessions.parquet"),
        (["evaluate", "--data", "{data}/nowhere"], "nowhere: not found"),
        (
            ["train", "--data", "{data}", "--out", "{data}/sessions.parquet"],
            "sessions.parquet is a file: a folder is needed",
        ),
        (["train", "--data", "{data}", "--out", "{data}/sessions.parquet/in/it"], "sessions.parquet is a file"),
        (["evaluate", "--data", "{data}", "--out", "{data}/sessions.parquet"], "sessions.parquet is a file"),
        (["evaluate", "--data", "{data}", "--cards", "{data}/sessions.parquet"], "sessions.parquet is a file"),
        (["train", "--data", "{data}", "--out", "{data}/" + "x" * 300], "File name too long"),
        (["evaluate", "--results", "{data}/none.jsonl"], "none.jsonl cannot be read: No such file or directory"),
        (["evaluate", "--results", "{data}/sessions.parquet"], "sessions.parquet, line 1: "),
    ],
)
def test_what_cannot_be_begun_is_one_line_before_any_work(
    data: Path, arguments: list[str], line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for work in ("models.train.train", "models.evaluate.evaluate"):
        monkeypatch.setattr(work, lambda *_: pytest.fail("the work was begun"))
    done = CliRunner().invoke(app, [argument.format(data=data) for argument in arguments])
    assert isinstance(done.exception, CommandError)
    code, text = exit_code_and_line(done.exception)
    assert code == 2
    assert text is not None
    assert "\n" not in text
    assert line in text


def test_results_that_cannot_be_written_are_one_line(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device", "artifacts/x.txt")

    monkeypatch.setattr("models.train.train", full)
    done = CliRunner().invoke(app, ["train", "--data", str(data), "--out", str(data / "out")])
    assert isinstance(done.exception, CommandError)
    assert exit_code_and_line(done.exception) == (1, "artifacts/x.txt cannot be written: No space left on device")


@pytest.mark.parametrize("wrong", [["--at", "1,x"], ["--flow", "nowhere"], ["--at", ""]])
def test_wrong_usage_has_its_own_exit_code(data: Path, wrong: list[str]) -> None:
    done = CliRunner().invoke(app, ["score", str(data), "--out", str(data / "o.csv"), *wrong])
    assert done.exit_code == 2


def test_a_check_of_a_quick_run_makes_no_sense(data: Path) -> None:
    done = CliRunner().invoke(app, ["train", "--data", str(data), "--quick", "--check"])
    assert done.exit_code == 2


def test_results_of_known_truth_are_told_as_their_standards_have_it(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    path.write_bytes(b"\n".join(msgspec.json.encode(one) for one in known_results(40, 10)))
    done = CliRunner().invoke(app, ["evaluate", "--results", str(path)])
    assert done.exit_code == 0
    assert "| pad | simulated | APCER 0.000 (0.000 to 0.278), 0 of 10: screen_to_camera | BPCER " in done.stdout
    done = CliRunner().invoke(app, ["evaluate", "--results", str(path), "--json"])
    found = {one["kind"]: one for one in msgspec.json.decode(done.stdout)}
    assert found["pad"]["accepted"] == {"screen_to_camera": {"count": 0, "of": 10}}
    path.write_bytes(b"\n")
    done = CliRunner().invoke(app, ["evaluate", "--results", str(path)])
    assert exit_code_and_line(done.exception)[1] is not None  # type: ignore[arg-type]
    assert "holds no result about a capture" in str(done.exception)
