"""The producer: batches of records, one future a batch, delivered in full or with a typed error, always in order."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec
from confluent_kafka import KafkaError, KafkaException

from .clientlog import client_log
from .errors import FailedRecord, ProduceError, TransportError, TransportFatalError
from .options import TransportOptions
from .sender import Sender
from .stats import ProducerCounters

if TYPE_CHECKING:
    from confluent_kafka import Message

log = logging.getLogger(__name__)
_client = client_log(__name__)

_BUFFER_WAIT_S = 0.005
_VERDICT_S = 2.0
_VERDICT_POLL_S = 0.01
# What never was sent, or ended with the time: the same record may well be taken later.
_RETRIABLE = frozenset(
    {
        "_ALL_BROKERS_DOWN",
        "_FATAL",  # of a client that was replaced; that of a dead producer is raised as such
        "_MSG_TIMED_OUT",
        "_PURGE_INFLIGHT",
        "_PURGE_QUEUE",
        "_TIMED_OUT",
        "_TIMED_OUT_QUEUE",
        "_TRANSPORT",
    }
)
# A record failed for which others may have been waiting behind it: see `Producer`.
_LEAVES_GAP = frozenset({"_GAPLESS_GUARANTEE", "_MSG_TIMED_OUT"})


class OutRecord(msgspec.Struct, frozen=True, gc=False):
    """One record to produce. Its length is what it holds in bytes: value, key, and headers with their names."""

    topic: str
    value: bytes | None
    key: bytes | None = None
    partition: int | None = None
    """None: by key, as the Java client places it (``murmur2_random``)."""
    headers: Sequence[tuple[str, bytes | None]] | None = None
    timestamp_ms: int | None = None
    """Epoch milliseconds; None: now."""
    header_bytes: int | None = None
    """What `headers` hold, where the maker knows it; None: they are counted."""

    def __len__(self) -> int:
        in_headers = self.header_bytes
        if in_headers is None:
            in_headers = sum(len(name) + len(value or b"") for name, value in self.headers or ())
        return len(self.value or b"") + len(self.key or b"") + in_headers


class Producer:
    """Idempotent, ``acks=all``; safe for many batches at once, from one event loop.

    What was written of a batch is, in each partition, its beginning: no record is written behind one that
    failed, and none is ever sent a second time. librdkafka's idempotent producer tries again by itself, in
    order. Where it cannot (the deadline is over, a broker refuses a record), its client is purged and a
    fresh one made by the next batch, so that nothing that waited in its queue follows.

    Delivery reports come in on a thread of their own; the loop is woken once a batch.
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
        self._sender: Sender | None = None
        self._is_closed = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._fatal: TransportFatalError | None = None
        self._room: asyncio.Event | None = None
        self._partition_counts: dict[str, int] = {}
        self.counters = ProducerCounters()
        self.in_flight_bytes = 0
        """Bytes of values, keys and headers not yet acknowledged."""
        self.in_flight_records = 0

    def start(self) -> None:
        """Make the client and its thread; called on the event loop, by the first use at the latest."""
        self._started()

    def _started(self) -> Sender:
        if self._is_closed:
            raise TransportError("the producer is closed")
        if self._sender is None:
            self._loop = asyncio.get_running_loop()
            self._room = self._room or asyncio.Event()
            self._sender = Sender(self._options.producer_config(self._bootstrap), self._on_error)
        return self._sender

    async def close(self, timeout_s: float = 10.0) -> int:
        """Send what is buffered and end; returns the number of records not delivered in time."""
        self._is_closed = True
        sender, self._sender = self._sender, None
        if sender is None:
            return 0
        return await asyncio.get_running_loop().run_in_executor(None, sender.close, timeout_s)

    async def flush(self, timeout_s: float = 30.0) -> int:
        """Wait until everything handed in so far was acknowledged; returns how many were not."""
        sender = self._sender
        if sender is None:
            return 0
        return await asyncio.get_running_loop().run_in_executor(None, sender.flush, timeout_s)

    async def produce_batch(self, records: Sequence[OutRecord]) -> None:
        """Deliver all records; returns when every one is acknowledged by all in-sync replicas.

        Waits where ``max_in_flight_bytes`` is reached or librdkafka's queue is full. After
        ``produce_deadline_s`` (which counts from the call) nothing more of the batch is sent. Raises
        :class:`ProduceError` that lists what is not known to be delivered (everything else was), and
        :class:`TransportFatalError` once the producer is dead. A listed record may have been written all
        the same if its acknowledgement was lost; so repeat with a mark, or with what tells a repeat.
        """
        if not records:
            return
        self._started()
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._options.produce_deadline_s
        size = sum(map(len, records))
        if not self._has_room(size) and not await self._wait_for_room(size, deadline):
            self._raise(records, dict.fromkeys(range(len(records)), _never_sent()))
        sender = self._started()
        batch = _Batch(loop, self, sender, size, len(records))
        batch.timer = loop.call_at(deadline, self.give_up, sender, "the produce deadline is over")
        self.in_flight_bytes += size
        self.in_flight_records += len(records)
        await self._hand_over(records, batch)
        await batch.future
        errors = batch.errors
        self.counters.batches_total += 1
        self.counters.records_total += len(records) - len(errors)
        if not errors:
            return
        for error in errors.values():
            self.counters.failures[error.name()] += 1
        if any(error.name() == "_FATAL" for error in errors.values()):
            await self._verdict(sender)
        if self._fatal is not None:
            raise self._fatal
        self._raise(records, errors)

    def produce_one(self, record: OutRecord, on_delivery: Callable[..., None]) -> None:
        """Hand one record to librdkafka; ``on_delivery(error, message)`` runs on the producer's thread.

        Raises :class:`BufferError` where the queue is full, :class:`KafkaException` otherwise.
        """
        _produce(self._started(), record, on_delivery)

    def partition_count(self, topic: str, timeout_s: float = 5.0) -> int:
        """Number of partitions; asks the cluster once a topic, blocking.

        Raises :class:`KafkaException` where the topic is unknown or no broker answers.
        """
        count = self._partition_counts.get(topic)
        if count is None:
            metadata = self._started().client.list_topics(topic, timeout=timeout_s).topics[topic]
            if metadata.error is not None:
                raise KafkaException(metadata.error)
            count = self._partition_counts[topic] = len(metadata.partitions)
        return count

    # --- one batch ---------------------------------------------------------------------------------

    async def _hand_over(self, records: Sequence[OutRecord], batch: _Batch) -> None:
        sender, errors, report = batch.sender, batch.errors, batch.report
        refused: set[tuple[str, object]] = set()
        sent = 0
        try:
            for index, record in enumerate(records):
                if refused and _place(record) in refused:
                    errors[index] = _never_sent()
                    continue
                while True:
                    if sender.is_retired:
                        errors[index] = _never_sent()
                        break
                    try:
                        _produce(sender, record, partial(report, index))
                        sent += 1
                        break
                    except BufferError:  # until there is room, or the deadline retires the sender
                        self.counters.buffer_waits_total += 1
                        await asyncio.sleep(_BUFFER_WAIT_S)
                    except KafkaException as exc:
                        errors[index] = exc.args[0]
                        refused.add(_place(record))
                        self.note(exc.args[0], sender)
                        break
        finally:
            # Also when cancelled: what was sent is accounted for when its reports come.
            batch.expect(sent)

    def _has_room(self, size: int) -> bool:
        """Whether so many bytes may be sent now; a batch beyond the bound goes alone."""
        return not self.in_flight_bytes or self.in_flight_bytes + size <= self._options.max_in_flight_bytes

    async def _wait_for_room(self, size: int, deadline: float) -> bool:
        room = self._room
        assert room is not None
        try:
            async with asyncio.timeout_at(deadline):
                while not self._has_room(size):
                    room.clear()
                    self.counters.room_waits_total += 1
                    await room.wait()
        except TimeoutError:
            return False
        return True

    def released(self, size: int, records: int) -> None:
        """A batch came to its end (on the event loop)."""
        self.in_flight_bytes -= size
        self.in_flight_records -= records
        if self._room is not None:
            self._room.set()

    @staticmethod
    def _raise(records: Sequence[OutRecord], errors: dict[int, KafkaError]) -> None:
        raise ProduceError(
            [FailedRecord(i, records[i], e, _may_help(e)) for i, e in sorted(errors.items())], len(records)
        )

    # --- failures ----------------------------------------------------------------------------------

    def give_up(self, sender: Sender, why: str) -> None:
        """Send nothing more of what a client has; the next batch gets a fresh one (on the event loop)."""
        if sender.is_retired:
            return
        if self._sender is sender:
            self._sender = None
        self.counters.clients_replaced_total += 1
        log.warning("Kafka producer: %s; what was not acknowledged is given up", why)
        sender.retire()

    def stop_sending(self, why: str) -> None:
        """Give up everything that is not acknowledged; batches underway fail, retriably (on the event loop)."""
        if self._sender is not None and self.in_flight_records:
            self.give_up(self._sender, why)

    async def _verdict(self, sender: Sender) -> None:
        """A client says only by its error callback why it died; that may come after the delivery reports."""
        loop = asyncio.get_running_loop()
        latest = loop.time() + _VERDICT_S
        while self._fatal is None and not sender.is_retired:
            if loop.time() > latest:
                self._die(TransportFatalError("Kafka producer: a fatal error that was not told"))
            await asyncio.sleep(_VERDICT_POLL_S)

    def _on_error(self, error: KafkaError, sender: Sender) -> None:
        if sender.is_retired:
            return  # the purge itself counts as a gap there
        self.counters.client_errors[error.name()] += 1
        _client.warning("Kafka producer: %s: %s", error.name(), error.str())
        self.note(error, sender)

    def note(self, error: KafkaError, sender: Sender) -> None:
        """Act on an error that concerns the whole client (any thread)."""
        loop, name = self._loop, error.name()
        if loop is None or sender.is_retired:
            return
        if name in _LEAVES_GAP:
            _call(loop, self.give_up, sender, f"{name}: {error.str()}")
        elif error.fatal() and name != "_FATAL":
            self._die(TransportFatalError(f"Kafka producer: {name}: {error.str()}"))

    def _die(self, error: TransportFatalError) -> None:
        if self._fatal is None:
            self._fatal = error
            if self._on_fatal is not None and self._loop is not None:
                _call(self._loop, self._on_fatal, error)


class _Batch:
    """Collects the delivery reports of one batch."""

    __slots__ = (
        "_expected",
        "_is_over",
        "_loop",
        "_producer",
        "_records",
        "_reported",
        "_size",
        "errors",
        "future",
        "sender",
        "timer",
    )

    def __init__(
        self, loop: asyncio.AbstractEventLoop, producer: Producer, sender: Sender, size: int, records: int
    ) -> None:
        self._loop = loop
        self._producer = producer
        self._size = size
        self._records = records
        self._reported = 0
        self._expected: int | None = None
        self._is_over = False
        self.sender = sender
        self.errors: dict[int, KafkaError] = {}
        self.future: asyncio.Future[None] = loop.create_future()
        self.timer: asyncio.TimerHandle | None = None

    def report(self, index: int, error: KafkaError | None, message: Message) -> None:
        """One record was delivered or failed (on the producer's thread)."""
        if error is not None:
            self.errors[index] = error
            self._producer.note(error, self.sender)
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
        # The last report and `expect` may both come here.
        if self._is_over:
            return
        self._is_over = True
        if self.timer is not None:
            self.timer.cancel()
        self._producer.released(self._size, self._records)
        # It is done already where who waited was cancelled: what was sent counts until its reports have come.
        if not self.future.done():
            self.future.set_result(None)


def _produce(sender: Sender, record: OutRecord, on_delivery: Callable[..., None]) -> None:
    headers, partition = record.headers, record.partition
    # All by position, in the bindings' order (the callback has two names there): several times cheaper than by name.
    sender.client.produce(
        record.topic,
        record.value,
        record.key,
        -1 if partition is None else partition,
        on_delivery,
        None,
        record.timestamp_ms or 0,
        headers if type(headers) is list else list(headers or ()),
    )


def _place(record: OutRecord) -> tuple[str, object]:
    """Where order counts: a partition, or a key's."""
    return record.topic, record.key if record.partition is None else record.partition


def _may_help(error: KafkaError) -> bool:
    return error.retriable() or error.name() in _RETRIABLE


def _never_sent() -> KafkaError:
    purged = KafkaError._PURGE_QUEUE  # noqa: SLF001 - its public name
    return KafkaError(purged, "not sent: the deadline was over, or an earlier record had failed")


def _call(loop: asyncio.AbstractEventLoop, callback: Callable[..., object], *args: Any) -> None:
    try:
        loop.call_soon_threadsafe(callback, *args)
    except RuntimeError:  # the loop is closed: nobody waits any more
        log.debug("a delivery report came after the event loop had closed")
