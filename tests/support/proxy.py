"""A TCP proxy that misbehaves on demand: latency, stalls, cuts, half-open connections and resets.

Its event loop runs in a thread of its own, so it works beside blocking clients and inside async tests alike.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

_RST_ON_CLOSE = struct.pack("ii", 1, 0)
_CHUNK_BYTES = 65_536


def _abort(writer: asyncio.StreamWriter) -> None:
    """Close with a TCP reset instead of an orderly end."""
    with contextlib.suppress(OSError):
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RST_ON_CLOSE)
    writer.transport.abort()


@dataclass(slots=True)
class FaultProxy:
    """Forwards 127.0.0.1:`port` to `upstream` (host, port); use it as a context manager.

    `latency_s` delays every chunk in each direction without limiting the rate; `reset_ratio` is the share of chunks
    answered by a reset, drawn with `seed`. Both may be changed at any time, and `upstream` between connections. A Kafka
    broker sends its clients to the address that it advertises: give it the proxy's (`advertised.listeners`).
    """

    upstream: tuple[str, int]
    port: int = 0
    latency_s: float = 0.0
    reset_ratio: float = 0.0
    seed: int = 0
    accepted: int = field(default=0, init=False)
    """Connections taken so far."""
    _loop: asyncio.AbstractEventLoop = field(init=False)
    _thread: threading.Thread = field(init=False)
    _random: random.Random = field(init=False)
    _open: asyncio.Event = field(default_factory=asyncio.Event, init=False)
    _stopped: asyncio.Event = field(default_factory=asyncio.Event, init=False)
    _refusing: bool = field(default=False, init=False)
    _pairs: dict[asyncio.StreamWriter, asyncio.StreamWriter] = field(default_factory=dict, init=False)
    """Client side and upstream side of each connection."""
    _lost: set[asyncio.StreamWriter] = field(default_factory=set, init=False)
    """Clients that may not learn that their upstream is gone."""

    def __enter__(self) -> Self:
        self._random = random.Random(self.seed)
        started = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._main(started)), name="fault-proxy")
        self._thread.start()
        if not started.wait(10):
            raise RuntimeError(f"the proxy could not listen on port {self.port}")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        """Stop the loop; all connections are reset."""
        self._loop.call_soon_threadsafe(self._stopped.set)
        self._thread.join()

    def stall(self) -> None:
        """Hold all bytes, both ways, as when packets are lost on the way; `heal` lets them through."""
        self._do(self._open.clear)

    def cut(self) -> None:
        """Close all connections in an orderly way and reset new ones until `heal`."""
        self._do(lambda: self._end_all(asyncio.StreamWriter.close, refuse=True))

    def reset(self) -> None:
        """Reset all connections (RST); new ones work."""
        self._do(lambda: self._end_all(_abort, refuse=False))

    def half_open(self) -> None:
        """Lose the upstream side of all connections without telling the clients; new ones work."""

        def lose() -> None:
            self._lost.update(self._pairs)
            for upstream in self._pairs.values():
                _abort(upstream)

        self._do(lose)

    def heal(self) -> None:
        """Let bytes and new connections through again."""
        self._refusing = False
        self._do(self._open.set)

    def _do(self, action: Callable[[], None]) -> None:
        async def act() -> None:
            action()

        asyncio.run_coroutine_threadsafe(act(), self._loop).result(10)

    def _end_all(self, how: Callable[[asyncio.StreamWriter], None], *, refuse: bool) -> None:
        self._refusing = refuse
        for pair in list(self._pairs.items()):
            for side in pair:
                how(side)

    async def _main(self, started: threading.Event) -> None:
        self._loop = asyncio.get_running_loop()
        server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = server.sockets[0].getsockname()[1]
        self._open.set()
        started.set()
        await self._stopped.wait()
        server.close()
        self._end_all(_abort, refuse=True)

    async def _serve(self, reader: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        self.accepted += 1
        upstream: asyncio.StreamWriter | None = None
        try:
            if self._refusing:
                return
            with contextlib.suppress(OSError):
                answers, upstream = await asyncio.open_connection(*self.upstream)
                self._pairs[client] = upstream
                back = asyncio.ensure_future(self._pump(answers, client))
                back.add_done_callback(lambda _: None if client in self._lost else client.close())
                await self._pump(reader, upstream)
                upstream.close()
                await back
                client.close()
        finally:
            # What was not closed in order, for whatever reason, is reset.
            for side in (client, upstream):
                if side is not None and not side.transport.is_closing():
                    _abort(side)
            self._pairs.pop(client, None)
            self._lost.discard(client)

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        queue: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(maxsize=256)
        writer = asyncio.ensure_future(self._deliver(queue, sink))
        with contextlib.suppress(ConnectionError):
            while data := await source.read(_CHUNK_BYTES):
                await queue.put((self._loop.time() + self.latency_s, data))
        await queue.put((0.0, b""))
        await writer

    async def _deliver(self, queue: asyncio.Queue[tuple[float, bytes]], sink: asyncio.StreamWriter) -> None:
        while (item := await queue.get())[1]:
            due, data = item
            await asyncio.sleep(max(0.0, due - self._loop.time()))
            await self._open.wait()
            if self.reset_ratio and self._random.random() < self.reset_ratio:
                _abort(sink)
            if sink.transport.is_closing():
                continue
            with contextlib.suppress(ConnectionError):
                sink.write(data)
                await sink.drain()
