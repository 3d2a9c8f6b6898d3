"""The producer on the broker inside librdkafka, and on none: placement, order, bounds, the deadline, giving up."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, TopicPartition

from stream.transport import Chunk, OutRecord, ProduceError, Producer, TransportOptions, partition_of
from tests.stream.transport.rig import MOCK_PARTITIONS, Rig, mock_rig, new_topic, produce

pytestmark = [pytest.mark.timeout(60), pytest.mark.filterwarnings("ignore::DeprecationWarning")]


def read(bootstrap: str, topic: str) -> list[Any]:
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "r", "fetch.wait.max.ms": 2})
    found: list[Any] = []
    try:
        parts = [TopicPartition(topic, p, 0) for p in range(MOCK_PARTITIONS)]
        total = sum(consumer.get_watermark_offsets(tp, timeout=5)[1] for tp in parts)
        consumer.assign(parts)
        while len(found) < total:
            message = consumer.poll(5)
            assert message is not None
            assert message.error() is None
            found.append(message)
    finally:
        consumer.close()
    return found


async def test_a_batch_is_delivered_in_full_and_placed_as_java_does(mock_kafka: str) -> None:
    topic = new_topic(mock_kafka)
    producer = Producer(mock_kafka, TransportOptions())
    keys = [b"key-%d" % i for i in range(200)]
    await producer.produce_batch([OutRecord(topic, b"v", key) for key in keys])
    await producer.produce_batch([OutRecord(topic, None, b"tomb", 3, [("h", b"1"), ("n", None)], 1_700_000_000_123)])
    await producer.produce_batch([])
    assert producer.in_flight_bytes == producer.in_flight_records == 0
    assert producer.counters.records_total == 201
    found = read(mock_kafka, topic)
    assert {m.key(): m.partition() for m in found if m.value()} == {
        key: partition_of(key, MOCK_PARTITIONS) for key in keys
    }
    (tomb,) = [m for m in found if m.value() is None]
    assert (tomb.partition(), tomb.headers(), tomb.timestamp()[1]) == (3, [("h", b"1"), ("n", None)], 1_700_000_000_123)
    assert await producer.close() == 0


async def test_nothing_of_a_partition_follows_a_record_that_the_client_refuses(mock_kafka: str) -> None:
    topic = new_topic(mock_kafka)
    producer = Producer(mock_kafka, TransportOptions(producer_properties={"message.max.bytes": 2000}))
    records = [OutRecord(topic, b"%d|" % i + b"x" * (10_000 if i == 3 else 10), None, i % 2) for i in range(8)]
    with pytest.raises(ProduceError) as caught:
        await producer.produce_batch(records)
    assert [(f.index, f.error.name(), f.retriable) for f in caught.value.failures] == [
        (3, "MSG_SIZE_TOO_LARGE", False),
        (5, "_PURGE_QUEUE", True),
        (7, "_PURGE_QUEUE", True),
    ]
    assert caught.value.total == 8
    found = {
        p: [int((m.value() or b"").split(b"|")[0]) for m in read(mock_kafka, topic) if m.partition() == p]
        for p in (0, 1)
    }
    assert found == {0: [0, 2, 4, 6], 1: [1]}
    assert producer.in_flight_bytes == 0
    assert producer.counters.clients_replaced_total == 0
    await producer.produce_batch([OutRecord(topic, b"8|", None, 1)])
    await producer.close()


async def test_back_pressure_bounds_bytes_in_flight(mock_kafka: str) -> None:
    topic = new_topic(mock_kafka)
    producer = Producer(mock_kafka, TransportOptions(max_in_flight_bytes=5_000))
    most = 0

    async def watch() -> None:
        nonlocal most
        while True:
            most = max(most, producer.in_flight_bytes)
            await asyncio.sleep(0)

    watching = asyncio.get_running_loop().create_task(watch())
    await asyncio.gather(*(producer.produce_batch([OutRecord(topic, b"x" * 1000)] * 2) for _ in range(20)))
    watching.cancel()
    assert 0 < most <= 5_000
    assert producer.counters.room_waits_total > 0
    assert len(read(mock_kafka, topic)) == 40
    await producer.close()


async def test_a_full_queue_waits(mock_kafka: str) -> None:
    topic = new_topic(mock_kafka)
    properties = {"queue.buffering.max.messages": 10, "linger.ms": 1}
    producer = Producer(mock_kafka, TransportOptions(producer_properties=properties))
    await producer.produce_batch([OutRecord(topic, b"%d" % i) for i in range(100)])
    assert producer.counters.buffer_waits_total > 0
    assert sorted(int(m.value()) for m in read(mock_kafka, topic)) == list(range(100))
    await producer.close()


async def test_at_the_deadline_a_batch_is_given_up_and_never_sent() -> None:
    producer = Producer("127.0.0.1:1", TransportOptions(produce_deadline_s=0.5))  # nobody is there
    loop = asyncio.get_running_loop()
    for _ in range(2):
        began = loop.time()
        with pytest.raises(ProduceError) as caught:
            await producer.produce_batch([OutRecord("t", b"x", None, 0)] * 3)
        assert 0.45 <= loop.time() - began < 1.5
        assert [(f.error.name(), f.retriable) for f in caught.value.failures] == [("_PURGE_QUEUE", True)] * 3
    assert producer.counters.clients_replaced_total == 2
    assert producer.in_flight_bytes == producer.in_flight_records == 0
    await producer.close(0.1)
    with pytest.raises(Exception, match="closed"):
        await producer.produce_batch([OutRecord("t", b"x")])


async def test_who_waits_for_room_has_the_deadline_too() -> None:
    producer = Producer("127.0.0.1:1", TransportOptions(produce_deadline_s=0.5, max_in_flight_bytes=10))
    first = asyncio.get_running_loop().create_task(producer.produce_batch([OutRecord("t", b"x" * 10)]))
    await asyncio.sleep(0.2)
    second = asyncio.get_running_loop().create_task(producer.produce_batch([OutRecord("t", b"x" * 10)]))
    done = await asyncio.gather(first, second, return_exceptions=True)
    assert [type(error) for error in done] == [ProduceError, ProduceError]
    assert producer.in_flight_bytes == 0
    await producer.close(0.1)


async def test_a_batch_nobody_waits_for_any_more_counts_until_its_end() -> None:
    producer = Producer("127.0.0.1:1", TransportOptions(produce_deadline_s=0.5))
    waiting = asyncio.get_running_loop().create_task(producer.produce_batch([OutRecord("t", b"x" * 10, None, 0)]))
    await asyncio.sleep(0.1)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert (producer.in_flight_bytes, producer.in_flight_records) == (10, 1)
    async with asyncio.timeout(5):
        while producer.in_flight_bytes:  # noqa: ASYNC110 - nothing tells it
            await asyncio.sleep(0.01)
    assert producer.in_flight_records == 0
    assert producer.counters.clients_replaced_total == 1
    await producer.close(0.1)


async def test_a_full_queue_in_an_outage_ends_at_the_deadline() -> None:
    properties = {"queue.buffering.max.messages": 5}
    producer = Producer("127.0.0.1:1", TransportOptions(produce_deadline_s=0.5, producer_properties=properties))
    with pytest.raises(ProduceError) as caught:
        await producer.produce_batch([OutRecord("t", b"x", None, 0)] * 20)
    assert [f.index for f in caught.value.failures] == list(range(20))
    assert all(f.retriable for f in caught.value.failures)
    await producer.close(0.1)


async def test_what_a_lost_partition_had_handed_over_is_not_sent(mock_kafka: str, tmp_path: Path) -> None:
    topic, out = new_topic(mock_kafka), new_topic(mock_kafka)
    produce(mock_kafka, topic, 1)
    failed: list[ProduceError] = []
    rigs: list[Rig] = []

    async def handler(chunk: Chunk) -> None:
        try:
            await rigs[0].transport.producer.produce_batch([OutRecord(out, b"late", None, 0)])
        except ProduceError as error:
            failed.append(error)
        chunk.abandon("test")

    rig = mock_rig(mock_kafka, topic, tmp_path, handler=handler, linger_ms=30_000)
    rigs.append(rig)
    async with rig:
        await rig.until(lambda: rig.transport.producer.in_flight_records)
        engine = rig.transport._engine()
        idle, busy = (engine.membership.ready[topic, p] for p in (1, 0))
        engine.lost([idle])
        await asyncio.sleep(0.3)
        assert not failed
        engine.lost([busy])
        await rig.until(lambda: failed, 5)
        assert [f.retriable for f in failed[0].failures] == [True]
    assert read(mock_kafka, out) == []


async def test_records_weigh_their_headers_too() -> None:
    records = [OutRecord("t", b"12345", b"k", 0, [("abc", b"12"), ("d", b"")]), OutRecord("t", b"1", b"", 0, ())]
    odd = [OutRecord("t", b"12345", b"k", 0, (("abc", b"12"), ("d", None))), OutRecord("t", None)]
    for batch, weights in ((records, [12, 1]), ([*records, *odd], [12, 1, 12, 0])):
        assert [len(record) for record in batch] == weights
        producer = Producer("127.0.0.1:1", TransportOptions(produce_deadline_s=0.2))  # nobody is there
        sending = asyncio.get_running_loop().create_task(producer.produce_batch(batch))
        await asyncio.sleep(0.05)
        assert producer.in_flight_bytes == sum(weights)
        with pytest.raises(ProduceError):
            await sending
        await producer.close(0.1)
