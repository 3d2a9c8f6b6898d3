"""What the standard workload leads to: shares of decisions and risk levels, and of events with full reasons."""

import itertools
from collections import Counter
from typing import Any

import msgspec

from bench.drain import Load, drain_once
from bench.environments import TELLWIRE
from bench.workload import event_number, workload
from bench.world import OUTPUT, World
from schemas.risk import RiskEvent
from tests.support.log_reader import read_topic


def shares(world: World, load: Load) -> dict[str, Any]:
    """Drain a load and look at its risk events; the first round of the sessions is left out."""
    events = drain_once(world, load)
    world.check_outcome(TELLWIRE, events, load.sessions)
    decode = msgspec.json.Decoder(RiskEvent).decode
    actions: Counter[str] = Counter()
    levels: Counter[str] = Counter()
    explained = written = 0
    for record in read_topic(world.broker.bootstrap, OUTPUT):
        event = decode(record.value or b"")
        if event_number(event.event_id.encode()) < load.sessions:
            continue
        actions[event.decision.action] += 1
        levels[event.risk_level] += 1
        explained += bool(event.reasons)
        written += len(record.value or b"")
    sent = itertools.islice(workload(events, sessions=load.sessions, in_turn=True), load.sessions, None)
    sizes = sorted(len(value) for _, value in sent)
    return {
        "events": load.events,
        "actions": {name: number / load.events for name, number in actions.most_common()},
        "levels": {name: number / load.events for name, number in levels.most_common()},
        "with_reasons": explained / load.events,
        "input_bytes": {
            "p10": sizes[len(sizes) // 10],
            "p50": sizes[len(sizes) // 2],
            "p90": sizes[len(sizes) * 9 // 10],
        },
        "output_bytes_mean": written / load.events,
    }
