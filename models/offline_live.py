"""What a live system would have learnt so far, for scoring recorded sessions in arrival order (`score --stream`).

After each finished session its vectors teach the flow's half-space trees, and its raw scores join the calibration of
its flow and source, unless an independent channel flagged it. What is served changes only at refreshes, as with
snapshots. Sessions are the unit where no account is known. Nothing is read but what the scorer itself saw.
"""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from models.anomaly import FlatHST
from models.anomaly_learn import AnomalyLearner
from models.calibration import MIN_PEOPLE, CalibrationBuilder, CalibrationTable
from models.cells import Cell
from models.engine import ANOMALY, BOT, Engine
from models.live_people import INDEPENDENT
from models.scorer import FloatArray
from models.snapshots import EMPTY, SnapshotSet
from schemas.risk import CHANNELS

KEPT_SESSIONS: Final = 2_000
"""Latest sessions of a flow that the calibration rests on."""


@dataclass(slots=True)
class Finished:
    """What is learnt of one finished session: by amount of evidence, its latest vector and raw scores."""

    session_id: str
    person: str
    flow: str
    cells: dict[str, tuple[Cell, FloatArray, FloatArray]] = field(default_factory=dict)
    raw_max: list[float] = field(default_factory=list)
    on_live_trees: bool = False
    """All of it was scored by trees learnt live: its highest anomaly score compares with those of later sessions."""
    flagged_by: Sequence[str] = ()


class LiveModels:
    """Learns finished sessions in the order given; `current` is what is served until the next refresh."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._flows: dict[str, _Flow] = {}
        self.current: SnapshotSet = EMPTY

    def learn(self, finished: Finished) -> None:
        """Learn one finished session, and refresh what is served when it is due: each 50 to 100 sessions of a flow."""
        flow = self._flows.get(finished.flow)
        if flow is None:
            prior = self._engine.anomaly_of(finished.flow)
            flow = self._flows[finished.flow] = _Flow(prior)
        if flow.learn(finished):
            anomaly, calibration = dict(self.current.anomaly), dict(self.current.calibration)
            trees, table = flow.refresh()
            if trees is not None:
                anomaly[finished.flow] = trees
            calibration[finished.flow] = table
            self.current = SnapshotSet(anomaly, calibration)


class _Flow:
    """One flow's trees, and its latest sessions."""

    def __init__(self, prior: FlatHST | None) -> None:
        self._trees: AnomalyLearner | None = None
        if prior is not None:
            self._trees = AnomalyLearner(
                prior.names, prior.inputs, prior.low, prior.high, window_size=prior.window_size
            )
        self._sessions: OrderedDict[str, Finished] = OrderedDict()
        self._learnt = 0
        self._next = MIN_PEOPLE

    def learn(self, finished: Finished) -> bool:
        """Take a session; True when it is time to refresh."""
        if INDEPENDENT.intersection(finished.flagged_by) or not finished.cells:
            return False
        self._sessions[finished.session_id] = finished
        if len(self._sessions) > KEPT_SESSIONS:
            self._sessions.popitem(last=False)
        if self._trees is not None:
            self._trees.learn(np.stack([vector for _, vector, _ in finished.cells.values()]).astype(np.float64))
        self._learnt += 1
        if self._learnt < self._next:
            return False
        # Often enough that a new source is soon ranked among its own people; not so often that refreshing is the work.
        self._next = self._learnt + min(max(MIN_PEOPLE, self._learnt // 20), 2 * MIN_PEOPLE)
        return True

    def refresh(self) -> tuple[FlatHST | None, CalibrationTable]:
        """The trees, once a whole window was learnt, and the calibration of exactly their scores."""
        trees: FlatHST | None = None
        if self._trees is not None and self._trees.n_learnt:
            trees = self._trees.export()
            trees = trees if trees.ready else None
        builder = CalibrationBuilder()
        for finished in self._sessions.values():
            self._rank(builder, finished, trees)
        return trees, builder.build("live")

    @staticmethod
    def _rank(builder: CalibrationBuilder, finished: Finished, trees: FlatHST | None) -> None:
        cells = list(finished.cells.values())
        anomaly = np.full(len(cells), np.nan)
        if trees is not None:
            anomaly = trees.raw(np.stack([vector for _, vector, _ in cells]).astype(np.float64))
        largest = np.full(len(CHANNELS), np.nan)
        largest[BOT] = finished.raw_max[BOT]
        if finished.on_live_trees:
            largest[ANOMALY] = finished.raw_max[ANOMALY]
        elif not np.isnan(anomaly).all():
            # The best that is known of it: its events were scored by other trees, and only these vectors are kept.
            largest[ANOMALY] = np.nanmax(anomaly)
        for k, (cell, _, raw) in enumerate(cells):
            row = np.full(len(CHANNELS), np.nan)
            row[BOT], row[ANOMALY] = raw[BOT], anomaly[k]
            builder.add(finished.person, cell, row, largest.tolist() if k == len(cells) - 1 else None)
