"""What one set of artefacts makes of golden sessions: a score, a decision and reasons for each; and as a file.

Golden sessions are simulated from a seed, or recorded ones that are at hand; the same sessions go through the previous
and the present artefacts, so that what differs is due to them alone. Each is scored alone and event by event, as the
pipeline would, but for entity counters, which a single session does not have.
"""

import hashlib
import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec
import numpy as np
from msgspec import Meta

from models.dataset import Recording, Truth, read_recordings, read_truth
from models.engine import Engine
from models.offline import Cut, OfflineScorer, ScoredCut
from models.train_vectors import END, events_of
from models.train_windows import LEAST_SAMPLES, group_of
from schemas.envelope import encode
from schemas.risk import Action
from schemas.telemetry import Telemetry

AT_END: Final = (Cut("end", END),)
RECORDED_EACH: Final = 60
"""Recorded sessions of each source of people and of each bot family, at most."""
TOP_REASONS: Final = 3


class Golden(msgspec.Struct, frozen=True):
    """One golden session: what it is, and its telemetry in order. `group`: a source of people, or a bot family."""

    name: str
    is_bot: bool
    group: str
    person: str
    events: list[Telemetry]


class Outcome(msgspec.Struct, frozen=True):
    """What became of a golden session at its end. raw: the bot channel's highest output; null: it had no evidence."""

    name: str
    is_bot: bool
    group: str
    person: str
    input: str
    """Input type of its calibration cell: `mouse`, `keys`, `mouse+keys`, ..."""
    raw: float | None
    overall: float
    action: Action
    rule: str
    reasons: list[str]
    """Codes of the heaviest reasons for risk, the heaviest first."""


class Measurement(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All that the gate compares. Written as a file, it stands for a release whose code is not at hand."""

    format: Literal[1]
    artefacts: str
    policy: str
    features: str
    sessions: str
    """SHA-256 of the golden sessions' bytes: of other sessions only shares can be compared."""
    outcomes: Annotated[list[Outcome], Meta(min_length=1)]
    us_per_event: Annotated[float, Meta(gt=0.0)] | None = None
    """CPU time of models, decision and reasons, µs an event."""
    memory_mib: Annotated[float, Meta(gt=0.0)] | None = None
    """Largest resident size of a process that loads the artefacts and scores, MiB."""
    machine: str = ""
    """Where both were measured: elsewhere they can't be compared."""


def measure(engine: Engine, sessions: Sequence[Golden]) -> list[Outcome]:
    """Score all sessions, side by side; each one's outcome depends on that session alone."""
    scorer = OfflineScorer(engine, AT_END)
    named = {f"golden-{number}": session for number, session in enumerate(sessions)}
    events = (_renamed(session.events, name) for name, session in named.items())
    found: dict[str, Outcome] = {}
    for rows in scorer.records(event for turn in zip_longest(*events) for event in turn if event is not None):
        last = rows[-1]
        found[last.session_id] = _outcome(named[last.session_id], last)
    return [found[name] for name in named]


def _renamed(events: Iterable[Telemetry], name: str) -> Iterator[Telemetry]:
    return (msgspec.structs.replace(event, session_id=name) for event in events)


def _outcome(session: Golden, row: ScoredCut) -> Outcome:
    found = row.assessment
    assert found is not None
    bot = found.scores.bot
    raw = bot.raw_max if bot is not None else None
    risk = [reason for reason in found.reasons if reason.polarity == "risk"]
    return Outcome(
        name=session.name, is_bot=session.is_bot, group=session.group, person=session.person, input=found.cell.input,
        raw=None if raw is None or math.isnan(raw) else raw, overall=found.scores.overall_anytime,
        action=found.decision.action, rule=found.decision.policy.rule,
        reasons=[reason.code for reason in risk[:TOP_REASONS]],
    )  # fmt: skip


def digest(sessions: Sequence[Golden]) -> str:
    """SHA-256 of what the sessions are, hex."""
    found = hashlib.sha256()
    for session in sessions:
        found.update(f"{session.name}\n{session.is_bot}\n{session.group}\n{session.person}\n".encode())
        for event in session.events:
            found.update(encode(event))
    return found.hexdigest()


def recorded(data: Path, seed: int, most: int = RECORDED_EACH) -> list[Golden]:
    """Recorded sessions of a folder, so many of each source of people and each bot family, chosen by a seed.

    Raises DatasetError when the folder cannot be read.
    """
    truths = read_truth(data)
    places: dict[tuple[str, str], list[int]] = {}
    for number, recording in enumerate(read_recordings(data)):
        if len(recording.t_ms) >= LEAST_SAMPLES or len(recording.key_down_ms) >= LEAST_SAMPLES:
            truth = truths[recording.session_id]
            places.setdefault((truth.source, truth.family or ""), []).append(number)
    chosen: set[int] = set()
    for k, numbers in enumerate(places.values()):
        order = np.random.default_rng((seed, k)).permutation(len(numbers))[:most]
        chosen.update(numbers[i] for i in order.tolist())
    return [
        _golden(recording, truths[recording.session_id])
        for number, recording in enumerate(read_recordings(data))
        if number in chosen
    ]


def _golden(recording: Recording, truth: Truth) -> Golden:
    group = f"{group_of(truth.source)}/{truth.family}" if truth.label else truth.source
    person = truth.person or recording.session_id
    return Golden(recording.session_id, bool(truth.label), group, person, events_of(recording))
