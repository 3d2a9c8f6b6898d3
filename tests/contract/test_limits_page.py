"""The page of limits says what the code says: every declared name exists, and its number stands in the bound."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

from stream.settings import declared

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "limits.md"
_NAMED = re.compile(r"`((?:schemas|features|models|stream)[a-z_.]*):([A-Z_]+)`")
_SETTING = re.compile(r"`(pipeline|redis|learner|gateway)\.([a-z_]+)`")
SAID_IN_OTHER_WORDS = {"ENTITY_TTL_MS", "FLOWS", "SEGMENT_S", "SIGNALS", "STATE_WIDTH", "_REMEMBERED"}


def rows() -> list[list[str]]:
    lines = [line for line in PAGE.read_text().splitlines() if line.startswith("| ") and "**" not in line.split("|")[1]]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[2:]]


def names() -> list[tuple[str, str, str]]:
    return [(module, name, row[1]) for row in rows() for module, name in _NAMED.findall(row[2])]


def test_there_is_one_table_with_four_cells_a_row() -> None:
    assert len(rows()) > 40
    assert {len(row) for row in rows()} == {4}
    assert all(row[0] and row[1] and row[3] for row in rows())


@pytest.mark.parametrize(("module", "name", "bound"), names(), ids=lambda value: value if len(str(value)) < 30 else "")
def test_a_declared_number_is_the_stated_one(module: str, name: str, bound: str) -> None:
    value = getattr(importlib.import_module(module), name)
    if name not in SAID_IN_OTHER_WORDS:
        assert f"{value:,}" in bound, f"{name} is {value:,}, the page says: {bound}"


def test_what_is_said_in_other_words_is_right_too() -> None:
    from features.fold import STATE_WIDTH
    from schemas.base import FLOWS
    from stream.evaluation import SEGMENT_S
    from stream.state.counters import ENTITY_TTL_MS
    from stream.transport.clientlog import _REMEMBERED

    bounds = {name: bound for _, name, bound in names()}
    assert bounds["ENTITY_TTL_MS"].endswith(f"last {ENTITY_TTL_MS // 3_600_000} hours")
    assert bounds["FLOWS"] == str(len(FLOWS))
    assert bounds["SEGMENT_S"].endswith(f"given way every {SEGMENT_S * 1000:g} ms")
    assert bounds["STATE_WIDTH"].startswith(f"{4 * STATE_WIDTH:,} bytes")
    assert f"{_REMEMBERED} remembered" in bounds["_REMEMBERED"]


def test_a_named_setting_exists_and_its_default_is_the_stated_one() -> None:
    defaults = {(section, name): field.get_default() for section, name, field in declared()}
    words = {
        ("pipeline", "features_share"): "5 %",
        ("pipeline", "deadletter_limit_ratio"): "half",
        ("learner", "max_share_per_source"): "a tenth",
    }
    found = [(key, row[1]) for row in rows() for key in _SETTING.findall(row[2])]
    assert len(found) > 10
    for key, bound in found:
        assert key in defaults, key
        assert words.get(key, f"{defaults[key]:,.15g}") in bound, (key, defaults[key], bound)
