"""What a replay plays: one person's strokes between rests and their key times, recorded or simulated."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from models.dataset import read_recordings, read_truth
from stream.simulation.people import person

Floats = NDArray[np.float64]

REST_MS: Final = 120.0
"""A gap between samples that ends a stroke."""
SHORTEST_PX: Final = 120.0
STROKE_MS: Final = (150.0, 3_000.0)
"""Shortest and longest stroke that is played."""
KEY_MS: Final = (15.0, 400.0, 1_200.0)
"""Shortest and longest hold, longest gap, ms: longer ones are thought, not rhythm."""
ENOUGH: Final = (8, 60)
"""Strokes and keys that a person must have."""
LOOKED_AT: Final = 400
"""Recorded sessions that are looked at, at most, until one of each kind is found."""


class Material(msgspec.Struct, frozen=True):
    """What is played: strokes as lists of `(ms, x, y)`, and keys as `(hold, gap)`, ms."""

    strokes: list[list[tuple[float, float, float]]]
    keys: list[tuple[float, float]]


def strokes_of(t_ms: Floats, x: Floats, y: Floats) -> list[list[tuple[float, float, float]]]:
    """Cut samples (ms, px; one length) into strokes that go somewhere: rest to rest, at least `SHORTEST_PX` away."""
    found: list[list[tuple[float, float, float]]] = []
    if len(t_ms) < 2:
        return found
    borders = [0, *(np.flatnonzero(np.diff(t_ms) > REST_MS) + 1).tolist(), len(t_ms)]
    for a, b in itertools.pairwise(borders):
        if b - a < 5:
            continue
        length_ms = float(t_ms[b - 1] - t_ms[a])
        away = float(np.hypot(x[b - 1] - x[a], y[b - 1] - y[a]))
        if away >= SHORTEST_PX and STROKE_MS[0] <= length_ms <= STROKE_MS[1]:
            found.append([(float(t_ms[i] - t_ms[a]), float(x[i]), float(y[i])) for i in range(a, b)])
    return found


def keys_of(down_ms: Sequence[float], up_ms: Sequence[float]) -> list[tuple[float, float]]:
    """Return `(hold, gap to the next press)` of keys, ms; overlaps count as no gap, odd ones are left out."""
    found = []
    for (down, up), (following, _) in itertools.pairwise(zip(down_ms, up_ms, strict=True)):
        hold, gap = up - down, max(0.0, following - up)
        if KEY_MS[0] <= hold <= KEY_MS[1] and gap <= KEY_MS[2]:
            found.append((float(hold), float(gap)))
    return found


def recorded(folder: Path, seed: int) -> Material | None:
    """One recorded person's strokes and another's keys, chosen by a seed; None where the folder has no such people.

    Raises DatasetError when there is nothing to read.
    """
    people = {each.session_id for each in read_truth(folder).values() if each.label == 0}
    strokes: list[list[list[tuple[float, float, float]]]] = []
    keys: list[list[tuple[float, float]]] = []
    for recording in read_recordings(folder):
        if recording.session_id not in people:
            continue
        if len(strokes) < LOOKED_AT and recording.pointer_type == "mouse":
            moves = recording.kind == 0
            cut = strokes_of(recording.t_ms[moves], recording.x[moves], recording.y[moves])
            if len(cut) >= ENOUGH[0]:
                strokes.append(cut)
        elif len(keys) < LOOKED_AT and len(recording.key_down_ms) >= ENOUGH[1]:
            times = keys_of(recording.key_down_ms.tolist(), recording.key_up_ms.tolist())
            if len(times) >= ENOUGH[1]:
                keys.append(times)
        if len(strokes) >= LOOKED_AT and len(keys) >= LOOKED_AT:
            break
    if not strokes or not keys:
        return None
    rng = np.random.default_rng(seed)
    return Material(strokes[int(rng.integers(len(strokes)))], keys[int(rng.integers(len(keys)))])


def simulated(seed: int) -> Material:
    """A simulated person's strokes and keys."""
    rng = np.random.default_rng(seed)
    strokes: list[list[tuple[float, float, float]]] = []
    keys: list[tuple[float, float]] = []
    while len(strokes) < ENOUGH[0] or len(keys) < ENOUGH[1] // 2:
        recording = person(rng, "mouse", "signup").recording
        rows = np.array(sorted(row[:3] for row in recording.pointer))
        strokes += strokes_of(rows[:, 0], rows[:, 1], rows[:, 2])
        keys += keys_of(*_released(recording.keys))
    return Material(strokes, keys)


def _released(rows: Iterable[tuple[float, float | None, int]]) -> tuple[list[float], list[float]]:
    kept = sorted((down, up) for down, up, _ in rows if up is not None)
    return [down for down, _ in kept], [up for _, up in kept]
