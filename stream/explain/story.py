"""One session as its records tell it: evaluations in order, decisions, what drove them, signals, what was missing.

Pure. Repeats are dropped as any consumer drops them, gaps in the numbers of the evaluations are told, and nothing is
made up for what is not there.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from schemas.risk import CHANNELS, Action, ChannelName, Reason, RiskEvent, SignalValue
from schemas.signals import Signal
from schemas.telemetry import Telemetry

MAX_EVALUATIONS: Final = 5_000
"""Of a session with more, the first so many are told."""
BLOCKS: Final = ("pointer", "touch", "scroll", "keys", "motion", "form", "focus", "device", "capture", "network")


@dataclass(frozen=True, slots=True)
class SeenSignal:
    """A signal as it was last seen, and when it was first (s of observed session time)."""

    name: str
    value: SignalValue
    first_s: float


@dataclass(frozen=True, slots=True)
class SeenReason:
    """A reason over the whole session: its heaviest form, how often it was given, and between when (s)."""

    heaviest: Reason
    evaluations: int
    first_s: float
    last_s: float


@dataclass(frozen=True, slots=True)
class Turn:
    """A moment at which the decision changed, or the first evaluation's."""

    action: Action
    event: RiskEvent


@dataclass(frozen=True, slots=True)
class Story:
    """All that is told of a session; `events` is never empty."""

    events: list[RiskEvent]
    telemetry: list[Telemetry] = field(default_factory=list)
    upstream: list[Signal] = field(default_factory=list)
    repeats: int = 0
    """Risk events that were there twice."""
    left_out: int = 0
    """Evaluations beyond MAX_EVALUATIONS."""

    @property
    def last(self) -> RiskEvent:
        """The latest evaluation."""
        return self.events[-1]

    @property
    def turns(self) -> list[Turn]:
        """Where the decision changed; the first evaluation always is one."""
        found: list[Turn] = []
        for event in self.events:
            if not found or event.decision.action != found[-1].action:
                found.append(Turn(event.decision.action, event))
        return found

    @property
    def deciding(self) -> RiskEvent:
        """The evaluation whose reasons explain the session's decision: where it was taken, or the last one for allow.

        Reasons of models are written from a medium risk on and at the session's end, so an allowed session's are there.
        """
        if self.last.decision.action == "allow":
            explained = [event for event in self.events if any(r.basis == "model" for r in event.reasons)]
            return explained[-1] if not any(r.basis == "model" for r in self.last.reasons) and explained else self.last
        return self.turns[-1].event

    @property
    def missing_sequences(self) -> list[tuple[int, int]]:
        """Ranges of evaluation numbers, both ends included, that are not there."""
        found, before = [], 0
        for number in sorted({event.sequence for event in self.events}):
            if number > before + 1:
                found.append((before + 1, number - 1))
            before = number
        return found

    @property
    def signals(self) -> list[SeenSignal]:
        """Signals that fired, those that count first, then by severity, then by name."""
        first: dict[str, float] = {}
        latest: dict[str, SignalValue] = {}
        for event in self.events:
            for name, value in event.signals.items():
                first.setdefault(name, event.observed_s)
                latest[name] = value
        order = {"strong": 0, "medium": 1, "weak": 2}
        found = [SeenSignal(name, value, first[name]) for name, value in latest.items()]
        return sorted(
            found, key=lambda s: (s.value.exempt is not None or s.value.value is False, order[s.value.severity], s.name)
        )

    @property
    def reasons(self) -> list[SeenReason]:
        """Every reason that was given in the session, the heaviest first, equal ones by code."""
        found: dict[tuple[str, str], SeenReason] = {}
        for event in self.events:
            for reason in event.reasons:
                key = (reason.code, reason.channel)
                one = found.get(key)
                if one is None:
                    found[key] = SeenReason(reason, 1, event.observed_s, event.observed_s)
                else:
                    heaviest = reason if reason.weight > one.heaviest.weight else one.heaviest
                    found[key] = SeenReason(heaviest, one.evaluations + 1, one.first_s, event.observed_s)
        return sorted(found.values(), key=lambda one: (-one.heaviest.weight, one.heaviest.code))

    @property
    def channels(self) -> list[ChannelName]:
        """Channels that the flow expects, in the order of scores."""
        return [
            name
            for name in CHANNELS
            if any((s := getattr(e.scores, name)) is not None and s.state != "not_expected" for e in self.events)
        ]

    @property
    def blocks(self) -> dict[str, int]:
        """Telemetry events that carried each kind of evidence."""
        return {name: sum(getattr(event, name) is not None for event in self.telemetry) for name in BLOCKS}

    @property
    def degraded(self) -> dict[str, int]:
        """Evaluations in which each dependency was missing."""
        found: dict[str, int] = {}
        for event in self.events:
            for name in event.degraded:
                found[name] = found.get(name, 0) + 1
        return found

    @property
    def versions(self) -> list[tuple[RiskEvent, list[str]]]:
        """Evaluations from which on other versions served, and what changed; the first is the session's first."""
        found: list[tuple[RiskEvent, list[str]]] = []
        before: dict[str, object] = {}
        for event in self.events:
            now = versions_of(event)
            changed = [name for name in {**before, **now} if before.get(name) != now.get(name)]
            if not found or changed:
                found.append((event, changed))
            before = now
        return found

    def latency_ms(self) -> dict[str, tuple[float, float]]:
        """Median and largest time by stage, ms, in the order of the stages."""
        by_stage: dict[str, list[float]] = {}
        for event in self.events:
            for stage, value in event.latency_ms.items():
                by_stage.setdefault(stage, []).append(value)
        return {stage: (sorted(values)[len(values) // 2], max(values)) for stage, values in by_stage.items()}


def versions_of(event: RiskEvent) -> dict[str, object]:
    """What produced an event, by name: pipeline, features, each model, calibration, policy, snapshot."""
    versions = event.versions
    return {
        "pipeline": versions.pipeline,
        "features": versions.features,
        **{f"model {name}": value for name, value in sorted(versions.models.items())},
        "calibration": versions.calibration,
        "policy": versions.policy,
        "snapshot": versions.snapshot,
        "reference key": versions.ref_key,
    }


def story_of(records: Iterable[Telemetry | Signal | RiskEvent], session_id: str) -> Story | None:
    """The story of a session from its records in any order; None where there is no risk event of it."""
    events: dict[tuple[str, int, int], RiskEvent] = {}
    telemetry: dict[int, Telemetry] = {}
    upstream: dict[str, Signal] = {}
    repeats = 0
    for record in records:
        if record.session_id != session_id:
            continue
        if isinstance(record, RiskEvent):
            place = (record.source.topic_id, record.source.partition, record.source.offset)
            # The first one wins, and what was published again says so.
            known = events.get(place)
            repeats += known is not None
            if known is None or (known.replayed and not record.replayed):
                events[place] = record
        elif isinstance(record, Telemetry):
            telemetry.setdefault(record.sequence, record)
        else:
            upstream.setdefault(record.event_id, record)
    if not events:
        return None
    ordered = sorted(events.values(), key=lambda e: (e.ingested_at, e.source.partition, e.source.offset))
    return Story(
        ordered[:MAX_EVALUATIONS],
        [telemetry[number] for number in sorted(telemetry)],
        sorted(upstream.values(), key=lambda s: (s.effective_at, s.event_id)),
        repeats,
        max(0, len(ordered) - MAX_EVALUATIONS),
    )
