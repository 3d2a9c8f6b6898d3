"""Golden sessions of the simulation: people of every kind and bots of every family, the same ones from the same seed.

No file of sessions is kept: whoever has the code and the seed has the sessions. Simulated people say whether something
changed, never how good it is (see the package of the simulation).
"""

from typing import Final

import numpy as np

from models.gate_measure import Golden
from stream.simulation.bots import FAMILIES, stock_of
from stream.simulation.population import session

START_MS: Final = 1_790_000_000_000
PEOPLE: Final = 240
BOTS_EACH: Final = 20
_STOCK_STREAM: Final = 0


def simulated(seed: int, people: int = PEOPLE, bots_each: int = BOTS_EACH) -> list[Golden]:
    """So many people, as kinds of them come, and so many bots of each family; each session by its own number."""
    stock = stock_of(np.random.default_rng([seed, _STOCK_STREAM]))
    found = [_golden(seed, number, 0.0, None, stock) for number in range(people)]
    for k, family in enumerate(FAMILIES, start=1):
        first = k * 1_000_000
        found += [_golden(seed, first + number, 1.0, family, stock) for number in range(bots_each)]
    return found


def _golden(seed: int, number: int, bot_ratio: float, family: str | None, stock) -> Golden:  # type: ignore[no-untyped-def]
    families = None if family is None else [family]
    truth, dues = session(seed, number, START_MS, bot_ratio, stock, families=families)
    group = f"simulated/{truth.family}"
    name = f"{group}/{number}"
    return Golden(name, truth.actor == "bot", group, name, [due.event for due in dues])
