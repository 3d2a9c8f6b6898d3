"""Looks at the Redis or Valkey servers: usable, safe, with room, with all slots, and on time."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final

from stream.doctor.finding import Finding, Findings, error, ok, warning
from stream.state import ConnectionOptions, StoreError, StoreMisconfigured
from stream.state.cluster import ClusterLink
from stream.state.connections import NotPermitted, StandaloneLink
from stream.state.redis import link_to
from stream.state.server_checks import check_server, fields_of
from stream.state.stats import StoreStats

FILLING_RATIO: Final = 0.85
SLOW_S: Final = 0.01
APART_S: Final = 1.0
TRIES: Final = 5
"""Round trips of which the quickest counts: the slow ones may be this machine's."""
SLOTS: Final = 16_384
_WHERE: Final = "Redis"
_NO_ROOM_WHY: Final = "a full server refuses writes, and nothing is scored until there is room"


async def look_at_store(options: ConnectionOptions) -> list[Finding]:
    """Return the findings about all servers that hold state."""
    found: list[Finding] = []
    try:
        link = link_to(options, StoreStats())
    except (StoreError, ValueError) as failed:
        return [error("redis.reachable", _WHERE, str(failed), "workers do not start", "correct redis.url")]
    try:
        await _servers(link, options, found)
    except StoreMisconfigured as failed:
        what, _, do = str(failed).rpartition(": ")
        found.append(error("redis.usable", _WHERE, what, "workers refuse to use it", do))
    except StoreError as failed:
        found.append(
            error(
                "redis.reachable",
                _WHERE,
                str(failed),
                "workers wait for it, and do not start without it",
                "is it running and reachable from here, with this redis.url and these credentials?",
            )
        )
    finally:
        await link.close()
    return found


async def _servers(link: StandaloneLink | ClusterLink, options: ConnectionOptions, found: list[Finding]) -> None:
    servers = await link.each(("PING",))
    took_s = min([await _round_trip_s(link) for _ in range(TRIES)])
    found.append(ok("redis.reachable", _WHERE, f"{len(servers)} server(s) with state, {took_s * 1000:.1f} ms"))
    if took_s > SLOW_S:
        found.append(
            warning(
                "redis.slow",
                _WHERE,
                f"{took_s * 1000:.0f} ms for one round trip",
                "each chunk makes two or three of them: latency and the rate of one partition rest on it",
                "run workers near to it; look at `redis-cli --latency` and `slowlog get`",
            )
        )
    await _look(link, "TIME", _of_time, found)
    may_ask = await _look(link, "INFO", _of_info, found)
    if options.cluster:
        await _look(link, "CLUSTER INFO", _of_cluster, found)
    # What workers themselves refuse comes last: it ends the look.
    checked = await check_server(link, cluster=options.cluster)
    if not may_ask:
        found.extend(
            warning("redis.permissions", _WHERE, text, "its state is not known", "grant INFO")
            for text in checked.warnings
        )
    found.append(ok("redis.usable", _WHERE, "version, mode and maxmemory-policy are fit for state"))


async def _round_trip_s(link: StandaloneLink | ClusterLink) -> float:
    began = time.perf_counter()
    await link.each(("PING",))
    return time.perf_counter() - began


def _of_info(where: str, answer: Any) -> Findings:
    info = fields_of(answer)
    kind = f"Valkey {info['valkey_version']}" if "valkey_version" in info else f"Redis {info.get('redis_version', '?')}"
    yield ok("redis.version", where, kind)
    yield from _memory(where, info)
    yield from _persistence(where, info)
    evicted = int(info.get("evicted_keys", "0"))
    if evicted:
        yield warning(
            "redis.evicted",
            where,
            f"{evicted} keys evicted since its start",
            "sessions and watermarks were lost",
            "maxmemory-policy noeviction, and more memory",
        )
    if info.get("role") == "slave":
        yield error("redis.role", where, "is a replica", "it takes no writes", "redis.url must lead to the master")


def _memory(where: str, info: dict[str, str]) -> Findings:
    limit, used = int(info.get("maxmemory", "0")), int(info.get("used_memory", "0"))
    if not limit:
        yield warning(
            "redis.memory",
            where,
            "no maxmemory",
            "it grows until the system ends it, and what was written last is lost",
            "set maxmemory to about 70 % of the machine's memory, with maxmemory-policy noeviction",
        )
    elif used > limit:
        yield error("redis.memory", where, f"{used / limit:.0%} of maxmemory used", _NO_ROOM_WHY, "raise maxmemory")
    elif used > FILLING_RATIO * limit:
        do = "raise maxmemory, add shards, or shorten redis.session_ttl_s"
        yield warning("redis.memory", where, f"{used / limit:.0%} of maxmemory used", _NO_ROOM_WHY, do)
    else:
        yield ok("redis.memory", where, f"{used / limit:.0%} of maxmemory used")


def _persistence(where: str, info: dict[str, str]) -> Findings:
    has_aof = info.get("aof_enabled") == "1"
    replicas = int(info.get("connected_slaves", "0"))
    for field, what in (
        ("aof_last_write_status", "the append-only file could not be written"),
        ("aof_last_bgrewrite_status", "the append-only file could not be rewritten"),
        ("rdb_last_bgsave_status", "the last snapshot failed"),
    ):
        if info.get(field, "ok") != "ok":
            yield error(
                "redis.persistence",
                where,
                what,
                "a restart loses state; with stop-writes-on-bgsave-error it takes no writes",
                "look at its log and disk",
            )
    if not has_aof and not replicas:
        yield warning(
            "redis.persistence",
            where,
            "neither an append-only file nor a replica",
            "after a restart of it the records of up to a day are folded again",
            "appendonly yes (appendfsync everysec), or a replica",
        )
    else:
        kept = [*(["append-only file"] if has_aof else []), *([f"{replicas} replica(s)"] if replicas else [])]
        yield ok("redis.persistence", where, ", ".join(kept))


async def _look(
    link: StandaloneLink | ClusterLink, command: str, look: Callable[[str, Any], Findings], found: list[Finding]
) -> bool:
    """Ask every server and look at each answer; return False where this user may not ask."""
    try:
        answers = await link.each((command,))
    except NotPermitted:
        return False
    for where, answer in answers:
        found.extend(look(f"{_WHERE} at {where}", answer))
    return True


def _of_time(where: str, answer: Any) -> Findings:
    seconds, micros = (int(part) for part in answer)
    apart_s = seconds + micros / 1e6 - time.time()
    if abs(apart_s) > APART_S:
        yield warning(
            "clock.redis",
            where,
            f"its clock is {abs(apart_s):.1f} s {'ahead of' if apart_s > 0 else 'behind'} this machine's",
            "times to live end early or late",
            "run NTP or chrony on both",
        )
    else:
        yield ok("clock.redis", where, f"within {APART_S:g} s of this machine's")


def _of_cluster(where: str, answer: Any) -> Findings:
    info = fields_of(answer)
    served, state = int(info.get("cluster_slots_ok", "0")), info.get("cluster_state", "?")
    if state != "ok" or served < SLOTS:
        yield error(
            "redis.slots",
            where,
            f"cluster_state is {state}, {served} of {SLOTS} slots are served",
            "sessions of some partitions can't be read or written: these wait",
            "redis-cli --cluster check, then fix",
        )
    else:
        yield ok("redis.slots", where, f"{served} slots are served")
