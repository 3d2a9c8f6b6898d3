"""One flow's live ranking of bot scores over time: made of its people, held to the day's step, kept over a restart.

`make` says what would be served now, and changes nothing; `published` says that it is. A day begins with what was
served when the first ranking of that day (UTC) is made.
"""

from collections.abc import Mapping
from typing import NamedTuple

from models.calibration_table import MIN_PEOPLE, CalibrationTable, Ranks
from models.day_start import DAY_MS, DayStart, Key, reach_of
from models.live_people import LivePeople, LiveRanks, hold


class BotCells(NamedTuple):
    """Rankings by cell, the hash of the scorers that they are of, the day's beginning, and see `live_people.Held`."""

    cells: Mapping[Key, Ranks]
    scorers: str | None
    day: DayStart | None
    rise_ratio: float


class BotRanking:
    """The ranking of one flow.

    Args:
        ranked: What the flow's last snapshot holds.
        max_share: Share of its sessions that one account, device or address may have.
        max_daily_rise: Factor by which a p-value may grow in a day.
    """

    def __init__(self, ranked: CalibrationTable | None, max_share: float, max_daily_rise: float) -> None:
        self.people = LivePeople(max_share)
        self._factor = max_daily_rise
        self._served: Mapping[Key, Ranks] = {}
        self._scorers: str | None = None
        self._day: DayStart | None = None
        if ranked is not None:
            self.published(ranked)

    def make(self, now_ms: int) -> BotCells:
        """The rankings of the people at hand, as the day allows; now_ms: epoch ms."""
        scorers = self.people.scorers or self._scorers
        same = scorers == self._scorers
        served = self._served if same else {}
        today = now_ms // DAY_MS
        day = self._day if same else None
        if served and (day is None or day.day < today):
            day = DayStart(today, {}).with_new(_reaches(served))
        found = self.people.ranks()
        held = hold(found, day, self._factor)
        cells = dict(held.cells)
        if not self.people.full:
            cells |= {k: old for k, old in served.items() if k not in found or _is_less(found[k], old)}
        if not cells:
            return BotCells({}, scorers, day, 0.0)
        day = DayStart(today, {}) if day is None else day
        return BotCells(cells, scorers, day.with_new(_reaches(cells)), held.ratio)

    def published(self, table: CalibrationTable) -> None:
        """What is served from now on."""
        self._served = {key: ranks for key, ranks in table.cells.items() if key[0] == "bot"}
        self._scorers, self._day = table.scorers, table.day


def _is_less(found: LiveRanks, old: Ranks) -> bool:
    """Whether those at hand may not replace who was ranked before a restart: they are fewer, and no better known.

    Where people known to be genuine spoke alone, unlabelled sessions don't take their place. Where these come to speak
    alone, they are fewer than all who were ranked before, and are served.
    """
    return found.at_hand < old.n_people or (old.basis == "trusted" and found.trusted is None)


def _reaches(cells: Mapping[Key, Ranks]) -> dict[Key, tuple[float, ...]]:
    return {key: reach_of(*ranks[:3]) for key, ranks in cells.items() if ranks.n_people >= MIN_PEOPLE}
