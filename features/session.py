"""The session state and its operations: the public face of the package for the pipeline, the models and training.

A session is a row of float32 sums (`STATE_WIDTH` wide) and a `Meta`. Rows of several sessions lie in one 2-D array.
"""

import numpy as np
import numpy.typing as npt

from features import codec, reading
from features.codec import STATE_VERSION, StateMismatch, decode, encode, encode_all
from features.columns import Columns, columns_of
from features.fold import STATE_DTYPE, STATE_WIDTH, begin_row, fold_rows, merge_rows
from features.meta import Meta, SignalRecord, Upstream
from features.registry import N_FEATURES

__all__ = [
    "STATE_DTYPE",
    "STATE_VERSION",
    "STATE_WIDTH",
    "Columns",
    "Meta",
    "SignalRecord",
    "StateMismatch",
    "Upstream",
    "columns_of",
    "decode",
    "encode",
    "encode_all",
    "finalize",
    "fold_chunk",
    "merge",
    "new_row",
    "new_states",
    "warm_up",
]

States = npt.NDArray[np.float32]
Vectors = npt.NDArray[np.float64]
Marks = npt.NDArray[np.bool_]


def new_row(origin_ms: int | None = None) -> States:
    """The state of a session of which nothing was seen: float32[STATE_WIDTH], all zero.

    origin_ms: epoch ms that the session's times are kept relative to; without it, the first event folded sets it.
    """
    row = np.zeros(STATE_WIDTH, dtype=STATE_DTYPE)
    if origin_ms is not None:
        begin_row(row, float(origin_ms))
    return row


def new_states(rows: int) -> States:
    """`rows` empty states: float32[rows, STATE_WIDTH]."""
    return np.zeros((rows, STATE_WIDTH), dtype=STATE_DTYPE)


def fold_chunk(states: States, rows: npt.NDArray[np.int32], columns: Columns, out: Vectors) -> Marks:
    """Fold each event, in order, into states[rows[i]] (in place); out[i] becomes the vector right after event i.

    Returns bool[n]: whether a rule on behaviour may hold in vector i (`forensics.may_hold`), for `signals_of`.

    states: float32[m, STATE_WIDTH], C-contiguous; rows: int32[n], each in 0..m-1, repeats allowed; out: float64[n,
    N_FEATURES], C-contiguous. Columns that only Meta and counters know (`fill.fill_context`) are NaN.

    Samples fold in arrival order. An event that comes late ends the open movement, counts as reordered, and the
    intervals next to it are left out; all else of it counts.
    Raises ValueError where shapes, types or row numbers don't fit.
    """
    n = len(columns.starts)
    if len(rows) != n or out.shape != (n, N_FEATURES) or states.shape[1] != STATE_WIDTH:
        msg = f"{n} events need {n} rows and an output of {(n, N_FEATURES)}, got {len(rows)} and {out.shape}"
        raise ValueError(msg)
    if states.dtype != STATE_DTYPE or rows.dtype != np.int32 or out.dtype != np.float64:
        msg = f"need float32 states, int32 rows, float64 out; got {states.dtype}, {rows.dtype}, {out.dtype}"
        raise ValueError(msg)
    marks = np.empty(n, dtype=np.bool_)
    if not fold_rows(states, rows, columns.data, columns.starts, columns.ends, out, marks):
        msg = f"rows must lie in 0..{len(states) - 1}"
        raise ValueError(msg)
    return marks


def finalize(states: States) -> Vectors:
    """Vectors of given states: float64[m, N_FEATURES], what `fold_chunk` wrote after their latest events."""
    n = len(states)
    out = np.empty((n, N_FEATURES))
    none = np.zeros(n, dtype=np.int64)
    fold_rows(states, np.arange(n, dtype=np.int32), np.zeros(0), none, none, out, np.empty(n, dtype=np.bool_))
    return out


def merge(a: States, b: States) -> States:
    """The state of segment `a` followed by segment `b` of one session, each folded by itself from the same origin.

    Counts and sums add. `a`'s open movement ends at the border, and the interval, step and pair of keys that span it
    are not counted, since neither part has seen them. To give `b` the same origin start both from `new_row(origin_ms)`.
    """
    into = np.empty(STATE_WIDTH, dtype=STATE_DTYPE)
    merge_rows(a, b, into)
    return into


def warm_up() -> None:
    """Compile the kernels, or load them from numba's cache, so that the first chunk is not slow."""
    columns = columns_of([])
    fold_chunk(new_states(1), np.zeros(0, dtype=np.int32), columns, np.empty((0, N_FEATURES)))
    merge(new_row(), new_row(0))
    reading.warm_up()
    codec.warm_up()
