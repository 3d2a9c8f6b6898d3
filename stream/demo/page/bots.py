"""Unleashes bots on the page's own form: a driven browser where one is installed, else scripted clients.

Each runs in a process of its own, with a limit on its time; few run at once. What it truly is stands on the board
beside the verdict. A driven browser gets its session from the page, for the ticket in its address.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import secrets
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from schemas.base import Flow
from stream.chromium import drivable
from stream.demo.children import Child, python
from stream.demo.page.board import Board
from stream.demo.page.door import FLOW, Door, DoorError
from stream.demo.page.shown import Shown

AT_ONCE: Final = 2
RUN_S: Final = 75.0
"""Longest run of a bot; then it is ended."""
DRIVEN: Final = "driven"
_STOP_S: Final = 3.0


@dataclasses.dataclass(frozen=True, slots=True)
class Kind:
    """One kind of bot that can be unleashed."""

    name: str
    words: str
    about: str


_DRIVEN: Final = Kind(DRIVEN, "driven browser", "A real Chromium, steered by Playwright, fills in this very form.")
SCRIPTED: Final = (
    Kind("http_forged", "forged requests", "No browser at all: an HTTP client sends made-up telemetry."),
    Kind("mouse_straight", "scripted mouse", "Made-up telemetry of a mouse that moves in straight lines."),
    Kind("typist_constant", "even typist", "Made-up telemetry of keys struck at an even beat."),
    Kind("replay_jitter", "replayed person", "A recorded visit sent again with noise: hard to find, and often missed."),
)


class BusyError(Exception):
    """No bot can be unleashed now; the message is for a person."""


@dataclasses.dataclass(slots=True)
class Run:
    """One bot on its way."""

    view: str
    kind: Kind
    shown: Shown
    flow: Flow = FLOW
    opened: Callable[[str], None] = lambda _: None
    """Told the session's id once it has one."""


class Bots:
    """Starts bots, watches them, and ends what is left. `page`: address that a driven browser opens."""

    def __init__(self, board: Board, door: Door) -> None:
        self.page = ""
        self._board, self._door = board, door
        self._browser = drivable()
        self.kinds: Sequence[Kind] = (*((_DRIVEN,) if self._browser is not None else ()), *SCRIPTED)
        self._tickets: dict[str, Run] = {}
        self._running: set[asyncio.Task[None]] = set()

    def enter(self, ticket: str) -> Run | None:
        """Return the run that a ticket belongs to; each is good for one session."""
        return self._tickets.pop(ticket, None)

    def expect(self, words: str, flow: Flow, opened: Callable[[str], None]) -> str:
        """Return a ticket for a bot that somebody else starts; `opened` is told the id of its session."""
        view, ticket = self._board.new_view(), secrets.token_urlsafe(12)
        shown = self._board.announce(view, f"a bot: {words}")
        self._tickets[ticket] = Run(view, Kind("expected", words, ""), shown, flow, opened)
        return ticket

    async def unleash(self, view: str, name: str) -> Shown:
        """Start a bot. Raises BusyError, also for a kind that is not there."""
        kind = next((each for each in self.kinds if each.name == name), None)
        if kind is None:
            raise BusyError("there is no such bot here")
        if len(self._running) >= AT_ONCE:
            raise BusyError(f"{AT_ONCE} bots are on their way: wait until one has ended")
        run = Run(view, kind, self._board.announce(view, f"a bot: {kind.words}"))
        task = asyncio.create_task(self._run(run))
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return run.shown

    async def close(self) -> None:
        """End all bots."""
        for task in list(self._running):
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    async def _run(self, run: Run) -> None:
        ticket = secrets.token_urlsafe(12)
        folder = Path(await asyncio.to_thread(tempfile.mkdtemp, prefix="tellwire-bot-"))
        child: Child | None = None
        try:
            told: Mapping[str, str | None]
            if run.kind.name == DRIVEN:
                self._tickets[ticket] = run
                module, told = "driven", {"url": f"{self.page}/?ticket={ticket}", "browser": self._browser}
            else:
                module, told = "scripted", await self._session(run)
            child = _start(module, told, folder)
            self._board.mark(run.view, run.shown, "running")
            status = await asyncio.to_thread(child.wait, RUN_S)
            note = "" if status == 0 else _last_line(child, f"it was ended, after {RUN_S:.0f} s at most")
            self._board.mark(run.view, run.shown, "failed" if status else "done", note)
        except DoorError as error:
            self._board.mark(run.view, run.shown, "failed", str(error))
        finally:
            self._tickets.pop(ticket, None)
            if child is not None:
                child.ask_to_stop()
                # On the way out nothing else waits for this loop.
                child.wait(_STOP_S)
            shutil.rmtree(folder, ignore_errors=True)

    async def _session(self, run: Run) -> dict[str, str]:
        opened = await asyncio.to_thread(self._door.open)
        if not self._board.knows(run.view):
            raise DoorError("the page that sent this bot is gone")
        self._board.open(run.view, opened.session_id, "bot", run.shown.told, run.shown.ref)
        return {
            "endpoint": self._door.endpoint,
            "origin": self.page,
            "session_id": opened.session_id,
            "nonce": opened.nonce,
            "token": opened.token,
            "family": run.kind.name,
        }


def _start(module: str, told: Mapping[str, str | None], folder: Path) -> Child:
    # On standard input and not on the command line, where everybody on the machine could read a token.
    return Child(
        "bot",
        python("-m", f"stream.demo.page.{module}"),
        log=folder / "bot.log",
        first_input=json.dumps(told).encode() + b"\n",
    )


def _last_line(child: Child, otherwise: str) -> str:
    lines = child.log.read_text(encoding="utf-8", errors="replace").splitlines() if child.log.exists() else []
    return next((line.strip()[:160] for line in reversed(lines) if line.strip()), otherwise)
