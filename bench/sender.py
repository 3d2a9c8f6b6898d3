"""Sends the workload in an open loop: each event at its due time, however long the earlier ones take."""

import json
import sys
import time

import msgspec
from confluent_kafka import Producer

from bench.workload import workload


def main() -> None:
    """Arguments: bootstrap servers, events a second, seconds. Prints {event id: when it was due}, monotonic s."""
    bootstrap, per_s, seconds = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    count = per_s * seconds
    producer = Producer(
        {"bootstrap.servers": bootstrap, "partitioner": "murmur2_random", "linger.ms": 0, "acks": "all"}
    )
    prepared = [(key, value, msgspec.json.decode(value)["event_id"]) for key, value in workload(count, seed=99)]
    producer.list_topics(timeout=10)
    begin = time.monotonic() + 0.2
    due = {}
    for number, (key, value, event_id) in enumerate(prepared):
        at = begin + number / per_s
        while (left := at - time.monotonic()) > 0:
            producer.poll(min(left, 0.001))
        producer.produce("capture.telemetry", key=key, value=value)
        due[event_id] = at
    producer.flush(30)
    print(json.dumps(due))


if __name__ == "__main__":
    main()
