"""Puts one erasure into the log, behind the records of its session, and waits until the broker has it."""

import time
from typing import Any, Final, NamedTuple
from uuid import uuid4

import msgspec
from confluent_kafka import KafkaError, KafkaException, Message, Producer

from schemas.envelope import Rejected, decode, encode
from schemas.erasure import Erasure
from schemas.topics import TELEMETRY_TOPIC
from stream.topics import BrokerError, partition_counts

DELIVERY_S: Final = 30.0
"""Longest wait for the brokers' acknowledgement, s."""


class Place(NamedTuple):
    """Where the erasure stands."""

    topic: str
    partition: int
    offset: int


class InvalidErasure(ValueError):  # noqa: N818 - nothing failed, nothing was begun
    """The request can't be one; the message names the field and quotes nothing."""


def make(session_id: str, tenant: str, now_ms: int) -> Erasure:
    """Return a request with an id of its own. Raises InvalidErasure for what no worker would take."""
    made = Erasure(event_id=f"erasure-{uuid4()}", session_id=session_id, tenant=tenant, observed_at=now_ms)
    try:
        decode(encode(made), None)
    except (Rejected, msgspec.MsgspecError, UnicodeEncodeError) as error:
        where = error.path.removeprefix("$.") if isinstance(error, Rejected) else "session_id"
        why = error.detail if isinstance(error, Rejected) else "not valid text"
        raise InvalidErasure(f"{where}: {why}") from None
    return made


def put(properties: dict[str, Any], erasure: Erasure, timeout_s: float = DELIVERY_S) -> Place:
    """Produce to the partition of the session's records and wait, at most `timeout_s` (s), for all replicas' word.

    `properties` are a producer's, with the partitioner that all producers here use. Blocks. Raises BrokerError; asking
    again then is safe, an erasure that arrived twice forgets twice.
    """
    if TELEMETRY_TOPIC not in partition_counts(properties, [TELEMETRY_TOPIC]):
        raise BrokerError(f"{TELEMETRY_TOPIC} is not on this broker: is kafka.bootstrap_servers the right one?")
    answers: list[tuple[KafkaError | None, Message]] = []
    fixed: dict[str, Any] = {"enable.idempotence": True, "acks": "all", "linger.ms": 0}
    limits = {"message.timeout.ms": int(timeout_s * 1000)}
    try:
        producer = Producer({**properties, **fixed, **limits})
        producer.produce(
            TELEMETRY_TOPIC,
            key=erasure.session_id.encode(),
            value=encode(erasure),
            on_delivery=lambda error, message: answers.append((error, message)),
        )
        deadline = time.monotonic() + timeout_s + 1.0
        while not answers and time.monotonic() < deadline:
            producer.poll(0.1)
    except KafkaException as error:
        raise BrokerError(f"{TELEMETRY_TOPIC}: not erased: {error.args[0].str()}") from None
    if not answers:
        raise BrokerError(f"{TELEMETRY_TOPIC}: no word of the broker in {timeout_s:g} s; ask again, twice does no harm")
    failed, message = answers[0]
    if failed is not None:
        raise BrokerError(f"{TELEMETRY_TOPIC}: not erased: {failed.str()}; ask again, twice does no harm")
    partition, offset = message.partition(), message.offset()
    assert partition is not None
    assert offset is not None
    return Place(TELEMETRY_TOPIC, partition, offset)
