"""`python -m bench.gateway`: what the gateway adds to a plain produce, and what a request costs it.

Real Kafka. One open loop sends at a fixed pace, whatever comes back: by turns one request to the gateway, and one
record straight to Kafka with the same client settings and the same value (the echo). Each is timed from when it was due
to its acknowledgement. Then a closed loop over many connections shows how much one process takes, and its CPU time a
request.
"""

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from bench.figures import percentile
from schemas.envelope import encode
from schemas.telemetry import Telemetry
from schemas.topics import TELEMETRY_TOPIC
from stream import topics
from stream.simulation.population import population
from stream.transport import OutRecord, TransportOptions
from stream.transport.producer import Producer
from tests.support.kafka import KafkaBroker
from tests.support.process import end, free_ports, spawn, tail

SECRET = "a-secret-of-the-benchmark-0123456789"  # noqa: S105 - of a gateway that lives for the benchmark
ORIGIN = "https://shop.example"
EVENTS = 400
"""Different events that are sent, over and over; each as a session's first."""
CONNECTIONS = 64
START_S = 60.0
_ADDED = ("tenant", "flow", "observed_at", "account_ref", "device_ref", "ref_key_version", "network")


@dataclass
class Loop:
    """What one open loop measured: latencies, ms, of the gateway and of the echo beside it."""

    gateway: list[float] = field(default_factory=list)
    echo: list[float] = field(default_factory=list)


class Http:
    """Keep-alive connections to the gateway; one request on each at a time."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def post(self, body: bytes) -> None:
        """Send one telemetry request and read its answer. Raises RuntimeError unless all was accepted."""
        reader, writer = self._idle.pop() if self._idle else await asyncio.open_connection("127.0.0.1", self._port)
        head = (
            f"POST /v1/telemetry HTTP/1.1\r\nHost: 127.0.0.1\r\nOrigin: {ORIGIN}\r\nAccept: */*\r\n"
            "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:130.0) Gecko/20100101 Firefox/130.0\r\n"
            "Accept-Language: en-GB,en;q=0.5\r\nAccept-Encoding: gzip, deflate, br\r\nSec-Fetch-Mode: cors\r\n"
            "Sec-Fetch-Site: cross-site\r\nSec-Fetch-Dest: empty\r\nContent-Type: text/plain;charset=UTF-8\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        writer.write(head.encode() + body)
        answer = await reader.readuntil(b"\r\n\r\n")
        length = int(answer.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
        said = await reader.readexactly(length)
        if not answer.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(f"the gateway refused: {said.decode()}")
        self._idle.append((reader, writer))


def open_session(port: int) -> dict[str, str]:
    """Open a session as an app's server does."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/v1/sessions",
        b'{"flow":"signup"}',
        {"Authorization": f"Bearer {SECRET}", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310 - likewise
        opened: dict[str, str] = json.load(answer)
        return opened


def bodies(port: int) -> tuple[list[Callable[[], bytes]], list[bytes]]:
    """Return makers of requests, each with one event of a session of its own, and the values for the echo."""
    people = population(7, start_ms=int(time.time() * 1000), sessions_per_s=50.0, bot_ratio=0.2)
    made: list[Callable[[], bytes]] = []
    values: list[bytes] = []
    for _ in range(EVENTS):
        event: Telemetry = next(people).event
        session = open_session(port)
        sent = {name: value for name, value in json.loads(encode(event)).items() if name not in _ADDED}
        sent |= {"session_id": session["session_id"], "nonce": session["nonce"]}
        made.append(partial(request_body, sent, session["token"]))
        values.append(encode(event))
    return made, values


def request_body(event: dict[str, Any], token: str) -> bytes:
    """Return the body that sends an event now."""
    now = int(time.time() * 1000)
    return json.dumps({"token": token, "sent_at": now, "events": [event | {"effective_at": now - 500}]}).encode()


async def open_loop(port: int, bootstrap: str, per_s: float, seconds: float) -> Loop:
    """Send by turns, `per_s` of each a second."""
    makers, values = bodies(port)
    http, producer = Http(port), Producer(bootstrap, TransportOptions(produce_deadline_s=20.0))
    producer.start()
    found, running = Loop(), set()

    async def timed(due: float, kept: list[float], send: Any) -> None:
        await send
        kept.append((time.perf_counter() - due) * 1e3)

    await asyncio.gather(*(http.post(makers[n % EVENTS]()) for n in range(CONNECTIONS)))
    await producer.produce_batch([OutRecord(TELEMETRY_TOPIC, values[0], b"warm")])
    began = time.perf_counter() + 0.2
    for number in range(int(per_s * seconds)):
        body, value = makers[number % EVENTS](), values[number % EVENTS]
        record = OutRecord(TELEMETRY_TOPIC, value, str(number).encode())
        sends = [(found.gateway, http.post(body)), (found.echo, producer.produce_batch([record]))]
        for turn, (kept, send) in enumerate(sends if number % 2 else reversed(sends)):
            due = began + (number + turn / 2) / per_s
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            task = asyncio.create_task(timed(due, kept, send))
            running.add(task)
            task.add_done_callback(running.discard)
    await asyncio.gather(*running)
    await producer.close()
    return found


async def closed_loop(port: int, seconds: float, cpu_s: Callable[[], float]) -> tuple[float, float]:
    """Return requests a second over many connections, each with one request at a time, and CPU µs a request."""
    makers, _ = bodies(port)
    http, done = Http(port), 0
    await asyncio.gather(*(http.post(makers[n]()) for n in range(CONNECTIONS)))
    began, before = time.perf_counter(), cpu_s()
    until = began + seconds

    async def one(number: int) -> None:
        nonlocal done
        while time.perf_counter() < until:
            await http.post(makers[number % EVENTS]())
            number += CONNECTIONS
            done += 1

    await asyncio.gather(*(one(number) for number in range(CONNECTIONS)))
    return done / (time.perf_counter() - began), (cpu_s() - before) / done * 1e6


def cpu_of(process: subprocess.Popen[bytes]) -> float:
    """CPU time that a process has used, s."""
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def start_gateway(bootstrap: str, folder: Path, port: int) -> subprocess.Popen[bytes]:
    """Start a gateway whose rates are no bound here, and wait for it. Raises RuntimeError where it does not come."""
    settings = {
        "KAFKA__BOOTSTRAP_SERVERS": bootstrap,
        "KEYS__REF_KEY": SECRET,
        "METRICS__ENABLED": "false",
        "GATEWAY__PORT": str(port),
        "GATEWAY__TENANTS": json.dumps({"shop": SECRET}),
        "GATEWAY__ORIGINS": json.dumps({ORIGIN: "shop"}),
        "GATEWAY__TOKEN_KEY": SECRET,
        **{f"GATEWAY__{scope}_BURST": "1000000" for scope in ("SESSION", "IP", "ORIGIN")},
    }
    log = folder / "gateway.log"
    env = {f"TELLWIRE_{name}": value for name, value in settings.items()}
    process = spawn([sys.executable, "-m", "stream", "gateway"], log, env)
    deadline = time.monotonic() + START_S
    while "gateway listening" not in (log.read_text() if log.exists() else ""):
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"the gateway did not start:\n{tail(log)}")
        time.sleep(0.05)
    return process


def main() -> None:
    """Measure and print; repeat, so that the spread is seen."""
    parser = argparse.ArgumentParser(prog="python -m bench.gateway", description=__doc__)
    parser.add_argument("--per-s", type=float, nargs="+", default=[50.0, 200.0], help="paces of the open loop")
    parser.add_argument("--seconds", type=float, default=8.0, help="length of each loop")
    parser.add_argument("--repeats", type=int, default=3)
    asked = parser.parse_args()
    with KafkaBroker(quick_start=False) as broker, tempfile.TemporaryDirectory() as folder:
        topics.apply({"bootstrap.servers": broker.bootstrap}, replication_factor=-1)
        port = free_ports(1)[0]
        process = start_gateway(broker.bootstrap, Path(folder), port)
        try:
            for per_s in asked.per_s:
                for _ in range(asked.repeats):
                    _tell(per_s, asyncio.run(open_loop(port, broker.bootstrap, per_s, asked.seconds)))
            for _ in range(asked.repeats):
                rate, cpu_us = asyncio.run(closed_loop(port, asked.seconds, lambda: cpu_of(process)))
                print(f"closed loop, {CONNECTIONS} connections: {rate:.0f} requests/s, {cpu_us:.0f} us CPU a request")
        finally:
            end(process)


def _tell(per_s: float, found: Loop) -> None:
    ours, plain = sorted(found.gateway), sorted(found.echo)
    cells = []
    for share in (0.5, 0.95, 0.99):
        one, other = percentile(ours, share), percentile(plain, share)
        cells.append(f"p{100 * share:g} {one:.2f} / {other:.2f} ms (x{one / other:.1f}, {one - other:+.2f})")
    mean = statistics.fmean(ours) / statistics.fmean(plain)
    print(f"open loop {per_s:g}/s, gateway / echo: {'  '.join(cells)}  mean x{mean:.1f}", flush=True)


if __name__ == "__main__":
    main()
