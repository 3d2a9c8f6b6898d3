"""The Faust agents: thin, one a topic. Each gives its chunks to a task and takes the next; nothing here can raise."""

import asyncio
from collections.abc import Awaitable, Callable

import faust

from stream.transport import Chunk, Transport

Handler = Callable[[Chunk], Awaitable[None]]


class Tasks:
    """Keeps the tasks of chunks in flight alive until they end."""

    def __init__(self) -> None:
        self._running: set[asyncio.Task[None]] = set()

    def start(self, work: Awaitable[None]) -> None:
        """Run until it ends."""
        task = asyncio.ensure_future(work)
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    def __len__(self) -> int:
        return len(self._running)


def register(app: faust.App, topic: str, handle: Handler, tasks: Tasks) -> None:
    """Give a topic its agent: every chunk of it goes to `handle`, chunks of different partitions at the same time."""
    transport = app.transport
    assert isinstance(transport, Transport)
    chunks = transport.chunks(topic)

    async def agent(_: faust.StreamT[Chunk]) -> None:
        # Its topic's chunks, without the way through Faust's stream (ADR 0011).
        while True:
            tasks.start(handle(await chunks.get()))

    app.agent(app.topic(topic), name=topic)(agent)
