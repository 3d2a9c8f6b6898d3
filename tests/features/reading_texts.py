"""Records as text for tests of the compiled reader, and what it says of one."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import msgspec

from features.reading import ChunkReader
from schemas.telemetry import Telemetry
from tests.features import build
from tests.fuzz.targets import examples, telemetry
from tests.support.readings import check_reading

READER = ChunkReader()


@cache
def corpus() -> list[bytes]:
    return [*telemetry(150), *examples(Telemetry)]


def one(**fields: Any) -> dict[str, Any]:
    """A small event as it is in JSON."""
    event: dict[str, Any] = msgspec.to_builtins(build.event())
    return event | fields


def text(**fields: Any) -> bytes:
    return json.dumps(one(**fields), separators=(",", ":")).encode()


def accepts(value: bytes) -> bool:
    (accepted,) = check_reading(READER, [value])
    return accepted


def plainly(event: Telemetry) -> bytes:
    """An event with numbers and texts such as the reader is certain of: few that are drawn at random are, by chance."""
    return msgspec.json.encode(_plain(msgspec.to_builtins(event)))


def _plain(tree: Any) -> Any:
    if isinstance(tree, dict):
        return {key: _plain(value) for key, value in tree.items()}
    if isinstance(tree, list):
        return [_plain(value) for value in tree]
    if isinstance(tree, float):
        return round(tree, 3) or 0
    if isinstance(tree, str):
        return "".join(char if "!" <= char <= "~" and char not in '"\\' else "x" for char in tree)
    return tree
