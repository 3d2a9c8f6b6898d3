"""How many bytes records hold. librdkafka counts values alone, so that keys and headers would pass every bound."""

from __future__ import annotations

from collections.abc import Sequence
from operator import add, length_hint, methodcaller
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from confluent_kafka import Message

_key = methodcaller("key")
_headers = methodcaller("headers")


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
        return any(map(_headers, asked))
    except (SystemError, UnicodeError):
        # The one that was asked last; `_header_bytes` asks the others.
        _drop_headers(records[len(records) - length_hint(asked) - 1])
        return True


def _drop_headers(record: Message) -> None:
    """Take the headers off a record that has a name that is not UTF-8.

    librdkafka's bindings raise for it once, and then hand out a list with a hole that ends the process when touched.
    """
    record.set_headers([])


def _header_bytes(record: Message) -> int:
    try:
        headers = record.headers() or ()
    except (SystemError, UnicodeError):
        _drop_headers(record)
        return 0
    pairs = headers.items() if isinstance(headers, dict) else headers
    return sum(len(name) + len(value or b"") for name, value in pairs)
