"""The contestants: what each is, which environment it runs in, and making that environment from its lock.

tellwire, the hand-written loop and the echo run in the checkout's own; the others in `.venv-bench-*`.
"""

import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[1]


@dataclass(frozen=True, slots=True)
class Contestant:
    """Something that reads telemetry and publishes risk events."""

    name: str
    module: tuple[str, ...]
    lock: str | None = None
    """Of its environment, in `requirements/`; None: the checkout's own."""
    does_the_job: bool = True
    speed: float = 1.0
    """Roughly, in backlogs of the same length in time: its share of tellwire's number of events."""
    note: str = ""

    @property
    def command(self) -> list[str]:
        """How it is started."""
        python = sys.executable if self.lock is None else str(folder(self.lock) / "bin" / "python")
        return [python, "-m", *self.module]


TELLWIRE: Final = Contestant("tellwire", ("stream", "worker"), note="as shipped, default settings")
BY_HAND: Final = Contestant(
    "hand-written loop",
    ("bench.contestants.by_hand",),
    note="bare librdkafka around tellwire's chunk functions; no group, no rebalance, no watchdog, no fault",
)
FAUST: Final = Contestant(
    "naive Faust",
    ("bench.contestants.naive_faust",),
    "bench-faust",
    speed=0.05,
    note="the stock framework with uvloop, one event at a time",
)
QUIX: Final = Contestant(
    "Quix Streams", ("bench.contestants.quix",), "bench-quix", speed=0.1, note="a function applied to each event"
)
BYTEWAX: Final = Contestant(
    "Bytewax",
    ("bench.contestants.bytewax_flow",),
    "bench-bytewax",
    speed=0.5,  # it publishes some thousand events at a time: enough of them for a rate
    note="a function mapped over the events",
)
ECHO: Final = Contestant(
    "echo", ("bench.contestants.echo",), does_the_job=False, speed=2.0, note="consume, publish; bare librdkafka"
)
IN_DRAIN: Final = (TELLWIRE, BY_HAND, FAUST, QUIX, BYTEWAX, ECHO)
PROFILER: Final = "bench-profiler"


def folder(lock: str) -> Path:
    """Return where a lock's environment lives."""
    return ROOT / f".venv-{lock}"


def set_up(lock: str) -> str | None:
    """Make a lock's environment, unless it is there and the lock has not changed; return why it can't be, or None."""
    wanted = (ROOT / "requirements" / f"{lock}.txt").read_text(encoding="utf-8")
    home = folder(lock)
    stamp = home / "installed.txt"
    if stamp.is_file() and stamp.read_text(encoding="utf-8") == wanted:
        return None
    shutil.rmtree(home, ignore_errors=True)
    print(f"Installing what requirements/{lock}.txt names into {home.name} (once)", file=sys.stderr)
    subprocess.run([sys.executable, "-m", "venv", str(home)], check=True)
    python = str(home / "bin" / "python")
    install = ["install", "-q", "--require-hashes", "--no-deps", "-r", f"requirements/{lock}.txt"]
    uv = shutil.which("uv") or shutil.which("uv", path=str(Path(sys.executable).parent))
    command = [python, "-m", "pip", "--disable-pip-version-check", "--no-input", *install]
    if uv is not None:
        command = [uv, "pip", *install, "--python", python]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        return (done.stderr.strip().splitlines() or ["it could not be installed"])[-1]
    stamp.write_text(wanted, encoding="utf-8")
    return None


def versions(contestant: Contestant) -> dict[str, str]:
    """Return which versions a contestant's lock names, of what the figures rest on."""
    name = "run" if contestant.lock is None else contestant.lock
    lines = (ROOT / "requirements" / f"{name}.txt").read_text(encoding="utf-8").splitlines()
    shown = ("confluent-kafka", "faust-streaming", "quixstreams", "bytewax", "lightgbm", "numba", "numpy", "redis")
    found: dict[str, str] = {}
    for line in lines:
        package, _, rest = line.partition("==")
        if package in shown and rest and package not in found:
            found[package] = rest.split()[0]
    return found
