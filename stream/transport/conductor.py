"""The parts of Faust between the consumer and the agents, without its ack bookkeeping."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from faust.tables import TableManager
from faust.transport.conductor import Conductor as BaseConductor
from faust.types import TP, Message
from mode import Service

from .errors import TransportConfigurationError


class Conductor(BaseConductor):
    """Hands chunks to the channel of their topic. Faust's acks are off: a chunk is its own handle."""

    def acks_enabled_for(self, topic: str) -> bool:
        """Never: only ``chunk.done()`` moves a commit."""
        return False

    async def _update_indices(self) -> Any:
        topics = await super()._update_indices()
        # The stream iterator looks at this set and would track and ack every message in it.
        self._acking_topics.clear()
        return topics

    def check(self, topics: Iterable[str]) -> None:
        """Raise :class:`TransportConfigurationError` where two agents share a topic.

        Both would get the same chunk, and the first to finish would commit for the other.
        """
        names = sorted(topics)
        if not names:
            raise TransportConfigurationError("no agent has a topic")
        for name in names:
            agents = [agent for agent in self.app.agents.values() if name in agent.get_topic_names()]
            if len(agents) > 1:
                sharing = ", ".join(sorted(agent.name for agent in agents))
                raise TransportConfigurationError(f"topic {name} has more than one agent: {sharing}")

    def is_indexed(self, tp: TP) -> bool:
        """Whether a chunk of this partition would find an agent."""
        return bool(self._tp_index.get(tp))

    def deliver(self, message: Message) -> None:
        """Put one message on its agent's queue, at once. At most one per partition is on its way."""
        event = self.app.create_event(None, message.value, None, message)
        for channel in self._tp_index[message.tp]:
            channel.queue.force_put_nowait(event)


class NoTables(TableManager):
    """Faust's table manager for an app without tables: it starts at once."""

    async def on_start(self) -> None:
        """Start as Faust's does, without the second that it sleeps before: the group is joined only after it."""
        await self._update_channels()
        await self.recovery.start()


class Fetcher(Service):
    """Faust wants a service that fetches; the poll thread does it, so this one only exists."""

    def __init__(self, app: Any, **kwargs: Any) -> None:
        self.app = app
        super().__init__(**kwargs)
