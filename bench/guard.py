"""The guard for CI: what an event costs the worker, as multiples of other work in the same run, against committed ones.

- `chunk_to_json`, `single_to_json`: the chunk functions beside plain JSON work on the same events (`bench.inside`), in
  long chunks and one by one: what happens inside them.
- `worker_to_loop`: the worker beside the hand-written loop, on real Kafka and Redis. Both do the same job with the same
  functions, so this is the price of everything around them: group, dispatch, watchdog, health.

Each is measured in pairs that what else a machine does falls on alike, in CPU time. The verdict is the median's of
`PAIRS` pairs; as soon as it is certain, no more are measured.
"""

import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import msgspec

from bench.drain import pair
from bench.environments import ROOT
from bench.figures import Spread, spread
from bench.inside import chunk_to_json
from bench.world import World

FILE: Final = ROOT / "bench" / "guard.json"
EVENTS: Final = 20_000
SINGLE_EVENTS: Final = 2_048
PAIRS: Final = 7
"""An odd number; more than half of them above the limit fail."""
LEAST_MARGIN: Final = 0.15
MOST_MARGIN: Final = 0.25
"""Beyond it, a worker that became dearer by two fifths could pass on a lucky day."""
HELD, FAILED = 0, 1
WORDS: Final = {
    "chunk_to_json": "CPU time an event, chunk functions over plain JSON work:",
    "single_to_json": "CPU time an event, chunk functions one by one over plain JSON work:",
    "worker_to_loop": "CPU time an event, worker over hand-written loop:",
}


class Reference(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is committed of one ratio: as it was measured, its pairs' lowest and highest, how far it may be passed."""

    ratio: float
    margin: float
    low: float
    high: float
    pairs: int

    @property
    def limit(self) -> float:
        """The highest ratio that passes."""
        return self.ratio * (1.0 + self.margin)


def reference_of(ratios: list[float]) -> Reference:
    """Return what pairs on a quiet machine make the reference; the margin is their range, within its bounds."""
    found = spread(ratios)
    margin = min(MOST_MARGIN, max(LEAST_MARGIN, (found.high - found.low) / found.median))
    return Reference(
        ratio=round(found.median, 3),
        margin=round(margin, 3),
        low=round(found.low, 3),
        high=round(found.high, 3),
        pairs=len(ratios),
    )


def is_settled(ratios: list[float], limit: float) -> bool:
    """Whether the median of `PAIRS` is on one side of the limit already, whatever the pairs that are left."""
    above = sum(ratio > limit for ratio in ratios)
    return max(above, len(ratios) - above) > PAIRS // 2


def verdict(name: str, ratios: list[float], reference: Reference) -> str | None:
    """Return in one line why the ratio is too high, None where it is not; `ratios` are settled."""
    if sum(ratio > reference.limit for ratio in ratios) <= PAIRS // 2:
        return None
    return (
        f"{WORDS[name]} {_told(spread(ratios))}, limit {reference.limit:.2f}: an event became dearer (or the other "
        "side cheaper: then measure on a quiet machine with `make guard ARGS=--set`, and commit bench/guard.json)"
    )


def compare(world: World, *, as_json: bool) -> int:
    """Measure until the verdicts are certain, and print them; return the exit status."""
    references = read()
    told: dict[str, object] = {}
    failures: list[str] = []
    for name, measure in _measures(world).items():
        reference, ratios = references[name], list[float]()
        while not is_settled(ratios, reference.limit):
            ratios.append(_one(name, measure, len(ratios)))
        why, found = verdict(name, ratios, reference), spread(ratios)
        told[name] = {"ratio": found._asdict(), "limit": reference.limit, "ok": why is None, "ratios": ratios}
        if why is not None:
            failures.append(why)
        elif not as_json:
            print(f"{WORDS[name]} {_told(found)}, limit {reference.limit:.2f}: held")
    if as_json:
        print(json.dumps(told))
    for why in failures:
        print(why, file=sys.stderr)
    return FAILED if failures else HELD


def set_reference(world: World, to: Path = FILE) -> int:
    """Measure `PAIRS` pairs of each and write them as the new references; for a quiet machine."""
    references = {
        name: reference_of([_one(name, measure, number) for number in range(PAIRS)])
        for name, measure in _measures(world).items()
    }
    to.write_bytes(msgspec.json.format(msgspec.json.encode(references), indent=1) + b"\n")
    for name, found in references.items():
        print(f"{WORDS[name]} {found.ratio:.2f} ({found.low:.2f} to {found.high:.2f}), limit {found.limit:.2f}")
    return HELD


def read(file: Path = FILE) -> Mapping[str, Reference]:
    """Return what is committed, a reference for each of `WORDS`."""
    return msgspec.json.decode(file.read_bytes(), type=dict[str, Reference])


def _measures(world: World) -> Mapping[str, Callable[[int], float]]:
    def worker_to_loop(number: int) -> float:
        worker_us, loop_us = pair(world, EVENTS, is_loop_first=number % 2 == 1)
        return worker_us / loop_us

    return {
        "chunk_to_json": lambda _number: chunk_to_json(),
        "single_to_json": lambda _number: chunk_to_json(SINGLE_EVENTS, 1),
        "worker_to_loop": worker_to_loop,
    }


def _one(name: str, measure: Callable[[int], float], number: int) -> float:
    ratio = measure(number)
    print(f"  {name}, pair {number + 1}: {ratio:.2f}", file=sys.stderr, flush=True)
    return ratio


def _told(found: Spread) -> str:
    return f"{found.median:.2f} ({found.low:.2f} to {found.high:.2f})"
