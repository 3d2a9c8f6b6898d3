"""Reads what the demo shows back from the broker: risk events, dead letters, and the learner's snapshots.

A plain consumer with its own assignment and no group: it commits nothing and disturbs nobody.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Message, TopicPartition

from schemas.risk import RiskEvent
from stream.demo.children import DemoError
from stream.demo.tally import Tally
from stream.topic_reader import ends_of, watching
from stream.transport.headers import headers_of

RISK_EVENTS: Final = "risk.events"
DEAD_LETTERS: Final = "risk.deadletter"
SNAPSHOTS: Final = "models.snapshots"
ANSWER_S: Final = 15.0


class Feed:
    """Reads the output topics into a tally."""

    def __init__(self, properties: dict[str, Any], tally: Tally, now_s: Callable[[], float], *, embedded: bool) -> None:
        self._tally, self._now_s = tally, now_s
        self.also: Callable[[RiskEvent, int], None] | None = None
        """Told of each risk event, after the tally, with the time at which it was published, epoch ms."""
        self._decoder = msgspec.json.Decoder(RiskEvent)
        self.snapshots = 0
        self._consumer = Consumer(watching(properties, "tellwire-demo-view"))
        try:
            self._consumer.assign(self._places(from_end=not embedded))
        except KafkaException as error:
            self._consumer.close()
            msg = f"the demo cannot read from the broker: {error.args[0].str()}"
            raise DemoError(msg) from None

    def wait(self, wait_s: float) -> list[Message]:
        """Return what has come, waiting at most `wait_s` for the first."""
        first = self._consumer.poll(wait_s)
        # What came together; but nobody waits until it is many.
        return [] if first is None else [first, *self._consumer.consume(500, 0)]

    def count(self, messages: Sequence[Message]) -> None:
        """Count what came. Raises DemoError when the broker is gone."""
        for message in messages:
            if (error := message.error()) is not None:
                if error.fatal() or error.code() == KafkaError._ALL_BROKERS_DOWN:
                    msg = f"the demo lost the broker: {error.str()}"
                    raise DemoError(msg)
                continue
            self._take(message)

    def close(self) -> None:
        """Stop reading."""
        self._consumer.close()

    def _take(self, message: Message) -> None:
        topic = message.topic()
        if topic == SNAPSHOTS:
            # Each stands there twice: under its hash, and as the latest of its flow. One without a value was deleted.
            self.snapshots += message.value() is not None and not (message.key() or b"").endswith(b"/latest")
        elif topic == DEAD_LETTERS:
            if (message.key() or b"").endswith(self._tally.run.encode()):
                self._tally.bury(_reason(message))
        else:
            try:
                event = self._decoder.decode(message.value() or b"")
            except msgspec.MsgspecError:
                self._tally.unreadable += 1
                return
            self._tally.take(event, time.time_ns() // 1_000_000, self._now_s())
            if self.also is not None:
                self.also(event, message.timestamp()[1])

    def _places(self, *, from_end: bool) -> list[TopicPartition]:
        known = self._consumer.list_topics(timeout=ANSWER_S).topics
        places = []
        for topic in (RISK_EVENTS, DEAD_LETTERS, SNAPSHOTS):
            if topic not in known or known[topic].error is not None:
                msg = f"the demo cannot read topic {topic}: the broker does not have it"
                raise DemoError(msg)
            for partition in known[topic].partitions:
                place = TopicPartition(topic, partition, OFFSET_BEGINNING)
                if from_end:
                    place.offset = ends_of(self._consumer, place, ANSWER_S)[1]
                places.append(place)
        return places


def _reason(message: Message) -> str:
    named = headers_of(message)
    return next((value.decode(errors="replace") for name, value in named if name == "dlq_reason" and value), "unknown")
