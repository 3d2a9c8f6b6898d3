"""The programs of README, the pages about emitting and the page of the transport, run as they stand there."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
from confluent_kafka import Producer

from tests.support import pages, require
from tests.support.kafka import KafkaBroker
from tests.support.kafka_jars import find_java, kafka_jars
from tests.support.pipeline import Pipeline
from tests.support.process import end, spawn

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


def test_the_producers_of_the_documentation_are_scored(pipeline: Pipeline, tmp_path: Path) -> None:
    """In Python and in Java: each run is a session of its own, so nothing is a repeat."""
    try:
        java, jars = find_java(), kafka_jars()
    except RuntimeError as missing:
        require(condition=False, reason=str(missing))
        raise
    worker = pipeline.start("worker")
    worker.wait_ready()
    for code in (pages.blocks("README.md", "python")[0], *pages.blocks("docs/how-to/emit-telemetry.md", "python")):
        program = tmp_path / "emit.py"
        program.write_text(f"BOOTSTRAP = {pipeline.broker.bootstrap!r}\n{code}")
        subprocess.run([sys.executable, str(program)], check=True, timeout=60)
    (code,) = pages.blocks("docs/how-to/emit-telemetry.md", "java")
    (tmp_path / "Emit.java").write_text(code)
    command = [java, "-cp", f"{jars}/*", str(tmp_path / "Emit.java"), pipeline.broker.bootstrap]
    subprocess.run(command, check=True, timeout=60, capture_output=True)
    pipeline.wait_answered(worker, 3)
    worker.stop()
    events = pipeline.risk_events()
    assert {event.decision.action for event in events} == {"allow"}
    assert sorted(event.flow for event in events) == ["login", "signup", "signup"]
    assert all(event.session_id.startswith("session-") for event in events)
    assert pipeline.audit(expected_dead_letters=[]).ok


def test_the_shortest_consumer_of_the_readme_acts_once() -> None:
    """The README's fragment, given a repeat and an event of another topic."""
    fragment = pages.blocks("README.md", "python")[1]
    acted: list[str] = []
    names: dict[str, object] = {"json": json, "last_seen": {}, "act": lambda session, *_: acted.append(session)}

    class Message:
        def __init__(self, session: str, topic_id: str, offset: int) -> None:
            self.body = {
                "session_id": session,
                "source": {"topic_id": topic_id, "partition": 0, "offset": offset},
                "decision": {"action": "allow"},
                "reasons": [],
            }

        def value(self) -> str:
            return json.dumps(self.body)

    for session, topic_id, offset in (("a", "x", 0), ("b", "x", 1), ("a", "x", 0), ("c", "y", 0), ("b", "x", 1)):
        exec(textwrap.dedent(fragment), {**names, "message": Message(session, topic_id, offset)})
    assert acted == ["a", "b", "c"]


def test_the_app_of_the_transports_page_handles_each_record(kafka_broker: KafkaBroker, tmp_path: Path) -> None:
    (code,) = pages.blocks("docs/reference/transport.md", "python")
    topic = kafka_broker.create_topic(partitions=2)
    handled = tmp_path / "handled"
    own = code.replace("localhost:9092", kafka_broker.bootstrap).replace('"events"', f'"{topic}"')
    own = own.replace('"copying"', f'"copying-{topic}"')
    assert own.count(topic) == 2
    (tmp_path / "copying.py").write_text(
        f"def handle(value):\n    with open({str(handled)!r}, 'ab') as f:\n        f.write(value + b'\\n')\n\n\n{own}"
    )
    written = [f"record {number}".encode() for number in range(50)]
    process = spawn([sys.executable, str(tmp_path / "copying.py"), "worker", "--without-web"], tmp_path / "log")
    try:
        producer = Producer({"bootstrap.servers": kafka_broker.bootstrap})
        for value in written:
            producer.produce(topic, value)
        assert producer.flush(30) == 0
        deadline = time.monotonic() + 90
        while time.monotonic() < deadline and process.poll() is None:
            if handled.exists() and len(handled.read_bytes().splitlines()) >= len(written):
                break
            time.sleep(0.1)
        assert process.poll() is None, (tmp_path / "log").read_text()[-2000:]
        assert sorted(handled.read_bytes().splitlines()) == sorted(written)
    finally:
        end(process)
