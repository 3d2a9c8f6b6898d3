"""A Faust transport on librdkafka: an agent gets chunks of records, and only ``done()`` commits.

Importing this package registers the URL scheme ``librdkafka://``::

    app = faust.App("my-app", broker="librdkafka://host:9092", **faust_settings())
    transport = configure(app, TransportOptions(), hooks=MyHooks())

    @app.agent(app.topic("events"))
    async def work(chunks):
        async for chunk in chunks:
            ...
            chunk.done()

It knows nothing of what the records mean, and imports nothing of the packages around it.
"""

from __future__ import annotations

from .bare_faust import TRANSPORTS
from .chunk import Chunk
from .driver import Transport, configure
from .errors import (
    FailedRecord,
    ProduceError,
    TransportConfigurationError,
    TransportError,
    TransportFatalError,
)
from .hooks import Gap, PartitionKey, StartAt, StartRequest, TransportHooks
from .murmur2 import murmur2, partition_of
from .options import TransportOptions, faust_settings
from .producer import OutRecord, Producer
from .stats import Counters, PartitionStats, ProducerCounters, TransportStats

__all__ = [
    "Chunk",
    "Counters",
    "FailedRecord",
    "Gap",
    "OutRecord",
    "PartitionKey",
    "PartitionStats",
    "ProduceError",
    "Producer",
    "ProducerCounters",
    "StartAt",
    "StartRequest",
    "Transport",
    "TransportConfigurationError",
    "TransportError",
    "TransportFatalError",
    "TransportHooks",
    "TransportOptions",
    "TransportStats",
    "configure",
    "faust_settings",
    "murmur2",
    "partition_of",
]

TRANSPORTS.aliases["librdkafka"] = f"{__name__}.driver:Transport"
