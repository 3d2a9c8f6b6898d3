"""The producer: batches of records, one future a batch, delivered in full or with a typed error."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from confluent_kafka import KafkaException
from confluent_kafka import Producer as KafkaProducer

from .clientlog import client_log
from .errors import FailedRecord, ProduceError, TransportError, TransportFatalError
from .options import TransportOptions
from .stats import ProducerCounters

if TYPE_CHECKING:
    from confluent_kafka import KafkaError, Message

log = logging.getLogger(__name__)
_client = client_log(__name__)

_RETRY_MIN_S = 0.1
_RETRY_MAX_S = 2.0
_BUFFER_WAIT_S = 0.005
# What librdkafka itself calls retriable comes on top. A record that timed out may still have been
# written: trying again is at-least-once.
_RETRIABLE = frozenset({"_ALL_BROKERS_DOWN", "_MSG_TIMED_OUT", "_TIMED_OUT", "_TIMED_OUT_QUEUE", "_TRANSPORT"})


@dataclass(frozen=True, slots=True)
class OutRecord:
    """One record to produce."""

    topic: str
    value: bytes | None
    key: bytes | None = None
    partition: int | None = None
    """None: by key, as the Java client places it (``murmur2_random``)."""
    headers: Sequence[tuple[str, bytes | None]] | None = None
    timestamp_ms: int | None = None
    """Epoch milliseconds; None: now."""

    def __len__(self) -> int:
        return len(self.value or b"") + len(self.key or b"")


class Producer:
    """Idempotent, ``acks=all``; safe for many batches at once, from one event loop.

    Delivery reports come in on a thread of its own; the loop is woken once a batch.
    """

    def __init__(
        self,
        bootstrap: str,
        options: TransportOptions,
        on_fatal: Callable[[TransportFatalError], object] | None = None,
    ) -> None:
        self._bootstrap = bootstrap
        self._options = options
        self._on_fatal = on_fatal
        self._client: KafkaProducer | None = None
        self._thread: threading.Thread | None = None
        self._is_closing = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._fatal: TransportFatalError | None = None
        self._room: asyncio.Event | None = None
        self._partition_counts: dict[str, int] = {}
        self.counters = ProducerCounters()
        self.in_flight_bytes = 0
        """Bytes of keys and values not yet acknowledged."""
        self.in_flight_records = 0

    def start(self) -> None:
        """Make the client and its thread; called on the event loop, by the first use at the latest."""
        if self._client is not None:
            return
        if self._is_closing.is_set():
            raise TransportError("the producer is closed")
        self._loop = asyncio.get_running_loop()
        self._room = asyncio.Event()
        self._client = KafkaProducer(
            {**self._options.producer_config(self._bootstrap), "error_cb": self._on_error},
            logger=_client,
        )
        self._thread = threading.Thread(target=self._serve, name="kafka-produce", daemon=True)
        self._thread.start()

    async def close(self, timeout_s: float = 10.0) -> int:
        """Send what is buffered and end; returns the number of records not delivered in time."""
        client, thread = self._client, self._thread
        self._is_closing.set()
        if client is None or thread is None:
            return 0
        loop = asyncio.get_running_loop()
        left = await loop.run_in_executor(None, client.flush, timeout_s)
        if left:
            client.purge()  # their reports come, so that nobody waits for ever
        await loop.run_in_executor(None, thread.join, 5.0)
        self._client = None
        return left

    async def flush(self, timeout_s: float = 30.0) -> int:
        """Wait until everything handed in so far was acknowledged; returns how many were not."""
        if self._client is None:
            return 0
        return await asyncio.get_running_loop().run_in_executor(None, self._client.flush, timeout_s)

    async def produce_batch(self, records: Sequence[OutRecord]) -> None:
        """Deliver all records; returns when every one is acknowledged by all in-sync replicas.

        Records that fail retriably, and only those, are tried again until ``produce_deadline_s``; so
        order within a batch is not kept over a failure. Waits where ``max_in_flight_bytes`` is
        reached or librdkafka's queue is full. Raises :class:`ProduceError` that lists what was not
        delivered (everything else was), and :class:`TransportFatalError` once the producer is dead.
        """
        if not records:
            return
        self.start()
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._options.produce_deadline_s
        pause = _RETRY_MIN_S
        permanent: dict[int, KafkaError] = {}
        todo: Sequence[int] = range(len(records))
        while True:
            errors = await self._attempt(records, todo)
            if self._fatal is not None and errors:
                raise self._fatal
            again = []
            for index, error in errors.items():
                if error.retriable() or error.name() in _RETRIABLE:
                    again.append(index)
                else:
                    permanent[index] = error
            if not again:
                break
            if loop.time() + pause > deadline:
                self._raise(records, permanent | {i: errors[i] for i in again}, set(again))
            self.counters.retries_total += len(again)
            log.warning("%d of %d records failed, trying again", len(again), len(records))
            await asyncio.sleep(pause)
            pause = min(2 * pause, _RETRY_MAX_S)
            todo = sorted(again)
        if permanent:
            self._raise(records, permanent, set())

    def produce_one(self, record: OutRecord, on_delivery: Callable[..., None]) -> None:
        """Hand one record to librdkafka; ``on_delivery(error, message)`` runs on the producer's thread.

        Raises :class:`BufferError` where the queue is full, :class:`KafkaException` otherwise.
        """
        self.start()
        client = self._client
        assert client is not None
        client.produce(
            record.topic,
            record.value,
            record.key,
            -1 if record.partition is None else record.partition,
            on_delivery,
            timestamp=record.timestamp_ms or 0,
            headers=list(record.headers) if record.headers else None,
        )

    def partition_count(self, topic: str, timeout_s: float = 5.0) -> int:
        """Number of partitions; asks the cluster once a topic, blocking.

        Raises :class:`KafkaException` where the topic is unknown or no broker answers.
        """
        count = self._partition_counts.get(topic)
        if count is None:
            self.start()
            client = self._client
            assert client is not None
            metadata = client.list_topics(topic, timeout=timeout_s).topics[topic]
            if metadata.error is not None:
                raise KafkaException(metadata.error)
            count = self._partition_counts[topic] = len(metadata.partitions)
        return count

    # --- one attempt -------------------------------------------------------------------------------

    async def _attempt(self, records: Sequence[OutRecord], todo: Sequence[int]) -> dict[int, KafkaError]:
        size = sum(len(records[i]) for i in todo)
        await self._wait_for_room(size)
        loop = asyncio.get_running_loop()
        batch = _Batch(loop, self, size, len(todo))
        self.in_flight_bytes += size
        self.in_flight_records += len(todo)
        sent = 0
        try:
            for index in todo:
                while True:
                    try:
                        self.produce_one(records[index], partial(batch.report, index))
                        sent += 1
                        break
                    except BufferError:
                        self.counters.buffer_waits_total += 1
                        await asyncio.sleep(_BUFFER_WAIT_S)
                    except KafkaException as exc:
                        batch.errors[index] = exc.args[0]
                        self.note(exc.args[0])
                        break
        finally:
            # Also when cancelled: what was sent is accounted for when its reports come.
            batch.expect(sent)
        await asyncio.shield(batch.future)
        self.counters.batches_total += 1
        self.counters.records_total += len(todo) - len(batch.errors)
        for error in batch.errors.values():
            self.counters.failures[error.name()] += 1
        return batch.errors

    async def _wait_for_room(self, size: int) -> None:
        room = self._room
        assert room is not None
        while self.in_flight_bytes and self.in_flight_bytes + size > self._options.max_in_flight_bytes:
            room.clear()
            self.counters.room_waits_total += 1
            await room.wait()

    def released(self, size: int, records: int) -> None:
        """A batch came to its end (on the event loop)."""
        self.in_flight_bytes -= size
        self.in_flight_records -= records
        if self._room is not None:
            self._room.set()

    @staticmethod
    def _raise(records: Sequence[OutRecord], errors: dict[int, KafkaError], late: set[int]) -> None:
        raise ProduceError([FailedRecord(i, records[i], errors[i], i in late) for i in sorted(errors)], len(records))

    # --- the producer's thread ---------------------------------------------------------------------

    def _serve(self) -> None:
        client = self._client
        assert client is not None
        while not self._is_closing.is_set() or len(client):
            client.poll(0.1)

    def _on_error(self, error: KafkaError) -> None:
        self.counters.client_errors[error.name()] += 1
        _client.warning("Kafka producer: %s: %s", error.name(), error.str())
        self.note(error)

    def note(self, error: KafkaError) -> None:
        """Remember a fatal error and say it once (any thread)."""
        if self._fatal is None and (error.fatal() or error.name() == "_FATAL"):
            self._fatal = TransportFatalError(f"Kafka producer: {error.name()}: {error.str()}")
            if self._on_fatal is not None and self._loop is not None:
                _call(self._loop, self._on_fatal, self._fatal)


class _Batch:
    """Collects the delivery reports of one attempt."""

    __slots__ = ("_expected", "_loop", "_producer", "_records", "_reported", "_size", "errors", "future")

    def __init__(self, loop: asyncio.AbstractEventLoop, producer: Producer, size: int, records: int) -> None:
        self._loop = loop
        self._producer = producer
        self._size = size
        self._records = records
        self._reported = 0
        self._expected: int | None = None
        self.errors: dict[int, KafkaError] = {}
        self.future: asyncio.Future[None] = loop.create_future()

    def report(self, index: int, error: KafkaError | None, message: Message) -> None:
        """One record was delivered or failed (on the producer's thread)."""
        if error is not None:
            self.errors[index] = error
            self._producer.note(error)
        self._reported += 1
        # The other thread sets `_expected` before it looks at `_reported`: one of both sees the end.
        if self._reported == self._expected:
            _call(self._loop, self._finish)

    def expect(self, sent: int) -> None:
        """No more records follow (on the event loop)."""
        self._expected = sent
        if self._reported == sent:
            self._finish()

    def _finish(self) -> None:
        if not self.future.done():
            self._producer.released(self._size, self._records)
            self.future.set_result(None)


def _call(loop: asyncio.AbstractEventLoop, callback: Callable[..., object], *args: Any) -> None:
    try:
        loop.call_soon_threadsafe(callback, *args)
    except RuntimeError:  # the loop is closed: nobody waits any more
        log.debug("a delivery report came after the event loop had closed")
