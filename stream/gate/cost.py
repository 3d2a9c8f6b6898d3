"""What artefacts cost: CPU time of scoring, both sides in turn in one process, and memory in a process of its own."""

import json
import os
import platform
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

import numpy as np

from features.session import Meta
from models import artifact
from models.engine import Engine
from models.policy import parse_policy
from models.scorer import FloatArray
from schemas.base import FLOWS
from stream.trial import one_line

ROUNDS: Final = 15
ROWS: Final = 512
TIMEOUT_S: Final = 300.0


class CostError(Exception):
    """The process that was to tell the memory failed; one line."""


def us_per_event(engines: list[Engine]) -> list[float]:
    """CPU time of models, decision and reasons by each engine, µs an event: medians of rounds, in turn.

    The rows are the first engine's golden ones: vectors that no session had, between the quantiles of those that had.
    """
    rows = _rows(engines[0])
    for engine in engines:
        _score(engine, rows)
    spent: list[list[float]] = [[] for _ in engines]
    for _ in range(ROUNDS):
        for k, engine in enumerate(engines):
            began = time.process_time()
            _score(engine, rows)
            spent[k].append((time.process_time() - began) * 1e6 / len(rows))
    return [float(np.median(each)) for each in spent]


def _rows(engine: Engine) -> FloatArray:
    golden = engine.artifacts.manifest.golden.rows
    rows = np.array([[np.nan if value is None else value for value in row] for row in golden], dtype=np.float64)
    return np.ascontiguousarray(np.resize(rows, (ROWS, rows.shape[1])))


def _score(engine: Engine, rows: FloatArray) -> None:
    flows = [FLOWS[i % len(FLOWS)] for i in range(len(rows))]
    raw = engine.raw(rows, flows, [{}] * len(rows), None)
    metas = [Meta(flow=flow) for flow in flows]
    engine.assess_chunk(rows, raw, metas, [{}] * len(rows), [{}] * len(rows), [()] * len(rows), None)


def machine() -> str:
    """What this machine is, as far as it matters for time and memory."""
    model = ""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    except OSError:
        model = platform.processor()
    return f"{platform.system()} {platform.machine()} {model} x{os.cpu_count()}, Python {platform.python_version()}"


def memory_mib(folder: Path | None, policy: bytes, policy_name: str) -> float:
    """Largest resident size of a new process that loads artefacts and policy and scores once, MiB. Raises CostError."""
    asked = {
        "folder": None if folder is None else str(folder.resolve()),
        "policy": policy.decode(),
        "name": policy_name,
    }
    try:
        # -P: what lies in the folder at hand is none of our modules.
        done = subprocess.run(
            [sys.executable, "-P", "-m", "stream.gate.cost"],
            input=json.dumps(asked), capture_output=True, text=True, check=False, timeout=TIMEOUT_S,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise CostError(f"a process that loads the artefacts did not end within {TIMEOUT_S:g} s") from None
    if done.returncode:
        why = one_line(done.stderr.strip().rpartition("\n")[2])
        raise CostError(f"a process that loads the artefacts ended with {done.returncode}: {why}")
    return float(done.stdout)


def _main() -> None:
    asked = json.loads(sys.stdin.read())
    folder = None if asked["folder"] is None else Path(asked["folder"])
    engine = Engine.build(artifact.read(folder), parse_policy(asked["policy"].encode(), asked["name"]))
    _score(engine, _rows(engine))
    sys.stdout.write(f"{_largest_kib() / 1024.0}\n")


def _largest_kib() -> float:
    """Largest resident size of this process so far, KiB."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
        # Not what getrusage says: there a process begins with the size of who started it.
        return next(float(line.split()[1]) for line in lines if line.startswith("VmHWM:"))
    except (OSError, StopIteration):
        # Bytes on macOS.
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024.0 if sys.platform == "darwin" else 1.0)


if __name__ == "__main__":
    _main()
