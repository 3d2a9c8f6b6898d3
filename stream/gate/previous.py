"""Where the previous artefacts are: a folder, a commit of this repository, or a measurement that a release wrote."""

import io
import os
import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from models.gate_measure import Measurement

IN_TREE: Final = ("models/artifacts", "models/policies/default.toml")
MAX_MEASUREMENT_BYTES: Final = 64 * 1024 * 1024


class PreviousError(Exception):
    """What is named is none of these, or can't be read; one line."""


@dataclass(frozen=True, slots=True)
class Previous:
    """Either a folder of artefacts (with the policy beside it, if it has one of its own), or a measurement."""

    words: str
    folder: Path | None = None
    policy: Path | None = None
    measured: Measurement | None = None


def find(name: str, scratch: Path) -> Previous:
    """Find what `name` means; a commit's files are put into `scratch`. Raises PreviousError."""
    path = Path(name)
    try:
        # An empty name would be the folder at hand.
        if name and path.is_dir():
            return Previous(f"folder {name}", folder=path)
        if path.is_file():
            return Previous(f"measurement {path.name}", measured=read(path))
    except OSError as error:
        raise PreviousError(f"{name}: {error.strerror}") from None
    commit = _git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}")
    if commit is None:
        raise PreviousError(
            f"{name or 'an empty name'} is no folder of artefacts, no measurement (.json) and no commit of this "
            "repository"
        )
    hash_ = commit.decode().strip()
    # In a folder of the repository, `archive` looks there only.
    top = _git("rev-parse", "--show-toplevel")
    archived = _git(*(["-C", os.fsdecode(top.rstrip(b"\n"))] if top else []), "archive", hash_, *IN_TREE)
    if archived is None:
        raise PreviousError(f"commit {hash_[:12]} ({name}) has no {' and '.join(IN_TREE)}")
    with tarfile.open(fileobj=io.BytesIO(archived)) as files:
        files.extractall(scratch, filter="data")
    return Previous(f"commit {hash_[:12]} ({name})", scratch / IN_TREE[0], scratch / IN_TREE[1])


def read(path: Path) -> Measurement:
    """Read a measurement. Raises PreviousError."""
    try:
        if path.stat().st_size > MAX_MEASUREMENT_BYTES:
            raise PreviousError(f"{path}: is larger than {MAX_MEASUREMENT_BYTES} bytes")
        return msgspec.json.decode(path.read_bytes(), type=Measurement)
    except OSError as error:
        raise PreviousError(f"{path}: {error.strerror}") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise PreviousError(f"{path}: is no measurement that `tellwire gate --out` wrote: {error}") from None


def _git(*arguments: str) -> bytes | None:
    try:
        done = subprocess.run(["git", *arguments], capture_output=True, check=False)  # noqa: S603, S607 - git on PATH
    except OSError:
        return None
    return done.stdout if done.returncode == 0 else None
