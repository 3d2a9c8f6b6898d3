"""Where the recorded sessions are that training and evaluation read."""

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
    """The folder to read. Raises CommandError with one line when there is none."""
    from models.dataset import PARQUET_NAME
    from stream.cli.failures import CommandError

    if given is not None:
        if not (given / PARQUET_NAME).is_file():
            msg = f"{given} has no {PARQUET_NAME}"
            raise CommandError(msg)
        return given
    for folder in USUAL:
        if (folder / PARQUET_NAME).is_file():
            return folder
    msg = f"no recorded sessions: give --data DIR, a folder with {PARQUET_NAME}"
    raise CommandError(msg)
