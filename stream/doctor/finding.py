"""One finding of the doctor: what was found where, why it matters and what to do about it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from enum import StrEnum
from typing import Final, Literal

import msgspec


class Level(StrEnum):
    """How much a finding matters."""

    OK = "ok"
    """Looked at, and as it should be."""
    WARNING = "warning"
    """Works, and is a risk."""
    ERROR = "error"
    """Does not work, or loses something."""


Role = Literal["worker", "learner", "gateway"]
"""Whose access and settings are looked at."""
RANK: Final = {Level.ERROR: 0, Level.WARNING: 1, Level.OK: 2}


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """What was found. `why` and `do` are empty where all is well."""

    check: str
    """Stable name of what was looked at, such as `topic.replication`."""
    level: Level
    where: str
    what: str
    why: str = ""
    do: str = ""


Findings = Iterator[Finding]
Check = Callable[[], Findings]


def ok(check: str, where: str, what: str) -> Finding:
    """Return that something is as it should be."""
    return Finding(check=check, level=Level.OK, where=where, what=what)


def warning(check: str, where: str, what: str, why: str, do: str) -> Finding:
    """Return that something is a risk."""
    return Finding(check=check, level=Level.WARNING, where=where, what=what, why=why, do=do)


def error(check: str, where: str, what: str, why: str, do: str) -> Finding:
    """Return that something does not work, or loses something."""
    return Finding(check=check, level=Level.ERROR, where=where, what=what, why=why, do=do)
