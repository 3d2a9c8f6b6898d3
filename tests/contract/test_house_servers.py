"""The real servers of the tests: they keep what they should over a kill, and die with their starter."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import redis
from confluent_kafka import Consumer, Producer, TopicPartition

from tests.support import UnavailableError, kafka_jars
from tests.support.kafka import KafkaBroker
from tests.support.process import Deadline, free_ports
from tests.support.redis import RedisServer

ROOT = Path(__file__).resolve().parents[2]


def produce(bootstrap: str, topic: str, count: int) -> None:
    failed = []
    producer = Producer({"bootstrap.servers": bootstrap, "acks": "all", "enable.idempotence": True, "log_level": 0})
    for number in range(count):
        producer.produce(topic, b"%d" % number, on_delivery=lambda error, _: failed.append(error) if error else None)
    assert producer.flush(30) == 0
    assert failed == []


def count_records(bootstrap: str, topic: str) -> int:
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "count", "log_level": 0})
    try:
        low, high = consumer.get_watermark_offsets(TopicPartition(topic, 0), timeout=15)
        return high - low
    finally:
        consumer.close()


def test_a_topic_is_created_with_its_configuration(kafka_broker: KafkaBroker) -> None:
    name = kafka_broker.create_topic(partitions=3, config={"message.timestamp.type": "LogAppendTime"})
    assert len(kafka_broker.topic_id(name)) == 22
    produce(kafka_broker.bootstrap, name, 3)
    kafka_broker.delete_topic(name)
    assert name not in kafka_broker.admin.list_topics(timeout=10).topics


def test_one_node_of_three_may_be_killed_and_come_back(kafka_broker: KafkaBroker) -> None:
    assert kafka_broker.brokers == 1  # the fixture proves that Java and Maven are there, or skips
    with KafkaBroker(brokers=3, properties={"min.insync.replicas": "2"}) as cluster:
        assert len(cluster.bootstrap.split(",")) == 3
        topic = cluster.create_topic(replication=3)
        produce(cluster.bootstrap, topic, 100)
        leader = cluster.admin.list_topics(topic, timeout=10).topics[topic].partitions[0].leader
        cluster.kill(leader)
        produce(cluster.bootstrap, topic, 50)
        cluster.restart(leader)
        deadline = Deadline(30)
        while deadline.waits():
            if len(cluster.admin.list_topics(topic, timeout=10).topics[topic].partitions[0].isrs) == 3:
                break
        assert len(cluster.admin.list_topics(topic, timeout=10).topics[topic].partitions[0].isrs) == 3
        assert count_records(cluster.bootstrap, topic) == 150


@pytest.mark.parametrize(("config", "kept"), [({"appendonly": "yes", "appendfsync": "always"}, True), ({}, False)])
def test_a_killed_store_keeps_what_its_configuration_says(config: dict[str, str], *, kept: bool) -> None:
    with RedisServer(config) as server:
        with server.client() as client:
            client.set("key", "value")
        server.kill()
        with server.client() as client, pytest.raises(redis.exceptions.ConnectionError):
            client.ping()
        server.restart()
        with server.client() as client:
            assert client.get("key") == (b"value" if kept else None)


def test_a_paused_store_answers_when_it_goes_on() -> None:
    with RedisServer() as server, server.client(timeout_s=0.2) as client:
        client.set("key", "value")
        server.pause()
        with pytest.raises(redis.exceptions.TimeoutError):
            client.get("key")
        server.resume()
        assert client.get("key") == b"value"


def test_a_replica_follows_its_master() -> None:
    with RedisServer() as master, RedisServer({"replicaof": f"127.0.0.1 {master.port}"}) as replica:
        writer, reader = master.client(), replica.client()
        writer.set("key", "value")
        deadline = Deadline(15)
        while deadline.waits() and reader.get("key") is None:
            pass
        assert reader.get("key") == b"value"
        writer.close()
        reader.close()


def test_a_wrong_option_is_told_with_the_servers_words() -> None:
    with pytest.raises(RuntimeError, match="lots"):
        RedisServer({"maxmemory": "lots"}).start()


def test_servers_die_with_a_killed_test_run(tmp_path: Path) -> None:
    code = "import time\nfrom tests.support.redis import RedisServer\ns = RedisServer()\ns.start()\n"
    code += "print(s.port, flush=True)\ntime.sleep(60)\n"
    # Its folder is left behind: not in the way of others.
    env = {**os.environ, "TMPDIR": str(tmp_path)}
    with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, env=env, stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        client = RedisServer(port=int(run.stdout.readline())).client()
        assert client.ping()
        run.send_signal(signal.SIGKILL)
        run.wait(5)
    if sys.platform == "linux":
        time.sleep(0.2)
        with pytest.raises(redis.exceptions.ConnectionError):
            client.ping()
    client.close()


def test_free_ports_are_none_that_the_system_gives_to_clients() -> None:
    ports = free_ports(50)
    assert len(set(ports)) == 50
    given = Path("/proc/sys/net/ipv4/ip_local_port_range")
    first = int(given.read_text().split()[0]) if given.exists() else 49_152
    assert 1_024 < min(ports) < max(ports) < first


@pytest.mark.parametrize("missing", ["java", "mvn"])
def test_what_kafka_lacks_is_said_in_one_line(missing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = shutil.which
    monkeypatch.setattr(shutil, "which", lambda name: None if name == missing else real(name))
    monkeypatch.setattr(kafka_jars, "_CACHE", tmp_path)
    monkeypatch.delenv("JAVA_HOME", raising=False)
    with pytest.raises(UnavailableError, match=missing if missing == "mvn" else "Java 17") as raised:
        kafka_jars.find_java() if missing == "java" else kafka_jars.kafka_jars()
    assert "\n" not in str(raised.value)


def test_a_broker_for_people_runs_until_it_is_stopped(kafka_broker: KafkaBroker) -> None:
    assert kafka_broker.bootstrap
    command = [sys.executable, "-m", "tests.support.kafka"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as script:
        assert script.stdout is not None
        bootstrap = script.stdout.readline().strip()
        producer = Producer({"bootstrap.servers": bootstrap, "log_level": 0})
        assert producer.list_topics(timeout=10).brokers
        script.send_signal(signal.SIGINT)
        assert script.wait(15) == 0
