"""Waiting for the state store: the same call again until it is answered, with bounded pauses, told and counted.

While a chunk waits, its partition takes no other, so records wait in Kafka: the transport pauses what is full.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Final, NamedTuple, TypeVar

from stream.crash_isolation import NotCurrent
from stream.metrics import Metrics
from stream.partition import OwnedPartition
from stream.state import StoreError, StoreFull, StoreMisconfigured, StoreUnavailable
from stream.transport import Chunk

log = logging.getLogger(__name__)

FIRST_PAUSE_S: Final = 0.05
LONGEST_PAUSE_S: Final = 2.0
"""Longest pause between two tries, s."""
TOLD_EVERY_S: Final = 10.0
"""A partition that goes on waiting for the same reason says so again after this time, s."""

T = TypeVar("T")


class _Failed(NamedTuple):
    """What is kept of a failed try. Not its exception: that holds the chunk, by the frames of its traceback."""

    reason: str
    text: str


class Patience:
    """Makes calls to the store for chunks. One instance a worker."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    async def call(self, owned: OwnedPartition, chunk: Chunk, call: Callable[[], Awaitable[T]]) -> T:
        """Repeat the same call until the store answers. Raises NotCurrent when the chunk is no longer ours."""
        owned.wait.begin("store")
        try:
            answer = await call()
        except (StoreUnavailable, StoreFull, StoreMisconfigured) as error:
            failed = _failed(error)
        else:
            owned.wait.end("store")
            return answer
        answer = await self._again(owned, chunk, call, failed)
        owned.wait.end("store")
        return answer

    async def _again(self, owned: OwnedPartition, chunk: Chunk, call: Callable[[], Awaitable[T]], failed: _Failed) -> T:
        began = time.monotonic()
        told: tuple[str, float] = ("", 0.0)
        pause_s = FIRST_PAUSE_S
        while True:
            reason = failed.reason
            now = time.monotonic()
            if told[0] != reason or now - told[1] >= TOLD_EVERY_S:
                told = (reason, now)
                extra = {"partition": chunk.partition, "waiting_s": round(now - began, 1)}
                log.warning("the state store does not take this chunk yet: %s", failed.text, extra=extra)
            self._metrics.store_retries.labels(reason).inc()
            waiting = self._metrics.store_waiting.labels(reason)
            waiting.inc()
            try:
                await asyncio.sleep(pause_s)
                if not chunk.is_current():
                    raise NotCurrent
                owned.wait.begin("store")
                answer = await call()
            except (StoreUnavailable, StoreFull, StoreMisconfigured) as error:
                failed = _failed(error)
                pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
                continue
            finally:
                waiting.dec()
            waited_s = time.monotonic() - began
            if waited_s >= TOLD_EVERY_S:
                extra = {"partition": chunk.partition, "waited_s": round(waited_s, 1)}
                log.info("the state store takes chunks again", extra=extra)
            return answer


def _failed(error: StoreError) -> _Failed:
    reason = "unavailable"
    if isinstance(error, StoreFull):
        reason = "full"
    elif isinstance(error, StoreMisconfigured):
        reason = "misconfigured"
    return _Failed(reason, str(error))
