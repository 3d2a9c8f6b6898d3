"""Rows about records and batches that are too large, plain and compressed: refused or dead letters, memory bounded."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any

from confluent_kafka import Consumer, KafkaError, Message, Producer, TopicPartition
from confluent_kafka.admin import NewTopic  # type: ignore[attr-defined]

from schemas.topics import MAX_RECORD_BYTES, MAX_TELEMETRY_BYTES
from tests.fault.observe import INPUT
from tests.fault.row import row
from tests.fault.rows.bounds import PARTITIONS, rss_mb
from tests.fault.trial import Trial
from tests.support.pipeline import Pipeline

CODECS = ("gzip", "snappy", "lz4", "zstd")
BOMB_RECORDS, BOMB_BYTES = 100, 250_000
"""Each record alone is as large as telemetry may be; together they are 25 MB, and compressed some kB."""


@row(
    number=26,
    fault="records of 1 MiB, nesting 100 000 deep, megabytes of headers and keys, batches of nothing but these",
    observables=("I1", "refused", "memory"),
)
def large_records(trial: Trial) -> None:
    pipeline = trial.pipeline(partitions=PARTITIONS)
    worker = pipeline.start("worker", PIPELINE__DEADLETTER_LIMIT_RATIO="1.0")
    worker.wait_ready()
    trial.backlog(pipeline, 500)
    pipeline.wait_committed(worker)
    times = trial.count(ci=1, full=10)
    refused = _refusals(pipeline, [(b"k", b"x" * (MAX_RECORD_BYTES + 1), None), (b"k", b"x", [("h", b"x" * 2**20)])])
    trial.outcome.check("refused", refused == ["MSG_SIZE_TOO_LARGE"] * 2, f"records of over 1 MiB: {refused}")
    before_mb, allowed_mb = rss_mb(worker), _allowed_mb()
    most_mb = before_mb
    for name, large in _large(times):
        failed = _refusals(pipeline, large)
        assert not failed, (name, failed[:2])
        trial.outcome.runs += 1
        while pipeline.uncommitted():
            most_mb = max(most_mb, rss_mb(worker))
            assert worker.process.poll() is None, worker.text()[-2000:]
            time.sleep(0.02)
    trial.backlog(pipeline, 500, seed=2)
    pipeline.wait_committed(worker)
    told = f"{before_mb:.0f} MB before, at most {most_mb:.0f} MB; its bounds allow {allowed_mb:.0f} MB more"
    trial.outcome.check("memory", most_mb - before_mb <= allowed_mb, told)
    evidence = trial.judge(pipeline)
    trial.outcome.note = f"{told}; {dict(evidence.report.reasons)}"


@row(
    number=26,
    fault="compressed bombs: batches of kilobytes that unpack to megabytes, with every codec",
    observables=("I1", "refused", "would arrive otherwise", "memory"),
    in_ci=False,
)
def compressed_bombs(trial: Trial) -> None:
    pipeline = trial.pipeline(partitions=PARTITIONS)
    worker = pipeline.start("worker")
    worker.wait_ready()
    trial.backlog(pipeline, 500)
    pipeline.wait_committed(worker)
    before_mb, ends = rss_mb(worker), pipeline.ends(INPUT)
    open_topic = f"unprotected-{time.monotonic_ns()}"
    limits = {"max.message.bytes": str(MAX_RECORD_BYTES)}
    made = pipeline.broker.admin.create_topics([NewTopic(open_topic, 1, 1, config=limits)])
    made[open_topic].result()
    arrived: list[int] = []
    for codec in CODECS:
        trial.outcome.runs += 1
        failed = _bomb(pipeline, INPUT, codec)
        trial.outcome.check(
            "refused",
            failed == {"MSG_SIZE_TOO_LARGE": BOMB_RECORDS} and pipeline.ends(INPUT) == ends,
            f"{codec} on {INPUT}: {failed}",
        )
        _bomb(pipeline, open_topic, codec)
        # Of the codecs librdkafka unpacks zstd alone within a bound of the client, which is 100 MB as it comes.
        arrived.append(_bytes_read(pipeline, open_topic, 100_000_000 if codec == "zstd" else 2_000_000))
    pipeline.broker.delete_topic(open_topic)
    # Without the topic's setting the same batches pass the same size limit and unpack in whoever reads them.
    told = ", ".join(f"{codec} {size / 1e6:.0f} MB" for codec, size in zip(CODECS, arrived, strict=True))
    trial.outcome.check("would arrive otherwise", all(size == BOMB_RECORDS * BOMB_BYTES for size in arrived), told)
    trial.backlog(pipeline, 500, seed=2)
    pipeline.wait_committed(worker)
    after_mb = rss_mb(worker)
    trial.outcome.check("memory", after_mb <= before_mb + 20, f"{before_mb:.0f} MB before, {after_mb:.0f} MB after")
    trial.judge(pipeline, expected_dead_letters=())
    trial.outcome.note = f"{len(CODECS)} codecs refused; without compression.type=uncompressed a consumer gets {told}"


Large = tuple[bytes, bytes, list[tuple[str, bytes]] | None]


def _large(times: int) -> Iterator[tuple[str, list[Large]]]:
    """Yield kinds of records that pass the broker and are too much for anybody."""
    depth = 100_000
    deep = [b"[" * depth + b"]" * depth, b'{"a":' * depth + b"1" + b"}" * depth, b"[" * depth, b'{"a":[' * 30_000]
    just_below = MAX_RECORD_BYTES - 4_096
    yield "deep", [(b"k%d" % n, body, None) for n in range(50 * times) for body in deep]
    yield "large", [(b"k%d" % n, b"x" * just_below, None) for n in range(100 * times)]
    yield (
        "above the telemetry bound",
        [(b"k%d" % n, b" " * (MAX_TELEMETRY_BYTES + 1), None) for n in range(200 * times)],
    )
    yield "headers", [(b"k%d" % n, b"{}", [("h", b"x" * 500_000)] * 2) for n in range(100 * times)]
    yield "keys", [(b"k%d" % n + b"x" * 900_000, b"{}", None) for n in range(100 * times)]


def _allowed_mb() -> float:
    """What the declared bounds of a worker add up to, MB: prefetched, held back, in work, on its way in and out."""
    prefetched, held, chunk, fetched, in_flight = 16, 16, 4, 8, 32
    # One poll may take all that was prefetched beyond what may be held. A chunk's records exist as they came, in the
    # producer's queue and in its request.
    return PARTITIONS * (prefetched + (held + prefetched) + 3 * chunk + fetched) + in_flight


def _refusals(pipeline: Pipeline, records: Sequence[Large]) -> list[str]:
    """Produce records, each in a batch of its own where it is large; return the names of the errors."""
    failed: list[str] = []
    producer = _careless(pipeline, "none")
    for number, (key, value, headers) in enumerate(records):
        _produce(producer, INPUT, key, value, number % PARTITIONS, failed, headers)
    assert producer.flush(120) == 0
    return failed


def _bomb(pipeline: Pipeline, topic: str, codec: str) -> dict[str, int]:
    """Produce one batch of records that compress a thousandfold; return what was refused, by error."""
    failed: list[str] = []
    producer = _careless(pipeline, codec)
    for number in range(BOMB_RECORDS):
        _produce(producer, topic, b"k%d" % number, b" " * BOMB_BYTES, 0, failed)
    assert producer.flush(60) == 0
    return {name: failed.count(name) for name in failed}


def _careless(pipeline: Pipeline, codec: str) -> Producer:
    """A producer without any bound of its own."""
    return Producer(
        {
            "bootstrap.servers": pipeline.broker.bootstrap,
            "message.max.bytes": 200_000_000,
            "batch.size": 100_000_000,
            # Alone, so that the broker judges the record and not the company it came in.
            "batch.num.messages": 1 if codec == "none" else 100_000,
            "linger.ms": 200 if codec != "none" else 0,
            "compression.type": codec,
            "message.timeout.ms": 30_000,
            "log_level": 2,
        }
    )


def _produce(  # noqa: PLR0917 - what a record has
    producer: Producer,
    topic: str,
    key: bytes,
    value: bytes,
    partition: int,
    failed: list[str],
    headers: list[tuple[str, bytes]] | None = None,
) -> None:
    def delivered(error: KafkaError | None, _: Message) -> None:
        if error is not None:
            failed.append(error.name())

    more: dict[str, Any] = {"headers": headers} if headers is not None else {}
    while True:
        try:
            producer.produce(topic, key=key, value=value, partition=partition, on_delivery=delivered, **more)
            break
        except BufferError:
            producer.poll(0.05)
    producer.poll(0)


def _bytes_read(pipeline: Pipeline, topic: str, receive_bytes: int) -> int:
    """Return the bytes of values that a consumer with tight bounds gets of the newest batch."""
    consumer = Consumer(
        {
            "bootstrap.servers": pipeline.broker.bootstrap,
            "group.id": "bomb-reader",
            "fetch.max.bytes": 1_048_576,
            "max.partition.fetch.bytes": 1_048_576,
            "queued.max.messages.kbytes": 1_024,
            "receive.message.max.bytes": receive_bytes,
        }
    )
    try:
        _, end = consumer.get_watermark_offsets(TopicPartition(topic, 0), timeout=10)
        consumer.assign([TopicPartition(topic, 0, end - BOMB_RECORDS)])
        read = records = 0
        until_s = time.monotonic() + 20
        while records < BOMB_RECORDS and time.monotonic() < until_s:
            message = consumer.poll(0.2)
            if message is not None and message.error() is None:
                read += len(message.value() or b"")
                records += 1
        return read
    finally:
        consumer.close()
