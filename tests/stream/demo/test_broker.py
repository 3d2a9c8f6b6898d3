"""The demo on a real broker: topics made, only its own sessions counted, and once more on what is there already."""

from __future__ import annotations

import io
import json

import pytest
from rich.console import Console

from schemas.topics import TOPICS
from stream import topics
from stream.demo import parts
from stream.demo.children import DemoError, python
from stream.demo.parts import Choice
from stream.demo.run import Demo
from tests.stream.demo.test_run import FAKE
from tests.support import UnavailableError, require
from tests.support.kafka import KafkaBroker


@pytest.mark.slow
def test_it_runs_twice_on_a_real_broker(
    monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    monkeypatch.setattr(parts, "command_line", lambda role: python(str(FAKE), role))
    broker = KafkaBroker()
    try:
        broker.start()
    except UnavailableError as missing:
        require(condition=False, reason=str(missing))
    try:
        for _ in range(2):
            # The stand-in answers the first run's records again in the second: they are not the second's.
            choice = Choice(seconds=4.0, rate=8.0, as_json=True, broker=broker.bootstrap)
            assert Demo(choice, Console(file=io.StringIO())).run() == 0
            summary = json.loads(capfdbinary.readouterr().out.splitlines()[-1])
            assert summary["broker"] == f"broker {broker.bootstrap}"
            assert summary["broker_embedded"] is False
            assert summary["lost"] == 0
            assert summary["records_sent"] == summary["risk_events"] > 30
        found = topics.partition_counts({"bootstrap.servers": broker.bootstrap}, [spec.name for spec in TOPICS])
        assert found == {spec.name: spec.partitions for spec in TOPICS}
    finally:
        broker.stop()


def test_an_address_where_nobody_answers_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(topics, "TIMEOUT_S", 1.0)
    with pytest.raises(DemoError, match=r"broker 127\.0\.0\.1:1") as caught:
        Demo(Choice(broker="127.0.0.1:1"), Console(file=io.StringIO())).run()
    assert len(str(caught.value).splitlines()) == 1
