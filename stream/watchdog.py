"""Ends a process that is stuck: says what stood still and for how long, shows every stack, and exits with status 70.

A thread of its own looks twice a second at the signs of life that the event loop, the poll thread and the chunks give.
It waits for none of them, and what it says goes through a second thread, so that not even a blocked log keeps it from
acting. Where a call into C never gives Python's lock back, no Python thread runs: then the interpreter's own timer
(`faulthandler`) writes the stacks and ends the process, with status 1.
"""

import asyncio
import faulthandler
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final

from prometheus_client import Gauge

from stream.degraded_time import DegradedTime
from stream.exit_status import STUCK
from stream.health import LOOP, POLL, PROGRESS, Health, Stuck
from stream.metrics import Metrics
from stream.stacks import tell_stacks

if TYPE_CHECKING:
    from stream.gateway.metrics import GatewayMetrics

log = logging.getLogger(__name__)

LOOK_S: Final = 0.5
BEAT_S: Final = 0.5
FROZEN_S: Final = 2.0
"""A longer gap between two looks means that the watchdog itself did not run: the process was frozen, or starved."""
LAST_WORDS_S: Final = 5.0
"""Longest time that telling may take, s."""
LOCK_RATIO: Final = 1.5
"""The interpreter's own timer runs for so many times `restart_s`: it can't tell a frozen process from a stuck one."""

_SAID: Final = {
    LOOP: "the event loop has not run",
    POLL: "the thread that polls Kafka has not polled",
    PROGRESS: "records wait and no chunk was finished, though broker and store answer,",
}


class RunningClock:
    """Monotonic seconds in which this process ran: a freeze (SIGSTOP, a paused container) does not count as silence."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._frozen_s = 0.0
        self._looked_at = monotonic()

    def __call__(self) -> float:
        """Return the time, s. Any thread."""
        return self._monotonic() - self._frozen_s

    def look(self) -> None:
        """Leave out what has passed since the last look if that is too much. By the watchdog alone."""
        now = self._monotonic()
        gap = now - self._looked_at
        self._looked_at = now
        if gap > FROZEN_S:
            self._frozen_s += gap - LOOK_S


class Watchdog:
    """Watches one process by its `health`, which must run on `clock`.

    `restart_s`: silence, s, after which the process is ended. `last_poll`: a value that changes with every poll of
    Kafka, None before the first; asked for only while the process is ready, from the watchdog's thread. `unfinished`:
    what becomes of what was not finished, for whoever reads the last words. Of a gateway the event loop is watched.
    """

    def __init__(
        self,
        health: Health,
        clock: RunningClock,
        metrics: "Metrics | GatewayMetrics",
        restart_s: float,
        last_poll: Callable[[], float | None] = lambda: None,
        end: Callable[[int], object] = os._exit,
        *,
        unfinished: str = "what was not finished is read again",
    ) -> None:
        self._health = health
        self._clock = clock
        self._restart_s = restart_s
        self._last_poll = last_poll
        self._end = end
        self._unfinished = unfinished
        self._loop_lag = metrics.loop_lag_seconds
        self._waiting_for: dict[str, Gauge] = {}
        self._degraded: DegradedTime | None = None
        watched: Iterable[str] = (LOOP,)
        if isinstance(metrics, Metrics):
            watched = _SAID
            self._waiting_for = {what: metrics.waiting_for.labels(what) for what in ("broker", "store")}
            self._degraded = metrics.degraded_time
        self._silence = {what: metrics.silence_seconds.labels(what) for what in watched}
        self._looked_at: float | None = None
        self._poll_seen: float | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    def start(self) -> None:
        """Begin to watch. Of silence nothing counts before the process is ready; a held lock counts from now on."""
        self._arm()
        self._thread.start()

    def watch_loop(self) -> None:
        """Have the running event loop show its life twice a second; called on it, once."""
        self._loop = loop = asyncio.get_running_loop()
        self._beat(loop, loop.time())

    def close(self) -> None:
        """Watch no more. A stop has a limit of its own, see `stopping`."""
        self._over.set()
        faulthandler.cancel_dump_traceback_later()

    def _beat(self, loop: asyncio.AbstractEventLoop, due: float) -> None:
        now = loop.time()
        self._loop_lag.observe(max(0.0, now - due))
        self._health.sign_of_life(LOOP)
        if not self._over.is_set():
            loop.call_at(now + BEAT_S, self._beat, loop, now + BEAT_S)

    def _watch(self) -> None:
        while not self._over.wait(LOOK_S):
            self._clock.look()
            self._arm()
            try:
                stuck = self._look()
            except Exception as error:  # noqa: BLE001 - a watchdog that died would not be missed until it is needed
                log.error("the watchdog could not look: %s", type(error).__name__)
                continue
            if stuck is not None and not self._over.is_set():
                self._give_up(stuck)

    def _look(self) -> Stuck | None:
        health = self._health
        if not health.is_watched:
            self._looked_at = None
            return None
        polled = self._last_poll()
        if polled is not None and polled != self._poll_seen:
            self._poll_seen = polled
            health.sign_of_life(POLL)
        silences = health.silences()
        for what, gauge in self._silence.items():
            gauge.set(silences.get(what, 0.0))
        for name, gauge in self._waiting_for.items():
            gauge.set(name in health.waits_for)
        now = self._clock()
        if self._looked_at is not None and self._degraded is not None:
            self._degraded.look(now - self._looked_at, health.waits_for)
        self._looked_at = now
        return health.stuck(self._restart_s)

    def _arm(self) -> None:
        """Wind up the interpreter's own timer; while it starts, too, since kernels do not compile under the lock."""
        if (fd := _stderr()) is not None:
            faulthandler.dump_traceback_later(LOCK_RATIO * self._restart_s, file=fd, exit=True)
        if self._over.is_set():  # closed meanwhile
            faulthandler.cancel_dump_traceback_later()

    def _give_up(self, stuck: Stuck) -> None:
        """Tell, for as long as that may take, and end: nothing of the process is asked to take part."""
        faulthandler.cancel_dump_traceback_later()
        teller = threading.Thread(target=self._tell, args=(stuck,), name="last-words", daemon=True)
        teller.start()
        teller.join(LAST_WORDS_S)
        self._end(STUCK)

    def _tell(self, stuck: Stuck) -> None:
        told = {"what": stuck.what, "seconds": round(stuck.seconds, 1), "exit_status": STUCK}
        if stuck.place:
            told["place"] = stuck.place
        log.critical(
            "stuck: %s for %.0f s (health.restart_s is %g). This process ends now, with exit status %d, and has to be "
            "started again; nothing is lost, %s. The stacks follow",
            _SAID[stuck.what],
            stuck.seconds,
            self._restart_s,
            STUCK,
            self._unfinished,
            extra=told,
        )
        tell_stacks(self._loop)


def _stderr() -> int | None:
    """File number of standard error; None where there is none to write stacks to."""
    try:
        return sys.__stderr__.fileno() if sys.__stderr__ is not None else None
    except (OSError, ValueError):
        return None
