"""Stage 1 of a chunk: records to items. What is wrong becomes a dead letter, what is done already is skipped.

Telemetry that the compiled reader is certain of comes as lean events with their samples in columns; all else, errors
first of all, is the typed decoder's.
"""

from collections.abc import Callable, Iterable
from operator import methodcaller
from typing import Final

from confluent_kafka import Message

from features.reading import ChunkReader, with_decoded
from schemas.envelope import Rejected, decode
from schemas.erasure import Erasure
from schemas.signals import Signal
from schemas.telemetry import Telemetry
from stream.batch import Batch, ErasureItem, Item, Refused
from stream.metrics import Metrics
from stream.origin import Origin, OriginRefused, read_origin
from stream.partition import OwnedPartition
from stream.refs import RefHasher
from stream.transport.headers import ask_headers, headers_of

# One call into C for a whole chunk, and none into a method's Python wrapper.
_offset: Final[Callable[[Message], int]] = methodcaller("offset")
_timestamp: Final[Callable[[Message], tuple[int, int]]] = methodcaller("timestamp")
_value: Final[Callable[[Message], bytes | None]] = methodcaller("value")
_key: Final[Callable[[Message], bytes | None]] = methodcaller("key")

Headers = list[tuple[str, bytes]]
_NONE: Final[Headers] = []
"""The headers of a record without any: never changed."""


class Intake:
    """Decodes the records of owned partitions."""

    def __init__(self, refs: RefHasher, metrics: Metrics) -> None:
        self._refs = refs
        self._metrics = metrics
        self._reader = ChunkReader()

    def batch(self, owned: OwnedPartition, records: list[Message]) -> Batch:
        """Return the items of these records, in their order, and what was refused."""
        if owned.is_done(records[0].offset() or 0):
            records = [record for record in records if not owned.is_done(_offset(record))]
            if not records:
                return Batch()
        batch = Batch()
        items, rejected = batch.items, batch.rejected
        values = list(map(_value, records))
        read = self._reader.read(values)
        decoded: list[Telemetry | Signal] = []
        hash_event = self._refs.hash_event
        for row, (record, offset, (_, append_ms), value, key, headers, lean) in enumerate(
            zip(
                records,
                map(_offset, records),
                map(_timestamp, records),
                values,
                map(_key, records),
                _headers_of_all(records),
                read.events,
                strict=True,
            )
        ):
            origin = self._origin(owned, offset, headers) if headers else None
            if lean is not None and (key is None or key == lean.session_id.encode()):
                hash_event(lean)
                items.append(Item(record, offset, append_ms, lean, headers, row, origin))
                continue
            try:
                event = decode(value, key)
            except Rejected as why:
                # Else batch, exception and frame hold one another, and the records, until a rare collection of cycles.
                rejected.append(Refused(record, why.to_keep(), headers, origin))
                continue
            if isinstance(event, Erasure):
                items.append(ErasureItem(record, offset, event, headers, origin))
                continue
            items.append(Item(record, offset, append_ms, event, headers, len(values) + len(decoded), origin))
            decoded.append(event)
            hash_event(event)
        batch.columns = with_decoded(read.columns, decoded)
        return batch

    def condemned(self, owned: OwnedPartition, record: Message, why: Rejected) -> Batch:
        """Return a batch of one record that becomes a dead letter without being looked into."""
        headers = headers_of(record)
        origin = self._origin(owned, _offset(record), headers) if headers else None
        return Batch(rejected=[Refused(record, why, headers, origin)])

    def _origin(self, owned: OwnedPartition, offset: int, headers: Headers) -> Origin | None:
        """Return the first place of a redriven record; None for any other, also where its headers can't be true."""
        try:
            return read_origin(
                headers, topic=owned.topic, topic_id=owned.topic_id, partition=owned.number, offset=offset
            )
        except OriginRefused:
            self._metrics.origins_refused.inc()
            return None


def _headers_of_all(records: list[Message]) -> Iterable[Headers]:
    """Headers of each record, in order. Where none has any, which is usual, that is all that is asked."""
    try:
        if not any(map(ask_headers, records)):
            return (_NONE for _ in records)
    except (SystemError, UnicodeError):
        pass  # `headers_of` knows what to do about the one that is broken.
    return map(headers_of, records)
