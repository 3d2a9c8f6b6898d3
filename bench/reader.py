"""The verifier's process in an open loop: reads what comes out, and notes when each event's answer came.

`python -m bench.reader SERVERS PARTITIONS FIRST EVENTS FILE`: says `ready`, reads risk events (or echoes) of events
FIRST and on until it has all of them or nothing has come for 30 s; `FILE` gets the arrival of each, monotonic s, 0 for
none.
"""

import sys
import time

import numpy as np
from confluent_kafka import Consumer, TopicPartition

from bench.workload import number_in

TOPIC = "risk.events"
_PATIENCE_S = 30.0


def read(servers: str, partitions: int, first: int, events: int) -> np.ndarray:
    """Return the arrival of each event's answer."""
    consumer = Consumer({"bootstrap.servers": servers, "group.id": "bench-reader", "enable.auto.commit": False})
    ends = [
        TopicPartition(TOPIC, p, consumer.get_watermark_offsets(TopicPartition(TOPIC, p), timeout=10)[1])
        for p in range(partitions)
    ]
    consumer.assign(ends)
    consumer.poll(0.5)
    print("ready", flush=True)
    came = np.zeros(events)
    left, last = events, time.monotonic()
    while left and time.monotonic() - last < _PATIENCE_S:
        message = consumer.poll(0.5)
        if message is None:
            continue
        last = time.monotonic()
        for record in [message, *consumer.consume(1_000, 0)]:
            if record.error():
                continue
            number = number_in(record.value()) - first
            if 0 <= number < events and not came[number]:
                came[number] = last
                left -= 1
    consumer.close()
    return came


if __name__ == "__main__":
    read(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])).tofile(sys.argv[5])
