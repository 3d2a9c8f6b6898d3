"""The compiled reader's naive twin: the typed decoder and `columns_of`, compared field by field and bit by bit."""

from __future__ import annotations

from collections.abc import Sequence

from features.columns import columns_of
from features.reading import ChunkReader, LeanTelemetry
from schemas.envelope import Rejected, decode
from schemas.telemetry import Telemetry

LEAN = {"pointer", "touch", "scroll", "keys", "motion", "form", "focus"}
"""Blocks of which a lean event keeps only what a session's Meta asks for."""


def check_reading(reader: ChunkReader, values: Sequence[bytes]) -> list[bool]:
    """Read the records as one chunk; return which were accepted. AssertionError where one is not what it has to be."""
    read = reader.read(values)
    assert len(read.events) == len(read.columns) == len(values)
    for i, (value, lean) in enumerate(zip(values, read.events, strict=True)):
        if lean is None:
            continue
        try:
            full = decode(value, lean.session_id.encode())
        except Rejected as rejected:
            msg = f"accepted, and the typed decoder refuses it: {rejected}"
            raise AssertionError(msg) from None
        assert isinstance(full, Telemetry)
        _check_event(lean, full)
        columns = columns_of([full])
        mine = read.columns.data[read.columns.starts[i] : read.columns.ends[i]]
        assert mine.tobytes() == columns.data.tobytes(), "other numbers"
    return [lean is not None for lean in read.events]


def _check_event(lean: LeanTelemetry, full: Telemetry) -> None:
    for name in full.__struct_fields__:
        here, there = getattr(lean, name), getattr(full, name)
        if name in LEAN:
            assert (here is None) == (there is None), name
        elif name == "collector":
            assert (here.name, here.version) == (there.name, there.version)
            assert repr(here.sampling_interval_ms) == repr(there.sampling_interval_ms)
        else:
            assert repr(here) == repr(there), name
    if lean.pointer is not None and full.pointer is not None:
        assert bool(lean.pointer.t) == bool(full.pointer.t)
        assert lean.pointer.pointer_type == full.pointer.pointer_type
    if lean.keys is not None and full.keys is not None:
        assert lean.keys.ime_count == full.keys.ime_count
