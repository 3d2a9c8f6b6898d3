"""What ships works: the built wheel, in a clean environment, beside folders that have its packages' names."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import orjson
import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("schemas", "features", "models", "stream")

EMBEDDED = """
import redis
from confluent_kafka.admin import AdminClient
from stream.embedded import EmbeddedBroker, EmbeddedStore
with EmbeddedBroker({"in": 2}) as broker, EmbeddedStore() as store:
    print(len(AdminClient({"bootstrap.servers": broker.bootstrap}).list_topics(timeout=10).topics["in"].partitions))
    with redis.Redis.from_url(store.url) as client:
        print(client.ping())
"""


@dataclass(frozen=True)
class Installation:
    """An environment that has the wheel and, by path, the libraries of this one; and a folder full of decoys."""

    bin: Path
    packages: Path
    decoys: Path

    def run(self, *command: str, env: Mapping[str, str] | None = None) -> str:
        inherited = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "TELLWIRE_"))}
        done = subprocess.run(
            [str(self.bin / command[0]), *command[1:]],
            cwd=self.decoys,
            env=inherited | dict(env or {}),
            capture_output=True,
            text=True,
            check=False,
            timeout=280,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=120)
    (built,) = folder.glob("tellwire-*.whl")
    return built


@pytest.fixture(scope="module")
def installation(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installation:
    home = tmp_path_factory.mktemp("installed")
    venv.create(home / "venv", with_pip=False)
    python = home / "venv" / "bin" / "python"
    command = [
        sys.executable,
        "-m",
        "pip",
        "--python",
        str(python),
        "install",
        "-q",
        "--no-deps",
        "--no-index",
        str(wheel),
    ]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    (packages,) = (home / "venv").glob("lib/python*/site-packages")
    # A folder named in a .pth file is searched, its own .pth files (the editable install of the checkout) are not read.
    (packages / "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n")
    decoys = home / "decoys"
    for package in PACKAGES:
        (decoys / package).mkdir(parents=True)
        (decoys / package / "__init__.py").write_text(f"raise SystemExit('the decoy {package} was imported')\n")
    return Installation(bin=python.parent, packages=packages, decoys=decoys)


def test_the_wheel_holds_every_file_of_the_four_packages_and_nothing_else(wheel: Path) -> None:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", *PACKAGES],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    ours = {line for line in listed.stdout.splitlines() if (ROOT / line).is_file()}
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
        licences = [name for name in archive.namelist() if name.endswith("licenses/LICENSE")]
    shared = {name for name in held if ".data/data/" in name}
    assert held - shared == ours
    assert {name.partition(".data/data/")[2] for name in shared} == {
        f"share/tellwire/collector/{path.name}" for path in (ROOT / "collector" / "browser").iterdir()
    }
    assert len(licences) == 1


def test_the_command_line_runs_from_a_folder_with_decoys(installation: Installation) -> None:
    assert installation.run("tellwire", "--version").startswith("tellwire 0.")
    assert "bootstrap_servers" in installation.run("tellwire", "config", "show")


def test_the_demos_page_finds_its_files_where_it_is_installed(installation: Installation) -> None:
    code = (
        "from stream.demo.page import site; folder = site.collector_folder();print(folder, *sorted(site.files(folder)))"
    )
    folder, *targets = installation.run("python", "-P", "-c", code).split()
    assert Path(folder) == installation.bin.parent / "share" / "tellwire" / "collector"
    assert {"/", "/assets/main.js", "/assets/page.css", "/tellwire/tellwire.js"} <= set(targets)


def test_every_process_imports_what_was_installed(installation: Installation) -> None:
    for package in PACKAGES:
        code = f"import {package}; print({package}.__file__)"
        found = installation.run("python", "-P", "-c", code).strip()
        assert Path(found).is_relative_to(installation.packages)
    with pytest.raises(AssertionError, match="the decoy models was imported"):
        installation.run("python", "-c", "import models")


def test_embedded_parts_start_their_children_from_the_wheel(installation: Installation) -> None:
    assert installation.run("python", "-P", "-c", EMBEDDED).split() == ["2", "True"]


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_demo_and_its_child_processes_run_from_a_folder_with_decoys(installation: Installation) -> None:
    lines = installation.run("tellwire", "demo", "--seconds", "3", "--rate", "2", "--json").splitlines()
    summary = orjson.loads(lines[-1])
    assert summary["type"] == "demo.summary"
    assert summary["records_sent"] == summary["risk_events"] > 0
    assert (summary["dead_letters"], summary["lost"]) == ({}, 0)
