"""Outages and stops on real servers: what probes say, that no watchdog acts, and that every stop is short."""

from __future__ import annotations

import contextlib
import itertools
import json
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from confluent_kafka import KafkaException

from schemas.telemetry import Telemetry
from stream.exit_status import STUCK
from tests.fault.load import simulated
from tests.support.pipeline import Pipeline, Process
from tests.support.process import Deadline

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

IMPATIENT = {"HEALTH__STALL_S": "5", "HEALTH__RESTART_S": "10"}
OUTAGE_S = 14.0
STOP_S = 10.0


def events(count: int, seed: int) -> list[Telemetry]:
    return list(itertools.islice(simulated(seed, 30.0, 0.3), count))


@contextmanager
def redis_away(pipeline: Pipeline) -> Iterator[None]:
    pipeline.redis.pause()
    try:
        yield
    finally:
        pipeline.redis.resume()


@contextmanager
def kafka_away(pipeline: Pipeline) -> Iterator[None]:
    pipeline.broker.pause()
    try:
        yield
    finally:
        pipeline.broker.resume()
        # A broker that was away for longer than its own session is let in again after a moment.
        deadline = Deadline(30)
        while deadline.waits():
            with contextlib.suppress(KafkaException):
                pipeline.answers()
                break


def report(process: Process) -> dict[str, object]:
    found: dict[str, object] = json.loads(process.get("/readyz")[1])
    return found


def stopped_in_time(process: Process) -> str:
    """Stop it with SIGTERM; return what it said meanwhile."""
    said = len(process.text())
    began = time.monotonic()
    process.process.send_signal(signal.SIGTERM)
    status = process.process.wait(30)
    took_s = time.monotonic() - began
    text = process.text()[said:]
    assert status == 0, text
    assert took_s < STOP_S, text
    assert "Traceback" not in text
    return text


def test_an_outage_of_redis_is_no_stall_and_no_reason_for_the_watchdog(pipeline: Pipeline) -> None:
    worker = pipeline.start("worker", **IMPATIENT)
    worker.wait_ready()
    with redis_away(pipeline):
        inputs = pipeline.produce_events(events(300, 1))
        worker.wait(lambda: report(worker)["phase"] == "waiting", 15, "waiting")
        until = time.monotonic() + OUTAGE_S
        while time.monotonic() < until:
            assert worker.get("/livez")[0] == 200
            assert worker.get("/readyz")[0] == 503
            assert report(worker)["waiting_for"] == ["store"]
            time.sleep(0.5)
        assert worker.metric('tellwire_waiting_for{dependency="store"}') == 1
    worker.wait_ready()
    pipeline.wait_answered(worker, inputs)
    assert pipeline.audit().ok
    assert stopped_in_time(worker)


@pytest.mark.parametrize("away", [redis_away, kafka_away])
def test_a_stop_in_an_outage_is_short_and_loses_nothing(pipeline: Pipeline, away: object) -> None:
    processes = [pipeline.start("worker"), pipeline.start("learner")]
    for process in processes:
        process.wait_ready()
    inputs = pipeline.produce_events(events(300, 2))
    with away(pipeline):  # type: ignore[operator]
        time.sleep(3.0)
        if away is redis_away:
            inputs += pipeline.produce_events(events(300, 3))
        time.sleep(1.0)
        for process in processes:
            stopped_in_time(process)
    successor = pipeline.start("worker")
    pipeline.wait_answered(successor, inputs)
    pipeline.wait_committed(successor)
    assert pipeline.audit().ok


def test_a_stop_during_a_long_chunk_gives_it_up_and_its_successor_takes_it(pipeline: Pipeline) -> None:
    slow = pipeline.start("worker", entry=["-m", "tests.fault.faulty_worker", "slow", "session", "60"])
    slow.wait_ready()
    inputs = pipeline.produce_events(events(50, 4))
    slow.wait(lambda: "fault: slow" in slow.text(), 20, "at work")
    text = stopped_in_time(slow)
    assert "stopped with chunks in flight, to be read again" in text
    successor = pipeline.start("worker")
    pipeline.wait_answered(successor, inputs)
    report = pipeline.audit()
    assert report.ok
    assert report.replayed_repeats == 0


def test_a_chunk_that_never_ends_ends_the_process_and_its_successor_takes_it(pipeline: Pipeline) -> None:
    stuck = pipeline.start("worker", entry=["-m", "tests.fault.faulty_worker", "slow", "session", "600"], **IMPATIENT)
    stuck.wait_ready()
    inputs = pipeline.produce_events(events(50, 6))
    stuck.wait(lambda: report(stuck).get("phase") == "stalled", 20, "stalled")
    assert stuck.get("/livez")[0] == 200
    assert stuck.process.wait(20) == STUCK, stuck.text()
    text = stuck.text()
    assert "records wait and no chunk was finished, though broker and store answer, for" in text
    assert "place=capture.telemetry[" in text
    assert "task Worker._score stands at" in text
    successor = pipeline.start("worker")
    pipeline.wait_answered(successor, inputs)
    assert pipeline.audit().ok


def test_signals_that_come_again_and_again_change_nothing(pipeline: Pipeline) -> None:
    worker = pipeline.start("worker")
    worker.wait_ready()
    inputs = pipeline.produce_events(events(300, 5))
    worker.wait(lambda: pipeline.answers() > 0, 20, "at work")
    began = time.monotonic()
    while worker.process.poll() is None and time.monotonic() - began < STOP_S:
        worker.process.send_signal(signal.SIGTERM)
        time.sleep(0.01)
    assert worker.process.wait(1) == 0, worker.text()
    successor = pipeline.start("worker")
    pipeline.wait_answered(successor, inputs)
    assert pipeline.audit().replayed_repeats == 0
