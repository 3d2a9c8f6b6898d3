"""Is the process making progress? What its probes answer, and what its watchdog goes by.

Alive means progressing: an event loop and a poll thread that run, and no lag without a finished chunk. A broker or a
store that is away is a state of its own: not ready, but alive, so that an outage does not restart workers in a storm.
"""

from collections.abc import Callable, Iterable, Mapping
from enum import StrEnum
from typing import Final, NamedTuple

from stream.waits import Dependency

LOOP: Final = "loop"
POLL: Final = "poll"
PROGRESS: Final = "progress"


class Phase(StrEnum):
    """What a process is doing, told apart by its probes."""

    STARTING = "starting"
    READY = "ready"
    WAITING = "waiting"
    """The broker or the store does not answer: a restart would not help, it goes on by itself when they do."""
    STALLED = "stalled"
    """Nothing moves though everything that is needed is there; the watchdog ends the process if that lasts."""
    STOPPED = "stopped"
    """A partition stands still on purpose: a restart would not help, a person must look."""
    DRAINING = "draining"


class Stuck(NamedTuple):
    """What has shown no sign of life, and for how long."""

    what: str
    """`LOOP`, `POLL` or `PROGRESS`."""
    seconds: float
    place: str = ""
    """Of `PROGRESS`: the partition."""


class Health:
    """Progress of one process. Thread-safe by single-word reads and writes; `clock` gives monotonic seconds.

    `stall_s`: silence after which it is no longer ready; `restart_s`: after which it is no longer alive. Both s.
    """

    def __init__(self, stall_s: float, clock: Callable[[], float], restart_s: float = float("inf")) -> None:
        self._stall_s = stall_s
        self._restart_s = restart_s
        self._clock = clock
        self._phase = Phase.STARTING
        self._progress_at = clock()
        self._waiting = 0
        self._broker_reachable = True
        self._waits_for: tuple[Dependency, ...] = ()
        self._places: dict[str, tuple[int, float]] = {}
        self._slowest = ""
        self._stopped: dict[str, str] = {}
        self._suspects: dict[str, str] = {}
        self._signs: dict[str, float] = {}

    def ready(self) -> None:
        """Start-up is over: joined, state store reachable, models loaded."""
        if self._phase is Phase.STARTING:
            now = self._clock()
            self._signs = dict.fromkeys(self._signs, now)
            self._progress_at = now
            self._phase = Phase.READY

    def draining(self) -> None:
        """A stop was asked for: finish what is in flight, take no more."""
        self._phase = Phase.DRAINING

    def sign_of_life(self, what: str) -> None:
        """The event loop or the poll thread has just run; from any thread. What never showed one is not watched."""
        self._signs[what] = self._clock()

    def progressed(self) -> None:
        """A chunk was finished."""
        self._progress_at = self._clock()

    def observe(self, waiting_records: int, *, broker_reachable: bool, waits_for: Iterable[Dependency] = ()) -> None:
        """Tell how much is waiting and what does not answer; nothing waiting counts as progress, an outage as well."""
        found = set(waits_for) if broker_reachable else {*waits_for, "broker"}
        self._waiting = waiting_records
        self._broker_reachable = broker_reachable
        self._waits_for = tuple(name for name in ("broker", "store") if name in found)
        if waiting_records == 0 or not broker_reachable:
            self._progress_at = self._clock()

    def observe_partitions(
        self,
        partitions: Mapping[str, tuple[int, int]],
        *,
        broker_reachable: bool,
        waits: Mapping[str, Dependency] | None = None,
    ) -> None:
        """Tell of each owned partition where it is and how many records wait: the slowest decides what progress is.

        `waits` says which partitions wait for a dependency: time in which they do is no lack of progress. Nor is that
        of a partition that was stopped on purpose: `stopped` tells of it.
        """
        now = self._clock()
        waits = {name: dependency for name, dependency in (waits or {}).items() if name not in self._stopped}
        places: dict[str, tuple[int, float]] = {}
        for name, (position, waiting) in partitions.items():
            held = self._places.get(name)
            moved = held is None or position != held[0] or waiting == 0 or name in waits or name in self._stopped
            places[name] = (position, now if held is None or moved else held[1])
        self._places = places
        waiting_records = sum(waiting for _, waiting in partitions.values())
        self.observe(waiting_records, broker_reachable=broker_reachable, waits_for=waits.values())
        if broker_reachable:
            self._slowest = min(places, key=lambda name: places[name][1], default="")
            self._progress_at = min((since for _, since in places.values()), default=now)
        else:
            self._places = {name: (position, now) for name, (position, _) in places.items()}

    def stop(self, partition: str, reason: str) -> None:
        """A partition stands still on purpose."""
        self._stopped[partition] = reason

    def suspect(self, partition: str, text: str | None) -> None:
        """A partition's records go one by one, as `text` says, because one of them may end the process; None: over."""
        if text is None:
            self._suspects.pop(partition, None)
        else:
            self._suspects[partition] = text

    def resume(self, partition: str) -> None:
        """A partition was given up, or goes on."""
        self._stopped.pop(partition, None)

    def silences(self) -> dict[str, float]:
        """Return how long, s, each watched part has shown no sign of life; progress counts only while records wait."""
        now = self._clock()
        found = {what: now - seen for what, seen in self._signs.copy().items()}
        found[PROGRESS] = now - self._progress_at if self._waiting > 0 else 0.0
        return {what: max(0.0, seconds) for what, seconds in found.items()}

    def stuck(self, limit_s: float) -> Stuck | None:
        """Return what has been silent for longer than `limit_s`, the cause before its effects; None while all is well.

        Nothing is stuck while the process starts or stops.
        """
        if not self.is_watched:
            return None
        silences = self.silences()
        for what in (LOOP, POLL, PROGRESS):
            if silences.get(what, 0.0) > limit_s:
                return Stuck(what, silences[what], self._slowest if what == PROGRESS else "")
        return None

    @property
    def phase(self) -> Phase:
        """Current phase; a ready process that stopped progressing is stalled."""
        if self._phase is not Phase.READY:
            return self._phase
        if self.stuck(self._stall_s) is not None:
            return Phase.STALLED
        if self._waits_for:
            return Phase.WAITING
        return Phase.STOPPED if self._stopped else Phase.READY

    @property
    def is_watched(self) -> bool:
        """Whether silence means anything: not while it starts, when kernels compile, nor while it stops."""
        return self._phase is Phase.READY

    @property
    def is_alive(self) -> bool:
        """Whether a restart would not help: False only for what the watchdog should have ended already."""
        return self.stuck(self._restart_s) is None

    @property
    def waits_for(self) -> tuple[Dependency, ...]:
        """Dependencies that do not answer: `broker`, `store`."""
        return self._waits_for

    @property
    def since_progress_s(self) -> float:
        """Seconds since a chunk was finished or nothing was waiting."""
        return self._clock() - self._progress_at

    def report(self) -> dict[str, object]:
        """Return what the probes answer with."""
        return {
            "phase": self.phase.value,
            "since_progress_s": round(self.since_progress_s, 3),
            "waiting_records": self._waiting,
            "waiting_for": list(self._waits_for),
            "broker_reachable": self._broker_reachable,
            "silent_s": {what: round(seconds, 3) for what, seconds in self.silences().items()},
            "stopped": dict(self._stopped),
            "one_by_one": dict(self._suspects),
        }
