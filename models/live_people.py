"""Live people: who of a flow's sessions ranks its bot scores, and how far unlabelled sessions count as people.

First come sessions that are known to be genuine (`trusted`, and `control`: verified at random, whatever their score),
then unlabelled ones less those that independent channels flag. What is left of bots among the unlabelled would lift
every threshold above themselves. So the two are compared at each score: as long as the unlabelled rank like the
trusted, all of them count; where their upper tail is heavier than chance allows, the trusted speak alone. Nobody's
share is more than stated: of no account, device or address.
"""

import math
from collections import Counter, OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.binomial import lower_tail
from models.calibration_table import MIN_PEOPLE, Basis, Ranks, above_of, rank_people, ranks_from
from models.cells import ANY, Cell, Kind, chain
from models.day_start import DayStart
from schemas.served import ServedFeatures

Key = tuple[str, Kind, Cell]

INDEPENDENT: Final = frozenset({"device", "injection", "replay", "velocity"})
"""What may keep a session from ranking behaviour: none of it looks at how somebody moves or types."""
KEPT_UNLABELLED: Final = 2_000
KEPT_TRUSTED: Final = 1_000
"""Latest sessions of a flow that its ranking rests on."""
LEAST_TRUSTED: Final = 49
"""People known to be genuine without whom they can't speak alone: fewer cannot say 0.98."""
SUSPICION: Final = 0.05
"""Chance below which so few of the trusted among the highest scores is no coincidence."""
SMALL: Final = 100
"""Sessions up to which nobody's share is bounded more tightly than among so many."""
SILENT_MS: Final = 600_000
"""Append time without a record after which a session counts as whole."""
VALUES_PER_PERSON: Final = 16
MAX_FLAGGED: Final = 4_000


class LiveRanks(NamedTuple):
    """People of one cell, and the trusted among them alone (None: too few to speak)."""

    ranks: Ranks
    trusted: Ranks | None
    at_hand: int = 0
    """People of the cell, whoever of them speaks."""


@dataclass(slots=True)
class _Session:
    person: str
    entities: tuple[str, ...]
    trusted: bool
    cell: Cell
    last_ms: int
    whole: bool = False
    top: float = math.nan
    now: dict[str, tuple[Cell, float]] = field(default_factory=dict)


class LivePeople:
    """One flow's sessions, taken as they are served; `ranks` makes of them what is to be ranked among."""

    def __init__(self, max_share: float) -> None:
        """`max_share`: of the sessions that count, at most this share may be of one account, device or address."""
        self._max_share = max_share
        self._kept: dict[bool, OrderedDict[str, _Session]] = {True: OrderedDict(), False: OrderedDict()}
        self._of_entity: Counter[str] = Counter()
        self._flagged: OrderedDict[str, None] = OrderedDict()
        self._newest_ms = 0
        self.scorers: str | None = None
        """Hash of the scorers that gave the scores at hand; those of others are not compared with them."""

    def __len__(self) -> int:
        return sum(map(len, self._kept.values()))

    @property
    def full(self) -> bool:
        """Whether older sessions have begun to make room for newer ones."""
        return len(self._kept[False]) >= KEPT_UNLABELLED

    def sizes(self) -> tuple[int, int]:
        """Sessions known to be genuine, and unlabelled ones."""
        return len(self._kept[True]), len(self._kept[False])

    def take(self, served: ServedFeatures) -> str | None:
        """Take one evaluation of a session; why it does not count, None when it does."""
        if served.scorers is None:
            return "no_scorers"
        if served.scorers != self.scorers:
            self._begin(served.scorers)
        self._newest_ms = max(self._newest_ms, served.ingested_at)
        if served.session_id in self._flagged or not INDEPENDENT.isdisjoint(served.flagged_by):
            self._flag(served.session_id)
            return "flagged"
        session = self._session(served)
        if session is None:
            return "influence"
        session.cell, session.last_ms = Cell(*served.cell), served.ingested_at
        session.whole = session.whole or served.is_final
        raw, top = served.raw.get("bot"), served.raw_max.get("bot")
        if raw is not None:
            session.now[session.cell.evidence] = session.cell, raw
        if top is not None:
            session.top = top
        return None

    def ranks(self) -> dict[Key, LiveRanks]:
        """By channel, kind and cell, and its parents: everybody who counts there."""
        trusted: dict[Key, dict[str, list[float]]] = {}
        others: dict[Key, dict[str, list[float]]] = {}
        for into, kept in ((trusted, self._kept[True]), (others, self._kept[False])):
            for session in kept.values():
                for key, raw in self._values(session):
                    mine = into.setdefault(key, {}).setdefault(session.person, [])
                    if len(mine) < VALUES_PER_PERSON:
                        mine.append(raw)
        found = {}
        for key in trusted.keys() | others.keys():
            known = trusted.get(key, {})
            # Of a person who is known to be genuine, what was not verified counts no second time.
            rest = [raw for person, raw in others.get(key, {}).items() if person not in known]
            found[key] = rank_beside(list(known.values()), rest)
        return found

    def _values(self, session: _Session) -> Iterator[tuple[Key, float]]:
        for cell, raw in session.now.values():
            for parent in chain(cell, "bot"):
                yield ("bot", "now", parent), raw
        ended = session.whole or self._newest_ms - session.last_ms > SILENT_MS
        if ended and not math.isnan(session.top):
            for parent in chain(session.cell._replace(evidence=ANY), "bot"):
                yield ("bot", "anytime", parent), session.top

    def _begin(self, scorers: str) -> None:
        self.scorers = scorers
        for kept in self._kept.values():
            kept.clear()
        self._of_entity.clear()

    def _session(self, served: ServedFeatures) -> _Session | None:
        trusted = served.cohort != "unlabelled"
        for known in (True, False):
            session = self._kept[known].get(served.session_id)
            if session is not None:
                if trusted and not known:
                    self._kept[True][served.session_id] = self._kept[False].pop(served.session_id)
                    session.trusted = True
                    self._make_room(KEPT_TRUSTED, self._kept[True])
                return session
        refs = (served.account_ref, served.device_ref, served.address_ref)
        entities = tuple(ref for ref in refs if ref is not None)
        limit = max(1.0, self._max_share * max(SMALL, len(self)))
        if any(self._of_entity[entity] + 1 > limit for entity in entities):
            return None
        person = served.account_ref or served.session_id
        session = _Session(person, entities, trusted, Cell(*served.cell), served.ingested_at)
        self._kept[trusted][served.session_id] = session
        self._of_entity.update(entities)
        self._make_room(KEPT_TRUSTED if trusted else KEPT_UNLABELLED, self._kept[trusted])
        return session

    def _make_room(self, most: int, kept: OrderedDict[str, _Session]) -> None:
        while len(kept) > most:
            self._forget(kept.popitem(last=False)[1])

    def _forget(self, session: _Session) -> None:
        for entity in session.entities:
            self._of_entity[entity] -= 1
            if self._of_entity[entity] <= 0:
                del self._of_entity[entity]

    def _flag(self, session_id: str) -> None:
        """Once flagged, a session ranks nobody, also where its later evaluations look harmless."""
        for kept in self._kept.values():
            session = kept.pop(session_id, None)
            if session is not None:
                self._forget(session)
        self._flagged[session_id] = None
        while len(self._flagged) > MAX_FLAGGED:
            self._flagged.popitem(last=False)


def rank_beside(trusted: Sequence[Sequence[float]], others: Sequence[Sequence[float]]) -> LiveRanks:
    """Rank people known to be genuine and others together, as long as the others rank like them.

    At each score the number of trusted people among all at or above it is compared with their share of all. Where
    there are too few of them (one-sided binomial test at SUSPICION, which is conservative for draws without return),
    what is above is not all people: from there on the p-value is the trusted people's own, where that is smaller, and
    the cell has as many people as there are trusted ones. At least one person is needed.
    """
    alone = rank_people(trusted) if trusted else None
    everybody = rank_people([*trusted, *others])
    if alone is None or alone.n_people < LEAST_TRUSTED:
        basis: Basis = "unlabelled" if others else "trusted"
        return LiveRanks(everybody._replace(basis=basis), None, everybody.n_people)
    if not others:
        return LiveRanks(alone._replace(basis="trusted"), alone, alone.n_people)
    values, tail = np.asarray(everybody.values), np.asarray(everybody.tail)
    above = above_of(alone, values)
    p, own = (1.0 + tail) / (everybody.n_people + 1.0), (1.0 + above) / (alone.n_people + 1.0)
    share = alone.n_people / everybody.n_people
    heavy = np.zeros(len(values), dtype=np.bool_)
    # The lower half says nothing of thresholds: there the trusted may well be the lower ones.
    for i in np.flatnonzero((p < 0.5) & (own < p)).tolist():
        heavy[i] = lower_tail(math.ceil(above[i] - 1e-9), math.floor(tail[i] + 1e-9), share) < SUSPICION
    if not heavy.any():
        return LiveRanks(everybody._replace(basis="unlabelled"), alone, everybody.n_people)
    p = np.minimum.accumulate(np.where(heavy, own, p))
    return LiveRanks(ranks_from(values, p, alone.n_people)._replace(basis="trusted"), alone, everybody.n_people)


class Held(NamedTuple):
    """Rankings as the day allows them, and what they would have grown by (1: as much as is allowed)."""

    cells: dict[Key, Ranks]
    ratio: float


def hold(found: Mapping[Key, LiveRanks], day: DayStart | None, factor: float) -> Held:
    """Hold back what would let scores fall by more than a day allows; see `models.day_start`.

    The ratio is the largest, over the flow's widest cells, of the p-value wanted at the day's first threshold of 0.98
    (0.95 where there are too few people) over the one allowed; above 1 something is held back.
    """
    cells: dict[Key, Ranks] = {}
    worst = 0.0
    for key, (ranks, trusted, _) in found.items():
        cells[key] = ranks
        reach = day.reach.get(key) if day is not None else None
        if day is None or reach is None:
            continue
        edges = np.nextafter([edge for edge in reach if math.isfinite(edge)], -np.inf)
        known = () if trusted is None else trusted.values
        values = np.unique(np.concatenate([ranks.values, edges, known]))
        p, limit = _p_of(ranks, values), _allowed(day, key, values, trusted, factor)
        if (p > limit * (1.0 + 1e-9)).any():
            cells[key] = ranks_from(values, np.minimum(p, limit), ranks.n_people)._replace(basis=ranks.basis)
        if key[2][2:] == (ANY, ANY) and ranks.n_people >= MIN_PEOPLE:
            bars = np.asarray([edge for edge in reach[3:5] if math.isfinite(edge)][-1:])
            if len(bars):
                worst = max(worst, float((_p_of(ranks, bars) / _allowed(day, key, bars, trusted, factor))[0]))
    return Held(cells, worst)


def _p_of(ranks: Ranks, values: NDArray[np.float64]) -> NDArray[np.float64]:
    return (1.0 + above_of(ranks, values)) / (ranks.n_people + 1.0)


def _allowed(
    day: DayStart, key: Key, values: NDArray[np.float64], trusted: Ranks | None, factor: float
) -> NDArray[np.float64]:
    limit = day.allowed(key, values, factor)
    assert limit is not None
    return limit if trusted is None else np.maximum(limit, _p_of(trusted, values))
