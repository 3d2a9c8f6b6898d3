"""An outage of the store leaves nothing in memory: every failed try goes at once, and so does what it carried."""

from __future__ import annotations

import asyncio
import gc
import socket
import subprocess
import sys
import textwrap
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager

import pytest
import uvloop

from stream.state import ConnectionOptions, RedisStore, StoreError, Watermark
from stream.state.cluster import ClusterLink
from stream.state.connections import StandaloneLink
from stream.state.redis import link_to
from stream.state.server_checks import check_connection

Answers = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@pytest.fixture
def only_reference_counts() -> Iterator[None]:
    """No collection: what is in a cycle stays."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def test_chunks_and_failed_tries_of_an_outage_are_gone_after_it() -> None:
    """The worker's waiting and its link, its collector, a closed port; then the server comes back.

    In a process of its own: it changes the collector for good.
    """
    script = """
        import asyncio, gc, itertools, socket, weakref
        import uvloop
        from prometheus_client import CollectorRegistry
        from stream import patience
        from stream.garbage import YOUNG_OBJECTS, quiet_garbage_collector
        from stream.metrics import Metrics
        from stream.state import ConnectionOptions, StoreError
        from stream.state.connections import StandaloneLink
        from stream.state.stats import StoreStats
        from stream.waits import Wait

        TRIES, CHUNKS = 60, 4
        patience.FIRST_PAUSE_S = patience.LONGEST_PAUSE_S = 0.0

        class Chunk:
            partition = 0
            def is_current(self): return True

        class Owned:
            def __init__(self): self.wait = Wait()

        class Payload(str): pass

        async def main():
            closed = socket.socket()
            closed.bind(("127.0.0.1", 0))
            port = closed.getsockname()[1]
            link = StandaloneLink(ConnectionOptions(url=f"redis://127.0.0.1:{port}"), StoreStats())
            waiting = patience.Patience(Metrics(CollectorRegistry()))
            chunks, tries, calls = [], [], itertools.count()

            async def write(chunk, commands):
                if next(calls) % 7 == 6:
                    young = [[i] for i in range(2 * YOUNG_OBJECTS)]  # a look, just while this chunk is tried
                try:
                    return await link.exchange(commands)
                except StoreError as error:
                    tries.append(weakref.ref(error))
                    if len(tries) == TRIES * CHUNKS:
                        recovered.set()
                    raise

            async def process():
                chunk, payload = Chunk(), Payload("x" * 1000)
                chunks.extend([weakref.ref(chunk), weakref.ref(payload)])
                return await waiting.call(Owned(), chunk, lambda: write(chunk, [("SET", "a", payload)]))

            async def server(reader, writer):
                while await reader.read(100_000):
                    writer.write(b"+OK\\r\\n")

            recovered = asyncio.Event()
            tasks = [asyncio.ensure_future(process()) for _ in range(CHUNKS)]
            await recovered.wait()
            listening = await asyncio.start_server(server, sock=closed)
            assert await asyncio.gather(*tasks) == [[b"OK"]] * CHUNKS
            del tasks
            await link.close()
            listening.close()
            await asyncio.sleep(0.05)
            return chunks, tries

        quiet_garbage_collector()
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            chunks, tries = runner.run(main())
        gc.collect()
        assert len(tries) >= TRIES * CHUNKS
        alive = [sum(one() is not None for one in some) for some in (chunks, tries)]
        assert alive == [0, 0], alive
        """
    subprocess.run([sys.executable, "-c", textwrap.dedent(script)], check=True, timeout=60)


async def _hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(1000)
    writer.close()


async def _be_silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while await reader.read(1000):
        pass
    writer.close()


def _say(answer: bytes) -> Answers:
    async def say(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(1000):
            writer.write(answer)
        writer.close()

    return say


@asynccontextmanager
async def _server(answers: Answers | None) -> AsyncIterator[int]:
    """Yield the port of a server that answers so; of a closed one for None."""
    held = socket.socket()
    held.bind(("127.0.0.1", 0))
    if answers is None:
        yield held.getsockname()[1]
        held.close()
        return
    server = await asyncio.start_server(answers, sock=held)
    yield server.sockets[0].getsockname()[1]
    server.close()


@pytest.mark.parametrize("kind", ["commit", "each", "cluster", "greeted", "sentinel"])
@pytest.mark.parametrize(
    "answers",
    [None, _hang_up, _be_silent, _say(b"-OOM command not allowed\r\n"), _say(b"-LOADING wait\r\n"), _say(b"nonsense")],
    ids=["closed", "hang_up", "silent", "full", "loading", "nonsense"],
)
@pytest.mark.usefixtures("only_reference_counts")
def test_a_failure_goes_without_the_garbage_collector(kind: str, answers: Answers | None) -> None:
    """Nothing is in a cycle: neither the error nor what led to it."""

    async def fail() -> list[weakref.ref[BaseException]]:
        found: list[weakref.ref[BaseException]] = []
        async with _server(answers) as port:
            url = f"redis://127.0.0.1:{port}"
            if kind == "sentinel":
                url = f"redis+sentinel://127.0.0.1:{port}/service"
            options = ConnectionOptions(url=url, cluster=kind == "cluster", timeout_s=0.05)
            store = RedisStore(options, state_version="1")
            link = (
                link_to(options, store.stats, greet=check_connection)
                if kind in {"greeted", "sentinel"}
                else StandaloneLink(options, store.stats)
            )
            if kind == "cluster":
                link = ClusterLink(options, store.stats)
                link._owners = [("127.0.0.1", port)] * len(link._owners)
            store._link = link
            try:
                if kind == "each":
                    await link.each(("PING",))
                else:
                    await store.commit("t", 0, None, Watermark("i", 1), {"s": b"blob"}, [], 1000)
            except StoreError as error:
                found = _chain(error)
            await store.close()
            return found

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        found = runner.run(fail())
    assert found
    assert [one() for one in found if one() is not None] == []


def _chain(error: BaseException) -> list[weakref.ref[BaseException]]:
    """Refer to an error and to everything that led to it, as far as it can be referred to."""
    found: list[weakref.ref[BaseException]] = []
    step: BaseException | None = error
    seen: set[int] = set()
    while step is not None and id(step) not in seen:  # one that is its own cause ends it too
        seen.add(id(step))
        if type(step).__weakrefoffset__:
            found.append(weakref.ref(step))
        step = step.__cause__ or step.__context__
    return found
