"""Files that a person names to a command: one to write a result to, and some of JSON lines to look back on."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from stream.session_log import Held


def check_out_file(out: Path, endings: Sequence[str]) -> None:
    """Refuse, before anything is begun, a name that can't be written to. Raises UsageError."""
    from stream.cli.failures import UsageError

    why = ""
    try:
        if not out.parent.is_dir():
            why = f"there is no folder {out.parent}"
        elif out.exists() and not out.is_file():
            why = "it is no regular file"
        elif not os.access(out.parent, os.W_OK | os.X_OK):
            why = f"{out.parent} does not permit it"
    except OSError as error:
        why = str(error.strerror)
    if out.suffix not in endings:
        msg = f"{out}: the file's name must end in {' or '.join(endings)}"
        raise UsageError(msg)
    if why:
        msg = f"{out} cannot be written: {why}"
        raise UsageError(msg)


def held_in(files: Sequence[Path], session_id: str | None = None) -> "Iterator[Held]":
    """Yield the records of files of JSON lines, in order; of one session only, where `session_id` is given.

    Afterwards the lines that are none are told on standard error. Raises UsageError for a name that ends otherwise,
    before any file is read, and CommandError where one can't be.
    """
    from models.dataset import RECORD_ENDINGS, DatasetError
    from stream.cli.failures import CommandError, UsageError
    from stream.session_log import Lines

    for file in files:
        if not file.name.endswith(RECORD_ENDINGS):
            msg = f"{file}: JSON lines are in a file whose name ends in {', '.join(RECORD_ENDINGS)}"
            raise UsageError(msg)
    lines = Lines(files, session_id)
    try:
        yield from lines
    except DatasetError as error:
        raise CommandError(str(error)) from None
    if lines.unreadable_total:
        typer.echo(f"{lines.unreadable_total} lines are no record of ours and were passed over", err=True)
