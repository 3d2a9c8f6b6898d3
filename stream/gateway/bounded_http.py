"""Uvicorn's protocol with bounds that it lacks: how long a request's head may take, and how large it may be.

Without them a client that sends headers slowly, or without end, would hold a connection, or memory, for as long as it
likes. Bodies are bounded by who reads them; trailers after them, which could pass for headers, are not taken.
"""

import asyncio
from collections.abc import Callable
from typing import Any, ClassVar, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from stream.gateway.shares import Shares

MAX_HEAD_BYTES: Final = 65_536
"""Largest request line and headers; also most that may come between two parts of a body and is none of it, bytes."""
MAX_HEADERS: Final = 100
HEAD_TIMEOUT_S: Final = 10.0
"""Longest time from a connection, or its first byte after an answer, to the end of the next headers, s."""


class _TooManyHeaders(Exception):  # noqa: N818 - the parser makes a bad request of it
    pass


class Guests:
    """Counts the connections of each address. `key_of`: what a peer's are counted under; None: they are not."""

    def __init__(
        self, most: int, key_of: Callable[[str | None], str | None], turned_away: Callable[[], object]
    ) -> None:
        """`most`: connections of one address; `turned_away` is called for each one beyond."""
        self.shares = Shares(most)
        self._key_of = key_of
        self._turned_away = turned_away

    def enter(self, peer: str | None) -> bool:
        """Count one more, and return True; False: it is beyond the share."""
        key = self._key_of(peer)
        if key is None or self.shares.take(key, 1):
            return True
        self._turned_away()
        return False

    def leave(self, peer: str | None) -> None:
        """Count one less, of those that entered."""
        key = self._key_of(peer)
        if key is not None:
            self.shares.give_back(key, 1)


class BoundedHttp(HttpToolsProtocol):
    """One connection. `guests` is set on a class of its own for each gateway, by `bounded_http`."""

    guests: ClassVar[Guests | None] = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._is_guest = False
        self._is_in_head = False
        self._vain_bytes = 0
        self._head_timer: asyncio.TimerHandle | None = None

    @property
    def _peer(self) -> str | None:
        return self.client[0] if self.client else None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for a first request, but not for ever."""
        super().connection_made(transport)
        if self.guests is not None:
            self._is_guest = self.guests.enter(self._peer)
            if not self._is_guest:
                # Before anything was read: whoever sends nothing would else hold it for as long as a head may take.
                transport.abort()
                return
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for nothing any more."""
        self._end_wait()
        if self.guests is not None and self._is_guest:
            self.guests.leave(self._peer)
            self._is_guest = False
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


def bounded_http(guests: Guests) -> type[BoundedHttp]:
    """Return the protocol of a gateway whose connections are counted by `guests`."""
    return type("GuestHttp", (BoundedHttp,), {"guests": guests})
