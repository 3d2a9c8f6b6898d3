"""How a worker or learner stops: what SIGTERM and Ctrl-C mean from start to end, and the limit that every stop has.

The handlers belong to the process, not to the event loop: there is no moment in which a signal has no answer. What is
cut off at the limit is not lost: it is read again, as after a crash.
"""

import atexit
import contextlib
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from queue import Empty, SimpleQueue
from types import FrameType
from typing import Final, NoReturn

from stream.exit_status import INTERRUPTED, STUCK
from stream.stacks import tell_stacks

log = logging.getLogger(__name__)

LINGER_S: Final = 1.0
"""Longest wait, s, for threads of the libraries once everything of ours has ended."""
_CUT_S: Final = 0.5
"""Left of the limit for the last words, s."""


class Stop:
    """The one stop of a process. Made and installed on the main thread, before anything slow begins.

    A signal handler may interrupt anything, also the log and locks: it only puts a word into a queue that is made for
    that, and a thread, there from the beginning, says what is to be said and keeps the limit.
    """

    def __init__(self, stop_s: float, end: Callable[[int], object] = os._exit) -> None:
        self._stop_s = stop_s
        self._end = end
        self._stop: Callable[[], object] | None = None
        self._asked_at: float | None = None
        self._words: SimpleQueue[str | int] = SimpleQueue()
        self._said = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="stop", daemon=True)

    def install(self) -> None:
        """Answer SIGTERM and SIGINT from now on, to the process' end; while it starts, they end it at once."""
        self._thread.start()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._signalled)

    def running(self, stop: Callable[[], object]) -> None:
        """From now on the first signal calls `stop`, on the main thread, between any two steps of whatever runs."""
        self._stop = stop

    @property
    def is_asked(self) -> bool:
        """Whether a stop was asked for."""
        return self._asked_at is not None

    def begin(self, word: str = "begun") -> None:
        """Begin the limit of the stop. Every way to an end comes by here, also one that nobody asked for."""
        if self._asked_at is None:
            self._asked_at = time.monotonic()
            self._words.put(word)

    def ended(self, status: int) -> None:
        """Everything of ours has ended; what lingers now is threads of libraries that wait for a broker."""
        self.begin()
        self._words.put(status)

    def leave(self, status: int) -> NoReturn:
        """End the process now, in good order: without waiting for threads that wait for a broker."""
        if self._asked_at is not None and self._thread.is_alive():
            self._said.wait(_CUT_S)  # a stop can be quicker than what is said of it
        atexit._run_exitfuncs()  # noqa: SLF001 - temporary folders; there is no public way that does not wait for threads
        self._leave(status)

    def _signalled(self, number: int, frame: FrameType | None) -> None:
        del frame
        if self._asked_at is not None:
            self._words.put("interrupted" if number == signal.SIGINT else "again")
        elif self._stop is not None:
            self.begin("asked")
            self._stop()
        else:
            self.begin()
            with contextlib.suppress(RuntimeError):  # it interrupted another line of the log
                log.info("stopped while it was starting: nothing had begun")
            raise SystemExit(0 if number == signal.SIGTERM else INTERRUPTED)

    def _serve(self) -> None:
        """Say what happens and keep the limit, from the first word to the end of the process."""
        word: str | int = self._words.get()
        while not isinstance(word, int):
            self._say(word)
            self._said.set()
            try:
                word = self._words.get(timeout=self._left_s())
            except Empty:
                self._cut_off()
                return
        time.sleep(LINGER_S)
        self._leave(word)

    def _say(self, word: str) -> None:
        if word == "asked":
            log.info("stopping: what is in flight is finished, which takes at most %g s", self._stop_s)
        elif word == "again":
            log.info("already stopping; it takes at most %.1f s more", self._left_s())
        elif word == "interrupted":
            log.warning("interrupted again: it ends at once; what was in flight is read again")
            self._leave(INTERRUPTED)

    def _left_s(self) -> float:
        asked_at = self._asked_at or time.monotonic()
        return max(0.0, asked_at + self._stop_s - _CUT_S - time.monotonic())

    def _cut_off(self) -> None:
        teller = threading.Thread(target=self._tell, name="last-words", daemon=True)
        teller.start()
        teller.join(_CUT_S)
        self._end(STUCK)

    def _tell(self) -> None:
        log.critical(
            "the stop did not end within %g s (health.stop_s) and is cut off, with exit status %d; nothing is lost, "
            "what was not finished is read again. The stacks follow",
            self._stop_s,
            STUCK,
        )
        tell_stacks(None)

    def _leave(self, status: int) -> NoReturn:
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except (OSError, ValueError, AttributeError):  # nobody reads any more, or there never was one
                continue
        self._end(status)
        raise SystemExit(status)  # only where `end` was replaced
