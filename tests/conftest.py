"""Fixtures for everybody: real Kafka and real Redis, started once a test run, only when a test asks for them."""

from __future__ import annotations

import gc
import os
from collections import Counter
from collections.abc import Generator, Iterator

import pytest
from hypothesis import HealthCheck, settings

from tests.support import UnavailableError, in_ci, require
from tests.support.kafka import KafkaBroker
from tests.support.redis import RedisServer

# Settings of whoever runs the tests are none of theirs.
for _variable in [name for name in os.environ if name.startswith("TELLWIRE_")]:
    del os.environ[_variable]

# A busy machine is slow, which is no fault of the code under test; bounds on time are tests of their own.
settings.register_profile("tellwire", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True)
settings.load_profile("tellwire")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """With `CI=true` turn whatever was skipped into a failure: what CI leaves out, nobody would notice."""
    report = yield
    if report.skipped and in_ci() and not hasattr(report, "wasxfail"):
        reason = report.longrepr[-1] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"CI=true, so this may not be skipped: {reason}"
    return report


def pytest_collection_finish() -> None:
    """Set aside what the imports of all tests left: a test that collects garbage looks at its own objects only."""
    gc.collect()
    gc.freeze()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say once for each reason how many tests were skipped for it."""
    reasons = Counter(
        report.longrepr[-1] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        for report in terminalreporter.stats.get("skipped", [])
    )
    for reason, count in reasons.items():
        terminalreporter.write_line(f"skipped {count}: {reason.removeprefix('Skipped: ')}", yellow=True)


@pytest.fixture(scope="session")
def kafka_broker() -> Iterator[KafkaBroker]:
    """One real Kafka broker for the whole run; give each test its own topics (`kafka_broker.create_topic()`)."""
    broker = KafkaBroker()
    try:
        broker.start()
    except UnavailableError as missing:
        require(condition=False, reason=str(missing))
    yield broker
    broker.stop()


@pytest.fixture(scope="session")
def _redis_server() -> Iterator[RedisServer]:
    server = RedisServer()
    try:
        server.start()
    except UnavailableError as missing:
        require(condition=False, reason=str(missing))
    yield server
    server.stop()


@pytest.fixture
def redis_server(_redis_server: RedisServer) -> RedisServer:
    """One real Valkey or Redis for the whole run, empty and with its scripts flushed for each test."""
    with _redis_server.client() as client:
        client.flushall()
        client.script_flush()
    return _redis_server
