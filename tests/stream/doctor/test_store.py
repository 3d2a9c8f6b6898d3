"""The doctor on real Redis servers: each seeded fault is told, with its cure."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any

import pytest

from schemas.topics import TELEMETRY_TOPIC
from stream.doctor import traffic
from stream.doctor.finding import Finding, Level
from stream.doctor.store import look_at_store
from stream.state import ConnectionOptions
from tests.stream.doctor.seeded import seeded
from tests.support.process import Deadline
from tests.support.proxy import FaultProxy
from tests.support.redis import RedisServer

seeds = pytest.mark.seeds


async def of_server(server: RedisServer, **options: Any) -> dict[str, Finding]:
    found = await look_at_store(ConnectionOptions(url=server.url, timeout_s=1.0, **options))
    for finding in found:
        assert finding.level is Level.OK or (finding.why and finding.do), finding
    # How slow a busy machine is, is another matter.
    return {f.check: f for f in found if f.level is not Level.OK and f.check != "redis.slow"}


SAFE = {"appendonly": "yes", "maxmemory": "100mb", "maxmemory-policy": "noeviction"}


async def test_a_server_that_is_well() -> None:
    with RedisServer(SAFE) as server:
        assert await of_server(server) == {}


@pytest.mark.parametrize(
    ("changed", "check", "level"),
    [
        seeded({"maxmemory-policy": "allkeys-lru"}, "redis.usable", Level.ERROR),
        seeded({"maxmemory": "0"}, "redis.memory", Level.WARNING),
        seeded({"appendonly": "no"}, "redis.persistence", Level.WARNING),
    ],
)
async def test_a_server_that_is_set_up_badly(changed: dict[str, str], check: str, level: Level) -> None:
    with RedisServer(SAFE | changed) as server:
        found = await of_server(server)
        assert {name: finding.level for name, finding in found.items()} == {check: level}


@seeds("warning redis.memory", "error redis.memory")
async def test_a_server_that_is_nearly_full() -> None:
    with RedisServer(SAFE) as server:
        with server.client() as client:
            used = int(client.info("memory")["used_memory"])
            client.config_set("maxmemory", int(used * 1.08))
        assert (await of_server(server))["redis.memory"].level is Level.WARNING
        with server.client() as client:
            client.config_set("maxmemory", int(used * 0.8))
        assert (await of_server(server))["redis.memory"].level is Level.ERROR


@seeds("warning redis.evicted")
async def test_a_server_that_evicted() -> None:
    with RedisServer(SAFE) as server:
        with server.client() as client:
            client.config_set("maxmemory-policy", "allkeys-lru")
            client.config_set("maxmemory", "4mb")
            for number in range(300):
                client.set(f"k{number}", b"x" * 20_000)
            client.config_set("maxmemory", "100mb")
            client.config_set("maxmemory-policy", "noeviction")
        assert set(await of_server(server)) == {"redis.evicted"}


@seeds("error redis.reachable")
async def test_a_server_that_is_not_there() -> None:
    found = await look_at_store(ConnectionOptions(url="redis://127.0.0.1:1/0", timeout_s=0.5))
    assert [(finding.check, finding.level) for finding in found] == [("redis.reachable", Level.ERROR)]


@seeds("error redis.usable")
async def test_a_server_of_another_mode() -> None:
    with RedisServer(SAFE) as server:
        found = await of_server(server, cluster=True)
        assert (set(found), found["redis.usable"].do) == ({"redis.usable"}, "turn the cluster option off")


@seeds("error redis.role")
async def test_a_replica_takes_no_writes() -> None:
    with RedisServer(SAFE) as master, RedisServer(SAFE | {"replicaof": f"127.0.0.1 {master.port}"}) as replica:
        finding = (await of_server(replica))["redis.role"]
        assert (finding.level, finding.do) == (Level.ERROR, "redis.url must lead to the master")
        assert "redis.role" not in await of_server(master)


@seeds("error redis.persistence")
async def test_a_server_that_can_not_write_to_its_disk(tmp_path: Path) -> None:
    folder = tmp_path / "gone"
    folder.mkdir()
    with RedisServer(SAFE | {"dir": str(folder)}) as server, server.client() as client:
        shutil.rmtree(folder)
        client.bgsave()
        deadline = Deadline(20)
        while deadline.waits() and client.info("persistence")["rdb_last_bgsave_status"] == "ok":
            pass
        finding = (await of_server(server))["redis.persistence"]
        assert (finding.level, finding.what) == (Level.ERROR, "the last snapshot failed")


@seeds("warning redis.slow")
async def test_a_server_that_is_far_away() -> None:
    with RedisServer(SAFE) as server, FaultProxy(("127.0.0.1", server.port), latency_s=0.02) as far:
        found = await look_at_store(ConnectionOptions(url=f"redis://127.0.0.1:{far.port}/0", timeout_s=5.0))
        assert "redis.slow" in {finding.check for finding in found}


@seeds("warning redis.permissions")
async def test_a_user_who_may_not_ask_for_its_state() -> None:
    with RedisServer(SAFE) as server:
        with server.client() as client:
            client.execute_command("ACL SETUSER worker on >secret ~* &* +@all -info -time")
        options = ConnectionOptions(url=server.url.replace("redis://", "redis://worker:secret@"), timeout_s=1.0)
        found = await look_at_store(options)
        told = {finding.check for finding in found if finding.level is not Level.OK}
        assert told - {"redis.slow"} == {"redis.permissions"}


@seeds("error redis.slots")
async def test_a_node_of_a_cluster_without_its_slots() -> None:
    alone = {"cluster-enabled": "yes", "cluster-require-full-coverage": "no"}
    with RedisServer(alone | SAFE) as server:
        with server.client() as client:
            client.execute_command("CLUSTER ADDSLOTSRANGE", 0, 100)
        finding = (await of_server(server, cluster=True))["redis.slots"]
        assert "101 of 16384 slots" in finding.what


@seeds("warning clock.redis", "error clock.broker")
async def test_a_clock_that_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    real = time.time
    monkeypatch.setattr("stream.doctor.store.time.time", lambda: real() - 90)
    with RedisServer(SAFE) as server:
        finding = (await of_server(server))["clock.redis"]
        assert "90.0 s ahead" in finding.what
    (ahead,) = traffic._ahead(TELEMETRY_TOPIC, int(real() * 1000))
    assert (ahead.check, ahead.level) == ("clock.broker", Level.ERROR)
