"""From when an event was due to when its answer was read, in an open loop: nothing waits for a slow contestant."""

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from bench.environments import ECHO, TELLWIRE, Contestant
from bench.figures import percentile
from bench.outcome import Failed
from bench.world import Member, World

SESSIONS = 10_000
WARM_S = 1.0
"""Of each loop: left out."""


def wait_done(world: World, events: int, check: Any, limit_s: float = 600.0) -> None:
    """Wait until so many events are done. Raises `Failed`."""
    deadline = time.monotonic() + limit_s
    while world.done() < events:
        check()
        if time.monotonic() > deadline:
            raise Failed("its backlog was not drained in time")
        time.sleep(0.1)


def loop(world: World, members: list[Member], first: int, per_s: float, seconds: float) -> dict[str, float]:
    """Send events number `first` and on in an open loop.

    Returns percentiles of the latency and how late the generator was, ms, the worker's CPU time an event, and how busy
    both cores were. Raises `Failed` where an answer is missing.
    """
    events = int(per_s * seconds)
    sent_file, came_file = Path(world.folder, "sent.f64"), Path(world.folder, "came.f64")
    reader = subprocess.Popen(
        [
            *(sys.executable, "-m", "bench.reader", world.broker.bootstrap),
            *(str(world.partitions), str(first), str(events), str(came_file)),
        ],
        stdout=subprocess.PIPE,
    )
    generator = world.start_generator("open", str(first), str(events), str(SESSIONS), str(per_s), str(sent_file))
    with reader, generator:
        for process in (reader, generator):
            assert process.stdout is not None
            process.stdout.readline()
        began, before = time.perf_counter(), world.used_s(members)
        generator.communicate(b"go\n", timeout=seconds + 120)
        passed, after = time.perf_counter() - began, world.used_s(members)
        reader.communicate(timeout=120)
    if generator.returncode or reader.returncode:
        raise Failed("generator or verifier ended")
    due, sent = np.fromfile(sent_file).reshape(2, -1)
    came = np.fromfile(came_file)
    if not came.all():
        raise Failed(f"{int((came == 0).sum())} of {events} events were never answered")
    counted = slice(int(WARM_S * per_s), None)
    waited = np.sort((came - due)[counted] * 1000.0).tolist()
    late = np.sort((sent - due)[counted] * 1000.0).tolist()
    return {
        "per_s": per_s,
        "p50_ms": percentile(waited, 0.5),
        "p99_ms": percentile(waited, 0.99),
        "p999_ms": percentile(waited, 0.999),
        "max_ms": waited[-1],
        "sent_late_p99_ms": percentile(late, 0.99),
        "last_late_ms": float(sent[-1] - due[-1]) * 1000.0,
        "worker_us": (after["worker"] - before["worker"]) / events * 1e6,
        **{who: (after[who] - before[who]) / passed for who in ("worker_core", "other_core")},
    }


def at_rates(world: World, contestant: Contestant, rates: list[float], seconds: float) -> list[dict[str, float]]:
    """Measure one contestant at all rates, after every session has had an event; audit the outcome."""
    world.fresh()
    world.backlog(SESSIONS, SESSIONS)
    first, found = SESSIONS, []
    with world.running(contestant) as members:
        wait_done(world, first, members[0].check)
        time.sleep(1.0)
        for per_s in rates:
            found.append(loop(world, members, first, per_s, seconds))
            first += int(per_s * seconds)
    world.check_outcome(contestant, first, SESSIONS)
    return found


def beside_the_echo(world: World, rates: list[float], seconds: float, rounds: int) -> dict[str, Any]:
    """Measure tellwire and the echo at all rates, in turn, `rounds` times."""
    runs: dict[str, list[list[dict[str, float]]]] = {}
    for _ in range(rounds):
        for contestant in (TELLWIRE, ECHO):
            runs.setdefault(contestant.name, []).append(at_rates(world, contestant, rates, seconds))
    return {"rates": rates, "seconds": seconds, "runs": runs}
