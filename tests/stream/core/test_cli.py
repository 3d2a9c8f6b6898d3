"""The command line: what is printed where, and with which exit code."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from features.registry import FEATURES, REGISTRY_HASH
from models.errors import ArtifactError, PolicyError
from stream import __version__, cli, settings, settings_source, topics
from stream.cli import app
from stream.cli.failures import CommandError, exit_code_and_line
from stream.cli.listing import GAP, Listing
from stream.exit_status import EXIT_CODES
from stream.settings import SettingsError
from stream.state import StoreUnavailable
from stream.topics import BrokerError
from stream.transport import TransportConfigurationError, TransportFatalError

SECRET = "s3cret-that-must-not-show"


@pytest.fixture(autouse=True)
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.delenv("FORCE_COLOR", raising=False)


def run(*arguments: str) -> tuple[int, str, str]:
    done = CliRunner().invoke(app, arguments)
    return done.exit_code, done.stdout, done.stderr


def main(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int | str | None:
    """Run as the console script does; return the exit code."""
    monkeypatch.setattr(sys, "argv", ["tellwire", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return ended.value.code


class TestConfigShow:
    def test_it_fits_80_columns_and_breaks_no_name(self) -> None:
        code, text, _ = run("config", "show")
        assert code == 0
        lines = text.splitlines()
        assert max(len(line) for line in lines) <= 80
        for section, name, _ in settings.declared():
            assert f"[{section}]" in lines
            assert any(line.split(" ")[0] == name for line in lines)

    def test_it_says_where_a_value_comes_from(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        path = tmp_path / "t.toml"
        path.write_text("[kafka]\nlearner_group = 'other'\n")
        monkeypatch.setenv("TELLWIRE_KAFKA__GROUP", "a-name-that-is-longer-than-its-column")
        _, text, _ = run("config", "show", "--config", str(path))
        lines = [line.split() for line in text.splitlines()]
        assert ["group", "a-name-that-is-longer-than-its-column"] in lines
        assert any(line[:2] == ["learner_group", "other"] and "(file)" in line for line in lines)
        assert text.count("(environment) ") == 1 + 1  # the value, and the legend

    def test_json_has_every_setting_and_no_secret(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("TELLWIRE_KEYS__REF_KEY", SECRET)
        monkeypatch.setenv("TELLWIRE_REDIS__URL", f"redis://:{SECRET}@h")
        code, text, _ = run("config", "show", "--json")
        assert code == 0
        found = {row["name"]: row for row in json.loads(text)}
        assert set(found) == {f"{section}.{name}" for section, name, _ in settings.declared()}
        assert found["keys.ref_key"] == {
            "name": "keys.ref_key",
            "variable": "TELLWIRE_KEYS__REF_KEY",
            "value": "********",
            "origin": "environment",
        }
        assert SECRET not in text + run("config", "show")[1]

    def test_a_wrong_setting_is_exit_2_with_one_line(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setenv("TELLWIRE_METRICS__PORT", "x")
        monkeypatch.setenv("TELLWIRE_LOG__LEVEL", "loud")
        assert main(monkeypatch, "config", "show") == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert [line.split(" ")[:2] for line in err.splitlines()] == [
            ["tellwire:", "metrics.port"],
            ["tellwire:", "log.level"],
        ]


class TestFeaturesList:
    def test_json_is_the_registry_in_order(self) -> None:
        code, text, _ = run("features", "list", "--json")
        assert code == 0
        assert [row["name"] for row in json.loads(text)] == [feature.name for feature in FEATURES]

    def test_a_family_alone(self) -> None:
        code, text, _ = run("features", "list", "--family", "keystroke", "--json")
        assert code == 0
        assert {row["family"] for row in json.loads(text)} == {"keystroke"}
        code, text, _ = run("features", "list", "--family", "keystroke")
        chosen = [feature for feature in FEATURES if feature.family == "keystroke"]
        assert code == 0
        assert [line for line in text.splitlines() if line.startswith("[")] == ["[keystroke]"]
        assert f"{len(chosen)} features; registry {REGISTRY_HASH[:12]}" in text

    def test_the_table_fits_80_columns_and_breaks_no_name(self) -> None:
        code, text, _ = run("features", "list")
        assert code == 0
        firsts = [line.split(" ")[0] for line in text.splitlines() if line and not line.startswith((" ", "["))]
        assert firsts[1:-1] == [feature.name for feature in FEATURES]
        assert max(len(line) for line in text.splitlines()) <= 80

    def test_an_unknown_family_is_wrong_usage_and_names_the_known(self) -> None:
        code, out, err = run("features", "list", "--family", "nonsense")
        assert code == 2
        assert out == ""
        words = " ".join(err.replace("│", " ").split())
        assert "no such family: nonsense" in words
        assert "pointer, keystroke" in words


@pytest.mark.parametrize("arguments", [("nonsense",), ("topics", "nonsense"), ("config", "show", "--nonsense")])
def test_wrong_usage_is_exit_2_on_standard_error(arguments: tuple[str, ...]) -> None:
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert "nonsense" in err


def test_version_and_help() -> None:
    assert run("--version")[:2] == (0, f"tellwire {__version__}\n")
    code, text, _ = run("-h")
    assert code == 0
    assert all(name in text for name in ("demo", "worker", "learner", "score", "train", "evaluate", "topics", "config"))


@pytest.mark.parametrize("command", ["worker", "learner"])
def test_a_process_that_cannot_start_says_why_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    monkeypatch.setattr(topics, "TIMEOUT_S", 0.3)
    monkeypatch.setattr("stream.logs.configure", lambda _: None)
    monkeypatch.setattr("stream.stopping.Stop.install", lambda _: None)
    monkeypatch.setattr("stream.app.warm_up", lambda: None)
    monkeypatch.setenv("TELLWIRE_KAFKA__BOOTSTRAP_SERVERS", "127.0.0.1:1")
    if command == "worker":
        assert main(monkeypatch, command) == 2
        assert capsys.readouterr().err.startswith("tellwire: keys.ref_key (TELLWIRE_KEYS__REF_KEY): not set")
        monkeypatch.setenv("TELLWIRE_KEYS__REF_KEY", SECRET)
    assert main(monkeypatch, command) == 1
    err = capsys.readouterr().err
    assert re.match(r"tellwire: broker 127\.0\.0\.1:1: .*Connection refused; is it running", err)
    assert err.count("\n") == 1
    monkeypatch.setenv("TELLWIRE_ARTEFACTS__DIRECTORY", "/nonexistent")
    assert main(monkeypatch, command) == 1
    assert "/nonexistent" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (SettingsError("a"), 2),
        (PolicyError("a"), 2),
        (TransportConfigurationError("a"), 2),
        (CommandError("a"), 1),
        (BrokerError("a"), 1),
        (ArtifactError("a"), 1),
        (StoreUnavailable("a"), 1),
        (TransportFatalError("a"), 1),
    ],
)
def test_known_failures_have_their_code_and_line(error: Exception, code: int) -> None:
    assert exit_code_and_line(error) == (code, "a")
    assert code in EXIT_CODES


def _raises(error: BaseException) -> Callable[..., None]:
    def load(*_: object) -> None:
        raise error

    return load


def test_a_defect_keeps_its_trace_and_an_interruption_its_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings_source, "load", _raises(ZeroDivisionError("a defect")))
    monkeypatch.setattr(sys, "argv", ["tellwire", "config", "show"])
    with pytest.raises(ZeroDivisionError):
        cli.main()
    monkeypatch.setattr(settings_source, "load", _raises(KeyboardInterrupt()))
    assert main(monkeypatch, "config", "show") == 130


def test_help_is_quick_because_nothing_heavy_is_imported() -> None:
    seen = "import sys, stream.cli; print(*sorted({n.split('.')[0] for n in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", seen], capture_output=True, text=True, check=True)
    assert not {"numpy", "numba", "faust", "confluent_kafka", "redis", "river", "pydantic"} & set(done.stdout.split())


def test_it_runs_as_a_module_and_a_closed_pipe_is_no_trace() -> None:
    shell = f"{sys.executable} -m stream features list | head -n 1"
    done = subprocess.run(["sh", "-c", shell], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("feature")
    assert done.stderr == ""


class TestListing:
    def test_names_stay_whole_and_only_the_meaning_wraps(self) -> None:
        listing = Listing("name", "value", "meaning")
        listing.add("[a]", "x", "1", "words " * 20)
        listing.add("[a]", "longer_name", "a value that is longer than the column", "few words")
        listing.add("[b]", "y", "", "")
        lines = [line for line, _ in listing.lines(60)]
        start = len("longer_name") + GAP + 20 + GAP
        assert lines[:3] == ["name".ljust(11 + GAP) + "value".ljust(20 + GAP) + "meaning", "", "[a]"]
        assert lines[3].startswith("x            1")
        assert {line[:start].strip() for line in lines[4:7]} == {""}
        at = lines.index("longer_name  a value that is longer than the column")
        assert lines[at + 1] == " " * start + "few words"
        assert lines[at + 2 :] == ["", "[b]", "y"]

    @pytest.mark.parametrize("width", [1, 40, 80, 200])
    def test_no_line_is_wider_than_it_must_be(self, width: int) -> None:
        listing = Listing("name", "meaning")
        listing.add("[a]", "name", "many short words " * 9)
        assert max(len(line) for line, _ in listing.lines(width)) <= max(width, 4 + GAP + 24)
