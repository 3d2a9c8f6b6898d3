"""Snapshots of the online models: from and to the wire contract, and the immutable set that a worker serves.

A calibration ranks the scores of exactly one forest of trees. It names them by their hash, and the two are served
together or not at all.
"""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.anomaly import FlatHST
from models.calibration import CalibrationTable
from models.cells import ANY, parse_cell
from models.errors import SnapshotError
from models.flat import FlatModel, from_blobs
from schemas.base import Flow
from schemas.snapshot import Snapshot

MAX_SNAPSHOT_BYTES: Final = 6_000_000
"""Arrays of one snapshot together, bytes."""
MAX_CALIBRATION_BYTES: Final = 180_000
"""Size of a live calibration as it travels, bytes; `compact` makes it so."""
_TOLERANCES: Final = (0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 3.0)
"""Shares by which a compacted calibration may overstate a p-value; the first that is small enough is taken."""


class _Waiting(NamedTuple):
    """What came without its other half."""

    trees: FlatHST | None = None
    calibration: CalibrationTable | None = None
    calibration_hash: str = ""
    made_for: str = ""


class SnapshotSet:
    """The live models of all flows. Never changed: `apply` returns another set.

    `members` gives the hash of each served snapshot by `<kind>/<flow>`. `hash` names exactly this set: one SHA-256 over
    the hashes of its members, None for the empty set. What waits for its other half is no member.
    """

    def __init__(
        self,
        anomaly: Mapping[str, FlatHST] | None = None,
        calibration: Mapping[str, CalibrationTable] | None = None,
        *,
        calibration_hashes: Mapping[str, str] | None = None,
        waiting: Mapping[str, _Waiting] | None = None,
    ) -> None:
        """`calibration_hashes`: those of the snapshots, by flow, where they differ from the tables' own."""
        self.anomaly = dict(anomaly or {})
        self.calibration = dict(calibration or {})
        own = {flow: table.hash for flow, table in self.calibration.items()}
        self._calibration_hashes = own | dict(calibration_hashes or {})
        self._waiting = dict(waiting or {})
        self.members: dict[str, str] = {
            **{f"anomaly_hst/{flow}": model.hash for flow, model in sorted(self.anomaly.items())},
            **{f"calibration/{flow}": known for flow, known in sorted(self._calibration_hashes.items())},
        }
        self.hash: str | None = None
        if self.members:
            text = "\n".join(f"{key} {value}" for key, value in sorted(self.members.items()))
            self.hash = hashlib.sha256(text.encode()).hexdigest()

    def newest_trees(self, flow: str) -> FlatHST | None:
        """The trees that came last, served or still waiting for their calibration."""
        waiting = self._waiting.get(flow)
        return waiting.trees if waiting is not None and waiting.trees is not None else self.anomaly.get(flow)

    def apply(self, snapshot: Snapshot, names: Sequence[str], features_hash: str) -> "SnapshotSet":
        """A set in which this snapshot replaces its flow's older one as soon as its other half is there too.

        `names` are the features in the order of the vector and `features_hash` their registry's. Raises SnapshotError
        with one line, and changes nothing, unless content, hash and registry fit.
        """
        model = read_snapshot(snapshot, names, features_hash)
        flow: str = snapshot.flow
        held = self._waiting.get(flow, _Waiting())
        if isinstance(model, FlatHST):
            held = held._replace(trees=model)
        else:
            made_for = snapshot.definition.get("trees")
            if not isinstance(made_for, str):
                raise SnapshotError(f"{_where(snapshot)}: does not name the trees that it was made for")
            held = held._replace(calibration=model, calibration_hash=snapshot.hash, made_for=made_for)
        trees = self._trees(flow, held)
        if held.calibration is None or trees is None:
            return self._with({**self._waiting, flow: held})
        left = {other: waiting for other, waiting in self._waiting.items() if other != flow}
        if held.trees is not None and held.trees is not trees:
            left[flow] = _Waiting(trees=held.trees)
        return SnapshotSet(
            {**self.anomaly, flow: trees},
            {**self.calibration, flow: held.calibration},
            calibration_hashes={**self._calibration_hashes, flow: held.calibration_hash},
            waiting=left,
        )

    def _trees(self, flow: str, held: _Waiting) -> FlatHST | None:
        """The trees that the waiting calibration was made for, where they are there."""
        for trees in (held.trees, self.anomaly.get(flow)):
            if trees is not None and trees.hash == held.made_for:
                return trees
        return None

    def _with(self, waiting: Mapping[str, _Waiting]) -> "SnapshotSet":
        return SnapshotSet(self.anomaly, self.calibration, calibration_hashes=self._calibration_hashes, waiting=waiting)


def read_snapshot(snapshot: Snapshot, names: Sequence[str], features_hash: str) -> FlatHST | CalibrationTable:
    """The model of a snapshot after all structural checks; SnapshotError with one line otherwise."""
    where = _where(snapshot)
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


def _where(snapshot: Snapshot) -> str:
    return f"snapshot {snapshot.kind}/{snapshot.flow}/{snapshot.hash[:12]}"


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
    trees: str | None = None,
) -> Snapshot:
    """The wire form of a model; `created_at` epoch ms, `offsets` the first ones of risk.features not yet learnt.

    `trees` is the hash of the trees whose scores a calibration ranks; it becomes part of what is hashed. ValueError for
    a calibration without.
    """
    flat: FlatModel = model.to_flat()
    if isinstance(model, CalibrationTable):
        if trees is None:
            msg = "a calibration names the trees that it was made for"
            raise ValueError(msg)
        flat = FlatModel(flat.kind, {**flat.definition, "trees": trees}, flat.arrays)
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


def compact(table: CalibrationTable, max_bytes: int = MAX_CALIBRATION_BYTES) -> CalibrationTable:
    """A table of one flow made small enough to travel, `max_bytes` as it travels.

    Cells that can never serve are left out: those that repeat their flow's, and those with too few people beside a
    wider one. Neighbouring ranks are merged into the higher value with the larger tail, so that a p-value is never
    lower than by the whole table, and at most a stated share higher; the highest scores keep their own ranks.
    """
    whole = table.to_flat()
    smallest = whole
    for tolerance in _TOLERANCES:
        smallest = _thinned(whole, tolerance)
        if _travels(smallest) <= max_bytes:
            break
    return CalibrationTable.from_flat(smallest)


def _travels(flat: FlatModel) -> int:
    """Bytes of the arrays in base64 and of the cells' names."""
    names, others = flat.definition["cells"], flat.definition.get("day_cells", [])
    assert isinstance(names, list)
    assert isinstance(others, list)
    return sum(array.nbytes * 4 // 3 + 100 for array in flat.arrays.values()) + sum(
        len(name) + 3 for name in [*names, *others]
    )


def _thinned(flat: FlatModel, tolerance: float) -> FlatModel:
    names, people, start = flat.definition["cells"], flat.arrays["n_people"], flat.arrays["start"]
    bases = flat.arrays.get("basis")
    assert isinstance(names, list)
    n_people = dict(zip(names, people.tolist(), strict=True))
    of_flows = Counter(
        (_without_flow(name), count) for name, count in n_people.items() if not _name_of(name)[1].startswith(f"{ANY}/")
    )
    min_people = int(flat.definition["min_people"])  # type: ignore[arg-type]
    kept: list[str] = []
    left: list[int] = []
    values: list[NDArray[np.float64]] = []
    tails: list[NDArray[np.float64]] = []
    for i, name in enumerate(names):
        cell = parse_cell(_name_of(name)[1])
        if cell.flow == ANY and of_flows[_without_flow(name), n_people[name]]:
            continue  # of one flow, "all flows" are the same people
        if n_people[name] < min_people and (cell.source != ANY or cell.evidence != ANY):
            continue  # the widest cell serves also a few people, where there is no other
        own = slice(int(start[i]), int(start[i + 1]))
        value, tail = _merged(flat.arrays["values"][own], flat.arrays["tail"][own], tolerance)
        kept.append(name)
        left.append(i)
        values.append(value)
        tails.append(tail)
    arrays: dict[str, NDArray[Any]] = {
        "start": np.cumsum([0, *(len(value) for value in values)]).astype("<i4"),
        "n_people": np.array([n_people[name] for name in kept], dtype="<i4"),
        "values": np.concatenate([*values, np.empty(0)]).astype("<f8"),
        "tail": np.concatenate([*tails, np.empty(0)]).astype("<f8"),
    }
    if bases is not None and bases[left].any():
        arrays["basis"] = bases[left]
    if "day_reach" in flat.arrays:
        arrays["day_reach"] = flat.arrays["day_reach"]
    return FlatModel(flat.kind, {**flat.definition, "cells": kept}, arrays)


def _name_of(name: str) -> tuple[str, str]:
    """Channel and kind, and the cell's key."""
    channel, kind, key = name.split(" ", 2)
    return f"{channel} {kind}", key


def _without_flow(name: str) -> tuple[str, str]:
    what, key = _name_of(name)
    return what, key.partition("/")[2]


def _merged(
    values: NDArray[np.float64], tail: NDArray[np.float64], tolerance: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Merge ranks from the top: a group has the value of its highest and the tail of its lowest member."""
    tops, firsts = [], []
    top = len(values) - 1
    while top >= 0:
        limit = (1.0 + tolerance) * (1.0 + float(tail[top])) - 1.0
        first = min(top, int(np.searchsorted(-tail, -limit)))
        tops.append(top)
        firsts.append(first)
        top = first - 1
    return values[tops[::-1]], tail[firsts[::-1]]


EMPTY: Final = SnapshotSet()
"""No live models: what ships serves alone."""
