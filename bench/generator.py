"""The generator's process: the workload as a backlog, or in an open loop, each event at its due time.

`python -m bench.generator SERVERS backlog EVENTS SESSIONS`
`python -m bench.generator SERVERS open FIRST EVENTS SESSIONS PER_S FILE`

A backlog is made ready in memory before it is sent, so that a worker that is there already finds it as one.

An open loop says `ready`, and begins at a line on standard input. An event that is late is sent at once and keeps its
due time, from which its latency counts. `FILE` gets two rows: due and sent, monotonic s. Between two events it sleeps:
it shares its core with broker and store.
"""

import ctypes
import gc
import itertools
import sys
import time

import numpy as np
from confluent_kafka import Producer

from bench.workload import workload

TOPIC = "capture.telemetry"
PREPARED = 100_000
"""Events that are held in memory, ready to be sent."""
_SET_TIMER_SLACK = 29
"""Of `prctl`: by how much a sleep may last longer, ns; 50 microseconds if it is not told."""
_PROPERTIES = {"acks": "all", "partitioner": "murmur2_random", "enable.idempotence": True, "log_level": 3}


def backlog(servers: str, events: int, sessions: int) -> None:
    """Produce as fast as it goes."""
    producer = Producer(
        {
            **_PROPERTIES,
            "bootstrap.servers": servers,
            "linger.ms": 20,
            "batch.num.messages": 2_000,
            "queue.buffering.max.messages": 200_000,
        }
    )
    made = workload(events, sessions=sessions, in_turn=True)
    # The last part is the longest: that is what gets measured, and what comes before it makes sessions known.
    left = events
    while left:
        part = left if left <= PREPARED else min(PREPARED, left - PREPARED)
        for key, value in list(itertools.islice(made, part)):
            while True:
                try:
                    producer.produce(TOPIC, key=key, value=value)
                    break
                except BufferError:
                    producer.poll(0.05)
        left -= part
    if producer.flush(120):
        raise SystemExit("not all events were delivered")


def open_loop(servers: str, first: int, events: int, sessions: int, per_s: float) -> np.ndarray:
    """Send events number `first` and on; return when each was due and when it was sent."""
    producer = Producer({**_PROPERTIES, "bootstrap.servers": servers, "linger.ms": 0})
    made = workload(first + events, sessions=sessions, in_turn=True)
    next(itertools.islice(made, first, first), None)
    prepared = list(made) if events <= 4 * PREPARED else made
    producer.list_topics(timeout=10)
    gc.freeze()
    ctypes.CDLL(None).prctl(_SET_TIMER_SLACK, ctypes.c_ulong(1_000))
    print("ready", flush=True)
    sys.stdin.readline()
    times = np.zeros((2, events))
    begin = time.monotonic() + 0.1
    for number, (key, value) in enumerate(prepared):
        due = begin + number / per_s
        producer.poll(0)
        while (left := due - time.monotonic()) > 0:
            time.sleep(left)
        times[0, number], times[1, number] = due, time.monotonic()
        producer.produce(TOPIC, key=key, value=value)
    if producer.flush(60):
        raise SystemExit("not all events were delivered")
    return times


def main(servers: str, mode: str, *rest: str) -> None:
    """Do what the arguments say."""
    if mode == "backlog":
        backlog(servers, int(rest[0]), int(rest[1]))
    else:
        first, events, sessions, per_s, file = rest
        open_loop(servers, int(first), int(events), int(sessions), float(per_s)).tofile(file)


if __name__ == "__main__":
    main(*sys.argv[1:])
