"""One connection to a Redis server: commands leave in one write, answers are parsed as they come in.

redis-py connects, with its TLS, its names and its passwords; then its connection is taken over. Its own way of reading
(a stream, a task's wake-up and a coroutine an answer) costs several times what parsing does, and a chunk of one event
makes two exchanges.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Final, TypeAlias

import hiredis
from redis import exceptions
from redis.asyncio.connection import Connection, DefaultParser

Command: TypeAlias = tuple[Any, ...]
"""A command and its arguments: str, bytes or int. All its keys share one hash tag."""
Answer: TypeAlias = Any
"""What a server answered: bytes, int, None, a list of them, or an exception for an error answer."""

_NOT_YET: Final = object()
_CLOSED: Final = "Connection closed by server."
_OUT_OF_STEP: Final = "it answered what it was not asked"


def pack(commands: Sequence[Command]) -> bytes:
    """Return commands as they go over the wire. A name of two words, such as SCRIPT LOAD, is two arguments there."""
    if len(commands) == 1:
        return _pack_one(commands[0])
    return b"".join(map(_pack_one, commands))


def _pack_one(command: Command) -> bytes:
    name = command[0]
    if " " in name:
        command = (*name.split(), *command[1:])
    packed: bytes = hiredis.pack_command(command)
    return packed


class Wire(asyncio.Protocol):
    """A connection that is connected. One exchange at a time; one that fails is its last."""

    __slots__ = ("_answers", "_left", "_reader", "_transport", "_waiter", "_writer", "is_lost")

    def __init__(self, connection: Connection) -> None:
        """Take over what redis-py has connected, which has no answer outstanding. It must not be used any more."""
        writer = connection._writer  # noqa: SLF001 - redis-py has no public way to its transport
        assert writer is not None
        # Otherwise its end would close what is in use.
        connection._writer = connection._reader = None  # noqa: SLF001
        self._writer = writer
        self._transport: asyncio.WriteTransport = writer.transport
        self._reader = hiredis.Reader(
            protocolError=exceptions.InvalidResponse,
            replyError=DefaultParser.parse_error,
            notEnoughData=_NOT_YET,
        )
        self._answers: list[Answer] = []
        self._left = 0
        self._waiter: asyncio.Future[list[Answer]] | None = None
        self.is_lost = False
        """Closed, by whomever: nothing can be asked any more."""
        self._transport.set_protocol(self)

    async def ask(self, packed: bytes, count: int, limit_s: float) -> list[Answer]:
        """Send `count` packed commands and return their answers; an error answer is an exception in the list.

        Raises redis-py's `ConnectionError`, OSError and TimeoutError. With any exception, also a cancellation, the
        connection is dropped.
        """
        if self.is_lost or self._waiter is not None:
            raise exceptions.ConnectionError(_CLOSED)
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[list[Answer]] = loop.create_future()
        self._waiter = waiter
        self._answers, self._left = [], count
        timer = loop.call_later(limit_s, self._fail, TimeoutError())
        try:
            self._transport.write(packed)
            return await waiter
        except BaseException:
            self.drop()  # its answers may still come: they are nobody's
            self._waiter, self._answers = None, []  # they hold the exception, whose traceback holds this
            raise
        finally:
            timer.cancel()
            del waiter

    def drop(self) -> None:
        """Close at once, unsent bytes included."""
        self.is_lost = True
        self._transport.abort()

    # --- what the transport calls ------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Parse what came; wake who asked once all is there."""
        reader = self._reader
        reader.feed(data)
        waiter, answers = self._waiter, self._answers
        if waiter is None:
            self.drop()
            return
        try:
            while self._left:
                answer = reader.gets()
                if answer is _NOT_YET:
                    return
                self._left -= 1
                answers.append(answer)
                if isinstance(answer, exceptions.ConnectionError):
                    # The server's word for: not on this connection (it is loading, has no room, wants a password).
                    self._fail(answer)
                    return
        except exceptions.InvalidResponse as error:
            self._fail(error.with_traceback(None))  # which holds this frame, and so the waiter
            return
        if reader.has_data():
            self._fail(exceptions.ConnectionError(_OUT_OF_STEP))
            return
        self._waiter = None
        if not waiter.done():
            waiter.set_result(answers)

    def connection_lost(self, error: Exception | None) -> None:
        """Tell who waits."""
        self.is_lost = True
        self._fail(error or exceptions.ConnectionError(_CLOSED))

    def _fail(self, error: Exception) -> None:
        """End the exchange, if there is one."""
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_exception(error)
