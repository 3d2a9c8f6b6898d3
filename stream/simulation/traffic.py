"""The demo's traffic process: sends simulated or recorded sessions to Kafka, paced by the clock, and says what is true.

Run as `python -m stream.simulation.traffic`; the first line of standard input holds the librdkafka properties as a JSON
object. Open loop: a slow pipeline does not slow it down. It produces as any app should (idempotent, acks of all
replicas, the partitioner of Java's clients) and prints JSON lines on standard output: `{"truth": {...}}` when a session
begins, `{"counts": {...}}` five times a second and at the end. On SIGTERM, or when its standard input closes, it stops
sending, waits for what is on its way, and ends.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import IO, Any, Protocol

import msgspec
from confluent_kafka import Producer as KafkaProducer

from schemas.telemetry import Telemetry
from stream.simulation.population import Due, Truth, population

TOPIC = "capture.telemetry"
REPORT_EVERY_MS = 200
FLUSH_S = 10.0
KEPT_RECORDINGS_S = 300.0
"""Recordings held for traffic that does not end: so many seconds' worth of arrivals, then again from the first."""


class Counts(msgspec.Struct):
    """What the traffic process did so far; `done` in its last report."""

    sessions: int = 0
    sent: int = 0
    """Records handed to the producer."""
    acked: int = 0
    """Records that the broker acknowledged."""
    failed: int = 0
    late_ms_max: int = 0
    """Longest time that a record was sent after it was due, ms."""
    done: bool = False


class TruthLine(msgspec.Struct):
    """A session's truth as it is told to the demo."""

    session_id: str
    actor: str
    family: str
    flow: str
    n_events: int
    ends: bool


class Line(msgspec.Struct, omit_defaults=True):
    """One line of this process's standard output; one of the two is set."""

    truth: TruthLine | None = None
    counts: Counts | None = None


class Producer(Protocol):
    """The part of confluent_kafka.Producer that is used."""

    def produce(self, topic: str, *, key: bytes, value: bytes, on_delivery: Callable[[Any, Any], None]) -> None:
        """Queue one record; BufferError when the queue is full."""

    def poll(self, timeout: float) -> int:
        """Call the delivery reports that have come."""

    def flush(self, timeout: float) -> int:
        """Wait for all deliveries; the number still missing."""


class Clock(Protocol):
    """Epoch time in ms, and a sleep that a stop may cut short."""

    def now_ms(self) -> int:
        """Epoch time, ms."""

    def sleep_ms(self, ms: float) -> None:
        """Wait for `ms`, or less."""


class WallClock:
    """The system's clock; `stop` ends a sleep."""

    def __init__(self, stop: threading.Event) -> None:
        self._stop = stop

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def sleep_ms(self, ms: float) -> None:
        self._stop.wait(ms / 1000)


class Traffic:
    """Sends what is due when it is due, and reports."""

    def __init__(self, producer: Producer, clock: Clock, report: Callable[[Line], None], topic: str = TOPIC) -> None:
        self._producer, self._clock, self._report, self._topic = producer, clock, report, topic
        self._encode = msgspec.json.Encoder().encode
        self._known: set[str] = set()
        self.counts = Counts()

    def run(self, dues: Iterable[Due], stopped: Callable[[], bool], until_ms: int | None = None) -> Counts:
        """Send all of `dues`, or until `until_ms` (epoch ms) or `stopped()`; returns the counts after a flush."""
        next_report = self._clock.now_ms()
        for due in dues:
            if until_ms is not None and due.due_ms >= until_ms:
                break
            while not stopped():
                now = self._clock.now_ms()
                if now >= next_report:
                    self._report(Line(counts=self.counts))
                    next_report = now + REPORT_EVERY_MS
                if now >= due.due_ms:
                    break
                self._producer.poll(0)
                self._clock.sleep_ms(min(due.due_ms, next_report) - now)
            if stopped():
                break
            self._send(due)
        left = self._producer.flush(FLUSH_S)
        self.counts.failed += left
        self.counts.done = True
        self._report(Line(counts=self.counts))
        return self.counts

    def _send(self, due: Due) -> None:
        event: Telemetry = due.event
        if event.session_id not in self._known:
            self._known.add(event.session_id)
            self.counts.sessions += 1
            self._report(Line(truth=TruthLine(**dataclasses.asdict(due.truth))))
        if due.truth.n_events == event.sequence + 1:
            self._known.discard(event.session_id)
        self.counts.late_ms_max = max(self.counts.late_ms_max, self._clock.now_ms() - due.due_ms)
        key, value = event.session_id.encode(), self._encode(event)
        while True:
            try:
                self._producer.produce(self._topic, key=key, value=value, on_delivery=self._delivered)
            except BufferError:
                # The producer's queue is full: wait for room, lose nothing.
                self._producer.poll(0.05)
            else:
                break
        self.counts.sent += 1
        self._producer.poll(0)

    def _delivered(self, error: object, _: object) -> None:
        if error is None:
            self.counts.acked += 1
        else:
            self.counts.failed += 1


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the process; returns its exit status: 0 sent and acknowledged, 1 something was not."""
    options = _parse(arguments)
    # On standard input and not on the command line, where everybody on the machine could read a password.
    properties = json.loads(_first_line())
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    # Ctrl-C in a terminal reaches the whole group: the demo stops its children in order.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_follow_parent, args=(stop,), daemon=True).start()
    clock = WallClock(stop)
    arrivals_s = None if options.seconds is None else max(0.5 * options.seconds, options.seconds - 15.0)
    if options.data is None:
        start_ms = clock.now_ms() + 50
        dues = population(
            options.seed,
            start_ms=start_ms,
            sessions_per_s=options.rate,
            bot_ratio=options.bot_ratio,
            arrivals_s=arrivals_s,
            run=options.run,
        )
    else:
        from models.dataset import DatasetError  # noqa: PLC0415 - needs the extra `train`
        from stream.simulation.recorded import choose, played  # noqa: PLC0415 - likewise

        n = round(options.rate * (arrivals_s if arrivals_s is not None else KEPT_RECORDINGS_S)) + 1
        try:
            chosen = choose(options.data, seed=options.seed, n=n, bot_ratio=options.bot_ratio)
        except DatasetError as error:
            sys.stderr.write(f"{error}\n")
            return 1
        start_ms = clock.now_ms() + 50
        dues = played(
            chosen, seed=options.seed, start_ms=start_ms, rate=options.rate, arrivals_s=arrivals_s, run=options.run
        )
    until_ms = None if options.seconds is None else start_ms + int(options.seconds * 1000)
    counts = Traffic(_producer(properties), clock, _writer(sys.stdout.buffer)).run(dues, stop.is_set, until_ms)
    return 0 if counts.failed == 0 and counts.acked == counts.sent else 1


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="stream.simulation.traffic", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rate", type=float, default=5.0, help="new sessions a second")
    parser.add_argument("--bot-ratio", type=float, default=0.35)
    parser.add_argument("--seconds", type=float, default=None, help="stop after this time; without it, never")
    parser.add_argument("--run", default="", help="end of the session ids, to tell this run's from others'")
    parser.add_argument("--data", type=Path, default=None, help="play recorded sessions of this folder instead")
    return parser.parse_args(arguments)


def _producer(properties: dict[str, Any]) -> Producer:
    defaults = {"enable.idempotence": True, "linger.ms": 1, "partitioner": "murmur2_random"}
    producer: Producer = KafkaProducer(defaults | properties)
    return producer


def _writer(out: IO[bytes]) -> Callable[[Line], None]:
    encode = msgspec.json.Encoder().encode

    def write(line: Line) -> None:
        out.write(encode(line) + b"\n")
        out.flush()

    return write


def _first_line() -> bytes:
    line = b""
    while not line.endswith(b"\n"):
        byte = os.read(0, 1)
        if not byte:
            break
        line += byte
    return line or b"{}"


def _follow_parent(stop: threading.Event) -> None:
    try:
        while os.read(0, 4096):
            pass
    except OSError:
        pass
    stop.set()


__all__ = ["Counts", "Line", "Producer", "Traffic", "Truth", "TruthLine", "main"]

if __name__ == "__main__":
    sys.exit(main())
