"""How commands get to one Redis server: pipelined exchanges, bounded in time, on connections that are dropped in doubt.

An exchange that fails, times out or is cancelled drops its connection, always: a connection with an unread answer
would hand the next caller somebody else's data (CVE-2023-28858). So there is no other way to a connection than here.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, Protocol

import msgspec
from redis import exceptions
from redis.asyncio.connection import Connection, parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from stream.redis_url import SentinelUrl, parse_sentinel_url
from stream.state.base import StoreError, StoreFull, StoreMisconfigured, StoreUnavailable
from stream.state.stats import StoreStats
from stream.state.time_limit import TimeLimit
from stream.state.wire import Answer, Command, Wire, pack

_REFUSALS: Final = (
    exceptions.AuthenticationError,
    exceptions.AuthorizationError,
)
_OUTAGES: Final = (
    exceptions.ConnectionError,
    exceptions.TimeoutError,
    exceptions.ReadOnlyError,
    exceptions.ClusterDownError,
    exceptions.MasterDownError,
    exceptions.TryAgainError,
    TimeoutError,
    OSError,
    EOFError,
)
_OUTAGE_WORDS: Final = (
    "BUSY ",
    "MISCONF",
    "NOREPLICAS",
    "LOADING",
    "MASTERDOWN",
    "CLUSTERDOWN",
    "UNBLOCKED",
    "READONLY",
)
_REPEATED_ADDRESS: Final = re.compile(r"^Error -?\d* ?connecting to \S+ ")
"""How redis-py begins; the message names the server already."""


class NotInTime(StoreUnavailable):
    """Those who were asked where the server is did not answer in their share of the time limit."""


class NotPermitted(StoreMisconfigured):
    """The user's access rules forbid a command or a key."""


class ConnectionOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How to reach Redis or Valkey.

    `url` is redis://, rediss:// (TLS) or unix://, and may hold a user and a password; with `cluster` it names any node
    of a Redis Cluster; redis+sentinel:// and rediss+sentinel:// name sentinels and the service that they watch.
    `timeout_s` bounds each exchange, connecting included; a server that is slow gets up to eight times as long. The
    `tls_*` files are PEM paths for TLS: the authority to trust, and the client's certificate and key.
    """

    url: str
    cluster: bool = False
    timeout_s: float = 2.0
    max_connections: int = 64
    username: str | None = None
    password: str | None = None
    sentinel_username: str | None = None
    sentinel_password: str | None = None
    tls_ca_file: str | None = None
    tls_certificate_file: str | None = None
    tls_key_file: str | None = None

    def __repr__(self) -> str:
        """Return the options without the URL, which may hold a password."""
        return f"ConnectionOptions(cluster={self.cluster}, timeout_s={self.timeout_s})"

    def sentinels(self) -> SentinelUrl | None:
        """Return what a sentinel URL says; None for any other. Raises `StoreMisconfigured`."""
        try:
            return parse_sentinel_url(self.url)
        except ValueError as error:
            raise StoreMisconfigured(str(error)) from None

    def arguments(self) -> dict[str, Any]:
        """Return the arguments of a redis-py connection. Raises `StoreMisconfigured` for an unreadable URL."""
        sentinels = self.sentinels()
        try:
            found: dict[str, Any] = dict(parse_url(self.url if sentinels is None else sentinels.server_url))
        except ValueError:  # its text may quote a part of the password
            raise StoreMisconfigured(
                "the Redis URL is not valid: redis://, rediss:// or unix://, special characters percent-encoded"
            ) from None
        wanted = {
            "username": self.username,
            "password": self.password,
            "ssl_ca_certs": self.tls_ca_file,
            "ssl_certfile": self.tls_certificate_file,
            "ssl_keyfile": self.tls_key_file,
        }
        return found | {name: value for name, value in wanted.items() if value is not None}


def translate(  # noqa: PLR0911 - one line per kind of trouble
    error: BaseException, where: str = ""
) -> StoreError | None:
    """Return the store's error for one of redis-py's, of asyncio's or of the system's; None for anything else.

    `where` names the server, host:port.
    """
    text = _REPEATED_ADDRESS.sub("", str(error)).strip()
    redis = f"Redis at {where}" if where else "Redis"
    if isinstance(error, StoreError):
        return error
    if isinstance(error, exceptions.OutOfMemoryError) or "OOM command not allowed" in text:
        return StoreFull(f"{redis} has reached maxmemory and refuses writes; make room or raise the limit")
    if isinstance(error, exceptions.NoPermissionError) or text.startswith("NOPERM"):
        return NotPermitted(f"{redis} does not permit this user a command or key: {text}")
    if isinstance(error, _REFUSALS) or text.startswith(("NOAUTH", "WRONGPASS")):
        return StoreMisconfigured(f"{redis} refuses the user or password: {text}")
    if "CERTIFICATE_VERIFY_FAILED" in text:
        return StoreMisconfigured(f"the certificate of {redis} is not trusted: {text}")
    if "Cluster mode is not enabled" in text or "cluster support disabled" in text:
        return StoreMisconfigured(f"{redis} is not a cluster: turn the cluster option off")
    if isinstance(error, exceptions.MovedError | exceptions.AskError) or text.startswith(("MOVED ", "CROSSSLOT")):
        return StoreMisconfigured(f"{redis} is a node of a cluster: turn the cluster option on")
    if isinstance(error, _OUTAGES) or text.startswith(_OUTAGE_WORDS):
        return StoreUnavailable(f"{redis} does not answer: {text or 'time limit reached'}")
    if isinstance(error, exceptions.RedisError):
        return StoreMisconfigured(f"{redis} answers with an error: {text}")
    return None


class Link(Protocol):
    """A way to the server, or to all servers of a cluster."""

    async def exchange(self, commands: Sequence[Command], at: Sequence[bytes] | None = None) -> list[Answer]:
        """Send all commands at once and return one answer for each; an error answer is an exception in the list.

        `at` gives a key for each command, where that is not its own first one. Error answers are the store's errors,
        except those that a link's user handles (a forgotten script). Raises `StoreUnavailable` or `StoreMisconfigured`
        when there is no exchange at all.
        """

    async def each(self, command: Command) -> list[tuple[str, Answer]]:
        """Return (address, answer) of all servers that hold state; error answers are raised."""

    async def close(self) -> None:
        """Close all connections."""


Greeting = Callable[[str, Answer], None]
"""Called with a server's address and its INFO after connecting; raises a `StoreError` to refuse the server."""
Locator = Callable[[float], Awaitable[tuple[str, int]]]
"""Returns host and port of the server to use, within a time limit in seconds. Raises `StoreError`."""


class StandaloneLink:
    """Connections to one server, kept in a small stack and used one exchange at a time.

    `greet` checks each new connection's server; `locate` says, for each new connection, where the server is now.
    """

    def __init__(
        self,
        options: ConnectionOptions,
        stats: StoreStats,
        *,
        address: tuple[str, int] | None = None,
        greet: Greeting | None = None,
        locate: Locator | None = None,
    ) -> None:
        arguments = options.arguments()
        if address is not None:
            arguments |= {"host": address[0], "port": address[1]}
        self._make: Callable[..., Connection] = arguments.pop("connection_class", Connection)
        self._arguments = arguments | {
            "protocol": 2,
            # `asyncio.timeout` below bounds the whole exchange, connecting included; one limit is enough.
            "socket_timeout": None,
            "socket_connect_timeout": None,
            "retry": Retry(NoBackoff(), 0),
            "driver_info": None,
        }
        self.where = arguments.get("path") or f"{arguments.get('host', 'localhost')}:{arguments.get('port', 6379)}"
        """Address of the server: host:port, or the path of its socket."""
        self.limit = TimeLimit(options.timeout_s)
        self._free: list[Wire] = []
        self._slots = asyncio.Semaphore(options.max_connections)
        self._stats = stats
        self._greet = greet
        self._locate = locate
        self._closed = False

    async def exchange(self, commands: Sequence[Command], at: Sequence[bytes] | None = None) -> list[Answer]:
        """See `Link`; one server has all keys."""
        del at
        wire: Wire | None = None
        loop = asyncio.get_running_loop()
        limit_s, started = self.limit.seconds, loop.time()
        try:
            wire = await self._take(limit_s)
            packed = pack(commands)
            self._stats.round_trips_total += 1
            self._stats.sent_bytes_total += len(packed)
            answers = await wire.ask(packed, len(commands), started + limit_s - loop.time())
        except BaseException as error:
            if wire is not None:
                wire.drop()
                self._slots.release()
            known = translate(error, self.where)
            if known is None and type(error) is RuntimeError:
                # uvloop's word for a connection that was reset while it lay idle.
                known = StoreUnavailable(f"Redis at {self.where} does not answer: the connection was reset")
            if known is None:
                raise
            if isinstance(error, TimeoutError | NotInTime):
                self.limit.missed(limit_s)
            # The others were opened to the same server: they are likely to be dead, and cheap to open again.
            self.drop_free()
            try:
                if known is error:  # and would be its own cause
                    raise
                raise known from error
            finally:
                del known  # its traceback holds this frame: a cycle, with the packed commands in it
        self._slots.release()
        if self._closed:
            wire.drop()
        else:
            self._free.append(wire)
        self.limit.answered(loop.time() - started)
        for i, answer in enumerate(answers):
            if isinstance(answer, Exception):
                answers[i] = self._error_answer(answer)
        return answers

    async def each(self, command: Command) -> list[tuple[str, Answer]]:
        """See `Link`."""
        return [(self.where, raised(answer)) for answer in await self.exchange([command])]

    async def close(self) -> None:
        """See `Link`."""
        self._closed = True
        self.drop_free()

    def drop_free(self) -> None:
        """Close the connections that nobody uses."""
        free, self._free = self._free, []
        for wire in free:
            wire.drop()

    async def _take(self, limit_s: float) -> Wire:
        """Return a connection that nobody uses, and a slot with it: one that is free, or a new one."""
        if self._slots.locked():
            async with asyncio.timeout(limit_s):
                await self._slots.acquire()
        else:
            await self._slots.acquire()  # at once
        while self._free:
            wire = self._free.pop()
            if not wire.is_lost:  # closed while it lay idle: nothing was asked on it
                return wire
        try:
            async with asyncio.timeout(limit_s):
                return await self._connect(limit_s)
        except BaseException:
            self._slots.release()
            raise

    async def _connect(self, limit_s: float) -> Wire:
        arguments = self._arguments
        if self._locate is not None:
            host, port = await self._locate(limit_s)
            arguments = arguments | {"host": host, "port": port}
            self.where = f"{host}:{port}"
        connection = self._make(**arguments)
        try:
            await connection.connect()  # type: ignore[no-untyped-call]
        except BaseException:
            await connection.disconnect(nowait=True)
            raise
        wire = Wire(connection)
        self._stats.connections_total += 1
        try:
            if self._greet is not None:
                [info] = await wire.ask(pack([("INFO",)]), 1, limit_s)
                if not isinstance(info, exceptions.NoPermissionError):
                    self._greet(self.where, raised(info))
        except BaseException:
            wire.drop()
            raise
        return wire

    def _error_answer(self, error: Exception) -> Exception:
        if isinstance(error, exceptions.ReadOnlyError):
            # It became a replica: where the master is now is for new connections to find out.
            self.drop_free()
        if isinstance(error, exceptions.NoScriptError | exceptions.AskError):  # MOVED is a kind of ASK in redis-py
            return error
        return translate(error, self.where) or error


def raised(answer: Answer) -> Answer:
    """Return an answer; raise what an error answer means.

    An exception of its own is raised: its traceback holds the frames of those who hold the answer.
    """
    if isinstance(answer, StoreError):
        raise type(answer)(str(answer))
    if isinstance(answer, BaseException):
        raise translate(answer) or answer
    return answer
