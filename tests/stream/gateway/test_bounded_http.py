"""One connection, byte by byte and without a socket: what the protocol refuses, leaves out, and does not wait for."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import uvicorn
from uvicorn.server import ServerState

from stream.gateway import bounded_http
from stream.gateway.bounded_http import MAX_HEAD_BYTES, BoundedHttp

CHUNKED = b"POST / HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 8.8.8.8\r\nTransfer-Encoding: chunked\r\n\r\n"
WHOLE = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\ny"


class _Transport(asyncio.Transport):
    def __init__(self) -> None:
        super().__init__({"peername": ("10.0.0.9", 4_000), "sockname": ("10.0.0.1", 80)})
        self.written = b""
        self.closed = False

    def write(self, data: Any) -> None:
        self.written += data

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass


class Connection:
    """A connection to an application that answers once it has the body; `eager`: before that."""

    def __init__(self, *, eager: bool = False) -> None:
        self.headers: list[tuple[bytes, bytes]] = []
        self.answered = 0
        self.transport = _Transport()

        async def app(scope: Any, receive: Any, send: Any) -> None:
            self.headers = list(scope["headers"])
            while not eager and (await receive()).get("more_body"):
                pass
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
            await send({"type": "http.response.body", "body": b""})
            self.answered += 1

        config = uvicorn.Config(app, ws="none", lifespan="off", log_config=None, access_log=False, proxy_headers=False)
        self.protocol = BoundedHttp(config, ServerState(), {}, asyncio.get_running_loop())
        self.protocol.connection_made(self.transport)

    async def feed(self, *parts: bytes) -> None:
        for part in parts:
            self.protocol.data_received(part)
            await asyncio.sleep(0.002)

    async def closes(self) -> None:
        async with asyncio.timeout(60):
            while not self.transport.closed:  # noqa: ASYNC110 - nothing tells it
                await asyncio.sleep(0.005)

    def end(self) -> None:
        self.protocol.connection_lost(None)


async def test_a_trailer_is_no_header() -> None:
    connection = Connection()
    await connection.feed(CHUNKED + b"1\r\ny\r\n0\r\nX-Forwarded-For: 1.1.1.1\r\n\r\n")
    assert connection.answered == 1
    assert connection.headers[1:] == [(b"x-forwarded-for", b"8.8.8.8"), (b"transfer-encoding", b"chunked")]
    connection.end()


@pytest.mark.parametrize("begun", [b"0\r\nX-Long: ", b"1;extension=", b"1\r\ny\r\n0\r\nX-Long: "])
async def test_a_body_that_is_no_body_has_an_end(begun: bytes) -> None:
    connection = Connection()
    await connection.feed(CHUNKED, begun, *[b"z" * 16_384] * (MAX_HEAD_BYTES // 16_384 + 1))
    assert connection.transport.closed
    assert connection.transport.written.startswith(b"HTTP/1.1 400")
    connection.end()


async def test_a_large_body_in_small_parts_is_taken() -> None:
    connection = Connection()
    await connection.feed(CHUNKED, *[b"1000\r\n" + b"z" * 4_096 + b"\r\n"] * 40, b"0\r\n\r\n", WHOLE)
    assert (connection.answered, connection.transport.closed) == (2, False)
    connection.end()


@pytest.mark.parametrize("more", [b"\r\n", b"P", b""])
async def test_nothing_after_an_answer_holds_a_connection(more: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounded_http, "HEAD_TIMEOUT_S", 0.05)
    connection = Connection()
    connection.protocol.timeout_keep_alive = 0.05  # type: ignore[assignment]
    await connection.feed(WHOLE, WHOLE, *([more] if more else []))
    assert connection.answered == 2
    await connection.closes()
    connection.end()


async def test_a_body_whose_answer_was_given_holds_no_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounded_http, "HEAD_TIMEOUT_S", 0.05)
    connection = Connection(eager=True)
    await connection.feed(CHUNKED)
    assert connection.answered == 1
    deadline = asyncio.get_running_loop().time() + 60
    while not connection.transport.closed and asyncio.get_running_loop().time() < deadline:
        await connection.feed(b"1\r\ny\r\n")
    assert connection.transport.closed
    connection.end()
