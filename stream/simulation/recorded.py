"""Recorded sessions played again in the demo: chosen by a seed, at random arrival times, under new session ids.

Not a simulation of behaviour: samples are the recording's own, through the adapter that training and scoring use. The
truth is read apart from the recordings and goes to the summary alone.
"""

from __future__ import annotations

import heapq
import itertools
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from features.recorded import Recorded, telemetry_of
from models.dataset import DatasetError, Recording, read_recordings, read_truth
from schemas.base import Flow
from stream.simulation.devices import token
from stream.simulation.population import Due, Truth

Actor = Literal["person", "bot", "unknown"]
FLOW: Flow = "signup"
"""Recordings don't know a flow."""
UNKNOWN: Actor = "unknown"
_SENT_AFTER_MS = 40
_NOT_A_NAME = re.compile(r"[^A-Za-z0-9._:/+-]")

Chosen = tuple[Recording, Actor, str]
"""A recording, `person`, `bot` or `unknown`, and its source or bot family."""


def choose(data: Path, *, seed: int, n: int, bot_ratio: float) -> list[Chosen]:
    """Choose `n` recordings of a folder, sources and families evenly; all of them where there are fewer.

    Without labels every recording is `unknown`. Raises DatasetError when there is nothing to read.
    """
    rng = np.random.default_rng(seed)
    try:
        truths = read_truth(data)
    except DatasetError:
        ids = [recording.session_id for recording in read_recordings(data)]
        wanted: dict[str, tuple[Actor, str]] = dict.fromkeys(_some(rng, ids, n), (UNKNOWN, UNKNOWN))
    else:
        n_bots = round(n * bot_ratio)
        wanted = {}
        numbers: tuple[tuple[Actor, int], ...] = (("bot", n_bots), ("person", n - n_bots))
        for actor, many in numbers:
            groups: dict[str, list[str]] = {}
            for each in truths.values():
                if (each.label == 1) == (actor == "bot"):
                    groups.setdefault((each.family if actor == "bot" else None) or each.source, []).append(
                        each.session_id
                    )
            share = -(-many // max(1, len(groups)))
            found = [(each, family) for family in sorted(groups) for each in _some(rng, groups[family], share)]
            for index in rng.permutation(len(found))[:many].tolist():
                wanted[found[index][0]] = (actor, found[index][1])
    chosen = [(each, *wanted[each.session_id]) for each in read_recordings(data) if each.session_id in wanted]
    if not chosen:
        msg = f"{data}: no recorded session to play"
        raise DatasetError(msg)
    return [chosen[index] for index in rng.permutation(len(chosen)).tolist()]


def played(
    chosen: Sequence[Chosen], *, seed: int, start_ms: int, rate: float, arrivals_s: float | None, run: str = ""
) -> Iterator[Due]:
    """Yield the telemetry of the chosen recordings in order of due time; without `arrivals_s` again and again.

    `run` ends the session ids, so that a broker that keeps its records does not take them for repeats.
    """
    rng = np.random.default_rng([seed, 1])
    pending: list[tuple[int, int, Due]] = []
    order, arrival_ms = itertools.count(), 0.0
    for recording, actor, family in itertools.cycle(chosen):
        arrival_ms += float(rng.exponential(1000.0 / rate))
        if arrivals_s is not None and arrival_ms >= arrivals_s * 1000:
            break
        while pending and pending[0][0] <= start_ms + int(arrival_ms):
            yield heapq.heappop(pending)[2]
        for due in _session(rng, recording, actor, family, start_ms + int(arrival_ms), run):
            heapq.heappush(pending, (due.due_ms, next(order), due))
    while pending:
        yield heapq.heappop(pending)[2]


def _session(
    rng: np.random.Generator, recording: Recording, actor: Actor, family: str, start_ms: int, run: str
) -> Iterator[Due]:
    width, height = recording.viewport or (None, None)
    session_id = token(rng, "s", 12) + run
    events = telemetry_of(
        Recorded(
            session_id=session_id,
            t_ms=recording.t_ms,
            x=recording.x,
            y=recording.y,
            kind=recording.kind,
            button=recording.button,
            key_down_ms=recording.key_down_ms,
            key_up_ms=recording.key_up_ms,
            key_class=recording.key_class,
            pointer_type=recording.pointer_type,
            viewport_width_px=width,
            viewport_height_px=height,
        ),
        flow=FLOW,
        tenant="demo",
        collector=_NOT_A_NAME.sub("-", recording.source)[:64] or "recorded",
        start_ms=start_ms,
        latency_ms=_SENT_AFTER_MS,
        account_ref=token(rng, "acct"),
    )
    truth = Truth(session_id=session_id, actor=actor, family=family, flow=FLOW, n_events=len(events), ends=True)
    yield from (Due(event.observed_at, event, truth) for event in events)


def _some(rng: np.random.Generator, ids: Sequence[str], n: int) -> list[str]:
    return [ids[index] for index in rng.permutation(len(ids))[:n].tolist()]
