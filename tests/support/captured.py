"""Reads what a collector sent: each event must hold to the contract as the repository's own decoder reads it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable
from functools import cache
from typing import TYPE_CHECKING, Any

import jsonschema

from schemas import envelope
from schemas.closed import closed_schema
from schemas.telemetry import Telemetry

if TYPE_CHECKING:
    from playwright.sync_api import Page

    from tests.support.capture_site import CaptureSite

GATEWAY = {"tenant": "acme", "flow": "signup", "observed_at": 1_790_000_000_000}
"""What the gateway adds at least."""


@cache
def _validator() -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(closed_schema(Telemetry))


def decoded(event: dict[str, Any]) -> Telemetry:
    """The event with what the gateway adds; raise where the closed schema or the decoder refuses it."""
    assert not set(GATEWAY) & set(event), "the gateway says this"
    whole: dict[str, Any] = GATEWAY | event
    _validator().validate(whole)
    telemetry = envelope.decode(json.dumps(whole).encode(), whole["session_id"].encode())
    assert isinstance(telemetry, Telemetry)
    return telemetry


def checked(events: Iterable[dict[str, Any]]) -> list[Telemetry]:
    """All events decoded; numbers go up by one, ids differ, and columns' times are in order."""
    found = [decoded(event) for event in events]
    assert [event.sequence for event in found] == list(range(len(found)))
    assert len({event.event_id for event in found}) == len(found)
    for event in found:
        for block in (event.pointer, event.focus, event.scroll, event.touch, event.motion):
            assert block is None or block.t == sorted(block.t)
        if event.pointer:
            assert max(event.pointer.coalesced_count or 0, event.pointer.untrusted_count) <= len(event.pointer.t)
    downs = [event.effective_at + down for event in found if event.keys for down in event.keys.down]
    assert downs == sorted(downs)
    return found


def distinct(events: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Events in the order of their numbers, each once: a repeat is the same event again."""
    found: dict[str, dict[str, Any]] = {}
    for event in events:
        assert found.setdefault(event["event_id"], event) == event
    return sorted(found.values(), key=lambda event: int(event["sequence"]))


def wait_for(what: Callable[[], object], limit_s: float = 20.0) -> None:
    """Wait until `what` is true."""
    until = time.monotonic() + limit_s
    while not what():
        assert time.monotonic() < until, "it did not happen in time"
        time.sleep(0.02)


def settled(page: Page, site: CaptureSite) -> list[Telemetry]:
    """Make the page send what it has, and return all events of the site so far, checked. Nothing went wrong."""
    page.evaluate("() => collector.flush()")
    page.wait_for_function("() => { const s = collector.stats(); return s.stopped || !s.queued; }")
    noted = page.evaluate("() => noted")
    assert noted == {"errors": [], "violations": [], "collector": []}
    return checked(site.events())
