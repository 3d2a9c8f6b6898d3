"""What is checked of a Redis server: version, mode, role, and that it never evicts what it was given.

Checked when the store is opened and every few seconds after, and of a single server with each new connection too: who
answers at an address may change, and so may what it was told.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from stream.state.base import StoreMisconfigured, StoreUnavailable
from stream.state.cluster import ClusterLink
from stream.state.connections import NotPermitted, StandaloneLink
from stream.state.wire import Answer

OLDEST_VERSION: Final = (6, 2)
"""First version with `ZADD GT` and `GETEX`; every Valkey is newer."""


class Checked(NamedTuple):
    """What was found of servers that may be used."""

    warnings: tuple[str, ...]
    """One line each."""
    evicted_keys: int
    """Since the servers were started."""
    memory_used_ratio: float | None
    """Share of its limit that the fullest server uses; None where none has a limit, or none tells."""


async def check_server(link: StandaloneLink | ClusterLink, *, cluster: bool) -> Checked:
    """Look at every server.

    Raises `StoreMisconfigured` for a server that is too old, that is (or is not) a cluster other than configured, or
    that would evict session state when it is full. Raises `StoreUnavailable`.
    """
    warnings: list[str] = []
    try:
        infos = await link.each(("INFO",))
    except NotPermitted:
        warnings.append("Redis does not permit INFO: its version and mode could not be checked")
    else:
        evicted, used_ratio = 0, None
        for where, info in infos:
            fields = fields_of(info)
            _check_info(where, fields, cluster=cluster)
            evicted += int(fields.get("evicted_keys", "0"))
            warnings.extend(_doubts(where, fields))
            limit = int(fields.get("maxmemory", "0"))
            if limit:
                used_ratio = max(used_ratio or 0.0, int(fields.get("used_memory", "0")) / limit)
        return Checked(tuple(warnings), evicted, used_ratio)
    try:
        configurations = await link.each(("CONFIG GET", "maxmemory*"))
    except NotPermitted:
        warnings.append("Redis permits neither INFO nor CONFIG GET: make sure that maxmemory-policy is noeviction")
    else:
        for where, pairs in configurations:
            found = _pairs(pairs)
            _check_eviction(where, found.get("maxmemory", "0"), found.get("maxmemory-policy", "noeviction"))
    return Checked(tuple(warnings), 0, None)


def check_connection(where: str, info: Answer) -> None:
    """Refuse the server of a new connection: a replica (`StoreUnavailable`), or what `check_server` refuses."""
    fields = fields_of(info)
    _check_info(where, fields, cluster=False)
    if fields.get("role") == "slave":
        raise StoreUnavailable(f"Redis at {where} is a replica: a master is needed there")


def _check_info(where: str, info: dict[str, str], *, cluster: bool) -> None:
    version = info.get("redis_version", "")
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
    if numbers and numbers < OLDEST_VERSION:
        raise StoreMisconfigured(f"Redis {version} at {where} is too old: 6.2 or newer, or Valkey, is needed")
    in_cluster = info.get("cluster_enabled", "0") == "1"
    if in_cluster and not cluster:
        raise StoreMisconfigured(f"Redis at {where} is a node of a cluster: turn the cluster option on")
    if cluster and not in_cluster:
        raise StoreMisconfigured(f"Redis at {where} is not a cluster: turn the cluster option off")
    _check_eviction(where, info.get("maxmemory", "0"), info.get("maxmemory_policy", "noeviction"))


def _check_eviction(where: str, limit: str, policy: str) -> None:
    if limit != "0" and policy != "noeviction":
        raise StoreMisconfigured(
            f"Redis at {where} evicts state when it is full (maxmemory-policy {policy}): "
            "set maxmemory-policy to noeviction"
        )


def _doubts(where: str, info: dict[str, str]) -> list[str]:
    """Return what an operator should know of a server that is usable."""
    doubts = []
    is_alone = info.get("role") == "master" and info.get("connected_slaves") == "0"
    if info.get("aof_enabled") == "0" and is_alone:
        doubts.append(
            f"Redis at {where} has neither an append-only file nor a replica: after a restart of it, the records of "
            "up to a day are folded again"
        )
    return doubts


def fields_of(info: Answer) -> dict[str, str]:
    """Return the fields of an answer to INFO, or to a command that answers alike."""
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
