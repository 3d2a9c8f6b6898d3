"""Snapshots of the online models: from and to the wire contract, and the immutable set that a worker serves."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Final

from models.anomaly import FlatHST
from models.calibration import CalibrationTable
from models.errors import SnapshotError
from models.flat import FlatModel, from_blobs
from schemas.base import Flow
from schemas.snapshot import Snapshot

MAX_SNAPSHOT_BYTES: Final = 6_000_000
"""Arrays of one snapshot together, bytes."""


class SnapshotSet:
    """The live models of all flows. Never changed: `apply` returns another set.

    `hash` names exactly this set: one SHA-256 over the hashes of its members, None for the empty set.
    """

    def __init__(
        self,
        anomaly: Mapping[str, FlatHST] | None = None,
        calibration: Mapping[str, CalibrationTable] | None = None,
    ) -> None:
        self.anomaly = dict(anomaly or {})
        self.calibration = dict(calibration or {})
        self.members: dict[str, str] = {
            **{f"anomaly_hst/{flow}": model.hash for flow, model in sorted(self.anomaly.items())},
            **{f"calibration/{flow}": table.hash for flow, table in sorted(self.calibration.items())},
        }
        self.hash: str | None = None
        if self.members:
            text = "\n".join(f"{key} {value}" for key, value in sorted(self.members.items()))
            self.hash = hashlib.sha256(text.encode()).hexdigest()

    def apply(self, snapshot: Snapshot, names: Sequence[str], features_hash: str) -> "SnapshotSet":
        """A set with this snapshot in place of its flow's older one.

        `names` are the features in the order of the vector and `features_hash` their registry's. Raises SnapshotError
        with one line, and changes nothing, unless content, hash and registry fit.
        """
        model = read_snapshot(snapshot, names, features_hash)
        if isinstance(model, FlatHST):
            return SnapshotSet({**self.anomaly, snapshot.flow: model}, self.calibration)
        return SnapshotSet(self.anomaly, {**self.calibration, snapshot.flow: model})


def read_snapshot(snapshot: Snapshot, names: Sequence[str], features_hash: str) -> FlatHST | CalibrationTable:
    """The model of a snapshot after all structural checks; SnapshotError with one line otherwise."""
    where = f"snapshot {snapshot.kind}/{snapshot.flow}/{snapshot.hash[:12]}"
    if snapshot.features_hash != features_hash:
        raise SnapshotError(f"{where}: is for feature registry {snapshot.features_hash[:12]}, not {features_hash[:12]}")
    if sum(len(blob.data) for blob in snapshot.arrays.values()) > MAX_SNAPSHOT_BYTES:
        raise SnapshotError(f"{where}: arrays are larger than {MAX_SNAPSHOT_BYTES} bytes together")
    try:
        flat = from_blobs(snapshot.kind, snapshot.definition, snapshot.arrays)
        _same_hash(flat, snapshot)
        if snapshot.kind == "anomaly_hst":
            return FlatHST.from_flat(flat, {name: i for i, name in enumerate(names)})
        return CalibrationTable.from_flat(flat)
    except ValueError as error:
        raise SnapshotError(f"{where}: {error}") from None


def _same_hash(flat: FlatModel, snapshot: Snapshot) -> None:
    if flat.hash != snapshot.hash:
        raise ValueError(f"its content has hash {flat.hash[:12]}")


def make_snapshot(
    model: FlatHST | CalibrationTable,
    flow: Flow,
    *,
    features_hash: str,
    created_at: int,
    offsets: Mapping[str, int],
    n_learnt: int,
) -> Snapshot:
    """The wire form of a model; `created_at` epoch ms, `offsets` the first ones of risk.features not yet learnt."""
    flat: FlatModel = model.to_flat()
    return Snapshot(
        kind="anomaly_hst" if isinstance(model, FlatHST) else "calibration",
        flow=flow,
        hash=flat.hash,
        created_at=created_at,
        features_hash=features_hash,
        offsets=dict(offsets),
        n_learnt=n_learnt,
        definition=flat.definition,
        arrays=flat.blobs(),
    )


EMPTY: Final = SnapshotSet()
"""No live models: what ships serves alone."""
