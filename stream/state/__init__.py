"""Where session state, watermarks and entity counters live: the protocol, and stores in memory and in Redis."""

from stream.state.base import (
    MAX_CRASH_NOTE_BYTES,
    CounterRead,
    Counters,
    Loaded,
    StateStore,
    StoreError,
    StoreFull,
    StoreMisconfigured,
    StoreUnavailable,
    Watermark,
    WatermarkConflict,
)
from stream.state.connections import ConnectionOptions
from stream.state.keys import describe_keys
from stream.state.memory import MemoryStore
from stream.state.redis import RedisStore
from stream.state.stats import StoreStats

__all__ = [
    "MAX_CRASH_NOTE_BYTES",
    "ConnectionOptions",
    "CounterRead",
    "Counters",
    "Loaded",
    "MemoryStore",
    "RedisStore",
    "StateStore",
    "StoreError",
    "StoreFull",
    "StoreMisconfigured",
    "StoreStats",
    "StoreUnavailable",
    "Watermark",
    "WatermarkConflict",
    "describe_keys",
]
