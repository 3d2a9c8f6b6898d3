"""Compiled kernels for all feature tests."""

import pytest

from features.session import warm_up


@pytest.fixture(scope="session", autouse=True)
def compiled() -> None:
    """Compile once before the first test, or load numba's cache."""
    warm_up()
