"""How many bytes records hold. librdkafka counts values alone, so that keys and headers would pass every bound."""

from __future__ import annotations

from collections.abc import Sequence
from operator import add, length_hint, methodcaller
from typing import TYPE_CHECKING

from .headers import ask_headers, drop_headers, headers_of

if TYPE_CHECKING:
    from confluent_kafka import Message

_key = methodcaller("key")


def weights(records: Sequence[Message]) -> list[int]:
    """Return the bytes of value, key and headers of each record, in order. Hardly any Python a record: the hot path."""
    try:
        sizes = list(map(add, map(len, records), map(len, map(_key, records))))
    except TypeError:  # a record without a key
        sizes = [len(record) + len(record.key() or b"") for record in records]
    if _any_headers(records):
        return [size + _header_bytes(record) for size, record in zip(sizes, records, strict=True)]
    return sizes


def _any_headers(records: Sequence[Message]) -> bool:
    asked = iter(records)
    try:
        return any(map(ask_headers, asked))
    except (SystemError, UnicodeError):
        # The one that was asked last; `_header_bytes` asks the others.
        drop_headers(records[len(records) - length_hint(asked) - 1])
        return True


def _header_bytes(record: Message) -> int:
    return sum(len(name) + len(value) for name, value in headers_of(record))
