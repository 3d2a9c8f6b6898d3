"""The people behind calibrated scores: sorted ranks by cell, back-off between cells, and their flat form.

Two distributions a cell: `now` (raw score at that amount of evidence) and `anytime` (running maximum over whole
genuine sessions). Where no person was recorded, an input or a channel may have a *declared* prior: a p-value stated as
a function of the raw score (never below its floor), which an event shows as `prior` with 0 people and no bound. Enough
people replace it.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.cells import ANY, Cell, Kind, chain, name_of, parse_name
from models.day_start import DayStart
from models.flat import FlatModel
from schemas.risk import CHANNELS

State = Literal["prior", "source", "live"]
Basis = Literal["trusted", "unlabelled"]
BASES: Final[tuple[Basis, ...]] = ("trusted", "unlabelled")
MAX_CELLS: Final = 20_000
MAX_VALUES: Final = 400_000
MIN_PEOPLE: Final = 50
"""A cell with fewer people backs off to its parent."""


class Declared(NamedTuple):
    """A stated p-value for a raw score s: max(floor, 1 - s ** (1 / power))."""

    power: float
    floor: float


DECLARED_PRIORS: Final[Mapping[tuple[str, str], Declared]] = {
    # The keystroke scorer's raw score is (1 - p) ** 4 with p from published statistics of typing.
    ("bot", "keys"): Declared(power=4.0, floor=0.01),
    # The device scorer's raw score is a probability by judgement; it never claims less than 2 % of people.
    ("device", ANY): Declared(power=1.0, floor=0.02),
}
"""What ships for inputs and channels without recorded people."""

INJECTION_PRIOR: Final = Declared(power=1.0, floor=0.02)
"""The injection channel's, which is in no artefact. It is stated for that channel and the device's together: the larger
of the two raw scores claims no less than 2 % of people."""
REPLAY_PRIOR: Final = Declared(power=1.0, floor=0.013)
"""The replay channel's, likewise. None of 81 recorded people, in 5 657 stretches of ten movements against everybody
else's, came as near as its raw score of 1; of 76 people or fewer that could not be said (1 in 77)."""


class Ranks(NamedTuple):
    """People of one cell: raw values ascending; `tail[i]` = people (fractions of) at or above `values[i]`."""

    values: list[float]
    tail: list[float]
    n_people: int
    basis: Basis | None = None
    """Of live people: whether they are known to be genuine, or unlabelled sessions count among them."""


class Resolved(NamedTuple):
    """The company that a session is ranked in: one cell, several whose p-values add up, or a declared prior."""

    parts: tuple[Ranks | Declared, ...]
    cell: str
    n_people: int
    state: State

    @property
    def declared(self) -> bool:
        """Whether any part of it is stated rather than recorded."""
        return any(isinstance(part, Declared) for part in self.parts)

    @property
    def basis(self) -> Basis | None:
        """Whom live ranks rest on: `unlabelled` where any part counts unlabelled sessions."""
        found = {part.basis for part in self.parts if isinstance(part, Ranks)}
        return "unlabelled" if "unlabelled" in found else "trusted" if "trusted" in found else None

    def better_than(self, other: "Resolved | None") -> bool:
        """Among cells with too few people: a declared prior first, then the one with more people."""
        return other is None or (self.declared, self.n_people) > (other.declared, other.n_people)


class CalibrationTable:
    """The people of one origin: shipped (`prior`), of this source (`source`) or `live`."""

    def __init__(
        self,
        cells: Mapping[tuple[str, Kind, Cell], Ranks],
        state: State,
        min_people: int,
        declared: Mapping[tuple[str, str], Declared] | None = None,
        *,
        scorers: str | None = None,
        day: DayStart | None = None,
    ) -> None:
        """`scorers`: hash of the scorers whose bot scores are ranked, if it matters; `day`: see `models.day_start`."""
        self._cells = dict(cells)
        self.state: State = state
        self.min_people = min_people
        self._declared = dict(declared or {})
        self.scorers = scorers
        self.day = day
        self.hash = self.to_flat().hash

    def __len__(self) -> int:
        return len(self._cells)

    @property
    def cells(self) -> Mapping[tuple[str, Kind, Cell], Ranks]:
        """The people by channel, kind and cell."""
        return self._cells

    def without(self, channel: str) -> "CalibrationTable":
        """The same without the people of a channel."""
        left = {key: ranks for key, ranks in self._cells.items() if key[0] != channel}
        return CalibrationTable(left, self.state, self.min_people, self._declared)

    def people(self, channel: str, kind: Kind, cell: Cell) -> int:
        """Number of people in exactly that cell."""
        ranks = self._cells.get((channel, kind, cell))
        return ranks.n_people if ranks is not None else 0

    def resolve(self, channel: str, kind: Kind, cell: Cell) -> Resolved | None:
        """Nearest cell with enough people, else the widest that has any; None without people.

        Bot only: an input type `a+b` without enough people of its own is ranked in both parts, and the p-values are
        added: the raw score is the maximum of the parts, so P(max >= s) <= P(a >= s) + P(b >= s).
        """
        direct = self._nearest(channel, kind, cell)
        if channel != "bot" or "+" not in cell.input or (direct is not None and direct.n_people >= self.min_people):
            return direct
        found = [self._nearest(channel, kind, cell._replace(input=part)) for part in cell.input.split("+")]
        parts = [part for part in found if part is not None]
        if len(parts) != len(found):
            return direct
        union = Resolved(
            parts=tuple(ranks for part in parts for ranks in part.parts),
            cell="|".join(part.cell for part in parts),
            n_people=min(part.n_people for part in parts),
            state=self.state,
        )
        return union if union.better_than(direct) else direct

    def _nearest(self, channel: str, kind: Kind, cell: Cell) -> Resolved | None:
        if kind == "anytime":
            cell = cell._replace(evidence=ANY)
        last: Resolved | None = None
        for candidate in chain(cell, channel):
            ranks = self._cells.get((channel, kind, candidate))
            if ranks is None:
                continue
            last = Resolved((ranks,), candidate.key, ranks.n_people, self.state)
            if ranks.n_people >= self.min_people:
                return last
        for key in ((channel, cell.input), (channel, ANY)):
            if key in self._declared:
                return Resolved((self._declared[key],), f"*/{key[1]}/*/*", 0, self.state)
        return last

    def to_flat(self) -> FlatModel:
        """The table as definition and flat arrays (see `models.flat`), cells sorted by name."""
        names, starts, people = [], [0], []
        values: list[float] = []
        tails: list[float] = []
        for channel, kind, cell in sorted(self._cells):
            ranks = self._cells[channel, kind, cell]
            names.append(name_of(channel, kind, cell))
            people.append(ranks.n_people)
            values += ranks.values
            tails += ranks.tail
            starts.append(len(values))
        definition: dict[str, float | int | str | list[str]] = {
            "format": 1,
            "state": self.state,
            "min_people": self.min_people,
            "cells": names,
            "declared": [f"{c} {i} {d.power!r} {d.floor!r}" for (c, i), d in sorted(self._declared.items())],
        }
        arrays: dict[str, NDArray[Any]] = {
            "start": np.array(starts, dtype="<i4"),
            "n_people": np.array(people, dtype="<i4"),
            "values": np.array(values, dtype="<f8"),
            "tail": np.array(tails, dtype="<f8"),
        }
        # Only live tables have these; what ships keeps its bytes.
        bases = [self._cells[key].basis for key in sorted(self._cells)]
        if any(bases):
            arrays["basis"] = np.array([BASES.index(b) + 1 if b else 0 for b in bases], dtype="<i4")
        if self.scorers is not None:
            definition["scorers"] = self.scorers
        if self.day is not None:
            self.day.add_to(definition, arrays)
        return FlatModel("calibration", definition, arrays)

    @classmethod
    def from_flat(cls, flat: FlatModel) -> "CalibrationTable":
        """Read a table back; ValueError with one line if it is not one."""
        definition = flat.definition
        names = definition.get("cells")
        state = definition.get("state")
        min_people = definition.get("min_people")
        _need(flat.kind == "calibration" and definition.get("format") == 1, "not a calibration of format 1")
        _need(isinstance(names, list) and len(names) <= MAX_CELLS, f"more than {MAX_CELLS} cells, or none named")
        _need(isinstance(min_people, int) and 1 <= min_people <= 1_000_000, "min_people is not 1 to 1000000")
        assert isinstance(names, list)
        assert isinstance(min_people, int)
        known: dict[object, State] = {"prior": "prior", "source": "source", "live": "live"}
        if not isinstance(state, str) or state not in known:
            raise ValueError("calibration: state is not prior, source or live")
        start = flat.array("start", "<i4", (len(names) + 1,))
        people = flat.array("n_people", "<i4", (len(names),))
        size = int(start[-1]) if len(start) else 0
        _need(0 <= size <= MAX_VALUES, f"more than {MAX_VALUES} values")
        values = flat.array("values", "<f8", (size,))
        tail = flat.array("tail", "<f8", (size,))
        _need(start[0] == 0 and bool(np.all(np.diff(start) > 0)), "a cell is empty or out of order")
        _need(bool(np.all(np.isfinite(values)) and np.all(np.isfinite(tail))), "a value is not finite")
        bases = flat.array("basis", "<i4", (len(names),)) if "basis" in flat.arrays else np.zeros(len(names), "<i4")
        _need(bool(np.all((bases >= 0) & (bases <= len(BASES)))), "a basis is not known")
        scorers = definition.get("scorers")
        _need(scorers is None or (isinstance(scorers, str) and 0 < len(scorers) <= 64), "its scorers are no hash")
        cells: dict[tuple[str, Kind, Cell], Ranks] = {}
        for i, name in enumerate(names):
            channel, kind, cell = parse_name(name)
            first, last = int(start[i]), int(start[i + 1])
            v, t, n = values[first:last], tail[first:last], int(people[i])
            _need(bool(np.all(np.diff(v) > 0) and np.all(np.diff(t) < 0)), f"{name[:60]}: ranks are not sorted")
            _need(0 < n <= 100_000_000 and t[-1] > 0 and abs(t[0] - n) < 1e-6 * n, f"{name[:60]}: people don't add up")
            _need((channel, kind, cell) not in cells, f"{name[:60]}: appears twice")
            basis = BASES[int(bases[i]) - 1] if bases[i] else None
            cells[channel, kind, cell] = Ranks(v.tolist(), t.tolist(), n, basis)
        return cls(
            cells,
            known[state],
            min_people,
            _parse_declared(definition.get("declared")),
            scorers=scorers if isinstance(scorers, str) else None,
            day=DayStart.from_flat(flat),
        )


def rank_people(people: Sequence[Sequence[float]]) -> Ranks:
    """Ranks of a cell from each person's values (at least one a person)."""
    n = len(people)
    values = np.concatenate([np.asarray(v, dtype=np.float64) for v in people])
    weights = np.concatenate([np.full(len(v), 1.0 / len(v)) for v in people])
    unique, inverse = np.unique(values, return_inverse=True)
    mass = np.bincount(inverse, weights=weights)
    tail = np.cumsum(mass[::-1])[::-1]
    return Ranks(unique.tolist(), tail.tolist(), n)


def above_of(ranks: Ranks, values: NDArray[np.float64]) -> NDArray[np.float64]:
    """People (fractions of) of a ranking at or above each of `values`."""
    return np.append(ranks.tail, 0.0)[np.searchsorted(ranks.values, values, side="left")]


def ranks_from(values: NDArray[np.float64], p: NDArray[np.float64], n_people: int) -> Ranks:
    """The ranking of `n_people` that gives these p-values (falling, the first 1) to `values` (ascending).

    No p-value is below 1 / (n_people + 1): nobody says more than so many people allow.
    """
    tail = p * (n_people + 1.0) - 1.0
    # Of equal ones the highest value stands for all; those below the least p-value need no rank.
    keep = np.append(tail[:-1] > tail[1:] + 1e-9, True) & (tail > 1e-9)
    keep[0] |= not keep.any()
    return Ranks(values[keep].tolist(), tail[keep].tolist(), n_people)


def rank_sources(sources: Sequence[Sequence[Sequence[float]]]) -> Ranks:
    """Ranks of a cell from the people of several sources, as a source that is not among them would be ranked.

    People of one recorder look riskier than those of another. If all differed alike, every person would weigh the same;
    if recorders made all of the difference, every source would, however many people it has. It is both, and which more
    so can't be told from a few sources: a source weighs the root of how many people it has, half way between the two.
    One source's people are as they are.
    """
    ranks = [rank_people(people) for people in sources if people]
    if len(ranks) == 1:
        return ranks[0]
    people = np.array([one.n_people for one in ranks], dtype=np.float64)
    weight = np.sqrt(people) / np.sqrt(people).sum()
    values = np.unique(np.concatenate([one.values for one in ranks]))
    shares = np.stack([above_of(one, values) / one.n_people for one in ranks])
    n = int(people.sum())
    return ranks_from(values, (1.0 + n * (weight @ shares)) / (n + 1.0), n)


def _parse_declared(entries: object) -> dict[tuple[str, str], Declared]:
    out: dict[tuple[str, str], Declared] = {}
    for entry in entries if isinstance(entries, list) else []:
        parts = entry.split(" ") if isinstance(entry, str) else []
        try:
            channel, kind, power, floor = parts
            declared = Declared(float(power), float(floor))
        except ValueError:
            raise ValueError("calibration: a declared prior is not '<channel> <input> <power> <floor>'") from None
        _need(channel in CHANNELS and 0.1 <= declared.power <= 100.0, "a declared prior has no such channel or power")
        _need(0.0 < declared.floor <= 1.0, "a declared prior has a floor outside 0..1")
        out[channel, kind] = declared
    return out


def _need(condition: object, what: str) -> None:
    if not condition:
        raise ValueError(f"calibration: {what}")
