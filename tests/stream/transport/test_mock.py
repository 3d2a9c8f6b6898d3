"""The transport on the broker inside librdkafka: chunks, commits, hooks, errors, back-pressure."""

from __future__ import annotations

import asyncio
import gc
from pathlib import Path
from typing import Any

import faust
import pytest

from stream.records import offset_of
from stream.transport import (
    Chunk,
    StartRequest,
    TransportConfigurationError,
    TransportFatalError,
    configure,
    faust_settings,
)
from tests.stream.transport.rig import MOCK, MOCK_PARTITIONS, Recorder, Rig, mock_rig, new_topic, produce

pytestmark = [pytest.mark.timeout(60), pytest.mark.filterwarnings("ignore::DeprecationWarning")]


async def test_all_records_come_once_in_order_and_are_committed(mock_kafka: str, tmp_path: Path) -> None:
    topic = new_topic(mock_kafka)
    for partition in range(3):
        produce(mock_kafka, topic, 1000, partition=partition)
    async with mock_rig(mock_kafka, topic, tmp_path, commit_interval_s=0.1) as rig:
        await rig.until_seen(3000)
        for partition in range(3):
            assert [o for p, o in rig.offsets if p == partition] == list(range(1000))
        await rig.until(lambda: all(rig.committed(p) == 1000 for p in range(3)))
        assert {r.topic_id for r in rig.hooks.requests} == {"fixed-id"}
        stats = rig.transport.stats()
        assert stats.lag == 0
        assert stats.is_trusted
        assert stats.counters.records_done_total == 3000
        assert stats.last_poll_age_s is not None
        assert stats.last_poll_age_s < 1
        assert rig.app.monitor.messages_active == 0
        assert rig.app.monitor.messages_received_total == stats.counters.chunks_total
    owned = [(topic, p) for p in range(MOCK_PARTITIONS)]
    assert rig.hooks.changes == [("assigned", owned), ("revoked", owned)]


async def test_idle_means_one_record_a_chunk_and_backlog_means_many(mock_kafka: str, tmp_path: Path) -> None:
    topic = new_topic(mock_kafka)
    async with mock_rig(mock_kafka, topic, tmp_path) as rig:
        await rig.until(rig.transport.assignment)
        for _ in range(5):
            produce(mock_kafka, topic, 1)
            await rig.until_seen(len(rig.offsets) + 1)
        assert [b - a for _, a, b, _ in rig.chunks] == [1] * 5
        rig.transport.pause_partition(topic, 0)
        produce(mock_kafka, topic, 500)
        await rig.until(lambda: rig.transport.stats().pending_records == 500)
        rig.transport.resume_partition(topic, 0)
        await rig.until_seen(505)
        assert max(b - a for _, a, b, _ in rig.chunks) >= 64


async def test_start_offsets_are_the_hooks_and_are_asked_again_after_a_failure(mock_kafka: str, tmp_path: Path) -> None:
    topic = new_topic(mock_kafka)
    produce(mock_kafka, topic, 50)
    asked: list[StartRequest] = []

    def start(request: StartRequest) -> int:
        asked.append(request)
        if len(asked) == 1:
            raise OSError("the store is away")
        return 42 if request.partition == 0 else 0

    rig = Rig(mock_kafka, topic, tmp_path, hooks=Recorder(start), topic_ids={topic: "x"}, **MOCK)
    async with rig:
        await rig.until_seen(8)
        assert [o for _, o in rig.offsets] == list(range(42, 50))
        assert [(r.low, r.high, r.committed) for r in asked if r.partition == 0][-1] == (0, 50, None)
        assert rig.transport.stats().counters.start_failures_total == 1


async def test_a_hook_can_end_the_process(mock_kafka: str, tmp_path: Path) -> None:
    topic = new_topic(mock_kafka)

    def start(request: StartRequest) -> int:
        raise TransportFatalError("this is not my topic")

    rig = Rig(mock_kafka, topic, tmp_path, hooks=Recorder(start), topic_ids={topic: "x"}, **MOCK)
    async with rig:
        await rig.until(lambda: rig.hooks.fatals)
        await rig.until(lambda: rig.app.should_stop)
        assert str(rig.hooks.fatals[0]) == "this is not my topic"
        assert rig.app.crash_reason is rig.hooks.fatals[0]
    assert rig.offsets == []


async def test_an_agent_may_take_its_chunks_from_a_queue(mock_kafka: str, tmp_path: Path) -> None:
    topic = new_topic(mock_kafka)
    for partition in range(MOCK_PARTITIONS):
        produce(mock_kafka, topic, 200, partition=partition)
    done: list[tuple[int, int]] = []
    working: set[asyncio.Task[None]] = set()
    calls = 0

    async def work(chunk: Chunk) -> None:
        await asyncio.sleep(0.001)
        if chunk.done():
            done.extend((chunk.partition, offset_of(record)) for record in chunk.records)

    async def handle(chunk: Chunk) -> None:
        nonlocal calls
        calls += 1
        if calls == 3:
            chunk.abandon("not now")
        elif calls != 5:  # dropped: it comes again, too
            task = asyncio.ensure_future(work(chunk))
            working.add(task)
            task.add_done_callback(working.discard)

    rig = mock_rig(mock_kafka, topic, tmp_path, handler=handle, by_queue=True, commit_interval_s=0.05)
    async with rig:
        await rig.until(lambda: len(done) == 200 * MOCK_PARTITIONS)
        await rig.until(lambda: all(rig.committed(p) == 200 for p in range(MOCK_PARTITIONS)))
        for p in range(MOCK_PARTITIONS):
            assert [o for q, o in done if q == p] == list(range(200))
        assert rig.transport.stats().counters.chunks_abandoned_total == 2
        assert rig.app.monitor.messages_received_total == 0
        with pytest.raises(TransportConfigurationError, match="in use"):
            rig.transport.chunks(topic)


async def test_two_agents_on_a_topic_are_refused(mock_kafka: str, tmp_path: Path) -> None:
    topic = new_topic(mock_kafka)
    rig = mock_rig(mock_kafka, topic, tmp_path)

    async def second(chunks: Any) -> None:
        async for _ in chunks:
            pass

    rig.app.agent(rig.app.topic(topic), name="second")(second)
    async with rig:
        await rig.until(lambda: rig.hooks.fatals)
        assert "more than one agent" in str(rig.hooks.fatals[0])


async def test_a_chunk_kept_by_another_task_is_finished_there(mock_kafka: str, tmp_path: Path) -> None:
    topic = new_topic(mock_kafka)
    kept: dict[int, Chunk] = {}

    async def handler(chunk: Chunk) -> None:
        kept[chunk.partition] = chunk

    produce(mock_kafka, topic, 5, partition=0)
    produce(mock_kafka, topic, 5, partition=1)
    async with mock_rig(mock_kafka, topic, tmp_path, handler=handler, commit_interval_s=0.05) as rig:
        await rig.until(lambda: len(kept) == 2)
        gc.collect()
        await asyncio.sleep(0.3)
        assert len(rig.chunks) == 2
        assert kept[0].is_current()
        assert rig.committed(0) is None
        kept.pop(0).done()
        dropped = kept.pop(1)
        del dropped
        await rig.until(lambda: rig.committed(0) == 5)
        produce(mock_kafka, topic, 1, partition=0)  # the agent lets go of what it held last
        await rig.until(lambda: [c for c in rig.chunks if c[0] == 1] == [(1, 0, 5, rig.chunks[-1][3])] * 2)
        assert rig.committed(1) is None
        for chunk in kept.values():
            chunk.done()


async def test_marks_pause_and_resume_and_lose_nothing(mock_kafka: str, tmp_path: Path) -> None:
    topic = new_topic(mock_kafka)

    async def handler(chunk: Chunk) -> None:
        await asyncio.sleep(0.001)
        chunk.done(0.001)

    produce(mock_kafka, topic, 4000, partition=0)
    produce(mock_kafka, topic, 4000, partition=1)
    async with mock_rig(
        mock_kafka,
        topic,
        tmp_path,
        handler=handler,
        pause_high_records=200,
        pause_low_records=50,
        poll_batch_records=50,
        max_chunk_records=20,
    ) as rig:
        most = 0
        while len(rig.offsets) < 8000:
            await asyncio.sleep(0.005)
            waiting = rig.transport.stats().partitions.values()
            most = max([most, *(p.pending_records for p in waiting)])
        for partition in range(2):
            assert [o for p, o in rig.offsets if p == partition] == list(range(4000))
        counters = rig.transport.stats().counters
        assert counters.pauses_total > 0
        assert counters.resumes_total > 0
        assert 0 < most <= 200 + 50


async def test_holding_bounds_what_waits(mock_kafka: str, tmp_path: Path) -> None:
    topic = new_topic(mock_kafka)

    async def handler(chunk: Chunk) -> None:
        await asyncio.sleep(0.001)
        chunk.done(0.001)

    produce(mock_kafka, topic, 5000)
    async with mock_rig(
        mock_kafka, topic, tmp_path, handler=handler, hold_records=300, poll_batch_records=100, max_chunk_records=20
    ) as rig:
        most = 0
        while len(rig.offsets) < 5000:
            await asyncio.sleep(0.005)
            most = max(most, rig.transport.stats().pending_records)
        counters = rig.transport.stats().counters
        assert counters.holds_total > 0
        assert counters.pauses_total == 0
        assert most < 1500
        assert [o for _, o in rig.offsets] == list(range(5000))


async def test_rewind_gives_a_new_epoch_and_keeps_the_commit(mock_kafka: str, tmp_path: Path) -> None:
    topic = new_topic(mock_kafka)
    produce(mock_kafka, topic, 100)
    async with mock_rig(mock_kafka, topic, tmp_path, commit_interval_s=0.05) as rig:
        await rig.until(lambda: rig.offsets and rig.committed(0) == 100)
        before = rig.chunks[-1][3]
        assert rig.transport.rewind(topic, 0, 60)
        await rig.until_seen(140)
        assert [o for _, o in rig.offsets[100:]] == list(range(60, 100))
        assert all(chunk[3] > before for chunk in rig.chunks if chunk[1] >= 60 and chunk is rig.chunks[-1])
        assert rig.committed(0) == 100
        assert not rig.transport.rewind(topic, 7, 0)
        with pytest.raises(ValueError, match="offset"):
            rig.transport.rewind(topic, 0, -1)


async def test_configure_refuses_what_cannot_work(tmp_path: Path) -> None:
    other = faust.App("other", broker="kafka://127.0.0.1:1", datadir=str(tmp_path), **faust_settings())
    with pytest.raises(TransportConfigurationError, match="not librdkafka"):
        configure(other)
    bare = faust.App("bare", broker="librdkafka://127.0.0.1:1", datadir=str(tmp_path))
    with pytest.raises(TransportConfigurationError, match="faust_settings"):
        configure(bare)


async def test_the_url_carries_all_hosts(tmp_path: Path) -> None:
    app = faust.App("hosts", broker="librdkafka://a:1;b;c:3", datadir=str(tmp_path), **faust_settings())
    assert configure(app).bootstrap == "a:1,b:9092,c:3"


async def test_the_user_can_end_the_process(mock_kafka: str, tmp_path: Path) -> None:
    topic = new_topic(mock_kafka)
    async with mock_rig(mock_kafka, topic, tmp_path) as rig:
        await rig.until(rig.transport.assignment)
        rig.transport.fail(TransportFatalError("the store is another one"))
        rig.transport.fail(TransportFatalError("too late"))
        await rig.until(lambda: rig.app.should_stop)
        assert [str(error) for error in rig.hooks.fatals] == ["the store is another one"]
        assert rig.app.crash_reason is rig.hooks.fatals[0]


async def test_a_pause_is_of_this_assignment_and_is_shown(mock_kafka: str, tmp_path: Path) -> None:
    topic = new_topic(mock_kafka)
    async with mock_rig(mock_kafka, topic, tmp_path) as rig:
        await rig.until(rig.transport.assignment)
        assert rig.transport.pause_partition(topic, 1)
        assert not rig.transport.pause_partition(topic, 99)
        assert not rig.transport.resume_partition("other", 0)
        held = {key[1]: p.is_held for key, p in rig.transport.stats().partitions.items()}
        assert held == {0: False, 1: True, 2: False, 3: False}
        assert rig.transport.resume_partition(topic, 1)
        assert not rig.transport.stats().partitions[topic, 1].is_held


async def test_an_agent_may_be_concurrent(mock_kafka: str, tmp_path: Path) -> None:
    topic = new_topic(mock_kafka)
    for partition in range(MOCK_PARTITIONS):
        produce(mock_kafka, topic, 50, partition=partition)
    both = asyncio.Event()
    running = 0

    async def handler(chunk: Chunk) -> None:
        nonlocal running
        running += 1
        if running == 2:
            both.set()
        await both.wait()
        await asyncio.sleep(0.01)
        running -= 1
        assert chunk.done()

    async with mock_rig(mock_kafka, topic, tmp_path, handler=handler, concurrency=2) as rig:
        await rig.until_seen(200)
        await rig.until(lambda: all(rig.position(p) == 50 for p in range(MOCK_PARTITIONS)))
        assert sorted(rig.offsets) == [(p, o) for p in range(MOCK_PARTITIONS) for o in range(50)]
