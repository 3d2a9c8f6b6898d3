"""What one address may hold: the twin adds up every body that is held, and clients that send slowly, over sockets."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator, Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.gateway.bounded_http import BoundedHttp, Guests, bounded_http
from stream.gateway.shares import Shares
from stream.http_server import server
from stream.transport import OutRecord
from tests.stream.gateway.doubles import ORIGIN, World, opened

MAX = 10


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 6), st.booleans()), max_size=60))
def test_each_key_holds_what_it_took_and_did_not_give_back(steps: list[tuple[str, int, bool]]) -> None:
    """A step: a key takes so much, or gives back what it took first."""
    shares = Shares(MAX)
    held: dict[str, list[int]] = {"a": [], "b": []}
    for key, amount, takes in steps:
        if takes:
            has_room = sum(held[key]) + amount <= MAX
            assert shares.has_room(key, amount) == has_room
            assert shares.take(key, amount) == has_room
            held[key] += [amount] * has_room
        elif held[key]:
            shares.give_back(key, held[key].pop(0))
        sums = [sum(taken) for taken in held.values()]
        assert (shares.largest, len(shares)) == (max(sums), sum(one > 0 for one in sums))
    for key, taken in held.items():
        for amount in taken:
            shares.give_back(key, amount)
    assert (len(shares), shares.largest) == (0, 0)


async def until(holds: Callable[[], bool]) -> None:
    while not holds():  # noqa: ASYNC110 - nothing tells it
        await asyncio.sleep(0.001)


@contextlib.asynccontextmanager
async def served(world: World, protocol: type[BoundedHttp] = BoundedHttp) -> AsyncIterator[int]:
    """Serve a gateway over its own protocol; yields the port, on all addresses of the loopback."""
    with socket.create_server(("0.0.0.0", 0)) as listener:
        serving = server(world.app, stop_s=1, http=protocol)
        task = asyncio.create_task(serving.serve(sockets=[listener]))
        await until(lambda: serving.started)
        try:
            yield listener.getsockname()[1]
        finally:
            serving.should_exit = True
            await task


async def connected(port: int, address: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection("127.0.0.1", port, local_addr=(address, 0))


def head_of(size: int) -> bytes:
    return (
        f"POST /v1/telemetry HTTP/1.1\r\nHost: x\r\nOrigin: {ORIGIN}\r\nContent-Type: text/plain\r\n"
        f"Content-Length: {size}\r\n\r\n"
    ).encode()


async def answer_of(reader: asyncio.StreamReader) -> tuple[int, dict[str, str], bytes]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode().splitlines()
    headers = dict(line.lower().split(": ", 1) for line in head[1:] if line)
    return int(head[0].split()[1]), headers, await reader.readexactly(int(headers["content-length"]))


@pytest.mark.parametrize("announced", [True, False], ids=["announced", "in chunks"])
async def test_an_address_that_sends_slowly_uses_up_its_share_and_nobody_elses(announced: bool) -> None:
    share, size = 1_048_576, 200_000
    world = World(ip_in_flight_bytes=share, max_in_flight_bytes=2 * share, body_timeout_s=60)
    session = await opened(world)
    body = json.dumps({"token": session["token"], "sent_at": world.now_ms, "events": [world.event(session)]}).encode()
    slow, readers = [], []
    async with served(world) as port:
        # Twice the share, and with it all the memory there is, in bodies that never end.
        for number in range(10):
            reader, writer = await connected(port, "127.0.0.2")
            if announced:
                # What is not taken is read all the same, for a client that still sends would not see the answer.
                writer.write(head_of(size) + b" " * (size - (number < share // size)))
            else:
                head = head_of(0).replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")
                writer.write(head + b"%x\r\n" % size + b" " * size + b"\r\n")
            await writer.drain()
            readers.append(reader)
            slow.append(writer)
            if number < share // size:
                held = (number + 1) * (size - 1)
                await until(lambda held=held: world.outlet.in_flight_bytes >= held)  # type: ignore[misc]
        said = [await answer_of(reader) for reader in readers[share // size :]]
        assert {status for status, _, _ in said} == {429}
        assert {(headers["retry-after"], json.loads(text)["scope"]) for _, headers, text in said} == {("1", "ip_bytes")}
        assert world.metrics.rate_limited.labels("ip_bytes")._value.get() >= len(said)
        world.gateway.observe()
        assert share - size < world.metrics.ip_in_flight_bytes._value.get() <= share

        reader, writer = await connected(port, "127.0.0.3")
        writer.write(head_of(len(body)) + body)
        assert (await answer_of(reader))[0] == 200
        writer.close()
        # Once they are gone, the address has its share again.
        for one in slow:
            one.close()
        await until(lambda: not world.outlet.in_flight_bytes)
        reader, writer = await connected(port, "127.0.0.2")
        writer.write(head_of(len(body)) + body)
        assert (await answer_of(reader))[0] == 200
        writer.close()
    world.gateway.observe()
    assert world.metrics.ip_in_flight_bytes._value.get() == 0


async def test_what_waits_for_kafka_is_its_address_s_too() -> None:
    world = World()
    session = await opened(world)
    before = world.bytes_read
    go_on, asked = asyncio.Event(), asyncio.Event()
    produce = world.producer.produce_batch

    async def slow(records: Sequence[OutRecord]) -> None:
        asked.set()
        await go_on.wait()
        await produce(records)

    world.producer.produce_batch = slow  # type: ignore[method-assign]
    waiting = asyncio.create_task(world.telemetry(session, [world.event(session)]))
    await asked.wait()
    world.gateway.observe()
    assert world.metrics.ip_in_flight_bytes._value.get() == world.bytes_read - before > 0
    go_on.set()
    assert (await waiting).status == 200
    world.gateway.observe()
    assert world.metrics.ip_in_flight_bytes._value.get() == 0


async def test_an_address_that_keeps_connections_uses_up_its_share_and_nobody_elses() -> None:
    world = World(trusted_proxies="127.0.0.9")
    turned_away: list[int] = []
    guests = Guests(3, world.gateway.edge.connection_key, lambda: turned_away.append(1))
    body = b"{}"

    async def status(port: int, address: str) -> int:
        reader, writer = await connected(port, address)
        try:
            writer.write(head_of(len(body)) + body)
            return (await answer_of(reader))[0]
        finally:
            writer.close()

    async with served(world, bounded_http(guests)) as port:
        # They say nothing at all, or begin a request and stop.
        kept = [await connected(port, "127.0.0.2") for _ in range(3)]
        kept[0][1].write(head_of(10) + b"{")
        await until(lambda: guests.shares.largest == 3)
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await status(port, "127.0.0.2")
        assert turned_away == [1]
        assert await status(port, "127.0.0.3") == 400
        # A proxy's connections are many people's.
        proxied = [await connected(port, "127.0.0.9") for _ in range(5)]
        assert await status(port, "127.0.0.9") == 400
        for _, writer in kept + proxied:
            writer.close()
        await until(lambda: not guests.shares)
        assert await status(port, "127.0.0.2") == 400
    assert turned_away == [1]
    assert BoundedHttp.guests is None


def test_connections_are_counted_as_rates_are() -> None:
    edge = World(trusted_proxies="10.0.0.0/8").gateway.edge
    peers = ["192.0.2.1", "2001:db8::1", "2001:db8::2:1", "::ffff:192.0.2.1", "10.1.2.3", "unix", None]
    keys = [edge.connection_key(peer) for peer in peers]
    assert keys == ["192.0.2.1", "2001:db8::", "2001:db8::", "192.0.2.1", None, None, None]
