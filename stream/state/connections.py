"""How commands get to Redis: pipelined exchanges with a standalone server or a cluster, bounded in time.

An exchange that fails, times out or is cancelled drops its connection, always: a connection with an unread answer
would hand the next caller somebody else's data (CVE-2023-28858). So there is no other way to a connection than here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, Protocol, TypeAlias, TypeVar

import msgspec
from redis import exceptions
from redis.asyncio import RedisCluster
from redis.asyncio.connection import Connection, parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from stream.state.base import StoreError, StoreFull, StoreMisconfigured, StoreUnavailable
from stream.state.stats import StoreStats

Command: TypeAlias = tuple[Any, ...]
"""A command and its arguments: str, bytes or int. All its keys share one hash tag."""
Answer: TypeAlias = Any
"""What a server answered: bytes, int, None, a list of them, or an exception for an error answer."""
T = TypeVar("T")

_REFUSALS: Final = (
    exceptions.AuthenticationError,
    exceptions.AuthorizationError,
)
_OUTAGES: Final = (
    exceptions.ConnectionError,
    exceptions.TimeoutError,
    exceptions.ReadOnlyError,
    exceptions.ClusterDownError,
    exceptions.ClusterError,
    exceptions.RedisClusterException,
    exceptions.MasterDownError,
    exceptions.TryAgainError,
    exceptions.SlotNotCoveredError,
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


class NotPermitted(StoreMisconfigured):
    """The user's access rules forbid a command or a key."""


class ConnectionOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How to reach Redis or Valkey.

    `url` is redis://, rediss:// (TLS) or unix://, and may hold a user and a password; with `cluster` it names any node
    of a Redis Cluster. `timeout_s` bounds each exchange, connecting included. The `tls_*` files are PEM paths for
    rediss://: the authority to trust, and the client's certificate and key.
    """

    url: str
    cluster: bool = False
    timeout_s: float = 2.0
    max_connections: int = 64
    username: str | None = None
    password: str | None = None
    tls_ca_file: str | None = None
    tls_certificate_file: str | None = None
    tls_key_file: str | None = None

    def __repr__(self) -> str:
        """Return the options without the URL, which may hold a password."""
        return f"ConnectionOptions(cluster={self.cluster}, timeout_s={self.timeout_s})"

    def arguments(self) -> dict[str, Any]:
        """Return the arguments of a redis-py connection. Raises `StoreMisconfigured` for an unreadable URL."""
        try:
            found: dict[str, Any] = dict(parse_url(self.url))
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


def translate(error: BaseException) -> StoreError | None:  # noqa: PLR0911 - one line per kind of trouble
    """Return the store's error for one of redis-py's, of asyncio's or of the system's; None for anything else."""
    text = str(error)
    if isinstance(error, StoreError):
        return error
    if isinstance(error, exceptions.OutOfMemoryError) or "OOM command not allowed" in text:
        return StoreFull("Redis has reached maxmemory and refuses writes; make room or raise the limit")
    if isinstance(error, exceptions.NoPermissionError) or text.startswith("NOPERM"):
        return NotPermitted(f"Redis does not permit this user a command or key: {text}")
    if isinstance(error, _REFUSALS) or text.startswith(("NOAUTH", "WRONGPASS")):
        return StoreMisconfigured(f"Redis refuses the user or password: {text}")
    if "CERTIFICATE_VERIFY_FAILED" in text:
        return StoreMisconfigured(f"the certificate of Redis is not trusted: {text}")
    if "Cluster mode is not enabled" in text or "cluster support disabled" in text:
        return StoreMisconfigured("this Redis is not a cluster: turn the cluster option off")
    if isinstance(error, exceptions.MovedError | exceptions.AskError) or text.startswith(("MOVED ", "CROSSSLOT")):
        return StoreMisconfigured("this Redis is a node of a cluster: turn the cluster option on")
    if isinstance(error, _OUTAGES) or text.startswith(_OUTAGE_WORDS):
        return StoreUnavailable(f"Redis does not answer: {text or 'time limit reached'}")
    if isinstance(error, exceptions.RedisError):
        return StoreMisconfigured(f"Redis answers with an error: {text}")
    return None


class Link(Protocol):
    """A way to the server, or to all servers of a cluster."""

    async def exchange(self, commands: Sequence[Command]) -> list[Answer]:
        """Send all commands at once and return one answer for each; an error answer is an exception in the list.

        Raises `StoreUnavailable` or `StoreMisconfigured` when there is no exchange at all.
        """

    async def each(self, command: Command) -> list[Answer]:
        """Return the answers of all servers that hold state (error answers are raised)."""

    async def close(self) -> None:
        """Close all connections."""


class StandaloneLink:
    """Connections to one server, kept in a small stack and used one exchange at a time."""

    def __init__(self, options: ConnectionOptions, stats: StoreStats) -> None:
        arguments = options.arguments()
        self._make: Callable[..., Connection] = arguments.pop("connection_class", Connection)
        self._arguments = arguments | {
            "protocol": 2,
            "socket_timeout": None,  # `asyncio.timeout` below bounds the whole exchange; one limit is enough
            "socket_connect_timeout": options.timeout_s,
            "retry": Retry(NoBackoff(), 0),
            "driver_info": None,
        }
        self._timeout_s = options.timeout_s
        self._free: list[Connection] = []
        self._slots = asyncio.Semaphore(options.max_connections)
        self._stats = stats
        self._closed = False

    async def exchange(self, commands: Sequence[Command]) -> list[Answer]:
        """See `Link`."""
        connection: Connection | None = None
        try:
            async with asyncio.timeout(self._timeout_s), self._slots:
                if self._free:
                    connection = self._free.pop()
                else:
                    connection = self._make(**self._arguments)
                    await connection.connect()  # type: ignore[no-untyped-call]
                    self._stats.connections_total += 1
                packed = connection.pack_commands(commands)
                self._stats.round_trips_total += 1
                self._stats.sent_bytes_total += sum(map(len, packed))
                await connection.send_packed_command(packed, check_health=False)
                answers: list[Answer] = []
                for _ in commands:
                    try:
                        answers.append(await connection.read_response(disconnect_on_error=False))
                    except exceptions.ConnectionError:
                        raise
                    except exceptions.ResponseError as error:
                        answers.append(error)  # the whole answer was read: the connection is in step
                if self._closed:
                    await connection.disconnect(nowait=True)
                else:
                    self._free.append(connection)
                return answers
        except BaseException as error:
            if connection is not None:
                await connection.disconnect(nowait=True)
            known = translate(error)
            if known is None:
                raise
            # The others were opened to the same server: they are likely to be dead, and cheap to open again.
            await self._drop_free()
            raise known from error

    async def each(self, command: Command) -> list[Answer]:
        """See `Link`."""
        return [_raised(answer) for answer in await self.exchange([command])]

    async def close(self) -> None:
        """See `Link`."""
        self._closed = True
        await self._drop_free()

    async def _drop_free(self) -> None:
        free, self._free = self._free, []
        for connection in free:
            await connection.disconnect(nowait=True)


class ClusterLink:
    """redis-py's cluster client: it knows the slots and follows redirections."""

    def __init__(self, options: ConnectionOptions, stats: StoreStats) -> None:
        arguments = options.arguments()
        arguments.pop("connection_class", None)
        if arguments.pop("db", 0) != 0 or "path" in arguments:
            raise StoreMisconfigured("a Redis Cluster has database 0 only and is reached over TCP")
        arguments.setdefault("host", "localhost")
        self._client = RedisCluster(
            **arguments,
            ssl=options.url.startswith("rediss://"),
            protocol=2,
            socket_timeout=options.timeout_s,
            socket_connect_timeout=options.timeout_s,
            max_connections=options.max_connections,
            require_full_coverage=False,
            retry=Retry(NoBackoff(), 1),  # after a change of the topology; waiting is the caller's
        )
        self._timeout_s = options.timeout_s
        self._stats = stats

    async def exchange(self, commands: Sequence[Command]) -> list[Answer]:
        """See `Link`; commands go to their nodes at the same time."""

        async def run() -> list[Answer]:
            self._stats.round_trips_total += 1
            self._stats.sent_bytes_total += sum(
                len(part) if isinstance(part, bytes) else 8 for c in commands for part in c
            )
            pipeline = self._client.pipeline()
            for command in commands:
                _ = pipeline.execute_command(*command)  # only queued
            return await pipeline.execute(raise_on_error=False)

        return await self._bounded(run)

    async def each(self, command: Command) -> list[Answer]:
        """See `Link`."""

        async def run() -> list[Answer]:
            _ = await self._client.initialize()
            nodes = self._client.get_primaries()
            return list(
                await asyncio.gather(*(self._client.execute_command(*command, target_nodes=node) for node in nodes))
            )

        return await self._bounded(run)

    async def close(self) -> None:
        """See `Link`."""
        await self._client.aclose()

    async def _bounded(self, run: Callable[[], Awaitable[list[Answer]]]) -> list[Answer]:
        # redis-py drops a cluster connection whose exchange is interrupted. Twice the limit: a redirection is a second
        # exchange.
        try:
            async with asyncio.timeout(2 * self._timeout_s):
                return await run()
        except BaseException as error:
            known = translate(error)
            if known is None:
                raise
            raise known from error


def _raised(answer: T) -> T:
    if isinstance(answer, BaseException):
        raise translate(answer) or answer
    return answer
