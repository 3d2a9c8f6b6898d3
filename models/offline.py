"""Scores recorded sessions and telemetry files offline, by the functions that the pipeline itself uses.

Each event goes the pipeline's way: fold, context, signals, raw scores, assessment. At each cut of observed time the
session's latest assessment within the cut becomes a row. A label, family, user or note is never read (see
`models.dataset`), and a session's id only names its rows.
"""

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import zip_longest
from typing import Final

import numpy as np

from features.fill import fill_context
from features.registry import N_FEATURES
from features.session import Meta, columns_of, fold_chunk, new_states
from features.signals import derive_signals
from models.dataset import Recording
from models.engine import Assessment, Engine
from models.offline_live import Finished, LiveModels
from models.offline_movements import OfflineMovements
from models.scorer import FloatArray
from models.snapshots import EMPTY
from models.train_vectors import END, OBSERVED, events_of
from schemas.base import Flow
from schemas.risk import CHANNELS, SignalValue
from schemas.telemetry import Telemetry

SEGMENT_EVENTS: Final = 1_024
BATCH_SESSIONS: Final = 256
"""Recorded sessions that are scored side by side."""
STREAM_SESSIONS: Final = 16
"""The same when learning: so many sessions are in progress at once."""
MAX_OPEN: Final = 100_000
"""Sessions of a telemetry file that may be open at once; beyond it the one idle longest is closed."""


@dataclass(frozen=True, slots=True)
class Cut:
    """A cut of observed time: its name in the output, and seconds (inf: the session's end)."""

    name: str
    seconds: float


def parse_cuts(text: str) -> tuple[Cut, ...]:
    """Cuts of a list like `1,2,5,10,end`. Raises ValueError with one line."""
    cuts: list[Cut] = []
    for part in (p.strip() for p in text.split(",")):
        if part == "end":
            cuts.append(Cut("end", END))
            continue
        try:
            seconds = float(part)
        except ValueError:
            seconds = -1.0
        if not 0.0 < seconds <= 86_400.0:
            raise ValueError(f"{part[:20]!r} is no cut: use seconds above 0, or `end`, separated by commas")
        cuts.append(Cut(f"{seconds:g}", seconds))
    if len({cut.seconds for cut in cuts}) != len(cuts):
        raise ValueError("a cut appears twice")
    return tuple(sorted(cuts, key=lambda cut: cut.seconds))


@dataclass(frozen=True, slots=True)
class ScoredCut:
    """A session at a cut; `assessment` is None where nothing had been observed by then."""

    session_id: str
    cut: Cut
    observed_s: float
    assessment: Assessment | None


@dataclass(slots=True)
class _Open:
    """A session in progress."""

    slot: int
    meta: Meta
    passed: int = 0
    """Cuts that are done."""
    latest: tuple[float, Assessment] | None = None
    rows: list[ScoredCut] = field(default_factory=list)
    finished: Finished | None = None


class OfflineScorer:
    """Scores events in the order given. Sessions are independent of each other unless `stream` is set.

    Args:
        engine: What scores and decides.
        cuts: Where rows are written, ascending.
        stream: Learn the anomaly models and the calibration from finished sessions, in order, and compare each
            session's movements with those of the sessions before.
        max_open: Sessions that may be in progress at once.
    """

    def __init__(self, engine: Engine, cuts: Sequence[Cut], *, stream: bool = False, max_open: int = MAX_OPEN) -> None:
        self._engine = engine
        self._cuts = tuple(cuts)
        self._live = LiveModels(engine) if stream else None
        self._movements = OfflineMovements() if stream else None
        self._max_open = max_open
        self._open: OrderedDict[str, _Open] = OrderedDict()
        self._ended: OrderedDict[str, None] = OrderedDict()
        self._states = new_states(64)
        self._free = list(range(63, -1, -1))
        self.sessions_total = 0
        self.events_total = 0
        self.repeats_total = 0
        """Events left out because their sequence number had been seen."""
        self.after_end_total = 0
        """Events left out because their session had ended: its rows are written already."""
        self.closed_early_total = 0
        """Sessions closed without an end to bound the memory."""

    def recordings(self, recordings: Iterable[Recording], flow: Flow = "signup") -> Iterator[list[ScoredCut]]:
        """Score recorded sessions; the rows of one session at a time, in the order of the recordings."""
        limit = STREAM_SESSIONS if self._live is not None else BATCH_SESSIONS
        names: list[str] = []
        batch: list[list[Telemetry]] = []
        for number, recording in enumerate(recordings):
            # A number stands for the id inside, so that neither its text nor a repeat of it can matter.
            names.append(recording.session_id)
            batch.append(events_of(replace(recording, session_id=f"recording-{number}"), flow))
            if len(batch) == limit:
                yield from self._side_by_side(names, batch)
                names, batch = [], []
        if batch:
            yield from self._side_by_side(names, batch)

    def _side_by_side(self, names: list[str], sessions: list[list[Telemetry]]) -> Iterator[list[ScoredCut]]:
        done: dict[str, list[ScoredCut]] = {}
        for turn in zip_longest(*sessions):
            for rows in self.feed([event for event in turn if event is not None]):
                done[rows[0].session_id] = rows
        for name, events in zip(names, sessions, strict=True):
            yield [replace(row, session_id=name) for row in done[events[0].session_id]]

    def records(self, events: Iterable[Telemetry]) -> Iterator[list[ScoredCut]]:
        """Score telemetry records in arrival order; rows of a session when it ends, the others' when the input does."""
        pending: list[Telemetry] = []
        inside: set[str] = set()
        for event in events:
            if event.session_id in inside or len(pending) >= SEGMENT_EVENTS:
                yield from self.feed(pending)
                pending, inside = [], set()
            pending.append(event)
            inside.add(event.session_id)
        yield from self.feed(pending)
        for session_id in list(self._open):
            yield self._close(session_id)

    def feed(self, events: Sequence[Telemetry]) -> list[list[ScoredCut]]:
        """Score a segment of events in which no session occurs twice; rows of the sessions that ended in it."""
        held: list[_Open] = []
        fresh: list[Telemetry] = []
        for event in events:
            if event.session_id in self._ended:
                self.after_end_total += 1
                continue
            session = self._session(event.session_id)
            if session.meta.seen(event.sequence) != "new":
                self.repeats_total += 1
                continue
            session.meta.mark(event.sequence)
            session.meta.observe(event, event.observed_at)
            held.append(session)
            fresh.append(event)
        if fresh:
            self._evaluate(fresh, held)
        ended = [self._close(event.session_id) for event in fresh if event.end is not None]
        while len(self._open) > self._max_open:
            self.closed_early_total += 1
            ended.append(self._close(next(iter(self._open))))
        return ended

    def _evaluate(self, events: list[Telemetry], held: list[_Open]) -> None:
        engine = self._engine
        snapshot = self._live.current if self._live is not None else EMPTY
        slots = np.asarray([session.slot for session in held], dtype=np.int32)
        vectors = np.full((len(events), N_FEATURES), np.nan)
        columns = columns_of(events)
        fold_chunk(self._states, slots, columns, vectors)
        metas = [session.meta for session in held]
        if self._movements is not None:
            session_ids = [event.session_id for event in events]
            for session_id, meta in zip(session_ids, metas, strict=True):
                self._movements.answer(session_id, meta)
            self._movements.take(self._states, slots, columns, session_ids, metas)
        signals: list[dict[str, SignalValue]] = []
        for vector, event, session in zip(vectors, events, held, strict=True):
            fill_context(vector, session.meta)
            signals.append(derive_signals(event, session.meta, vector))
        raw = engine.raw(vectors, [meta.flow for meta in metas], signals, snapshot, [meta.camera for meta in metas])
        for i, session in enumerate(held):
            observed_s = float(vectors[i, OBSERVED])
            # Before this event is taken over: cuts that it lies beyond show what was known until then.
            self._pass_cuts(events[i].session_id, session, observed_s)
            assessment = engine.assess(vectors[i], raw[i], session.meta, signals[i], {}, (), snapshot)
            session.latest = (observed_s, assessment)
            if self._live is not None:
                self._note(events[i], session, assessment, vectors[i], raw[i])
        self.events_total += len(events)

    def _pass_cuts(self, session_id: str, session: _Open, observed_s: float) -> None:
        while session.passed < len(self._cuts) and observed_s > self._cuts[session.passed].seconds + 1e-9:
            session.rows.append(self._row(session_id, session))
            session.passed += 1

    def _row(self, session_id: str, session: _Open) -> ScoredCut:
        cut = self._cuts[session.passed]
        if session.latest is None:
            return ScoredCut(session_id, cut, 0.0, None)
        return ScoredCut(session_id, cut, *session.latest)

    def _note(
        self, event: Telemetry, session: _Open, assessment: Assessment, vector: FloatArray, raw: FloatArray
    ) -> None:
        """Keep what may be learnt of the session once it is finished."""
        meta = session.meta
        if session.finished is None:
            person = meta.account_ref or event.session_id
            live = self._live is not None and meta.flow in self._live.current.anomaly
            session.finished = Finished(
                event.session_id, person, meta.flow, {}, [np.nan] * len(CHANNELS), on_live_trees=live
            )
        session.finished.cells[assessment.cell.evidence] = (assessment.cell, vector.astype(np.float32), raw.copy())
        session.finished.raw_max = list(meta.raw_max)
        session.finished.flagged_by = assessment.flagged_by

    def _session(self, session_id: str) -> _Open:
        found = self._open.get(session_id)
        if found is not None:
            self._open.move_to_end(session_id)
            return found
        if not self._free:
            rows = len(self._states)
            self._states = np.concatenate([self._states, new_states(rows)])
            self._free = list(range(2 * rows - 1, rows - 1, -1))
        slot = self._free.pop()
        self._states[slot] = 0.0
        self.sessions_total += 1
        found = self._open[session_id] = _Open(slot, Meta())
        return found

    def _close(self, session_id: str) -> list[ScoredCut]:
        session = self._open.pop(session_id)
        if self._movements is not None:
            self._movements.forget(session_id)
        self._free.append(session.slot)
        self._ended[session_id] = None
        if len(self._ended) > self._max_open:
            self._ended.popitem(last=False)
        while session.passed < len(self._cuts):
            session.rows.append(self._row(session_id, session))
            session.passed += 1
        if self._live is not None and session.finished is not None:
            self._live.learn(session.finished)
        return session.rows
