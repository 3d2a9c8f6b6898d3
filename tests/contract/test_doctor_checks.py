"""Every finding that the doctor can make is made in some test that seeds its fault."""

from __future__ import annotations

import ast
import importlib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from stream.doctor.broker import GRAVE, NOTABLE

ROOT = Path(__file__).resolve().parents[2]
MODULES = [f"tests.stream.doctor.{file.stem}" for file in sorted((ROOT / "tests/stream/doctor").glob("test_*.py"))]


def declared(source: str) -> set[str]:
    """Level and name of every finding that is no `ok` in a module's source."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if not (
            isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in {"error", "warning"}
        ):
            continue
        name, level = node.args[0], node.func.id
        if isinstance(name, ast.Constant) and isinstance(name.value, str):
            found.add(f"{level} {name.value}")
        elif isinstance(name, ast.JoinedStr):  # an option of a topic
            assert ast.unparse(name) == "f'topic.{one.what}'", ast.unparse(node)
            found |= {f"{level} topic.{option}" for option in (GRAVE if level == "error" else NOTABLE)}
        else:  # what of the names below could not be looked at: test_what_can_not_be_looked_at...
            assert ast.unparse(name) == "check", ast.unparse(node)
            found.add("error broker.reachable")
    return found


def seeded(module: ModuleType) -> Iterator[str]:
    """What the tests of a module are marked to seed; tests/stream/doctor/conftest.py holds each to it."""
    for name, test in vars(module).items():
        if name.startswith("test_"):
            marks: list[pytest.Mark] = list(getattr(test, "pytestmark", []))
            for mark in [one for one in marks if one.name == "parametrize"]:
                marks += [mark for case in mark.args[1] for mark in getattr(case, "marks", ())]
            for mark in marks:
                if mark.name == "seeds":
                    yield from mark.args


def test_every_finding_has_a_seeded_fault() -> None:
    wanted = set().union(*(declared(file.read_text()) for file in (ROOT / "stream/doctor").glob("*.py")))
    assert len(wanted) > 40
    assert {name for module in MODULES for name in seeded(importlib.import_module(module))} == wanted


def test_one_that_is_new_is_found() -> None:
    assert declared("def look():\n    yield warning('redis.new', where, 'x', 'y', 'z')") == {"warning redis.new"}
