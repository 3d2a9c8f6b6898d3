"""Asks Redis Sentinel where the master is, before each new connection: a failover is followed by reconnecting."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

from redis import exceptions
from redis.asyncio.connection import Connection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from stream.redis_url import SentinelUrl
from stream.state.base import StoreMisconfigured, StoreUnavailable
from stream.state.connections import ConnectionOptions, NotInTime

_SHARE: Final = 0.5
"""Part of the time limit in which a sentinel must answer: the rest is for the server."""


class SentinelLocator:
    """Finds the master of one service by asking sentinels, the one that answered last first.

    The sentinels of a URL are asked in their order; one that does not answer, or does not know, is passed over. An
    answer is trusted as it is: a server that turns out to be a replica is refused by the check of its connection.
    """

    def __init__(self, options: ConnectionOptions, url: SentinelUrl) -> None:
        arguments = options.arguments()
        kept = {name: value for name, value in arguments.items() if name.startswith("ssl_")}
        if options.sentinel_username is not None:
            kept["username"] = options.sentinel_username
        if options.sentinel_password is not None:
            kept["password"] = options.sentinel_password
        self._make: Callable[..., Connection] = arguments.get("connection_class", Connection)
        self._arguments: dict[str, Any] = kept | {
            "protocol": 2,
            "socket_timeout": None,
            "socket_connect_timeout": None,
            "retry": Retry(NoBackoff(), 0),
            "driver_info": None,
        }
        self._url = url
        self._sentinels = list(url.sentinels)

    async def __call__(self, limit_s: float) -> tuple[str, int]:
        """Return host and port of the master. Raises `StoreUnavailable`, or `StoreMisconfigured` if all refuse.

        Where none knows it and one took too long, it is `NotInTime`: with a longer limit that one may be heard.
        """
        refused: str | None = None
        slow = False
        each_s = _SHARE * limit_s / len(self._sentinels)
        for sentinel in list(self._sentinels):
            try:
                async with asyncio.timeout(each_s):
                    found = await self._ask(*sentinel)
            except (exceptions.AuthenticationError, exceptions.AuthorizationError, exceptions.NoPermissionError) as e:
                refused = f"the sentinel at {sentinel[0]}:{sentinel[1]} refuses the user or password: {e}"
                continue
            except TimeoutError:
                slow = True
                continue
            except (exceptions.RedisError, OSError, RuntimeError):  # the last is uvloop's, of a reset
                continue
            if found is not None:
                self._sentinels.remove(sentinel)
                self._sentinels.insert(0, sentinel)
                return found
        if refused is not None:
            raise StoreMisconfigured(refused)
        asked = ", ".join(f"{host}:{port}" for host, port in self._url.sentinels)
        unknown = f"no sentinel knows the master of {self._url.service} (asked {asked})"
        raise NotInTime(unknown) if slow else StoreUnavailable(unknown)

    async def _ask(self, host: str, port: int) -> tuple[str, int] | None:
        connection = self._make(**self._arguments, host=host, port=port)
        try:
            await connection.connect()  # type: ignore[no-untyped-call]
            command = ("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._url.service)
            await connection.send_packed_command(connection.pack_commands([command]), check_health=False)
            found = await connection.read_response(disconnect_on_error=False)
        finally:
            await connection.disconnect(nowait=True)
        return None if found is None else (found[0].decode(), int(found[1]))
