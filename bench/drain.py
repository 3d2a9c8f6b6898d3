"""Draining a backlog: events a second and CPU time an event, and how both change with the load.

Every session has had an event, and a tenth of the rest is done, before the clock starts: start-up, compiling, first
events and cold caches are left out, for all contestants alike.
"""

import sys
import time
from dataclasses import dataclass
from typing import Any

from bench.environments import BY_HAND, IN_DRAIN, TELLWIRE, Contestant
from bench.figures import ratios
from bench.world import Failed, World

WARM_SHARE = 0.1
"""Of a backlog: done before the clock starts, beside one event a session."""
_STALLED_S = 90.0


@dataclass(frozen=True, slots=True)
class Load:
    """What is to be drained."""

    events: int
    """Beside the first one of each session."""
    sessions: int = 10_000
    partitions: int = 4
    workers: int = 1
    joined_first: bool = False
    """The workers are ready before the backlog comes."""


def drain(world: World, contestant: Contestant, load: Load) -> dict[str, float]:
    """Drain one backlog and audit the outcome. Raises `Failed`.

    Returns events_per_s, CPU time of worker, broker and store an event (`*_us`), and the worker's most memory, MB.
    """
    world.fresh(load.partitions)
    events = load.sessions + load.events
    warm = load.sessions + int(load.events * WARM_SHARE)
    if not load.joined_first:
        world.backlog(events, load.sessions)
    with world.running(contestant, load.workers) as members:
        if load.joined_first:
            world.wait_ready(members)
            world.backlog(events, load.sessions)
            # What was done meanwhile, was done in smaller chunks.
            warm = max(warm, world.done())
        found: tuple[float, int, dict[str, float]] | None = None
        last = (time.perf_counter(), 0)
        while True:
            at, done = time.perf_counter(), world.done()
            if found is None and done >= warm:
                found = (at, done, world.cpu_s(members))
            if done >= events:
                break
            for member in members:
                member.check()
            if done > last[1]:
                last = (at, done)
            elif at - last[0] > _STALLED_S:
                raise Failed(f"no event in {_STALLED_S:.0f} s, {done} of {events} done")
            time.sleep(0.05)
        used, peak_mb = world.cpu_s(members), world.peak_mb(members)
        if found is None or done - found[1] < load.events // 4:
            raise Failed("the backlog is too short: it was drained before it could be measured")
    world.check_outcome(contestant, events)
    timed = done - found[1]
    per_s = timed / (at - found[0])
    print(f"  {contestant.name}, {load}: {per_s:,.0f} events a second", file=sys.stderr, flush=True)
    return {
        "events_per_s": per_s,
        **{f"{who}_us": (used[who] - found[2][who]) / timed * 1e6 for who in used},
        "peak_mb": peak_mb,
    }


def by_contestant(world: World, events: int, rounds: int, skipped: dict[str, str]) -> dict[str, Any]:
    """Drain with every contestant, in turn, `rounds` times; those in `skipped` are left out."""
    runs: dict[str, list[dict[str, float]]] = {}
    for _ in range(rounds):
        for contestant in IN_DRAIN:
            if contestant.name not in skipped:
                load = Load(max(1_000, int(events * contestant.speed)))
                runs.setdefault(contestant.name, []).append(drain(world, contestant, load))
    return {"events": events, "runs": runs, "skipped": skipped}


def over(world: World, loads: dict[str, Load], rounds: int) -> dict[str, Any]:
    """Drain different loads with tellwire, in turn, `rounds` times."""
    runs: dict[str, list[dict[str, float]]] = {}
    for _ in range(rounds):
        for name, load in loads.items():
            runs.setdefault(name, []).append(drain(world, TELLWIRE, load))
    return {"runs": runs}


def beside_the_loop(world: World, events: int, rounds: int) -> list[float]:
    """Return the worker's CPU time an event as a multiple of the hand-written loop's, from pairs of runs."""
    load = Load(events)
    pairs = [
        (drain(world, TELLWIRE, load)["worker_us"], drain(world, BY_HAND, load)["worker_us"]) for _ in range(rounds)
    ]
    return list(ratios([pair[0] for pair in pairs], [pair[1] for pair in pairs]))
