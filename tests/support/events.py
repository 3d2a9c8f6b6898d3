"""Telemetry made by hand: all that an event must have, and what a test says of it."""

from __future__ import annotations

from typing import Any

from features.recorded import START_MS
from schemas.telemetry import Collector, Telemetry

_COLLECTOR = Collector(name="test", version="1.0.0")


def telemetry(
    session_id: str = "s", sequence: int = 0, *, at_ms: int = 0, took_ms: int = 500, **said: Any
) -> Telemetry:
    """An event that begins `at_ms` after START_MS and lasts `took_ms`; `said`: any of its fields."""
    fields: dict[str, Any] = {
        "event_id": f"{session_id}:{sequence}", "tenant": "t", "flow": "signup", "collector": _COLLECTOR,
        "effective_at": START_MS + at_ms, "observed_at": START_MS + at_ms + took_ms,
    }  # fmt: skip
    return Telemetry(session_id=session_id, sequence=sequence, **(fields | said))
