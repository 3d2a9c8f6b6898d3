"""Whole movements of the pointer as shapes that survive a replay: 17 places at even times, wherever and of any size.

A movement goes from pause to pause, from button to button, or over three seconds. Kept of the open one are at most 32
points on a time grid that becomes coarser as it lasts. Where it ends, its path becomes `POINTS` places at even times,
moved, turned, scaled and mirrored so that its chord is (0, 0) to (1, 0) and it bulges to one side: so a copy that was
shifted, scaled, mirrored, slowed or jittered lies close to its original. Such shapes say which movements are copies of
one another; nothing else is made of them.
"""

import hashlib
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple

import numba
import numpy as np
import numpy.typing as npt

from features import columns as c
from features.columns import Columns
from features.kernel import get_time, inner, put_time
from features.pointer import EDGE_MS, PAUSE_MS
from features.registry import TABLES
from features.table import Table

LONGEST_MS: Final = 3_000.0
"""A movement is cut after this time."""
LEAST_PATH_PX: Final = 250.0
"""Shorter movements have too little shape beyond the rounding to whole pixels."""
LEAST_MS: Final = 200.0
LEAST_SAMPLES: Final = 8
LEAST_CHORD_RATIO: Final = 0.2
"""A movement that ends where it began has no chord to turn it by."""
LEAST_BULGE_RATIO: Final = 0.025
LEAST_BULGE_PX: Final = 8.0
"""A movement that stays nearer to its chord is a plain one, as drags of sliders and ruled lines are: all look alike."""
POINTS: Final = 17
WIDTH: Final = 2 * (POINTS - 2)
"""Length of a shape: x, then y, of all places but the ends, which are the same for all."""
MOST_AN_EVENT: Final = 4
"""Movements of one event that are given back; a batch of half a second has one or two."""
GRID_POINTS: Final = 32
FIRST_STEP_MS: Final = 20.0

T = Table("movement", revision=1)
SEEN = T.slot("seen")
START_T = T.slot("start_t", 2)
MOVE_T = T.slot("move_t", 2)
LAST_T = T.slot("last_t", 2)
FIRST_X = T.slot("first_x")
FIRST_Y = T.slot("first_y")
LAST_X = T.slot("last_x")
LAST_Y = T.slot("last_y")
PATH = T.slot("path_px")
SAMPLES = T.slot("samples")
STEP = T.slot("step_ms")
HELD = T.slot("held")
PX = T.slot("px", GRID_POINTS)
PY = T.slot("py", GRID_POINTS)

OFFSET: Final = sum(table.width for table in TABLES)
"""First slot in the state row: behind all families, for no feature comes of it."""

Shapes = npt.NDArray[np.float32]


class Movements(NamedTuple):
    """Movements that ended in some events, in order."""

    shape: Shapes
    """float32[n, WIDTH], in chords."""
    log_ms: npt.NDArray[np.float64]
    """ln of the duration in ms."""
    event: npt.NDArray[np.int64]
    """Number of the event that each ended in."""


@inner
def _begin(s, t, x, y):  # type: ignore[no-untyped-def]
    s[SEEN] = 1.0
    put_time(s, START_T, t)
    put_time(s, MOVE_T, t)
    s[FIRST_X] = x
    s[FIRST_Y] = y
    s[LAST_X] = x
    s[LAST_Y] = y
    s[PATH] = 0.0
    s[SAMPLES] = 1.0
    s[STEP] = FIRST_STEP_MS
    s[HELD] = 1.0
    # What was held of the movement before is cleared: the stored row keeps only numbers that are not zero.
    for i in range(GRID_POINTS):
        s[PX + i] = 0.0
        s[PY + i] = 0.0


@inner
def _extend(s, t, x, y):  # type: ignore[no-untyped-def]
    """Add the grid points of the straight piece from the last place to (t, x, y), and go there."""
    t0 = get_time(s, MOVE_T)
    start = get_time(s, START_T)
    x0 = float(s[LAST_X])
    y0 = float(s[LAST_Y])
    while t > t0:
        held = int(s[HELD])
        at = start + held * float(s[STEP])
        if at > t:
            break
        if held == GRID_POINTS:
            for i in range(1, GRID_POINTS // 2):
                s[PX + i] = s[PX + 2 * i]
                s[PY + i] = s[PY + 2 * i]
            for i in range(GRID_POINTS // 2, GRID_POINTS):
                s[PX + i] = 0.0
                s[PY + i] = 0.0
            s[HELD] = GRID_POINTS // 2
            s[STEP] = 2.0 * float(s[STEP])
            continue
        share = min(max((at - t0) / (t - t0), 0.0), 1.0)
        s[PX + held] = x0 + share * (x - x0) - float(s[FIRST_X])
        s[PY + held] = y0 + share * (y - y0) - float(s[FIRST_Y])
        s[HELD] = held + 1.0
    s[PATH] += math.sqrt((x - x0) ** 2 + (y - y0) ** 2)
    s[SAMPLES] += 1.0
    s[LAST_X] = x
    s[LAST_Y] = y
    put_time(s, MOVE_T, t)


@inner
def _shape(s, out):  # type: ignore[no-untyped-def]
    """Write the open movement's shape to `out` (float32[WIDTH]) and return its duration, ms; 0.0: it has none."""
    duration = get_time(s, MOVE_T) - get_time(s, START_T)
    path = float(s[PATH])
    if s[SAMPLES] < LEAST_SAMPLES or path < LEAST_PATH_PX or duration < LEAST_MS:
        return 0.0
    cx = float(s[LAST_X]) - float(s[FIRST_X])
    cy = float(s[LAST_Y]) - float(s[FIRST_Y])
    chord = math.sqrt(cx * cx + cy * cy)
    if chord < LEAST_CHORD_RATIO * path:
        return 0.0
    held = int(s[HELD])
    step = float(s[STEP])
    widest = 0.0
    total = 0.0
    for k in range(1, POINTS - 1):
        at = duration * k / (POINTS - 1) / step
        i = min(int(at), held - 1)
        x = float(s[PX + i])
        y = float(s[PY + i])
        if i + 1 < held:
            share = at - i
            x += share * (float(s[PX + i + 1]) - x)
            y += share * (float(s[PY + i + 1]) - y)
        else:
            left = duration / step - i
            share = (at - i) / left if left > 0.0 else 0.0
            x += share * (cx - x)
            y += share * (cy - y)
        side = (y * cx - x * cy) / chord
        widest = max(widest, abs(side))
        total += side
        out[k - 1] = (x * cx + y * cy) / chord / chord
        out[POINTS - 3 + k] = side / chord
    if widest < LEAST_BULGE_PX or widest < LEAST_BULGE_RATIO * chord:
        return 0.0
    if total < 0.0:
        for k in range(POINTS - 2, WIDTH):
            out[k] = -out[k]
    return duration


@inner
def fold(s, start, n, t, x, y, kind, kinds, found, log_ms, at, most):  # type: ignore[no-untyped-def]
    """Take n samples (t: ms from `start`, epoch ms); write what ends to rows `at` to `most` and return the next row."""
    for i in range(n):
        code = int(kind[i]) if kinds else 0
        if code == 3:
            continue
        now = start + t[i]
        # The stored position is float32: compare like with like.
        xi = float(numba.float32(x[i]))
        yi = float(numba.float32(y[i]))
        if s[SEEN] == 0.0 or now < get_time(s, LAST_T) - EDGE_MS:
            # Nothing joins a late sample to what came before it.
            _begin(s, now, xi, yi)
        else:
            moved = xi != s[LAST_X] or yi != s[LAST_Y]
            paused = moved and now - get_time(s, MOVE_T) > PAUSE_MS + EDGE_MS
            if paused or code in (1, 2, 5) or now - get_time(s, START_T) > LONGEST_MS + EDGE_MS:
                if at < most:
                    duration = _shape(s, found[at])
                    if duration > 0.0:
                        log_ms[at] = math.log(duration)
                        at += 1
                _begin(s, now, xi, yi)
            elif moved:
                _extend(s, now, xi, yi)
        put_time(s, LAST_T, now)
    return at


def _salt() -> int:
    """A number out of the sources of the kernels, in the cache key of the entry point: see fold.py."""
    digest = hashlib.sha256()
    for name in ("columns", "kernel", "movement", "pointer", "registry", "table"):
        digest.update((Path(__file__).parent / f"{name}.py").read_bytes())
    return int.from_bytes(digest.digest()[:4], "little")


def _entry_point(salt: int) -> Callable[..., Any]:
    @numba.njit(nogil=True, cache=True, error_model="numpy")
    def fold_rows(states, offset, rows, data, starts, ends, found, log_ms, event):  # type: ignore[no-untyped-def]
        for row in rows:
            if not 0 <= row < len(states):
                return -1
        at = salt & 0
        for i in range(len(starts)):
            d = data[starts[i] : ends[i]]
            pointers = int(d[c.H_POINTERS])
            if pointers == 0:
                continue
            t = d[c.HEADER : c.HEADER + pointers]
            x = d[c.HEADER + pointers : c.HEADER + 2 * pointers]
            y = d[c.HEADER + 2 * pointers : c.HEADER + 3 * pointers]
            kinds = d[c.H_KINDS] != 0.0
            kind = d[c.HEADER + 3 * pointers : c.HEADER + 4 * pointers] if kinds else t
            s = states[rows[i]][offset:]
            before = at
            at = fold(s, d[c.H_EFFECTIVE], pointers, t, x, y, kind, kinds, found, log_ms, at, at + MOST_AN_EVENT)
            for k in range(before, at):
                event[k] = i
        return at

    return fold_rows


_fold_rows = _entry_point(_salt())


def movements_of(states: npt.NDArray[np.float32], rows: npt.NDArray[np.int32], columns: Columns) -> Movements:
    """Take the pointer samples of each event, in order, into states[rows[i]] (in place); return what ended in them.

    states: float32[m, STATE_WIDTH], C-contiguous; rows: int32[n], each in 0..m-1, repeats allowed. Beside `fold_chunk`,
    which does not touch these slots. The end of a chunk changes nothing, bit for bit. Raises ValueError
    where rows don't fit.
    """
    n = len(columns)
    most = MOST_AN_EVENT * n
    found, log_ms = np.empty((most, WIDTH), dtype=np.float32), np.empty(most)
    event = np.empty(most, dtype=np.int64)
    data, starts, ends = columns.data, columns.starts, columns.ends
    # The kernel looks at the rows: what numpy would take for it costs more than a small segment.
    count = _fold_rows(states, OFFSET, rows, data, starts, ends, found, log_ms, event) if len(rows) == n else -1
    if count < 0:
        msg = f"{n} events need {n} rows within 0..{len(states) - 1}"
        raise ValueError(msg)
    return Movements(found[:count], log_ms[:count], event[:count])
