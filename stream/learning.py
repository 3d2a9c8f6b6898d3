"""What the learner learns of one flow: half-space trees over its usual sessions, and how scores spread among people.

Pure of Kafka and of the clock. Whom the bot channel is ranked among is the matter of `models.live_people`; the rest is
here. The anomaly channel asks how unlike the flow's usual sessions a session is, so trees and the spread of their
scores are learnt from unlabelled live sessions, less those that other channels flag, and with bounded influence: no
account, device or address may have more than a stated share of what is learnt.

The any-time calibration needs a session's highest score over all its vectors, and only a few vectors are kept. Where
every vector of a session was scored by trees of this learner, the highest score that was served stands; otherwise the
highest of the kept vectors by today's trees. These are the first of each amount of evidence and the one that the trees
of its time found strangest, so this value may lie below the true maximum, never above: until sessions were scored by
live trees from their beginning, the any-time scores of the channel err towards suspicion.
"""

from collections import Counter, OrderedDict, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from features.registry import N_FEATURES, REGISTRY_HASH
from models.anomaly import FlatHST
from models.anomaly_learn import AnomalyLearner
from models.bot_ranking import BotRanking
from models.calibration import MIN_PEOPLE, CalibrationBuilder, CalibrationTable
from models.cells import Cell
from models.live_people import LivePeople
from models.scorer import FloatArray
from models.snapshots import compact, make_snapshot
from schemas.base import Flow
from schemas.risk import CHANNELS
from schemas.served import ServedFeatures
from schemas.snapshot import Snapshot

ANOMALY: Final = CHANNELS.index("anomaly")
MAX_SESSIONS: Final = 2_000
"""Latest sessions that a calibration rests on."""
MAX_VECTORS: Final = 16
"""Vectors kept of one session, beside its strangest: the first of each amount of evidence."""
KNOWN_TREES: Final = 4
"""Latest trees of this learner by which a served score is recognised as theirs."""
INFLUENCE_WINDOW: Final = 500
"""Latest learnt vectors over which a source's share is bounded: it has at most that share of so many."""


@dataclass(slots=True)
class _Session:
    cell: Cell
    vectors: dict[str, tuple[Cell, NDArray[np.float32]]] = field(default_factory=dict)
    strangest: NDArray[np.float32] | None = None
    strangest_raw: float = -np.inf
    served_max: float = np.nan
    on_live_trees: bool = False
    learnt: set[str] = field(default_factory=set)


class Made(NamedTuple):
    """One flow's snapshots, what they hold, and how far live people would have moved its thresholds today.

    `rise_ratio` is over what a day allows: above 1 something was held back.
    """

    model: FlatHST
    table: CalibrationTable
    calibration: Snapshot
    trees: Snapshot
    rise_ratio: float


class FlowLearner:
    """The online model of one flow, resumed from its latest snapshot where there is one."""

    def __init__(
        self,
        flow: Flow,
        prior: FlatHST,
        latest: FlatHST | None,
        max_share_per_source: float,
        window_size: int | None = None,
        *,
        ranked: CalibrationTable | None = None,
        max_share_of_people: float = 0.01,
        max_daily_rise_ratio: float = 2.0,
    ) -> None:
        """`prior` gives features, limits and size; `latest` and `ranked` are what the flow's last snapshots hold."""
        self.flow = flow
        self._ranking = BotRanking(ranked, max_share_of_people, max_daily_rise_ratio)
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
        self._published: deque[FlatHST] = deque(maxlen=KNOWN_TREES)
        self._published_learnt = 0
        if latest is not None:
            self._published.append(latest)
            self._published_learnt = latest.n_learnt

    @property
    def people(self) -> LivePeople:
        """The sessions that rank the bot channel."""
        return self._ranking.people

    @property
    def learnt_since_snapshot(self) -> int:
        """Vectors learnt since the last published snapshot."""
        return self._trees.n_learnt - self._published_learnt

    def is_due(self, min_learnt: int) -> bool:
        """Whether a snapshot would serve something new: a window was completed since the last one.

        In between the trees that are served don't change, only what they count for the next window.
        """
        window = self._trees.river.window_size
        completed = self._trees.n_learnt // window > self._published_learnt // window
        return completed and self.learnt_since_snapshot >= min_learnt

    def learn(self, served: ServedFeatures) -> str | None:
        """Take one served vector; return why it was not learnt, None when it was.

        A session teaches the trees once for each amount of evidence, so that long sessions don't outweigh short ones.
        """
        if served.features_hash != REGISTRY_HASH:
            return "other_features"
        if len(served.features) != N_FEATURES or len(served.cell) != len(Cell._fields):
            return "malformed"
        self._ranking.people.take(served)
        if served.session_id in self._flagged or any(channel != "anomaly" for channel in served.flagged_by):
            self._remember_flagged(served.session_id)
            return "flagged"
        vector = np.array([np.nan if value is None else value for value in served.features], dtype=np.float64)
        cell = Cell(*served.cell)
        session = self._sessions.get(served.session_id)
        if session is None:
            session = self._sessions[served.session_id] = _Session(cell, on_live_trees=served.sequence == 1)
            while len(self._sessions) > MAX_SESSIONS:
                self._sessions.popitem(last=False)
        self._keep(session, cell, vector, served)
        if cell.evidence in session.learnt or len(session.learnt) >= MAX_VECTORS:
            return "same_evidence"
        source = served.source_ref or served.session_id
        if not self._may_influence(source):
            if not session.learnt:
                del self._sessions[served.session_id]
            return "influence"
        session.learnt.add(cell.evidence)
        self._trees.learn(vector[np.newaxis, :])
        return None

    def snapshots(self, offsets: Mapping[str, int], created_at: int) -> Made | None:
        """Return the trees and their calibration as snapshots; None while there are too few sessions for one.

        The two belong together: a calibration ranks the scores of exactly these trees.
        """
        if len(self._sessions) < MIN_PEOPLE or self._trees.n_learnt == 0:
            return None
        model = self._trees.export()
        if not model.ready:
            return None
        builder = CalibrationBuilder()
        for session_id, session in self._sessions.items():
            self._rank(builder, model, session_id, session)
        bots = self._ranking.make(created_at)
        both = {**builder.build("live").cells, **bots.cells}
        table = compact(CalibrationTable(both, "live", MIN_PEOPLE, scorers=bots.scorers, day=bots.day))
        made = {
            "features_hash": REGISTRY_HASH,
            "created_at": created_at,
            "offsets": offsets,
            "n_learnt": self._trees.n_learnt,
        }
        return Made(
            model,
            table,
            make_snapshot(table, self.flow, trees=model.hash, **made),  # type: ignore[arg-type]
            make_snapshot(model, self.flow, **made),  # type: ignore[arg-type]
            bots.rise_ratio,
        )

    def published(self, made: Made) -> None:
        """Count from these snapshots on: the broker has them."""
        self._published.append(made.model)
        self._ranking.published(made.table)
        self._published_learnt = made.trees.n_learnt

    def _keep(self, session: _Session, cell: Cell, vector: FloatArray, served: ServedFeatures) -> None:
        """Keep what the calibration needs of one more vector."""
        session.cell = cell
        small = vector.astype(np.float32)
        if cell.evidence not in session.vectors and len(session.vectors) < MAX_VECTORS:
            session.vectors[cell.evidence] = cell, small
        raw = served.raw.get("anomaly", np.nan)
        if raw > session.strangest_raw:
            session.strangest, session.strangest_raw = small, raw
        session.served_max = served.raw_max.get("anomaly", np.nan)
        # Scores are exact and travel exactly: equal means that these very trees gave it.
        session.on_live_trees = session.on_live_trees and (
            np.isnan(raw) or any(trees.raw(vector[np.newaxis, :])[0] == raw for trees in reversed(self._published))
        )

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
        scores = {
            evidence: float(model.raw(vector[np.newaxis, :].astype(np.float64))[0])
            for evidence, (_, vector) in session.vectors.items()
        }
        blank = np.full(len(CHANNELS), np.nan)
        for evidence, (cell, _) in session.vectors.items():
            raw = blank.copy()
            raw[ANOMALY] = scores[evidence]
            builder.add(session_id, cell, raw)
        highest = blank.copy()
        if session.on_live_trees and not np.isnan(session.served_max):
            highest[ANOMALY] = session.served_max
        else:
            known = list(scores.values())
            if session.strangest is not None:
                known.append(float(model.raw(session.strangest[np.newaxis, :].astype(np.float64))[0]))
            highest[ANOMALY] = np.fmax.reduce(known)
        builder.add(session_id, session.cell, blank, highest)
