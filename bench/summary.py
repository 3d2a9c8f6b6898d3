"""The figures that are aimed at: how each follows from what was measured, what it must be, and what bounds it.

One declaration for the report, the README and the page on where the time goes.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple

from bench.figures import Spread, ratios, spread

Results = dict[str, Any]
PEERS: Final = ("Quix Streams", "Bytewax")
MORE_MB: Final = 5.0
"""Growth over the second half of a run under load that still is flat: the allocator's own noise, MB."""
Verdict = Literal["aim reached", "met", "**not met**"]


@dataclass(frozen=True, slots=True)
class Target:
    """A figure with its two bounds; `find` raises `KeyError` where its section was not measured."""

    name: str
    find: Callable[[Results], Spread]
    least: float
    aim: float | None
    """None where nothing better than `least` is aimed at."""
    bound: str
    """What stands in the way; told where the figure is not met."""
    unit: str = "times"
    is_high_good: bool = False


class Row(NamedTuple):
    """A figure as it was measured."""

    target: Target
    found: Spread
    verdict: Verdict

    @property
    def is_missed(self) -> bool:
        """Whether the figure is not met."""
        return self.verdict == "**not met**"


def rows(results: Results) -> list[Row]:
    """Return all figures whose section was measured, in the order of the targets."""
    found = []
    for target in TARGETS:
        try:
            value = target.find(results)
        except KeyError:
            continue
        found.append(Row(target, value, verdict(target, value.median)))
    return found


def verdict(target: Target, value: float) -> Verdict:
    """Say which of its bounds a figure keeps."""
    sign = -1.0 if target.is_high_good else 1.0
    if target.aim is not None and sign * value <= sign * target.aim:
        return "aim reached"
    return "met" if sign * value <= sign * target.least else "**not met**"


def column(runs: Sequence[dict[str, float]], key: str) -> list[float]:
    """Return one figure of all repetitions."""
    return [run[key] for run in runs]


def beside(runs: Sequence[dict[str, float]], usual: Sequence[dict[str, float]], key: str) -> Spread:
    """Return quotients to another load, repetition by repetition; a load may have been measured less often."""
    both = min(len(runs), len(usual))
    return ratios(column(runs[:both], key), column(usual[:both], key))


def times_drained(found: dict[str, Any], name: str) -> Spread:
    """Return tellwire's rate in a drain as a multiple of a contestant's."""
    ours, its = (column(found["runs"][one], "events_per_s") for one in ("tellwire", name))
    return ratios(ours, its)


def _times(name: str) -> Callable[[Results], Spread]:
    return lambda results: times_drained(results["drain"], name)


def _best_peer(results: Results) -> Spread:
    there = [name for name in PEERS if name in results["drain"]["runs"]]
    if not there:
        raise KeyError(PEERS[0])
    return min((times_drained(results["drain"], name) for name in there), key=lambda found: found.median)


def times_the_echo(found: dict[str, Any], at: int, key: str) -> Spread:
    """Return a percentile of tellwire's latency as a multiple of the echo's, at one of the measured rates."""
    ours, echoes = (found["runs"][name] for name in ("tellwire", "echo"))
    return ratios([run[at][key] for run in ours], [run[at][key] for run in echoes])


def _latency(per_s: float | None, key: str) -> Callable[[Results], Spread]:
    def find(results: Results) -> Spread:
        found = results["latency"]
        if per_s is not None and per_s not in found["rates"]:
            raise KeyError(per_s)
        return times_the_echo(found, -1 if per_s is None else found["rates"].index(per_s), key)

    return find


def _dearest(what: str, to: int) -> Callable[[Results], Spread]:
    """Return the CPU time an event of the dearest load that varies one thing, as a multiple of the smallest one's."""

    def find(results: Results) -> Spread:
        runs = results["scale"]["runs"]
        usual = runs["sessions 1000" if what == "sessions" else "sessions 10000"]
        if f"{what} {to}" not in runs:
            raise KeyError(what)
        its = [beside(of, usual, "worker_us") for name, of in runs.items() if name.startswith(what) and of is not usual]
        return max(its, key=lambda one: one.median)

    return find


def _scoring(share: str) -> Callable[[Results], Spread]:
    return lambda results: _alone(results["scoring"][f"features and models: {share}, µs"])


def _alone(value: float) -> Spread:
    return Spread(value, value, value)


def _stall(results: Results) -> Spread:
    return _alone(max(results["stalls"][key]["max_ms"] for key in ("backlog", "open_loop")))


def above_floor(found: dict[str, Any]) -> Spread:
    """Return a worker's memory under load above that of its imports, MB: the most of it."""
    values = [mb - found["floor_mb"] for _, mb in found["points"]]
    return Spread(max(values), min(values), max(values))


def grown_mb(found: dict[str, Any]) -> float:
    """Return by how much memory grew over the second half of a run under load, by the line through it, MB."""
    return float(found["mb_per_hour"] / 3600.0 * found["seconds"] / 2.0)


def _above_floor(results: Results) -> Spread:
    return above_floor(results["memory"])


def _growth(results: Results) -> Spread:
    return _alone(grown_mb(results["memory"]))


def _session_bytes(results: Results) -> Spread:
    return _alone(results["store"]["bytes_per_session"])


def _start(results: Results) -> Spread:
    return ratios(results["start"]["ready_s"], results["start"]["import_s"])


def _worker_us(results: Results) -> Spread:
    return spread(column(results["drain"]["runs"]["tellwire"], "worker_us"))


_OBJECTS: Final = (
    "The profile is flat: some sixty steps an event in Python, none above a tenth of the whole. The largest are calls "
    "into librdkafka, which wake its thread for nearly every record, that thread itself, reasons, and the states' "
    "bytes; the compiled kernels are a small part."
)
_AROUND: Final = (
    "The loop has no group, no watchdog, no back-pressure, no Faust agent and no health; each costs something a chunk, "
    "so the ratio is best where chunks are long."
)
_ALONE: Final = (
    "An event by itself is a chunk of one: it pays all that is done once a chunk, and, where its session's counters "
    "are due, waits for Redis before it can be scored, which an echo does not."
)
_CHUNK_OF_ONE: Final = "Each stage of a chunk has a fixed cost in Python, which one event pays by itself."
_TAIL: Final = (
    "The tail are events whose decision needs reasons, a session's first events, the collector of garbage, and what "
    "else the machine does meanwhile."
)
_QUEUED: Final = (
    "At half of the drain rate chunks of four partitions take turns on one thread: an event waits for the chunks that "
    "are before it, two milliseconds or so of each, and for the other core, which generator, broker, store and "
    "reader share."
)
_STALLED: Final = (
    "A chunk gives way between its segments, of two milliseconds by what the last ones took; but decoding, encoding "
    "and producing of its some 270 records are two to four milliseconds in one go each, the clients' threads have the "
    "same core, and the collector of garbage and the kernel's scheduler take turns of their own."
)
_COLD: Final = (
    "Up to 20,000 sessions are in a worker's cache (`pipeline.cached_sessions`); of more, most events have to read "
    "their session's state and counters from Redis, decode and cache it."
)
_SHORT: Final = "The same backlog in more partitions or workers comes in shorter chunks, each with its fixed cost."
_HELD: Final = (
    "Beyond the imports some 80 MB are models and compiled kernels; the rest is the cache of up to 20,000 sessions "
    "(`pipeline.cached_sessions`), some 10 kB each as objects and columns, and librdkafka's queues: a smaller cache "
    "buys memory with reads from Redis."
)
_STARTED: Final = (
    "After the imports come, one after the other: loading the compiled kernels and the models, connecting, joining the "
    "group."
)
_PACKED: Final = "A session's state is packed; the key and the server's own part are some 150 bytes of it."
TARGETS: Final[tuple[Target, ...]] = (
    Target("drain of a backlog, times naive Faust's", _times("naive Faust"), 25, 45, _OBJECTS, is_high_good=True),
    Target("drain, times the best peer's", _best_peer, 8, 15, _OBJECTS, is_high_good=True),
    Target("drain, times the hand-written loop's", _times("hand-written loop"), 0.8, 0.95, _AROUND, is_high_good=True),
    *(
        Target(f"latency at {per_s:,.0f} events/s, {name}, times the echo's", _latency(per_s, key), 3, 2, _ALONE)
        for per_s in (100.0, 500.0, 1_000.0)
        for name, key in (("p50", "p50_ms"), ("p99", "p99_ms"))
    ),
    *(
        Target(f"latency at half of the drain rate, {name}, times the echo's", _latency(None, key), 5, 3, _QUEUED)
        for name, key in (("p50", "p50_ms"), ("p99", "p99_ms"))
    ),
    Target("scoring one event, p50", _scoring("p50"), 200, 80, _CHUNK_OF_ONE, "µs"),
    Target("scoring one event, p99.9", _scoring("p99.9"), 1_000, None, _TAIL, "µs"),
    Target("CPU time of the worker an event, backlog", _worker_us, 45, 30, _OBJECTS, "µs"),
    Target("longest stall of the loop", _stall, 10, 5, _STALLED, "ms"),
    Target("CPU time an event, 1 thousand sessions to 1 million", _dearest("sessions", 1_000_000), 1.2, 1.05, _COLD),
    Target("CPU time an event, 4 partitions to 64", _dearest("partitions", 64), 1.5, 1.05, _SHORT),
    Target("CPU time an event, 1 worker to 3 in a group", _dearest("workers", 3), 1.2, 1.05, _SHORT),
    Target("worker's memory under load, above its imports", _above_floor, 120, 60, _HELD, "MB"),
    Target("growth of that memory over the second half", _growth, MORE_MB, None, _HELD, "MB"),
    Target("Redis memory a live session, counters apart", _session_bytes, 2_000, 1_000, _PACKED, "bytes"),
    Target("start to ready, times the import of its modules", _start, 1.5, None, _STARTED),
    Target("start to ready", lambda results: spread(results["start"]["ready_s"]), 4, 2, _STARTED, "s"),
)
