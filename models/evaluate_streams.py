"""The online trees on the labelled NAB streams, file by file: what workers serve against stock River.

One value a point. The served trees must give River's scores where the model is stock; how well either finds the
labelled windows stands beside it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models.anomaly import FlatHST
from models.anomaly_learn import AnomalyLearner
from models.dataset import DatasetError
from models.evaluate_stats import Floats, Side, auc, markdown_table, side, threshold_at

STREAMS: Final = Path("streams") / "nab.parquet"
PROBATION: Final = 0.15
"""Share at a stream's beginning that sets its limits and is not judged, as NAB does."""
TREES: Final = 10
HEIGHT: Final = 8
WINDOW: Final = 250


@dataclass(frozen=True, slots=True)
class Stream:
    """One NAB file: points judged, labelled ones, AUC of stock River and of what is served, largest difference.

    found: share of labelled windows with a point above the score that costs 1 % of the other points.
    """

    name: str
    points: int
    labelled: int
    river_auc: float
    served_auc: float
    difference: float
    windows: int
    found: float


def streams(data: Path) -> list[Stream]:
    """Every stream of the folder; empty where it has none. Raises DatasetError when the file cannot be read."""
    path = data / STREAMS
    if not path.is_file():
        return []
    import pyarrow as pa
    from pyarrow import parquet

    try:
        table = parquet.read_table(path, columns=["stream", "value", "is_anomaly"]).to_pydict()
    except (OSError, pa.ArrowException) as error:
        raise DatasetError(f"{path}: {str(error).partition(chr(10))[0]}") from None
    names = np.asarray(table["stream"])
    values, labels = np.asarray(table["value"], dtype=np.float64), np.asarray(table["is_anomaly"], dtype=np.int64)
    return [one_stream(str(n), values[names == n], labels[names == n]) for n in dict.fromkeys(names.tolist())]


def one_stream(name: str, values: Floats, labels: NDArray[np.int64], window_size: int = WINDOW) -> Stream:
    """Score a stream point by point, before it is learnt, by stock River and by the served form of its trees."""
    begin = max(int(PROBATION * len(values)), window_size)
    low, high = float(values[:begin].min()), float(values[:begin].max())
    margin = max(0.1 * (high - low), 1e-9)
    low, high = low - margin, high + margin
    learner = AnomalyLearner(
        ["value"], np.zeros(1, dtype=np.int64), np.asarray([low]), np.asarray([high]),
        n_trees=TREES, height=HEIGHT, window_size=window_size, seed=1,
    )  # fmt: skip
    stock = _stock(window_size)
    units = np.clip((values - low) / (high - low), 0.0, 1.0)
    river, served = np.full(len(values), np.nan), np.full(len(values), np.nan)
    flat: FlatHST | None = None
    for start in range(0, len(values), window_size):
        part = values[start : start + window_size, np.newaxis]
        if start:
            # Reference masses change only when a window is full: this is what a snapshot would serve meanwhile.
            flat = learner.export()
            served[start : start + len(part)] = flat.raw(part)
        for i in range(start, start + len(part)):
            if start:
                river[i] = stock.score_one({0: float(units[i])})
            stock.learn_one({0: float(units[i])})
        learner.learn(part)
    judged = np.arange(len(values)) >= begin
    ok, bad = judged & (labels == 0), judged & (labels == 1)
    plain, odd = _side(river[ok]), _side(river[bad])
    edges = np.flatnonzero(np.diff(labels * judged, prepend=0) == 1)
    threshold = threshold_at(plain, 0.01) if ok.any() else np.inf
    hit = [bool((river[at : at + _run(labels[at:])] > threshold).any()) for at in edges.tolist()]
    return Stream(
        name, int(judged.sum()), int(bad.sum()), auc(plain, odd), auc(_side(served[ok]), _side(served[bad])),
        float(np.nanmax(np.abs(river - served))) if flat is not None else float("nan"),
        len(hit), float(np.mean(hit)) if hit else float("nan"),
    )  # fmt: skip


def _stock(window_size: int) -> Any:
    from river.anomaly import HalfSpaceTrees

    return HalfSpaceTrees(n_trees=TREES, height=HEIGHT, window_size=window_size, seed=1)


def _side(scores: Floats) -> Side:
    return side(scores, np.arange(len(scores)).astype(np.str_))


def _run(labels: NDArray[np.int64]) -> int:
    ends = np.flatnonzero(labels == 0)
    return int(ends[0]) if len(ends) else len(labels)


def streams_text(found: Sequence[Stream]) -> str:
    """A row a stream."""
    head = ("stream", "points", "labelled", "AUC, stock River", "AUC, as served", "largest difference", "found at 1 %")
    rows = [
        f"| {s.name} | {s.points} | {s.labelled} | {s.river_auc:.3f} | {s.served_auc:.3f} | {s.difference:.1e} |"
        f" {s.found:.2f} of {s.windows} |"
        for s in found
    ]
    return markdown_table(head, rows)
