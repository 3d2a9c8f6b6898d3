"""The keystroke scorer on people it was not made from, against bots with constant and with random delays.

Nothing is trained: the scorer's ranges are published ones. The bots with random delays are drawn here, from the usual
distributions that scripts use, and are no recordings: the report says so. Figures are by the number of keys seen.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from models.dataset import Floats, Recording, Truth
from models.evaluate_stats import NOTHING, Interval, Side, share_with_interval, side, with_interval
from models.keystroke_range import KeystrokeRange
from models.train_vectors import fold_recordings

PEOPLE_SOURCES: tuple[str, ...] = ("hofstra", "aalto_sample", "mobikey", "cmu_partial")
KEY_COUNTS: tuple[int, ...] = (10, 20, 40, 80)
MOST_SESSIONS = 400
SEEDS = 10

Delay = Callable[[np.random.Generator, int], tuple[Floats, Floats]]


def _uniform(rng: np.random.Generator, n: int) -> tuple[Floats, Floats]:
    low = rng.uniform(40.0, 120.0)
    return rng.uniform(low, low + rng.uniform(60.0, 250.0), n), rng.uniform(30.0, 90.0, n)


def _normal(rng: np.random.Generator, n: int) -> tuple[Floats, Floats]:
    mean = rng.uniform(90.0, 280.0)
    sd = mean * rng.uniform(0.1, 0.4)
    return np.maximum(rng.normal(mean, sd, n), 15.0), np.maximum(rng.normal(rng.uniform(50.0, 110.0), 15.0, n), 5.0)


def _lognormal(rng: np.random.Generator, n: int) -> tuple[Floats, Floats]:
    spread = rng.uniform(0.15, 0.45)
    return (
        np.exp(rng.normal(np.log(rng.uniform(100.0, 260.0)), spread, n)),
        np.exp(rng.normal(np.log(rng.uniform(60.0, 110.0)), rng.uniform(0.1, 0.3), n)),
    )


def _exponential(rng: np.random.Generator, n: int) -> tuple[Floats, Floats]:
    return rng.uniform(20.0, 60.0) + rng.exponential(rng.uniform(40.0, 160.0), n), np.full(n, rng.uniform(20.0, 80.0))


def _jittered(rng: np.random.Generator, n: int) -> tuple[Floats, Floats]:
    delay = rng.uniform(50.0, 200.0)
    return delay + rng.uniform(0.0, 0.3 * delay, n), np.maximum(rng.normal(5.0, 2.0, n), 0.5)


RANDOM_DELAYS: dict[str, Delay] = {
    "uniform": _uniform, "normal": _normal, "lognormal": _lognormal, "exponential": _exponential, "jittered": _jittered,
}  # fmt: skip


def random_delay_bot(
    name: str, classes: "np.ndarray[tuple[int], np.dtype[np.int64]]", rng: np.random.Generator
) -> Recording:
    """A bot that types these key classes with delays of the named kind; it types no faster than a key is held."""
    intervals, holds = RANDOM_DELAYS[name](rng, len(classes))
    down = np.concatenate(([0.0], np.cumsum(intervals[1:])))
    empty, codes = np.zeros(0), np.zeros(0, dtype=np.int64)
    # A script releases a key before it presses the next.
    up = down + np.minimum(holds, np.append(intervals[1:], np.inf) * 0.95)
    return Recording(
        f"delay-{name}", "random_delay", "none", None, empty, empty, empty, codes, codes,
        np.asarray(np.round(down, 1)), np.asarray(np.round(up, 1), dtype=np.float64), classes,
    )  # fmt: skip


def first_keys(recording: Recording, n: int) -> Recording | None:
    """The first n key presses; None when there are fewer."""
    if len(recording.key_down_ms) < n:
        return None
    origin = recording.key_down_ms[0]
    empty, codes = np.zeros(0), np.zeros(0, dtype=np.int64)
    return replace(
        recording,
        t_ms=empty, x=empty, y=empty, kind=codes, button=codes,
        key_down_ms=recording.key_down_ms[:n] - origin,
        key_up_ms=recording.key_up_ms[:n] - origin,
        key_class=recording.key_class[:n],
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class KeyResult:
    """Bots of a kind against the people of a source after so many keys; the worst seed where bots are drawn."""

    source: str
    bots: str
    keys: int
    people: int
    sessions: int
    auc: Interval
    found_at_1pct: Interval
    worst_seed_auc: float


@dataclass(frozen=True, slots=True)
class KeyPeople:
    """People of a source after so many keys: share at or above the bars of the stated prior."""

    source: str
    keys: int
    sessions: int
    flagged: dict[str, Interval]


def final_scores(scorer: KeystrokeRange, recordings: Iterable[Recording]) -> Floats:
    """Raw score of each recording at its end."""
    scores: list[float] = []
    for batch in _batches(recordings, 256):
        rows = np.stack([vectors[-1] for vectors in fold_recordings(batch)])
        scores += scorer.raw(rows).tolist()
    return np.asarray(scores)


def _batches(recordings: Iterable[Recording], size: int) -> Iterator[list[Recording]]:
    batch: list[Recording] = []
    for recording in recordings:
        batch.append(recording)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


def choose(recordings: Iterable[Recording], truths: dict[str, Truth], most: int, seed: int) -> list[Recording]:
    """At most `most` typing sessions a source, at random; all key bots."""
    found: dict[str, list[Recording]] = {}
    for recording in recordings:
        source = truths[recording.session_id].source
        if (source in PEOPLE_SOURCES or source == "key_gen") and len(recording.key_down_ms):
            found.setdefault(source, []).append(recording)
    chosen: list[Recording] = []
    for number, source in enumerate(sorted(found)):
        order = np.random.default_rng((seed, number)).permutation(len(found[source]))[:most]
        chosen += [found[source][i] for i in sorted(order.tolist())]
    return chosen


def evaluate_keys(
    sessions: list[Recording], truths: dict[str, Truth], scorer: KeystrokeRange, calibrate: Callable[[float], float],
    seeds: int = SEEDS,
) -> tuple[list[KeyResult], list[KeyPeople]]:  # fmt: skip
    """Figures for each source of people, kind of bot and number of keys."""
    results: list[KeyResult] = []
    people_results: list[KeyPeople] = []
    for keys in KEY_COUNTS:
        cut = [first for recording in sessions if (first := first_keys(recording, keys)) is not None]
        bots = [r for r in cut if truths[r.session_id].label == 1]
        families = np.asarray([truths[r.session_id].family for r in bots])
        constant = final_scores(scorer, bots)
        for source in PEOPLE_SOURCES:
            mine = [r for r in cut if truths[r.session_id].source == source]
            if len(mine) < 5:
                continue
            unit = np.asarray([truths[r.session_id].person or r.session_id for r in mine])
            scores = final_scores(scorer, mine)
            people = side(scores, unit)
            known = ~np.isnan(scores)
            calibrated = np.asarray([calibrate(v) for v in scores[known].tolist()])
            flagged = {f"{bar:g}": share_with_interval(calibrated >= bar, unit[known]) for bar in (0.95, 0.98)}
            people_results.append(KeyPeople(source, keys, len(mine), flagged))
            n = len(np.unique(unit))
            for family in np.unique(families):
                theirs = constant[families == family]
                pair = with_interval(people, side(theirs, np.arange(len(theirs)).astype(np.str_)))
                results.append(KeyResult(source, str(family), keys, n, len(theirs), *pair, float("nan")))
            results += [
                _random(name, source, keys, mine, people=people, scorer=scorer, n=n, seeds=seeds)
                for name in RANDOM_DELAYS
            ]
    return results, people_results


def _random(
    name: str,
    source: str,
    keys: int,
    mine: list[Recording],
    *,
    people: Side,
    scorer: KeystrokeRange,
    n: int,
    seeds: int,
) -> KeyResult:
    drawn: list[Floats] = []
    areas: list[float] = []
    for seed in range(seeds):
        rng = np.random.default_rng((seed, keys, sum(name.encode())))
        picked = rng.integers(0, len(mine), 100)
        scores = final_scores(scorer, [random_delay_bot(name, mine[i].key_class, rng) for i in picked.tolist()])
        drawn.append(scores)
        areas.append(with_interval(people, side(scores, np.arange(len(scores)).astype(np.str_)), bootstraps=1)[0].value)
    scores = np.concatenate(drawn)
    pair = with_interval(people, side(scores, np.arange(len(scores)).astype(np.str_)))
    return KeyResult(source, f"random delay: {name}", keys, n, len(scores), *pair, float(np.min(areas)))


__all__ = ["NOTHING", "KeyPeople", "KeyResult", "evaluate_keys"]
