"""Looks at a sample of the traffic: whether keys are where the partitioner puts them, and clocks agree."""

from __future__ import annotations

import time
import zlib
from collections import Counter
from collections.abc import Iterator
from typing import Any, Final

import msgspec
from confluent_kafka import Message, TopicPartition

from schemas.topics import TELEMETRY_TOPIC
from stream.doctor.finding import Findings, error, ok, warning
from stream.records import append_ms_of
from stream.topic_reader import Stretch, ends_of, reading, records_in
from stream.transport.murmur2 import partition_of

SAMPLE: Final = 500
"""Last records of each partition that are looked at."""
STRAY_RATIO: Final = 0.005
"""Keys in another partition than their own: more than this share is no accident."""
AHEAD_MS: Final = 1_000
_PATIENCE_S: Final = 10.0


class _Times(msgspec.Struct):
    ingested_at: int
    scored_at: int


class Traffic:
    """The latest records of some topics. Raises BrokerError where they can't be read."""

    def __init__(self, properties: dict[str, Any], partitions: int) -> None:
        """`partitions`: of the telemetry topic."""
        self._properties = properties
        self._partitions = partitions

    def partitioner(self) -> Findings:
        """Compare each key's partition with that of murmur2, as Java's clients place it."""
        where, looked_at, strays, by_crc, keyless = f"topic {TELEMETRY_TOPIC}", 0, 0, 0, 0
        newest_ms = 0
        collectors: Counter[str] = Counter()
        for record in self._latest(TELEMETRY_TOPIC):
            looked_at += 1
            newest_ms = max(newest_ms, append_ms_of(record))
            key = record.key()
            if not isinstance(key, bytes) or not key:
                keyless += 1
            elif partition_of(key, self._partitions) != record.partition():
                strays += 1
                by_crc += zlib.crc32(key) % self._partitions == record.partition()
                collectors[_collector(record)] += 1
        if not looked_at:
            yield ok("traffic.partitioner", where, "no records to look at")
            return
        share = strays / looked_at
        if share > STRAY_RATIO:
            of_whom = ", ".join(f"{name} ({number})" for name, number in collectors.most_common(3))
            guess = "; all of them are where librdkafka's default partitioner puts them" if by_crc == strays else ""
            yield error(
                "traffic.partitioner",
                where,
                f"{strays} of {looked_at} keys are not where murmur2 puts them{guess}; sent by: {of_whom}",
                "records of one session lie in two partitions: its features are torn and its events counted twice",
                "set partitioner=murmur2_random in that producer (librdkafka), then drain",
            )
        else:
            yield ok(
                "traffic.partitioner", where, f"{looked_at - strays} of {looked_at} keys are where murmur2 puts them"
            )
        if keyless:
            yield warning(
                "traffic.keys",
                where,
                f"{keyless} of {looked_at} records have no key",
                "they become dead letters (key_mismatch)",
                "produce with the session id as key",
            )
        yield from _ahead(where, newest_ms)

    def clocks(self) -> Findings:
        """Compare the brokers' clock with the workers', as risk events tell both."""
        where = "topic risk.events"
        behind_ms, looked_at = 0, 0
        for record in self._latest("risk.events"):
            try:
                times = msgspec.json.decode(record.value() or b"", type=_Times)
            except msgspec.MsgspecError:
                continue
            looked_at += 1
            behind_ms = max(behind_ms, times.ingested_at - times.scored_at)
        if behind_ms > AHEAD_MS:
            yield warning(
                "clock.worker",
                where,
                f"events were scored {behind_ms / 1000:.1f} s before their records were appended",
                "a worker's clock is behind the brokers': latencies and ages are wrong, windows are not",
                "run NTP or chrony on workers and brokers",
            )
        elif looked_at:
            yield ok("clock.worker", where, "workers' clocks are not behind the brokers'")

    def _latest(self, topic: str) -> Iterator[Message]:
        with reading(self._properties, topic) as consumer:
            stretches: dict[int, Stretch] = {}
            for number in range(self._partitions):
                low, high = ends_of(consumer, TopicPartition(topic, number), _PATIENCE_S)
                if high > low:
                    stretches[number] = (max(low, high - SAMPLE), high)
            if stretches:
                yield from records_in(consumer, topic, stretches, _PATIENCE_S)


def _ahead(where: str, newest_ms: int) -> Findings:
    ahead_ms = newest_ms - time.time() * 1000.0
    if ahead_ms > AHEAD_MS:
        yield error(
            "clock.broker",
            where,
            f"the latest record was appended {ahead_ms / 1000:.1f} s in the future of this machine's clock",
            "windows, retention and time to live go by these clocks",
            "run NTP or chrony on the brokers and here",
        )
    else:
        yield ok("clock.broker", where, "nothing was appended in the future of this machine's clock")


class _Named(msgspec.Struct):
    name: str = "unnamed"
    version: str = "?"


class _Sent(msgspec.Struct):
    collector: _Named = msgspec.field(default_factory=_Named)


def _collector(record: Message) -> str:
    """Name and version of what sent a record: a product's, never a person's."""
    try:
        found = msgspec.json.decode(record.value() or b"", type=_Sent).collector
    except msgspec.MsgspecError:
        return "unreadable"
    # Whoever may send telemetry chose these words, and they go to a terminal.
    return "".join(one if one.isprintable() else "?" for one in f"{found.name} {found.version}"[:60])
