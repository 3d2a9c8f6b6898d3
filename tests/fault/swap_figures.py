"""What a swap of models costs while a worker scores: how long it takes, and what it does to latency meanwhile.

`python -m tests.fault.swap_figures` runs a worker under a steady load on real servers, swaps its models back and forth,
and compares latency (append of the input to append of the risk event, on the broker's clock) within swaps and outside.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from tests.fault.row import Needs, Row
from tests.fault.rows.crashes import wait_moving
from tests.fault.rows.models import put, swaps
from tests.fault.trial import Grounds, Trial
from tests.support.artefacts import another

SECONDS = re.compile(r"swapped in: new models .*seconds=([0-9.]+)")


def _nothing(_: Trial) -> None: ...


def measure(trial: Trial, per_s: float, times: int) -> None:
    """Swap so often under that load, and print what was seen."""
    folders = [another(trial.folder / f"v{number}", number) for number in (1, 2)]
    serving = trial.folder / "models"
    put(folders[0], serving)
    pipeline = trial.pipeline(4, ARTEFACTS__DIRECTORY=str(serving), ARTEFACTS__POLL_S="0.2")
    began_s = time.monotonic()
    worker = pipeline.start("worker")
    worker.wait_ready()
    print(f"ready after {time.monotonic() - began_s:.1f} s, the trial at the start included")
    load = trial.load(pipeline, per_s=per_s)
    wait_moving(pipeline, worker, pipeline.ends("risk.events"))
    time.sleep(5.0)
    within: list[tuple[int, int]] = []
    measured_from_ms = time.time_ns() // 1_000_000
    for number in range(1, times + 1):
        began_ms = time.time_ns() // 1_000_000
        put(folders[number % 2], serving)
        worker.wait(lambda wanted=number: swaps(worker, "models", "swapped") >= wanted, 60, "swapping")
        within.append((began_ms, time.time_ns() // 1_000_000))
        time.sleep(4.0)
    load.stop()
    pipeline.wait_committed(worker)
    evidence = trial.judge(pipeline)
    answered = evidence.answered_ms
    told: dict[bool, list[int]] = {True: [], False: []}
    for place, appended_ms in evidence.appended_ms.items():
        if place in answered and appended_ms >= measured_from_ms:
            is_within = any(first <= appended_ms <= last for first, last in within)
            told[is_within].append(answered[place] - appended_ms)
    for is_within, latencies in told.items():
        p50, p95, p99, most = np.percentile(latencies, (50, 95, 99, 100))
        print(
            f"{'within swaps' if is_within else 'outside     '}: {len(latencies)} events, "
            f"p50 {p50:.0f} ms, p95 {p95:.0f} ms, p99 {p99:.0f} ms, longest {most:.0f} ms"
        )
    seconds = [float(found) for found in SECONDS.findall(worker.text())]
    print(f"{len(seconds)} swaps of {np.median(seconds):.2f} s (longest {max(seconds):.2f} s), from reading to serving")


def main() -> int:
    """Run the measurement."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--per-s", type=float, default=300.0)
    parser.add_argument("--times", type=int, default=8)
    options = parser.parse_args()
    row = Row(0, "swaps", ("measured",), Needs(), (), _nothing, "tellwire", in_ci=False)
    with Grounds() as grounds, grounds.lend(row.needs) as servers, tempfile.TemporaryDirectory() as folder:
        trial = Trial(row, "ci", servers, Path(folder))
        try:
            measure(trial, options.per_s, options.times)
        finally:
            trial.end()
    return 0


if __name__ == "__main__":
    sys.exit(main())
