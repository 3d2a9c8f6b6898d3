"""Keeps what a run recorded, as files of ours: raw telemetry, risk events, and a table that training can read.

`telemetry.jsonl.gz` holds the records as the gateway wrote them (`models.dataset.read_records`), `risk.jsonl.gz` the
risk events, `trials.jsonl` one line a session with its truth, `sessions.parquet` the same sessions in the columns of
recorded ones (`read_recordings`, `read_truth`; needs the extra `train`), and `run.json` what made them.
"""

from __future__ import annotations

import gzip
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from schemas.envelope import Rejected, decode
from schemas.telemetry import Telemetry
from stream.redteam.attacks import Attack
from stream.redteam.run import Trial
from stream.redteam.world import Seen

SOURCE: Final = "redteam"


class Recordings:
    """Writes one run's files into a folder of its own below `folder`. Raises OSError."""

    def __init__(self, folder: Path, run: str) -> None:
        self.folder = folder / run
        self.folder.mkdir(parents=True, exist_ok=True)
        self._telemetry = gzip.open(self.folder / "telemetry.jsonl.gz", "wb")  # noqa: SIM115 - closed by `close`
        self._risk = gzip.open(self.folder / "risk.jsonl.gz", "wb")  # noqa: SIM115
        self._trials = (self.folder / "trials.jsonl").open("wb")
        self._rows: list[dict[str, Any]] = []

    def keep(self, trial: Trial, attack: Attack, seen: Seen) -> None:
        """Keep one session."""
        for record in seen.telemetry:
            self._telemetry.write(record.rstrip(b"\n") + b"\n")
        for event in seen.events:
            self._risk.write(msgspec.json.encode(event) + b"\n")
        told = {"family": attack.family, "side": attack.side, "label": 1, **msgspec.to_builtins(trial)}
        self._trials.write(msgspec.json.encode(told) + b"\n")
        if seen.telemetry:
            self._rows.append(row_of(trial.session_id, attack, seen.telemetry))

    def close(self, about: Mapping[str, Any]) -> str | None:
        """Write what is left; return why there is no table for training, if there is none."""
        for each in (self._telemetry, self._risk, self._trials):
            each.close()
        (self.folder / "run.json").write_bytes(msgspec.json.format(msgspec.json.encode(about), indent=2) + b"\n")
        return write_table(self.folder / "sessions.parquet", self._rows)


def row_of(session_id: str, attack: Attack, records: Sequence[bytes]) -> dict[str, Any]:
    """One session in the columns of `models.dataset`: times in ms from its first event's start."""
    events = sorted(_telemetry_in(records), key=lambda event: event.sequence)
    row: dict[str, Any] = {
        "session_id": session_id,
        "source": SOURCE,
        "user_id": None,
        "label": 1,
        "bot_family": attack.family,
        "capture": "recorded",
        "note": f"{attack.name} {attack.side}",
        "pointer_type": "none",
        "viewport_w": None,
        "viewport_h": None,
        **{name: [] for name in ("t_ms", "x", "y", "kind", "button", "key_down_ms", "key_up_ms", "key_cat")},
    }
    if not events:
        return row
    begin = min(event.effective_at for event in events)
    for event in events:
        at = float(event.effective_at - begin)
        if event.viewport is not None:
            row["viewport_w"], row["viewport_h"] = round(event.viewport.width_px), round(event.viewport.height_px)
        if (pointer := event.pointer) is not None:
            row["pointer_type"] = pointer.pointer_type
            row["t_ms"] += [at + t for t in pointer.t]
            row["x"] += pointer.x
            row["y"] += pointer.y
            row["kind"] += pointer.kind or [0] * len(pointer.t)
            row["button"] += pointer.button or [0] * len(pointer.t)
        if (keys := event.keys) is not None:
            row["key_down_ms"] += [at + down for down in keys.down]
            row["key_up_ms"] += [None if up is None else at + up for up in keys.up]
            row["key_cat"] += keys.key_class
    return row


def write_table(path: Path, rows: Sequence[Mapping[str, Any]]) -> str | None:
    """Write the rows as Parquet; return why not, where they are not. Raises OSError."""
    if not rows:
        return "no session sent any telemetry"
    try:
        import pyarrow as pa  # noqa: PLC0415 - of an extra
        from pyarrow import parquet  # noqa: PLC0415
    except ImportError:
        return "no sessions.parquet: it needs the extra `train` (pip install 'tellwire[train]')"
    text, number = pa.string(), pa.int16()
    floats, codes = pa.list_(pa.float32()), pa.list_(pa.int8())
    kinds = {"label": pa.int8(), "viewport_w": number, "viewport_h": number}
    kinds |= dict.fromkeys(("t_ms", "x", "y", "key_down_ms", "key_up_ms"), floats)
    kinds |= dict.fromkeys(("kind", "button", "key_cat"), codes)
    schema = pa.schema([(name, kinds.get(name, text)) for name in rows[0]])
    parquet.write_table(pa.Table.from_pylist([dict(row) for row in rows], schema=schema), path, compression="zstd")
    return None


def _telemetry_in(records: Sequence[bytes]) -> list[Telemetry]:
    found = []
    for record in records:
        try:
            event = decode(record, None)
        except Rejected:
            continue  # a forger's, which became a dead letter
        if isinstance(event, Telemetry):
            found.append(event)
    return found
