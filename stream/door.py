"""The door `capture.signals`: results of other models are validated and forwarded to the telemetry topic.

Forwarding is idempotent by the signal's id: a session remembers which it has seen, so that a signal that is forwarded
twice (a crash between forward and commit) counts once.
"""

from collections.abc import Awaitable, Callable, Sequence

from schemas.envelope import Rejected, decode_signal
from stream.deadletter import dead_letter
from stream.metrics import Metrics
from stream.records import append_ms_of, headers_of, offset_of
from stream.transport import Chunk, OutRecord, ProduceError


class Door:
    """Validates and forwards chunks of signals."""

    def __init__(
        self, telemetry_topic: str, publish: Callable[[Sequence[OutRecord]], Awaitable[None]], metrics: Metrics
    ) -> None:
        self._telemetry_topic = telemetry_topic
        self._publish = publish
        self._metrics = metrics

    async def process(self, chunk: Chunk) -> None:
        """Forward what is valid with its bytes and headers untouched; the rest becomes dead letters.

        Raises ProduceError, with the chunk abandoned, when not all could be delivered.
        """
        out: list[OutRecord] = []
        rejected_as: list[str] = []
        for record in chunk.records:
            key, value, headers = record.key(), record.value(), headers_of(record)
            try:
                signal = decode_signal(value, key)
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
                )
                out.append(letter)
                rejected_as.append(rejected.reason.value)
                continue
            # The key decides the partition, so it must be there: the session's, also where the producer left it out.
            out.append(OutRecord(self._telemetry_topic, value, key=signal.session_id.encode(), headers=headers))
        if not chunk.is_current():
            chunk.abandon("not current")
            return
        try:
            await self._publish(out)
        except ProduceError:
            # What was delivered is forwarded again; a session counts a signal once.
            chunk.abandon("not delivered")
            raise
        chunk.done()
        self._metrics.signals_forwarded.inc(len(out) - len(rejected_as))
        for reason in rejected_as:
            self._metrics.dead_letters.labels(reason).inc()
