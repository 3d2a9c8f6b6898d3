"""What the learner learns of one flow: half-space trees over its usual sessions, and how their scores spread.

Pure of Kafka and of the clock. The anomaly channel asks how unlike the flow's usual sessions a session is, so both are
learnt from unlabelled live sessions, less those that other channels flag, and with bounded influence: no account,
device or address may have more than a stated share of what is learnt.
"""

from collections import Counter, OrderedDict, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from features.registry import N_FEATURES, REGISTRY_HASH
from models.anomaly import FlatHST
from models.anomaly_learn import AnomalyLearner
from models.calibration import MIN_PEOPLE, CalibrationBuilder
from models.cells import Cell
from models.scorer import FloatArray
from models.snapshots import make_snapshot
from schemas.base import Flow
from schemas.risk import CHANNELS
from schemas.served import ServedFeatures
from schemas.snapshot import Snapshot

ANOMALY: Final = CHANNELS.index("anomaly")
MAX_SESSIONS: Final = 2_000
"""Latest sessions that a calibration rests on."""
MAX_VECTORS: Final = 64
"""Vectors kept of one session."""
INFLUENCE_WINDOW: Final = 500
"""Latest learnt vectors over which a source's share is bounded: it has at most that share of so many."""


@dataclass(slots=True)
class _Session:
    vectors: list[tuple[Cell, FloatArray]] = field(default_factory=list)
    learnt: set[str] = field(default_factory=set)
    ended: bool = False


class FlowLearner:
    """The online model of one flow, resumed from its latest snapshot where there is one."""

    def __init__(
        self,
        flow: Flow,
        prior: FlatHST,
        latest: FlatHST | None,
        max_share_per_source: float,
        window_size: int | None = None,
    ) -> None:
        """`prior` gives features, limits and size; `latest` is what the flow's last snapshot holds."""
        self.flow = flow
        self._trees = (
            AnomalyLearner.resume(latest)
            if latest is not None
            else AnomalyLearner(
                prior.names,
                prior.inputs,
                prior.low,
                prior.high,
                n_trees=len(prior.arrays.feature),
                height=prior.arrays.feature.shape[1].bit_length(),
                window_size=window_size or prior.window_size,
            )
        )
        self._max_share = max_share_per_source
        self._sessions: OrderedDict[str, _Session] = OrderedDict()
        self._flagged: OrderedDict[str, None] = OrderedDict()
        self._recent: deque[str] = deque(maxlen=INFLUENCE_WINDOW)
        self._of_source: Counter[str] = Counter()
        self.learnt_since_snapshot = 0

    def learn(self, served: ServedFeatures) -> str | None:
        """Take one served vector; return why it was not learnt, None when it was.

        A session teaches the trees once for each amount of evidence, so that long sessions don't outweigh short ones.
        """
        if served.features_hash != REGISTRY_HASH:
            return "other_features"
        if len(served.features) != N_FEATURES or len(served.cell) != len(Cell._fields):
            return "malformed"
        if served.session_id in self._flagged or any(channel != "anomaly" for channel in served.flagged_by):
            self._remember_flagged(served.session_id)
            return "flagged"
        session = self._sessions.get(served.session_id)
        if session is None:
            session = self._sessions[served.session_id] = _Session()
            while len(self._sessions) > MAX_SESSIONS:
                self._sessions.popitem(last=False)
        vector = np.array([np.nan if value is None else value for value in served.features], dtype=np.float64)
        cell = Cell(*served.cell)
        session.ended |= served.is_final
        if len(session.vectors) < MAX_VECTORS:
            session.vectors.append((cell, vector))
        if cell.evidence in session.learnt:
            return "same_evidence"
        source = served.source_ref or served.session_id
        if not self._may_influence(source):
            if not session.learnt:
                del self._sessions[served.session_id]
            return "influence"
        session.learnt.add(cell.evidence)
        self._trees.learn(vector[np.newaxis, :])
        self.learnt_since_snapshot += 1
        return None

    def snapshots(self, offsets: Mapping[str, int], created_at: int) -> list[Snapshot]:
        """Return the trees and their calibration as snapshots; none while there are too few sessions for one.

        The two belong together: a calibration ranks the scores of exactly these trees.
        """
        if len(self._sessions) < MIN_PEOPLE or self._trees.n_learnt == 0:
            return []
        model = self._trees.export()
        if not model.ready:
            return []
        builder = CalibrationBuilder()
        for session_id, session in self._sessions.items():
            self._rank(builder, model, session_id, session)
        self.learnt_since_snapshot = 0
        table = builder.build("live")
        made = {
            "features_hash": REGISTRY_HASH,
            "created_at": created_at,
            "offsets": offsets,
            "n_learnt": self._trees.n_learnt,
        }
        return [make_snapshot(table, self.flow, **made), make_snapshot(model, self.flow, **made)]  # type: ignore[arg-type]

    def _remember_flagged(self, session_id: str) -> None:
        """Once flagged, a session teaches nothing more, also where its later vectors look harmless."""
        self._sessions.pop(session_id, None)
        self._flagged[session_id] = None
        while len(self._flagged) > MAX_SESSIONS:
            self._flagged.popitem(last=False)

    def _may_influence(self, source: str) -> bool:
        # Of the whole window also while it fills, so that nobody can be most of what is learnt first. One always may.
        if self._of_source[source] + 1 > max(1.0, self._max_share * INFLUENCE_WINDOW):
            return False
        if len(self._recent) == self._recent.maxlen:
            oldest = self._recent[0]
            self._of_source[oldest] -= 1
            if self._of_source[oldest] <= 0:
                del self._of_source[oldest]
        self._recent.append(source)
        self._of_source[source] += 1
        return True

    @staticmethod
    def _rank(builder: CalibrationBuilder, model: FlatHST, session_id: str, session: _Session) -> None:
        scores = model.raw(np.stack([vector for _, vector in session.vectors]))
        blank = np.full(len(CHANNELS), np.nan)
        ranked: set[str] = set()
        for (cell, _), score in zip(session.vectors, scores.tolist(), strict=True):
            if cell.evidence in ranked:
                continue
            ranked.add(cell.evidence)
            raw = blank.copy()
            raw[ANOMALY] = score
            builder.add(session_id, cell, raw)
        highest: list[float] = blank.tolist()
        highest[ANOMALY] = np.nanmax(scores) if not np.isnan(scores).all() else np.nan
        builder.add(session_id, session.vectors[-1][0], blank, highest)
