"""The worker's view of `models.snapshots`: a thread follows the compacted topic and swaps in what passes its checks.

A chunk takes `current` once and is scored with it whole. A snapshot that is refused leaves the old one serving.
"""

import logging
import threading
import time
from typing import Any, Final

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, TopicPartition

from features.registry import NAMES, REGISTRY_HASH
from models.errors import SnapshotError
from models.snapshots import EMPTY, SnapshotSet
from schemas.envelope import Rejected, decode_snapshot
from stream.metrics import Metrics

log = logging.getLogger(__name__)

SNAPSHOTS_TOPIC: Final = "models.snapshots"


class SnapshotReader:
    """Follows the topic from its beginning; `current` is always a whole, checked set."""

    def __init__(self, properties: dict[str, Any], metrics: Metrics, topic: str = SNAPSHOTS_TOPIC) -> None:
        self.current: SnapshotSet = EMPTY
        """Replaced, never changed. Read it once a chunk."""
        self.offsets: dict[str, dict[str, int]] = {}
        """By `<kind>/<flow>`: the first offsets of risk.features that the served snapshot has not learnt."""
        self._topic = topic
        self._metrics = metrics
        self._caught_up = threading.Event()
        self._stopping = threading.Event()
        self._consumer = Consumer(
            properties
            | {
                "group.id": "tellwire-snapshots",  # required by the library; nothing is committed or joined
                "enable.auto.commit": False,
                "enable.partition.eof": True,
                "auto.offset.reset": "earliest",
            }
        )
        self._thread = threading.Thread(target=self._follow, name="snapshots", daemon=True)

    def start(self, timeout_s: float) -> bool:
        """Begin to follow; wait until the topic's end was reached once. False: it was not, within `timeout_s`."""
        self._consumer.assign([TopicPartition(self._topic, 0, OFFSET_BEGINNING)])
        self._thread.start()
        return self._caught_up.wait(timeout_s)

    def stop(self) -> None:
        """Stop following and close the consumer."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(timeout=5)
        self._consumer.close()

    def _follow(self) -> None:
        while not self._stopping.is_set():
            try:
                message = self._consumer.poll(0.5)
            except KafkaException as error:
                log.warning("%s: %s", self._topic, error.args[0].str())
                time.sleep(0.5)
                continue
            if message is None:
                continue
            problem = message.error()
            if problem is None:
                self._take(message.value())
            elif problem.code() == KafkaError._PARTITION_EOF:
                self._caught_up.set()
            else:
                log.warning("%s: %s", self._topic, problem.str())

    def _take(self, value: bytes | str | None) -> None:
        if value is None:
            return
        try:
            snapshot = decode_snapshot(value, None)  # type: ignore[arg-type]
            place = f"{snapshot.kind}/{snapshot.flow}"
            if self.current.members.get(place) != snapshot.hash:
                self.current = self.current.apply(snapshot, NAMES, REGISTRY_HASH)
        except (Rejected, SnapshotError) as error:
            self._metrics.snapshot_rejected.inc()
            log.error("a snapshot was refused, the old one goes on serving: %s", error)
            return
        self.offsets[place] = snapshot.offsets
        self._metrics.snapshot_timestamp.labels(snapshot.kind, snapshot.flow).set(snapshot.created_at / 1000.0)
