"""Reads whole topics for the verifier: every committed record as it is on the broker, and what its headers say.

It imports nothing of the project, like the ledger that it serves.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from operator import methodcaller
from typing import Any

import orjson
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicCollection, TopicPartition
from confluent_kafka.admin import AdminClient


@dataclass(frozen=True, slots=True)
class Record:
    """One record as it is on the broker."""

    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, str | bytes | None], ...] = ()
    time_ms: int = -1
    """The record's timestamp, epoch ms: the broker's append time where the topic is set so."""

    def header(self, name: str) -> str | None:
        """Return the last header called `name` as text, None where it is absent."""
        value = next((value for key, value in reversed(self.headers) if key == name), None)
        return value.decode(errors="replace") if isinstance(value, bytes) else value


def read_topic(bootstrap: str, topic: str) -> Iterator[Record]:
    """Read every committed record of `topic`, partition by partition in offset order, up to its end as of now.

    Raises `KafkaException`.
    """
    consumer = Consumer({
        "bootstrap.servers": bootstrap,
        "group.id": "ledger-reads-without-a-group",
        "enable.auto.commit": False,
        "enable.partition.eof": True,
        "auto.offset.reset": "error",
        "isolation.level": "read_committed",
        "fetch.wait.max.ms": 10,
        "log_level": 0,
    })  # fmt: skip
    try:
        described = consumer.list_topics(topic, timeout=15).topics[topic]
        if described.error is not None:
            raise KafkaException(described.error)
        for partition in sorted(described.partitions):
            low, high = consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=15)
            consumer.assign([TopicPartition(topic, partition, low)])
            yield from _read_partition(consumer, high)
    finally:
        consumer.close()


def _read_partition(consumer: Consumer, high: int) -> Iterator[Record]:
    while True:
        # `consume` waits for a full batch, so wait for one record and then take what is there.
        first = consumer.poll(30)
        if first is None:
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT))
        batch: list[Message] = [first, *consumer.consume(5000, timeout=0)]
        for message in batch:
            error = message.error()
            if error is not None:
                if error.code() == KafkaError._PARTITION_EOF:
                    return
                raise KafkaException(error)
            partition, offset = message.partition(), message.offset()
            assert partition is not None
            assert offset is not None
            if offset >= high:
                return
            yield Record(partition, offset, message.key(), message.value(), _headers(message), message.timestamp()[1])


# Through a call that looks for the exception which the bindings leave beside a list with a hole in it.
_ask_headers = methodcaller("headers")


def _headers(message: Message) -> tuple[tuple[str, str | bytes | None], ...]:
    try:
        headers = _ask_headers(message) or ()
    except (SystemError, UnicodeError):  # a name that is not UTF-8
        return ()
    return tuple(headers.items() if isinstance(headers, dict) else headers)


def topic_id(bootstrap: str, topic: str) -> str:
    """Return the broker's id of `topic`. Raises `KafkaException`."""
    admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0})
    described = admin.describe_topics(TopicCollection([topic]), request_timeout=15)
    return str(described[topic].result().topic_id)


def number_of(text: str | None) -> int | None:
    """Return the whole number that a header says, None where it says none in the one usual way."""
    if text is None or len(text) > 19 or not (text.isascii() and text.isdigit()):
        return None
    return int(text) if text == str(int(text)) else None


def place_of(partition: object, offset: object) -> tuple[int, int] | None:
    """Return partition and offset where both are there."""
    if isinstance(partition, int) and isinstance(offset, int):
        return (partition, offset)
    return None


def again_at(record: Record) -> tuple[int, int] | None:
    """Return where a redriven record was when it failed again, or where a note says that it was sent to."""
    return place_of(number_of(record.header("dlq_redriven_partition")), number_of(record.header("dlq_redriven_offset")))


def answered_by(letter: Record, input_topic: str) -> tuple[int, int] | None:
    """Return the input that a record of the dead-letter topic answers; None for a note, and for other input topics.

    Of a redriven record that is where it failed this time, not its first place.
    """
    if letter.header("dlq_topic") != input_topic or letter.header("dlq_redriven_at") is not None:
        return None
    first = place_of(number_of(letter.header("dlq_partition")), number_of(letter.header("dlq_offset")))
    return again_at(letter) or first


def is_part(letter: Record, source: Record) -> bool:
    """Whether a dead letter says to have a part of too large a value, and has its beginning, size and hash."""
    whole, part = source.value or b"", letter.value or b""
    said = (letter.header("dlq_truncated"), letter.header("dlq_sha256"))
    return len(part) >= 65_536 and whole.startswith(part) and said == (str(len(whole)), sha256(whole).hexdigest())


def plain_id(text: str) -> str:
    """Return a topic id in one spelling."""
    # Kafka prints topic ids in url-safe base64, librdkafka in the standard alphabet: the same id.
    return text.replace("-", "+").replace("_", "/").rstrip("=")


def object_of(value: bytes | None) -> dict[str, Any]:
    """Return the JSON object in `value`, an empty one where there is none."""
    try:
        decoded = orjson.loads(value or b"")
    except orjson.JSONDecodeError:
        decoded = _with_long_numbers(value or b"")
    return decoded if isinstance(decoded, dict) else {}


def _with_long_numbers(value: bytes) -> object:
    """Read JSON whose numbers may have any number of digits; None where it is none."""
    try:
        return json.loads(value, parse_int=lambda digits: int(digits) if len(digits) < 30 else digits)
    except (ValueError, RecursionError):
        return None
