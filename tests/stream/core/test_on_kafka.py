"""Topics, and the tail of an output topic, against a real broker."""

from __future__ import annotations

import dataclasses
import functools
import json
import time
import uuid
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from confluent_kafka import Producer
from typer.testing import CliRunner

from schemas.topics import TOPICS, TopicSpec
from stream import tail, topics
from stream.cli import app as command_line
from stream.embedded import EmbeddedBroker
from stream.process import check_topics
from stream.settings import KafkaSettings, SettingsError
from stream.topics import BrokerError, Difference
from tests.support.kafka import KafkaBroker

NOWHERE = {"bootstrap.servers": "127.0.0.1:1", "log_level": 0}


def properties(broker: KafkaBroker) -> dict[str, Any]:
    return {"bootstrap.servers": broker.bootstrap, "log_level": 0}


@pytest.fixture
def specs() -> tuple[TopicSpec, ...]:
    """The table of topics under names of this test alone."""
    mark = uuid.uuid4().hex[:8]

    def renamed(spec: TopicSpec) -> TopicSpec:
        partner = spec.co_partitioned_with
        return msgspec.structs.replace(
            spec, name=f"{spec.name}.{mark}", co_partitioned_with=f"{partner}.{mark}" if partner else None
        )

    return tuple(renamed(spec) for spec in TOPICS)


def counts(broker: KafkaBroker, specs: tuple[TopicSpec, ...]) -> list[int]:
    found = topics.partition_counts(properties(broker), [spec.name for spec in specs])
    return [found[spec.name] for spec in specs]


def test_apply_makes_what_diff_misses(kafka_broker: KafkaBroker, specs: tuple[TopicSpec, ...]) -> None:
    missing = topics.diff(properties(kafka_broker), specs)
    assert [(d.topic, d.what, d.found, d.fixable) for d in missing] == [
        (spec.name, "topic", "missing", True) for spec in specs
    ]
    assert topics.apply(properties(kafka_broker), specs) == missing
    assert topics.diff(properties(kafka_broker), specs) == []
    assert counts(kafka_broker, specs) == [spec.partitions for spec in specs]
    assert topics.apply(properties(kafka_broker), specs) == []


def test_apply_mends_a_configuration_and_leaves_others(kafka_broker: KafkaBroker, specs: tuple[TopicSpec, ...]) -> None:
    spec = specs[0]
    wrong = dict(spec.config) | {"retention.ms": "1000", "compression.type": "lz4", "segment.ms": "123456"}
    kafka_broker.create_topic(spec.name, partitions=4, config=wrong)
    found = topics.diff(properties(kafka_broker), [spec])
    assert sorted(found, key=lambda d: d.what) == [
        Difference(spec.name, "compression.type", "lz4", "uncompressed", fixable=True),
        Difference(spec.name, "retention.ms", "1000", spec.config["retention.ms"], fixable=True),
    ]
    assert topics.apply(properties(kafka_broker), [spec]) == found
    assert topics.diff(properties(kafka_broker), [spec]) == []
    (left,) = topics._configs(kafka_broker.admin, [spec.name]).values()
    assert left["segment.ms"] == "123456"


def test_partitions_of_the_telemetry_hold_for_what_goes_with_it(
    kafka_broker: KafkaBroker, specs: tuple[TopicSpec, ...]
) -> None:
    kafka_broker.create_topic(specs[0].name, partitions=6, config=specs[0].config)
    # The table's 4 partitions for risk events would never fit.
    topics.apply(properties(kafka_broker), specs, partitions=None)
    together = [spec.co_partitioned_with is not None or spec is specs[0] for spec in specs]
    wanted = [6 if yes else spec.partitions for spec, yes in zip(specs, together, strict=True)]
    assert counts(kafka_broker, specs) == wanted
    assert topics.diff(properties(kafka_broker), specs) == []


def test_apply_with_a_count_gives_it_to_all_that_go_together() -> None:
    wanted = functools.partial(topics._wanted_partitions, leaders={"capture.telemetry"})
    together = [spec.name for spec in TOPICS if wanted(spec, there={}, partitions=12) == 12]
    assert together == ["capture.telemetry", "risk.events", "risk.deadletter", "risk.features"]
    assert [wanted(spec, there={}, partitions=None) for spec in TOPICS] == [spec.partitions for spec in TOPICS]
    there = {"capture.telemetry": 7}
    assert {wanted(spec, there=there, partitions=12) for spec in TOPICS if spec.co_partitioned_with} == {7}


def test_a_partition_count_is_told_and_never_changed(kafka_broker: KafkaBroker, specs: tuple[TopicSpec, ...]) -> None:
    telemetry, events = specs[0], next(s for s in specs if s.name.startswith("risk.events"))
    kafka_broker.create_topic(telemetry.name, partitions=3, config=telemetry.config)
    kafka_broker.create_topic(events.name, partitions=2, config=events.config)
    wrong = [Difference(events.name, "partitions", "2", f"3 as {telemetry.name}", fixable=False)]
    assert topics.diff(properties(kafka_broker), [telemetry, events]) == wrong
    assert topics.apply(properties(kafka_broker), [telemetry, events], partitions=3) == []
    assert topics.diff(properties(kafka_broker), [telemetry, events]) == wrong


def test_a_worker_is_told_which_topics_are_missing(kafka_broker: KafkaBroker) -> None:
    there = kafka_broker.create_topic(partitions=2)
    kafka = KafkaSettings(bootstrap_servers=kafka_broker.bootstrap)
    assert check_topics(kafka, [there]) == {there: 2}
    with pytest.raises(BrokerError, match=r"topics missing on .*: absent\.x; run `tellwire topics apply`"):
        check_topics(kafka, [there, "absent.x"])


@pytest.mark.parametrize("call", [topics.diff, topics.apply, functools.partial(topics.partition_counts, names=["x"])])
def test_a_broker_that_is_not_there_is_one_line(
    monkeypatch: pytest.MonkeyPatch, call: Callable[[dict[str, Any]], object]
) -> None:
    monkeypatch.setattr(topics, "TIMEOUT_S", 0.3)
    with pytest.raises(BrokerError, match=r"^broker 127\.0\.0\.1:1: .*reachable from here, with this .*\?$"):
        call(NOWHERE)
    with pytest.raises(SettingsError, match=r"TELLWIRE_KAFKA__PROPERTIES\): No such configuration property"):
        call({"no.such": "1"})


def test_a_broker_without_topic_ids_is_one_line_that_names_the_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(topics, "TIMEOUT_S", 1.0)
    with (
        EmbeddedBroker({"capture.telemetry": 1}) as broker,
        pytest.raises(BrokerError, match=r"tells no topic ids; .* set kafka\.fixed_topic_id \(TELLWIRE_KAFKA__FIXED"),
    ):
        topics.topic_ids({"bootstrap.servers": broker.bootstrap, "log_level": 0}, ["capture.telemetry"])
    with pytest.raises(BrokerError, match="reachable from here"):
        topics.topic_ids(NOWHERE, ["capture.telemetry"])


def event(offset: int, topic_id: str = "T") -> bytes:
    source = {"topic": "capture.telemetry", "topic_id": topic_id, "partition": 0, "offset": offset}
    return json.dumps({"type": "risk.event.v1", "source": source, "more": [1]}).encode()


def produce(broker: KafkaBroker, topic: str, partition: int, *values: bytes, times_ms: tuple[int, ...] = ()) -> None:
    producer = Producer(properties(broker))
    for i, value in enumerate(values):
        producer.produce(topic, value, partition=partition, timestamp=times_ms[i] if times_ms else 0)
        producer.flush(10)


def test_the_last_event_of_each_partition_says_what_was_published(kafka_broker: KafkaBroker) -> None:
    topic = kafka_broker.create_topic(partitions=5)
    produce(kafka_broker, topic, 0, event(1), event(2), event(41))
    produce(kafka_broker, topic, 1, event(7))
    produce(kafka_broker, topic, 2, event(9), event(99, topic_id="an earlier topic"))
    produce(kafka_broker, topic, 3, event(9), b"not json")
    found = tail.last_published(properties(kafka_broker), topic, "T", range(5))
    assert found == {0: 41, 1: 7, 3: 9}
    assert tail.last_published(properties(kafka_broker), topic, "T", [1]) == {1: 7}
    assert tail.last_published(properties(kafka_broker), topic, "T", [4]) == {}


def again(offset: int, **flags: bool) -> bytes:
    return json.dumps({**json.loads(event(offset)), **flags}).encode()


def test_after_a_crash_in_what_is_published_again_the_first_publications_still_count(kafka_broker: KafkaBroker) -> None:
    """0 to 299 were published and not written; then twice a few of them again, and a process died each time."""
    topic = kafka_broker.create_topic(partitions=3)
    first = [event(offset) for offset in range(300)]
    repeats = [again(offset, replayed=True) for offset in [*range(5), *range(12)]]
    produce(kafka_broker, topic, 0, *first, *repeats)
    produce(kafka_broker, topic, 1, *repeats, again(400, replayed=True))
    produce(kafka_broker, topic, 2, event(3), again(7, redriven=True))
    assert tail.last_published(properties(kafka_broker), topic, "T", range(3)) == {0: 299, 1: 400, 2: 7}


@pytest.mark.parametrize(
    ("values", "reach"),
    [
        ([], (None, False)),
        ([event(5)], (5, True)),
        ([again(5, replayed=True)], (5, False)),
        ([event(9), again(5, replayed=True)], (9, True)),
        ([event(9), again(12, replayed=True), again(5, replayed=True)], (12, True)),
        # Its source is where it is now, so it may be the last thing that was published before a crash.
        ([event(9), again(12, redriven=True)], (12, True)),
        ([event(9), again(12, redriven=True), again(5, replayed=True)], (12, True)),
        ([event(9), b"", None, b"[", b"\xff"], (9, True)),
        ([event(9), event(50, topic_id="earlier"), again(2, replayed=True)], (2, True)),
        ([event(9), event(50, topic_id="earlier")], (None, True)),
        # A frozen worker's, appended when it woke: its heir had got further.
        ([event(9), event(12), event(7), event(8)], (12, True)),
        ([event(12), event(7), again(3, replayed=True)], (12, True)),
    ],
)
def test_how_far_the_last_events_reach(values: list[bytes | None], reach: tuple[int | None, bool]) -> None:
    found = tail.Reach("T")
    for value in values:
        found.add(value)
    assert (found.offset, found.is_sure) == reach


def test_late_events_of_a_frozen_worker_hide_nothing(kafka_broker: KafkaBroker) -> None:
    """Its heir had published up to 400 when what it had handed over before, 200 to 320, was appended at last."""
    topic = kafka_broker.create_topic()
    produce(kafka_broker, topic, 0, *(event(offset) for offset in [*range(300, 401), *range(200, 321)]))
    assert tail.last_published(properties(kafka_broker), topic, "T", [0]) == {0: 400}


def test_a_tail_that_cannot_be_read_is_one_line_in_time(kafka_broker: KafkaBroker) -> None:
    began = time.monotonic()
    with pytest.raises(BrokerError, match=r"^risk\.events: "):
        tail.last_published(NOWHERE, "risk.events", "T", [0], timeout_s=0.5)
    with pytest.raises(BrokerError, match=r"^no\.such\.topic: "):
        tail.last_published(properties(kafka_broker), "no.such.topic", "T", [0], timeout_s=0.5)
    with pytest.raises(BrokerError, match=r"^risk\.events\[3\]: "):
        tail.offset_at(NOWHERE, "risk.events", 3, 0, timeout_s=0.5)
    assert time.monotonic() - began < 10


def test_offset_at_is_the_first_append_at_or_after_a_time(kafka_broker: KafkaBroker) -> None:
    topic = kafka_broker.create_topic(partitions=2)
    now = time.time_ns() // 1_000_000
    times = (now - 3_000, now - 2_000, now - 1_000)
    produce(kafka_broker, topic, 1, b"a", b"b", b"c", times_ms=times)
    asked = functools.partial(tail.offset_at, properties(kafka_broker), topic, 1)
    assert [asked(at) for at in (-5, times[0], times[0] + 1, times[2], times[2] + 1)] == [0, 0, 1, 2, None]
    assert tail.offset_at(properties(kafka_broker), topic, 0, 0) is None


def test_the_command_line_tells_makes_and_tells_again(
    kafka_broker: KafkaBroker, specs: tuple[TopicSpec, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    real_diff, real_apply = topics.diff, topics.apply
    monkeypatch.setattr(topics, "diff", lambda p, chosen=specs: real_diff(p, chosen))
    monkeypatch.setattr(topics, "apply", lambda p, **more: real_apply(p, specs, **more))
    monkeypatch.setenv("TELLWIRE_KAFKA__BOOTSTRAP_SERVERS", kafka_broker.bootstrap)

    def run(*arguments: str) -> tuple[int, str]:
        done = CliRunner().invoke(command_line, ["topics", *arguments])
        return done.exit_code, done.stdout

    code, text = run("diff")
    assert code == 1
    assert text.splitlines() == [f"{s.name}: topic differs missing, wanted {s.partitions} partitions" for s in specs]
    code, text = run("diff", "--json")
    assert code == 1
    assert json.loads(text) == [dataclasses.asdict(d) for d in real_diff(properties(kafka_broker), specs)]
    code, text = run("apply", "--partitions", "2", "--json")
    assert code == 0, text
    told = json.loads(text)
    assert [d["topic"] for d in told["mended"]] == [s.name for s in specs]
    assert told["left"] == []
    assert run("diff") == (0, "all topics are as they should be\n")
    assert json.loads(run("diff", "--json")[1]) == []
    assert run("apply") == (0, "all topics are as they should be\n")
    assert counts(kafka_broker, specs) == [2, 4, 4, 2, 2, 2, 1]


def test_the_command_line_says_what_it_cannot_mend(monkeypatch: pytest.MonkeyPatch) -> None:
    left = [Difference("risk.events", "partitions", "2", "3 as capture.telemetry", fixable=False)]
    monkeypatch.setattr(topics, "diff", lambda _: left)
    monkeypatch.setattr(topics, "apply", lambda _, **__: [])
    done = CliRunner().invoke(command_line, ["topics", "apply"])
    assert done.exit_code == 1
    assert "needs a drain and a person" in done.stderr
    assert "risk.events: partitions differs 2, wanted 3 as capture.telemetry" in done.output
