"""Questions to the cluster that need no consumer: topic ids and log bounds. Runs beside the loop."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable, Mapping
from concurrent.futures import Future
from typing import Any

from confluent_kafka import IsolationLevel, KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined]

from .errors import TransportFatalError
from .hooks import PartitionKey
from .options import TransportOptions


class ClusterInfo:
    """Asks through an admin client of its own, which is made on first use."""

    def __init__(self, bootstrap: str, options: TransportOptions) -> None:
        self._bootstrap = bootstrap
        self._options = options
        self._client: AdminClient | None = None

    def _admin(self) -> AdminClient:
        if self._client is None:
            self._client = AdminClient(self._options.admin_config(self._bootstrap))
        return self._client

    async def topic_ids(self, topics: Iterable[str]) -> dict[str, str]:
        """Topic ids (uuid as text) by name; fixed ones of the options are not asked for.

        Raises :class:`KafkaException` where the cluster does not answer, and
        :class:`TransportFatalError` where a broker has no topic ids.
        """
        fixed = self._options.topic_ids
        wanted = sorted(set(topics))
        ids = {name: fixed[name] for name in wanted if name in fixed}
        asked = [name for name in wanted if name not in fixed]
        if asked:
            futures = self._admin().describe_topics(
                TopicCollection(asked), request_timeout=self._options.admin_timeout_s
            )
            for name, future in futures.items():
                description = await _result(future)
                ids[name] = str(description.topic_id)
        without = sorted(name for name, id_ in ids.items() if not id_)
        if without:
            raise TransportFatalError(f"no topic id for {', '.join(without)}: set topic_ids")
        return ids

    async def bounds(self, keys: Iterable[PartitionKey]) -> Mapping[PartitionKey, tuple[int, int]]:
        """(low, high) of each partition: first offset held, and one past the last readable one."""
        wanted = sorted(set(keys))
        if not wanted:
            return {}
        level = (
            IsolationLevel.READ_COMMITTED
            if self._options.isolation_level == "read_committed"
            else IsolationLevel.READ_UNCOMMITTED
        )
        found = []
        earliest, latest = OffsetSpec.earliest(), OffsetSpec.latest()  # type: ignore[no-untyped-call]
        for spec in (earliest, latest):
            futures = self._admin().list_offsets(
                {TopicPartition(*key): spec for key in wanted},
                isolation_level=level,
                request_timeout=self._options.admin_timeout_s,
            )
            found.append({(tp.topic, tp.partition): (await _result(f)).offset for tp, f in futures.items()})
        low, high = found
        return {key: (low[key], high[key]) for key in wanted}


async def _result(future: Future[Any]) -> Any:
    # A cancelled wait must not cancel the client's own future: its thread would trip over it.
    waiter = asyncio.wrap_future(future)
    try:
        return await asyncio.shield(waiter)
    except asyncio.CancelledError:
        with contextlib.suppress(KafkaException):
            waiter.add_done_callback(lambda f: f.cancelled() or f.exception())
        raise
