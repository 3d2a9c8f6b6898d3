"""Against a real broker: lost log, made-anew topics, transactions, rewinds, raising agents, corrupt batches."""

from __future__ import annotations

import asyncio
import time
from itertools import pairwise
from pathlib import Path

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from stream.transport import Chunk, Gap
from tests.stream.transport.rig import Recorder, Rig, produce
from tests.support.kafka import KafkaBroker

pytestmark = [pytest.mark.timeout(90), pytest.mark.filterwarnings("ignore::DeprecationWarning")]


def stored(broker: KafkaBroker, group: str, topic: str, partition: int = 0) -> int:
    consumer = Consumer({"bootstrap.servers": broker.bootstrap, "group.id": group})
    try:
        return consumer.committed([TopicPartition(topic, partition)], timeout=10)[0].offset
    finally:
        consumer.close()


def cut(broker: KafkaBroker, topic: str, offset: int) -> None:
    """Delete the log below an offset."""
    broker.admin.delete_records([TopicPartition(topic, 0, offset)])[TopicPartition(topic, 0, offset)].result()


async def test_start_requests_carry_what_the_broker_knows(group_broker: KafkaBroker, tmp_path: Path) -> None:
    topic = group_broker.create_topic(partitions=2)
    produce(group_broker.bootstrap, topic, 100)
    hooks = Recorder(start=lambda r: 40 if r.partition == 0 else r.low)
    async with Rig(group_broker.bootstrap, topic, tmp_path, hooks=hooks) as rig:
        await rig.until_seen(60)
        assert [o for _, o in rig.offsets] == list(range(40, 100))
        found = {r.partition: (r.topic_id, r.committed, r.low, r.high) for r in hooks.requests}
        topic_id = group_broker.topic_id(topic)
        assert found == {0: (topic_id, None, 0, 100), 1: (topic_id, None, 0, 0)}
        await rig.until(lambda: rig.committed(0) == 100)
    assert stored(group_broker, rig.app.conf.id, topic) == 100
    again = Recorder()
    async with Rig(group_broker.bootstrap, topic, tmp_path, hooks=again, group=rig.app.conf.id) as rig2:
        await rig2.until(lambda: again.requests)
        assert {r.partition: r.committed for r in again.requests}[0] == 100
        await asyncio.sleep(0.3)
        assert rig2.offsets == []


async def test_a_stop_commits_what_was_just_done(group_broker: KafkaBroker, tmp_path: Path) -> None:
    topic = group_broker.create_topic()
    produce(group_broker.bootstrap, topic, 500)
    async with Rig(group_broker.bootstrap, topic, tmp_path, commit_interval_s=60.0) as rig:
        await rig.until(lambda: rig.position(0) == 500 if rig.transport.assignment() else False)
        assert rig.committed(0) is None
    assert stored(group_broker, rig.app.conf.id, topic) == 500


async def test_retention_that_overtook_a_stopped_group_is_a_declared_gap(
    group_broker: KafkaBroker, tmp_path: Path
) -> None:
    topic = group_broker.create_topic()
    produce(group_broker.bootstrap, topic, 100)
    async with Rig(group_broker.bootstrap, topic, tmp_path) as rig:
        await rig.until_seen(100)
    produce(group_broker.bootstrap, topic, 100)
    cut(group_broker, topic, 150)
    async with Rig(group_broker.bootstrap, topic, tmp_path, group=rig.app.conf.id) as rig:
        await rig.until_seen(50)
        assert rig.offsets[0] == (0, 150)
        assert rig.hooks.gaps == [Gap(topic, 0, 100, 149, "retention")]
        assert rig.transport.stats().counters.gap_records_total == 50


async def test_retention_that_overtakes_a_running_worker_is_a_declared_gap(
    group_broker: KafkaBroker, tmp_path: Path
) -> None:
    topic = group_broker.create_topic()
    produce(group_broker.bootstrap, topic, 100)
    async with Rig(
        group_broker.bootstrap,
        topic,
        tmp_path,
        pause_high_records=20,
        pause_low_records=10,
        initial_chunk_records=5,
        poll_batch_records=10,
    ) as rig:
        await rig.until_seen(100)
        rig.transport.pause_partition(topic, 0)
        for _ in range(6):
            produce(group_broker.bootstrap, topic, 100)
        await rig.until(lambda: rig.transport.stats().counters.pauses_total > 0)
        cut(group_broker, topic, 600)
        await asyncio.sleep(0.3)
        rig.transport.resume_partition(topic, 0)
        await rig.until(lambda: rig.offsets and rig.offsets[-1] == (0, 699))
        (gap,) = rig.hooks.gaps
        assert (gap.lost_to, gap.reason) == (599, "retention")
        seen = [o for _, o in rig.offsets]
        assert seen == [*range(gap.lost_from), *range(600, 700)]
        await rig.until(lambda: rig.committed(0) == 700)


async def test_a_start_beyond_the_end_is_a_declared_gap(group_broker: KafkaBroker, tmp_path: Path) -> None:
    topic = group_broker.create_topic()
    produce(group_broker.bootstrap, topic, 10)
    async with Rig(group_broker.bootstrap, topic, tmp_path, hooks=Recorder(start=lambda r: 25)) as rig:
        await rig.until(lambda: rig.hooks.gaps)
        assert rig.hooks.gaps == [Gap(topic, 0, 10, 24, "truncated")]
        await rig.until(rig.transport.assignment)
        produce(group_broker.bootstrap, topic, 1)
        await rig.until_seen(1)
        assert rig.offsets == [(0, 10)]


async def test_a_topic_made_anew_ends_the_process(group_broker: KafkaBroker, tmp_path: Path) -> None:
    topic = group_broker.create_topic()
    produce(group_broker.bootstrap, topic, 100)
    rig = Rig(group_broker.bootstrap, topic, tmp_path)
    async with rig:
        await rig.until_seen(100)
        group_broker.delete_topic(topic)
        group_broker.create_topic(topic)
        produce(group_broker.bootstrap, topic, 5)
        await rig.until(lambda: rig.hooks.fatals, 60)
        assert "made anew" in str(rig.hooks.fatals[0])
        assert rig.app.should_stop
    assert len(rig.offsets) == 100


async def test_an_idle_partition_commits_past_transaction_markers(group_broker: KafkaBroker, tmp_path: Path) -> None:
    topic = group_broker.create_topic()
    producer = Producer({"bootstrap.servers": group_broker.bootstrap, "transactional.id": f"t-{time.time_ns()}"})
    producer.init_transactions(20)
    for round_ in range(4):
        producer.begin_transaction()
        producer.produce(topic, b"%d" % round_, partition=0)
        producer.flush(10)
        if round_ % 2:
            producer.abort_transaction(10)
        else:
            producer.commit_transaction(10)
    async with Rig(group_broker.bootstrap, topic, tmp_path, commit_interval_s=0.2) as rig:
        await rig.until_seen(2)
        assert [o for _, o in rig.offsets] == [0, 4]
        await rig.until(lambda: rig.committed(0) == 8)
        await rig.until(lambda: rig.transport.stats().lag == 0)
        assert rig.hooks.gaps == []
    assert stored(group_broker, rig.app.conf.id, topic) == 8


async def test_a_rewind_under_load_skips_nothing(group_broker: KafkaBroker, tmp_path: Path) -> None:
    topic = group_broker.create_topic()
    produce(group_broker.bootstrap, topic, 20_000)
    async with Rig(group_broker.bootstrap, topic, tmp_path, max_chunk_records=50) as rig:
        for target in (5_000, 17, 9_999, 0, 3):
            await rig.until_seen(len(rig.offsets) + 1_500)
            assert rig.transport.rewind(topic, 0, target)
        await rig.until(lambda: rig.position(0) == 20_000)
        runs: list[list[tuple[int, int, int, int]]] = []
        for chunk in rig.chunks:
            if not runs or runs[-1][-1][3] != chunk[3]:
                runs.append([])
            runs[-1].append(chunk)
        assert [run[0][1] for run in runs] == [0, 5_000, 17, 9_999, 0, 3]
        for run in runs:
            assert all(a[2] == b[1] for a, b in pairwise(run))
        await rig.until(lambda: rig.committed(0) == 20_000)
    assert not rig.transport.rewind(topic, 0, 0)


async def test_a_raising_agent_gets_its_chunk_again(group_broker: KafkaBroker, tmp_path: Path) -> None:
    topic = group_broker.create_topic()
    produce(group_broker.bootstrap, topic, 30)
    tries: list[int] = []

    async def handler(chunk: Chunk) -> None:
        tries.append(chunk.first_offset)
        if chunk.first_offset == 10 and tries.count(10) < 3:
            raise RuntimeError("not this time")
        chunk.done()

    async with Rig(
        group_broker.bootstrap, topic, tmp_path, handler=handler, max_chunk_records=10, initial_chunk_records=10
    ) as rig:
        await rig.until(lambda: rig.transport.assignment() and rig.position(0) == 30, 40)
        assert tries == [0, 10, 10, 10, 20]
        assert rig.transport.stats().counters.chunks_abandoned_total == 2


@pytest.mark.parametrize("protocol", ["classic", "cooperative", "consumer"])
async def test_a_member_without_partitions_is_ready_and_takes_over(
    group_broker: KafkaBroker, tmp_path: Path, protocol: str
) -> None:
    topic = group_broker.create_topic()
    a = Rig(group_broker.bootstrap, topic, tmp_path, group_protocol=protocol)
    b = Rig(group_broker.bootstrap, topic, tmp_path, group_protocol=protocol, group=a.app.conf.id)
    async with a:
        await a.until(a.transport.assignment)
        async with asyncio.timeout(20):
            await b.app.start()
        await b.until(lambda: b.app.started and b.transport.stats().is_trusted)
        produce(group_broker.bootstrap, topic, 10)
        await a.until(lambda: len(a.offsets) + len(b.offsets) == 10)
    await b.until(b.transport.assignment)
    produce(group_broker.bootstrap, topic, 5)
    await b.until(lambda: len(a.offsets) + len(b.offsets) == 15)
    await b.app.stop()


async def test_faust_sends_through_the_same_producer(group_broker: KafkaBroker, tmp_path: Path) -> None:
    topic = group_broker.create_topic(partitions=3)
    async with Rig(group_broker.bootstrap, topic, tmp_path) as rig:
        sent = [
            await (await rig.app.topic(topic, value_serializer="raw").send(key=b"k%d" % i, value=b"v"))
            for i in range(9)
        ]
        await rig.until_seen(9)
        placed = [rig.app.producer.key_partition(topic, b"k%d" % i).partition for i in range(9)]
        assert [metadata.partition for metadata in sent] == placed
        assert sorted((m.partition, m.offset) for m in sent) == sorted(rig.offsets)


async def test_a_corrupt_batch_is_a_declared_gap(group_broker: KafkaBroker, tmp_path: Path) -> None:
    topic = group_broker.create_topic()
    for i in range(5):
        produce(group_broker.bootstrap, topic, 10, size=50 + i, **{"batch.num.messages": 10, "linger.ms": 50})
    (log,) = (group_broker._nodes[0].home / "data").glob(f"{topic}-0/*0.log")
    data = log.read_bytes()
    wrong = data.index(b"x" * 52 + b"\x00")  # in a record of the third batch
    with log.open("r+b") as file:
        file.seek(wrong)
        file.write(b"?")
    async with Rig(group_broker.bootstrap, topic, tmp_path) as rig:
        await rig.until(lambda: rig.offsets and rig.offsets[-1] == (0, 49))
        assert [o for _, o in rig.offsets] == [*range(20), *range(30, 50)]
        assert [(g.lost_from, g.lost_to) for g in rig.hooks.gaps] == [(20, 29)]
        assert rig.hooks.gaps[0].reason == "_BAD_MSG"
