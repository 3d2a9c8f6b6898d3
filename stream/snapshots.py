"""The view of `models.snapshots`: a thread follows the compacted topic and swaps in what passes its checks.

Only `<kind>/<flow>/latest` is applied, and until the topic's end was reached once only the last of each: nobody walks
through history. A chunk takes `current` once and is scored with it whole. A snapshot that is refused leaves the old one
serving.
"""

import logging
import threading
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from confluent_kafka import (
    OFFSET_BEGINNING,
    TIMESTAMP_NOT_AVAILABLE,
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    TopicPartition,
)

from features.registry import NAMES, REGISTRY_HASH
from models.anomaly import FlatHST
from models.errors import SnapshotError
from models.snapshots import EMPTY, SnapshotSet
from schemas.envelope import Rejected, decode_snapshot
from stream.metrics import Metrics

log = logging.getLogger(__name__)

SNAPSHOTS_TOPIC: Final = "models.snapshots"
_LATEST: Final = b"/latest"
_MAX_KEY_BYTES: Final = 256


class Learnt(NamedTuple):
    """What a flow's latest snapshot holds for a learner: trees, and the first offsets that they have not learnt."""

    trees: FlatHST
    offsets: Mapping[int, int]


class SnapshotReader:
    """Follows the topic from its beginning; `current` is always a whole, checked set."""

    def __init__(self, properties: dict[str, Any], metrics: Metrics, topic: str = SNAPSHOTS_TOPIC) -> None:
        self.current: SnapshotSet = EMPTY
        """Replaced, never changed. Read it once a chunk."""
        self.learnt: Mapping[str, Learnt] = {}
        """By flow. Replaced, never changed: trees and offsets are always of one snapshot."""
        self._topic = topic
        self._metrics = metrics
        self._caught_up = threading.Event()
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._hash_keys: dict[bytes, int] = {}  # when written, epoch ms
        self._unapplied: dict[bytes, bytes] = {}  # the last of each key, until the end was reached
        self._applied: dict[str, tuple[str, int]] = {}  # hash and created_at by <kind>/<flow>
        self._told_of_registry = False
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
        return self.wait(timeout_s)

    def wait(self, timeout_s: float) -> bool:
        """Wait until the topic's end was reached once; False when it was not within `timeout_s`."""
        return self._caught_up.wait(timeout_s)

    def stop(self) -> None:
        """Stop following and close the consumer."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(timeout=5)
        self._consumer.close()

    def superseded(self, before_ms: int) -> list[bytes]:
        """Return the keys by hash that were written before `before_ms` (epoch ms) and are nobody's latest."""
        latest = {f"{place}/{known}".encode() for place, (known, _) in self._applied.copy().items()}
        with self._lock:
            return [key for key, written in self._hash_keys.items() if written < before_ms and key not in latest]

    def _follow(self) -> None:
        while not self._stopping.is_set():
            try:
                message = self._consumer.poll(0.5)
                if message is not None:
                    self._read(message)
            except KafkaException as error:
                log.warning("%s: %s", self._topic, error.args[0].str())
                self._stopping.wait(0.5)
            except Exception as error:  # noqa: BLE001 - the thread must outlive whatever a record holds
                self._refused(f"it could not be read ({type(error).__name__})")
                self._stopping.wait(0.05)

    def _read(self, message: Message) -> None:
        problem = message.error()
        if problem is None:
            self._take(message)
        elif problem.code() == KafkaError._PARTITION_EOF:
            self._reached_the_end()
        else:
            log.warning("%s: %s", self._topic, problem.str())

    def _take(self, message: Message) -> None:
        key, value = _bytes(message.key()), _bytes(message.value())
        if key is None:
            return
        if not key.endswith(_LATEST):
            self._note(key, message, written=value is not None)
        elif value is None:
            self._unapplied.pop(key, None)
        elif self._caught_up.is_set():
            self._apply(value)
        elif len(key) <= _MAX_KEY_BYTES:
            self._unapplied[key] = value

    def _note(self, key: bytes, message: Message, *, written: bool) -> None:
        kind, at_ms = message.timestamp()
        with self._lock:
            if not written:
                self._hash_keys.pop(key, None)
            elif key.count(b"/") == 2 and len(key) <= _MAX_KEY_BYTES and kind != TIMESTAMP_NOT_AVAILABLE:
                self._hash_keys[key] = at_ms

    def _reached_the_end(self) -> None:
        while self._unapplied:
            _, value = self._unapplied.popitem()
            try:
                self._apply(value)
            except Exception as error:  # noqa: BLE001 - one bad record must not keep the others from being served
                self._refused(f"it could not be read ({type(error).__name__})")
        self._caught_up.set()

    def _apply(self, value: bytes) -> None:
        try:
            snapshot = decode_snapshot(value, None)
            if snapshot.features_hash != REGISTRY_HASH:
                self._of_other_registry(snapshot.features_hash)
                return
            place = f"{snapshot.kind}/{snapshot.flow}"
            found = self.current
            if self._applied.get(place, ("", 0))[0] != snapshot.hash:
                found = found.apply(snapshot, NAMES, REGISTRY_HASH)
        except (Rejected, SnapshotError) as error:
            self._refused(str(error))
            return
        self._applied[place] = (snapshot.hash, snapshot.created_at)
        trees = found.newest_trees(snapshot.flow)
        if snapshot.kind == "anomaly_hst" and trees is not None:
            offsets = {int(number): offset for number, offset in snapshot.offsets.items() if number.isdecimal()}
            self.learnt = {**self.learnt, snapshot.flow: Learnt(trees, offsets)}
        self.current = found
        for known, (its_hash, created_at) in self._applied.items():
            if known.endswith(f"/{snapshot.flow}") and found.members.get(known) == its_hash:
                kind = known.partition("/")[0]
                self._metrics.snapshot_timestamp.labels(kind, snapshot.flow).set(created_at / 1000.0)

    def _of_other_registry(self, features_hash: str) -> None:
        self._metrics.snapshot_rejected.inc()
        if not self._told_of_registry:
            self._told_of_registry = True
            log.warning(
                "%s holds snapshots for feature registry %s, ours is %s: they are skipped, from here on silently",
                self._topic,
                features_hash[:12],
                REGISTRY_HASH[:12],
            )

    def _refused(self, why: str) -> None:
        self._metrics.snapshot_rejected.inc()
        log.error("a snapshot was refused, the old one goes on serving: %s", why)


def _bytes(value: bytes | str | None) -> bytes | None:
    return value.encode() if isinstance(value, str) else value
