"""The door `capture.signals`: results of other models are validated and forwarded to the telemetry topic.

Forwarding is idempotent by the signal's id: a session remembers which it has seen, so that a signal that is forwarded
twice (a crash between forward and commit) counts once.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from confluent_kafka import Message

from schemas.deadletter import DeadLetterReason
from schemas.envelope import Rejected, decode_signal
from stream.crash_isolation import CrashLimit, NotCurrent, OneByOne
from stream.deadletter import dead_letter
from stream.metrics import Metrics
from stream.origin import Origin, OriginRefused, read_origin, without_origin
from stream.records import append_ms_of, offset_of
from stream.stage_clock import StageClock
from stream.transport import Chunk, OutRecord, ProduceError
from stream.transport.headers import headers_of

MAX_HEADER_BYTES: Final = 65_536
"""Bytes of names and values of a signal's headers. What is forwarded must fit: more would stop the line for good."""


class Door:
    """Validates and forwards chunks of signals."""

    def __init__(
        self, telemetry_topic: str, publish: Callable[[Sequence[OutRecord]], Awaitable[None]], metrics: Metrics
    ) -> None:
        self._telemetry_topic = telemetry_topic
        self._publish = publish
        self._metrics = metrics

    async def process(self, chunk: Chunk, isolation: OneByOne | None = None) -> None:
        """Forward what is valid with its bytes and its own headers untouched; the rest becomes dead letters.

        With `isolation`, record by record. Raises ProduceError and CrashLimit, with the chunk abandoned, when not all
        could be delivered and when the partition must stand still.
        """
        clock = StageClock(self._metrics)
        try:
            if isolation is None:
                await self._forward(chunk, chunk.records, clock)
            else:
                await isolation.process(
                    chunk,
                    lambda records: self._forward(chunk, records, clock),
                    lambda record, why: self._forward(chunk, [record], clock, why),
                )
        except NotCurrent:
            chunk.abandon("not current")
            return
        except ProduceError:
            # What was delivered is forwarded again; a session counts a signal once.
            chunk.abandon("not delivered")
            raise
        except CrashLimit:
            chunk.abandon("crashes")
            raise
        chunk.done(clock.loop_s)

    async def _forward(
        self, chunk: Chunk, records: Sequence[Message], clock: StageClock, why: Rejected | None = None
    ) -> None:
        """Forward records, or make dead letters of them, because of what they hold or, where it is given, of `why`."""
        clock.resume()
        out: list[OutRecord] = []
        rejected_as: list[str] = []
        for record in records:
            key, value, headers = record.key(), record.value(), headers_of(record)
            try:
                if why is not None:
                    raise why
                signal = decode_signal(value, key)
                _check_headers(headers)
            except Rejected as rejected:
                letter = dead_letter(
                    topic=chunk.topic,
                    topic_id=chunk.topic_id,
                    partition=None,
                    source_partition=chunk.partition,
                    offset=offset_of(record),
                    append_time_ms=append_ms_of(record),
                    key=key,
                    value=value,
                    headers=headers,
                    rejected=rejected,
                    origin=self._origin(chunk, record, headers),
                )
                out.append(letter)
                rejected_as.append(rejected.reason.value)
                continue
            # The key decides the partition, so it must be there: the session's, also where the producer left it out.
            key = signal.session_id.encode()
            # What is forwarded is a record of its own there; a first place at the door means nothing in that topic.
            out.append(OutRecord(self._telemetry_topic, value, key=key, headers=without_origin(headers)))
        clock.pause()
        if not chunk.is_current():
            raise NotCurrent
        await self._publish(out)
        self._metrics.signals_forwarded.inc(len(out) - len(rejected_as))
        for reason in rejected_as:
            self._metrics.dead_letters.labels(reason).inc()

    def _origin(self, chunk: Chunk, record: Message, headers: list[tuple[str, bytes]]) -> Origin | None:
        """Return the first place of a redriven record; None for any other, also where its headers can't be true."""
        try:
            return read_origin(
                headers, topic=chunk.topic, topic_id=chunk.topic_id, partition=chunk.partition, offset=offset_of(record)
            )
        except OriginRefused:
            self._metrics.origins_refused.inc()
            return None


def _check_headers(headers: Sequence[tuple[str, bytes]]) -> None:
    """Raise Rejected for more headers than are forwarded."""
    size = sum(len(name) + len(value) for name, value in headers)
    if size > MAX_HEADER_BYTES:
        detail = f"the record's headers have {size} bytes, the limit is {MAX_HEADER_BYTES}: send fewer"
        raise Rejected(DeadLetterReason.TOO_LARGE, "$", detail)
