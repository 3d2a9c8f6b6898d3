"""Packages from npm that tests need, installed from `tests/node`'s lock, once: among them a Node.js that has SQLite."""

from __future__ import annotations

import platform
import shutil
import subprocess
from functools import cache
from pathlib import Path

from tests.support import UnavailableError

FOLDER = Path(__file__).resolve().parents[1] / "node"
_KINDS = {"x86_64": "x64", "amd64": "x64", "aarch64": "arm64", "arm64": "arm64"}


@cache
def packages() -> Path:
    """Folder of the installed packages. Raises UnavailableError where npm is missing or cannot fetch them."""
    if not shutil.which("npm"):
        raise UnavailableError(
            "no npm (Debian: nodejs npm): it installs the documentation's Node.js program and axe-core"
        )
    root = FOLDER.parents[1]
    done = subprocess.run(["make", "node-packages"], cwd=root, capture_output=True, text=True, check=False, timeout=300)
    if done.returncode:
        raise UnavailableError(f"npm could not install tests/node: {done.stderr[-200:]}")
    return FOLDER / "node_modules"


def axe() -> str:
    """The script of axe-core, which checks accessibility inside a page. Raises UnavailableError as `packages` does."""
    return (packages() / "axe-core" / "axe.min.js").read_text(encoding="utf-8")


def executable() -> str:
    """A Node.js that has SQLite. Raises UnavailableError as `packages` does, and where none is packaged."""
    kind = _KINDS.get(platform.machine().lower(), "other")
    found = packages() / f"node-{platform.system().lower()}-{kind}" / "bin" / "node"
    if not found.is_file():
        raise UnavailableError(f"there is no packaged Node.js for {platform.system()} on {platform.machine()}")
    return str(found)
