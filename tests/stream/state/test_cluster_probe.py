"""A master that is taken for away is asked again and again until it answers, whatever goes wrong with the asking."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Sequence
from typing import Self

import pytest
import uvloop
from redis.crc import key_slot

from stream.state import ConnectionOptions, StoreUnavailable
from stream.state.cluster import ClusterLink
from stream.state.stats import StoreStats


class TwoMasters:
    """Two servers, in a thread of their own, that speak as much Redis as it takes; HANG is never answered."""

    def __init__(self) -> None:
        self.ports: list[int] = []
        self._servers: list[asyncio.Server] = []
        self._writers: list[asyncio.StreamWriter] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._start(), self._loop).result(5)
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result(5)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()

    def reset_first(self) -> None:
        """Reset all connections to the first master."""
        self._loop.call_soon_threadsafe(self._reset, self.ports[:1])

    async def _start(self) -> None:
        for _ in range(2):
            server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
            self._servers.append(server)
            self.ports.append(server.sockets[0].getsockname()[1])

    async def _stop(self) -> None:
        self._reset(self.ports)
        for server in self._servers:
            server.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    def _reset(self, ports: Sequence[int]) -> None:
        for writer in self._writers:
            connected = writer.get_extra_info("socket")
            if writer.get_extra_info("sockname")[1] in ports and not writer.transport.is_closing():
                connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        with contextlib.suppress(OSError):
            while data := await reader.read(65_536):
                if b"SLOTS" in data:
                    writer.write(b"*2\r\n" + self._range(0, 8_191, 0) + self._range(8_192, 16_383, 1))
                elif b"HANG" not in data:
                    writer.write(b"+PONG\r\n" * max(data.count(b"PING"), data.count(b"GET")))

    def _range(self, first: int, last: int, server: int) -> bytes:
        place = b"*2\r\n$9\r\n127.0.0.1\r\n:%d\r\n" % self.ports[server]
        return b"*3\r\n:%d\r\n:%d\r\n" % (first, last) + place


@pytest.mark.parametrize("surprise", [False, True], ids=["reset", "and_an_error_that_nobody_foresaw"])
def test_a_master_comes_back_after_its_connections_were_reset(surprise: bool) -> None:
    async def run(servers: TwoMasters) -> None:
        url = f"redis://127.0.0.1:{servers.ports[0]}"
        link = ClusterLink(ConnectionOptions(url=url, cluster=True, timeout_s=2.0), StoreStats())
        keys = [next(b"k%d" % i for i in range(99) if (key_slot(b"k%d" % i) < 8_192) is low) for low in (True, False)]
        answered = [b"PONG", b"PONG"]
        assert await link.exchange([("GET", key) for key in keys]) == answered
        if surprise:
            usual, left = link._learn_slots, [1]

            async def learn() -> None:
                if left:
                    left.clear()
                    raise ValueError("an answer that nobody foresaw")
                await usual()

            link._learn_slots = learn  # type: ignore[method-assign]
        hanging = asyncio.create_task(link.exchange([("HANG", keys[0])]))
        await asyncio.sleep(0.2)
        servers.reset_first()
        (answer,) = await hanging
        assert isinstance(answer, StoreUnavailable)
        deadline = asyncio.get_running_loop().time() + 10.0
        while (found := await link.exchange([("GET", key) for key in keys])) != answered:
            assert asyncio.get_running_loop().time() < deadline, found
            await asyncio.sleep(0.05)
        await link.close()

    with TwoMasters() as servers:
        uvloop.run(run(servers))
