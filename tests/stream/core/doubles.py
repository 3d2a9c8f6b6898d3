"""Stand-ins for what only a broker makes: records and chunks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from confluent_kafka import TIMESTAMP_LOG_APPEND_TIME, KafkaError, Message

from stream.transport import Chunk


@dataclass
class FakeRecord:
    """What a consumed `confluent_kafka.Message` answers."""

    the_value: bytes | None
    the_key: bytes | None = None
    the_offset: int | None = 0
    append_ms: int = 1_700_000_000_000
    the_headers: Any = None
    the_partition: int = 0

    def error(self) -> KafkaError | None:
        return None

    def value(self) -> bytes | None:
        return self.the_value

    def key(self) -> bytes | None:
        return self.the_key

    def partition(self) -> int:
        return self.the_partition

    def offset(self) -> int | None:
        return self.the_offset

    def timestamp(self) -> tuple[int, int]:
        return TIMESTAMP_LOG_APPEND_TIME, self.append_ms

    def headers(self) -> Any:
        return self.the_headers


@dataclass
class FakeChunk:
    """A chunk that remembers how it ended."""

    records: list[Any]
    topic: str = "capture.signals"
    topic_id: str = "topic-id"
    partition: int = 3
    current: bool = True
    ended: list[str] = field(default_factory=list)

    @property
    def next_offset(self) -> int:
        return int(self.records[-1].offset()) + 1

    def is_current(self) -> bool:
        return self.current

    def done(self, loop_s: float | None = None) -> bool:
        self.ended.append("done")
        return True

    def abandon(self, reason: str) -> None:
        self.ended.append(f"abandoned: {reason}")


def record(value: bytes | None, **more: Any) -> Message:
    """A record as a consumer hands it over; `the_key`, `the_offset`, `append_ms`, `the_headers`, `the_partition`."""
    return cast("Message", FakeRecord(value, **more))


def chunk(records: Sequence[Message], **more: Any) -> tuple[Chunk, list[str]]:
    """A chunk, and the list that tells how it ended."""
    made = FakeChunk(list(records), **more)
    return cast("Chunk", made), made.ended
