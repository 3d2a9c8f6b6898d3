"""Strokes as shapes that survive a replay: where the pointer was at even shares of the time, wherever, of any size.

A movement from pause to pause becomes `POINTS` positions at even times, moved, turned, scaled and mirrored so that its
chord is (0, 0) to (1, 0) and it bulges to one side. Two recordings of one movement lie close to each other, also when
one was shifted, scaled, mirrored, slowed or jittered; two movements of people do so where the shape is a common one. So
what counts is how near the nearest stored stroke is, against how dense people's strokes lie there.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.dataset import Floats, Recording
from schemas.telemetry import PointerKind

PAUSE_MS = 250.0
"""Time without displacement that ends a movement (as in the pointer family)."""
LONGEST_MS = 3_000.0
LEAST_PATH_PX = 250.0
"""Shorter movements have too little shape beyond the rounding to whole pixels."""
LEAST_MS = 200.0
LEAST_SAMPLES = 8
LEAST_CHORD_RATIO = 0.2
"""A movement that ends where it began has no chord to turn it by."""
POINTS = 17
WIDTH = 2 * (POINTS - 2)
"""Length of a shape: x, then y, of all points but the ends, which are the same for all."""
NEIGHBOUR = 20
"""How dense people lie around a shape: the distance to so manieth of them."""
DURATION_TOLERANCE = 0.08
"""Difference in ln duration up to which a stroke may be a replay of another (replays are slowed by a few per cent)."""

Vectors = NDArray[np.float32]
_BUTTONS = frozenset((int(PointerKind.DOWN), int(PointerKind.UP), int(PointerKind.CLICK)))


@dataclass(frozen=True, slots=True)
class Shapes:
    """Strokes of a recording in order: shape float32 (n, WIDTH); log_ms (n,) ln duration in ms; start_ms (n,)."""

    shape: Vectors
    log_ms: Floats
    start_ms: Floats

    def __len__(self) -> int:
        return len(self.log_ms)


def shape_of(t_ms: Floats, x: Floats, y: Floats) -> Vectors | None:
    """The shape of one movement; None when it is too short, too quick or closed."""
    length = float(np.hypot(np.diff(x), np.diff(y)).sum())
    if len(t_ms) < LEAST_SAMPLES or length < LEAST_PATH_PX or t_ms[-1] - t_ms[0] < LEAST_MS:
        return None
    at = np.linspace(t_ms[0], t_ms[-1], POINTS)
    px, py = np.interp(at, t_ms, x) - x[0], np.interp(at, t_ms, y) - y[0]
    chord = float(np.hypot(px[-1], py[-1]))
    if chord < LEAST_CHORD_RATIO * length:
        return None
    along, across = px[-1] / chord, py[-1] / chord
    forth = ((px * along + py * across) / chord)[1:-1]
    side = ((py * along - px * across) / chord)[1:-1]
    return np.concatenate([forth, side if side.sum() >= 0.0 else -side]).astype(np.float32)


def movements(recording: Recording) -> list[tuple[int, int]]:
    """First and last sample of each movement: a pause, a button or LONGEST_MS ends one. Wheel events are no samples."""
    found: list[tuple[int, int]] = []
    t, x, y = recording.t_ms.tolist(), recording.x.tolist(), recording.y.tolist()
    start = last = -1
    for i, code in enumerate(recording.kind.tolist()):
        if code == int(PointerKind.WHEEL):
            continue
        if last < 0:
            start = last = i
            continue
        moved = x[i] != x[last] or y[i] != y[last]
        if (moved and t[i] - t[last] > PAUSE_MS) or code in _BUTTONS or t[i] - t[start] > LONGEST_MS:
            found.append((start, last))
            start = last = i
        elif moved:
            last = i
    if last > start:
        found.append((start, last))
    return [(a, b) for a, b in found if b - a + 1 >= LEAST_SAMPLES]


def shapes_of(recording: Recording) -> Shapes:
    """All strokes of a recording that have a shape."""
    shapes: list[Vectors] = []
    log_ms: list[float] = []
    start_ms: list[float] = []
    for a, b in movements(recording):
        t = recording.t_ms[a : b + 1]
        shape = shape_of(t, recording.x[a : b + 1], recording.y[a : b + 1])
        if shape is not None:
            shapes.append(shape)
            log_ms.append(float(np.log(t[-1] - t[0])))
            start_ms.append(float(t[0]))
    return Shapes(
        np.stack(shapes) if shapes else np.zeros((0, WIDTH), np.float32), np.asarray(log_ms), np.asarray(start_ms)
    )


def joined(parts: Sequence[Shapes]) -> Shapes:
    """Several recordings' strokes as one store."""
    return Shapes(
        np.concatenate([part.shape for part in parts]),
        np.concatenate([part.log_ms for part in parts]),
        np.concatenate([part.start_ms for part in parts]),
    )


def nearest(
    query: Shapes,
    store: Shapes,
    *,
    neighbour: int = 1,
    same_duration: bool = False,
    query_owner: NDArray[np.int64] | None = None,
    store_owner: NDArray[np.int64] | None = None,
    batch: int = 1_000,
) -> Floats:
    """Distance (root mean square over the shape, in chords) of each stroke to its so manieth nearest stored one.

    same_duration: only stored strokes of nearly the same duration count; with owners, an owner's own never do. Infinite
    where there are too few.
    """
    out = np.full(len(query), np.inf)
    if len(store) < neighbour:
        return out
    squares = (store.shape * store.shape).sum(axis=1)
    for begin in range(0, len(query), batch):
        rows = slice(begin, begin + batch)
        q = query.shape[rows]
        apart = (q * q).sum(axis=1)[:, None] + squares[None, :] - 2.0 * q @ store.shape.T
        if query_owner is not None and store_owner is not None:
            apart[query_owner[rows][:, None] == store_owner[None, :]] = np.inf
        if same_duration:
            apart[np.abs(query.log_ms[rows][:, None] - store.log_ms[None, :]) > DURATION_TOLERANCE] = np.inf
        found = apart.min(axis=1) if neighbour == 1 else np.partition(apart, neighbour - 1, axis=1)[:, neighbour - 1]
        out[rows] = np.sqrt(np.maximum(found, 0.0) / WIDTH)
    return out


def relative(distance: Floats, density: Floats) -> Floats:
    """Distances over how dense people lie there (`nearest` with NEIGHBOUR among people): below 1 is unusually near."""
    return distance / np.maximum(density, 1e-6)
