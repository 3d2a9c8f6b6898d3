"""The view of `models.snapshots`: a thread follows the compacted topic and swaps in what passes its checks.

Only `<kind>/<flow>/latest` is applied, and until the topic's end was reached once only the last of each: nobody walks
through history. A chunk takes `current` once and is scored with it whole. A snapshot that is refused leaves the old one
serving. Where there is none yet, after a start, the flow falls back to the newest pair that passes among those that can
still be read under their hashes.

What a record may cost here is bounded: its size, the number of keys that are looked at, and the time of its checks,
which are a few milliseconds and are spent in this thread.
"""

import logging
import threading
from collections.abc import Iterator, Mapping
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
from models.snapshots import EMPTY, SnapshotSet, read_snapshot
from schemas.base import FLOWS, Flow
from schemas.envelope import Rejected, decode_snapshot
from schemas.snapshot import Snapshot
from schemas.topics import MAX_OUTPUT_BYTES
from stream.metrics import Metrics
from stream.tail import record_at
from stream.topics import BrokerError

log = logging.getLogger(__name__)

SNAPSHOTS_TOPIC: Final = "models.snapshots"
TREES: Final = "anomaly_hst"
CALIBRATION: Final = "calibration"
KEPT_PER_PLACE: Final = 2
"""Snapshots of a kind and flow that stay readable under their hashes, however old: the latest and one to fall back to.
"""
MAX_TRIES: Final = 3
"""Snapshots of one kind and flow that are read to fall back to one."""
_POLL_S: Final = 0.1
"""Longest wait for a record, s: a stop waits for its end, and the next process for the stop."""
_LATEST: Final = b"/latest"
_PLACES: Final = frozenset(f"{kind}/{flow}" for kind in (TREES, CALIBRATION) for flow in FLOWS)
_LATEST_KEYS: Final = frozenset(f"{place}/latest".encode() for place in _PLACES)
_MAX_KEY_BYTES: Final = 256
_MAX_HASH_KEYS: Final = 50_000
"""Keys by hash that are remembered; the oldest are forgotten beyond."""


class Learnt(NamedTuple):
    """What a flow's latest snapshot holds for a learner: trees, and the first offsets that they have not learnt."""

    trees: FlatHST
    offsets: Mapping[int, int]


class _Stored(NamedTuple):
    """Where a record under a hash is, and when it was written (epoch ms)."""

    written_ms: int
    offset: int


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
        self._properties = properties
        self._hash_keys: dict[bytes, _Stored] = {}
        self._unapplied: dict[bytes, bytes] = {}  # the last of each key, until the end was reached
        self._applied: dict[str, tuple[str, int]] = {}  # hash and created_at by <kind>/<flow>
        self._told_of_registry = False
        self._consumer = Consumer(
            # At the end of the topic a fetch is answered when its wait is over, and a start waits for that.
            {"fetch.wait.max.ms": 100}
            | properties
            | {
                "group.id": "tellwire-snapshots",  # required by the library; nothing is committed or joined
                "enable.auto.commit": False,
                "enable.partition.eof": True,
                "auto.offset.reset": "earliest",
            }
        )
        self._thread = threading.Thread(target=self._follow, name="snapshots", daemon=True)

    def begin(self) -> None:
        """Begin to follow, without waiting for anything."""
        self._consumer.assign([TopicPartition(self._topic, 0, OFFSET_BEGINNING)])
        self._thread.start()

    def start(self, timeout_s: float) -> bool:
        """Begin to follow; wait until the topic's end was reached once. False: it was not, within `timeout_s`."""
        self.begin()
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
        """Return the keys by hash that were written before `before_ms` (epoch ms) and that nobody needs any more.

        Needed are those that are somebody's latest, and the newest ones of each kind and flow, to fall back to.
        """
        needed = {f"{place}/{known}".encode() for place, (known, _) in self._applied.copy().items()}
        with self._lock:
            for place in _PLACES:
                needed.update(self._newest(place)[:KEPT_PER_PLACE])
            return [key for key, at in self._hash_keys.items() if at.written_ms < before_ms and key not in needed]

    def _newest(self, place: str) -> list[bytes]:
        """Keys by hash of one kind and flow, the newest first."""
        prefix = f"{place}/".encode()
        keys = [key for key in self._hash_keys if key.startswith(prefix)]
        return sorted(keys, key=lambda key: self._hash_keys[key].offset, reverse=True)

    def _follow(self) -> None:
        while not self._stopping.is_set():
            try:
                message = self._consumer.poll(_POLL_S)
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
        if key is None or len(key) > _MAX_KEY_BYTES:
            return
        if not key.endswith(_LATEST):
            self._note(key, message, written=value is not None)
        elif key not in _LATEST_KEYS:
            return
        elif self._caught_up.is_set():
            if value is not None:
                self._apply(key, value)
        elif value is None:
            self._unapplied.pop(key, None)
        else:
            # Too much to keep; what is kept in its place is refused.
            self._unapplied[key] = value if len(value) <= MAX_OUTPUT_BYTES else value[:1]

    def _note(self, key: bytes, message: Message, *, written: bool) -> None:
        kind, at_ms = message.timestamp()
        offset = message.offset()
        with self._lock:
            if not written:
                self._hash_keys.pop(key, None)
            elif key.count(b"/") == 2 and kind != TIMESTAMP_NOT_AVAILABLE and offset is not None:
                self._hash_keys.pop(key, None)
                self._hash_keys[key] = _Stored(at_ms, offset)
                while len(self._hash_keys) > _MAX_HASH_KEYS:
                    del self._hash_keys[next(iter(self._hash_keys))]

    def _reached_the_end(self) -> None:
        if self._caught_up.is_set():
            return
        flows: set[str] = set()
        while self._unapplied:
            key, value = self._unapplied.popitem()
            flows.add(key.decode().split("/")[1])
            try:
                self._apply(key, value)
            except Exception as error:  # noqa: BLE001 - one bad record must not keep the others from being served
                self._refused(f"it could not be read ({type(error).__name__})")
        for flow in FLOWS:
            if flow in flows and flow not in self.current.anomaly:
                try:
                    self._fall_back(flow)
                except Exception as error:  # noqa: BLE001 - likewise
                    self._refused(f"there is none to fall back to ({type(error).__name__})")
        self._caught_up.set()

    def _apply(self, key: bytes, value: bytes) -> None:
        try:
            snapshot = decode_snapshot(value, None)
            if snapshot.features_hash != REGISTRY_HASH:
                self._of_other_registry(snapshot.features_hash)
                return
            if key != f"{snapshot.kind}/{snapshot.flow}/latest".encode():
                self._refused(f"under the key {key.decode()} is one of {snapshot.kind}/{snapshot.flow}")
                return
            self._serve(snapshot)
        except (Rejected, SnapshotError) as error:
            self._refused(str(error))

    def _serve(self, snapshot: Snapshot) -> None:
        """Swap in what the snapshot completes. Raises SnapshotError, and changes nothing."""
        place = f"{snapshot.kind}/{snapshot.flow}"
        found = self.current
        if self._applied.get(place, ("", 0))[0] != snapshot.hash:
            found = found.apply(snapshot, NAMES, REGISTRY_HASH)
        self._applied[place] = (snapshot.hash, snapshot.created_at)
        trees = found.newest_trees(snapshot.flow)
        if snapshot.kind == TREES and trees is not None and trees.hash == snapshot.hash:
            offsets = {int(number): offset for number, offset in snapshot.offsets.items() if number.isdecimal()}
            self.learnt = {**self.learnt, snapshot.flow: Learnt(trees, offsets)}
        self.current = found
        for known, (its_hash, created_at) in self._applied.items():
            if known.endswith(f"/{snapshot.flow}") and found.members.get(known) == its_hash:
                kind = known.partition("/")[0]
                self._metrics.snapshot_timestamp.labels(kind, snapshot.flow).set(created_at / 1000.0)

    def _fall_back(self, flow: Flow) -> None:
        """Serve the newest pair of a flow that passes, of those under their hashes: the latest does not.

        A learner goes on from the trees that came last, where these passed; it lacks their calibration only.
        """
        learnt = self.learnt.get(flow)
        for trees in self._older(TREES, flow):
            for table in self._older(CALIBRATION, flow):
                if table.definition.get("trees") != trees.hash:
                    continue
                self._serve(table)
                self._serve(trees)
                if learnt is not None:
                    self.learnt = {**self.learnt, flow: learnt}
                self._metrics.snapshot_fallbacks.labels(flow).inc()
                told = {"flow": flow, "hash": trees.hash[:12]}
                log.warning("the latest snapshot does not serve; an older one does", extra=told)
                return
        log.info("no snapshot of a flow passes; what ships serves", extra={"flow": flow})

    def _older(self, kind: str, flow: Flow) -> Iterator[Snapshot]:
        """Read what is stored under hashes, the newest first; yield those that pass all checks."""
        with self._lock:
            keys = self._newest(f"{kind}/{flow}")
            places = [(key, self._hash_keys[key].offset) for key in keys[:MAX_TRIES]]
        for key, offset in places:
            value = self._fetch(offset)
            if value is None:
                continue
            try:
                snapshot = decode_snapshot(value, None)
                if key == f"{kind}/{flow}/{snapshot.hash}".encode() and (snapshot.kind, snapshot.flow) == (kind, flow):
                    read_snapshot(snapshot, NAMES, REGISTRY_HASH)
                    yield snapshot
            except (Rejected, SnapshotError) as error:
                log.info("an older snapshot does not pass either: %s", error)

    def _fetch(self, offset: int) -> bytes | None:
        """Read one record of the topic again; waits for the broker as long as it takes. None: it is gone."""
        while not self._stopping.is_set():
            try:
                return record_at(self._properties, self._topic, 0, offset)
            except BrokerError as error:
                log.warning("%s: an older snapshot can't be read yet: %s", self._topic, error)
                self._stopping.wait(1.0)
        return None

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
