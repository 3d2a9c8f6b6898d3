"""What is checked when a Redis store is opened: version, mode, and that the server never evicts what it was given."""

from __future__ import annotations

from typing import Final

from stream.state.base import StoreMisconfigured
from stream.state.connections import Answer, ClusterLink, NotPermitted, StandaloneLink

OLDEST_VERSION: Final = (6, 2)
"""First version with `ZADD GT`; every Valkey is newer."""


async def check_server(link: StandaloneLink | ClusterLink, *, cluster: bool) -> tuple[str, ...]:
    """Return warnings, one line each, about what could not be checked.

    Raises `StoreMisconfigured` for a server that is too old, that is (or is not) a cluster other than configured, or
    that would evict session state when it is full. Raises `StoreUnavailable`.
    """
    warnings: list[str] = []
    try:
        infos = await link.each(("INFO",))
    except NotPermitted:
        warnings.append("Redis does not permit INFO: its version and mode could not be checked")
    else:
        for info in infos:
            _check_info(_fields(info), cluster=cluster)
        return ()
    try:
        configurations = await link.each(("CONFIG GET", "maxmemory*"))
    except NotPermitted:
        warnings.append("Redis permits neither INFO nor CONFIG GET: make sure that maxmemory-policy is noeviction")
    else:
        for pairs in configurations:
            found = _pairs(pairs)
            _check_eviction(found.get("maxmemory", "0"), found.get("maxmemory-policy", "noeviction"))
    return tuple(warnings)


def _check_info(info: dict[str, str], *, cluster: bool) -> None:
    version = info.get("redis_version", "")
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
    if numbers and numbers < OLDEST_VERSION:
        raise StoreMisconfigured(f"Redis {version} is too old: 6.2 or newer, or Valkey, is needed")
    in_cluster = info.get("cluster_enabled", "0") == "1"
    if in_cluster and not cluster:
        raise StoreMisconfigured("this Redis is a node of a cluster: turn the cluster option on")
    if cluster and not in_cluster:
        raise StoreMisconfigured("this Redis is not a cluster: turn the cluster option off")
    _check_eviction(info.get("maxmemory", "0"), info.get("maxmemory_policy", "noeviction"))


def _check_eviction(limit: str, policy: str) -> None:
    if limit != "0" and policy != "noeviction":
        raise StoreMisconfigured(
            f"Redis evicts state when it is full (maxmemory-policy {policy}): set maxmemory-policy to noeviction"
        )


def _fields(info: Answer) -> dict[str, str]:
    if isinstance(info, dict):
        return {str(key): str(value) for key, value in info.items()}
    text = info.decode("utf-8", "replace") if isinstance(info, bytes) else str(info)
    lines = (line.partition(":") for line in text.splitlines() if not line.startswith("#"))
    return {key: value.strip() for key, _, value in lines}


def _pairs(pairs: Answer) -> dict[str, str]:
    if isinstance(pairs, dict):
        return {_text(key): _text(value) for key, value in pairs.items()}
    return {_text(key): _text(value) for key, value in zip(pairs[::2], pairs[1::2], strict=True)}


def _text(value: Answer) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
