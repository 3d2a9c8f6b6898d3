"""A Redis Cluster of three masters on 127.0.0.1, with a replica each where asked for, for tests."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self

import redis

from tests.support.process import Deadline, free_ports
from tests.support.redis import RedisServer

_SLOTS = 16_384


class RedisClusterServers:
    """Three masters that share the slots evenly; use it as a context manager. `nodes` are plain servers.

    With `replicas`, each master has one, in `replicas` at the same place, and the cluster fails over by itself about
    two seconds after a master is gone.
    """

    def __init__(self, *, replicas: bool = False) -> None:
        self._buses = free_ports(6 if replicas else 3)
        servers = [
            RedisServer(
                {
                    "cluster-enabled": "yes",
                    "cluster-port": str(bus),
                    "cluster-node-timeout": "1000",
                    "cluster-require-full-coverage": "no",
                    "cluster-replica-validity-factor": "0",
                }
            )
            for bus in self._buses
        ]
        self.nodes = servers[:3]
        self.replicas = servers[3:]

    @property
    def url(self) -> str:
        return self.nodes[0].url

    def __enter__(self) -> Self:
        try:
            for server in (*self.nodes, *self.replicas):
                server.start()
            for number, node in enumerate(self.nodes):
                with node.client() as client:
                    first, last = (number * _SLOTS // 3, (number + 1) * _SLOTS // 3 - 1)
                    client.execute_command("CLUSTER ADDSLOTSRANGE", first, last)
            with self.nodes[0].client() as client:
                for node, bus in zip([*self.nodes, *self.replicas][1:], self._buses[1:], strict=True):
                    client.execute_command("CLUSTER MEET", "127.0.0.1", node.port, bus)
            self._wait(lambda: all(self._agrees(node) for node in (*self.nodes, *self.replicas)), "agree")
            for master, replica in zip(self.nodes, self.replicas, strict=False):
                with master.client() as leader, replica.client() as follower:
                    ask: Any = leader.execute_command
                    tell: Any = follower.execute_command
                    tell("CLUSTER REPLICATE", ask("CLUSTER MYID"))
            self._wait(lambda: all(self._follows(replica) for replica in self.replicas), "follow their masters")
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.stop()

    def stop(self) -> None:
        for node in (*self.nodes, *self.replicas):
            node.stop()

    def flush(self) -> None:
        for node in self.nodes:
            with node.client() as client:
                client.flushall()

    def owner(self, key: bytes) -> RedisServer:
        """Return the node that holds a key, as a node that answers says."""
        with self._anybody() as client:
            ask: Any = client.execute_command
            slot = ask("CLUSTER KEYSLOT", key)
            for first, last, (_, port, *_rest), *_replicas in ask("CLUSTER SLOTS"):
                if first <= slot <= last:
                    return next(node for node in (*self.nodes, *self.replicas) if node.port == port)
        raise LookupError("no node has this slot")

    def begin_move(self, key: bytes, target: RedisServer) -> tuple[int, bytes]:
        """Begin to give the slot of `key` to another master: keys are still where they were. Return slot and its id."""
        source = self.owner(key)
        with source.client() as old, target.client() as new:
            slot = int(old.execute_command("CLUSTER KEYSLOT", key))
            old_id, new_id = (asked("CLUSTER MYID").decode() for asked in (old.execute_command, new.execute_command))
            new.execute_command("CLUSTER SETSLOT", slot, "IMPORTING", old_id)
            old.execute_command("CLUSTER SETSLOT", slot, "MIGRATING", new_id)
        return slot, new_id

    def move(self, key: bytes, target: RedisServer) -> None:
        """Give the slot of `key`, with all its keys, to another master, as a resharding does."""
        source = self.owner(key)
        slot, new_id = self.begin_move(key, target)
        self.end_move(slot, new_id, source, target)

    def end_move(self, slot: int, new_id: bytes, source: RedisServer, target: RedisServer) -> None:
        """Move the keys of a slot and tell every master whose it is now."""
        with source.client() as old:
            while keys := old.execute_command("CLUSTER GETKEYSINSLOT", slot, 100):
                old.execute_command("MIGRATE", "127.0.0.1", target.port, "", 0, 5000, "KEYS", *keys)
        for node in (target, source, *self.nodes):
            with node.client() as client:
                client.execute_command("CLUSTER SETSLOT", slot, "NODE", new_id)

    @contextmanager
    def _anybody(self) -> Iterator[redis.Redis]:
        for node in (*self.nodes, *self.replicas):
            client = node.client(timeout_s=0.5)
            try:
                client.ping()
            except redis.exceptions.RedisError:
                client.close()
                continue
            with client:
                yield client
                return
        raise LookupError("no node of the cluster answers")

    @staticmethod
    def _wait(condition: object, what: str) -> None:
        deadline = Deadline(30, pause_s=0.05)
        while deadline.waits():
            if condition():  # type: ignore[operator]
                return
        raise RuntimeError(f"the cluster's nodes did not {what} in time")

    def _agrees(self, node: RedisServer) -> bool:
        text = self._info(node)
        return "cluster_state:ok" in text and f"cluster_known_nodes:{len(self.nodes) + len(self.replicas)}" in text

    @staticmethod
    def _info(node: RedisServer) -> str:
        with node.client() as client:
            try:
                info = client.execute_command("CLUSTER INFO")
            except redis.exceptions.ConnectionError:
                return ""
        if isinstance(info, dict):
            return "\n".join(f"{name}:{value}" for name, value in info.items())
        return info.decode() if isinstance(info, bytes) else str(info)

    @staticmethod
    def _follows(replica: RedisServer) -> bool:
        with replica.client() as client:
            return bool(client.info("replication").get("master_link_status") == "up")
