"""Reads risk events (or echoes) from the end of the topic on and notes when each came."""

import json
import re
import sys
import time

from confluent_kafka import OFFSET_END, Consumer, TopicPartition

_EVENT_ID = re.compile(rb'"event_id":"([^"]+)"')


def main() -> None:
    """Arguments: bootstrap servers, how many to wait for. Prints `ready`, then {event id: monotonic s of arrival}."""
    bootstrap, wanted = sys.argv[1], int(sys.argv[2])
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "bench-reader", "fetch.wait.max.ms": 500})
    tops = [TopicPartition("risk.events", p, OFFSET_END) for p in range(4)]
    consumer.assign(
        [TopicPartition(t.topic, t.partition, consumer.get_watermark_offsets(t, timeout=10)[1]) for t in tops]
    )
    consumer.poll(0.5)
    print("ready", flush=True)
    came: dict[str, float] = {}
    deadline = time.monotonic() + 120
    while len(came) < wanted and time.monotonic() < deadline:
        message = consumer.poll(0.1)
        now = time.monotonic()
        if message is None or message.error():
            continue
        found = _EVENT_ID.search(message.value() or b"")
        if found:
            came[found[1].decode()] = now
    consumer.close()
    print(json.dumps(came))


if __name__ == "__main__":
    main()
