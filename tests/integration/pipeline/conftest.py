"""The whole pipeline as a fixture: an empty store, fresh topics, processes that end with the test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.kafka import KafkaBroker
from tests.support.pipeline import Pipeline
from tests.support.redis import RedisServer


@pytest.fixture
def pipeline(kafka_broker: KafkaBroker, redis_server: RedisServer, tmp_path: Path) -> Iterator[Pipeline]:
    """Four partitions; nothing started yet."""
    made = Pipeline(kafka_broker, redis_server, tmp_path)
    made.create_topics(4)
    yield made
    made.stop_all()
