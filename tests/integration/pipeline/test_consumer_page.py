"""The consumers of the how-to page, run as they stand there: each input has its effect once, whatever dies."""

from __future__ import annotations

import re
import sqlite3
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import Popen

import pytest
from confluent_kafka import Consumer, TopicPartition

from schemas.envelope import encode
from tests.fault.load import simulated
from tests.integration.pipeline.test_dlq import told
from tests.support.pipeline import Pipeline
from tests.support.process import spawn

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

PAGE = Path("docs/how-to/consume-risk-events.md")
STATIC = {"KAFKA__GROUP_INSTANCE_ID": "the-only-one"}


@dataclass
class Service:
    """One program of the page in a folder of its own; it is killed and started again."""

    program: str
    folder: Path
    bootstrap: str
    kills: int = 0
    process: Popen[bytes] | None = field(default=None)

    def start(self) -> None:
        self.folder.mkdir(exist_ok=True)
        script = self.folder / "consumer.py"
        script.write_text(self.program)
        # The program keeps its database where it is started.
        inside = f"import os, runpy; os.chdir({str(self.folder)!r}); runpy.run_path('consumer.py', run_name='__main__')"
        self.process = spawn([sys.executable, "-c", inside, self.bootstrap], self.folder / "log")

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


def programs() -> list[str]:
    return re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)


@pytest.fixture
def services(pipeline: Pipeline, tmp_path: Path) -> Iterator[list[Service]]:
    """Both programs; in groups of their own, as two services would be."""
    made = []
    for number, program in enumerate(programs()):
        own = program.replace(
            '"group.id": "risk-service"', f'"group.id": "risk-service-{number}", "session.timeout.ms": 6000'
        )
        assert own != program
        made.append(Service(own, tmp_path / f"service-{number}", pipeline.broker.bootstrap))
    yield made
    for service in made:
        if service.process is not None and service.process.poll() is None:
            service.kill()


def test_each_input_has_its_effect_once(pipeline: Pipeline, services: list[Service], tmp_path: Path) -> None:
    assert len(services) == 2
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


@pytest.mark.parametrize("number", [0, 1])
def test_the_whole_topic_read_again_has_no_effect(pipeline: Pipeline, services: list[Service], number: int) -> None:
    """A consumer whose position is lost reads everything again: what stands beside the effect drops it."""
    service = services[number]
    source = simulated(32, sessions_per_s=4.0, bot_ratio=0.3, start_ms=1_790_000_000_000)
    worker = pipeline.start("worker")
    worker.wait_ready()
    count = pipeline.produce_events(next(source) for _ in range(100))
    pipeline.wait_committed(worker)
    service.start()
    worker.wait(lambda: service.effects().total() == count, 60, "done with all events")
    service.kill()
    service.program = re.sub(r'"group.id": "[^"]*"', '"group.id": "another"', service.program)
    if number:
        with sqlite3.connect(service.folder / "risk-service.db") as store:
            store.execute("DELETE FROM position")
    assert at_the_end(pipeline, service, number) is False
    service.start()
    worker.wait(lambda: at_the_end(pipeline, service, number), 60, "read again to the end")
    service.kill()
    assert service.effects().total() == count
    assert set(service.effects().values()) == {1}


def at_the_end(pipeline: Pipeline, service: Service, number: int) -> bool:
    """Whether the program's position, wherever it keeps it, is the end of the topic."""
    ends = pipeline.ends("risk.events")
    if number:
        with sqlite3.connect(service.folder / "risk-service.db", timeout=30) as store:
            found = dict(store.execute("SELECT part, next FROM position"))
    else:
        asking = Consumer({"bootstrap.servers": pipeline.broker.bootstrap, "group.id": "another"})
        asked = [TopicPartition("risk.events", part) for part in ends]
        found = {one.partition: max(0, one.offset) for one in asking.committed(asked, timeout=10)}
        asking.close()
    return all(found.get(part, 0) == end for part, end in ends.items())
