"""`tellwire artefacts`, and a start with artefacts that can't serve: one line, an exit status, nothing begun."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from models import artifact
from stream.cli import app
from stream.cli.failures import exit_code_and_line
from tests.support.artefacts import FORMS, copy_shipped, install_sabotage, sabotage


def invoke(*arguments: str) -> tuple[int, str, str]:
    """Exit code, output and error line, as `main` makes them of a failure."""
    done = CliRunner().invoke(app, ["artefacts", *arguments])
    if done.exception is None or isinstance(done.exception, SystemExit):
        return done.exit_code, done.stdout, done.stderr
    code, line = exit_code_and_line(done.exception)
    return code, done.stdout, line or ""


def test_what_would_serve_is_named_by_its_hashes(tmp_path: Path) -> None:
    folder = copy_shipped(tmp_path / "v2")
    code, out, _ = invoke("check", str(folder))
    assert code == 0
    assert f"models  {artifact.read(folder).hash}  v2: would serve" in out
    assert "default.toml: would serve" in out


@pytest.mark.parametrize("named", ["", ".", "../v2", "../v2/."])
def test_a_folder_is_named_also_where_its_path_has_no_name(
    named: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = copy_shipped(tmp_path / "v2")
    (folder / artifact.MANIFEST).write_bytes(b"{}")
    monkeypatch.chdir(folder)
    code, _, line = invoke("check", named)
    assert (code, line.partition(":")[0]) == (1, f"v2/{artifact.MANIFEST}")


@pytest.mark.parametrize(("form", "why"), [("truncated", "the manifest says"), ("NaN leaf", "leaf_value nan")])
def test_what_would_not_is_one_line(form: str, why: str, tmp_path: Path) -> None:
    folder = copy_shipped(tmp_path / "v2")
    FORMS[form](folder)
    code, out, line = invoke("check", str(folder))
    assert (code, out) == (1, "")
    assert why in line
    assert "\n" not in line


def test_a_wrong_policy_is_wrong_usage(tmp_path: Path) -> None:
    (tmp_path / "policy.toml").write_text("x")
    code, _, line = invoke("check", "--policy", str(tmp_path / "policy.toml"))
    assert code == 2
    assert line.startswith("policy policy.toml: not TOML")


def test_a_seal_can_be_written_for_a_manifest_that_one_trusts(tmp_path: Path) -> None:
    folder = copy_shipped(tmp_path / "v2")
    (folder / artifact.SEAL).unlink()
    assert invoke("check", str(folder))[0] == 1
    code, out, _ = invoke("seal", str(folder))
    assert (code, out.split()[0]) == (0, artifact.read(folder).hash)
    assert invoke("check", str(folder))[0] == 0


@pytest.mark.parametrize("process", ["worker", "learner"])
@pytest.mark.parametrize("how", ["form", "crash"])
def test_a_start_with_models_that_cannot_serve_ends_with_one_line(process: str, how: str, tmp_path: Path) -> None:
    """Before anything is connected: no broker and no store is there."""
    folder = copy_shipped(tmp_path / "v2")
    if how == "form":
        FORMS["cycle"](folder)
    else:
        sabotage(folder, "crash")
    env = {**os.environ, **install_sabotage(tmp_path / "site"), "TELLWIRE_ARTEFACTS__DIRECTORY": str(folder)}
    env["TELLWIRE_KEYS__REF_KEY"] = "0123456789abcdef"
    done = subprocess.run(
        [sys.executable, "-m", "stream", process], env=env, capture_output=True, text=True, check=False, timeout=110
    )
    assert done.returncode == 1
    lines = done.stderr.splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("tellwire: ")
    assert {"form": "impossible child", "crash": "crashed the process that tried it (SIGSEGV)"}[how] in lines[0]
