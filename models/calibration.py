"""Calibrated scores: 1 minus the conformal p-value of a raw score among people, in cells with back-off.

People are the unit. A person with several sessions counts once, as the mean over them: with shares `a_k` of person k's
values at or above the raw score, `p = (1 + sum a_k) / (n + 1)`, which is a valid p-value for a session of a new person
(hierarchical conformal prediction: Lee, Barber and Willett 2023, arXiv 2306.06342; with one value a person it is the
plain conformal p-value). With n people no score exceeds 1 - 1/(n + 1): nothing is extrapolated. Calibrated on the
running maximum over whole genuine sessions, P(a person ever reaches a score of 0.99) <= 1 %, however often one looks.
"""

import hashlib
import heapq
import math
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.binomial import upper_bound95
from models.calibration_table import (
    DECLARED_PRIORS,
    MIN_PEOPLE,
    CalibrationTable,
    Declared,
    Ranks,
    Resolved,
    State,
    rank_people,
    rank_sources,
)
from models.cells import ANY, KINDS, Cell, Kind, chain
from schemas.risk import CHANNELS, Calibration

__all__ = [
    "DECLARED_PRIORS",
    "KINDS",
    "MIN_PEOPLE",
    "CalibratedScore",
    "CalibrationBuilder",
    "CalibrationTable",
    "Calibrator",
    "CellScorer",
    "Declared",
    "Ranks",
    "rank_people",
]


MAX_CELLS: Final = 10_000
"""Cells, and rankings that serve them, that a calibrator keeps."""


class CalibratedScore(NamedTuple):
    """A calibrated score and what it rests on, in the form of the risk event."""

    score: float
    calibration: Calibration


class CellScorer:
    """Ranks raw scores in one resolved cell. Results are kept by rank: a cell has no more of them than values."""

    __slots__ = ("_basis", "_declared", "_resolved", "known", "values")

    def __init__(self, resolved: Resolved) -> None:
        self._resolved = resolved
        single = resolved.parts[0] if len(resolved.parts) == 1 else None
        self.values = single.values if isinstance(single, Ranks) else []
        """Where people of one cell rank a score: those that have it or more begin at `bisect_left(values, raw)`."""
        self.known: dict[int, CalibratedScore] = {}
        """Results by that place; empty where there is no such cell."""
        self._declared = single if isinstance(single, Declared) else None
        self._basis = resolved.basis

    def score(self, raw: float) -> CalibratedScore:
        """Calibrate one raw score (finite). Without any people or declared prior it is 0, with a bound of 1."""
        if self.values:
            at = bisect_left(self.values, raw)
        elif self._declared is not None and raw <= 0.0:
            at = -1  # of what people mostly have, a stated prior says the same each time
        else:
            return self._compute(raw)
        found = self.known.get(at)
        if found is None:
            found = self.known[at] = self._compute(raw)
        return found

    def _compute(self, raw: float) -> CalibratedScore:
        cell = self._resolved
        p = 0.0 if cell.parts else 1.0
        bound: float | None = p
        for part in cell.parts:
            if isinstance(part, Declared):
                p += max(part.floor, 1.0 - max(0.0, raw) ** (1.0 / part.power))
                bound = None
                continue
            at = bisect_left(part.values, raw)
            above = part.tail[at] if at < len(part.tail) else 0.0
            p += (1.0 + above) / (part.n_people + 1.0)
            if bound is not None:
                bound = min(1.0, bound + upper_bound95(math.ceil(above - 1e-9), part.n_people))
        rests_on = Calibration(
            cell=cell.cell, n_people=cell.n_people, state=cell.state, basis=self._basis, fpr_upper95=bound
        )
        return CalibratedScore(max(0.0, 1.0 - p), rests_on)


class Calibrator:
    """Scores by the first of its tables (live, source, prior) that has enough people, else by the one with most."""

    def __init__(self, tables: Sequence[CalibrationTable]) -> None:
        self._tables = tuple(tables)
        self._cells: dict[tuple[Cell, str, Kind], CellScorer] = {}
        self._scorers: dict[tuple[str | int, ...], CellScorer] = {}

    @property
    def tables(self) -> tuple[CalibrationTable, ...]:
        """The tables in the order of preference."""
        return self._tables

    def at(self, channel: str, kind: Kind, cell: Cell) -> CellScorer:
        """The ranking that serves a channel and cell, resolved once."""
        key = (cell, channel, kind)
        found = self._cells.get(key)
        if found is None:
            # Cells come from the wire (collector names); a bound keeps a hostile producer from filling the memory.
            if len(self._cells) >= MAX_CELLS:
                self._cells.clear()
                # A cell adds at most one, so there are never more of these.
                self._scorers.clear()
            resolved = self._resolve(channel, kind, cell)
            # Most cells back off to one of the few that the tables hold. A scorer keeps its parts, so their ids stay.
            same: tuple[str | int, ...] = (resolved.cell, *map(id, resolved.parts))
            found = self._scorers.get(same)
            if found is None:
                found = self._scorers[same] = CellScorer(resolved)
            self._cells[key] = found
        return found

    def score(self, channel: str, kind: Kind, cell: Cell, raw: float) -> CalibratedScore:
        """Calibrate one raw score (finite) of a channel in a cell."""
        return self.at(channel, kind, cell).score(raw)

    def _resolve(self, channel: str, kind: Kind, cell: Cell) -> Resolved:
        best: Resolved | None = None
        for table in self._tables:
            found = table.resolve(channel, kind, cell)
            if found is None:
                continue
            if found.n_people >= table.min_people:
                return found
            if found.better_than(best):
                best = found
        widest = chain(cell, channel)[-1]
        return best if best is not None else Resolved((), widest.key, 0, "prior")


class CalibrationBuilder:
    """Collects people's raw scores and makes a table; used by training and by the learner.

    At most `values_per_person` values a person and cell and `people_per_cell` people a cell are kept, chosen by a keyed
    hash, that is at random with respect to the values, so that the p-values stay valid.
    """

    def __init__(self, *, values_per_person: int = 16, people_per_cell: int = 4_000) -> None:
        self._values_per_person = values_per_person
        self._people_per_cell = people_per_cell
        self._cells: dict[tuple[str, Kind, Cell], dict[str, list[tuple[int, float]]]] = {}
        self._source_of: dict[str, str] = {}
        self._added = 0

    def add(
        self,
        person: str,
        cell: Cell,
        raw: Sequence[float] | NDArray[np.float64],
        raw_max: Sequence[float] | NDArray[np.float64] | None = None,
        source: str = "",
    ) -> None:
        """Add one evaluation of one session of a person (or of a session, where persons are unknown) of a source.

        `raw` and `raw_max` are aligned with `schemas.risk.CHANNELS`, NaN = no data. Give `raw` once a session and
        amount of evidence, and `raw_max` once a session, at its end; only sessions believed genuine belong here.
        """
        self._added += 1
        self._source_of[person] = source
        for channel, value in zip(CHANNELS, raw, strict=True):
            if not math.isnan(value):
                for parent in chain(cell, channel):
                    self._put((channel, "now", parent), person, float(value))
        if raw_max is None:
            return
        for channel, value in zip(CHANNELS, raw_max, strict=True):
            if not math.isnan(value):
                for parent in chain(cell._replace(evidence=ANY), channel):
                    self._put((channel, "anytime", parent), person, float(value))

    def _put(self, key: tuple[str, Kind, Cell], person: str, value: float) -> None:
        people = self._cells.setdefault(key, {})
        kept = people.get(person)
        if kept is None:
            if len(people) >= self._people_per_cell:
                worst = max(people, key=_priority)
                if _priority(person) >= _priority(worst):
                    return
                del people[worst]
            kept = people[person] = []
        # A max-heap of priorities by their negatives: the lowest `values_per_person` priorities stay.
        entry = (-_priority(f"{person}\x00{self._added}"), value)
        if len(kept) < self._values_per_person:
            heapq.heappush(kept, entry)
        else:
            heapq.heappushpop(kept, entry)

    def _ranked(self, people: Mapping[str, list[tuple[int, float]]]) -> Ranks:
        sources: dict[str, list[list[float]]] = {}
        for person, kept in people.items():
            sources.setdefault(self._source_of[person], []).append([value for _, value in kept])
        return rank_sources(list(sources.values()))

    def build(
        self,
        state: State,
        *,
        min_people: int = MIN_PEOPLE,
        declared: Mapping[tuple[str, str], Declared] | None = None,
    ) -> CalibrationTable:
        """The table of all people added so far; `declared` priors by channel and input type (`*` = any).

        Where people are of several sources, see `calibration_table.rank_sources`.
        """
        cells = {key: self._ranked(people) for key, people in self._cells.items()}
        return CalibrationTable(cells, state, min_people, declared)


def _priority(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8, person=b"calibration").digest(), "big")
