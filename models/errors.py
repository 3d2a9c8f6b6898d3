"""The errors of the models package: each carries one line for a person."""


class ArtifactError(ValueError):
    """An artefact is missing, changed or malformed; nothing of it was used."""


class PolicyError(ValueError):
    """A policy file is invalid; one line says where, what it is, and what is allowed."""


class SnapshotError(ValueError):
    """A snapshot of an online model does not fit what it claims to be; nothing of it was used."""
