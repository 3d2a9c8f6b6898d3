"""`python -m tests.fuzz --seconds 600`: fuzz every target, count, and keep what was found; `make fuzz SECONDS=600`."""

from __future__ import annotations

import argparse
import hashlib
import random
import resource
import sys
import time
import traceback
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from tests.fuzz.targets import MAX_CALL_S, Manifests, Target, all_targets
from tests.property.profile import quiet

MAX_GROWTH_MB = 600.0
"""By how much the process may grow over a whole run: numba's kernels, models and the largest input included."""


@dataclass
class Found:
    """What a run over one target showed."""

    inputs: int = 0
    accepted: int = 0
    slowest_s: float = 0.0
    failures: dict[str, bytes] = field(default_factory=dict)
    """An input for each kind of failure."""


def fuzz(target: Target, seconds: float, seed: int) -> Found:
    """Break inputs of one target for so many seconds; the same seed makes the same inputs."""
    with quiet():
        return _fuzz(target, seconds, seed)


def _fuzz(target: Target, seconds: float, seed: int) -> Found:
    rng = random.Random(f"{target.name} {seed}")
    found = Found()
    for data in target.corpus:
        assert target.check(data), f"{target.name}: a valid input is refused"
    until = time.monotonic() + seconds
    pool = list(target.corpus)
    while time.monotonic() < until:
        data = target.mutate(rng.choice(pool), rng)
        began = time.thread_time()  # of the processor: other processes are not to blame on an input
        try:
            accepted = target.check(data)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is what we look for
            place = traceback.extract_tb(error.__traceback__)[-1]
            kind = f"{type(error).__name__} at {Path(place.filename).name}:{place.lineno}"
            found.failures.setdefault(kind, data)
            accepted = False
        took_s = time.thread_time() - began
        found.slowest_s = max(found.slowest_s, took_s)
        if took_s > MAX_CALL_S:
            found.failures.setdefault(f"more than {MAX_CALL_S:g} s", data)
        found.inputs += 1
        found.accepted += accepted
        # What is accepted and new is broken further: deeper than three mutations.
        if accepted and len(pool) < 2_000 and len(data) < 20_000:
            pool.append(data)
    return found


def rss_mb() -> float:
    """Highest resident memory of this process so far, MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024.0


def main(arguments: list[str]) -> int:
    """Run; exit status 1 when something was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="for all targets together")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default="", help="targets whose name begins so")
    parser.add_argument("--keep", type=Path, default=Path("fuzz-findings"), help="folder for inputs that fail")
    given = parser.parse_args(arguments)
    with closing(Manifests()) as manifests:
        targets = [target for target in all_targets(manifests) if target.name.startswith(given.only)]
        share_s = given.seconds / sum(target.weight for target in targets)
        before_mb, failures, total = rss_mb(), 0, 0
        print(f"{'target':<12} {'inputs':>10} {'accepted':>9} {'slowest':>9}  failures")
        for target in targets:
            found = fuzz(target, share_s * target.weight, given.seed)
            total += found.inputs
            figures = f"{found.inputs:>10} {found.accepted:>9} {found.slowest_s:>7.3f} s  {len(found.failures)}"
            print(f"{target.name:<12} {figures}")
            for what, data in found.failures.items():
                failures += 1
                given.keep.mkdir(parents=True, exist_ok=True)
                path = given.keep / f"{target.name.replace(' ', '-')}-{hashlib.sha256(data).hexdigest()[:12]}"
                path.write_bytes(data)
                print(f"  {what}\n    input: {path}")
            sys.stdout.flush()
    grown_mb = rss_mb() - before_mb
    print(f"{total} inputs, {failures} failures, memory grew by {grown_mb:.0f} MB")
    if grown_mb > MAX_GROWTH_MB:
        print(f"memory grew by more than {MAX_GROWTH_MB:g} MB")
        failures += 1
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
