"""The errors of the models package: each carries one line for a person."""

from typing import Final

MAX_LINE_CHARS: Final = 500


class _OneLineError(ValueError):
    """An error about a file or record that nobody has to trust: what its line quotes can't break or flood a log."""

    def __init__(self, message: str) -> None:
        line = "".join([char if char.isprintable() else "?" for char in message])
        super().__init__(line if len(line) <= MAX_LINE_CHARS else f"{line[: MAX_LINE_CHARS - 3]}...")


class ArtifactError(_OneLineError):
    """An artefact is missing, changed or malformed; nothing of it was used."""


class PolicyError(ValueError):
    """A policy file is invalid; one line says where, what it is, and what is allowed."""


class SnapshotError(_OneLineError):
    """A snapshot of an online model does not fit what it claims to be; nothing of it was used."""
