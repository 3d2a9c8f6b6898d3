"""Starts server processes that die with the test run, finds free ports for them, and looks at processes that run."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.support import require

# Becomes the server itself (exec), after asking Linux to be killed with the thread that started it: a test run that is
# killed leaves no server behind. Start servers from a thread that lives as long as they should.
_DIE_WITH_PARENT = """
import ctypes, os, sys
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, 9, 0, 0, 0)
    if os.getppid() != int(sys.argv[1]):
        sys.exit("parent is gone")
os.execvp(sys.argv[2], sys.argv[2:])
"""


_PORTS = range(10_240, 32_768)
"""Below those that systems hand out to outgoing connections: a client that asks again and again for a server that is
away would get the server's port for its own end one day, and be connected with itself while the server can't start."""


def free_ports(count: int) -> list[int]:
    """Return `count` different TCP ports of 127.0.0.1 that were free just now, and that no client is given."""
    found: list[int] = []
    with contextlib.ExitStack() as stack:
        for port in random.SystemRandom().sample(_PORTS, len(_PORTS)):
            if len(found) == count:
                return found
            with contextlib.suppress(OSError):
                stack.enter_context(socket.socket()).bind(("127.0.0.1", port))
                found.append(port)
    raise RuntimeError(f"no {count} ports of 127.0.0.1 are free")


def spawn(command: Sequence[str], log: Path, env: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
    """Start `command` with its output appended to `log`; it is killed when this process ends, however it ends."""
    with log.open("ab") as sink:
        return subprocess.Popen(
            [sys.executable, "-S", "-E", "-c", _DIE_WITH_PARENT, str(os.getpid()), *command],
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=subprocess.STDOUT,
            env={**os.environ, **env} if env else None,
            start_new_session=True,
        )


def end(process: subprocess.Popen[bytes], sig: signal.Signals = signal.SIGTERM, wait_s: float = 15.0) -> None:
    """Signal `process` and wait; after `wait_s` seconds it is killed. Safe to call on a process that has ended."""
    if process.poll() is None:
        process.send_signal(sig)
        # A stopped process would not act on anything but SIGKILL.
        process.send_signal(signal.SIGCONT)
    try:
        process.wait(wait_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def tail(log: Path, lines: int = 20) -> str:
    """Return the last `lines` lines of `log` for an error message."""
    text = log.read_text(errors="replace") if log.exists() else ""
    return "\n".join(text.splitlines()[-lines:])


class Deadline:
    """A bounded wait: `while deadline.waits(): ...` polls until the time is over."""

    def __init__(self, seconds: float, pause_s: float = 0.05) -> None:
        self._end = time.monotonic() + seconds
        self._pause_s = pause_s
        self._first = True

    def waits(self) -> bool:
        """Sleep one pause (not the first time) and say whether time is left."""
        if not self._first:
            time.sleep(self._pause_s)
        self._first = False
        return time.monotonic() < self._end


def _running() -> dict[int, tuple[int, str]]:
    """Parent and command line of each process; what ended and nobody asked about yet runs no more. Needs `ps`."""
    tool = shutil.which("ps")
    require(tool, "ps is needed to see what runs (Debian: procps)")
    columns = [str(tool), "-ww", "-A", "-o", "pid=,ppid=,stat=,args="]
    with subprocess.Popen(columns, stdout=subprocess.PIPE, text=True) as asked:
        rows = [line.split(None, 3) for line in asked.communicate()[0].splitlines()]
    return {int(row[0]): (int(row[1]), row[3]) for row in rows if row[2][0] != "Z" and int(row[0]) != asked.pid}


def is_running(pid: int) -> bool:
    """Say whether process `pid` runs."""
    return pid in _running()


def children_of(pid: int) -> dict[int, str]:
    """Return the running children of process `pid`, each with its command line."""
    return {child: line for child, (parent, line) in _running().items() if parent == pid}
