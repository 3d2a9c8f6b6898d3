"""Starts server processes that die with the test run, and finds free ports for them."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

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


def free_ports(count: int) -> list[int]:
    """Return `count` different TCP ports of 127.0.0.1 that were free just now."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


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
