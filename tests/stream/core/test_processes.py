"""What worker and learner are put together from: options, probes, agents, transport metrics."""

from __future__ import annotations

import asyncio
import socket
from collections import Counter as Tally
from typing import Any, cast

import faust
import pytest
from prometheus_client import generate_latest

from schemas.topics import MAX_OUTPUT_BYTES
from stream import kafka_properties
from stream.agents import Tasks, register
from stream.health import Health
from stream.metrics import STAGES, Metrics
from stream.process import make_app, serve, transport_options
from stream.settings import KafkaSettings, Settings, SettingsError
from stream.transport import (
    Chunk,
    Counters,
    PartitionStats,
    ProducerCounters,
    Transport,
    TransportOptions,
    TransportStats,
)
from stream.transport_watch import FAMILIES, TransportWatch
from tests.stream.core.doubles import chunk, record


def made(**sections: dict[str, Any]) -> Settings:
    return Settings(**cast("Any", sections))


class TestOptions:
    def test_every_setting_of_the_transport_arrives(self) -> None:
        settings = made(
            kafka={
                "bootstrap_servers": "a:1,b:2",
                "group_protocol": "cooperative",
                "group_instance_id": "me",
                "session_timeout_ms": 9_000,
                "heartbeat_interval_ms": 700,
                "fixed_topic_id": "mock",
                "properties": {"client.id": "c"},
                "consumer_properties": {"fetch.wait.max.ms": "9"},
                "producer_properties": {"compression.type": "zstd"},
            },
            pipeline={
                "target_chunk_ms": 7,
                "max_chunk_bytes": 70_000,
                "pending_records": 123,
                "pending_bytes": 2_000_000,
            },
        )
        options = transport_options(settings, "g", ("x", "y"))
        assert "bootstrap.servers" not in options.common_properties
        assert options.common_properties["client.id"] == "c"
        assert options.consumer_properties == {"fetch.wait.max.ms": "9"}
        assert options.producer_properties == {"compression.type": "zstd", "message.max.bytes": MAX_OUTPUT_BYTES}
        assert (options.group_id, options.group_protocol, options.group_instance_id) == ("g", "cooperative", "me")
        assert (options.session_timeout_s, options.heartbeat_interval_s) == (9.0, 0.7)
        assert (options.target_loop_s, options.max_chunk_bytes, options.hold_records) == (0.007, 70_000, 123)
        assert (options.pause_high_bytes, options.pause_low_bytes) == (2_000_000, 1_000_000)
        assert options.topic_ids == {"x": "mock-x", "y": "mock-y"}

    @pytest.mark.parametrize("protocol", ["classic", "cooperative", "consumer"])
    @pytest.mark.parametrize("session_ms", [1_000, 4_000, 6_000, 300_000])
    def test_every_session_timeout_that_is_allowed_works(self, protocol: str, session_ms: int) -> None:
        kafka = {"group_protocol": protocol, "session_timeout_ms": session_ms, "heartbeat_interval_ms": 300}
        options = transport_options(made(kafka=kafka), "g", ())
        assert isinstance(options, TransportOptions)
        assert options.drain_deadline_s < options.session_s
        # With any protocol: the broker's own session does not keep a frozen process from doubting in time.
        assert options.session_timeout_s == session_ms / 1000.0

    def test_properties_of_the_clients(self) -> None:
        kafka = KafkaSettings.model_validate(
            {
                "bootstrap_servers": "a:1",
                "security_protocol": "SASL_SSL",
                "sasl_mechanism": "PLAIN",
                "sasl_username": "u",
                "sasl_password": "p",
                "ssl_ca_file": "/ca.pem",
                "properties": {"log_level": "3", "client.id": "x"},
                "consumer_properties": {"client.id": "consumer"},
                "producer_properties": {"linger.ms": "1"},
            }
        )
        common = {
            "bootstrap.servers": "a:1",
            "security.protocol": "SASL_SSL",
            "sasl.mechanism": "PLAIN",
            "sasl.username": "u",
            "sasl.password": "p",
            "ssl.ca.location": "/ca.pem",
            "socket.timeout.ms": 10_000,
            "log_level": "3",
            "client.id": "x",
        }
        assert kafka_properties.common(kafka) == common
        assert kafka_properties.consumer(kafka) == common | {"client.id": "consumer"}
        only = {"message.max.bytes": MAX_OUTPUT_BYTES, "linger.ms": "1"}
        assert kafka_properties.producer(kafka) == common | {"partitioner": "murmur2_random"} | only

    @pytest.mark.parametrize(
        ("given", "missing"),
        [
            ({}, "sasl_mechanism"),
            ({"sasl_mechanism": "PLAIN"}, "sasl_username"),
            ({"sasl_mechanism": "SCRAM-SHA-512", "sasl_username": "u"}, "sasl_password"),
            ({"properties": {"sasl.mechanisms": "plain", "sasl.username": "u"}}, "sasl_password"),
            ({"sasl_mechanism": "OAUTHBEARER"}, None),
            ({"properties": {"sasl.mechanism": "PLAIN", "sasl.username": "u", "sasl.password": "p"}}, None),
            ({"properties": {"security.protocol": "ssl"}}, None),
        ],
    )
    def test_what_sasl_lacks_is_told_by_its_setting(self, given: dict[str, Any], missing: str | None) -> None:
        kafka = KafkaSettings.model_validate({"security_protocol": "SASL_SSL"} | given)
        if missing is None:
            kafka_properties.common(kafka)
            return
        with pytest.raises(
            SettingsError, match=rf"^kafka\.{missing} \(TELLWIRE_KAFKA__{missing.upper()}\): must be set"
        ):
            kafka_properties.common(kafka)

    @pytest.mark.parametrize("section", ["consumer_properties", "producer_properties"])
    @pytest.mark.parametrize("wrong", [{"no.such": "1"}, {"socket.timeout.ms": "soon"}, {"socket.timeout.ms": "-7"}])
    def test_a_property_that_librdkafka_refuses_is_one_line(self, section: str, wrong: dict[str, str]) -> None:
        kafka_properties.check(KafkaSettings(bootstrap_servers="127.0.0.1:1"))
        with pytest.raises(SettingsError, match=rf"^kafka\.{section} \(TELLWIRE_KAFKA__{section.upper()}\): ") as told:
            kafka_properties.check(KafkaSettings.model_validate({section: wrong}))
        assert "\n" not in str(told.value)


def test_probes_are_served_or_not_and_a_taken_port_is_one_line() -> None:
    health, registry = Health(60, lambda: 0.0), Metrics().registry
    assert serve(health, registry, made(metrics={"enabled": False})) is None
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(SettingsError, match=rf"TELLWIRE_METRICS__PORT.*127\.0\.0\.1:{port} can't be served"):
            serve(health, registry, made(metrics={"port": port}))
    server = serve(health, registry, made(metrics={"port": 0}))
    assert server is not None
    assert server.port > 0
    server.close()


def stats(**more: Any) -> TransportStats:
    counters = Counters(records_received_total=7, bytes_total=99, commit_failures=Tally({"FENCED": 2}))
    partition: dict[str, Any] = {
        "epoch": 1,
        "position": 5,
        "committed": 4,
        "pending_records": 0,
        "pending_bytes": 0,
        "is_in_flight": False,
        "in_flight_age_s": None,
        "is_paused": False,
    }
    known: dict[str, Any] = {
        "counters": counters,
        "partitions": {
            ("t", 0): PartitionStats("t", 0, high=9, lag=4, last_progress_age_s=1.5, **partition),
            ("t", 1): PartitionStats("t", 1, high=None, lag=None, last_progress_age_s=None, **partition),
        },
        "last_poll_age_s": None,
        "is_trusted": True,
        "pending_records": 11,
        "pending_bytes": 12,
        "producer": ProducerCounters(),
        "producer_in_flight_records": 0,
        "producer_in_flight_bytes": 0,
    }
    return TransportStats(**(known | more))


class TestMetrics:
    def test_nothing_of_the_transport_before_its_first_figures_then_every_family(self) -> None:
        metrics, watch = Metrics(), TransportWatch()
        metrics.registry.register(watch)
        assert list(watch.collect()) == []
        watch.stats = stats()
        assert [family.name for family in watch.collect()] == [family.name for family in FAMILIES]
        value = metrics.registry.get_sample_value
        assert value("tellwire_records_received_total") == 7
        assert value("tellwire_input_bytes_total") == 99
        assert value("tellwire_commit_failures_total", {"error": "FENCED"}) == 2
        assert value("tellwire_consumer_lag_records", {"topic": "t", "partition": "0"}) == 4
        assert value("tellwire_consumer_lag_records", {"topic": "t", "partition": "1"}) is None
        assert value("tellwire_partition_progress_age_seconds", {"topic": "t", "partition": "0"}) == 1.5
        assert value("tellwire_partitions_assigned") == 2
        assert value("tellwire_pending_records") == 11
        assert value("tellwire_last_poll_age_seconds") is None
        watch.stats = stats(last_poll_age_s=0.25)
        assert value("tellwire_last_poll_age_seconds") == 0.25

    def test_names_have_base_units_and_no_identifier_is_a_label(self) -> None:
        metrics, watch = Metrics(), TransportWatch()
        watch.stats = stats()
        metrics.registry.register(watch)
        for family in metrics.registry.collect():
            assert family.name.startswith("tellwire_")
            assert family.documentation.endswith(".")
            assert not family.name.endswith(("_ms", "_kb", "_percent"))
            for sample in family.samples:
                assert not set(sample.labels) & {"session", "session_id", "account", "device", "ip", "tenant"}
        assert b"tellwire_stage_seconds_bucket" in generate_latest(metrics.registry)

    def test_each_stage_is_there_from_the_start(self) -> None:
        metrics = Metrics()
        metrics.stage_seconds.series["decode"].observe(0.001)
        value = metrics.registry.get_sample_value
        assert [value("tellwire_stage_seconds_count", {"stage": stage}) for stage in STAGES] == [1, 0, 0, 0, 0, 0, 0]

    def test_two_processes_in_one_do_not_share_figures(self) -> None:
        one, other = Metrics(), Metrics()
        one.chunks.add(1)
        assert other.registry.get_sample_value("tellwire_chunks_total") == 0


async def test_chunks_are_worked_on_at_the_same_time_and_kept_until_they_end() -> None:
    app: faust.App = make_app(KafkaSettings(bootstrap_servers="a:1, b:2"), "group")
    assert [str(url) for url in app.conf.broker] == ["librdkafka://a:1", "librdkafka://b:2"]
    tasks, started, go_on = Tasks(), list[Chunk](), asyncio.Event()

    async def handle(one: Chunk) -> None:
        started.append(one)
        await go_on.wait()

    transport = app.transport
    assert isinstance(transport, Transport)
    register(app, "some.topic", handle, tasks)
    (agent,) = app.agents.values()
    assert [str(topic) for topic in agent.channel.topics] == ["some.topic"]
    chunks = [chunk([record(b"")], partition=p)[0] for p in range(3)]

    queue = transport.chunks("some.topic")
    working = asyncio.ensure_future(agent.fun(None))
    for one in chunks:
        queue.put_nowait(one)
    await asyncio.sleep(0.01)
    assert started == chunks
    assert len(tasks) == 3
    go_on.set()
    await asyncio.sleep(0.01)
    assert len(tasks) == 0
    working.cancel()
