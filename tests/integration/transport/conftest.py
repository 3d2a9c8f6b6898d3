"""A broker of its own for the transport: short session times for all group protocols, quick retention."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support import UnavailableError, require
from tests.support.kafka import KafkaBroker


@pytest.fixture(scope="session")
def group_broker() -> Iterator[KafkaBroker]:
    broker = KafkaBroker(
        properties={
            "group.consumer.min.session.timeout.ms": "1000",
            "group.consumer.session.timeout.ms": "6000",
            "group.consumer.min.heartbeat.interval.ms": "100",
            "group.consumer.heartbeat.interval.ms": "500",
            "log.retention.check.interval.ms": "500",
        }
    )
    try:
        broker.start()
    except UnavailableError as missing:
        require(condition=False, reason=str(missing))
    yield broker
    broker.stop()
