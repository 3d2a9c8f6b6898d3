"""The records of scored events: the bytes of risk events and served vectors, with their keys and headers.

An event is encoded as soon as it is scored, while all that it is made of is in the processor's caches, and its objects
can go: encoded at the chunk's end it costs twice as much. Its latency is only known then and put in between.
"""

from collections.abc import Iterable
from typing import Final

import msgspec

from schemas.envelope import cloud_event_headers, encode, trace_context
from schemas.risk import RiskEvent
from schemas.served import ServedFeatures
from stream.batch import Evaluated, Halves
from stream.transport import OutRecord

RISK_TOPIC: Final = "risk.events"
FEATURES_TOPIC: Final = "risk.features"
_NO_LATENCY: Final = b'"latency_ms":{}'
_ROOM_BYTES: Final = 16_384
"""First size of the buffer that events are encoded in; it grows to the largest event."""


def _bytes_in(headers: Iterable[tuple[str, bytes]]) -> int:
    return sum(len(name) + len(value) for name, value in headers)


_FIXED_BYTES: Final = _bytes_in(cloud_event_headers(RiskEvent, id="", subject="", time_ms=0))
"""What a risk event's headers hold but for its id and its subject."""


class HalfEncoder:
    """Encodes risk events but for their latency. One instance serves one thread."""

    def __init__(self) -> None:
        self._encode_into = msgspec.json.Encoder().encode_into
        # One buffer for all: an encoder that makes its bytes from nothing enlarges and copies them several times.
        self._room = bytearray(_ROOM_BYTES)

    def encode(self, event: RiskEvent) -> Halves:
        """Encode an event whose `latency_ms` is still empty; any of its blocks may be `msgspec.Raw`, encoded before."""
        room = self._room
        self._encode_into(event, room)
        # The last one is it: behind it are texts and truth values only, and a quote in a text is escaped.
        at = room.rindex(_NO_LATENCY) + len(_NO_LATENCY) - 2
        with memoryview(room) as view:
            return Halves(bytes(view[:at]), bytes(view[at + 2 :]))


def outgoing(
    evaluated: Iterable[Evaluated], partition: int, decode_ms: float, read_ms: float, total_ms: float
) -> list[OutRecord]:
    """Make the records of scored events for publishing, in the partition of their source and in their order.

    `total_ms` is what has passed since they were received.
    """
    found: list[OutRecord] = []
    stages: dict[str, float] | None = None
    latency = b""
    for one in evaluated:
        if one.stages_ms is not stages:
            stages = one.stages_ms
            latency = encode({"decode": decode_ms, "read": read_ms, **stages, "total": total_ms})
        subject, id_, time_ms, risk = one.item.event.session_id, one.evaluation_id, one.scored_at, one.risk
        key = subject.encode()
        sent = one.item.headers
        trace = trace_context(sent) if sent else ()
        described = cloud_event_headers(RiskEvent, id=id_, subject=subject, time_ms=time_ms, trace=trace)
        size = _FIXED_BYTES + len(id_) + len(key)
        if trace:
            size += _bytes_in(trace)
        value = b"".join((risk.before, latency, risk.after))
        found.append(OutRecord(RISK_TOPIC, value, key, partition, described, None, size))
        if one.served is not None:
            described = cloud_event_headers(ServedFeatures, id=id_, subject=subject, time_ms=time_ms, trace=trace)
            found.append(OutRecord(FEATURES_TOPIC, one.served, key, partition, described))
    return found
