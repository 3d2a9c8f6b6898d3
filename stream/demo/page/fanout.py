"""Hands what happens to every open page: a bounded mailbox for each, in which the newest word about a thing stays.

Every message says the whole of what it is about, so one that is overtaken by a newer one, or dropped, takes nothing
with it. All of it belongs to one event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from typing import Final

import msgspec

MAILBOX: Final = 48
"""Messages that wait for one page; beyond them the oldest goes."""


class Message(msgspec.Struct, frozen=True):
    """One server-sent event. `about`: what it tells; a newer message about the same takes its place."""

    event: str
    data: bytes
    about: str = ""

    def encoded(self) -> bytes:
        """Return the bytes of the event stream. JSON holds no line breaks, so one line of data is enough."""
        return b"event: " + self.event.encode() + b"\ndata: " + self.data + b"\n\n"


class Mailbox:
    """What waits for one page."""

    def __init__(self, limit: int = MAILBOX) -> None:
        self._waiting: dict[str, Message] = {}
        self._limit = limit
        self._number = 0
        self._news = asyncio.Event()
        self.dropped = 0
        """Messages that went because too many waited; those overtaken by newer ones are not counted."""
        self.closed = False

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, message: Message) -> None:
        """Add a message at the end, in place of an older one about the same; the oldest of too many goes."""
        if self.closed:
            return
        self._number += 1
        about = message.about or f"#{self._number}"
        self._waiting.pop(about, None)
        self._waiting[about] = message
        if len(self._waiting) > self._limit:
            del self._waiting[next(iter(self._waiting))]
            self.dropped += 1
        self._news.set()

    def close(self) -> None:
        """Take nothing more; who waits is woken, and gets what is left."""
        self.closed = True
        self._news.set()

    async def take(self, wait_s: float) -> list[Message]:
        """Return all that waits, oldest first, after at most `wait_s`; empty when nothing came, or it is closed."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                await self._news.wait()
        found = list(self._waiting.values())
        self._waiting.clear()
        if not self.closed:
            self._news.clear()
        return found


class Fanout:
    """The mailboxes of all open pages, by the view that each shows. At most `clients` at once."""

    def __init__(self, clients: int) -> None:
        self._boxes: dict[Mailbox, str] = {}
        self._clients = clients
        self._closed = False

    def __len__(self) -> int:
        return len(self._boxes)

    @contextlib.contextmanager
    def mailbox(self, view: str) -> Iterator[Mailbox]:
        """Open a mailbox for a page that shows `view`, until the end of the block; the oldest of too many is closed."""
        box = Mailbox()
        if self._closed:
            box.close()
        self._boxes[box] = view
        if len(self._boxes) > self._clients:
            oldest = next(iter(self._boxes))
            oldest.close()
            del self._boxes[oldest]
        try:
            yield box
        finally:
            self._boxes.pop(box, None)

    def tell_all(self, message: Message) -> None:
        """Put a message into every mailbox."""
        for box in self._boxes:
            box.put(message)

    def tell(self, view: str, message: Message) -> None:
        """Put a message into the mailboxes of one view."""
        for box, shown in self._boxes.items():
            if shown == view:
                box.put(message)

    def close(self) -> None:
        """Close all mailboxes, and those that are still asked for."""
        self._closed = True
        for box in self._boxes:
            box.close()
