"""Snapshots of online models as faults leave them: torn, of a newer schema, with other numbers than they claim."""

from __future__ import annotations

import base64
import json
from typing import Any

import numpy as np

from models.flat import content_hash
from schemas.envelope import encode
from schemas.snapshot import Snapshot

DAMAGES = (
    "torn",
    "empty",
    "bit flip",
    "newer schema",
    "newer format",
    "NaN",
    "cycle",
    "half the trees",
    "huge",
    "deep",
    "pickle",
)


def damaged(one: Snapshot, how: str) -> bytes:  # noqa: C901, PLR0912 - one case a damage
    """The record of a snapshot as a fault leaves it; resealed where a hash would give it away at once."""
    value = encode(one)
    document = json.loads(value)
    name = {"anomaly_hst": "threshold", "calibration": "values"}[one.kind]
    blob = document["arrays"][name]
    array = np.frombuffer(base64.b64decode(blob["data"]), blob["dtype"]).copy()
    match how:
        case "torn":
            return value[: len(value) // 2]
        case "empty":
            return b""
        case "bit flip":
            flipped = bytearray(array.tobytes())
            flipped[len(flipped) // 2] ^= 4
            blob["data"] = base64.b64encode(flipped).decode()
        case "newer schema":
            document["type"] = "models.snapshot.v2"
        case "newer format":
            document["definition"]["format"] = 2
        case "NaN":
            array[0] = np.nan
            blob["data"] = base64.b64encode(array.tobytes()).decode()
        case "cycle":
            # A tree is complete and in heap order, so it can't name a child; the nearest is a feature that isn't there.
            feature = document["arrays"].get("feature", blob)
            feature["data"] = base64.b64encode(b"\xff\x7f" * (len(base64.b64decode(feature["data"])) // 2)).decode()
        case "half the trees":
            for each in document["arrays"].values():
                each["shape"][0] //= 2
        case "huge":
            return b'{"type":"models.snapshot.v1","pad":"' + b"x" * (9 * 2**20) + b'"}'
        case "deep":
            return b'{"type":"models.snapshot.v1","definition":' + b"[" * 100_000
        case "pickle":
            return b"\x80\x04\x95"
    if how in ("newer format", "NaN", "cycle"):
        document["hash"] = rehashed(document)
    return json.dumps(document).encode()


def rehashed(document: dict[str, Any]) -> str:
    arrays = {
        key: np.frombuffer(base64.b64decode(blob["data"]), blob["dtype"]).reshape(blob["shape"])
        for key, blob in document["arrays"].items()
    }
    return content_hash(document["kind"], document["definition"], arrays)
