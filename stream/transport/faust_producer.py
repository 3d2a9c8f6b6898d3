"""Faust's producer interface over :class:`Producer`, so that ``topic.send`` works unchanged."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, cast

from confluent_kafka import KafkaException
from faust.exceptions import ProducerSendError
from faust.transport.producer import Producer as BaseProducer
from faust.types import TP, RecordMetadata
from faust.types.core import HeadersArg

from .murmur2 import partition_of
from .producer import OutRecord

if TYPE_CHECKING:
    from confluent_kafka import KafkaError, Message

    from .driver import Transport

log = logging.getLogger(__name__)

_BUFFER_WAIT_S = 0.005
_CLOSE_MIN_S = 0.5
_CLOSE_S = 10.0
_FLUSH_S = 30.0


class FaustProducer(BaseProducer):
    """Shares the transport's one librdkafka producer. No transactions."""

    async def on_start(self) -> None:
        """Start the shared producer."""
        await super().on_start()
        self._core().start()

    async def on_stop(self) -> None:
        """Send what is buffered; end the shared producer."""
        left = await self._core().close(min(_CLOSE_S, self._stop_left_s()))
        if left:
            log.error("%d records were not delivered at the stop", left)

    def _stop_left_s(self) -> float:
        """What chunks left of the stop deadline; and a little for what they had just handed in."""
        return max(_CLOSE_MIN_S, cast("Transport", self.transport).stop_left_s())

    def _core(self) -> Any:
        return cast("Transport", self.transport).producer

    async def send(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        partition: int | None,
        timestamp: float | None,
        headers: HeadersArg | None,
        *,
        transactional_id: str | None = None,
    ) -> Awaitable[RecordMetadata]:
        """Hand a record to the producer; the result resolves when it is acknowledged.

        ``timestamp`` is in seconds. Failure: :class:`faust.exceptions.ProducerSendError`.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[RecordMetadata] = loop.create_future()

        def settle(error: KafkaError | None, metadata: RecordMetadata) -> None:
            if future.done():
                return
            if error is None:
                future.set_result(metadata)
            else:
                future.set_exception(ProducerSendError(f"Error while sending: {error!r}"))

        def on_delivery(error: KafkaError | None, message: Message) -> None:
            metadata = RecordMetadata(
                topic=topic,
                partition=cast("int", message.partition()),
                topic_partition=TP(topic, cast("int", message.partition())),
                offset=cast("int", message.offset()),
                timestamp=message.timestamp()[1] / 1000.0,
                timestamp_type=message.timestamp()[0],
            )
            loop.call_soon_threadsafe(settle, error, metadata)

        record = OutRecord(
            topic,
            value,
            key,
            partition,
            _headers(headers),
            None if timestamp is None else int(timestamp * 1000),
        )
        while True:
            try:
                self._core().produce_one(record, on_delivery)
            except BufferError:
                await asyncio.sleep(_BUFFER_WAIT_S)
            except KafkaException as exc:
                raise ProducerSendError(f"Error while sending: {exc!r}") from exc
            else:
                return future

    async def send_and_wait(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        partition: int | None,
        timestamp: float | None,
        headers: HeadersArg | None,
        *,
        transactional_id: str | None = None,
    ) -> RecordMetadata:
        """Send a record and wait for its acknowledgement."""
        return await (await self.send(topic, key, value, partition, timestamp, headers))

    async def flush(self) -> None:
        """Wait for everything handed in so far."""
        await self.buffer.flush()
        await self._core().flush(min(_FLUSH_S, self._stop_left_s()))

    def key_partition(self, topic: str, key: bytes) -> TP:
        """Partition of a key, as every other client with murmur2 places it."""
        return TP(topic, partition_of(key, self._core().partition_count(topic)))

    async def create_topic(self, topic: str, *args: Any, **kwargs: Any) -> None:
        """The transport makes no topics."""
        log.warning("topic %s is not created: the transport makes no topics", topic)

    def supports_headers(self) -> bool:
        """Always."""
        return True


def _headers(headers: HeadersArg | None) -> list[tuple[str, bytes | None]] | None:
    if not headers:
        return None
    items = headers.items() if isinstance(headers, Mapping) else headers
    return [(name, value) for name, value in cast("Iterable[tuple[str, bytes]]", items)]
