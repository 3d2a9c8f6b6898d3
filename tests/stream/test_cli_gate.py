"""`tellwire gate` on real artefacts: itself passes, seeded regressions fail with a reason, wrong usage is one line."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from models import artifact
from models.gate import TOLERANCES
from models.gate_measure import digest
from models.policy import load_policy
from stream.gate.golden import simulated
from stream.gate.previous import PreviousError, find
from stream.simulation.bots import FAMILIES
from tests.support.artefacts import another, copy_shipped
from tests.support.command_line import CommandLine
from tests.support.pages import ROOT

DEFAULT = (Path(load_policy.__code__.co_filename).parent / "policies" / "default.toml").read_text()
SHIPPED = str(artifact.shipped_directory())
FEW = ("--people", "20", "--bots", "3", "--no-cost")


@pytest.fixture
def gate(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> CommandLine:
    return CommandLine("gate", capsys, monkeypatch)


def test_golden_sessions_are_the_seeds_and_hold_every_family() -> None:
    found = simulated(1, 6, 2)
    assert digest(found) == digest(simulated(1, 6, 2)) != digest(simulated(2, 6, 2))
    assert {one.group.split("/")[1] for one in found if one.is_bot} == set(FAMILIES)
    assert sum(not one.is_bot for one in found) == 6
    assert len({one.name for one in found}) == len(found)
    # More sessions add to the others and change none of them.
    assert {one.name: one for one in simulated(1, 8, 3)}.items() >= {one.name: one for one in found}.items()


def test_the_same_artefacts_pass_time_and_memory_included(gate: CommandLine, tmp_path: Path) -> None:
    folder = copy_shipped(tmp_path / "v1")
    out, _ = gate("--against", str(folder), *FEW[:4], "--tolerance", "latency=50", "--tolerance", "memory=3")
    assert "passed: nothing is worse than its tolerance" in out
    assert "[latency]" in out
    assert "[memory]" in out


def test_a_blunt_model_fails_and_says_in_what(gate: CommandLine, tmp_path: Path) -> None:
    """Every leaf of its first tree says less: people and bots keep their order, and fewer bots reach a threshold."""
    blunt = another(tmp_path / "blunt", -60)
    out, _ = gate("--against", SHIPPED, "--artifacts", str(blunt), *FEW, code=1)
    assert "FAILED" in out
    assert re.search(r"failed: stepped up or blocked, simulated/\w+: ", out)
    told = json.loads(gate("--against", SHIPPED, "--artifacts", str(blunt), *FEW, "--json", code=1)[0])
    assert not told["passed"]
    assert told["flips"]
    assert all(flip["previous"] != flip["present"] for flip in told["flips"])
    lenient = [
        f"--tolerance={name}=99" for name in ("flips", "reasons", "people", "people_all", "blocked_people", "found")
    ]
    gate("--against", str(blunt), "--artifacts", SHIPPED, *FEW, *lenient, "--tolerance", "found_mean=1")


def test_a_policy_that_flags_people_fails(gate: CommandLine, tmp_path: Path) -> None:
    strict = tmp_path / "strict.toml"
    strict.write_text(re.sub(r"(?m)^step_up_at = .*", "step_up_at = 0.01", DEFAULT))
    out, _ = gate("--against", SHIPPED, "--policy", str(strict), "--previous-policy",
                  str(ROOT / "models" / "policies" / "default.toml"), *FEW, code=1)  # fmt: skip
    assert re.search(r"failed: people stepped up or blocked, simulated/\w+", out)
    assert "failed: people stepped up or blocked, all sources" in out


def test_a_measurement_stands_for_a_release_whose_code_is_elsewhere(gate: CommandLine, tmp_path: Path) -> None:
    written = tmp_path / "v1.json"
    assert "holds the measurement of 53 golden sessions" in gate("--out", str(written), *FEW)[1]
    out, err = gate("--against", str(written), *FEW)
    assert "passed" in out
    assert "not compared: latency: it was not measured" in err
    out, err = gate("--against", str(written), "--seed", "2", *FEW, "--tolerance", "people=1", "--tolerance", "found=1",
                    "--tolerance", "acted=1", "--tolerance", "found_mean=1", "--tolerance", "people_all=1")  # fmt: skip
    assert "the golden sessions are others" in err
    old = copy_shipped(tmp_path / "old")
    manifest = json.loads((old / artifact.MANIFEST).read_bytes())
    (old / artifact.MANIFEST).write_text(json.dumps(manifest | {"features_hash": "0" * 64}))
    artifact.seal(old)
    _, err = gate("--against", str(old), *FEW, code=1)
    assert "need the code of their own release" in err
    assert "tellwire gate --out FILE.json" in err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "give --against PREVIOUS to compare, or --out FILE"),
        (["--against", "no-such-thing"], "no folder of artefacts, no measurement (.json) and no commit"),
        (["--against", SHIPPED, "--tolerance", "speed=1"], "give NAME=VALUE"),
        (["--against", SHIPPED, "--tolerance", "found=much"], "give NAME=VALUE"),
        (["--against", str(ROOT / "pyproject.toml")], "is no measurement that `tellwire gate --out` wrote"),
        (["--against", ""], "an empty name is no folder of artefacts"),
        (["--against", "l" * 300], "File name too long"),
        (["--against", SHIPPED, "--data", "nowhere"], "nowhere"),
        (["--out", "measured.txt"], "must end in .json"),
        (["--out", "l" * 300 + ".json"], "File name too long"),
        (["--out", "nowhere/measured.json"], "there is no folder nowhere"),
    ],
)
def test_wrong_usage_is_one_line_before_anything_is_measured(
    gate: CommandLine, arguments: list[str], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stream.gate.golden.simulated", lambda *_: pytest.fail("sessions were simulated"))
    _, err = gate(*arguments, code=2)
    assert words in err


def test_a_commit_brings_its_artefacts_and_its_policy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    repository = tmp_path / "repository"
    (repository / "models" / "policies").mkdir(parents=True)
    copy_shipped(repository / "models" / "artifacts")
    shutil.copy(ROOT / "models" / "policies" / "default.toml", repository / "models" / "policies")
    environment = ["-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "commit.gpgsign=false"]
    for arguments in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "first"], ["tag", "v1"]):
        subprocess.run(["git", *environment, *arguments], cwd=repository, check=True)
    (repository / "models" / "artifacts" / "manifest.json").write_text("{}")
    monkeypatch.chdir(repository)
    found = find("v1", tmp_path / "scratch")
    assert found.folder is not None
    assert found.policy is not None
    assert artifact.read(found.folder).hash == artifact.read(artifact.shipped_directory()).hash
    assert found.policy.read_text() == DEFAULT
    assert re.fullmatch(r"commit [0-9a-f]{12} \(v1\)", found.words)
    # From a folder inside, too.
    monkeypatch.chdir(repository / "models" / "policies")
    assert find("v1", tmp_path / "again").policy == tmp_path / "again" / "models" / "policies" / "default.toml"
    monkeypatch.chdir(repository)
    subprocess.run(["git", *environment, "rm", "-qr", "models/policies"], cwd=repository, check=True)
    subprocess.run(["git", *environment, "commit", "-qam", "second"], cwd=repository, check=True)
    with pytest.raises(PreviousError, match="has no models/artifacts and models/policies"):
        find("HEAD", tmp_path / "scratch")
    with pytest.raises(PreviousError, match="no commit of this repository"):
        find("--output=x", tmp_path / "scratch")


def test_the_page_has_every_tolerance() -> None:
    page = (ROOT / "docs" / "how-to" / "gate-a-release.md").read_text()
    for tolerance in TOLERANCES:
        assert f"| `{tolerance.name}` | {tolerance.value:g} | {tolerance.unit} | {tolerance.meaning} |" in page
