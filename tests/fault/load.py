"""The load: simulated sessions from a seed, sent by a process of its own that goes on through every fault.

`Load` is the test's handle. The process (`python -m tests.fault.load`) has its own idempotent producer, keeps every
record until the broker has acknowledged it, and tells how many were; an open loop: slow answers don't slow it down.
"""

from __future__ import annotations

import argparse
import itertools
import json
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from subprocess import Popen

from confluent_kafka import Message, Producer

from schemas.envelope import encode
from schemas.telemetry import Telemetry
from stream.simulation.population import population
from tests.support.process import Deadline, end, spawn, tail

TOPIC = "capture.telemetry"
EVENTS_PER_SESSION = 15.0
"""About as many has a simulated session; it only shapes event time, the pace is set by the rate."""


@dataclass(frozen=True)
class Sent:
    """What the load's process did so far."""

    sent: int = 0
    acked: int = 0
    """Records that the broker acknowledged."""
    failed: int = 0
    """Records that it finally did not: with unlimited retries, none unless flushing was cut short."""
    partitions: dict[int, int] | None = None
    """Acknowledged records by partition."""
    behind_s: float = 0.0
    """How far the load is behind its own schedule (it waits while the producer's queue is full)."""
    done: bool = False


class Load:
    """A running load. `stop` ends it when everything sent is acknowledged."""

    def __init__(
        self, bootstrap: str, log: Path, per_s: float | None, events: int | None, seed: int, bot_ratio: float
    ) -> None:
        """Start it. `per_s` None: as fast as it goes; `events` None: until stopped."""
        settings = {"bootstrap": bootstrap, "per_s": per_s, "events": events, "seed": seed, "bot_ratio": bot_ratio}
        self._log = log
        self.process: Popen[bytes] = spawn([sys.executable, "-m", "tests.fault.load", json.dumps(settings)], log)

    def sent(self) -> Sent:
        """Return what it last told."""
        lines = self._log.read_text(errors="replace").splitlines() if self._log.exists() else []
        for line in reversed(lines):
            try:
                told = json.loads(line)
            except json.JSONDecodeError:
                continue
            told["partitions"] = {int(key): value for key, value in told["partitions"].items()}
            return Sent(**told)
        return Sent()

    def wait_acked(self, records: int, seconds: float = 60.0) -> Sent:
        """Wait until at least so many records are acknowledged."""
        deadline = Deadline(seconds)
        while deadline.waits():
            told = self.sent()
            if told.acked >= records:
                return told
            if self.process.poll() is not None and not told.done:
                break
        raise AssertionError(f"the load has not {records} records acknowledged:\n{tail(self._log)}")

    def wait_done(self, seconds: float = 300.0) -> Sent:
        """Wait until a load of a stated number of events has sent all and the broker has acknowledged all."""
        deadline = Deadline(seconds, pause_s=0.1)
        while deadline.waits() and self.process.poll() is None:
            pass
        return self._ended()

    def stop(self, seconds: float = 120.0) -> Sent:
        """Send nothing more, wait until everything is acknowledged, return the final count.

        Raises `AssertionError` when something was never acknowledged.
        """
        end(self.process, signal.SIGTERM, seconds)
        return self._ended()

    def _ended(self) -> Sent:
        told = self.sent()
        assert self.process.returncode == 0, f"the load failed ({told}):\n{tail(self._log)}"
        assert told.done, f"the load did not end: {told}"
        assert told.sent == told.acked, f"not all was acknowledged: {told}"
        return told


def simulated(seed: int, sessions_per_s: float, bot_ratio: float, start_ms: int | None = None) -> Iterator[Telemetry]:
    """Yield simulated telemetry without end; event time begins at `start_ms` (epoch ms), without it now."""
    begin = int(time.time() * 1000) if start_ms is None else start_ms
    for due in population(seed, start_ms=begin, sessions_per_s=sessions_per_s, bot_ratio=bot_ratio):
        yield due.event


class _Generator:
    def __init__(self, bootstrap: str) -> None:
        self._producer = Producer(
            {
                "bootstrap.servers": bootstrap,
                "enable.idempotence": True,
                "partitioner": "murmur2_random",
                "linger.ms": 5,
                # An outage of any length loses nothing: retries have no limit but this one.
                "message.timeout.ms": 1_800_000,
                "queue.buffering.max.messages": 200_000,
                "socket.keepalive.enable": True,
                "reconnect.backoff.max.ms": 1_000,
                "log_level": 2,
            }
        )
        self.sent, self.failed = 0, 0
        self.acked: Counter[int] = Counter()
        self.behind_s = 0.0

    def send(self, event: Telemetry, stop: threading.Event) -> None:
        key, value = event.session_id.encode(), encode(event)
        while not stop.is_set():
            try:
                self._producer.produce(TOPIC, key=key, value=value, on_delivery=self._delivered)
            except BufferError:
                self._producer.poll(0.05)
            else:
                self.sent += 1
                return

    def poll(self, seconds: float) -> None:
        self._producer.poll(seconds)

    def flush(self) -> None:
        self._producer.flush(1_800)

    def tell(self, *, done: bool = False) -> None:
        told = {
            "sent": self.sent,
            "acked": self.acked.total(),
            "failed": self.failed,
            "partitions": self.acked,
            "behind_s": round(self.behind_s, 3),
            "done": done,
        }
        print(json.dumps(told), flush=True)

    def _delivered(self, error: object, message: Message) -> None:
        if error is not None:
            self.failed += 1
            return
        self.acked[message.partition() or 0] += 1


def main(arguments: list[str]) -> int:
    """Run the load's process: one JSON object of settings as argument; exit status 0 when all was acknowledged."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("settings", help="JSON: bootstrap, per_s, events, seed, bot_ratio")
    settings = json.loads(parser.parse_args(arguments).settings)
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    per_s, events = settings["per_s"], settings["events"]
    source = simulated(settings["seed"], (per_s or 300.0) / EVENTS_PER_SESSION, settings["bot_ratio"])
    generator = _Generator(settings["bootstrap"])
    told_s = began_s = time.monotonic()
    for number, event in enumerate(itertools.islice(source, events)):
        due_s = began_s + number / per_s if per_s else 0.0
        while not stop.is_set() and (left_s := due_s - time.monotonic()) > 0:
            generator.poll(min(left_s, 0.05))
        now_s = time.monotonic()
        if stop.is_set():
            break
        generator.behind_s = max(0.0, now_s - due_s) if per_s else 0.0
        generator.send(event, stop)
        generator.poll(0)
        if now_s - told_s > 0.2:
            generator.tell()
            told_s = now_s
    generator.flush()
    generator.tell(done=True)
    return 0 if generator.acked.total() == generator.sent else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
