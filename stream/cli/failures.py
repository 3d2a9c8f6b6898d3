"""Which failures are told to a person as one line, and with which exit code.

Anything else is a defect and shows its trace.
"""

import errno
from typing import Final

import typer

from stream.exit_status import FAILED, USAGE

NO_ROOM: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EIO})
"""What the disk behind our output may answer; no defect of ours."""


class CommandError(Exception):
    """A command cannot do its work; the message is one clear line: what, where, why, what to do."""


class UsageError(CommandError):
    """A command was given something that it can't begin with; nothing was begun. One clear line, and exit code 2."""


def exit_code_and_line(error: BaseException) -> tuple[int, str | None]:
    """Return exit code and message of a known failure; the message is None for a defect."""
    from models.errors import ArtifactError, PolicyError
    from stream.settings import SettingsError
    from stream.state.base import StoreError
    from stream.topics import BrokerError
    from stream.transport import TransportConfigurationError, TransportFatalError

    if isinstance(error, UsageError | SettingsError | PolicyError | TransportConfigurationError):
        return USAGE, str(error)
    if isinstance(error, CommandError | BrokerError | ArtifactError | StoreError | TransportFatalError):
        return FAILED, str(error)
    if isinstance(error, OSError) and error.errno in NO_ROOM:
        return FAILED, f"{error.filename or 'the output'} could not be written: {error.strerror}"
    return FAILED, None


def agreed(question: str) -> bool:
    """Ask a person on standard error; Ctrl-C and the end of the input are a no."""
    try:
        return typer.confirm(question, err=True)
    except typer.Abort:
        typer.echo(err=True)
        return False
