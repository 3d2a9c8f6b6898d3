"""How the live ranking stood when the day began: what a threshold may rise from, by a stated step a day at most.

Who floods a flow with sessions that score high, and passes for people, lifts the threshold from which bots are found.
So within a day the p-value of a raw score may grow at most by a stated factor over what it was when the day began, or
to what people known to be genuine show by themselves: scores may fall that much and no further. What would be more is
held back, and is told.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.cells import ANY, Cell, Kind, name_of, parse_name
from models.flat import Definition, FlatModel

LEVELS: Final = (0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001)
"""P-values at which the ranking is remembered."""
MAX_CELLS: Final = 256
"""Cells whose beginning is remembered, the widest first: narrower ones have few people, and are not held."""
DAY_MS: Final = 86_400_000

Key = tuple[str, Kind, Cell]


class DayStart(NamedTuple):
    """By cell, the least raw score that each of LEVELS was reached at (infinity: none did); `day` since 1970, UTC."""

    day: int
    reach: Mapping[Key, tuple[float, ...]]

    def allowed(self, key: Key, values: NDArray[np.float64], factor: float) -> NDArray[np.float64] | None:
        """Largest p-values that raw scores may have today; None for a cell that there was not."""
        reach = self.reach.get(key)
        if reach is None:
            return None
        # Levels fall and reaches rise: as many levels as a score reaches, so low was its p-value.
        passed = np.searchsorted(np.asarray(reach), values, side="right")
        levels = np.concatenate(([1.0], np.asarray(LEVELS) * factor))
        return np.minimum(1.0, levels[passed])

    def with_new(self, cells: Mapping[Key, tuple[float, ...]]) -> "DayStart":
        """The same with cells that came into being since."""
        new = {key: reach for key, reach in cells.items() if key not in self.reach}
        room = max(0, MAX_CELLS - len(self.reach))
        widest = sorted(new, key=lambda key: (-sum(part == ANY for part in key[2]), key))[:room]
        return DayStart(self.day, {**self.reach, **{key: new[key] for key in widest}}) if widest else self

    def add_to(self, definition: dict[str, float | int | str | list[str]], arrays: dict[str, NDArray[Any]]) -> None:
        """Add it to the flat form of a calibration."""
        keys = sorted(self.reach)
        definition["day"] = self.day
        definition["day_cells"] = [name_of(*key) for key in keys]
        table = np.array([self.reach[key] for key in keys], dtype="<f8")
        arrays["day_reach"] = table.reshape(len(keys), len(LEVELS))

    @classmethod
    def from_flat(cls, flat: FlatModel) -> "DayStart | None":
        """Read it back, None where there is none; ValueError with one line where it is damaged."""
        definition: Definition = flat.definition
        day, names = definition.get("day"), definition.get("day_cells")
        if day is None:
            return None
        if not isinstance(day, int) or not isinstance(names, list) or len(names) > MAX_CELLS:
            raise ValueError("calibration: the day's beginning is malformed")
        reach = flat.array("day_reach", "<f8", (len(names), len(LEVELS)))
        if np.isnan(reach).any() or not bool(np.all(reach[:, 1:] >= reach[:, :-1])):
            raise ValueError("calibration: the day's beginning is out of order")
        keys = [parse_name(name) for name in names]
        return cls(day, {key: tuple(row) for key, row in zip(keys, reach.tolist(), strict=True)})


def reach_of(values: Iterable[float], tail: Iterable[float], n_people: int) -> tuple[float, ...]:
    """The least raw score at which a ranking (values ascending, people at or above them) has each level's p-value."""
    known, above = np.asarray(list(values)), np.asarray(list(tail))
    p = (1.0 + np.append(above, 0.0)) / (n_people + 1.0)
    at = np.searchsorted(-p, -np.asarray(LEVELS) - 1e-12, side="left")
    # A score has the rank of the first value that is not below it, so all above the value before have this p-value. Of
    # none are all scores reached: nobody is above the lowest value's p of 1.
    edges = np.append(np.nextafter(known, np.inf), np.inf)
    return tuple(edges[at - 1].tolist())
