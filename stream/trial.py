"""Tries models and a policy in a process of its own, bounded in time and memory, before they are loaded here.

Whatever a damaged or hostile model does to the libraries that read it, it does it there. The process is started anew
(no fork of this one, none of its secrets in its environment), gets the very bytes that will be loaded here, at a low
priority, and is killed when its time is over.
"""

import os
import signal
import subprocess
import sys
import threading
from typing import Final, NamedTuple

import msgspec

from models.artifact import Bundle
from models.errors import ArtifactError, PolicyError
from stream.trial_process import MAX_LINE_BYTES, OUT_OF_MEMORY, PASSED, REFUSED, WRONG_POLICY

NICENESS: Final = 10
"""The trial may have what scoring leaves over, and about a tenth of a processor that scoring wants too."""
GRACE_S: Final = 2.0
"""The process ends itself in time; if even that fails, it is killed so much later, s."""
MAX_TEXT: Final = 300
_KEPT: Final = ("HOME", "LANG", "PATH", "TMPDIR", "TZ", "USER", "VIRTUAL_ENV", "XDG_CACHE_HOME")
_KEPT_PREFIXES: Final = ("DYLD_", "LC_", "LD_", "NUMBA_", "PYTHON")
_ONE_THREAD: Final = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


class Candidate(msgspec.Struct, frozen=True):
    """What is to serve together: the bytes of an artefact folder and of a policy file."""

    bundle: Bundle
    policy_name: str
    policy: bytes


class TrialLimits(NamedTuple):
    """Bounds of the process: wall time (s), address space (MiB), added niceness."""

    seconds: float
    memory_mib: int
    niceness: int = NICENESS


class NotTriedError(Exception):
    """The trial could not be held, or was cancelled: that says nothing about the candidate. One line."""


class Trial:
    """Holds one trial at a time. Thread-safe: `cancel` is called from another thread."""

    def __init__(self, limits: TrialLimits) -> None:
        self._limits = limits
        self._lock = threading.Lock()
        self._running: subprocess.Popen[bytes] | None = None
        self._cancelled = False

    def run(self, candidate: Candidate) -> None:
        """Return when the candidate has passed. Blocks for at most the limit of time and a little.

        Raises ArtifactError or PolicyError with one line where it must not serve, NotTriedError where there was no
        trial.
        """
        process = self._start()
        killer = threading.Timer(self._limits.seconds + GRACE_S, process.kill)
        killer.daemon = True
        killer.start()
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            with process.stdout as output:
                _give(process, msgspec.msgpack.encode(candidate))
                line = output.read(MAX_LINE_BYTES)
            code = process.wait()
        finally:
            killer.cancel()
            process.kill()
            process.wait()
            with self._lock:
                self._running = None
        if self._cancelled:
            raise NotTriedError("the trial was cancelled")
        if code == WRONG_POLICY:
            raise PolicyError(one_line(line.decode(errors="replace")))
        if code != PASSED:
            raise ArtifactError(self._verdict(code, line))

    def cancel(self) -> None:
        """Kill a running trial, and let none begin."""
        with self._lock:
            self._cancelled = True
            if self._running is not None:
                self._running.kill()

    def _start(self) -> "subprocess.Popen[bytes]":
        limits = self._limits
        numbers = (f"{limits.seconds:g}", str(limits.memory_mib), str(limits.niceness))
        with self._lock:
            if self._cancelled:
                raise NotTriedError("the trial was cancelled")
            try:
                self._running = subprocess.Popen(  # noqa: S603 - our own interpreter and module
                    [sys.executable, "-P", "-m", "stream.trial_process", *numbers],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,
                    env=_environment(),
                    start_new_session=True,
                )
            except OSError as error:
                msg = f"no process for a trial could be started: {error.strerror}"
                raise NotTriedError(msg) from None
            return self._running

    def _verdict(self, code: int, line: bytes) -> str:
        limits = self._limits
        if code == REFUSED:
            return one_line(line.decode(errors="replace"))
        if code == OUT_OF_MEMORY:
            return f"the trial needed more than {limits.memory_mib} MiB (artefacts.trial_memory_mib)"
        if -code in (signal.SIGALRM, signal.SIGXCPU):
            return f"the trial was not over in {limits.seconds:g} s (artefacts.trial_timeout_s)"
        if code < 0:
            return f"it crashed the process that tried it ({_signal_name(-code)})"
        return f"it ended the process that tried it (exit code {code})"


def one_line(text: str) -> str:
    """`text` as one printable line of bounded length: it may quote what an untrusted file holds."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return line if len(line) <= MAX_TEXT else f"{line[: MAX_TEXT - 3]}..."


def _give(process: "subprocess.Popen[bytes]", data: bytes) -> None:
    assert process.stdin is not None
    try:
        with process.stdin as pipe:
            pipe.write(data)
    except BrokenPipeError:
        pass  # it has ended; its exit code says why


def _environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name in _KEPT or name.startswith(_KEPT_PREFIXES)}
    return kept | _ONE_THREAD


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
