"""Which failures are told to a person as one line, and with which exit code.

Anything else is a defect and shows its trace.
"""

from stream.exit_status import FAILED, USAGE


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
    return FAILED, None
