"""What new models and a new policy must survive before they serve: the scorers' public check, on rows at the edge.

Golden rows say that a model is the one that was trained. These rows say that it keeps its promises where no training
row was: nothing known, every feature at its limits, the largest and smallest numbers there are. Run it in a process of
its own (`stream.trial`): a model may also crash, hang or eat memory.
"""

from collections.abc import Callable
from typing import Final

import numpy as np

from features.camera import Camera
from features.fusion import RESULTS
from features.meta import Meta
from features.registry import HIGH, LOW, N_FEATURES
from features.signal_table import SIGNALS
from features.velocity import PAIR_NAMES
from models.assessment import Assessment
from models.engine import Engine
from models.errors import ArtifactError
from models.scorer import FloatArray, check_scorer
from schemas.base import FLOWS
from schemas.risk import CHANNELS, ChannelScore, SignalValue, Velocity

LARGEST: Final = float(np.finfo(np.float64).max)
SMALLEST: Final = 5e-324
_EVERY_SIGNAL: Final = {
    name: SignalValue(value=True, severity=signal.severity, confidence="high") for name, signal in SIGNALS.items()
}
_CAMERA: Final = Camera(results=dict.fromkeys(RESULTS, (0, 0, 0)))
_MANY: Final = {name: Velocity(m5=10**9, h1=10**9, h24=10**9) for name in PAIR_NAMES}


def edge_rows() -> FloatArray:
    """Vectors (n, N_FEATURES) as no session has them; the first has no data at all. None holds an infinity."""
    odd = np.arange(N_FEATURES) % 2 == 1
    everywhere = [np.full(N_FEATURES, value) for value in (np.nan, 0.0, LARGEST, -LARGEST, SMALLEST, -SMALLEST)]
    mixed = [np.where(odd, LARGEST, -LARGEST), np.where(odd, np.nan, LARGEST), np.where(odd, LOW, np.nan)]
    return np.array([*everywhere, LOW, HIGH, *mixed])


def try_out(engine: Engine, clock: Callable[[], float] | None = None) -> None:
    """Score golden and edge rows with every model, and decide on them in every flow.

    `clock` (seconds, best of processor time) bounds how long a model may take for a row. Raises ArtifactError with one
    line unless every score is a number from 0 to 1 or no score.
    """
    golden = engine.artifacts.manifest.golden.rows
    rows = np.array([[np.nan if value is None else value for value in row] for row in golden], dtype=np.float64)
    rows = np.vstack([edge_rows(), rows])
    for scorer in engine.artifacts.scorers().values():
        try:
            check_scorer(scorer, rows, clock=clock)
        except AssertionError as broken:
            raise ArtifactError(f"does not keep what a model promises: {broken}") from None
    for flow in FLOWS:
        for signals, velocity in (({}, {}), (_EVERY_SIGNAL, _MANY)):
            raw = engine.raw(rows, [flow] * len(rows), [signals] * len(rows), None, [_CAMERA] * len(rows))
            for x, its_raw in zip(rows, raw, strict=True):
                meta = Meta(flow=flow, pointer_type="mouse", collector="trial", ended=True, camera=_CAMERA)
                # Twice: a latched decision is another way through the policy.
                for _ in range(2):
                    _check(engine.assess(x, its_raw, meta, signals, velocity, ["counters"]), flow)


def _check(found: Assessment, flow: str) -> None:
    scores = found.scores
    values: dict[str, float | None] = {"overall": scores.overall, "overall any-time": scores.overall_anytime}
    for channel in CHANNELS:
        of: ChannelScore | None = getattr(scores, channel)
        if of is not None:
            values |= {f"{channel} now": of.score, f"{channel} any-time": of.score_anytime, f"{channel} raw": of.raw}
    for name, value in values.items():
        if value is not None and not 0.0 <= value <= 1.0:
            raise ArtifactError(f"gives the score {value:g} ({name}, flow {flow}): scores are numbers from 0 to 1")
