"""How much is measured: the plans, from a smoke test to the whole."""

from dataclasses import dataclass
from typing import Final

from bench.drain import Load


@dataclass(frozen=True, slots=True)
class Plan:
    """How often and how long."""

    rounds: int = 3
    """Interleaved repetitions."""
    events: int = 30_000
    """Backlog of tellwire and the limits; the others get their share of it."""
    live: int = 10_000
    """Live sessions of that backlog."""
    rates: tuple[float, ...] = (100.0, 500.0, 1_000.0)
    """Open-loop events a second; half of the drain rate is added."""
    loop_s: float = 8.0
    sessions: tuple[int, ...] = (1_000, 10_000, 100_000, 1_000_000)
    partitions: tuple[int, ...] = (4, 64)
    workers: tuple[int, ...] = (1, 2, 3)
    rounds_of_many: int = 1
    """Repetitions of loads with `MANY` sessions: making them known takes minutes."""
    memory_s: float = 60.0
    starts: int = 4

    def loads(self) -> dict[str, Load]:
        """Return the loads whose CPU time an event is compared, by what they vary; the usual one first."""
        usual = Load(self.events, joined_first=True)
        found = {f"sessions {usual.sessions}": usual}
        for number in self.sessions:
            rounds = self.rounds_of_many if number >= MANY else None
            found[f"sessions {number}"] = Load(self.events, sessions=number, joined_first=True, rounds=rounds)
        for number in self.partitions:
            if number != usual.partitions:
                found[f"partitions {number}"] = Load(self.events, partitions=number, joined_first=True)
        for number in self.workers:
            if number != usual.workers:
                found[f"workers {number}"] = Load(self.events, workers=number, joined_first=True)
        return found


MANY: Final = 1_000_000
"""Live sessions."""
PLANS: Final = {
    "smoke": Plan(
        rounds=1,
        events=4_000,
        live=1_000,
        rates=(100.0,),
        loop_s=4.0,
        sessions=(1_000,),
        partitions=(4,),
        workers=(1, 2),
        memory_s=6.0,
        starts=1,
    ),
    "short": Plan(),
    "full": Plan(
        rounds=5,
        events=100_000,
        rates=(100.0, 500.0, 1_000.0, 2_000.0, 4_000.0),
        loop_s=30.0,
        partitions=(4, 16, 64),
        rounds_of_many=3,
        memory_s=1_800.0,
        starts=7,
    ),
}
