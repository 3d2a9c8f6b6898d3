"""Where the recorded sessions are that training and evaluation read, and the folders that they write to."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

DataFolder = Annotated[
    Path | None,
    typer.Option(
        "--data", help="Folder with sessions.parquet; else shared/data here or beside this folder.", metavar="DIR"
    ),
]
USUAL = (Path("shared/data"), Path("../shared/data"))


def data_folder(given: Path | None) -> Path:
    """The folder to read. Raises UsageError with one line when there is none, or nothing to read in it."""
    from models.dataset import PARQUET_NAME, DatasetError, check_recordings
    from stream.cli.failures import UsageError

    if given is not None:
        try:
            check_recordings(given)
        except DatasetError as error:
            raise UsageError(str(error)) from None
        return given
    for folder in USUAL:
        if (folder / PARQUET_NAME).is_file():
            return folder
    msg = f"no recorded sessions: give --data DIR, a folder with {PARQUET_NAME}"
    raise UsageError(msg)


def check_out_folder(folder: Path) -> None:
    """Check, before long work, that a folder is there or can be made, and written to. Raises UsageError."""
    from stream.cli.failures import UsageError

    try:
        existing = next(each for each in (folder, *folder.absolute().parents) if each.exists())
        if not existing.is_dir():
            msg = f"{existing} is a file: a folder is needed for {folder}"
            raise UsageError(msg)
        if not os.access(existing, os.W_OK | os.X_OK):
            msg = f"{folder} cannot be written to: {existing} does not permit it"
            raise UsageError(msg)
    except OSError as error:
        msg = f"{folder}: {error.strerror}"
        raise UsageError(msg) from None


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Tell what the system forbids while results are written as one line. Raises CommandError."""
    from stream.cli.failures import CommandError

    try:
        yield
    except OSError as error:
        msg = f"{error.filename or folder} cannot be written: {error.strerror or error}"
        raise CommandError(msg) from None
