"""The way to Kafka: bounded, awaited until all in-sync replicas acknowledged, and quick to say no while it is away.

There is no queue of its own: what waits is a request that is not answered yet, and what was answered is in Kafka.
"""

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final, Protocol

from stream.gateway.metrics import GatewayMetrics
from stream.gateway.wire import Refusal
from stream.transport import OutRecord, ProduceError

log = logging.getLogger(__name__)

RETRY_AFTER_S: Final = 2
"""What clients are told, s; collectors add a random part."""
PROBE_EVERY_S: Final = 1.0
"""While Kafka is away, one request in this time is let through, to find out when it is back."""
TOLD_EVERY_S: Final = 10.0


class Batches(Protocol):
    """What delivers records: the transport's producer, or a test's double."""

    in_flight_bytes: int

    async def produce_batch(self, records: Sequence[OutRecord]) -> None:
        """Return once all are acknowledged; raise ProduceError for those that are not known to be."""


class Outlet:
    """Delivers the records of requests."""

    def __init__(
        self,
        producer: Batches,
        metrics: GatewayMetrics,
        max_in_flight_bytes: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._producer = producer
        self._metrics = metrics
        self._max_bytes = max_in_flight_bytes
        self._clock = clock
        self._reading_bytes = 0
        self._away_since: float | None = None
        self._probe_at = 0.0
        self._told_at = -TOLD_EVERY_S

    @property
    def away_s(self) -> float:
        """How long Kafka has not taken anything that was tried, s; 0 while it does."""
        return 0.0 if self._away_since is None else self._clock() - self._away_since

    @property
    def in_flight_bytes(self) -> int:
        """Bytes of bodies that are being read, and of records that Kafka has not acknowledged."""
        return self._reading_bytes + self._producer.in_flight_bytes

    def check(self, size: int) -> None:
        """Raise Refusal where a request of `size` bytes would not be tried; asked before the work of reading it."""
        self._check_room(size)
        if self._away_since is not None and self._clock() < self._probe_at:
            raise _away()

    @contextmanager
    def reading(self) -> Iterator[Callable[[int], None]]:
        """Yield what counts each part of a body that is being read; it raises Refusal where there is no room for it.

        What came counts, not what was announced: else who announces much and sends nothing would keep all others out.
        """
        held = 0

        def count(size: int) -> None:
            nonlocal held
            self._check_room(size)
            held += size
            self._reading_bytes += size

        try:
            yield count
        finally:
            self._reading_bytes -= held

    def _check_room(self, size: int) -> None:
        if self.in_flight_bytes + size > self._max_bytes:
            raise Refusal("overloaded", "this gateway holds as much as it may: try again", retry_after_s=1)

    async def deliver(self, records: Sequence[OutRecord]) -> None:
        """Return once Kafka has all of them, on all in-sync replicas; raise Refusal where that is not known."""
        self.check(sum(map(len, records)))
        if self._away_since is not None:
            self._probe_at = self._clock() + PROBE_EVERY_S
        began = self._clock()
        try:
            await self._producer.produce_batch(records)
        except ProduceError as error:
            self._failed(error)
            raise _away() from None
        self._metrics.kafka_seconds.observe(self._clock() - began)
        if self._away_since is not None:
            log.info("Kafka takes events again", extra={"away_s": round(self.away_s, 1)})
            self._away_since = None
            self._metrics.kafka_away.set(0)

    def _failed(self, error: ProduceError) -> None:
        now = self._clock()
        if self._away_since is None:
            self._away_since = now
            self._metrics.kafka_away.set(1)
        self._probe_at = now + PROBE_EVERY_S
        if now - self._told_at >= TOLD_EVERY_S:
            self._told_at = now
            # The error names topic and reason, and no key.
            log.error("Kafka does not take events; clients are told to come again: %s", error)


def _away() -> Refusal:
    detail = "send the same events again: what Kafka may have taken already counts once"
    return Refusal("kafka_unavailable", detail, retry_after_s=RETRY_AFTER_S)
