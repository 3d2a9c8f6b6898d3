"""Loads that a simulation is too slow or too even for: a backlog of any size, and an open loop with one hot session.

Simulated sessions are the templates; each copy of them has session ids of its own. As a process (`python -m
tests.fault.open_loop flood|send|read`): generator and reader stand apart from the worker and from each other, so that
none measures another's interpreter.
"""

from __future__ import annotations

import argparse
import itertools
import json
import re
import sys
import time
from collections.abc import Callable, Iterator

import msgspec
from confluent_kafka import Consumer, KafkaError, Message, Producer, TopicPartition

from schemas.envelope import encode
from schemas.telemetry import Telemetry
from stream.transport.murmur2 import partition_of
from tests.fault.load import EVENTS_PER_SESSION, simulated

INPUT, EVENTS = "capture.telemetry", "risk.events"
TEMPLATES = 1_500
HOT = "hot-session"
_EVENT_ID = re.compile(rb'"event_id":"([^"]+)"')


def templates(seed: int, count: int = TEMPLATES) -> list[Telemetry]:
    """Return so many simulated events, in order."""
    return list(itertools.islice(simulated(seed, 300.0 / EVENTS_PER_SESSION, 0.3), count))


def copies(events: list[Telemetry], count: int, run: str) -> Iterator[tuple[bytes, bytes]]:
    """Yield key and value of `count` records: the events again and again, each time as other sessions."""
    cut = []
    for event in events:
        head, found, tail = encode(event).partition(f'"session_id":"{event.session_id}'.encode())
        cut.append((event.session_id.encode(), head + found, tail))
    for number in range(count):
        key, head, tail = cut[number % len(cut)]
        mark = f"-{run}{number // len(cut)}".encode()
        yield key + mark, head + mark + tail


def _producer(bootstrap: str, **properties: object) -> Producer:
    return Producer(
        {
            "bootstrap.servers": bootstrap,
            "partitioner": "murmur2_random",
            "enable.idempotence": True,
            "queue.buffering.max.messages": 100_000,
            **properties,
        }
    )


def flood(bootstrap: str, count: int) -> None:
    """Produce `count` records as fast as they are taken."""
    producer = _producer(bootstrap, **{"linger.ms": 20})
    failed: list[str] = []

    def delivered(error: KafkaError | None, _: Message) -> None:
        if error is not None:
            failed.append(error.str())

    for key, value in copies(templates(1), count, "b"):
        while True:
            try:
                producer.produce(INPUT, key=key, value=value, on_delivery=delivered)
                break
            except BufferError:
                producer.poll(0.05)
        producer.poll(0)
    left = producer.flush(120)
    if left or failed:
        raise SystemExit(f"{left} records left, {len(failed)} failed: {failed[:1]}")


def send(bootstrap: str, per_s: float, seconds: float, hot_share: float, run: str, partitions: int) -> None:
    """Send each record at its due time, however long earlier ones take; print when each was due by event id.

    Every so-manieth record is one hot session's, `hot_share` of all. An event id begins with its partition's number.
    Times are of the machine's monotonic clock, s.
    """
    producer = _producer(bootstrap, **{"linger.ms": 0})
    cold = templates(2, 400)
    hot = next(event for event in cold if event.pointer is not None and event.end is None)
    prepared = []
    turn = 0.0
    hots = colds = 0
    for number in range(int(per_s * seconds)):
        turn += hot_share
        if turn >= 1.0:
            turn -= 1.0
            session, event, sequence = f"{HOT}-{run}", hot, hots
            hots += 1
        else:
            event = cold[colds % len(cold)]
            session, sequence = f"{event.session_id}-{run}{colds // len(cold)}", event.sequence
            colds += 1
        place = partition_of(session.encode(), partitions)
        event_id = f"{place}-{'hot' if event is hot and session.startswith(HOT) else 'cold'}-{run}-{number}"
        made = msgspec.structs.replace(event, session_id=session, sequence=sequence, event_id=event_id)
        prepared.append((session.encode(), encode(made), event_id))
    producer.list_topics(timeout=10)
    begin_s = time.monotonic() + 0.2
    due = {}
    for number, (key, value, event_id) in enumerate(prepared):
        at_s = begin_s + number / per_s
        while (left_s := at_s - time.monotonic()) > 0:
            producer.poll(min(left_s, 0.001))
        producer.produce(INPUT, key=key, value=value)
        due[event_id] = at_s
    if producer.flush(30):
        raise SystemExit("not everything was acknowledged")
    print(json.dumps(due))


def read(bootstrap: str, wanted: int, partitions: int, patience_s: float) -> None:
    """Print `ready`, then when each of `wanted` risk events was read, by the event id of its input."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "open-loop-reader", "fetch.wait.max.ms": 500})
    ends = [
        TopicPartition(EVENTS, p, consumer.get_watermark_offsets(TopicPartition(EVENTS, p), timeout=10)[1])
        for p in range(partitions)
    ]
    consumer.assign(ends)
    consumer.poll(0.5)
    print("ready", flush=True)
    came: dict[str, float] = {}
    until_s = time.monotonic() + patience_s
    while len(came) < wanted and time.monotonic() < until_s:
        message = consumer.poll(0.1)
        now_s = time.monotonic()
        if message is None or message.error():
            continue
        found = _EVENT_ID.search(message.value() or b"")
        if found:
            came.setdefault(found[1].decode(), now_s)
    consumer.close()
    print(json.dumps(came))


def main(arguments: list[str]) -> None:
    """Run one of the processes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["flood", "send", "read"])
    parser.add_argument("settings", help="JSON: the keyword arguments of the function of that name")
    options = parser.parse_args(arguments)
    run: dict[str, Callable[..., None]] = {"flood": flood, "send": send, "read": read}
    run[options.what](**json.loads(options.settings))


if __name__ == "__main__":
    main(sys.argv[1:])
