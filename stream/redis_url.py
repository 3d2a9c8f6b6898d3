"""URLs of Redis: which are usable, and the one that names sentinels, redis+sentinel://host,host/service."""

from __future__ import annotations

import re
from typing import Final, NamedTuple
from urllib.parse import unquote, urlsplit

SENTINEL_PORT: Final = 26_379
_SCHEMES: Final = {"redis+sentinel": "redis", "rediss+sentinel": "rediss"}
SENTINEL_FORM: Final = (
    "redis+sentinel:// or rediss+sentinel://[user:password@]host[:port][,host[:port]...]/service[/number]"
)
_WRONG: Final = f"the Redis Sentinel URL is not valid: {SENTINEL_FORM}"


class SentinelUrl(NamedTuple):
    """What a sentinel URL says; user, password and number in it are the Redis server's."""

    sentinels: tuple[tuple[str, int], ...]
    service: str
    server_url: str
    """The server's own URL; its address stands in until the sentinels are asked."""
    is_tls: bool


def parse_sentinel_url(url: str) -> SentinelUrl | None:
    """Return what a sentinel URL says, None for a URL of another kind. Raises `ValueError`, quoting nothing of it."""
    scheme, separator, rest = url.partition("://")
    server_scheme = _SCHEMES.get(scheme.lower())
    if not separator or server_scheme is None:
        return None
    # Taken apart here: a URL has one host, and newer Pythons refuse several where one of them stands in brackets.
    place = re.split(r"[/?#]", rest, maxsplit=1)[0]
    user, at, hosts = place.rpartition("@")
    try:
        parts = urlsplit(f"{server_scheme}://{user}{at}sentinel{rest[len(place) :]}")
        service, _, number = parts.path.removeprefix("/").partition("/")
        sentinels = tuple(_address(host) for host in hosts.split(","))
    except ValueError:
        raise ValueError(_WRONG) from None
    if not service or (number and not number.isdigit()):
        raise ValueError(_WRONG)
    server_url = parts._replace(path=f"/{number or 0}", fragment="").geturl()
    return SentinelUrl(sentinels, unquote(service), server_url, server_scheme == "rediss")


def is_usable(url: str) -> bool:
    """Whether a URL can name a Redis: redis://, rediss:// with a host, unix:// with a path, or sentinels."""
    try:
        if parse_sentinel_url(url) is not None:
            return True
        parts = urlsplit(url)
        if parts.scheme == "unix":
            return parts.port != 0
        number = parts.path.removeprefix("/")
        return (
            parts.scheme in {"redis", "rediss"}
            and parts.port != 0
            and bool(parts.hostname)
            and (not number or number.isdigit())
        )
    except ValueError:
        return False


def _address(text: str) -> tuple[str, int]:
    parts = urlsplit(f"//{text}")
    if not parts.hostname or parts.port == 0:
        raise ValueError
    return parts.hostname, parts.port or SENTINEL_PORT
