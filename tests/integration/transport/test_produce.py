"""The producer against a real broker that freezes or refuses: what is written is a beginning, in order, once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any

import pytest
from confluent_kafka.cimpl import NewTopic

from stream.transport import OutRecord, ProduceError, Producer, TransportOptions
from tests.integration.transport.harness import read_all
from tests.support.kafka import KafkaBroker

pytestmark = pytest.mark.timeout(90)


def written(broker: KafkaBroker, topic: str, partitions: int) -> dict[int, list[tuple[bool, int]]]:
    """By partition, in the order of the log: (marked as a repeat, number)."""
    found: dict[int, list[tuple[bool, int]]] = {p: [] for p in range(partitions)}
    for message in read_all(broker, topic, partitions):
        mark, number = message.value().split(b"|")[:2]
        found[message.partition()].append((mark == b"again", int(number)))
    return found


def batch(topic: str, numbers: range, partitions: int, mark: str = "first") -> list[OutRecord]:
    return [OutRecord(topic, f"{mark}|{n}|".encode() + b"x" * 200, None, n % partitions) for n in numbers]


@asynccontextmanager
async def frozen(broker: KafkaBroker, seconds: float) -> AsyncIterator[None]:
    """Freeze the broker for so long, whatever happens inside."""
    broker.pause()
    thaw = asyncio.get_running_loop().call_later(seconds, broker.resume)
    try:
        yield
    finally:
        thaw.cancel()
        broker.resume()


async def deliver(producer: Producer, records: list[OutRecord]) -> list[int]:
    """Return the positions that were not delivered, -1 for what was refused for good."""
    try:
        await producer.produce_batch(records)
    except ProduceError as error:
        return [f.index if f.retriable else -1 for f in error.failures]
    return []


async def test_a_freeze_within_the_deadline_repeats_nothing_and_keeps_the_order(group_broker: KafkaBroker) -> None:
    topic = group_broker.create_topic(partitions=2)
    # librdkafka asks again after 1 s of silence, several times: only the sequence numbers keep out the copies.
    properties: dict[str, Any] = {"request.timeout.ms": 1000, "socket.timeout.ms": 1000, "batch.num.messages": 50}
    producer = Producer(group_broker.bootstrap, TransportOptions(produce_deadline_s=30, producer_properties=properties))
    await producer.produce_batch(batch(topic, range(100), 2))
    async with frozen(group_broker, 5):
        batches = [batch(topic, range(n, n + 200), 2) for n in range(100, 1100, 200)]
        assert await asyncio.gather(*(deliver(producer, b) for b in batches)) == [[]] * 5
    assert written(group_broker, topic, 2) == {p: [(False, n) for n in range(p, 1100, 2)] for p in (0, 1)}
    assert producer.counters.clients_replaced_total == 0
    await producer.close()


@pytest.mark.parametrize("deadline_s", [1.0, 2.5])
async def test_after_a_freeze_beyond_the_deadline_a_marked_repeat_closes_every_gap(
    group_broker: KafkaBroker, deadline_s: float
) -> None:
    topic = group_broker.create_topic(partitions=2)
    # The thaw comes while the second try is on its way: the worst moment for what is still underway of the first.
    properties: dict[str, Any] = {"request.timeout.ms": 1000, "socket.timeout.ms": 1000, "batch.num.messages": 20}
    options = TransportOptions(produce_deadline_s=deadline_s, producer_properties=properties)
    # A broker that was just started takes its time to give out the first producer id.
    patient = Producer(group_broker.bootstrap, TransportOptions(produce_deadline_s=30))
    await patient.produce_batch(batch(group_broker.create_topic(), range(1), 1))
    await patient.close()
    producer = Producer(group_broker.bootstrap, options)

    async def insist(numbers: range, failed: list[int]) -> None:
        tries = 0
        while failed:
            assert -1 not in failed
            failed = await deliver(producer, batch(topic, numbers, 2, "again"))
            tries += 1
            assert tries < 20

    # On a busy machine the first connection alone may take longer than the shorter deadline.
    await insist(range(100), await deliver(producer, batch(topic, range(100), 2)))
    async with frozen(group_broker, 1.5 * deadline_s):
        failed = await deliver(producer, batch(topic, range(100, 2100), 2))
        assert failed
        await insist(range(100, 2100), failed)
    await producer.produce_batch(batch(topic, range(2100, 2200), 2))
    await asyncio.sleep(0.5)
    for partition, rows in written(group_broker, topic, 2).items():
        unmarked = [n for again, n in rows if not again]
        assert len(set(unmarked)) == len(unmarked)
        assert all(a < b for a, b in pairwise(unmarked))
        # Who keeps one number, and takes what is above it, gets everything.
        highest, taken = -1, []
        for _, number in rows:
            if number > highest:
                highest = number
                taken.append(number)
        assert taken == list(range(partition, 2200, 2))
    assert producer.counters.clients_replaced_total >= 1
    assert producer.in_flight_bytes == producer.in_flight_records == 0
    await producer.close()


async def test_nothing_follows_a_record_that_the_broker_refuses(group_broker: KafkaBroker) -> None:
    topic = f"{group_broker.create_topic()}-small"
    small = NewTopic(topic, 1, 1, config={"max.message.bytes": "2000"})
    group_broker.admin.create_topics([small])[topic].result()
    options = TransportOptions(producer_properties={"batch.num.messages": 1})
    producer = Producer(group_broker.bootstrap, options)
    records = batch(topic, range(30), 1)
    records[7] = OutRecord(topic, b"first|7|" + b"x" * 10_000, None, 0)
    with pytest.raises(ProduceError) as caught:
        await producer.produce_batch(records)
    assert [f.index for f in caught.value.failures] == list(range(7, 30))
    assert [(f.index, f.error.name()) for f in caught.value.failures if not f.retriable] == [(7, "MSG_SIZE_TOO_LARGE")]
    await producer.produce_batch(batch(topic, range(7, 30), 1, "again"))
    rows = written(group_broker, topic, 1)[0]
    assert rows == [(n >= 7, n) for n in range(30)]
    await producer.close()
