"""What a test says that it seeds a fault for must be told while it runs: see tests/contract/test_doctor_checks.py."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from stream.doctor.finding import Finding


@pytest.fixture(autouse=True)
def _seeded_faults_are_told(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    told = set()

    def made(**fields: Any) -> Finding:
        finding = Finding(**fields)
        told.add(f"{finding.level} {finding.check}")
        return finding

    monkeypatch.setattr("stream.doctor.finding.Finding", made)
    yield
    wanted = {name for mark in request.node.iter_markers("seeds") for name in mark.args}
    assert wanted <= told, f"seeded, but not told: {', '.join(sorted(wanted - told))}"
