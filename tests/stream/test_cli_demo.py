"""`tellwire demo` finds out what it can't use before it starts anything; processes leave no folders behind."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from stream.cli import app
from stream.cli.failures import CommandError, exit_code_and_line
from stream.demo.run import Demo
from stream.process import make_app
from stream.settings import KafkaSettings, SettingsError
from tests.models.recordings import folder


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--data", "{work}"], "has no sessions.parquet"),
        (["--data", "{work}/none"], "has no session"),
        (["--data", "{work}/damaged"], "damaged/sessions.parquet cannot be read as parquet"),
        (["--redis", "http://127.0.0.1:1"], "--redis: the Redis URL is not valid: redis://, rediss:// or unix://"),
        (["--redis", "redis://:hidden@127.0.0.1:port/0"], "--redis: the Redis URL is not valid"),
    ],
)
def test_wrong_usage_is_one_line_before_anything_is_started(
    tmp_path: Path, arguments: list[str], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stream.demo.run.Demo.run", lambda *_: pytest.fail("the demo was started"))
    folder(tmp_path / "none", [])
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "sessions.parquet").write_text("x" * 100)
    done = CliRunner().invoke(app, ["demo", *(argument.format(work=tmp_path) for argument in arguments)])
    assert isinstance(done.exception, CommandError), done.output
    code, text = exit_code_and_line(done.exception)
    assert code == 2
    assert text is not None
    assert "\n" not in text
    assert words in text
    assert "hidden" not in text


APP = """
import asyncio, os, pathlib, sys
from stream.process import make_app
from stream.settings import KafkaSettings
app = make_app(KafkaSettings(bootstrap_servers="127.0.0.1:1"), "tellwire")
app.finalize()
app._create_directories()  # what Faust does when it starts
assert app.conf.tabledir.is_dir()
print(app.conf.datadir)
"""


def test_fausts_folders_are_made_elsewhere_and_go_with_the_process(tmp_path: Path) -> None:
    working = tmp_path / "working"
    working.mkdir()
    working.chmod(0o555)
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    root = str(Path(__file__).resolve().parents[2])
    done = subprocess.run(
        [sys.executable, "-c", APP],
        cwd=working, env={**os.environ, "PYTHONPATH": root, "TMPDIR": str(temporary)},
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    assert Path(done.stdout.strip()).parent == temporary
    assert list(working.iterdir()) == []
    assert list(temporary.iterdir()) == []


def test_without_a_temporary_folder_a_process_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "nowhere"))
    with pytest.raises(
        SettingsError, match=r"^no temporary folder can be made \(No such file or directory\): .*TMPDIR"
    ):
        make_app(KafkaSettings(bootstrap_servers="127.0.0.1:1"), "tellwire")


@pytest.mark.parametrize("command", ["config show", "features list", "--help"])
def test_a_reader_who_goes_away_is_no_failure(command: str) -> None:
    script = f"{sys.executable} -m stream {command} | true; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=120, check=True)
    assert (done.stdout, done.stderr) == ("0\n", "")


def test_the_demos_console_tells_of_a_reader_who_went_away(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(demo: Demo) -> int:
        demo.console.on_broken_pipe()
        return 0

    monkeypatch.setattr(Demo, "run", run)
    assert isinstance(CliRunner().invoke(app, ["demo"]).exception, BrokenPipeError)
