"""What a state machine over the pipeline needs around it: its input, and how states and events are compared."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Sequence

import msgspec

from features.session import decode, encode
from schemas.risk import RiskEvent
from schemas.telemetry import Telemetry
from stream.transport import OutRecord
from tests.support.pipeline_world import simulated

MOST_RECORDS = 700
"""All within one bucket of the counters: a chunk over its edge reads them as of the older one (ADR 0004)."""


@functools.cache
def pool(seed: int) -> tuple[Telemetry, ...]:
    """Simulated telemetry, made once a seed."""
    return tuple(simulated(MOST_RECORDS, seed))


def events(records: Sequence[OutRecord]) -> list[RiskEvent]:
    return [_risk_event.decode(record.value or b"") for record in records if record.topic == "risk.events"]


_risk_event = msgspec.json.Decoder(RiskEvent)


def compared(session_id: str, state: bytes | None) -> bytes:
    """A session's bytes without what is drawn by each process: whether its vectors are logged."""
    assert state is not None, f"{session_id}: no state"
    meta, row = decode(session_id, state)
    meta.logged_ratio = 0.0
    return encode(session_id, meta, row)


async def without_pauses(work: Awaitable[str]) -> str:
    sleep = asyncio.sleep
    asyncio.sleep = lambda _=0.0: sleep(0)  # type: ignore[assignment]
    try:
        return await work
    finally:
        asyncio.sleep = sleep
