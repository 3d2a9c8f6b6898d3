"""A parameter of a test that seeds one fault, and says which finding tells of it."""

from __future__ import annotations

from typing import Any

import pytest

from stream.doctor.finding import Level


def seeded(values: Any, check: str, level: Level) -> Any:
    """Return the parameter `(values, check, level)`."""
    return pytest.param(values, check, level, marks=pytest.mark.seeds(f"{level} {check}"), id=f"{check} {values}"[:60])
