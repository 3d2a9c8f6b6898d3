"""One worker beside its CPU time: start, memory under load, Redis memory, stalls of its loop; and its profile."""

import subprocess
import time
from pathlib import Path
from typing import Any, Final

from bench import flame
from bench.drain import Load, drain_once
from bench.environments import PROFILER, TELLWIRE, Contestant, folder
from bench.figures import slope
from bench.latency import SESSIONS, wait_done
from bench.machine import memory_mb
from bench.outcome import Failed
from bench.world import Member, World

_IMPORTS: Final = "import stream.app, stream.cli.worker, re\n"
_FLOOR: Final = _IMPORTS + "print(re.search(r'VmRSS:\\s+(\\d+)', open('/proc/self/status').read())[1])\n"
_PROBED: Final = Contestant("tellwire, probed", ("bench.probed",))
_EVERY_S: Final = 2.0
_PROFILED_S: Final = 10
"""While it waits for work a worker does not hold the interpreter's lock, so that a short backlog does no harm."""


def start(world: World, times: int) -> dict[str, Any]:
    """Measure from start to ready, and beside each the import of the same modules; all caches are warm, s."""
    world.fresh()
    ready, imports = [], []
    for _ in range(times + 1):
        began = time.perf_counter()
        with world.running(TELLWIRE) as members:
            world.wait_ready(members)
            ready.append(time.perf_counter() - began)
        began = time.perf_counter()
        world.said("-c", _IMPORTS)
        imports.append(time.perf_counter() - began)
    return {"ready_s": ready[1:], "import_s": imports[1:]}  # the first ones warmed the caches


def memory(world: World, per_s: float, seconds: float) -> dict[str, Any]:
    """Watch the worker's memory under an open-loop load; `floor_mb` is that of a process with its imports alone."""
    floor_mb = int(world.said("-c", _FLOOR)) / 1024.0
    world.fresh()
    world.backlog(SESSIONS, SESSIONS)
    events = int(per_s * seconds)
    points: list[tuple[float, float]] = []
    with world.running(TELLWIRE) as members:
        wait_done(world, SESSIONS, members[0].check)
        file = str(world.folder / "memory.npy")
        generator = world.start_generator("open", str(SESSIONS), str(events), str(SESSIONS), str(per_s), file)
        with generator:
            _begin(generator)
            began = time.monotonic()
            while generator.poll() is None:
                members[0].check()
                points.append((time.monotonic() - began, memory_mb(members[0].process.pid)))
                time.sleep(_EVERY_S)
        wait_done(world, SESSIONS + events, members[0].check, 120)
    world.check_outcome(TELLWIRE, SESSIONS + events, SESSIONS)
    second_half = [point for point in points if point[0] > seconds / 2]
    return {
        "per_s": per_s,
        "seconds": seconds,
        "floor_mb": floor_mb,
        "points": points,
        "mb_per_hour": slope(second_half) * 3600.0,
    }


def _begin(generator: subprocess.Popen[bytes]) -> None:
    assert generator.stdout is not None
    assert generator.stdin is not None
    generator.stdout.readline()
    generator.stdin.write(b"go\n")
    generator.stdin.flush()


def store_bytes(world: World, load: Load) -> dict[str, float]:
    """Drain a load and ask Redis what it holds: bytes a live session, and counters of entities apart."""
    drain_once(world, load)
    found: dict[str, list[int]] = {"sessions": [], "counters": [], "other": []}
    with world.redis.client(60.0) as client:
        keys = list(client.scan_iter(count=5_000))
        for begin in range(0, len(keys), 1_000):
            some = keys[begin : begin + 1_000]
            asked = client.pipeline(transaction=False)
            for key in some:
                asked.memory_usage(key, samples=0)
            for key, size in zip(some, asked.execute(), strict=True):
                kind = "sessions" if b"}:s:" in key else "other" if b":v" in key.partition(b"}")[0] else "counters"
                found[kind].append(size)
    sessions = len(found["sessions"])
    return {
        "sessions": sessions,
        "bytes_per_session": sum(found["sessions"]) / sessions,
        "counter_keys": len(found["counters"]),
        "counter_bytes_per_session": sum(found["counters"]) / sessions,
        "other_bytes": sum(found["other"]),
    }


def stalls(world: World, events: int, per_s: float, seconds: float) -> dict[str, Any]:
    """Watch how late the loop comes to a timer of 1 ms: in a backlog, and in an open loop. Costs CPU: a run apart."""
    world.fresh()
    events += SESSIONS
    world.backlog(events, SESSIONS)
    with world.running(_PROBED) as members:
        wait_done(world, SESSIONS, members[0].check)
        _late(members[0])  # start-up and the sessions' first events are left out, as in the other runs
        wait_done(world, events, members[0].check)
        backlog = _late(members[0])
        count = int(per_s * seconds)
        file = str(world.folder / "stalls.npy")
        generator = world.start_generator("open", str(events), str(count), str(SESSIONS), str(per_s), file)
        with generator:
            _begin(generator)
            time.sleep(0.5)
            _late(members[0])  # the pause before it is not counted
            generator.wait(seconds + 120)
        wait_done(world, events + count, members[0].check)
        loop = _late(members[0])
    return {"per_s": per_s, "backlog": backlog, "open_loop": loop}


def _late(member: Member) -> dict[str, float]:
    """Return what the probe has seen since it was asked last."""
    file = Path(f"{member.log}.late")
    member.process.send_signal(10)  # SIGUSR1
    deadline = time.monotonic() + 10
    while not file.exists():
        member.check()
        if time.monotonic() > deadline:
            raise Failed("the probe does not answer")
        time.sleep(0.05)
    p99, p999, worst, count = (float(part) for part in file.read_text(encoding="ascii").split())
    file.unlink()
    return {"p99_ms": p99, "p999_ms": p999, "max_ms": worst, "looks": count}


def flame_graph(world: World, events: int, to: Path) -> str | None:
    """Profile a worker that drains a backlog, into an SVG; return why it can't be done, or None."""
    world.fresh()
    raw = world.folder / "stacks.txt"
    with world.running(TELLWIRE) as members:
        world.wait_ready(members)
        events = SESSIONS + 2 * events
        world.backlog(events, SESSIONS)
        spy = [str(folder(PROFILER) / "bin" / "py-spy"), "record", "--pid", str(members[0].process.pid)]
        options = ["--duration", str(_PROFILED_S), "--rate", "400", "--gil", "--format", "raw", "--output", str(raw)]
        done = subprocess.run([*spy, *options], capture_output=True, text=True, check=False)
        wait_done(world, events, members[0].check)
    if done.returncode or not raw.is_file():
        return (done.stderr.strip().splitlines() or ["py-spy failed"])[-1]
    found = flame.tree(raw.read_text(encoding="utf-8").splitlines())
    if not found.count:
        return "py-spy saw nothing"
    title = "A worker that drains a backlog: who holds the interpreter's lock"
    to.write_text(flame.draw(found, title), encoding="utf-8")
    return None
