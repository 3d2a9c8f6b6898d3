"""The first place of a redriven record: what its `dlq_` headers name, and when they may be believed.

A record that `tellwire dlq redrive` sent again answers for the place that it first had. Headers come from outside, so
they count only if they could be true: well-formed, of this very log, and before the record itself.
"""

import re
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from schemas.deadletter import DeadLetterHeader as Header

PREFIX: Final = "dlq_"
MAX_OFFSET: Final = 2**63 - 1
MAX_PARTITION: Final = 2**31 - 1
MAX_ATTEMPTS: Final = 1_000_000
"""A record that failed more often keeps this count."""
MAX_TIME_MS: Final = 2**53 - 1

_NUMBER: Final = re.compile(rb"0|[1-9][0-9]{0,18}")


class Origin(NamedTuple):
    """Where a redriven record first was, in the same topic."""

    partition: int
    offset: int
    attempts: int
    """How often it was tried before, from 1."""
    time_ms: int | None
    """Append time of the first place, epoch ms; None where the headers don't say."""


class OriginRefused(Exception):  # noqa: N818 - the record has its own identity, nothing failed
    """The headers name a first place that can't be believed."""


def read_origin(
    headers: Iterable[tuple[str, bytes | str | None]], *, topic: str, topic_id: str, partition: int, offset: int
) -> Origin | None:
    """Return the first place of the record at `partition` and `offset` of `topic`; None for a record of its own.

    Raises OriginRefused for headers that claim one and can't be true: the record then has its own identity.
    """
    said: dict[str, bytes] = {}
    for name, value in headers:
        if not name.startswith(PREFIX):
            continue
        if name in said:
            # Our own tool writes each once; which of two would count is nothing to guess.
            raise OriginRefused
        said[name] = value.encode() if isinstance(value, str) else value or b""
    if not said:
        return None
    first_partition = number(said.get(Header.PARTITION), MAX_PARTITION)
    first_offset = number(said.get(Header.OFFSET), MAX_OFFSET)
    if (
        first_partition is None
        or first_offset is None
        or said.get(Header.TOPIC) != topic.encode()
        or said.get(Header.TOPIC_ID) != topic_id.encode()
        or (first_partition == partition and first_offset >= offset)
    ):
        raise OriginRefused
    attempts = number(said.get(Header.ATTEMPTS), MAX_ATTEMPTS)
    return Origin(first_partition, first_offset, attempts or 1, number(said.get(Header.TIME), MAX_TIME_MS))


def without_origin(headers: Sequence[tuple[str, bytes]]) -> list[tuple[str, bytes]]:
    """Return a record's own headers: what names a first place or tells of a dead letter is left out."""
    return [(name, value) for name, value in headers if not name.startswith(PREFIX)]


def number(text: bytes | None, highest: int) -> int | None:
    """Return the whole number that the text is, written in the one usual way; None for any other or above `highest`."""
    if text is None or not _NUMBER.fullmatch(text):
        return None
    number = int(text)
    return number if number <= highest else None
