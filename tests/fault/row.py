"""What a row of the fault matrix is: its declaration, the registry of all rows, and what a row hands back.

How to write a row. Put a function into `rows/<family>.py`, decorate it, inject the fault, let the observables judge:

    @row(
        number=2,
        fault="SIGTERM of the only worker, again and again under load",
        observables=("I1", "I2", "I3", "no duplicate"),
    )
    def stop_gracefully(trial: Trial) -> None:
        pipeline = trial.pipeline(partitions=4)  # fresh topics, an empty Redis, a group of its own
        worker = pipeline.start("worker")  # settings as KAFKA__SESSION_TIMEOUT_MS="6000"
        worker.wait_ready()
        load = trial.load(pipeline, per_s=150)  # another process; it goes on through every fault
        for _ in range(trial.count(ci=2, full=20)):
            time.sleep(trial.rng.uniform(0.5, 2.0))
            trial.faulted()  # one run more, and the moment that recovery is counted from
            trial.outcome.check("no duplicate", worker.stop() == 0, "exit status")
            worker = pipeline.start("worker")
            worker.wait_ready()
        load.stop()  # returns when the broker has acknowledged everything
        pipeline.wait_committed(worker)
        evidence = trial.judge(pipeline)  # I1 to I5, those that the row declares
        trial.outcome.check("no duplicate", evidence.report.replayed_repeats == 0, f"{evidence.report}")

- `trial.count(ci=..., full=...)` gives the numbers of the budget: "ci" is seconds to a minute a row, "full" the proof.
- `needs=Needs(brokers=3, redis="replica", kafka_proxy=True)` asks for servers; `trial.broker`, `trial.redis`,
  `trial.replica`, `trial.cluster`, `trial.kafka_proxies`, `trial.redis_proxy` are what was asked for. Servers are
  shared with other rows: leave them as you found them, or ask for `own_broker`/`own_redis`.
- I1 every input has one outcome (independent ledger); I2 state and counters equal a single-threaded replay of the log;
  I3 no commit passes an unfinished offset; I4 scores recomputed from what each event recorded are equal; I5 recovery.
- What else must hold is an observable with a name of its own: declare it and `outcome.check` it. A declared
  observable that nobody checked fails the row, and so does an exception.
- A fault that must be seen to fail elsewhere (stock Faust) says `must_fail=(...)`: the row passes when these fail.
- CI runs one or two rows of a number, `tests/fault/test_matrix.py`, with budget "ci"; say `in_ci=False` of a variant.
- `python -m tests.fault --rows 2 --budget ci` runs it; without `--rows`, budget "ci" runs what CI runs.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from tests.fault.trial import Trial

Budget = Literal["ci", "full"]
RedisKind = Literal["single", "replica", "cluster"]


@dataclass(frozen=True)
class Needs:
    """Servers that a row needs. What two rows ask for alike they share, unless they want their own."""

    brokers: int = 1
    """1, or 3 with three replicas and min.insync.replicas=2."""
    redis: RedisKind = "single"
    """One server; a primary with a replica; or a cluster of three masters."""
    kafka_proxy: bool = False
    """Processes reach Kafka through a `FaultProxy` a node; the load and the verifier do not."""
    redis_proxy: bool = False
    """Processes reach Redis through a `FaultProxy`; the verifier does not."""
    own_broker: bool = False
    """Fresh brokers, for this row alone."""
    own_redis: bool = False
    """Fresh Redis, for this row alone."""
    broker_properties: tuple[tuple[str, str], ...] = ()
    """Server properties of the brokers."""
    redis_config: tuple[tuple[str, str], ...] = ()
    """Options of the Redis servers."""


@dataclass(frozen=True)
class Verdict:
    """Whether one observable held, and what was seen."""

    ok: bool
    detail: str


@dataclass
class Outcome:
    """What a row's trial showed."""

    runs: int = 0
    """Faults injected."""
    events: int = 0
    """Input records that were judged."""
    verdicts: dict[str, Verdict] = field(default_factory=dict)
    """By observable; a later check that fails is not hidden by an earlier one that held."""
    recovery_s: list[float] = field(default_factory=list)
    """One figure a fault: until the slowest partition published again."""
    rss_mb: float = 0.0
    """Highest resident memory of any process of ours."""
    note: str = ""
    """One line for the table: figures that a reader wants."""
    error: str = ""
    """The exception that ended the row."""
    took_s: float = 0.0

    def check(self, observable: str, ok: object, detail: str) -> bool:
        """Record whether an observable held; returns it. May be called again: one failure fails it."""
        before = self.verdicts.get(observable)
        if before is None or before.ok:
            self.verdicts[observable] = Verdict(bool(ok), detail)
        return bool(ok)


RowFunction = Callable[["Trial"], None]


@dataclass(frozen=True)
class Row:
    """One row of the matrix."""

    number: int
    fault: str
    observables: tuple[str, ...]
    needs: Needs
    must_fail: tuple[str, ...]
    run: RowFunction
    system: str
    """What the fault is injected into: tellwire, or stock Faust to prove that the observables see."""
    in_ci: bool
    """Part of what CI runs; a variant of another row, or one that takes minutes, is part of the whole proof only."""

    @property
    def name(self) -> str:
        """A short, unique name: `1-kill_mid_chunk`."""
        return f"{self.number}-{self.run.__name__}"

    def failures(self, outcome: Outcome) -> list[str]:
        """Return why the row fails, one line a reason; empty when it passes."""
        if outcome.error:
            return [f"error: {outcome.error}"]
        found = [f"{name}: nobody checked it" for name in self.observables if name not in outcome.verdicts]
        for name, verdict in outcome.verdicts.items():
            if name in self.must_fail:
                if verdict.ok:
                    found.append(f"{name}: held, and had to fail: the harness is blind ({verdict.detail})")
            elif not verdict.ok:
                found.append(f"{name}: {verdict.detail}")
        return found


_rows: dict[str, Row] = {}


def row(
    *,
    number: int,
    fault: str,
    observables: tuple[str, ...],
    needs: Needs | None = None,
    must_fail: tuple[str, ...] = (),
    system: str = "tellwire",
    in_ci: bool = True,
) -> Callable[[RowFunction], RowFunction]:
    """Declare a row; several rows may share a number. Raises `ValueError` for a declaration that can't be right."""

    def declare(function: RowFunction) -> RowFunction:
        declared = Row(number, fault, observables, needs or Needs(), must_fail, function, system, in_ci)
        if not observables or not set(must_fail) <= set(observables):
            raise ValueError(f"{declared.name}: observables are missing")
        if declared.name in _rows:
            raise ValueError(f"{declared.name} is declared twice")
        _rows[declared.name] = declared
        return function

    return declare


def load_rows() -> Mapping[str, Row]:
    """Return every declared row by name, in the order of the matrix."""
    from tests.fault import rows

    for module in pkgutil.iter_modules(rows.__path__):
        importlib.import_module(f"{rows.__name__}.{module.name}")
    # Ours first; what proves that the observables see comes right behind.
    ordered = sorted(_rows.values(), key=lambda one: (one.number, one.system != "tellwire"))
    return {one.name: one for one in ordered}
