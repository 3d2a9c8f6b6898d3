"""Takeovers inside a session, spliced from recordings: another person, or a bot, goes on where somebody began.

Both are of the same instrument. The control is the same person's own next session, spliced in the same way, so that the
seam itself tells nothing. Measured are the pipeline's own scores, and a session's drift from its own beginning, which
nothing serves yet.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.anomaly import FlatHST
from models.bot import PointerModel
from models.dataset import Recording
from models.evaluate_stats import Floats, Side, auc, found_at, markdown_table, side, threshold_at
from models.train_fit import pointer_columns
from models.train_transforms import window
from models.train_vectors import OBSERVED, Sample, fold_recordings, in_batches

SPLICE_S: Final = 60.0
AFTER_S: Final = 60.0
STEP_S: Final = 5.0
SLICE_S: Final = 10.0
RECENT: Final = 2
"""Slices that the drift takes together."""
CLIPPED: Final = 4.0
LEAST_PEOPLE: Final = 4
"""Whose sessions are long enough; with fewer there is nobody to take the usual spread from."""
OWN: Final = "own session"
KINDS: Final = ("another person", "bot")
DRIFT: Final = "own drift (not served)"


@dataclass(frozen=True, slots=True)
class Takeover:
    """One kind of takeover by one statistic: sessions, AUC against controls, found at 1 % false alarms, delay (s)."""

    source: str
    kind: str
    statistic: str
    sessions: int
    controls: int
    auc: float
    found: float
    delay_s: float


@dataclass(frozen=True, slots=True)
class Spliced:
    """A session that goes on as another after SPLICE_S: what it is, and whose it was first."""

    kind: str
    person: str
    recording: Recording


def spliced(first: Recording, second: Recording) -> Recording:
    """The first SPLICE_S of one recording, then AFTER_S of another from its beginning, moved to where the hand was."""
    a, b = window(first, 0.0, SPLICE_S * 1000.0), window(second, 0.0, AFTER_S * 1000.0)
    if not len(a.t_ms) or not len(b.t_ms):
        return a
    dx, dy = float(a.x[-1] - b.x[0]), float(a.y[-1] - b.y[0])
    begin = max(SPLICE_S * 1000.0, float(a.t_ms[-1]) + 20.0)
    return replace(
        a,
        t_ms=np.concatenate([a.t_ms, b.t_ms + begin]),
        x=np.concatenate([a.x, b.x + dx]), y=np.concatenate([a.y, b.y + dy]),
        kind=np.concatenate([a.kind, b.kind]), button=np.concatenate([a.button, b.button]),
    )  # fmt: skip


def splice(samples: Sequence[Sample], seed: int = 1, most: int = 150) -> list[Spliced]:
    """Sessions of one source, long enough, spliced: with the person's own next one, another person's, and a bot's."""
    rng = np.random.default_rng((seed, 37))
    long = [s for s in samples if s.recording.duration_ms >= SPLICE_S * 1000.0]
    after = [s for s in samples if s.recording.duration_ms >= 0.5 * AFTER_S * 1000.0]
    people = [s for s in long if s.label == 0 and s.person]
    bots = [s for s in after if s.label == 1]
    order = rng.permutation(len(people))[:most]
    made: list[Spliced] = []
    for i in order.tolist():
        one = people[i]
        person = str(one.person)
        own = [s for s in after if s.person == one.person and s.recording.session_id != one.recording.session_id]
        others = [s for s in after if s.label == 0 and s.person and s.person != one.person]
        for kind, pool in ((OWN, own), (KINDS[0], others), (KINDS[1], bots)):
            if pool:
                goes_on = pool[int(rng.integers(len(pool)))].recording
                made.append(Spliced(kind, person, spliced(one.recording, goes_on)))
    return made


def own_drift(vectors: Floats, spread: Floats) -> Floats:
    """How far each slice lies from the slices of the session's first SPLICE_S, in people's own spread.

    vectors: (slices, inputs) at STEP_S; spread: (inputs,). Mean over inputs of the clipped distance of RECENT slices.
    """
    begin = int((SPLICE_S - SLICE_S) / STEP_S) + 1
    known = ~np.isnan(vectors[:begin])
    base = np.where(known, vectors[:begin], 0.0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
    enough = known.sum(axis=0) >= 3
    out = np.full(len(vectors), np.nan)
    for i in range(RECENT - 1, len(vectors)):
        part = vectors[i - RECENT + 1 : i + 1]
        seen = ~np.isnan(part)
        mean = np.where(seen, part, 0.0).sum(axis=0) / np.maximum(seen.sum(axis=0), 1)
        use = enough & seen.any(axis=0)
        if use.sum() >= 10:
            out[i] = float(np.minimum(np.abs(mean[use] - base[use]) / spread[use], CLIPPED).mean())
    return out


def slices(recording: Recording) -> list[Recording]:
    """Overlapping slices of SLICE_S each STEP_S."""
    n = int((recording.duration_ms / 1000.0 - SLICE_S) // STEP_S) + 1
    return [window(recording, k * STEP_S * 1000.0, SLICE_S * 1000.0) for k in range(max(n, 0))]


def takeovers(
    source: str, made: Sequence[Spliced], pointer: PointerModel, anomaly: FlatHST, seed: int = 1
) -> list[Takeover]:
    """Every statistic on every kind, against the controls; empty where there are too few people.

    pointer, anomaly: trained without the source.
    """
    columns = pointer_columns()
    drifts = [_sliced(one.recording, columns) for one in made]
    persons = np.asarray([one.person for one in made])
    if len(np.unique(persons)) < LEAST_PEOPLE:
        return []
    fold = {p: k % 2 for k, p in enumerate(np.random.default_rng((seed, 41)).permutation(np.unique(persons)).tolist())}
    spread = [_spread([d for d, p in zip(drifts, persons, strict=True) if fold[p] != q]) for q in range(2)]
    traces: dict[str, list[tuple[Floats, Floats]]] = {
        "bot score": [], "anomaly score": [], DRIFT: [],
    }  # fmt: skip
    for one, vectors in zip(made, drifts, strict=True):
        drift = own_drift(vectors, spread[fold[one.person]])
        traces[DRIFT].append((np.asarray(np.arange(len(drift)) * STEP_S + SLICE_S, dtype=np.float64), drift))
    dummy = [Sample(one.recording, 0, source, source, one.person, None) for one in made]
    for batch in in_batches(dummy):
        for vectors in fold_recordings([s.recording for s in batch]):
            at = vectors[:, OBSERVED]
            traces["bot score"].append((at, pointer.raw(vectors)))
            traces["anomaly score"].append((at, anomaly.raw(vectors)))
    kinds = np.asarray([one.kind for one in made])
    found: list[Takeover] = []
    for name, mine in traces.items():
        # Before the seam everybody is themselves: what rises from there on counts.
        top = np.asarray([_rise(at, values) for at, values in mine])
        control = top[kinds == OWN]
        for kind in KINDS:
            theirs = top[kinds == kind]
            people, taken = _side(control).known(), _side(theirs).known()
            if len(people.score) < 5 or len(taken.score) < 5:
                found.append(Takeover(source, kind, name, len(taken.score), len(people.score), *[float("nan")] * 3))
                continue
            threshold = threshold_at(people, 0.01)
            delays = [
                delay
                for (at, values), is_it in zip(mine, kinds == kind, strict=True)
                if is_it and (delay := _delay(at, values, threshold)) is not None
            ]
            found.append(Takeover(
                source, kind, name, len(taken.score), len(people.score), auc(people, taken),
                found_at(people, taken, 0.01), float(np.median(delays)) if delays else float("nan"),
            ))  # fmt: skip
    return found


def _sliced(recording: Recording, columns: NDArray[np.int64]) -> Floats:
    parts = slices(recording)
    if not parts:
        return np.zeros((0, len(columns)))
    return np.stack([vectors[-1][columns] for vectors in fold_recordings(parts)])


def _spread(sessions: Sequence[Floats]) -> Floats:
    """How much people's slices of the first SPLICE_S differ within a session, by input (at least a little)."""
    begin = int((SPLICE_S - SLICE_S) / STEP_S) + 1
    own = np.stack([_deviation(one[:begin]) for one in sessions if len(one) >= begin])
    typical = [float(np.median(column[~np.isnan(column)])) if (~np.isnan(column)).any() else 0.0 for column in own.T]
    return np.asarray([one if one > 1e-6 else np.inf for one in typical])


def _deviation(vectors: Floats) -> Floats:
    """Standard deviation of each input over slices; NaN where fewer than three know it."""
    known = ~np.isnan(vectors)
    n = np.maximum(known.sum(axis=0), 1)
    mean = np.where(known, vectors, 0.0).sum(axis=0) / n
    square = np.where(known, (vectors - mean) ** 2, 0.0).sum(axis=0) / n
    return np.asarray(np.where(known.sum(axis=0) >= 3, np.sqrt(square), np.nan))


def _level(at: Floats, values: Floats) -> float:
    before = values[(at <= SPLICE_S) & ~np.isnan(values)]
    return float(before[-1]) if len(before) else 0.0


def _rise(at: Floats, values: Floats) -> float:
    after = values[(at > SPLICE_S) & (at <= SPLICE_S + AFTER_S) & ~np.isnan(values)]
    return float(after.max() - _level(at, values)) if len(after) else float("nan")


def _delay(at: Floats, values: Floats, threshold: float) -> float | None:
    late = (at > SPLICE_S) & (values - _level(at, values) > threshold)
    return float(at[late][0] - SPLICE_S) if late.any() else None


def sources_of(samples: Iterable[Sample]) -> dict[str, list[Sample]]:
    """Samples by the source whose instrument they went through."""
    found: dict[str, list[Sample]] = {}
    for sample in samples:
        found.setdefault(sample.group, []).append(sample)
    return found


def takeovers_text(taken: Sequence[Takeover]) -> str:
    """A row for each source, kind and statistic."""
    head = ("source", "goes on as", "by", "sessions (controls)", "AUC", "found at 1 %", "median delay, s")
    rows = [
        f"| `{t.source}` | {t.kind} | {t.statistic} | {t.sessions} ({t.controls}) | {_number(t.auc, 3)} |"
        f" {_number(t.found, 2)} | {_number(t.delay_s, 0)} |"
        for t in taken
    ]
    return markdown_table(head, rows)


def _number(value: float, digits: int) -> str:
    return "n=0" if np.isnan(value) else f"{value:.{digits}f}"


def _side(scores: Floats) -> Side:
    return side(scores, np.arange(len(scores)).astype(np.str_))
