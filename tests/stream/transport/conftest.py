"""The broker inside librdkafka: enough for unit tests, with no install."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from confluent_kafka import Producer


@pytest.fixture
def mock_kafka() -> Iterator[str]:
    """Bootstrap address of a one-node mock cluster that lives as long as the test."""
    owner = Producer({"test.mock.num.brokers": 1, "bootstrap.servers": "unused", "log_level": 0})
    (broker,) = owner.list_topics(timeout=10).brokers.values()
    yield f"{broker.host}:{broker.port}"
    owner.flush(1)
