"""A Redis Cluster of three masters without replicas on 127.0.0.1, for tests."""

from __future__ import annotations

from types import TracebackType
from typing import Self

import redis

from tests.support.process import Deadline, free_ports
from tests.support.redis import RedisServer

_SLOTS = 16_384


class RedisClusterServers:
    """Three masters that share the slots evenly; use it as a context manager. `nodes` are plain servers."""

    def __init__(self) -> None:
        self._buses = free_ports(3)
        self.nodes = [
            RedisServer(
                {
                    "cluster-enabled": "yes",
                    "cluster-port": str(bus),
                    "cluster-node-timeout": "1000",
                    "cluster-require-full-coverage": "no",
                }
            )
            for bus in self._buses
        ]

    @property
    def url(self) -> str:
        return self.nodes[0].url

    def __enter__(self) -> Self:
        try:
            for number, node in enumerate(self.nodes):
                node.start()
                with node.client() as client:
                    first, last = (number * _SLOTS // 3, (number + 1) * _SLOTS // 3 - 1)
                    client.execute_command("CLUSTER ADDSLOTSRANGE", first, last)
            with self.nodes[0].client() as client:
                for node, bus in zip(self.nodes[1:], self._buses[1:], strict=True):
                    client.execute_command("CLUSTER MEET", "127.0.0.1", node.port, bus)
            deadline = Deadline(20, pause_s=0.05)
            while deadline.waits():
                if all(self._agrees(node) for node in self.nodes):
                    break
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.stop()

    def stop(self) -> None:
        for node in self.nodes:
            node.stop()

    def flush(self) -> None:
        for node in self.nodes:
            with node.client() as client:
                client.flushall()

    def owner(self, key: bytes) -> RedisServer:
        """Return the node that holds a key."""
        with self.nodes[0].client() as client:
            slot = client.execute_command("CLUSTER KEYSLOT", key)
            for first, last, (_, port, *_rest), *_replicas in client.execute_command("CLUSTER SLOTS"):
                if first <= slot <= last:
                    return next(node for node in self.nodes if node.port == port)
        raise LookupError("no node has this slot")

    def move(self, key: bytes, target: RedisServer) -> None:
        """Give the slot of `key`, with all its keys, to another master, as a resharding does."""
        source = self.owner(key)
        with source.client() as old, target.client() as new:
            slot = old.execute_command("CLUSTER KEYSLOT", key)
            old_id, new_id = (client.execute_command("CLUSTER MYID").decode() for client in (old, new))
            new.execute_command("CLUSTER SETSLOT", slot, "IMPORTING", old_id)
            old.execute_command("CLUSTER SETSLOT", slot, "MIGRATING", new_id)
            while keys := old.execute_command("CLUSTER GETKEYSINSLOT", slot, 100):
                old.execute_command("MIGRATE", "127.0.0.1", target.port, "", 0, 5000, "KEYS", *keys)
            for node in self.nodes:
                with node.client() as client:
                    client.execute_command("CLUSTER SETSLOT", slot, "NODE", new_id)

    @staticmethod
    def _agrees(node: RedisServer) -> bool:
        with node.client() as client:
            try:
                info = client.execute_command("CLUSTER INFO")
            except redis.exceptions.ConnectionError:
                return False
        text = info.decode() if isinstance(info, bytes) else str(info)
        return ("cluster_state:ok" in text or "'cluster_state': 'ok'" in text) and (
            "cluster_known_nodes:3" in text or "'cluster_known_nodes': '3'" in text
        )
