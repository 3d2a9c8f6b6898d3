"""What is attacked: broker, store, worker, gateway and page, started as the demo starts them; and a witness.

There is no learner: nothing that one attack does changes how the next one is scored, but for what entity counters hold.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import msgspec
from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition

from schemas.base import Flow
from schemas.risk import RiskEvent
from stream.demo import open_page, parts
from stream.demo.children import DemoError, stop_all
from stream.demo.page.door import Door
from stream.demo.probe import free_ports
from stream.topic_reader import watching
from stream.transport.headers import headers_of

TELEMETRY: Final = "capture.telemetry"
RISK_EVENTS: Final = "risk.events"
DEAD_LETTERS: Final = "risk.deadletter"
QUIET_S: Final = 1.0
"""A session is settled when all that it sent is answered, and nothing new came for so long."""
SETTLED_S: Final = 20.0


class Seen(msgspec.Struct):
    """What was seen of one session on the topics."""

    telemetry: list[bytes] = []
    events: list[RiskEvent] = []
    buried: list[str] = []
    """Reason of each dead letter."""
    changed_s: float = 0.0
    """When something was last seen, monotonic."""

    @property
    def is_answered(self) -> bool:
        """Whether every record that was read in has come out."""
        return bool(self.telemetry) and len(self.events) + len(self.buried) >= len(self.telemetry)


class Witness:
    """Reads telemetry, risk events and dead letters as they come, by session, in a thread of its own."""

    def __init__(self, properties: dict[str, Any]) -> None:
        self._sessions: dict[str, Seen] = {}
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._decode = msgspec.json.Decoder(RiskEvent).decode
        self._consumer = Consumer(watching(properties, "tellwire-red-team"))
        known = self._consumer.list_topics(timeout=15.0).topics
        self._consumer.assign(
            [
                TopicPartition(topic, partition, OFFSET_BEGINNING)
                for topic in (TELEMETRY, RISK_EVENTS, DEAD_LETTERS)
                for partition in known[topic].partitions
            ]
        )
        self._thread = threading.Thread(target=self._run, name="red-team-witness", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop reading."""
        self._stop.set()
        self._thread.join(10.0)
        self._consumer.close()

    def settled(self, session_id: str, wait_s: float = SETTLED_S) -> Seen:
        """Return what was seen of a session once all of it is answered, or after `wait_s` what there is."""
        until = time.monotonic() + wait_s
        while True:
            now = time.monotonic()
            with self._lock:
                seen = self._sessions.get(session_id)
                done = seen is not None and seen.is_answered and now - seen.changed_s >= QUIET_S
                if done or now >= until:
                    return msgspec.structs.replace(seen) if seen is not None else Seen()
            time.sleep(0.1)

    def _run(self) -> None:
        while not self._stop.is_set():
            for message in self._consumer.consume(200, 0.1):
                if message.error() is None:
                    self._take(message)

    def _take(self, message: Any) -> None:
        value = message.value() or b""
        with self._lock:
            seen = self._sessions.setdefault((message.key() or b"").decode(errors="replace"), Seen())
            seen.changed_s = time.monotonic()
            if message.topic() == TELEMETRY:
                seen.telemetry.append(value)
            elif message.topic() == RISK_EVENTS:
                seen.events.append(self._decode(value))
            else:
                reasons = [told for name, told in headers_of(message) if name == "dlq_reason" and told]
                seen.buried.append(reasons[0].decode(errors="replace") if reasons else "unknown")


class World:
    """The pipeline that is attacked, while it runs."""

    def __init__(self, page: open_page.OpenPage, witness: Witness, folder: Path) -> None:
        self._page = page
        self.witness = witness
        self.folder = folder
        """For logs and what attackers need; it goes with the world."""

    @property
    def door(self) -> Door:
        """The app's server: it opens sessions."""
        return self._page.door

    @property
    def origin(self) -> str:
        """Origin of the page."""
        return self._page.url

    def invite(self, words: str, flow: Flow, opened: Callable[[str], None]) -> str:
        """Return the address at which an attacker's browser gets a session; `opened` is told its id."""
        return self._page.invite(words, flow, opened)


@contextlib.contextmanager
def world(tell: Callable[[str], None]) -> Iterator[World]:
    """Bring everything up until the end of the block. Raises DemoError."""
    if (missing := open_page.missing()) is not None:
        msg = f"the page needs {missing}, which is not installed: install tellwire[gateway]"
        raise DemoError(msg)
    folder = Path(tempfile.mkdtemp(prefix="tellwire-red-team-"))
    keep = True
    try:
        with contextlib.ExitStack() as stack, contextlib.ExitStack() as running:
            tell("starting broker, store, worker and gateway")
            found = parts.endpoints(parts.Choice(), stack)
            env = parts.environment(found, parts.surroundings())
            port = free_ports(1)[0]
            children = [parts.start("worker", env, port, folder)]
            running.callback(stop_all, children)
            page = open_page.OpenPage(None, env, folder)
            running.callback(page.stop)
            children.append(page.child)
            for child, metrics in zip(children, (port, page.metrics_port), strict=True):
                parts.await_ready(child, metrics, lambda _: None)
            page.start()
            witness = Witness(found.properties)
            running.callback(witness.close)
            yield World(page, witness, folder)
            dead = next((child for child in children if child.exit_code is not None), None)
            if dead is not None:
                raise DemoError(dead.complaint())
        keep = False
    finally:
        if not keep:
            shutil.rmtree(folder, ignore_errors=True)
