"""A session whose device comes in parts: from the whole block on every risk event is that of the whole alone."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from schemas.risk import RiskEvent
from schemas.telemetry import Device, Telemetry
from tests.support.pipeline_world import processed, records_of, simulated

AT_ONCE = {"user_agent", "platform", "languages", "language", "webdriver", "hardware_concurrency", "max_touch_points"}


def sessions() -> list[list[Telemetry]]:
    """Simulated people and bots of at least four events, the first one with the device; every other one is driven."""
    found: dict[str, list[Telemetry]] = {}
    for event in simulated(600, 11):
        found.setdefault(event.session_id, []).append(event)
    long = [events for events in found.values() if len(events) >= 4]
    for events in long[::2]:
        assert events[0].device is not None
        events[0].device = msgspec.structs.replace(events[0].device, webdriver=True)
    return long


def part_of(device: Device) -> Device:
    return Device(**{name: getattr(device, name) for name in AT_ONCE}, partial=True)


def told(events: list[Telemetry], first: Device | None, whole_at: int = 2) -> list[Telemetry]:
    """The session with `first` at its beginning and the whole device later."""
    replace = msgspec.structs.replace
    network = events[0].network
    found = [replace(event) for event in events]
    found[0] = replace(events[0], device=first)
    found[whole_at] = replace(events[whole_at], device=events[0].device, network=network)
    return found


def run(events: list[Telemetry], size: int) -> list[RiskEvent]:
    return asyncio.run(processed(records_of(events), size)).events()


def judged(event: RiskEvent) -> tuple[object, ...]:
    # What is decided is the same; when it was decided first is sooner, of course.
    decided = (event.decision.action, event.decision.policy, event.decision.step_up_methods)
    return event.risk_score, event.scores, decided, event.reasons, event.signals, event.coverage, event.automation


@pytest.mark.parametrize("size", [1, 100])
def test_from_the_whole_block_on_the_risk_is_that_of_the_whole_alone(size: int) -> None:
    for events in sessions()[:12]:
        device = events[0].device
        assert device is not None
        parts, alone = run(told(events, part_of(device)), size), run(told(events, None), size)
        assert [judged(one) for one in parts[2:]] == [judged(one) for one in alone[2:]]
        whole = {name for name, signal in alone[2].signals.items() if signal.exempt is None}
        for early in parts[:2]:
            assert {name for name, signal in early.signals.items() if signal.exempt is None} <= whole
            assert early.scores.device is not None
        if device.webdriver:
            assert "webdriver_true" in parts[0].signals
            assert "webdriver_true" not in alone[0].signals
