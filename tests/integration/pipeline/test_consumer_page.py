"""The consumers of the how-to page, run as they stand there: each input has its effect once, whatever dies."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import Popen

import pytest
from confluent_kafka import Consumer, TopicPartition

from schemas.envelope import encode
from tests.fault.load import simulated
from tests.integration.pipeline.test_dlq import told
from tests.support import UnavailableError, node, pages, require
from tests.support.kafka_jars import find_java, kafka_jars, tool_jars
from tests.support.pipeline import Pipeline
from tests.support.process import spawn

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

PAGE = "docs/how-to/consume-risk-events.md"
STATIC = {"KAFKA__GROUP_INSTANCE_ID": "the-only-one"}


@dataclass
class Service:
    """One program of the page in a folder of its own; it is killed and started again."""

    command: list[str]
    """How it is started; the broker's address follows."""
    folder: Path
    bootstrap: str
    keeps_position: bool = False
    """Whether its position is in its database, not in Kafka."""
    kills: int = 0
    process: Popen[bytes] | None = field(default=None)

    def start(self) -> None:
        # The program keeps its database where it is started.
        inside = ["/bin/sh", "-c", 'cd "$0" && exec "$@"', str(self.folder), *self.command, self.bootstrap]
        self.process = spawn(inside, self.folder / "log")

    def kill(self) -> None:
        assert self.process is not None
        assert self.process.poll() is None, (self.folder / "log").read_text()[-2000:]
        self.process.kill()
        self.process.wait()
        self.kills += 1

    def effects(self) -> Counter[str]:
        """How often each evaluation had its effect."""
        if not (self.folder / "risk-service.db").exists():
            return Counter()
        with sqlite3.connect(self.folder / "risk-service.db", timeout=30) as store:
            try:
                return Counter(row[0] for row in store.execute("SELECT evaluation_id FROM decision"))
            except sqlite3.OperationalError:
                return Counter()  # it has not made its table yet


def python_service(code: str, folder: Path) -> list[str]:
    (folder / "consumer.py").write_text(code)
    return [sys.executable, "consumer.py"]


def node_service(code: str, folder: Path) -> list[str]:
    (folder / "consumer.mjs").write_text(code)
    if not (folder / "node_modules").exists():
        (folder / "node_modules").symlink_to(node.packages())
    return [node.executable(), "consumer.mjs"]


def java_service(code: str, folder: Path) -> list[str]:
    jars = f"{kafka_jars()}/*:{tool_jars()}/*"
    (folder / "Consume.java").write_text(code)
    compiler = Path(find_java()).resolve().with_name("javac")
    require(compiler.exists(), "a Java compiler is needed (Debian: default-jdk-headless)")
    command = [str(compiler), "-Xlint:all", "-Werror", "-cp", jars, "-d", ".", "Consume.java"]
    subprocess.run(command, cwd=folder, check=True, timeout=120)
    return [find_java(), "-XX:TieredStopAtLevel=1", "-cp", f".:{jars}", "Consume"]


PUT = "properties.put"
PROGRAMS: list[tuple[Callable[[str, Path], list[str]], str, str, str]] = [
    (python_service, '"group.id": "risk-service"', '"group.id": "{}", "session.timeout.ms": 6000', "python"),
    (python_service, '"group.id": "risk-service"', '"group.id": "{}", "session.timeout.ms": 6000', "python, both"),
    (node_service, 'groupId: "risk-service"', 'groupId: "{}", sessionTimeout: 6000, heartbeatInterval: 500', "js"),
    (java_service, '"group.id", "risk-service"', f'"session.timeout.ms", "6000"); {PUT}("group.id", "{{}}"', "java"),
]  # fmt: skip
"""How each program of the page is made ready; what names its group, and what it becomes; what it is."""


def made_service(pipeline: Pipeline, folder: Path, number: int, group: str) -> Service:
    """Program `number` of the page in a group of its own, as services would be."""
    make, names_group, becomes, kind = PROGRAMS[number]
    codes = [*pages.blocks(PAGE, "python"), *pages.blocks(PAGE, "js"), *pages.blocks(PAGE, "java")]
    assert len(codes) == len(PROGRAMS)
    own = codes[number].replace(names_group, becomes.format(group))
    assert own != codes[number]
    try:
        folder.mkdir(exist_ok=True)
        command = make(own, folder)
    except UnavailableError as missing:
        require(condition=False, reason=str(missing))
        raise
    return Service(command, folder, pipeline.broker.bootstrap, keeps_position=kind == "python, both")


@pytest.fixture
def services(pipeline: Pipeline, tmp_path: Path) -> Iterator[list[Service]]:
    """All programs."""
    made = [
        made_service(pipeline, tmp_path / f"service-{number}", number, f"risk-service-{number}")
        for number in range(len(PROGRAMS))
    ]
    yield made
    for service in made:
        if service.process is not None and service.process.poll() is None:
            service.kill()


def test_each_input_has_its_effect_once(pipeline: Pipeline, services: list[Service], tmp_path: Path) -> None:
    assert len(services) == 4
    source = simulated(31, sessions_per_s=4.0, bot_ratio=0.3, start_ms=1_790_000_000_000)
    events = [next(source) for _ in range(900)]
    records: list[tuple[bytes | None, bytes | None]] = [(e.session_id.encode(), encode(e)) for e in events]
    spoilt, last = records[100], records[-1]
    records[100] = (spoilt[0], b"{" + (spoilt[1] or b""))
    for service in services:
        service.start()
    # Twice the worker dies between publishing and writing its state: what it published is published again, marked.
    pipeline.produce(records[:450])
    for moment in ("9", "4"):
        arguments = ["-m", "tests.fault.faulty_worker", "kill-after-publish", moment]
        dying = pipeline.start("worker", entry=arguments, **STATIC)
        assert dying.process.wait(180) == -9, dying.text()[-2000:]
        for service in services:
            service.kill()
            service.start()
    worker = pipeline.start("worker", **STATIC)
    worker.wait_ready()
    pipeline.produce(records[450:])
    pipeline.wait_committed(worker)
    # The dead letter is mended and sent again, long after later offsets were seen; and then once more.
    (letter,) = told(pipeline, "list")["latest"]
    mended = tmp_path / "mended.json"
    mended.write_bytes(spoilt[1] or b"")
    redrive = ("redrive", letter["id"], "--value-file", str(mended), "--yes")
    for service in services:
        service.kill()
        service.start()
    told(pipeline, *redrive)
    told(pipeline, *redrive, "--again")
    pipeline.produce([last])
    pipeline.wait_committed(worker)
    report = pipeline.audit()
    assert report.ok, str(report)
    assert (report.scored, report.dead_letters, report.redriven, report.duplicates) == (900, 1, 2, 2)
    assert report.replayed_repeats > 0, "nothing was repeated, so nothing was shown"
    answered = {event.evaluation_id for event in pipeline.risk_events()}
    assert len(answered) == 900
    deadline = time.monotonic() + 60
    for service in services:
        while service.effects().total() < 900 and time.monotonic() < deadline:
            time.sleep(0.2)
        # A repeat would come with what follows; nothing does, so look once more after everything was read.
        time.sleep(1.0)
        service.kill()
        effects = service.effects()
        assert {each: count for each, count in effects.items() if count != 1} == {}
        assert set(effects) == answered
        assert service.kills >= 4


def test_the_whole_topic_read_again_has_no_effect(pipeline: Pipeline, services: list[Service]) -> None:
    """A consumer whose position is lost reads everything again: what stands beside the effect drops it."""
    source = simulated(32, sessions_per_s=4.0, bot_ratio=0.3, start_ms=1_790_000_000_000)
    worker = pipeline.start("worker")
    worker.wait_ready()
    count = pipeline.produce_events(next(source) for _ in range(100))
    pipeline.wait_committed(worker)
    for service in services:
        service.start()
    for number, service in enumerate(services):
        worker.wait(lambda one=service: one.effects().total() == count, 60, "done with all events")
        service.kill()
        service.command = made_service(pipeline, service.folder, number, f"another-{number}").command
        if service.keeps_position:
            with sqlite3.connect(service.folder / "risk-service.db") as store:
                store.execute("DELETE FROM position")
        assert at_the_end(pipeline, service, number) is False
        service.start()
    for number, service in enumerate(services):
        worker.wait(lambda n=number, one=service: at_the_end(pipeline, one, n), 60, "read again to the end")
        service.kill()
        assert service.effects().total() == count
        assert set(service.effects().values()) == {1}


def at_the_end(pipeline: Pipeline, service: Service, number: int) -> bool:
    """Whether the program's position, wherever it keeps it, is the end of the topic."""
    ends = pipeline.ends("risk.events")
    if service.keeps_position:
        with sqlite3.connect(service.folder / "risk-service.db", timeout=30) as store:
            found = dict(store.execute("SELECT part, next FROM position"))
    else:
        asking = Consumer({"bootstrap.servers": pipeline.broker.bootstrap, "group.id": f"another-{number}"})
        asked = [TopicPartition("risk.events", part) for part in ends]
        found = {one.partition: max(0, one.offset) for one in asking.committed(asked, timeout=10)}
        asking.close()
    return all(found.get(part, 0) == end for part, end in ends.items())
