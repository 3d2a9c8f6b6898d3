"""The simulated crowd: people and bots who arrive at random, as telemetry in order of the time at which it is due.

Part of the simulation (see the package). All randomness comes from one seed, the clock is passed in, and the truth
about a session stands in a table beside the telemetry, never in it.
"""

from __future__ import annotations

import dataclasses
import heapq
from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

import numpy as np

from schemas.base import Flow
from schemas.telemetry import Collector, Telemetry
from stream.simulation.bots import FAMILIES, Stock, stock_of
from stream.simulation.devices import token
from stream.simulation.people import FLOW_SHARES, KINDS, Visit, person
from stream.simulation.recording import Identity, cut

Rng = np.random.Generator

COLLECTOR = Collector(name="tellwire-simulation", version="1.0.0", sampling_interval_ms=0.0)
"""Collector that the telemetry names: a reader sees that it is simulated, and calibration can keep it apart."""

_STOCK_STREAM, _SESSION_STREAM, _ARRIVAL_STREAM = 0, 1, 2


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Truth:
    """What a session really is. It stays out of the telemetry."""

    session_id: str
    actor: Literal["person", "bot", "unknown"]
    family: str
    """Kind of person, or bot family."""
    flow: Flow
    n_events: int
    """Telemetry events that it sends if it is played to its end."""
    ends: bool
    """Sends a session end."""


class Due(NamedTuple):
    """One telemetry event, when to send it (epoch ms), and the truth about its session."""

    due_ms: int
    event: Telemetry
    truth: Truth


def session(
    seed: int,
    number: int,
    start_ms: int,
    bot_ratio: float,
    stock: Stock,
    *,
    families: Sequence[str] | None = None,
    run: str = "",
) -> tuple[Truth, list[Due]]:
    """Simulate session `number` of the crowd of `seed`; it depends on nothing but the arguments.

    `families` limits the bots to some of `bots.FAMILIES`; `run` ends the session id.
    """
    rng = np.random.default_rng([seed, _SESSION_STREAM, number])
    flows, shares = list(FLOW_SHARES), list(FLOW_SHARES.values())
    flow = flows[int(rng.choice(len(flows), p=shares))]
    actor: Literal["person", "bot"] = "bot" if rng.random() < bot_ratio else "person"
    if actor == "bot":
        family = str(rng.choice(families or list(FAMILIES)))
        visit = FAMILIES[family](rng, flow, stock)
    else:
        family = str(rng.choice(list(KINDS), p=list(KINDS.values())))
        visit = person(rng, family, flow)
    who = _identity(rng, visit, flow, run)
    events = cut(visit.recording, who, start_ms)
    truth = Truth(
        session_id=who.session_id,
        actor=actor,
        family=family,
        flow=flow,
        n_events=len(events),
        ends=visit.recording.end_ms is not None,
    )
    due: list[Due] = []
    last = start_ms
    for complete_ms, event in events:
        # A batch travels to the gateway; a later one never overtakes an earlier one.
        last = max(last + 1, start_ms + complete_ms + int(rng.lognormal(3.4, 0.5)))
        event.observed_at = last
        due.append(Due(last, event, truth))
    return truth, due


def population(
    seed: int,
    *,
    start_ms: int,
    sessions_per_s: float,
    bot_ratio: float,
    arrivals_s: float | None = None,
    families: Sequence[str] | None = None,
    run: str = "",
) -> Iterator[Due]:
    """Yield the crowd's telemetry in order of due time: Poisson arrivals from `start_ms` (epoch ms) on.

    With `arrivals_s` nobody arrives after that many seconds and the generator ends when the last session has; without
    it, it never ends. The same arguments yield the same bytes. `run` ends the session ids: a broker that keeps its
    records takes the same sessions sent again for repeats.
    """
    if sessions_per_s <= 0 or not 0 <= bot_ratio <= 1:
        msg = f"need sessions_per_s > 0 and 0 <= bot_ratio <= 1, got {sessions_per_s} and {bot_ratio}"
        raise ValueError(msg)
    arrivals = np.random.default_rng([seed, _ARRIVAL_STREAM])
    stock = stock_of(np.random.default_rng([seed, _STOCK_STREAM]))
    pending: list[tuple[int, int, Due]] = []
    number, arrival_ms, n_pushed = 0, 0.0, 0
    while True:
        arrival_ms += float(arrivals.exponential(1000.0 / sessions_per_s))
        if arrivals_s is not None and arrival_ms >= arrivals_s * 1000:
            break
        while pending and pending[0][0] <= start_ms + int(arrival_ms):
            yield heapq.heappop(pending)[2]
        _, events = session(seed, number, start_ms + int(arrival_ms), bot_ratio, stock, families=families, run=run)
        for due in events:
            # The second member keeps the order of equal times, and events from being compared.
            heapq.heappush(pending, (due.due_ms, n_pushed, due))
            n_pushed += 1
        number += 1
    while pending:
        yield heapq.heappop(pending)[2]


def _identity(rng: Rng, visit: Visit, flow: Flow, run: str) -> Identity:
    clock_offset = rng.normal(0.0, 400.0) if rng.random() < 0.95 else rng.normal(0.0, 60_000.0)
    return Identity(
        session_id=token(rng, "s", 12) + run,
        flow=flow,
        account_ref=token(rng, "acct"),
        device_ref=visit.machine.device_ref,
        device=visit.machine.device,
        network=visit.machine.network,
        viewport=visit.machine.viewport,
        collector=COLLECTOR,
        nonce=token(rng, "n"),
        clock_offset_ms=int(clock_offset),
    )


def stranger(visit: Visit, session_id: str, nonce: str | None = None, collector: Collector = COLLECTOR) -> Identity:
    """Who sends a sign-up of which nothing is known but its machine: no account, no device's name, no network."""
    return Identity(
        session_id=session_id,
        flow="signup",
        account_ref="",
        device_ref=None,
        device=visit.machine.device,
        network=None,
        viewport=visit.machine.viewport,
        collector=collector,
        nonce=nonce,
    )
