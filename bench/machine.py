"""The machine: which cores are used, what it is, and what a process has used of it."""

import os
import platform
import re
import time
from pathlib import Path
from typing import Final, NamedTuple

_TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")
_CPU_CLOCK: Final = 2
"""Of a process, in Linux' numbers of clocks: the one that its scheduler keeps (`clock_getcpuclockid`)."""


class Cores(NamedTuple):
    """Two cores, used alike in every run."""

    worker: frozenset[int]
    """The contestant's, and nobody else's."""
    rest: frozenset[int]
    """Broker, store, generator and verifier share it."""


def two_cores() -> Cores:
    """Return the first two cores that this process may use; the same one twice where there is one only."""
    usable = sorted(os.sched_getaffinity(0))
    return Cores(frozenset(usable[:1]), frozenset(usable[1:2] or usable[:1]))


def pin(pid: int, cores: frozenset[int]) -> None:
    """Let a process and all threads that it starts from now on run on these cores only; 0: this process."""
    os.sched_setaffinity(pid, cores)


def cpu_s(pid: int) -> float:
    """Return the CPU time that a process has used with all its threads, s, to the nanosecond."""
    return time.clock_gettime((~pid << 3) | _CPU_CLOCK)


def main_thread_cpu_s(pid: int) -> float:
    """Return the CPU time that the main thread of a process has used, s, to a hundredth."""
    fields = Path(f"/proc/{pid}/task/{pid}/stat").read_text(encoding="ascii").rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S


def busy_s(cores: frozenset[int]) -> float:
    """Return how long these cores were not idle since the machine's start, each by itself, s, to a hundredth."""
    names = {f"cpu{core}" for core in cores}
    found = 0
    for line in Path("/proc/stat").read_text(encoding="ascii").splitlines():
        name, *ticks = line.split()
        if name in names:
            user, nice, system, _idle, _waiting, interrupt, soft_interrupt = map(int, ticks[:7])
            found += user + nice + system + interrupt + soft_interrupt
    return found / _TICKS_PER_S


def memory_mb(pid: int | str, what: str = "VmRSS") -> float:
    """Return what a process has in memory now (`VmRSS`) or had at most (`VmHWM`), MB."""
    found = re.search(rf"^{what}:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(encoding="ascii"), re.MULTILINE)
    return int(found[1]) / 1024.0 if found else 0.0


def describe(cores: Cores) -> dict[str, str]:
    """Say what the figures were measured on."""
    processor = re.search(r"model name\s*: (.+)", Path("/proc/cpuinfo").read_text(encoding="utf-8"))
    memory = re.search(r"MemTotal:\s+(\d+)", Path("/proc/meminfo").read_text(encoding="ascii"))
    return {
        "processor": processor[1].strip() if processor else platform.machine(),
        "cores": f"{os.cpu_count()}, of which the worker has one and all else another{_shared(cores)}",
        "memory": f"{int(memory[1]) / 1024**2:.1f} GiB" if memory else "unknown",
        "system": f"{platform.system()} {platform.release().partition('-')[0]}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
    }


def _shared(cores: Cores) -> str:
    """Say where both are threads of one core: then what one does slows the other down."""
    (first, *_) = cores.worker
    file = Path(f"/sys/devices/system/cpu/cpu{first}/topology/thread_siblings_list")
    siblings = set()
    for part in file.read_text(encoding="ascii").strip().split(",") if file.is_file() else []:
        low, _, high = part.partition("-")
        siblings |= set(range(int(low), int(high or low) + 1))
    return " (both are hardware threads of one core)" if cores.rest & siblings else ""
