"""One flow's live ranking of bot scores over time: made of its people, held to the day's step, kept over a restart.

`make` says what would be served now, and changes nothing; `published` says that it is. A day begins with what was
served when the first ranking of that day (UTC) is made.
"""

from collections.abc import Mapping
from typing import NamedTuple

from models.calibration_table import MIN_PEOPLE, CalibrationTable, Ranks
from models.day_start import DAY_MS, DayStart, Key, reach_of
from models.live_people import LivePeople, hold


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
        held = hold(self.people.ranks(), day, self._factor)
        cells = dict(held.cells)
        if not self.people.full:
            # After a restart: those who were ranked before are more than those who came since, and no less people.
            cells |= {k: old for k, old in served.items() if k not in cells or cells[k].n_people < old.n_people}
        if not cells:
            return BotCells({}, scorers, day, 0.0)
        day = DayStart(today, {}) if day is None else day
        return BotCells(cells, scorers, day.with_new(_reaches(cells)), held.ratio)

    def published(self, table: CalibrationTable) -> None:
        """What is served from now on."""
        self._served = {key: ranks for key, ranks in table.cells.items() if key[0] == "bot"}
        self._scorers, self._day = table.scorers, table.day


def _reaches(cells: Mapping[Key, Ranks]) -> dict[Key, tuple[float, ...]]:
    return {key: reach_of(*ranks[:3]) for key, ranks in cells.items() if ranks.n_people >= MIN_PEOPLE}
