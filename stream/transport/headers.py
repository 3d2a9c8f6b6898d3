"""Reads the headers of a consumed record without touching what the bindings leave when a name is not UTF-8."""

from __future__ import annotations

from operator import methodcaller

from confluent_kafka import Message

# Asks through a call that is always checked for an exception; see `headers_of`.
ask_headers = methodcaller("headers")


def headers_of(record: Message) -> list[tuple[str, bytes]]:
    """Headers in their order; a missing value is empty. None at all where a name is not UTF-8.

    librdkafka's bindings fail for such a name once, and then hand out a list with a hole that ends the process when it
    is touched. So the hole is replaced before anybody can. They return that list beside the exception, which the
    interpreter's specialised calls don't look for: once warm, `record.headers()` gives the hole at the first call.
    """
    try:
        headers = ask_headers(record)
    except (SystemError, UnicodeError):
        drop_headers(record)
        return []
    if not headers:
        return []
    pairs = headers.items() if isinstance(headers, dict) else headers
    return [(name, value.encode() if isinstance(value, str) else value or b"") for name, value in pairs]


def drop_headers(record: Message) -> None:
    """Take the headers off a record that has a name that is not UTF-8."""
    record.set_headers([])
