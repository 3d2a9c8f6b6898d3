"""Reads what there is to learn from and to score: folders of recorded sessions, and telemetry records as JSON lines.

A folder holds `sessions.parquet`: one row a session, the columns named in `RECORDING_COLUMNS` (events, pointer type,
viewport, instrument) and, for training and evaluation alone, those in `TRUTH_COLUMNS`. The two are read by different
functions, so that scoring cannot see a label: `read_recordings` asks the file for the first kind of column only.
"""

import gzip
import json
import stat
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from schemas.deadletter import DeadLetterReason
from schemas.envelope import Rejected, decode
from schemas.telemetry import Telemetry

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]

PARQUET_NAME = "sessions.parquet"
RECORD_ENDINGS: tuple[str, ...] = (".jsonl", ".ndjson", ".jsonl.gz", ".ndjson.gz")
"""How the name of a file of telemetry records ends."""
MAX_LINE_BYTES = 4 * 1024 * 1024
"""Of a longer line of such a file no more is read into memory; a record has a quarter of it at most."""

RECORDING_COLUMNS: tuple[str, ...] = (
    "session_id", "source", "pointer_type", "viewport_w", "viewport_h", "t_ms", "x", "y", "kind", "button",
    "key_down_ms", "key_up_ms", "key_cat",
)  # fmt: skip
"""All that scoring reads. `session_id` is copied to the output and parsed for nothing."""
_PLAIN_NUMBERS = frozenset({"viewport_w", "viewport_h"})
"""Those among them that hold one number a session; the others after the first three hold a list of numbers."""

TRUTH_COLUMNS: tuple[str, ...] = ("session_id", "source", "user_id", "label", "bot_family", "capture", "note")
"""What training and evaluation read beside, and scoring never."""


_LONGEST_MS = 1e15
"""Times beyond it are no times (ms; epoch times are far below)."""


class DatasetError(ValueError):
    """The path is not something that can be read; the message says in one line what was expected."""


@dataclass(frozen=True, slots=True)
class Recording:
    """One recorded session: event columns and how it was recorded; nothing about who or what made it.

    t_ms, x, y (ms from the session's start, px), kind and button (codes of `schemas.telemetry.PointerKind`) have one
    length; key_down_ms, key_up_ms (ms; NaN = release not seen) and key_class (codes of `KeyClass`) another.
    """

    session_id: str
    source: str
    pointer_type: str
    viewport: tuple[float, float] | None
    t_ms: Floats
    x: Floats
    y: Floats
    kind: Codes
    button: Codes
    key_down_ms: Floats
    key_up_ms: Floats
    key_class: Codes

    @property
    def duration_ms(self) -> float:
        """Time of the last event, ms from the session's start; 0 when there is none."""
        last = float(self.t_ms[-1]) if len(self.t_ms) else 0.0
        if len(self.key_down_ms):
            last = max(last, float(self.key_down_ms[-1]))
            ups = self.key_up_ms[~np.isnan(self.key_up_ms)]
            last = max(last, float(ups.max())) if len(ups) else last
        return last


@dataclass(frozen=True, slots=True)
class Truth:
    """What a recorded session was: for training and evaluation only."""

    session_id: str
    source: str
    person: str | None
    """Pseudonymous person inside the source, made unique with it; None for bots and where the source does not say."""
    label: int
    family: str | None
    capture: str
    note: str


def parquet_of(path: Path) -> Path:
    """The session table of a folder, or the .parquet file itself. Raises DatasetError when there is none."""
    mode = _mode_of(path)
    if stat.S_ISDIR(mode):
        try:
            inside = _mode_of(path / PARQUET_NAME)
        except DatasetError:
            raise DatasetError(f"{path} has no {PARQUET_NAME}") from None
        if not stat.S_ISREG(inside):
            raise DatasetError(f"{path / PARQUET_NAME} is not a regular file")
        return path / PARQUET_NAME
    if not stat.S_ISREG(mode):
        raise DatasetError(f"{path} is neither a regular file nor a folder with {PARQUET_NAME}")
    if path.suffix != ".parquet":
        raise DatasetError(
            f"{path}: telemetry records are in a file whose name ends in .jsonl or .ndjson (also .gz), "
            f"recorded sessions in a folder with {PARQUET_NAME}"
        )
    return path


def is_records(path: Path) -> bool:
    """Whether the path is a file of telemetry records as JSON lines (by its name), not recorded sessions.

    Raises DatasetError with one line when it can be neither: then there is nothing to read.
    """
    mode = _mode_of(path)
    if stat.S_ISREG(mode) and path.name.endswith(RECORD_ENDINGS):
        return True
    parquet_of(path)
    return False


def _mode_of(path: Path) -> int:
    try:
        return path.stat().st_mode
    except FileNotFoundError:
        raise DatasetError(f"{path}: not found") from None
    except OSError as error:
        raise DatasetError(f"{path}: {error.strerror}") from None


def _open_parquet(path: Path) -> Any:
    file = parquet_of(path)
    try:
        from pyarrow import parquet
    except ImportError as error:
        raise DatasetError(
            "reading recorded sessions needs the extra `train`: pip install 'tellwire[train]'"
        ) from error
    try:
        return parquet.ParquetFile(file)
    except (OSError, ValueError) as error:
        raise _unreadable(file, error) from None


def _unreadable(path: Path, error: Exception) -> DatasetError:
    """What pyarrow says may have several lines, and the path in it again."""
    said = str(error).strip().splitlines()
    return DatasetError(f"{path} cannot be read as parquet: {said[0] if said else type(error).__name__}")


def _batches(path: Path, file: Any, columns: list[str], rows: int) -> Iterator[Any]:
    """Record batches of these columns. Raises DatasetError where the file's data are damaged."""
    try:
        yield from file.iter_batches(batch_size=rows, columns=columns, use_threads=False)
    except (OSError, ValueError) as error:
        raise _unreadable(parquet_of(path), error) from None


def _check_columns(path: Path, schema: Any) -> None:
    """Refuse a table without event columns, or with columns of another kind than a session's."""
    from pyarrow import types

    names = set(schema.names)
    if names.isdisjoint({"t_ms", "key_down_ms"}):
        raise DatasetError(f"{path} has neither the column t_ms nor key_down_ms: there is nothing to score")

    def is_number(kind: Any) -> bool:
        return bool(types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind))

    for name in RECORDING_COLUMNS[3:]:
        if name not in names:
            continue
        kind = schema.field(name).type
        if types.is_null(kind):
            continue
        if name in _PLAIN_NUMBERS:
            if not is_number(kind):
                raise DatasetError(f"{path}: column {name} is {kind}, wanted a number")
        elif not ((types.is_list(kind) or types.is_large_list(kind)) and is_number(kind.value_type)):
            raise DatasetError(f"{path}: column {name} is {kind}, wanted a list of numbers")


def check_recordings(path: Path) -> None:
    """Check that a folder or parquet file holds recorded sessions that can be read; raises DatasetError."""
    file = _open_parquet(path)
    _check_columns(path, file.schema_arrow)
    if not file.metadata.num_rows:
        raise DatasetError(f"{parquet_of(path)} has no session")


def count_recordings(path: Path) -> int:
    """Number of sessions in a folder or parquet file."""
    return int(_open_parquet(path).metadata.num_rows)


def _float_rows(batch: Any, name: str) -> list[Floats]:
    """The list column `name` as a float64 array a row; missing column or null list: empty; null element: NaN."""
    rows = batch.num_rows
    if name not in batch.schema.names:
        return [np.zeros(0)] * rows
    column = batch.column(batch.schema.get_field_index(name))
    if column.null_count == rows:  # also a column without a type, which has no lists in it
        return [np.zeros(0)] * rows
    offsets = np.asarray(column.offsets)
    values = column.values.to_numpy(zero_copy_only=False).astype(np.float64)
    valid = np.asarray(column.is_valid())
    return [values[offsets[i] : offsets[i + 1]] if valid[i] else np.zeros(0) for i in range(rows)]


def _plain(batch: Any, name: str) -> list[Any]:
    if name not in batch.schema.names:
        return [None] * int(batch.num_rows)
    values: list[Any] = batch.column(batch.schema.get_field_index(name)).to_pylist()
    return values


def _codes(values: Floats, length: int) -> Codes:
    """Codes with missing ones as 0; an absent column of a non-empty session is all zero."""
    if len(values) != length:
        return np.zeros(length, dtype=np.int64)
    return np.nan_to_num(values, nan=0.0).astype(np.int64)


def _pointer_of(
    t: Floats, x: Floats, y: Floats, kind: Floats, button: Floats
) -> tuple[Floats, Floats, Floats, Codes, Codes]:
    n = min(len(t), len(x), len(y))
    finite = (np.abs(t[:n]) <= _LONGEST_MS) & np.isfinite(x[:n]) & np.isfinite(y[:n])
    kinds, buttons = _codes(kind, n), _codes(button, n)
    if finite.all():
        return t[:n], x[:n], y[:n], kinds, buttons
    return t[:n][finite], x[:n][finite], y[:n][finite], kinds[finite], buttons[finite]


def _keys_of(down: Floats, up: Floats, category: Floats) -> tuple[Floats, Floats, Codes]:
    """Key rows ordered by press time, rows without a press time left out."""
    n = len(down)
    releases = up if len(up) == n else np.full(n, np.nan)
    classes = _codes(category, n)
    keep = np.flatnonzero(np.abs(down) <= _LONGEST_MS)
    order = keep[np.argsort(down[keep], kind="stable")]
    return down[order], releases[order], classes[order]


def read_recordings(path: Path, *, batch_rows: int = 256) -> Iterator[Recording]:
    """Every session of a folder or parquet file in the file's order, `batch_rows` in memory at a time.

    Reads only RECORDING_COLUMNS, of which any may be missing; a session without an id is named by its row number.
    Raises DatasetError when there is no event column at all, or one that holds something else.
    """
    file = _open_parquet(path)
    names = set(file.schema_arrow.names)
    _check_columns(path, file.schema_arrow)
    first = 0
    columns = [name for name in RECORDING_COLUMNS if name in names]
    for batch in _batches(path, file, columns, batch_rows):
        ids, sources, kinds_of_pointer = (_plain(batch, name) for name in ("session_id", "source", "pointer_type"))
        widths, heights = _plain(batch, "viewport_w"), _plain(batch, "viewport_h")
        lists = {name: _float_rows(batch, name) for name in RECORDING_COLUMNS[5:]}
        for i in range(batch.num_rows):
            t, x, y, kind, button = _pointer_of(*(lists[name][i] for name in ("t_ms", "x", "y", "kind", "button")))
            down, up, key_class = _keys_of(*(lists[name][i] for name in ("key_down_ms", "key_up_ms", "key_cat")))
            known = widths[i] is not None and heights[i] is not None
            yield Recording(
                session_id=str(ids[i]) if ids[i] is not None else f"row-{first + i}",
                source=str(sources[i]) if sources[i] else "unknown",
                pointer_type=str(kinds_of_pointer[i]) if kinds_of_pointer[i] else "unknown",
                viewport=(float(widths[i]), float(heights[i])) if known else None,
                t_ms=t, x=x, y=y, kind=kind, button=button,
                key_down_ms=down, key_up_ms=up, key_class=key_class,
            )  # fmt: skip
        first += batch.num_rows


def read_truth(path: Path) -> dict[str, Truth]:
    """What each session of a folder was, by session id. For training and evaluation; raises DatasetError."""
    file = _open_parquet(path)
    missing = {"session_id", "source", "label"} - set(file.schema_arrow.names)
    if missing:
        raise DatasetError(
            f"{path} lacks the columns {', '.join(sorted(missing))}: it cannot be trained or evaluated on"
        )
    names = [name for name in TRUTH_COLUMNS if name in file.schema_arrow.names]
    truths: dict[str, Truth] = {}
    for batch in _batches(path, file, names, 4096):
        columns = {name: _plain(batch, name) for name in TRUTH_COLUMNS}
        for i in range(batch.num_rows):
            user = columns["user_id"][i]
            source = str(columns["source"][i])
            try:
                label = int(columns["label"][i])
            except (TypeError, ValueError):
                raise DatasetError(
                    f"{path}: the label of session {columns['session_id'][i]} is {columns['label'][i]!r}, wanted 0 or 1"
                ) from None
            truths[str(columns["session_id"][i])] = Truth(
                session_id=str(columns["session_id"][i]),
                source=source,
                person=f"{source}/{user}" if user is not None else None,
                label=label,
                family=columns["bot_family"][i],
                capture=str(columns["capture"][i] or "recorded"),
                note=str(columns["note"][i] or ""),
            )
    return truths


def read_records(path: Path) -> Iterator[Telemetry]:
    """Telemetry records of a JSON-lines file (.jsonl or .ndjson, also .gz), validated, in the file's order.

    A record of another type (an upstream signal) is passed over. Raises DatasetError with the line's number, or when
    the file cannot be read (any more).
    """
    for number, line in lines_of(path):
        record = line.strip()
        if not record:
            continue
        try:
            event = decode(record, None)
        except Rejected as rejected:
            if rejected.reason is DeadLetterReason.UNKNOWN_TYPE and _other_type(record):
                continue
            raise DatasetError(f"{path.name} line {number}, {rejected.path}: {rejected.detail}") from None
        if isinstance(event, Telemetry):
            yield event


def lines_of(path: Path) -> Iterator[tuple[int, bytes]]:
    """Lines of a file that may be compressed (.gz), counted from 1. Raises DatasetError.

    A line longer than MAX_LINE_BYTES is cut one byte behind it, and no more of it is ever in memory: no record of ours
    is so long, so that whoever reads it refuses it.
    """
    opener = gzip.open if path.name.endswith(".gz") else open
    number = 0
    try:
        with opener(path, "rb") as file:
            while line := file.readline(MAX_LINE_BYTES + 1):
                number += 1
                rest = line
                while len(rest) > MAX_LINE_BYTES and not rest.endswith(b"\n"):
                    rest = file.readline(MAX_LINE_BYTES + 1)
                yield number, line
    except EOFError:
        raise DatasetError(f"{path.name} is cut off after line {number}: its gzip stream has no end") from None
    except (gzip.BadGzipFile, zlib.error) as error:
        what = f"is damaged after line {number}" if number else "cannot be read as gzip"
        raise DatasetError(f"{path.name} {what}: {error}") from None
    except OSError as error:
        raise DatasetError(f"{path.name}: {error.strerror or error}") from None


def _other_type(line: bytes) -> bool:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return False
    kind = record.get("type") if isinstance(record, dict) else None
    return isinstance(kind, str) and not kind.startswith("capture.telemetry")
