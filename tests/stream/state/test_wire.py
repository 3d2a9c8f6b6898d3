"""One connection to Redis: packing and parsing against redis-py's own, answers cut anywhere, and doubt."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, cast

import pytest
import uvloop
from hypothesis import given
from hypothesis import strategies as st
from redis import exceptions
from redis.asyncio.connection import Connection

from stream.state.wire import Command, Wire, pack

Reply = Any
Part = bytes | str | int

_texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
_parts = st.one_of(st.binary(max_size=70), _texts, st.integers(-(2**63), 2**63 - 1))
_names = st.sampled_from(["GET", "EVALSHA", "SCRIPT LOAD", "CLUSTER SLOTS"])
_replies = st.recursive(
    st.one_of(st.none(), st.binary(max_size=40), st.integers(-(2**63), 2**63 - 1)),
    lambda inner: st.lists(inner, max_size=4),
    max_leaves=12,
)
_errors = st.sampled_from(
    [
        ("NOSCRIPT No matching script.", exceptions.NoScriptError),
        ("OOM command not allowed", exceptions.OutOfMemoryError),
        ("MOVED 3999 127.0.0.1:6381", exceptions.MovedError),
        ("ERR whatever", exceptions.ResponseError),
    ]
)


def encoded(reply: Reply) -> bytes:
    """The protocol's rules for answers, word by word."""
    if reply is None:
        return b"$-1\r\n"
    if isinstance(reply, tuple):
        return b"-%b\r\n" % reply[0].encode()
    if isinstance(reply, int):
        return b":%d\r\n" % reply
    if isinstance(reply, bytes):
        return b"$%d\r\n%b\r\n" % (len(reply), reply)
    return b"*%d\r\n%b" % (len(reply), b"".join(map(encoded, reply)))


class Transport:
    """Keeps what is sent."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.is_aborted = False

    def set_protocol(self, protocol: object) -> None:
        pass

    def write(self, data: bytes) -> None:
        self.sent.append(data)

    def abort(self) -> None:
        self.is_aborted = True


class Writer:
    def __init__(self) -> None:
        self.transport = Transport()


class Connected:
    """What redis-py leaves behind after connecting."""

    def __init__(self) -> None:
        self._writer: Writer | None = Writer()
        self._reader: object = object()


def wired() -> tuple[Wire, Transport]:
    connected = Connected()
    assert connected._writer is not None
    transport = connected._writer.transport
    return Wire(cast("Connection", connected)), transport


@given(st.lists(st.tuples(_names, st.lists(_parts, max_size=6)), min_size=1, max_size=4))
def test_commands_are_packed_as_redis_py_packs_them(found: list[tuple[str, list[Part]]]) -> None:
    commands: list[Command] = [(name, *parts) for name, parts in found]
    assert pack(commands) == b"".join(Connection().pack_commands(commands))


@given(st.lists(st.one_of(_replies, _errors), min_size=1, max_size=5), st.data())
def test_answers_come_out_whole_wherever_they_are_cut(replies: list[Reply], data: st.DataObject) -> None:
    stream = b"".join(map(encoded, replies))
    cuts = sorted(data.draw(st.sets(st.integers(1, max(1, len(stream) - 1)), max_size=8)))

    async def run() -> list[Reply]:
        wire, transport = wired()
        asked = asyncio.ensure_future(wire.ask(b"x", len(replies), 5.0))
        await asyncio.sleep(0)
        assert transport.sent == [b"x"]
        for begin, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
            assert not asked.done()
            wire.data_received(stream[begin:end])
        return await asked

    found = asyncio.run(run())
    assert len(found) == len(replies)
    for answer, reply in zip(found, replies, strict=True):
        if isinstance(reply, tuple):
            assert type(answer) is reply[1]
        else:
            assert answer == reply


async def asking(count: int = 1, limit_s: float = 5.0) -> tuple[Wire, Transport, asyncio.Future[list[Reply]]]:
    wire, transport = wired()
    asked = asyncio.ensure_future(wire.ask(b"x", count, limit_s))
    await asyncio.sleep(0)
    return wire, transport, asked


@pytest.mark.parametrize(
    ("stream", "error"),
    [
        (b":1\r\n:2\r\n", exceptions.ConnectionError),
        (b":1\r\n$", exceptions.ConnectionError),
        (b"?what\r\n", exceptions.InvalidResponse),
        (b"-LOADING Redis is loading the dataset in memory\r\n", exceptions.BusyLoadingError),
        (b"-ERR max number of clients reached\r\n", exceptions.ConnectionError),
    ],
)
async def test_what_was_not_asked_and_what_is_no_answer_is_an_error(stream: bytes, error: type[Exception]) -> None:
    wire, _, asked = await asking()
    wire.data_received(stream)
    with pytest.raises(error):
        await asked
    with pytest.raises(exceptions.ConnectionError):
        await wire.ask(b"y", 1, 5.0)  # in doubt for good


async def test_an_end_without_an_answer_is_told() -> None:
    for reason in (None, ConnectionResetError()):
        wire, _, asked = await asking(2)
        wire.data_received(b":1\r\n")
        wire.connection_lost(reason)
        with pytest.raises((exceptions.ConnectionError, ConnectionResetError)):
            await asked
        assert wire.is_lost


async def test_what_comes_while_nobody_asks_ends_the_connection() -> None:
    wire, transport = wired()
    wire.data_received(b":1\r\n")
    assert wire.is_lost
    assert transport.is_aborted


async def test_a_late_answer_is_nobody_elses() -> None:
    wire, _, asked = await asking(limit_s=0.01)
    with pytest.raises(TimeoutError):
        await asked
    wire.data_received(b":1\r\n")
    with pytest.raises(exceptions.ConnectionError):
        await wire.ask(b"y", 1, 5.0)


async def test_a_cancelled_asker_leaves_its_answer_to_nobody() -> None:
    wire, _, asked = await asking()
    asked.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asked
    with pytest.raises(exceptions.ConnectionError):
        await wire.ask(b"y", 1, 5.0)
    wire.data_received(b":1\r\n")


@pytest.mark.parametrize("runner", [asyncio.run, uvloop.run])
def test_a_real_connection_is_taken_over(redis_server: Any, runner: Any) -> None:
    async def run() -> Sequence[Reply]:
        connection = Connection(host="127.0.0.1", port=redis_server.port, protocol=2, driver_info=None)
        await connection.connect()  # type: ignore[no-untyped-call]
        wire = Wire(connection)
        del connection
        value = b"x" * 3_000_000  # many reads and writes
        [_, found] = await wire.ask(pack([("SET", "wire", value), ("GET", "wire")]), 2, 5.0)
        assert found == value
        answers = await wire.ask(pack([("PING",), ("ECHO", b"a\r\nb")]), 2, 5.0)
        wire.drop()
        await asyncio.sleep(0.01)
        return answers

    assert runner(run()) == [b"PONG", b"a\r\nb"]
