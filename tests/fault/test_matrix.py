"""The part of the fault matrix that CI runs, small budget, on real Kafka and Redis; `make faults` proves all of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fault.row import Row, load_rows
from tests.fault.trial import Grounds, run_row
from tests.support import UnavailableError, require
from tests.support.kafka import KafkaBroker
from tests.support.redis import RedisServer

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def grounds(kafka_broker: KafkaBroker, _redis_server: RedisServer) -> Iterator[Grounds]:
    """The run's own broker and Redis; rows that need others start them."""
    with Grounds(kafka_broker, _redis_server) as made:
        yield made


@pytest.mark.parametrize("row", [row for row in load_rows().values() if row.in_ci], ids=lambda row: row.name)
def test_row(row: Row, grounds: Grounds) -> None:
    folders: list[Path] = []
    try:
        outcome = run_row(row, "ci", grounds, folders.append)
    except UnavailableError as missing:
        require(condition=False, reason=str(missing))
        raise
    failures = row.failures(outcome)
    assert not failures, "\n".join([*failures, *(f"logs: {folder}" for folder in folders)])
