"""`python -m tests.fault.stuck_worker SECONDS`: a real worker that a signal makes stand still for so long.

SIGUSR1   its event loop is blocked; other threads run (a blocking call where none may be)
SIGUSR2   Python's lock is held: no thread of Python runs (a garbage collection, an extension that does not let go)
"""

from __future__ import annotations

import ctypes
import signal
import sys
import time
from types import FrameType

from stream.cli import main as command_line


def main(seconds: float) -> None:
    """Run the worker until it is stopped, or ends itself."""

    def block_the_loop(number: int, frame: FrameType | None) -> None:
        del number, frame
        time.sleep(seconds)

    def keep_the_lock(number: int, frame: FrameType | None) -> None:
        del number, frame
        ctypes.PyDLL(None).poll(None, 0, int(seconds * 1000))

    signal.signal(signal.SIGUSR1, block_the_loop)
    signal.signal(signal.SIGUSR2, keep_the_lock)
    sys.argv[:] = ["tellwire", "worker"]
    command_line()


if __name__ == "__main__":
    main(float(sys.argv[1]))
