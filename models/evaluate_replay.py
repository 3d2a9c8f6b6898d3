"""Replays and morphs of recorded people: how many are found by their strokes' shapes, and how many people falsely.

Nothing is trained: a stroke's distance to the nearest stored one over how dense people lie there is the whole figure.
The threshold of a replay is set on one half of the people and judged on the other. Replays are made of recordings, in
the event columns, and go through the same segmentation; morphs are made of shapes.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from models.binomial import upper_bound95
from models.dataset import Floats, Recording
from models.evaluate_stats import NOTHING, Interval, share_with_interval, side, with_interval
from models.evaluate_targets import Target, listed
from models.replay_shapes import (
    NEIGHBOUR,
    PAUSE_MS,
    POINTS,
    WIDTH,
    Shapes,
    joined,
    nearest,
    relative,
    shapes_of,
)
from models.train_transforms import Instrument, through, window

STROKES = 10
"""Strokes of a session that is judged."""
MATCHING = 3
"""The so manieth nearest of them is the session's figure: one usual stroke that fits by chance is no replay."""
STEP = 3
MARGIN = 0.75
"""A replay must come nearer than this share of the nearest that anybody of one half of the people came by chance."""
REFERENCE = 2_500
TRANSFORMS: tuple[str, ...] = ("exact", "slowed", "jittered", "cropped", "spliced", "resampled", "mirrored")
EARLIER: tuple[int, ...] = (10, 20, 100)
MORPHS: tuple[tuple[str, int], ...] = (("warped", 100), ("warped", 400), ("blended", 100), ("blended", 400))
"""Morph families: how a stroke is made, and of how many recorded strokes the family disposes."""

Numbers = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class People:
    """Strokes of all people: recordings, the strokes of all of them in order, and whose each is (arrays by stroke)."""

    recordings: Sequence[Recording]
    person: NDArray[np.str_]
    shapes: Shapes
    of: Numbers
    """Number of the recording of each stroke."""
    owner: Numbers
    """Number of the person of each stroke."""

    def sessions(self) -> Numbers:
        """Strokes (n, STROKES) of each judged session: so many in a row of one recording, every STEP."""
        found = []
        for number in range(len(self.recordings)):
            mine = np.flatnonzero(self.of == number)
            found += [mine[a : a + STROKES] for a in range(0, len(mine) - STROKES + 1, STEP)]
        return np.asarray(found, dtype=np.int64).reshape(-1, STROKES)


@dataclass(frozen=True, slots=True)
class Replays:
    """Found by transform, people falsely matched, and AUC of morph families by `kind pool earlier-sessions`."""

    found: dict[str, Interval]
    replayed: int
    false: Interval
    false_by: str
    morphs: dict[str, Interval]
    store: int


def people_from(recordings: Sequence[Recording], persons: Sequence[str]) -> People:
    """Take the strokes of people's recordings."""
    parts = [shapes_of(recording) for recording in recordings]
    names = np.asarray(persons, dtype=np.str_)
    _, number = np.unique(names, return_inverse=True)
    of = np.repeat(np.arange(len(parts)), [len(part) for part in parts]).astype(np.int64)
    return People(recordings, names, joined(parts), of, number.astype(np.int64)[of])


def picked(shapes: Shapes, rows: NDArray[np.int64] | NDArray[np.bool_]) -> Shapes:
    """Some of the strokes."""
    return Shapes(shapes.shape[rows], shapes.log_ms[rows], shapes.start_ms[rows])


def figure_of(distances: Floats) -> Floats:
    """A session's figure of its strokes' relative distances (..., strokes): the MATCHING-th smallest; few: infinite."""
    if distances.shape[-1] < MATCHING:
        return np.full(distances.shape[:-1], np.inf)
    return np.asarray(np.partition(distances, MATCHING - 1, axis=-1)[..., MATCHING - 1])


def threshold_of(figures: Floats) -> float:
    """Figures below it match: none of these, by a margin."""
    return MARGIN * float(figures.min())


def transformed(recording: Recording, kind: str, rng: np.random.Generator) -> Recording:
    """What a replayer of the recording would send. `spliced` is made of two: see `spliced`."""
    if kind == "slowed":
        return through(recording, Instrument(time_scale=float(rng.uniform(0.95, 1.05))), rng)
    if kind == "mirrored":
        return through(recording, Instrument(mirrored=True), rng)
    if kind == "jittered":
        x, y = (v + np.round(rng.uniform(-3.0, 3.0, len(v))) for v in (recording.x, recording.y))
        return replace(recording, x=x, y=y)
    if kind == "cropped":
        duration = recording.duration_ms
        return window(recording, 0.15 * duration, 0.7 * duration)
    if kind == "resampled":
        return resampled(recording, float(rng.choice((25.0, 33.0, 40.0))))
    return recording


def resampled(recording: Recording, step_ms: float) -> Recording:
    """Moves at even times: between samples, and at rest where the recording rests. Buttons keep their times."""
    t = recording.t_ms
    if len(t) < 2:
        return recording
    grid = np.arange(t[0], t[-1] + step_ms, step_ms)
    before = np.clip(np.searchsorted(t, grid, side="right") - 1, 0, len(t) - 2)
    rests = np.diff(t)[before] > PAUSE_MS
    x = np.where(rests, recording.x[before], np.interp(grid, t, recording.x))
    y = np.where(rests, recording.y[before], np.interp(grid, t, recording.y))
    keep = np.flatnonzero(~np.isin(recording.kind, (0, 4)))
    order = np.argsort(np.concatenate([t[keep], grid]), kind="stable")
    held = np.zeros(len(grid), dtype=np.int64)
    return replace(
        recording,
        t_ms=np.round(np.concatenate([t[keep], grid])[order]),
        x=np.round(np.concatenate([recording.x[keep], x])[order]),
        y=np.round(np.concatenate([recording.y[keep], y])[order]),
        kind=np.concatenate([recording.kind[keep], held])[order],
        button=np.concatenate([recording.button[keep], held])[order],
    )


def spliced(first: Recording, second: Recording) -> Recording:
    """The first half of one recording, and after a pause the second half of another."""
    a = window(first, 0.0, 0.5 * first.duration_ms)
    b = window(second, 0.5 * second.duration_ms, second.duration_ms)
    later = (float(a.t_ms[-1]) if len(a.t_ms) else 0.0) + 2 * PAUSE_MS
    return replace(
        a,
        t_ms=np.concatenate([a.t_ms, b.t_ms + later]), x=np.concatenate([a.x, b.x]), y=np.concatenate([a.y, b.y]),
        kind=np.concatenate([a.kind, b.kind]), button=np.concatenate([a.button, b.button]),
    )  # fmt: skip


def measure(people: People, *, replays: int = 150, morph_sessions: int = 150, seed: int = 1) -> Replays:
    """All figures. replays: sessions replayed by each transform; morph_sessions: sessions of each morph family."""
    rng = np.random.default_rng((seed, 29))
    shapes = people.shapes
    sessions = people.sessions()
    whose = people.owner[sessions[:, 0]]
    half = rng.permutation(int(people.owner.max(initial=0)) + 1) % 2
    morphs = morphs_of(people, morph_sessions, seed)
    if len(np.unique(half[whose])) < 2:
        return Replays(dict.fromkeys(TRANSFORMS, NOTHING), 0, NOTHING, "no two people", morphs, len(shapes))
    reference = np.sort(rng.choice(len(shapes), min(REFERENCE, len(shapes)), replace=False))
    common, common_owner = picked(shapes, reference), people.owner[reference]

    def distances(query: Shapes, owner: Numbers | None) -> Floats:
        others = {"query_owner": owner, "store_owner": people.owner} if owner is not None else {}
        near = nearest(query, shapes, same_duration=True, **others)  # type: ignore[arg-type]
        mine = owner if owner is not None else np.full(len(query), -1)
        density = nearest(query, common, neighbour=NEIGHBOUR, query_owner=mine, store_owner=common_owner)
        return relative(near, density)

    figures = figure_of(distances(shapes, people.owner)[sessions])
    bars = [threshold_of(figures[half[whose] == h]) for h in (0, 1)]
    # Each half is judged by the bar that the other one set.
    matched = figures < np.asarray(bars)[1 - half[whose]]
    false = share_with_interval(matched, whose.astype(np.str_), seed)
    hit, of = len(np.unique(whose[matched])), len(np.unique(whose))
    false_by = (
        f"{int(matched.sum())} of {len(matched)} sessions; {hit} of {of} people, {upper_bound95(hit, of):.1%} at most"
    )
    found: dict[str, Interval] = {}
    chosen = rng.choice(len(sessions), min(replays, len(sessions)), replace=False)
    for kind in TRANSFORMS:
        copies = [_copy(people, sessions, int(s), kind, rng) for s in chosen]
        parts = [shapes_of(copy) for copy in copies]
        near = distances(joined(parts), None)
        ends = np.cumsum([len(part) for part in parts])
        figure = np.asarray([figure_of(one) for one in np.split(near, ends[:-1])])
        found[kind] = share_with_interval(figure < min(bars), whose[chosen].astype(np.str_), seed)
    return Replays(found, len(chosen), false, false_by, morphs, len(shapes))


def _copy(people: People, sessions: Numbers, number: int, kind: str, rng: np.random.Generator) -> Recording:
    one = _span(people, sessions[number])
    if kind == "spliced":
        return spliced(one, _span(people, sessions[int(rng.integers(0, len(sessions)))]))
    return transformed(one, kind, rng)


def _span(people: People, strokes: Numbers) -> Recording:
    """The recording from the first to the last of these strokes."""
    start = float(people.shapes.start_ms[strokes[0]])
    end = float(people.shapes.start_ms[strokes[-1]] + np.exp(people.shapes.log_ms[strokes[-1]]))
    return window(people.recordings[int(people.of[strokes[0]])], start - 1.0, end - start + PAUSE_MS)


def morphs_of(people: People, n: int, seed: int) -> dict[str, Interval]:
    """AUC of each morph family after so many earlier sessions of it, by the 10th percentile of relative distances.

    Quarters of the people: whose recordings are morphed, who came earlier, who say what is common, who is judged.
    """
    rng = np.random.default_rng((seed, 31))
    quarter = rng.permutation(int(people.owner.max(initial=0)) + 1) % 4
    part = quarter[people.owner]
    pool, early, common = (picked(people.shapes, part == k) for k in (0, 1, 2))
    sessions = people.sessions()[::STEP]
    judged = sessions[(part == 3)[sessions[:, 0]]]
    if not len(judged) or min(len(pool), len(early), len(common)) < NEIGHBOUR:
        return {f"{kind} {size} after {count}": NOTHING for kind, size in MORPHS for count in EARLIER}
    genuine = picked(people.shapes, judged.ravel())
    unit = people.owner[judged[:, 0]].astype(np.str_)
    before = nearest(genuine, early), nearest(genuine, common, neighbour=NEIGHBOUR)
    found: dict[str, Interval] = {}
    for kind, size in MORPHS:
        own = pool.shape[rng.choice(len(pool), min(size, len(pool)), replace=False)]
        earlier, theirs = (_plain(morph(own, STROKES * k, kind, rng)) for k in (max(EARLIER), n))
        near, density = nearest(theirs, early), nearest(theirs, common, neighbour=NEIGHBOUR)
        for count in EARLIER:
            store = picked(earlier, np.arange(STROKES * count))
            people_figure = _tenth(np.minimum(before[0], nearest(genuine, store)), before[1])
            figure = _tenth(np.minimum(near, nearest(theirs, store)), density)
            names = np.arange(n).astype(np.str_)
            found[f"{kind} {size} after {count}"] = with_interval(side(people_figure, unit), side(figure, names), seed)[
                0
            ]
    return found


def morph(pool: NDArray[np.float32], n: int, kind: str, rng: np.random.Generator) -> NDArray[np.float32]:
    """Strokes (n, WIDTH) of a family that morphs a pool of shapes: bent a little, or two blended; a px of noise."""
    a, b = pool[rng.integers(0, len(pool), n)], pool[rng.integers(0, len(pool), n)]
    share = rng.uniform(0.85, 1.0, (n, 1)) if kind == "warped" else rng.uniform(0.2, 0.8, (n, 1))
    shape = share * a + (1.0 - share) * b
    shape[:, POINTS - 2 :] *= rng.uniform(0.9, 1.1, (n, 1))
    return np.asarray(shape + rng.normal(0.0, 1.0 / 300.0, (n, WIDTH)), dtype=np.float32)


def _plain(shape: NDArray[np.float32]) -> Shapes:
    return Shapes(shape, np.zeros(len(shape)), np.zeros(len(shape)))


def _tenth(near: Floats, density: Floats) -> Floats:
    """The lower, the riskier: so its negative is the score, by session of STROKES strokes."""
    values = relative(near, density).reshape(-1, STROKES)
    return -np.quantile(values, 0.1, axis=1)


def replay_targets(found: Replays) -> list[Target]:
    """The figures that replays and morphs are held to."""
    on = f"{found.replayed} sessions of {STROKES} strokes, {found.store} strokes of people stored"
    replays = listed(
        "replays found, over the transforms, mean / worst", "person", ("0.95", "0.99"), found.found, [], higher=True
    )
    false = listed(
        "genuine sessions falsely matched as replays, against all other people's strokes", "person",
        ("at most 1e-3", "at most 1e-4"), {"all people": found.false}, [], higher=False,
    )  # fmt: skip
    targets = [replace(replays, n=on), replace(false, n=found.false_by)]
    for count, least, aim in zip(EARLIER, ("0.75", "0.85", "0.95"), ("0.9", "0.95", "0.98"), strict=True):
        each = {name: one for name, one in found.morphs.items() if name.endswith(f" after {count}")}
        figure = f"morphed recordings of people, AUC after {count} earlier sessions, worst family"
        targets.append(replace(
            listed(figure, "person (nothing is trained)", (least, aim), each, [], higher=True),
            n="made by this evaluation: no such bots are in the data",
        ))  # fmt: skip
    return targets
