"""The reader of snapshots: only what is latest, whole pairs only, and nothing that a record holds can stop it."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, cast

import msgspec
import numpy as np
import pytest
from confluent_kafka import KafkaError, Message, Producer

from features.registry import N_FEATURES, NAMES, REGISTRY_HASH
from models.anomaly_learn import AnomalyLearner
from models.calibration import CalibrationBuilder
from models.cells import Cell
from models.snapshots import EMPTY, SnapshotSet, make_snapshot
from schemas.base import Flow
from schemas.envelope import encode
from schemas.risk import CHANNELS
from schemas.snapshot import Snapshot
from stream.learner import records_of
from stream.metrics import Metrics
from stream.snapshots import SnapshotReader
from stream.tail import record_at
from tests.stream.core.doubles import FakeRecord
from tests.support.kafka import KafkaBroker
from tests.support.snapshots import DAMAGES, damaged

NOWHERE = {"bootstrap.servers": "127.0.0.1:1", "log_level": 0}
DAY_MS = 24 * 3_600_000


def a_pair(seed: int, *, flow: Flow = "signup", features_hash: str = REGISTRY_HASH) -> tuple[Snapshot, Snapshot]:
    """A calibration, and the trees that it was made for."""
    columns = np.arange(3, dtype=np.int64)
    names = [NAMES[i] for i in columns]
    learner = AnomalyLearner(names, columns, np.zeros(3), np.ones(3), n_trees=3, height=3, window_size=5, seed=seed)
    learner.learn(np.random.default_rng(seed).random((12, N_FEATURES)))
    trees = learner.export()
    builder = CalibrationBuilder()
    for i in range(60):
        builder.add(f"p{i}", Cell(flow, "mouse", "web", "lt3s"), [(i + seed) / 99] * len(CHANNELS))
    known: dict[str, Any] = {
        "features_hash": features_hash,
        "created_at": 1_700_000_000_000 + seed,
        "offsets": {"0": seed},
        "n_learnt": 12,
    }
    table = make_snapshot(builder.build("live"), flow, trees=trees.hash, **known)
    return table, make_snapshot(trees, flow, **known)


@dataclass
class Polled(FakeRecord):
    """What a consumer's poll returns: a record, or an event of the partition."""

    event: int | None = None
    the_offset: int | None = field(default_factory=itertools.count().__next__)

    def error(self) -> KafkaError | None:
        return None if self.event is None else KafkaError(self.event)


END = Polled(None, event=KafkaError._PARTITION_EOF)


def polled(value: bytes | None, key: str, **more: Any) -> Polled:
    return Polled(value, the_key=key.encode(), **more)


def all_of(*snapshots: Snapshot, at_ms: int = 1_700_000_000_000) -> list[Polled]:
    return [Polled(one.value, the_key=one.key, append_ms=at_ms) for one in records_of(*snapshots)]


@pytest.fixture
def reader() -> Iterator[SnapshotReader]:
    found = SnapshotReader(NOWHERE, Metrics())
    found._fetch = lambda _: None  # type: ignore[method-assign, assignment]
    yield found
    found.stop()


def give(reader: SnapshotReader, *messages: Polled) -> None:
    for one in messages:
        reader._read(cast("Message", one))


def refused(reader: SnapshotReader) -> float:
    return reader._metrics.registry.get_sample_value("tellwire_snapshots_rejected_total") or 0.0


def members(*snapshots: Snapshot) -> dict[str, str]:
    return {f"{one.kind}/{one.flow}": one.hash for one in snapshots}


def test_history_is_not_walked_through(reader: SnapshotReader, monkeypatch: pytest.MonkeyPatch) -> None:
    applied: list[str] = []
    real = SnapshotSet.apply

    def spied(self: SnapshotSet, snapshot: Snapshot, *more: Any) -> SnapshotSet:
        applied.append(snapshot.hash)
        return real(self, snapshot, *more)

    monkeypatch.setattr(SnapshotSet, "apply", spied)
    pairs = [a_pair(seed) for seed in range(5)]
    for pair in pairs:
        give(reader, *all_of(*pair))
    assert reader.current is EMPTY
    assert not reader.wait(0.01)
    give(reader, END)
    assert reader.wait(0.01)
    assert sorted(applied) == sorted(one.hash for one in pairs[-1])
    assert reader.current.members == members(*pairs[-1])
    give(reader, *all_of(*a_pair(9)))
    assert reader.current.members == members(*a_pair(9))


@pytest.mark.parametrize("first", [0, 1])
def test_both_halves_are_swapped_in_at_once_in_either_order(reader: SnapshotReader, first: int) -> None:
    old, new = a_pair(1), a_pair(2)
    give(reader, END, *all_of(*old))
    served = [reader.current.members]
    for one in (new[first], new[1 - first]):
        give(reader, *all_of(one))
        served.append(reader.current.members)
    assert served == [members(*old), members(*old), members(*new)]
    value = reader._metrics.registry.get_sample_value
    for kind in ("anomaly_hst", "calibration"):
        label = {"kind": kind, "flow": "signup"}
        assert value("tellwire_snapshot_timestamp_seconds", label) == new[0].created_at / 1000


def test_trees_and_offsets_for_the_learner_are_of_one_snapshot(reader: SnapshotReader) -> None:
    table, trees = a_pair(3)
    give(reader, END, *all_of(trees))
    assert reader.current.members == {}
    assert (reader.learnt["signup"].trees.hash, reader.learnt["signup"].offsets) == (trees.hash, {0: 3})
    before = reader.learnt
    give(reader, *all_of(table), *all_of(msgspec.structs.replace(a_pair(4)[1], hash="0" * 64)))
    assert reader.learnt is before
    give(reader, *all_of(a_pair(5)[1]))
    assert (reader.learnt["signup"].trees.hash, reader.learnt["signup"].offsets) == (a_pair(5)[1].hash, {0: 5})
    assert before["signup"].offsets == {0: 3}


def test_another_registry_is_told_once(reader: SnapshotReader, caplog: pytest.LogCaptureFixture) -> None:
    foreign = [a_pair(1, flow="login", features_hash="other"), a_pair(2, features_hash="other")]
    for pair in foreign:
        give(reader, *all_of(*pair))
    give(reader, END, *all_of(*foreign[0]))
    assert [(r.levelname, "feature registry other" in r.getMessage()) for r in caplog.records] == [("WARNING", True)]
    assert refused(reader) == 6
    assert reader.current is EMPTY
    assert reader.learnt == {}


def test_old_keys_by_hash_are_told_until_they_have_a_tombstone(reader: SnapshotReader) -> None:
    old, newer, latest = a_pair(1), a_pair(2), a_pair(3)
    for days, pair in enumerate((old, newer, latest)):
        give(reader, *all_of(*pair, at_ms=days * DAY_MS))
    give(reader, END)

    def keys(*snapshots: Snapshot) -> set[bytes]:
        return {f"{one.kind}/{one.flow}/{one.hash}".encode() for one in snapshots}

    assert reader.superseded(0) == []
    # One is always kept to fall back to, however old it is.
    assert set(reader.superseded(DAY_MS)) == keys(*old)
    assert set(reader.superseded(30 * DAY_MS)) == keys(*old)
    give(reader, *(polled(None, key.decode()) for key in keys(*old)), polled(b"{", "odd"), polled(None, "odd"))
    assert set(reader.superseded(30 * DAY_MS)) == set()
    give(reader, *all_of(*a_pair(4), at_ms=3 * DAY_MS))
    assert set(reader.superseded(2 * DAY_MS)) == keys(*newer)
    give(reader, *all_of(*a_pair(5), at_ms=4 * DAY_MS))
    assert set(reader.superseded(30 * DAY_MS)) == keys(*newer, *latest)


@pytest.mark.parametrize("half", [0, 1])
@pytest.mark.parametrize("how", DAMAGES)
def test_a_damaged_snapshot_leaves_the_old_one_serving(reader: SnapshotReader, how: str, half: int) -> None:
    old, new = a_pair(1), a_pair(2)
    give(reader, END, *all_of(*old))
    served, learnt = reader.current, reader.learnt
    key = f"{new[half].kind}/signup/latest"
    began = time.process_time()
    give(reader, polled(damaged(new[half], how), key))
    assert time.process_time() - began < 0.5
    assert (reader.current, reader.learnt, refused(reader)) == (served, learnt, 1)
    assert reader.current.members == members(*old)
    give(reader, *all_of(*new))
    assert reader.current.members == members(*new)


def test_a_snapshot_under_anothers_key_is_refused(reader: SnapshotReader) -> None:
    table, trees = a_pair(1)
    give(reader, END, polled(encode(trees), "anomaly_hst/login/latest"), polled(encode(table), "calibration/signup/x"))
    assert (reader.current, reader.learnt, refused(reader)) == (EMPTY, {}, 1)


def test_only_keys_of_ours_are_kept_in_memory(reader: SnapshotReader) -> None:
    give(reader, *(polled(b"x" * 1_000, f"anomaly_hst/flow-{i}/latest") for i in range(100)))
    give(reader, *(polled(b"x", "a" * 300 + "/latest") for _ in range(3)))
    assert reader._unapplied == {}


def falling_back(reader: SnapshotReader, *records: Polled) -> list[int]:
    """Give the records to a reader that starts, and that can read them again; return the offsets that it read again."""
    by_offset = {one.the_offset: one.the_value for one in records}
    fetched: list[int] = []

    def fetch(offset: int) -> bytes | None:
        fetched.append(offset)
        return by_offset.get(offset)

    reader._fetch = fetch  # type: ignore[method-assign]
    give(reader, *records, END)
    return fetched


@pytest.mark.parametrize("half", [0, 1, 2])
@pytest.mark.parametrize("how", DAMAGES)
def test_a_start_falls_back_one_snapshot(reader: SnapshotReader, how: str, half: int) -> None:
    old, new = a_pair(1), a_pair(2)
    broken = [damaged(one, how) if half in (number, 2) else encode(one) for number, one in enumerate(new)]
    # As a learner with a damaged memory would write it: alike under the hash and as the latest.
    written = [polled(value, f"{one.kind}/signup/{one.hash}") for value, one in zip(broken, new, strict=True)]
    written += [polled(value, f"{one.kind}/signup/latest") for value, one in zip(broken, new, strict=True)]
    falling_back(reader, *all_of(*old), *written)
    assert reader.current.members == members(*old)
    label = {"flow": "signup"}
    assert reader._metrics.registry.get_sample_value("tellwire_snapshot_fallbacks_total", label) == 1
    value = reader._metrics.registry.get_sample_value(
        "tellwire_snapshot_timestamp_seconds", label | {"kind": "calibration"}
    )
    assert value == old[0].created_at / 1000
    # What was learnt last counts for the learner, where its trees are whole; else it learns again from the old offsets.
    assert reader.learnt["signup"].offsets == ({0: 2} if half == 0 else {0: 1})
    give(reader, *all_of(*a_pair(3)))
    assert reader.current.members == members(*a_pair(3))


def test_a_latest_that_serves_reads_nothing_again(reader: SnapshotReader) -> None:
    assert falling_back(reader, *all_of(*a_pair(1)), *all_of(*a_pair(2))) == []
    assert reader.current.members == members(*a_pair(2))


def test_falling_back_reads_a_few_records_only(reader: SnapshotReader) -> None:
    records = []
    for seed in range(1, 30):
        records += [polled(b"{", f"{one.kind}/signup/{one.hash}") for one in a_pair(seed)]
    records.append(polled(b"{", "anomaly_hst/signup/latest"))
    fetched = falling_back(reader, *records)
    assert len(fetched) == 3
    assert fetched == sorted(fetched, reverse=True)
    assert reader.current is EMPTY


def test_nothing_that_a_record_holds_ends_the_thread(
    reader: SnapshotReader, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    pair, queue = a_pair(1), [*all_of(*a_pair(6)), END]
    real = SnapshotSet.apply

    def breaks(self: SnapshotSet, snapshot: Snapshot, *more: Any) -> SnapshotSet:
        if snapshot.created_at % 100 == 6:
            raise RuntimeError("told-to-nobody")
        return real(self, snapshot, *more)

    class Consumer:
        def poll(self, _: float) -> Polled | None:
            return queue.pop(0) if queue else None

        def assign(self, _: object) -> None: ...
        def close(self) -> None: ...

    monkeypatch.setattr(SnapshotSet, "apply", breaks)
    reader._consumer = cast("Any", Consumer())
    assert reader.start(5.0)
    queue += [*all_of(*a_pair(6)), *all_of(*pair)]
    until(lambda: reader.current.members == members(*pair))
    assert refused(reader) == 4
    assert "RuntimeError" in caplog.text
    assert "told-to-nobody" not in caplog.text


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 15
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def publish(broker: KafkaBroker, topic: str, *snapshots: Snapshot) -> None:
    producer = Producer({"bootstrap.servers": broker.bootstrap, "log_level": 0})
    for one in records_of(*snapshots):
        assert one.partition is not None
        producer.produce(topic, one.value, key=one.key, partition=one.partition)
    producer.flush(10)


@pytest.fixture
def following(kafka_broker: KafkaBroker) -> Iterator[tuple[SnapshotReader, Metrics, str]]:
    topic = kafka_broker.create_topic(config={"cleanup.policy": "compact"})
    metrics = Metrics()
    found = SnapshotReader({"bootstrap.servers": kafka_broker.bootstrap, "log_level": 0}, metrics, topic)
    yield found, metrics, topic
    found.stop()


def test_snapshots_are_followed_and_a_refused_one_leaves_the_old_one_serving(
    kafka_broker: KafkaBroker, following: tuple[SnapshotReader, Metrics, str]
) -> None:
    reader, _, topic = following
    first, other, second = a_pair(1), a_pair(2, flow="login"), a_pair(3)
    publish(kafka_broker, topic, *first, *other)
    assert reader.current is EMPTY
    assert reader.start(15.0)
    served = reader.current
    assert served.members == members(*first, *other)
    assert {flow: held.offsets for flow, held in reader.learnt.items()} == {"signup": {0: 1}, "login": {0: 2}}

    tampered = msgspec.structs.replace(second[1], hash="0" * 64)
    publish(kafka_broker, topic, *a_pair(4, features_hash="another registry"), tampered)
    producer = Producer({"bootstrap.servers": kafka_broker.bootstrap, "log_level": 0})
    producer.produce(topic, b"{", key=b"anomaly_hst/signup/latest", partition=0)
    producer.produce(topic, None, key=b"anomaly_hst/signup/x", partition=0)
    producer.flush(10)
    until(lambda: refused(reader) == 4.0)
    assert reader.current is served

    publish(kafka_broker, topic, *second)
    until(lambda: reader.current.members == members(*second, *other))
    assert served.members == members(*first, *other)
    assert reader.learnt["signup"].offsets == {0: 3}
    # Of the flow, the first pair and one of another registry; the newest of each kind are kept to fall back to.
    assert len(reader.superseded(2**62)) == 2 + 1
    assert reader.superseded(int(time.time() * 1000) - DAY_MS) == []


def test_a_start_reads_an_older_pair_again_from_the_broker(
    kafka_broker: KafkaBroker, following: tuple[SnapshotReader, Metrics, str]
) -> None:
    reader, metrics, topic = following
    old, new = a_pair(1), a_pair(2)
    publish(kafka_broker, topic, *old)
    producer = Producer({"bootstrap.servers": kafka_broker.bootstrap, "log_level": 0})
    for one in new:
        for name in (one.hash, "latest"):
            producer.produce(topic, damaged(one, "NaN"), key=f"{one.kind}/signup/{name}", partition=0)
    producer.flush(10)
    assert reader.start(30.0)
    assert reader.current.members == members(*old)
    assert reader.learnt["signup"].offsets == {0: 1}
    assert metrics.registry.get_sample_value("tellwire_snapshot_fallbacks_total", {"flow": "signup"}) == 1
    properties = {"bootstrap.servers": kafka_broker.bootstrap, "log_level": 0}
    assert record_at(properties, topic, 0, 0) == encode(old[0])
    assert record_at(properties, topic, 0, 10_000) is None


def test_an_empty_topic_is_caught_up_with_at_once_and_a_missing_broker_is_not(
    following: tuple[SnapshotReader, Metrics, str],
) -> None:
    reader, _, _ = following
    assert reader.start(15.0)
    assert reader.current is EMPTY
    lonely = SnapshotReader(NOWHERE, Metrics())
    assert not lonely.start(0.2)
    lonely.stop()


def test_a_snapshot_has_two_keys_one_by_hash_and_one_for_the_latest() -> None:
    snapshot = a_pair(1)[1]
    records = records_of(snapshot)
    assert [record.key for record in records] == [
        f"anomaly_hst/signup/{snapshot.hash}".encode(),
        b"anomaly_hst/signup/latest",
    ]
    assert {record.value for record in records} == {encode(snapshot)}
    assert {record.partition for record in records} == {0}
    assert dict(records[0].headers or [])["ce_id"] == snapshot.hash.encode()
