"""Faust's consumer interface over the engine: what the app, the agents and the worker call."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from faust import current_event
from faust.transport.consumer import Consumer as BaseConsumer
from faust.types import TP, ConsumerMessage

from .chunk import Chunk
from .engine import Engine
from .errors import TransportConfigurationError, TransportFatalError
from .hooks import PartitionKey
from .line import InFlight, Line

if TYPE_CHECKING:
    from .conductor import Conductor
    from .driver import Transport

log = logging.getLogger(__name__)


class Consumer(BaseConsumer):
    """A Faust service; everything in it runs on the event loop."""

    def __init__(self, transport: Transport, *args: Any, **kwargs: Any) -> None:
        super().__init__(transport, *args, **kwargs)
        self._driver = transport
        self.commit_interval = transport.options.commit_interval_s
        self.engine = Engine(transport.options, transport.hooks, transport.cluster, transport.counters, self)
        self._is_open = False
        """Faust is ready for messages."""
        self._is_leaving = False

    @property
    def _conductor(self) -> Conductor:
        return cast("Conductor", self.app.topics)

    # --- what Faust calls --------------------------------------------------------------------------

    async def subscribe(self, topics: Iterable[str]) -> None:
        """Set the subscription; the first one starts the poll thread."""
        names = sorted(set(topics))
        try:
            self._conductor.check(names)
        except TransportConfigurationError as exc:
            self.engine.fatal(TransportFatalError(str(exc)))
            return
        config = self._driver.options.consumer_config(self._driver.bootstrap, self.app.conf.id)
        self.engine.subscribe(config, names)

    def assignment(self) -> set[TP]:
        """Return the partitions that are owned and ready."""
        return {TP(*line.key) for line in self.engine.lines}

    def stop_flow(self) -> None:
        """Hand out no more chunks (Faust calls it when it stops)."""
        self._is_open = False
        super().stop_flow()

    def resume_flow(self) -> None:
        """Hand out chunks (Faust calls it when it is ready, after every change)."""
        super().resume_flow()
        self._is_open = True
        for line in self.engine.lines:
            self.engine.dispatcher.dispatch(line)

    def pause_partitions(self, tps: Iterable[TP]) -> None:
        """Do nothing: Faust's own pause around changes is not needed, each line is gated by itself."""

    def resume_partitions(self, tps: Iterable[TP]) -> None:
        """Do nothing; see :meth:`pause_partitions`."""

    async def perform_seek(self) -> None:
        """Do nothing: Faust wants to seek to committed offsets, start offsets are explicit here."""

    async def wait_empty(self) -> None:
        """Wait for chunks in flight, up to the stop deadline."""
        self._is_open = False
        await self.engine.drain()

    async def commit(self, topics: Any = None, start_new_transaction: bool = True) -> bool:  # noqa: FBT001, FBT002 - Faust's
        """Commit what is finished, without waiting for the broker."""
        del topics, start_new_transaction
        self.engine.commit()
        for line in self.engine.lines:
            if line.high is not None:
                self.app.monitor.track_tp_end_offset(TP(*line.key), line.high)
        return True

    async def on_task_error(self, exc: BaseException) -> None:
        """Have the chunk at which an agent raised read again."""
        event = current_event()
        chunk = None if event is None else event.value
        if isinstance(chunk, Chunk):
            chunk.abandon(f"the agent raised {type(exc).__name__}")

    async def on_stop(self) -> None:
        """Drain, commit, leave the group."""
        self._is_leaving = True
        self._is_open = False
        await self.engine.stop()

    # --- what the engine calls ---------------------------------------------------------------------

    def accepts(self, key: PartitionKey) -> bool:
        """Whether Faust runs and its index has the partition."""
        return self._is_open and self.app.flow_control.is_active() and self._conductor.is_indexed(TP(*key))

    def deliver(self, chunk: Chunk) -> object:
        """Put the chunk on its agent's queue: its own, or its stream's as one Faust message."""
        queue = self._driver.queues.get(chunk.topic)
        if queue is not None:
            queue.put_nowait(chunk)
            return None
        # Sensors get a message of their own: one that holds the chunk would keep it from being dropped.
        seen = self._message(chunk, None)
        self._on_message_in(seen.tp, seen.offset, seen)
        self._conductor.deliver(self._message(chunk, chunk))
        return seen

    def ended(self, line: Line, flight: InFlight) -> None:
        """Tell Faust's sensors that the message is out."""
        seen = flight.note
        if isinstance(seen, ConsumerMessage):
            self.app.sensors.on_message_out(TP(*line.key), flight.first_offset, seen)

    def _message(self, chunk: Chunk, value: Chunk | None) -> ConsumerMessage:
        message = ConsumerMessage(
            chunk.topic,
            chunk.partition,
            chunk.first_offset,
            0.0,
            0,
            None,
            None,
            None,
            None,
            0,
            0,
            TP(chunk.topic, chunk.partition),
            generation_id=self.app.consumer_generation_id,
        )
        message.value = cast("Any", value)  # Faust says bytes; nothing between here and the agent looks at it
        return message

    async def assignment_changed(self, full: set[PartitionKey]) -> None:
        """Give Faust the full assignment; it updates its index and resumes."""
        if self.app.should_stop or self._is_leaving:
            return
        if not self.app.rebalancing:
            self.app.on_rebalance_start()
        await self.on_partitions_assigned({TP(*key) for key in full}, self.app.consumer_generation_id)

    async def partitions_left(self, keys: Sequence[PartitionKey]) -> None:
        """Send Faust's signal; flow control is left alone, the other partitions go on."""
        await self.app.on_partitions_revoked.send({TP(*key) for key in keys})

    def stop_sending(self, why: str) -> None:
        """Have the producer give up what it has not sent."""
        self._driver.producer.stop_sending(why)

    async def end_process(self, error: TransportFatalError) -> None:
        """Crash the app, so that the worker exits."""
        await self.crash(error)

    # --- figures that Faust may ask for ------------------------------------------------------------

    async def position(self, tp: TP) -> int | None:
        """Return the next offset of an owned partition that is not finished."""
        line = self.engine.membership.ready.get((tp.topic, tp.partition))
        return None if line is None else line.tracker.position

    def highwater(self, tp: TP) -> int:
        """Return one past the log's last offset, as last seen; 0 where unknown."""
        line = self.engine.membership.ready.get((tp.topic, tp.partition))
        return 0 if line is None or line.high is None else line.high

    async def highwaters(self, *partitions: TP) -> Mapping[TP, int]:
        """See :meth:`highwater`."""
        return {tp: self.highwater(tp) for tp in partitions}

    async def earliest_offsets(self, *partitions: TP) -> Mapping[TP, int]:
        """Return the first offsets the log holds, asked from the cluster."""
        bounds = await self._driver.cluster.bounds((tp.topic, tp.partition) for tp in partitions)
        return {TP(*key): low for key, (low, _) in bounds.items()}

    def topic_partitions(self, topic: str) -> int | None:
        """Return None: only the producer knows."""
        del topic
        return None

    def key_partition(self, topic: str, key: bytes | None, partition: int | None = None) -> int | None:
        """Leave it to the producer's partitioner."""
        del topic, key
        return partition

    # --- what only tables and Faust's own fetching would need --------------------------------------

    async def create_topic(self, topic: str, *args: Any, **kwargs: Any) -> None:
        """Make no topic."""
        del args, kwargs
        log.warning("topic %s is not created: the transport makes no topics", topic)

    async def seek_to_committed(self) -> Mapping[TP, int]:
        """Do nothing: start offsets are explicit."""
        return {}

    async def seek_wait(self, partitions: Mapping[TP, int]) -> None:
        """Refuse: only tables need it."""
        raise NotImplementedError("tables are not supported; to go back use the transport's rewind()")

    async def _commit(self, offsets: Mapping[TP, int]) -> bool:
        del offsets
        return False

    async def _seek(self, partition: TP, offset: int) -> None:
        raise NotImplementedError("use the transport's rewind()")

    async def _getmany(self, active_partitions: set[TP] | None, timeout: float) -> Any:  # noqa: ASYNC109 - Faust's
        raise NotImplementedError("records come from the poll thread")

    def _to_message(self, tp: TP, record: Any) -> ConsumerMessage:
        raise NotImplementedError("records come in chunks")

    def _new_topicpartition(self, topic: str, partition: int) -> TP:
        return TP(topic, partition)
