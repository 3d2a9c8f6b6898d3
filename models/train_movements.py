"""Makes `movement_reference.json`: what is usual of people's movements, as aggregates over the sources that may ship.

`python -m models.train_movements DATA [OUT]` writes it byte for byte the same from the same data. Mean and principal
axes of all movements with a shape, and four numbers that say how dense they lie: fitted to the distance of each to the
20th nearest of a sample of other people's. No movement of any person is in it.
"""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from features.movement import POINTS, WIDTH, Shapes, movements_of
from features.session import columns_of, new_states
from models.dataset import Recording, read_recordings, read_truth
from models.movement_key import AXES, Reference
from models.train_vectors import events_of

SOURCES: Final = ("sapimouse", "balabit", "delbot")
"""People's recordings whose terms allow to ship what was learnt of them."""
NEIGHBOUR: Final = 20
SAMPLE: Final = 2_500
_LEAST_VARIANCE: Final = 1e-4
_SEED: Final = 41

Floats = NDArray[np.float64]


def movements_of_recording(recording: Recording) -> tuple[Shapes, Floats]:
    """Shapes and ln durations (ms) of a recording's movements, by the kernel that the pipeline uses."""
    events = events_of(recording)
    found = movements_of(new_states(1), np.zeros(len(events), dtype=np.int32), columns_of(events))
    return found.shape, found.log_ms


def people_of(data: Path) -> Iterator[tuple[str, Recording]]:
    """Recordings of people of SOURCES, with the person where the source names one, else the session."""
    truths = read_truth(data)
    for recording in read_recordings(data):
        truth = truths[recording.session_id]
        if not truth.label and truth.source in SOURCES and len(recording.t_ms):
            yield truth.person or recording.session_id, recording


def terms(shapes: NDArray[np.floating], mean: Floats, axes: Floats) -> Floats:
    """What the density is fitted on: float64[n, 4], as `movement_key._describe` computes it."""
    radius = np.sqrt((((shapes - mean) @ axes.T) ** 2).sum(axis=1))
    widest = np.abs(shapes[:, POINTS - 2 :]).max(axis=1)
    return np.stack([np.ones(len(shapes)), np.log(radius + 0.1), radius, np.log(widest + 0.02)], axis=1)


def neighbours(shapes: Floats, owner: NDArray[np.int64], rng: np.random.Generator) -> Floats:
    """Distance (root mean square over the shape) of each to the NEIGHBOUR-th nearest of a sample of other people's."""
    chosen = np.sort(rng.choice(len(shapes), min(SAMPLE, len(shapes)), replace=False))
    sample = shapes[chosen]
    out = np.empty(len(shapes))
    for begin in range(0, len(shapes), 1_000):
        some = shapes[begin : begin + 1_000]
        apart = (some**2).sum(axis=1)[:, None] + (sample**2).sum(axis=1)[None, :] - 2.0 * some @ sample.T
        apart[owner[begin : begin + 1_000][:, None] == owner[chosen][None, :]] = np.inf
        out[begin : begin + 1_000] = np.partition(apart, NEIGHBOUR - 1, axis=1)[:, NEIGHBOUR - 1]
    return np.sqrt(np.maximum(out, 1e-12) / WIDTH)


def fit(parts: Sequence[Shapes], persons: Sequence[str]) -> Reference:
    """The reference of these recordings' movements; `persons` has whose each recording is."""
    _, number = np.unique(np.asarray(persons), return_inverse=True)
    shapes = np.concatenate(parts).astype(np.float64)
    owner = np.repeat(number, [len(part) for part in parts]).astype(np.int64)
    mean = shapes.mean(axis=0)
    variances, vectors = np.linalg.eigh(np.cov((shapes - mean).T))
    order = np.argsort(-variances)[:AXES]
    axes = vectors[:, order].T
    # Of an axis the sign is arbitrary: the largest part is positive.
    axes *= np.sign(axes[np.arange(AXES), np.abs(axes).argmax(axis=1)])[:, None]
    axes /= np.sqrt(variances[order] + _LEAST_VARIANCE)[:, None]
    near = neighbours(shapes, owner, np.random.default_rng(_SEED))
    density = np.linalg.lstsq(terms(shapes, mean, axes), np.log(near), rcond=None)[0]

    def rounded(values: NDArray[np.floating]) -> list[float]:
        return [float(f"{value:.6g}") for value in values]

    return Reference(
        format=1,
        note=f"Aggregates of people's movements in {', '.join(SOURCES)}; made by models/train_movements.py.",
        people=len(np.unique(owner)),
        movements=len(shapes),
        mean=rounded(mean),
        axes=[rounded(axis) for axis in axes],
        density=rounded(density),
    )


def main(arguments: Sequence[str]) -> None:
    """Write the reference."""
    data = Path(arguments[0])
    out = Path(arguments[1]) if len(arguments) > 1 else Path(__file__).parent / "movement_reference.json"
    parts, persons = [], []
    for person, recording in people_of(data):
        shapes, _ = movements_of_recording(recording)
        if len(shapes):
            parts.append(shapes)
            persons.append(person)
    out.write_bytes(msgspec.json.format(msgspec.json.encode(fit(parts, persons)), indent=1) + b"\n")


if __name__ == "__main__":
    main(sys.argv[1:])
