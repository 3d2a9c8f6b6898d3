"""The Lua scripts of the Redis store, with the digests by which they are called."""

from __future__ import annotations

import hashlib
from importlib import resources
from typing import Final, NamedTuple


class Script(NamedTuple):
    """One script: its text and its SHA-1 as Redis wants it (an address, not a protection)."""

    text: bytes
    sha: bytes


def _read(*names: str) -> Script:
    folder = resources.files("stream.state").joinpath("lua")
    text = b"\n".join(folder.joinpath(f"{name}.lua").read_bytes() for name in names)
    return Script(text, hashlib.sha1(text, usedforsecurity=False).hexdigest().encode())


READ: Final = _read("read")
LINK: Final = _read("counters", "link")
COMMIT: Final = _read("counters", "commit")
NOTE: Final = _read("note")
MOVEMENT: Final = _read("movement")
ALL: Final = (READ, LINK, COMMIT, NOTE, MOVEMENT)
BY_SHA: Final = {script.sha: script for script in ALL}
