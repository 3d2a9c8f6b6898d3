"""Runs rows of the matrix side by side: each lane is a process with its own servers and takes the next row when free.

Rows mostly wait (for a lease, a session timeout, a broker), so two of them share two cores without hurry. The first
lane takes rows from the front and the others from the back: the kills and restarts of the first numbers have the
tightest time limits and are not beside one another.
"""

from __future__ import annotations

import multiprocessing
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path

from tests.fault.row import Budget, Outcome, Row, load_rows
from tests.fault.trial import Grounds, run_row
from tests.support import UnavailableError


@dataclass(frozen=True)
class Finished:
    """A row that ended: what it showed, and where its logs lie if it failed."""

    row: Row
    outcome: Outcome
    folders: list[Path]


def run_in_lanes(
    rows: Sequence[Row], budget: Budget, lanes: int, began: Callable[[Row], None] = lambda _row: None
) -> Iterator[Finished]:
    """Run rows in up to `lanes` processes and yield each as it ends; `began` hears of each that starts.

    Raises `UnavailableError` where something that a row needs is missing, `RuntimeError` where a lane dies.
    """
    left = deque(rows)
    spawn = multiprocessing.get_context("spawn")
    at_work: dict[Connection, Row] = {}
    front: Connection | None = None
    processes = []

    def give(lane: Connection) -> None:
        if not left:
            lane.send(None)
            return
        row = left.popleft() if lane is front else left.pop()
        at_work[lane] = row
        began(row)
        lane.send(row.name)

    try:
        for _ in range(min(lanes, len(rows))):
            ours, theirs = spawn.Pipe()
            process = spawn.Process(target=_lane, args=(theirs, budget))
            process.start()
            theirs.close()
            processes.append((process, ours))
            front = front or ours
            give(ours)
        while at_work:
            for lane in wait(list(at_work)):
                assert isinstance(lane, Connection)
                row = at_work.pop(lane)
                try:
                    told = lane.recv()
                except EOFError:
                    raise RuntimeError(f"the process that ran {row.name} died") from None
                if isinstance(told, UnavailableError):
                    raise told
                yield Finished(row, *told)
                give(lane)
    finally:
        for process, lane in processes:
            lane.close()  # a lane that waits for a row ends; one at work ends behind its row
            process.join()


def _lane(rows: Connection, budget: Budget) -> None:
    known = load_rows()
    with Grounds() as grounds:
        while True:
            try:
                name = rows.recv()
                if name is None:
                    return
                folders: list[Path] = []
                try:
                    outcome = run_row(known[name], budget, grounds, folders.append)
                except UnavailableError as missing:
                    rows.send(missing)
                    return
                rows.send((outcome, folders))
            except (EOFError, BrokenPipeError, KeyboardInterrupt):
                return
