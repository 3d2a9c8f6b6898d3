"""The guard for CI: the worker's CPU time an event as a multiple of the hand-written loop's, against a committed one.

Both do the same job with the same functions, so the ratio is the price of everything around them: group, dispatch,
watchdog, health. They are measured in pairs, one after the other on the same core, in alternating order, and CPU time
is the scheduler's own count: what else a machine does falls on both alike. The verdict is the median's of `PAIRS`
pairs; as soon as it is certain, no more are measured.
"""

import json
import sys
from pathlib import Path
from typing import Final

import msgspec

from bench.drain import pair
from bench.environments import ROOT
from bench.figures import Spread, spread
from bench.world import World

FILE: Final = ROOT / "bench" / "guard.json"
EVENTS: Final = 20_000
PAIRS: Final = 7
"""An odd number; more than half of them above the limit fail."""
LEAST_MARGIN: Final = 0.15
MOST_MARGIN: Final = 0.25
"""Beyond it, a worker that became dearer by two fifths could pass on a lucky day."""
HELD, FAILED = 0, 1


class Reference(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is committed: the ratio as it was measured, its pairs' lowest and highest, and how far it may be passed."""

    worker_to_loop_cpu: float
    margin: float
    low: float
    high: float
    pairs: int

    @property
    def limit(self) -> float:
        """The highest ratio that passes."""
        return self.worker_to_loop_cpu * (1.0 + self.margin)


def reference_of(ratios: list[float]) -> Reference:
    """Return what pairs on a quiet machine make the reference; the margin is their range, within its bounds."""
    found = spread(ratios)
    margin = min(MOST_MARGIN, max(LEAST_MARGIN, (found.high - found.low) / found.median))
    return Reference(
        worker_to_loop_cpu=round(found.median, 3),
        margin=round(margin, 3),
        low=round(found.low, 3),
        high=round(found.high, 3),
        pairs=len(ratios),
    )


def is_settled(ratios: list[float], limit: float) -> bool:
    """Whether the median of `PAIRS` is on one side of the limit already, whatever the pairs that are left."""
    above = sum(ratio > limit for ratio in ratios)
    return max(above, len(ratios) - above) > PAIRS // 2


def verdict(ratios: list[float], reference: Reference) -> str | None:
    """Return in one line why the ratio is too high, None where it is not; `ratios` are settled."""
    if sum(ratio > reference.limit for ratio in ratios) <= PAIRS // 2:
        return None
    found = spread(ratios)
    return (
        f"the worker uses {_told(found)} times the CPU time of the hand-written loop, limit {reference.limit:.2f}: "
        "something around the chunk functions became slower (or they became faster: then measure on a quiet machine "
        "with `make guard ARGS=--set`, and commit bench/guard.json)"
    )


def compare(world: World, *, as_json: bool) -> int:
    """Measure until the verdict is certain, and print it; return the exit status."""
    reference = msgspec.json.decode(FILE.read_bytes(), type=Reference)
    ratios: list[float] = []
    while not is_settled(ratios, reference.limit):
        ratios.append(_ratio(world, len(ratios)))
    why, found = verdict(ratios, reference), spread(ratios)
    if as_json:
        print(json.dumps({"ratio": found._asdict(), "limit": reference.limit, "ok": why is None, "ratios": ratios}))
    elif why is None:
        print(f"the worker uses {_told(found)} times the hand-written loop's CPU, limit {reference.limit:.2f}: held")
    if why is not None:
        print(why, file=sys.stderr)
    return HELD if why is None else FAILED


def set_reference(world: World, to: Path = FILE) -> int:
    """Measure `PAIRS` pairs and write them as the new reference; for a quiet machine."""
    reference = reference_of([_ratio(world, number) for number in range(PAIRS)])
    to.write_bytes(msgspec.json.format(msgspec.json.encode(reference), indent=1) + b"\n")
    print(f"{to.name}: {reference.worker_to_loop_cpu:.2f} ({reference.low:.2f} to {reference.high:.2f})", end="")
    print(f" over {reference.pairs} pairs, limit {reference.limit:.2f}")
    return HELD


def _ratio(world: World, number: int) -> float:
    worker_us, loop_us = pair(world, EVENTS, is_loop_first=number % 2 == 1)
    print(f"  pair {number + 1}: {worker_us / loop_us:.2f}", file=sys.stderr, flush=True)
    return worker_us / loop_us


def _told(found: Spread) -> str:
    return f"{found.median:.2f} ({found.low:.2f} to {found.high:.2f})"
