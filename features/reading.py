"""Telemetry of a whole chunk from bytes to events and columns at once, where the compiled reader is certain of it.

A lean event is a `Telemetry` without samples: they lie in the columns. What it holds instead of the blocks of samples
tells that they were there, and what a session's Meta takes from them.
"""

from collections.abc import Sequence
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt

from features.columns import HEADER, Columns, columns_of
from features.scan import SCRATCH_ROWS, WIDEST, scan_records
from schemas.base import Block, Count
from schemas.signals import Signal
from schemas.telemetry import Collector, PointerType, Telemetry

KEPT_BYTES: Final = 1 << 20
"""Text up to which the buffers are kept for the next chunk."""


class LeanCollector(Collector, kw_only=True):
    """A collector whose names were checked already."""

    name: str
    version: str


class LeanPointer(Block, kw_only=True):
    """A pointer block; `t` holds one number where there were samples."""

    t: list[float]
    pointer_type: PointerType = "unknown"


class LeanKeys(Block, kw_only=True):
    """A block of key presses."""

    ime_count: Count = 0


class LeanTelemetry(
    Telemetry, kw_only=True, omit_defaults=True, gc=False, tag_field="type", tag=Telemetry.__struct_config__.tag
):
    """A telemetry event without samples, whose texts were checked already."""

    event_id: str
    session_id: str
    tenant: str
    collector: LeanCollector
    account_ref: str | None = None
    device_ref: str | None = None
    ref_key_version: str | None = None
    nonce: str | None = None
    # Not the blocks that `Telemetry` has: the reader checked them, and a check in Python costs more than all the rest.
    pointer: LeanPointer | None = None  # type: ignore[assignment]
    touch: Block | None = None  # type: ignore[assignment]
    scroll: Block | None = None  # type: ignore[assignment]
    keys: LeanKeys | None = None  # type: ignore[assignment]
    motion: Block | None = None  # type: ignore[assignment]
    form: Block | None = None  # type: ignore[assignment]
    focus: Block | None = None  # type: ignore[assignment]


_decode_all = msgspec.json.Decoder(list[LeanTelemetry]).decode
_decode_one = msgspec.json.Decoder(LeanTelemetry).decode


class Read(msgspec.Struct):
    """What was read of a chunk: events by record, None where the typed decoder must look; columns, one row a record."""

    events: list[LeanTelemetry | None]
    columns: Columns


class ChunkReader:
    """Reads chunks of telemetry records. Keeps buffers: one thread at a time."""

    def __init__(self) -> None:
        self._scratch = np.empty((SCRATCH_ROWS, WIDEST))
        self._data, self._skeleton = _buffers(KEPT_BYTES)

    def read(self, values: Sequence[bytes | None]) -> Read:
        """Read the values of a chunk's records, in their order.

        An event that is returned is what `schemas.envelope.decode` accepts, with the same fields; its columns are bit
        for bit those of `columns_of`. Keys of records are not looked at.
        """
        n = len(values)
        text = _joined(values)
        if text.count(b"\0") != n:
            # A NUL ends a record and is in no JSON: what has one of its own is not read.
            text = _joined([None if value and b"\0" in value else value for value in values])
        data, skeleton = self._data, self._skeleton
        room = len(text) + HEADER * n
        if room > KEPT_BYTES:
            data, skeleton = _buffers(room)
        places = np.empty((n, 4), dtype=np.int64)
        used, written, accepted = scan_records(
            np.frombuffer(text, dtype=np.uint8), data, places, skeleton, self._scratch
        )
        columns = Columns(data[:used].copy(), places[:, 0].copy(), places[:, 1].copy())
        return Read(_events(skeleton.data, written, accepted, places), columns)


def _events(
    skeleton: memoryview, written: int, accepted: int, places: npt.NDArray[np.int64]
) -> list[LeanTelemetry | None]:
    try:
        events = _decode_all(skeleton[:written])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return [_event(skeleton[first:last]) if end > start else None for start, end, first, last in places.tolist()]
    if accepted == len(places):
        return events  # type: ignore[return-value]
    left = iter(events)
    return [next(left) if end > start else None for start, end, _, _ in places.tolist()]


def _event(skeleton: memoryview) -> LeanTelemetry | None:
    try:
        return _decode_one(skeleton)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def warm_up() -> None:
    """Compile the reader, or load it from numba's cache."""
    ChunkReader().read([b"{}"])


def _joined(values: Sequence[bytes | None]) -> bytes:
    """The records, each followed by a NUL; empty ones for those without a value."""
    if None in values:
        values = [value or b"" for value in values]
    return b"\0".join((*values, b""))  # type: ignore[arg-type]


def _buffers(room: int) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.uint8]]:
    """Room for the numbers of events and for their skeletons: a number takes two bytes of text at least."""
    return np.empty(room), np.empty(room + 2, dtype=np.uint8)


def with_decoded(read: Columns, events: Sequence[Telemetry | Signal]) -> Columns:
    """The columns of a chunk and, behind them, those of events that the typed decoder read."""
    if not events:
        return read
    more = columns_of(events)
    shift = len(read.data)
    return Columns(
        np.concatenate((read.data, more.data)),
        np.concatenate((read.starts, more.starts + shift)),
        np.concatenate((read.ends, more.ends + shift)),
    )
