"""The Faust transport for ``librdkafka://`` URLs, and the handle through which it is used."""

from __future__ import annotations

import asyncio
import copy
from typing import Any, ClassVar

import confluent_kafka
from faust.transport.base import Transport as BaseTransport
from faust.types import AppT
from yarl import URL

from .admin import ClusterInfo
from .chunk import Chunk
from .conductor import Conductor, Fetcher
from .consumer import Consumer
from .engine import Engine
from .errors import TransportConfigurationError, TransportFatalError
from .faust_producer import FaustProducer
from .hooks import PartitionKey, TransportHooks
from .options import TransportOptions
from .producer import Producer
from .stats import Counters, TransportStats

DEFAULT_PORT = 9092


class Transport(BaseTransport):
    """One consumer group membership and one producer of a Faust app."""

    Consumer: ClassVar[Any] = Consumer
    Producer: ClassVar[Any] = FaustProducer
    Conductor: ClassVar[Any] = Conductor
    Fetcher: ClassVar[Any] = Fetcher

    default_port = DEFAULT_PORT
    driver_version = f"confluent-kafka={confluent_kafka.__version__}"

    def __init__(self, url: list[URL], app: AppT, loop: asyncio.AbstractEventLoop | None = None) -> None:
        super().__init__(url, app, loop)
        self.bootstrap = ",".join(f"{u.host or '127.0.0.1'}:{u.port or DEFAULT_PORT}" for u in url)
        """librdkafka's ``bootstrap.servers``."""
        self.counters = Counters()
        self.queues: dict[str, asyncio.Queue[Chunk]] = {}
        """Of topics whose agent takes chunks by itself: see :meth:`chunks`."""
        self._is_used = False
        self.setup(TransportOptions(), None)

    def setup(self, options: TransportOptions, hooks: TransportHooks | None) -> None:
        """See :func:`configure`."""
        if self._is_used:
            raise TransportConfigurationError("the transport is in use already: configure it first")
        self.options = options
        self.hooks = TransportHooks() if hooks is None else hooks
        if self.hooks.start_at is None:
            self.hooks.start_at = options.start_at
        self.cluster = ClusterInfo(self.bootstrap, options)
        self.producer = Producer(self.bootstrap, options, self._producer_died)
        """For batches: see :meth:`Producer.produce_batch`."""

    def create_consumer(self, callback: Any, **kwargs: Any) -> Consumer:
        """Called by Faust."""
        if self.app.client_only:
            raise TransportConfigurationError("client-only mode is not supported")
        self._is_used = True
        return Consumer(self, callback=callback, loop=self.loop, **kwargs)

    def create_producer(self, **kwargs: Any) -> FaustProducer:
        """Called by Faust."""
        self._is_used = True
        return FaustProducer(self, **kwargs)

    def _engine(self) -> Engine:
        consumer = self.app.consumer
        assert isinstance(consumer, Consumer)
        return consumer.engine

    def _producer_died(self, error: TransportFatalError) -> None:
        self._engine().fatal(error)

    def chunks(self, topic: str) -> asyncio.Queue[Chunk]:
        """Return the queue that a topic's agent takes its chunks from, instead of from its stream. Before the start.

        It never holds more than one chunk a partition. Who takes one ends it in any case: Faust can't tell which chunk
        an agent was at when it raised. A chunk on its way through the stream passes a channel, an event and the sensors
        of Faust, which cost more event-loop time than everything else between poll and pipeline.
        """
        if self._is_used:
            raise TransportConfigurationError("the transport is in use already: ask for the chunks before")
        return self.queues.setdefault(topic, asyncio.Queue())

    # --- for the pipeline; on the event loop -------------------------------------------------------

    def rewind(self, topic: str, partition: int, offset: int) -> bool:
        """Read an owned partition again from ``offset`` on (or skip ahead to it).

        Its epoch grows and everything pending is dropped; a chunk in flight is stale from now on, and
        the first chunk with the new epoch comes once that one has ended. The commit does not go back.
        Returns False where the partition is not owned (or not started yet: say so in ``resolve_start``).
        """
        if offset < 0:
            raise ValueError("offset must be >= 0")
        engine = self._engine()
        line = engine.membership.ready.get((topic, partition))
        if line is None or line.gone or not line.is_ready:
            return False
        engine.rewind(line, offset)
        return True

    def pause_partition(self, topic: str, partition: int) -> bool:
        """No more chunks of this partition until :meth:`resume_partition` or the end of this assignment.

        Given up or lost, and gained again, it starts afresh. Returns False where it is not owned.
        """
        engine = self._engine()
        line = engine.membership.ready.get((topic, partition))
        if line is None or line.gone:
            return False
        engine.dispatcher.hold(line)
        return True

    def resume_partition(self, topic: str, partition: int) -> bool:
        """Hand out chunks again. Returns False where the partition is not owned."""
        engine = self._engine()
        line = engine.membership.ready.get((topic, partition))
        if line is None or line.gone:
            return False
        engine.dispatcher.release(line)
        return True

    def fail(self, error: TransportFatalError) -> None:
        """End the process as a fatal error of the consumer does: ``on_fatal``, then the worker crashes.

        Only the first error counts. To be called on the event loop.
        """
        self._engine().fatal(error)

    def stop_left_s(self) -> float:
        """Seconds left of ``stop_deadline_s``; all of it while nothing stops."""
        return self._engine().stop_left_s()

    def assignment(self) -> frozenset[PartitionKey]:
        """Partitions owned and started."""
        return frozenset(self._engine().membership.ready)

    def last_poll(self) -> float | None:
        """Clock time of the poll thread's last poll, None before the first; from any thread, once it runs."""
        return self._engine().last_poll

    def stats(self) -> TransportStats:
        """Counters and the state of every owned partition, now."""
        engine = self._engine()
        partitions = engine.partition_stats()
        return TransportStats(
            counters=copy.deepcopy(self.counters),
            partitions=partitions,
            last_poll_age_s=engine.last_poll_age_s(),
            is_trusted=engine.is_trusted(),
            pending_records=sum(p.pending_records for p in partitions.values()),
            pending_bytes=sum(p.pending_bytes for p in partitions.values()),
            producer=copy.deepcopy(self.producer.counters),
            producer_in_flight_records=self.producer.in_flight_records,
            producer_in_flight_bytes=self.producer.in_flight_bytes,
            starting_partitions=engine.starting_partitions(),
            brokers_away_s=engine.away_s(),
        )


def configure(app: AppT, options: TransportOptions | None = None, hooks: TransportHooks | None = None) -> Transport:
    """Set options and hooks of a Faust app's transport; returns the transport, which is the handle.

    Call it once, right after making the app and before its agents are started. Raises
    :class:`TransportConfigurationError` where the app's broker URL is not ``librdkafka://`` or its
    settings cannot work with this transport.
    """
    transport = app.transport
    if not isinstance(transport, Transport):
        raise TransportConfigurationError(f"the app's broker is {app.conf.broker[0].scheme}://, not librdkafka://")
    if not app.conf.topic_disable_leader:
        raise TransportConfigurationError("the app needs the settings of faust_settings()")
    if app.in_transaction:
        raise TransportConfigurationError("exactly_once is not supported: chunks are at-least-once")
    transport.setup(options or TransportOptions(), hooks)
    return transport
