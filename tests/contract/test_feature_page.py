"""The page about adding a feature, done in a copy of the tree: its patches apply, its commands do what it says."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.models.recordings import folder, small_world
from tests.support import pages
from tests.support.pages import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

PAGE = "docs/how-to/add-a-feature.md"
COPIED = ("schemas", "features", "models", "stream", "tests", "docs", "pyproject.toml", "README.md")


@pytest.fixture
def copy(tmp_path: Path) -> Iterator[Path]:
    """A copy of the tree, in git, with made-up recordings where training looks for them."""
    made = tmp_path / "work" / "tree"
    tracked = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z", *COPIED],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    for name in filter(None, tracked.split("\0")):
        if (ROOT / name).is_file():
            (made / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, made / name)
    # Kernels that the change does not touch are not compiled again.
    for package in ("features", "models", "stream"):
        for kernel in (ROOT / package).rglob("__pycache__/*.nb[ic]"):
            to = made / kernel.relative_to(ROOT)
            to.parent.mkdir(exist_ok=True)
            shutil.copy2(kernel, to)
    folder(tmp_path / "work" / "shared" / "data", small_world(3))
    for arguments in (("init", "-q"), ("add", "-A")):
        subprocess.run(["git", *arguments], cwd=made, check=True, capture_output=True)
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    subprocess.run(["git", *identity, "commit", "-qm", "before"], cwd=made, check=True, capture_output=True)
    yield made
    shutil.rmtree(tmp_path / "work")


def test_the_page_can_be_followed(copy: Path) -> None:
    for number, patch in enumerate(pages.blocks(PAGE, "diff")):
        (copy.parent / f"{number}.patch").write_text(patch)
        subprocess.run(["git", "apply", "--whitespace=nowarn", f"../{number}.patch"], cwd=copy, check=True)
    # The copy's own commands.
    prelude = ['tellwire() { "$PYTHON" -m stream "$@"; }', 'python() { "$PYTHON" "$@"; }']
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("TELLWIRE_", "PYTEST_"))},
        "PYTHON": sys.executable,
        "PYTHONPATH": str(copy),
        "CI": "",
        "PYTEST_ADDOPTS": "-o timeout=900",  # the kernel is compiled anew
    }
    said = []
    for block in pages.blocks(PAGE, "sh"):
        commands = pages.commands(block)
        script = "\n".join(["set -eo pipefail", *prelude, *commands])
        done = subprocess.run(
            ["bash", "-c", script],
            cwd=copy,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=900,
            check=False,
        )
        assert done.returncode == 0, f"{commands}\n{done.stdout[-3000:]}"
        said.append(done.stdout)
    looked, trained = said
    assert '"focus_field_ratio"' in looked
    assert "1 passed" in looked
    assert "docs/reference/features.md" in looked
    refused, _, served = trained.partition("as it should be")
    assert "trained for feature registry" in refused
    assert "would serve" in served
