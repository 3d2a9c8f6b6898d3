"""Builds the collector with the machine's Node.js, and knows where its files are."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

from tests.support import UnavailableError

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "collector"
BROWSER = FOLDER / "browser"
"""The script-tag build, as committed."""


@cache
def tools() -> Path:
    """Folder of the installed build tools; raise UnavailableError where Node.js or npm is missing."""
    if not shutil.which("node") or not shutil.which("npm"):
        raise UnavailableError("no Node.js with npm (18 or newer): it builds the collector (Debian: nodejs npm)")
    _run("make", "collector/node_modules/.stamp", folder=ROOT)
    return FOLDER / "node_modules"


@cache
def fresh() -> dict[str, bytes]:
    """Every built file by its path (`dist/...`, `browser/...`), built anew from the sources, elsewhere."""
    tools()
    with tempfile.TemporaryDirectory() as out:
        _run("node", "build.mjs", out, folder=FOLDER)
        files = [path for part in ("dist", "browser") for path in (Path(out) / part).iterdir()]
        return {str(path.relative_to(out)): path.read_bytes() for path in files}


def unit_tests() -> str:
    """What the unit tests print; raise CalledProcessError with it when one fails."""
    tools()
    return _run("npm", "test", "--silent", folder=FOLDER)


def _run(*command: str, folder: Path) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=300)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stdout[-4000:]}{done.stderr[-4000:]}")
    return done.stdout
