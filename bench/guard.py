"""The guard for CI: the worker's CPU time an event as a multiple of the hand-written loop's, against a committed one.

Both do the same job with the same functions, so the ratio is the price of everything around them: group, dispatch,
watchdog, health. Noise of a machine falls on both alike.
"""

import json
import sys
from typing import Final

import msgspec

from bench.drain import beside_the_loop
from bench.environments import ROOT
from bench.figures import Spread, spread
from bench.world import World

FILE: Final = ROOT / "bench" / "guard.json"
EVENTS: Final = 20_000
ROUNDS: Final = 3


class Reference(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is committed: the ratio as it was measured, and by how much it may be passed."""

    worker_to_loop_cpu: float
    margin: float

    @property
    def limit(self) -> float:
        """The highest ratio that passes."""
        return self.worker_to_loop_cpu * (1.0 + self.margin)


def verdict(found: Spread, reference: Reference) -> str | None:
    """Return in one line why the ratio is too high, None where it is not."""
    if found.median <= reference.limit:
        return None
    return (
        f"the worker uses {found.median:.2f} times the CPU time of the hand-written loop "
        f"({found.low:.2f} to {found.high:.2f}), limit {reference.limit:.2f}: something around the chunk functions "
        "became slower (or they became faster: then measure, and commit the new ratio in bench/guard.json)"
    )


def compare(world: World, *, as_json: bool) -> int:
    """Measure and print; return the exit status."""
    reference = msgspec.json.decode(FILE.read_bytes(), type=Reference)
    found = spread(beside_the_loop(world, EVENTS, ROUNDS))
    why = verdict(found, reference)
    if as_json:
        print(json.dumps({"ratio": found._asdict(), "limit": reference.limit, "ok": why is None}))
    else:
        print(why or f"{found.median:.2f} ({found.low:.2f} to {found.high:.2f}), limit {reference.limit:.2f}: held")
    if why:
        print(why, file=sys.stderr)
    return 1 if why else 0
