"""The demo's child processes: started with their own logs, tied to the demo's life, ended in order.

A child's standard input is a pipe that the demo holds: when it closes, also because the demo was killed, the child
asks itself to stop. Each has a session of its own, so Ctrl-C in a terminal reaches the demo alone.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

STOP_S = 12.0
"""Longest time that children may take to stop before they are killed, s; worker and learner end within 10."""
TAIL_LINES = 12


class DemoError(Exception):
    """The demo cannot go on; the message is for a person."""


class Child:
    """One child process with its log file."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        log: Path,
        env: Mapping[str, str] | None = None,
        first_input: bytes = b"",
        read_output: bool = False,
    ) -> None:
        self.name = name
        self.log = log
        with log.open("ab") as sink:
            self._process = subprocess.Popen(  # noqa: S603 - our own interpreter and modules
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE if read_output else sink,
                stderr=sink,
                env=dict(env) if env is not None else None,
                start_new_session=True,
            )
        if first_input and self._process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.write(first_input)
                self._process.stdin.flush()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """Its exit status; None while it runs."""
        return self._process.poll()

    def lines(self) -> Iterator[bytes]:
        """Yield the lines of its standard output until it closes; only with `read_output`."""
        if self._process.stdout is not None:
            with self._process.stdout as out:
                yield from out

    def complaint(self) -> str:
        """What to tell a person about a child that ended by itself: its status, the end of its log, and where it is."""
        text = self.log.read_text(encoding="utf-8", errors="replace").rstrip() if self.log.exists() else ""
        tail = [line for line in text.splitlines() if line.strip()][-TAIL_LINES:]
        code = self.exit_code
        how = f"signal {-code}" if code is not None and code < 0 else f"exit code {code}"
        head = f"the {self.name} ended by itself ({how}); its log is {self.log}"
        return "\n".join([head, *(f"  {line}" for line in tail)])

    def ask_to_stop(self) -> None:
        """Send SIGTERM, and close its input."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        if self._process.stdin is not None:
            with contextlib.suppress(OSError):
                self._process.stdin.close()

    def wait(self, wait_s: float = STOP_S) -> int:
        """Wait until it has ended; kill it after `wait_s`. Returns its exit status."""
        try:
            return self._process.wait(wait_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()


def stop_all(children: Sequence[Child], wait_s: float = STOP_S) -> None:
    """Ask all children to stop, at once, then wait for them, `wait_s` for all together."""
    until = time.monotonic() + wait_s
    for each in children:
        each.ask_to_stop()
    for each in children:
        each.wait(max(0.0, until - time.monotonic()))


def python(*arguments: str) -> list[str]:
    """Return a command that runs this interpreter, without the working directory on its path."""
    return [sys.executable, "-P", *arguments]


def command_line(*arguments: str) -> list[str]:
    """Return a command that runs `tellwire ARGUMENTS` tied to the life of this process."""
    return python("-c", "from stream.demo.children import child; child()", *arguments)


def told_by_parent() -> dict[str, str]:
    """Begin as a child whose first line of input, a JSON object, says what to do; it ends when asked or orphaned."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    told: dict[str, str] = json.loads(_first_line())
    follow_parent()
    return told


def follow_parent() -> None:
    """Send this process SIGTERM when the demo is gone, as its end of the standard input tells."""

    def follow() -> None:
        with contextlib.suppress(OSError):
            while os.read(0, 4096):
                pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=follow, name="follow-parent", daemon=True).start()


def _first_line() -> bytes:
    """Read the first line of standard input, byte by byte: what follows is for `follow_parent`."""
    line = b""
    while (byte := os.read(0, 1)) not in (b"\n", b""):
        line += byte
    return line


def child() -> None:
    """Run the command line in a child of the demo; it gets SIGTERM when the demo is gone."""
    follow_parent()
    from stream.cli import main  # noqa: PLC0415 - heavy, and the command line imports the demo

    main()
