"""Reads stretches of a topic from outside any consumer group: tails, dead letters and single records alike.

A broker that answers is waited for as long as it goes on answering: every limit counts from its last sign of life.
"""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final, Literal

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from stream.records import offset_of
from stream.topics import BrokerError, line_of

Stretch = tuple[int, int | None]
"""First offset, and the offset behind the last; None: up to where the partition ends when that is reached."""

_BATCH: Final = 200
_CALL_S: Final = 0.2
_TRY_AGAIN_S: Final = 0.05
_ENDS: Final = frozenset({"_PARTITION_EOF", "_AUTO_OFFSET_RESET"})


@contextmanager
def reading(
    properties: dict[str, Any], what: str, reset: Literal["earliest", "error"] = "earliest"
) -> Iterator[Consumer]:
    """Yield a consumer that joins no group and commits nothing; what Kafka refuses becomes a BrokerError about `what`.

    From an offset that the log does not hold, reading goes on at its first one (`earliest`), or ends (`error`).
    """
    ours = {
        # The library asks for a name and looks for that group's coordinator, though nobody joins the group: a broker
        # with access control may refuse that, which hinders nothing.
        "group.id": "tellwire-tail",
        "enable.auto.commit": False,
        "enable.partition.eof": True,
        "auto.offset.reset": reset,
        "fetch.wait.max.ms": 10,
        # Little is held at a time, and more is asked for at once when there is room: the library would wait a second.
        "queued.max.messages.kbytes": 16 * 1024,
        "fetch.queue.backoff.ms": 10,
    }
    consumer = Consumer(properties | ours)
    try:
        yield consumer
    except KafkaException as error:
        raise BrokerError(f"{what}: {line_of(error, properties)}") from None
    finally:
        consumer.close()


def watching(properties: dict[str, Any], name: str) -> dict[str, Any]:
    """Properties of a consumer that sees what comes as it comes, joins no group and commits nothing."""
    return properties | {
        "group.id": name,  # required by the library; never joined
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "auto.offset.reset": "earliest",
        "fetch.wait.max.ms": 5,
    }


def ends_of(consumer: Consumer, partition: TopicPartition, patience_s: float) -> tuple[int, int]:
    """Return first and next offset; waits out a leader election, which a new topic goes through too.

    Raises KafkaException when there is no answer within `patience_s`.
    """
    deadline = time.monotonic() + patience_s
    while True:
        try:
            return consumer.get_watermark_offsets(partition, timeout=max(0.1, deadline - time.monotonic()))
        except KafkaException:
            if time.monotonic() > deadline:
                raise
            time.sleep(_TRY_AGAIN_S)


def records_in(
    consumer: Consumer, topic: str, stretches: Mapping[int, Stretch], patience_s: float
) -> Iterator[Message]:
    """Yield the records of these partitions' stretches, each partition in order.

    Raises BrokerError when there is no progress for `patience_s`, not counting what the caller does with a record;
    KafkaException where the topic may not be read.
    """
    ends = {partition: end for partition, (_, end) in stretches.items()}
    consumer.assign([TopicPartition(topic, partition, start) for partition, (start, _) in sorted(stretches.items())])
    told = ""
    deadline = time.monotonic() + patience_s
    while ends:
        for record in _arrived(consumer):
            partition, error = record.partition(), record.error()
            if error is None:
                assert partition is not None
                offset = offset_of(record)
                if partition in ends:
                    end = ends[partition]
                    if end is None or offset < end:
                        yield record
                    if end is not None and offset + 1 >= end:
                        del ends[partition]
                deadline = time.monotonic() + patience_s
            elif error.name() in _ENDS and partition is not None:
                ends.pop(partition, None)
                deadline = time.monotonic() + patience_s
            elif error.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED:
                raise KafkaException(error)
            else:
                # A broker that is away, a leader that moved, a group that may not be looked up: the client's troubles,
                # not a partition's, and it tries again.
                told = f": {error.str()}"
        if ends and time.monotonic() > deadline:
            msg = f"{topic}: partitions {sorted(ends)} could not be read: no answer in {patience_s:g} s{told}"
            raise BrokerError(msg)


def _arrived(consumer: Consumer) -> list[Message]:
    """Return what has arrived; waits for the first only, as `consume` would wait until it has as many as asked for."""
    first = consumer.poll(_CALL_S)
    return [] if first is None else [first, *consumer.consume(_BATCH, 0)]
