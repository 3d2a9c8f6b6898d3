"""Rows about offsets that hold no record: markers, compaction, and what retention took before it was read."""

from __future__ import annotations

import itertools
import re
import signal
import time
from collections.abc import Sequence

from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ResourceType,
)

from schemas.envelope import encode
from schemas.telemetry import Telemetry
from tests.fault.load import simulated
from tests.fault.observe import DEAD_LETTERS, EVENTS, INPUT
from tests.fault.row import Needs, row
from tests.fault.trial import Trial
from tests.support import ledger
from tests.support.ledger import Place, Record
from tests.support.pipeline import Pipeline, Process
from tests.support.process import Deadline

QUICK = Needs(broker_properties=(("log.cleaner.backoff.ms", "200"), ("log.retention.check.interval.ms", "500")))
_GAP = re.compile(r"gap in capture\.telemetry\[(\d+)\]: offsets (\d+) to (\d+) \(retention\)")


def _events(count: int) -> list[Telemetry]:
    return list(itertools.islice(simulated(3, 20.0, 0.3), count))


# --- gaps that are none of anybody's business ----------------------------------------------------------------


@row(
    number=19,
    fault="transaction markers and aborted transactions in the input, and at its very end",
    observables=("I1", "I2", "I3", "I4", "lag 0"),
)
def transactions(trial: Trial) -> None:
    pipeline = trial.pipeline(partitions=2)
    worker = pipeline.start("worker")
    worker.wait_ready()
    producer = Producer(
        {"bootstrap.servers": pipeline.broker.bootstrap, "transactional.id": pipeline.group, "linger.ms": 2}
    )
    producer.init_transactions(30)
    rounds = trial.count(ci=3, full=30)
    events = _events(rounds * 120)
    for turn in range(rounds):
        batch = events[turn * 120 : (turn + 1) * 120]
        _transaction(producer, batch[:100], commit=True)
        # These sessions go on in the next round: what was aborted must have left no trace in their state.
        _transaction(producer, batch[100:], commit=False)
        trial.faulted("a transaction was aborted")
        _until_at_the_end(trial, pipeline, worker)
    trial.judge(pipeline)


def _transaction(producer: Producer, events: Sequence[Telemetry], *, commit: bool) -> None:
    producer.begin_transaction()
    for event in events:
        producer.produce(INPUT, encode(event), event.session_id.encode())
    assert producer.flush(30) == 0
    if commit:
        producer.commit_transaction(30)
    else:
        producer.abort_transaction(30)


@row(
    number=19,
    fault="an input topic that was compacted: most offsets hold no record any more",
    observables=("I1", "I2", "I3", "I4", "lag 0"),
    needs=QUICK,
    in_ci=False,
)
def compacted(trial: Trial) -> None:
    pipeline = trial.pipeline(partitions=2)
    events = _events(trial.count(ci=600, full=6_000))
    _configure(
        pipeline,
        {
            "cleanup.policy": "compact",
            "segment.ms": "100",
            "min.cleanable.dirty.ratio": "0.01",
            "max.compaction.lag.ms": "100",
        },
    )
    sent = pipeline.produce_events(events[:-20])
    deadline = Deadline(60, pause_s=0.5)
    while deadline.waits():
        # An append closes a segment that is old enough; only closed ones are compacted.
        sent += pipeline.produce_events(events[-1:])
        if len(list(ledger.read_topic(pipeline.broker.bootstrap, INPUT))) < 0.7 * sent:
            break
    trial.faulted("compacted")
    worker = pipeline.start("worker")
    worker.wait_ready()
    _until_at_the_end(trial, pipeline, worker)
    evidence = trial.judge(pipeline)
    holes = sum(pipeline.ends(INPUT).values()) - len(evidence.inputs)
    trial.outcome.note = f"{holes} offsets without a record"
    trial.outcome.check("lag 0", holes > 0.3 * sent, f"only {holes} of {sent} records were compacted away")


# --- what retention took -----------------------------------------------------------------------------------


@row(
    number=20,
    fault="retention takes records that were not read yet, while no worker runs",
    observables=("I1", "told", "lag 0"),
)
def retention_while_away(trial: Trial) -> None:
    pipeline = trial.pipeline()
    events = _events(trial.count(ci=1_000, full=10_000))
    worker = pipeline.start("worker")
    worker.wait_ready()
    pipeline.produce_events(events[: len(events) // 3])
    pipeline.wait_committed(worker)
    assert worker.stop() == 0
    pipeline.produce_events(events[len(events) // 3 :])
    inputs = list(ledger.read_topic(pipeline.broker.bootstrap, INPUT))
    ends, committed = pipeline.ends(INPUT), pipeline.committed()
    _take_away(pipeline, {p: (committed[p] + end) // 2 for p, end in ends.items()})
    trial.faulted("records are gone")
    worker = pipeline.start("worker")
    worker.wait_ready()
    _until_at_the_end(trial, pipeline, worker)
    _judge_what_is_left(trial, pipeline, worker, inputs)


@row(
    number=20,
    fault="retention overtakes a running worker: its position is no longer in the log",
    observables=("I1", "told", "lag 0"),
    in_ci=False,
)
def retention_overtakes(trial: Trial) -> None:
    pipeline = trial.pipeline()
    events = _events(trial.count(ci=1_600, full=8_000))
    quarter = len(events) // 4
    worker = pipeline.start("worker")
    worker.wait_ready()
    pipeline.produce_events(events[:quarter])
    pipeline.wait_committed(worker)
    worker.process.send_signal(signal.SIGSTOP)  # for less than its session
    pipeline.produce_events(events[quarter : 2 * quarter])  # a fetch that was waiting takes some of these along
    time.sleep(0.5)
    pipeline.produce_events(events[2 * quarter : 3 * quarter])
    inputs = list(ledger.read_topic(pipeline.broker.bootstrap, INPUT))
    _take_away(pipeline, pipeline.ends(INPUT))
    trial.faulted("records are gone")
    worker.process.send_signal(signal.SIGCONT)
    first = pipeline.ends(INPUT)
    pipeline.produce_events(events[3 * quarter :])
    _until_at_the_end(trial, pipeline, worker)
    known = {(record.partition, record.offset) for record in inputs}
    rest = ledger.read_topic(pipeline.broker.bootstrap, INPUT)
    inputs += [record for record in rest if (record.partition, record.offset) not in known]
    assert all(record.offset >= first[record.partition] for record in inputs[len(known) :])
    _judge_what_is_left(trial, pipeline, worker, inputs)


def _judge_what_is_left(trial: Trial, pipeline: Pipeline, worker: Process, inputs: Sequence[Record]) -> None:
    """Check that what was lost is what was told, record for record, and that all else has its one outcome."""
    told: set[Place] = set()
    for partition, first, last in _GAP.findall(worker.text()):
        told |= {(int(partition), offset) for offset in range(int(first), int(last) + 1)}
    counted = worker.metric('tellwire_gap_records_total{reason="retention"}')
    bootstrap = pipeline.broker.bootstrap
    report = ledger.check(
        [record for record in inputs if (record.partition, record.offset) not in told],
        ledger.read_topic(bootstrap, EVENTS),
        ledger.read_topic(bootstrap, DEAD_LETTERS),
        input_topic=INPUT,
        input_topic_id=ledger.topic_id(bootstrap, INPUT),
    )
    trial.outcome.events += len(inputs)
    trial.outcome.note = f"{len(told)} lost records told, with their offsets"
    trial.outcome.check("I1", report.ok and report.inputs > 0, str(report))
    trial.outcome.check("told", told and counted == len(told), f"{len(told)} in the log, {counted:.0f} in the metric")


def _take_away(pipeline: Pipeline, below: dict[int, int]) -> None:
    """Delete the records below these offsets, as retention does."""
    asked = [TopicPartition(INPUT, number, offset) for number, offset in below.items()]
    # A client of its own: the shared one may remember the partitions of an earlier topic of this name.
    admin = AdminClient({"bootstrap.servers": pipeline.broker.bootstrap, "log_level": 0})
    for future in admin.delete_records(asked).values():
        future.result()


def _until_at_the_end(trial: Trial, pipeline: Pipeline, worker: Process) -> None:
    """Wait until the committed offset is the log's end, markers included; then the worker itself must say so."""
    pipeline.wait_committed(worker)
    deadline = Deadline(10)
    lag = -1.0
    while deadline.waits() and (lag := worker.metric("tellwire_consumer_lag_records")) != 0.0:
        pass
    trial.outcome.check("lag 0", lag == 0.0, f"committed up to the end; the worker says {lag:.0f}")


def _configure(pipeline: Pipeline, config: dict[str, str]) -> None:
    entries = [ConfigEntry(k, v, incremental_operation=AlterConfigOpType.SET) for k, v in config.items()]
    resource = ConfigResource(ResourceType.TOPIC, INPUT, incremental_configs=entries)
    for future in pipeline.broker.admin.incremental_alter_configs([resource]).values():
        future.result()
