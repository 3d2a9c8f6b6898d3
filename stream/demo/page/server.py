"""Runs the page beside the demo, in a thread with an event loop of its own, on 127.0.0.1 alone.

The demo hands over what it reads from Kafka; nothing here can hold it up.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
import time
from collections.abc import Callable, Sequence
from typing import Final

from schemas.base import Flow
from schemas.risk import RiskEvent
from stream.demo.children import DemoError
from stream.demo.page import site
from stream.demo.page.app import HOSTS, Page
from stream.demo.page.board import Totals
from stream.demo.page.door import Door
from stream.demo.page.fanout import Fanout
from stream.http_server import server
from stream.simulation.traffic import TruthLine

CLIENTS: Final = 64
"""Pages that are shown live at once; beyond them the oldest connects again."""
CONNECTIONS: Final = 256
_STOP_S: Final = 8.0


class PageServer:
    """The page on a port of 127.0.0.1. Made in the main thread; `take` and `tell` may be called from any."""

    def __init__(self, listener: socket.socket, door: Door) -> None:
        """Raise DemoError where the collector's build is missing."""
        folder = site.collector_folder()
        if folder is None:
            raise DemoError("the page needs the collector's build, which is neither beside the code nor installed")
        self._page = Page(site.files(folder), site.headers(door.origin), door, Fanout(CLIENTS))
        self._listener = listener
        self.url = url_of(listener)
        self._page.bots.page = self.url
        self._loop = asyncio.new_event_loop()
        # What goes wrong with one request is no matter for the terminal that shows the demo.
        for name in ("uvicorn", "uvicorn.error", "asyncio"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
        self._server = server(self._page.app(), stop_s=1, limit_concurrency=CONNECTIONS)
        self._thread = threading.Thread(target=self._run, name="demo-page", daemon=True)

    def start(self) -> None:
        """Begin to serve."""
        self._thread.start()

    def stop(self) -> None:
        """End the open pages' streams, the bots, and the server."""
        if self._thread.is_alive():
            self._call(self._leave)
            self._thread.join(_STOP_S)
        elif not self._loop.is_closed():  # it never served
            self._loop.close()
        self._listener.close()

    def invite(self, words: str, flow: Flow, opened: Callable[[str], None]) -> str:
        """Return the address at which a bot that somebody else starts gets a session of a flow.

        `opened` is told the session's id, in the page's thread.
        """

        async def expect() -> str:
            return self._page.bots.expect(words, flow, opened)

        ticket = asyncio.run_coroutine_threadsafe(expect(), self._loop).result(_STOP_S)
        return f"{self.url}/?ticket={ticket}"

    def take(self, event: RiskEvent, published_ms: int, now_ms: int, truth: TruthLine | None) -> None:
        """Show a risk event, if it is for anybody's eyes."""
        self._call(lambda: self._page.board.take(event, published_ms, now_ms, time.monotonic(), truth))

    def tell(self, totals: Totals) -> None:
        """Show how much has flowed past."""
        self._call(lambda: self._page.board.tell_totals(totals))

    def _call(self, what: Callable[[], object]) -> None:
        try:
            self._loop.call_soon_threadsafe(what)
        except RuntimeError:
            if not self._loop.is_closed():
                raise

    def _leave(self) -> None:
        self._page.fanout.close()
        self._server.should_exit = True

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._serve())
        self._loop.close()

    async def _serve(self) -> None:
        try:
            await self._server.serve(sockets=[self._listener])
        finally:
            await self._page.bots.close()


def listen(wanted: int | None, usual: int) -> socket.socket:
    """Listen on a port of 127.0.0.1: the wanted one; None: the usual one, or a free one where that is taken.

    Raises DemoError.
    """
    ports: Sequence[int] = (usual, 0) if wanted is None else (wanted,)
    for port in ports:
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", port))
            listener.listen(128)
        except OSError as error:
            listener.close()
            if port == ports[-1]:
                raise DemoError(f"--port: 127.0.0.1:{port} can't be served ({error.strerror})") from None
        else:
            listener.setblocking(False)  # noqa: FBT003 - the socket's own method
            return listener
    raise AssertionError


def url_of(listener: socket.socket) -> str:
    """Return the address of the page on a socket."""
    return f"http://{HOSTS[0]}:{listener.getsockname()[1]}"


def origins_of(listener: socket.socket) -> list[str]:
    """Return the page's origins, by each of this machine's names for itself."""
    return [f"http://{host}:{listener.getsockname()[1]}" for host in HOSTS]
