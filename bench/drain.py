"""Draining a backlog: events a second and CPU time an event, and how both change with the load.

Every session has had an event, and a tenth of the rest is done, before the clock starts: start-up, compiling, first
events and cold caches are left out, for all contestants alike.
"""

import sys
import time
from dataclasses import dataclass, replace
from typing import Any

from bench.environments import BY_HAND, IN_DRAIN, TELLWIRE, Contestant
from bench.latency import wait_done
from bench.outcome import Failed
from bench.world import Member, World

WARM_SHARE = 0.1
"""Of a backlog: done before the clock starts, beside one event a session."""
PAIR_SESSIONS = 2_000
"""Live sessions in the guard's runs: fewer first events, so that they are short."""
_STALLED_S = 180.0
_LOOK_S = 0.02


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
    rounds: int | None = None
    """Repetitions where these are fewer than the plan's: for a load that takes minutes."""

    def __str__(self) -> str:
        workers = "1 worker" if self.workers == 1 else f"{self.workers} workers"
        return f"{self.events:,} events of {self.sessions:,} sessions, {self.partitions} partitions, {workers}"


def drain(world: World, contestant: Contestant, load: Load, *, is_audited: bool = True) -> dict[str, float]:
    """Drain one backlog and audit the outcome. Raises `Failed`.

    Returns events_per_s; CPU time of worker, its main thread, broker and store an event (`*_us`); how busy both cores
    were, 0 to 1 (`*_core`); the worker's most memory, MB; and of tellwire, how many records its chunks had on average.
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
        _wait(world, members, warm)
        first = _Mark(world, members)
        _wait(world, members, events)
        last = _Mark(world, members)
        peak_mb = world.peak_mb(members)
        of_its_own = {"records_a_chunk": world.records_a_chunk(members)} if contestant is TELLWIRE else {}
    timed, seconds = last.done - first.done, last.at_s - first.at_s
    if timed < load.events // 4:
        raise Failed("the backlog is too short: it was drained before it could be measured")
    if is_audited:
        world.check_outcome(contestant, events, load.sessions)
    spent = {who: last.used[who] - first.used[who] for who in first.used}
    told = f"{timed / seconds:,.0f} events a second, {spent['worker'] / timed * 1e6:.1f} µs CPU an event"
    print(f"  {contestant.name}, {load}: {told}", file=sys.stderr, flush=True)
    return {
        "events_per_s": timed / seconds,
        **{f"{who}_us": spent[who] / timed * 1e6 for who in ("worker", "main_thread", "broker", "store")},
        **{who: spent[who] / seconds for who in ("worker_core", "other_core")},
        "peak_mb": peak_mb,
        **of_its_own,
    }


class _Mark:
    """How far a run has got, and what it took so far."""

    def __init__(self, world: World, members: list[Member]) -> None:
        self.at_s, self.done, self.used = time.perf_counter(), world.done(), world.used_s(members)


def _wait(world: World, members: list[Member], events: int) -> None:
    """Wait until so many events are done. Raises `Failed` when nothing is done any more."""
    at, before = time.perf_counter(), -1
    while (done := world.done()) < events:
        for member in members:
            member.check()
        if done > before:
            at, before = time.perf_counter(), done
        elif time.perf_counter() - at > _STALLED_S:
            raise Failed(f"no event in {_STALLED_S:.0f} s, {done} of {events} done")
        time.sleep(_LOOK_S)


def drain_once(world: World, load: Load) -> int:
    """Drain a load with tellwire, untimed; return how many events that were. Raises `Failed`."""
    world.fresh(load.partitions)
    events = load.sessions + load.events
    world.backlog(events, load.sessions)
    with world.running(TELLWIRE) as members:
        wait_done(world, events, members[0].check)
    return events


def by_contestant(world: World, load: Load, rounds: int, skipped: dict[str, str]) -> dict[str, Any]:
    """Drain with every contestant, in turn, `rounds` times; those in `skipped` are left out.

    A peer that fails is left out from then on, and the report says why. Raises `Failed` where tellwire or a limit does.
    """
    runs: dict[str, list[dict[str, float]]] = {}
    for _ in range(rounds):
        for contestant in IN_DRAIN:
            if contestant.name in skipped:
                continue
            its = replace(load, events=max(1_000, int(load.events * contestant.speed)))
            try:
                runs.setdefault(contestant.name, []).append(drain(world, contestant, its))
            except Failed as failed:
                if contestant.lock is None:
                    raise
                runs.pop(contestant.name, None)
                skipped[contestant.name] = str(failed).partition("\n")[0]
                print(f"  {failed}", file=sys.stderr, flush=True)
    return {"events": load.events, "runs": runs, "skipped": skipped}


def over(world: World, loads: dict[str, Load], rounds: int) -> dict[str, Any]:
    """Drain different loads with tellwire, in turn, `rounds` times; those that say how often, not oftener."""
    runs: dict[str, list[dict[str, float]]] = {}
    for number in range(rounds):
        for name, load in loads.items():
            if number < (load.rounds or rounds):
                runs.setdefault(name, []).append(drain(world, TELLWIRE, load))
    return {"runs": runs}


def pair(world: World, events: int, *, is_loop_first: bool) -> tuple[float, float]:
    """Return the CPU time an event of the worker and of the hand-written loop, microseconds, run one after the other.

    Only the number of outcomes is looked at: what they are is the tests' matter. Raises `Failed`.
    """
    load = Load(events, sessions=PAIR_SESSIONS)
    order = (BY_HAND, TELLWIRE) if is_loop_first else (TELLWIRE, BY_HAND)
    found = {one.name: drain(world, one, load, is_audited=False)["worker_us"] for one in order}
    return found[TELLWIRE.name], found[BY_HAND.name]
