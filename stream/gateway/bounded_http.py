"""Uvicorn's protocol with bounds that it lacks: how long a request's head may take, and how large it may be.

Without them a client that sends headers slowly, or without end, would hold a connection, or memory, for as long as it
likes. Bodies are bounded by who reads them; trailers after them, which could pass for headers, are not taken.
"""

import asyncio
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MAX_HEAD_BYTES: Final = 65_536
"""Largest request line and headers; also most that may come between two parts of a body and is none of it, bytes."""
MAX_HEADERS: Final = 100
HEAD_TIMEOUT_S: Final = 10.0
"""Longest time from a connection, or its first byte after an answer, to the end of the next headers, s."""


class _TooManyHeaders(Exception):  # noqa: N818 - the parser makes a bad request of it
    pass


class BoundedHttp(HttpToolsProtocol):
    """One connection."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._is_in_head = False
        self._vain_bytes = 0
        self._head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for a first request, but not for ever."""
        super().connection_made(transport)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for nothing any more."""
        self._end_wait()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Bound what completes no head and is no body, and how long a connection waits for a head."""
        self._vain_bytes += len(data)
        super().data_received(data)
        if self.transport.is_closing():
            return
        if self._vain_bytes > MAX_HEAD_BYTES:
            self.send_400_response("Request header fields too large.")
        elif self._head_timer is None and self.cycle.response_complete:
            # Any byte ends Uvicorn's own wait: an empty line too, or more of a body whose answer was given.
            self._await_head()

    def on_message_begin(self) -> None:
        """A request's first byte came."""
        super().on_message_begin()
        self._is_in_head = True
        if self._head_timer is None:
            self._await_head()

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header came whole. One after the body would end up among those that a proxy wrote: it is left out."""
        if not self._is_in_head:
            return
        if len(self.headers) >= MAX_HEADERS:
            raise _TooManyHeaders
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The head is there."""
        self._end_wait()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """A part of the body: who reads it counts it."""
        self._vain_bytes = 0
        super().on_body(body)

    def _await_head(self) -> None:
        self._head_timer = self.loop.call_later(HEAD_TIMEOUT_S, self._too_slow)

    def _end_wait(self) -> None:
        self._is_in_head = False
        self._vain_bytes = 0
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _too_slow(self) -> None:
        self._head_timer = None
        if not self.transport.is_closing():
            self.transport.close()
