"""The plain baseline beside which the models are shown: speed and pause statistics, LightGBM with its usual parameters.

What one would write in an afternoon: absolute speeds, accelerations, sample intervals and pauses of the window, trained
on the recorded windows alone, without transforms, counterparts or balance between sources.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.dataset import Floats, Recording
from models.train_vectors import CUTS_S, Sample, Table

NAMES: tuple[str, ...] = (
    "speed_mean", "speed_sd", "speed_max", "speed_median", "acceleration_mean", "acceleration_sd", "interval_mean",
    "interval_sd", "interval_median", "pause_count", "pause_share", "pause_mean", "path_px", "straightness",
    "turn_mean", "samples_per_s",
)  # fmt: skip
PAUSE_MS = 200.0


def measure(t: Floats, x: Floats, y: Floats) -> list[float]:
    """The baseline's figures of some samples (ms, px), in the order of NAMES; NaN where there are too few."""
    if len(t) < 5:
        return [float("nan")] * len(NAMES)
    dt, dx, dy = np.diff(t), np.diff(x), np.diff(y)
    step = np.hypot(dx, dy)
    timed = dt > 0
    speed = step[timed] / dt[timed]
    change = np.diff(speed) / dt[timed][1:] if timed.sum() > 1 else np.zeros(1)
    pauses = dt[dt > PAUSE_MS]
    path, span = float(step.sum()), max(float(t[-1] - t[0]), 1.0)
    heading = np.arctan2(dy, dx)[step > 0]
    turn = np.abs(np.angle(np.exp(1j * np.diff(heading)))) if len(heading) > 1 else np.zeros(1)
    if not len(speed):
        return [float("nan")] * len(NAMES)
    return [
        float(speed.mean()), float(speed.std()), float(speed.max()), float(np.median(speed)),
        float(np.abs(change).mean()) if len(change) else 0.0, float(change.std()) if len(change) else 0.0,
        float(dt.mean()), float(dt.std()), float(np.median(dt)),
        float(len(pauses)), float(pauses.sum()) / span, float(pauses.mean()) if len(pauses) else 0.0,
        path, float(np.hypot(x[-1] - x[0], y[-1] - y[0])) / max(path, 1.0), float(turn.mean()), 1000.0 * len(t) / span,
    ]  # fmt: skip


def at_cuts(recording: Recording, cuts_s: Sequence[float] = CUTS_S) -> NDArray[np.float32]:
    """The figures at each cut of observed time: float32 (cuts, NAMES)."""
    ends = np.searchsorted(recording.t_ms, np.asarray(cuts_s) * 1000.0, side="right")
    rows = [measure(recording.t_ms[:end], recording.x[:end], recording.y[:end]) for end in ends.tolist()]
    return np.asarray(rows, dtype=np.float32)


def tabulate(samples: Iterable[Sample]) -> NDArray[np.float32]:
    """Figures of samples in their order: float32 (samples, cuts, NAMES)."""
    return np.stack([at_cuts(sample.recording) for sample in samples])


def fit(X: NDArray[np.float32], table: Table, rows: NDArray[np.bool_], seed: int = 1) -> Any:
    """LightGBM with its default parameters on all cuts of `rows`. `X` is aligned with `table`."""
    import lightgbm

    sample, cut = np.nonzero(table.reached & ~np.isnan(X[:, :, 0]) & rows[:, None])
    parameters = {"objective": "binary", "seed": seed, "deterministic": True, "num_threads": 1, "verbosity": -1}
    return lightgbm.train(parameters, lightgbm.Dataset(X[sample, cut], label=table.label[sample]), 100)


def predict(booster: Any, X: NDArray[np.float32], rows: NDArray[np.bool_]) -> Floats:
    """Raw scores (samples, cuts), NaN outside `rows` and without samples."""
    out = np.full(X.shape[:2], np.nan)
    sample, cut = np.nonzero(~np.isnan(X[:, :, 0]) & rows[:, None])
    if len(sample):
        out[sample, cut] = booster.predict(X[sample, cut], num_threads=1)
    return out
