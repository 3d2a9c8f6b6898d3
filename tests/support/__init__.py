"""What tests share: real servers, faults, the independent ledger, and the rule for what is missing."""

from __future__ import annotations

import os


class UnavailableError(RuntimeError):
    """A tool that some tests need is not on this machine. The message is one line that says what is needed."""


def in_ci() -> bool:
    """Say whether a skip counts as a failure (`CI=true`)."""
    return os.environ.get("CI", "").lower() in {"1", "true"}


def require(condition: object, reason: str) -> None:
    """Skip the test with `reason` unless `condition` holds; with `CI=true` fail instead, so that CI hides nothing."""
    if condition:
        return
    import pytest  # what else is here also serves the benchmark, whose contestants have no pytest

    if in_ci():
        pytest.fail(f"CI=true, so this may not be skipped: {reason}", pytrace=False)
    pytest.skip(reason)
