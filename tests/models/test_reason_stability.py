"""Reasons stay when a session changes by less than anybody could see."""

from __future__ import annotations

import msgspec
import numpy as np

from models.engine import Engine
from models.gate_measure import Golden, measure
from stream.gate.golden import simulated


def test_reasons_stay_under_small_changes() -> None:
    """A quarter of a pixel and of a millisecond more or less, and the same reason stands first."""
    sessions = simulated(5, 40, 4)
    engine = Engine.load()
    plain = measure(engine, sessions)
    shaken = measure(engine, [_shaken(session, number) for number, session in enumerate(sessions)])
    explained = [(a, b) for a, b in zip(plain, shaken, strict=True) if a.reasons and b.reasons]
    assert len(explained) >= 30
    assert np.mean([a.reasons[0] == b.reasons[0] for a, b in explained]) >= 0.9
    shared = [len({*a.reasons} & {*b.reasons}) / len({*a.reasons} | {*b.reasons}) for a, b in explained]
    assert np.mean(shared) >= 0.85
    assert sum(a.action != b.action for a, b in zip(plain, shaken, strict=True)) <= 0.05 * len(plain)


def _shaken(session: Golden, number: int) -> Golden:
    dice = np.random.default_rng([7, number])
    events = []
    for event in session.events:
        pointer = event.pointer
        if pointer is not None:
            t, x, y = (np.array(column) + dice.uniform(-0.25, 0.25, len(pointer.t)) for column in
                       (pointer.t, pointer.x, pointer.y))  # fmt: skip
            t = np.maximum.accumulate(np.clip(t, 0.0, None))
            pointer = msgspec.structs.replace(pointer, t=t.tolist(), x=x.tolist(), y=y.tolist())
        events.append(msgspec.structs.replace(event, pointer=pointer))
    return msgspec.structs.replace(session, events=events)
