"""Real sentinels that watch a primary and its replicas on 127.0.0.1, for tests."""

from __future__ import annotations

import shutil
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import redis

from tests.support.process import Deadline, end, free_ports, spawn
from tests.support.redis import RedisServer, find_server

SERVICE = "state"


class Sentinels:
    """`count` sentinels that agree by majority; use it as a context manager. They fail over in one to three seconds."""

    def __init__(self, primary: RedisServer, count: int = 3, options: Sequence[str] = ()) -> None:
        self.ports = free_ports(count)
        self._primary = primary
        self._options = options
        self._home = Path(tempfile.mkdtemp(prefix="tellwire-sentinel-"))
        self._processes: list[subprocess.Popen[bytes]] = []

    @property
    def url(self) -> str:
        """The URL of the service."""
        return f"redis+sentinel://{','.join(f'127.0.0.1:{port}' for port in self.ports)}/{SERVICE}"

    def __enter__(self) -> Self:
        quorum = len(self.ports) // 2 + 1
        try:
            for port in self.ports:
                file = self._home / f"{port}.conf"
                lines = [
                    f"port {port}",
                    "bind 127.0.0.1",
                    f"dir {self._home}",
                    f"sentinel monitor {SERVICE} 127.0.0.1 {self._primary.port} {quorum}",
                    f"sentinel down-after-milliseconds {SERVICE} 600",
                    f"sentinel failover-timeout {SERVICE} 3000",
                    *self._options,
                ]
                file.write_text("\n".join(lines) + "\n")
                self._processes.append(spawn([find_server(), str(file), "--sentinel"], self._home / f"{port}.log"))
            self._wait_known()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.stop()

    def stop(self) -> None:
        for process in self._processes:
            end(process, signal.SIGKILL)
        self._processes.clear()
        shutil.rmtree(self._home, ignore_errors=True)

    def kill(self, number: int) -> None:
        """End one sentinel."""
        end(self._processes[number], signal.SIGKILL)

    def wait_master(self, port: int, seconds: float = 20.0) -> None:
        """Wait until all sentinels that run name the server at `port`."""
        deadline = Deadline(seconds, pause_s=0.05)
        while deadline.waits():
            alive = [p for p, process in zip(self.ports, self._processes, strict=True) if process.poll() is None]
            if all(self._master(each) == port for each in alive):
                return
        raise AssertionError(f"the sentinels did not name port {port} in {seconds} s")

    def _wait_known(self) -> None:
        deadline = Deadline(20, pause_s=0.05)
        while deadline.waits():
            if all(self._knows_all(port) for port in self.ports):
                return
        raise RuntimeError("the sentinels did not find each other in time")

    def _master(self, port: int) -> int | None:
        with _client(port) as client:
            found = client.execute_command("SENTINEL GET-MASTER-ADDR-BY-NAME", SERVICE)
        return None if found is None else int(found[1])

    def _knows_all(self, port: int) -> bool:
        try:
            with _client(port) as client:
                others = client.execute_command("SENTINEL SENTINELS", SERVICE)
                replicas = client.execute_command("SENTINEL REPLICAS", SERVICE)
        except redis.exceptions.RedisError:
            return False
        return len(others) == len(self.ports) - 1 and len(replicas) >= 1


def _client(port: int) -> redis.Redis:
    return redis.Redis(host="127.0.0.1", port=port, socket_timeout=2, protocol=2)
