"""The Faust agents: thin, one a topic. A task gets each chunk, from the transport itself; nothing here can raise."""

import asyncio
from collections.abc import AsyncIterable, Awaitable, Callable

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

    async def agent(chunks: AsyncIterable[Chunk]) -> None:
        async for chunk in chunks:
            tasks.start(handle(chunk))

    app.agent(app.topic(topic), name=topic)(agent)
    if isinstance(app.transport, Transport):
        # The agent subscribes; what it would do with a chunk is done without the way through Faust's stream.
        app.transport.hand_to(topic, lambda chunk: tasks.start(handle(chunk)))
