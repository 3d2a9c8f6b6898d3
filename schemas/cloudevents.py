"""CloudEvents 1.0 in Kafka binary mode: the headers of what tellwire publishes, and the trace context they continue.

The value stays untouched; the attributes are UTF-8 headers `ce_*`. What is the same for all events is built once.
"""

import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final

import msgspec

from schemas.topics import TOPICS

Header = tuple[str, bytes]

_IDS: Final = rb"-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}"
_TRACEPARENT: Final = re.compile(
    # Version 00 is exactly these 55 characters, ff is forbidden, a later version may go on after a dash.
    rb"00" + _IDS + rb"|(?!00|ff)[0-9a-f]{2}" + _IDS + rb"(?:-[\x21-\x7e]{0,200})?"
)
_TRACESTATE: Final = re.compile(rb"[\x20-\x7e]+")
_MAX_TRACESTATE_BYTES: Final = 512


def source_of(topic: str) -> str:
    """`ce_source` of what is published on `topic`. With `ce_id` it names an event uniquely."""
    return f"/tellwire/{topic}"


def _static_headers() -> dict[type[msgspec.Struct], tuple[Header, ...]]:
    return {
        message: (
            ("content-type", b"application/json"),
            ("ce_specversion", b"1.0"),
            ("ce_type", str(message.__struct_config__.tag).encode()),
            ("ce_source", source_of(topic.name).encode()),
        )
        for topic in TOPICS
        if topic.direction == "out"
        for message in topic.messages
    }


_STATIC: Final = _static_headers()


def cloud_event_headers(
    message_type: type[msgspec.Struct],
    *,
    id: str,  # noqa: A002 - the attribute's name in CloudEvents
    subject: str,
    time_ms: int,
    trace: Sequence[Header] = (),
) -> list[Header]:
    """Kafka headers of one published message.

    `message_type` is RiskEvent, ServedFeatures or Snapshot; `id` with the type's source names the event uniquely (the
    evaluation id, the snapshot's hash); `subject` is what it is about (the session id, the snapshot's key); `time_ms`
    epoch milliseconds, years 1970 to 9999. `trace` is what `trace_context` took from the input. Raises KeyError for a
    type that is not published.
    """
    return [
        *_STATIC[message_type],
        ("ce_id", id.encode()),
        _time(time_ms),
        ("ce_subject", subject.encode()),
        *trace,
    ]


@lru_cache(maxsize=64)
def _time(time_ms: int) -> Header:
    """`ce_time`: RFC 3339 date and time, UTC. Successive events share it, so it is formatted once."""
    second, milli = divmod(time_ms, 1000)
    return ("ce_time", b"%s.%03dZ" % (_second(second), milli))


@lru_cache(maxsize=64)
def _second(epoch_s: int) -> bytes:
    return datetime.fromtimestamp(epoch_s, UTC).strftime("%Y-%m-%dT%H:%M:%S").encode()


def trace_context(headers: Iterable[tuple[str, bytes | str | None]] | None) -> tuple[Header, ...]:
    """The W3C trace context of an input record, to be handed on unchanged: () where there is none or it is invalid.

    A `traceparent` must be there exactly once and be valid, otherwise `tracestate` means nothing and is dropped too.
    Several `tracestate` headers are one list in their order.
    """
    if not headers:
        return ()
    parents: list[bytes] = []
    states: list[bytes] = []
    for name, value in headers:
        lower = name.lower()
        if lower not in ("traceparent", "tracestate") or value is None:
            continue
        data = value.encode() if isinstance(value, str) else value
        (parents if lower == "traceparent" else states).append(data)
    if len(parents) != 1 or not _TRACEPARENT.fullmatch(parents[0]):
        return ()
    state = b",".join(item for item in states if item.strip())
    if not state or len(state) > _MAX_TRACESTATE_BYTES or not _TRACESTATE.fullmatch(state):
        return (("traceparent", parents[0]),)
    return (("traceparent", parents[0]), ("tracestate", state))
