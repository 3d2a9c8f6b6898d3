"""Counts what the demo sees: records in and out, decisions against the truth, scores, latency.

Pure: the time is passed in. It consumes risk events as any consumer should, idempotently: per input topic and
partition, what is not above the last source offset seen is a repeat.
"""

from __future__ import annotations

import bisect
import collections
import dataclasses
import math
import statistics
from collections.abc import Iterable, Sequence
from typing import Final

from schemas.risk import CHANNELS, Action, ChannelName, Reason, RiskEvent
from stream.simulation.traffic import Counts, TruthLine

ACTIONS: Final[tuple[Action, ...]] = ("allow", "step_up", "block")
UNKNOWN: Final = "unknown"
LATENCY_KEPT: Final = 20_000
"""Latest latencies kept for the quantiles."""
MOMENTS_KEPT: Final = 200
SESSIONS_KEPT: Final = 5_000
"""Latest sessions that are told apart: a demo that stays up must not grow; records are counted for ever."""
RATE_SECONDS: Final = 120


@dataclasses.dataclass(slots=True)
class SessionSeen:
    """One session as its risk events showed it."""

    session_id: str
    flow: str
    events: int = 0
    action: Action = "allow"
    """The strongest action so far."""
    found_s: float | None = None
    """Observed time of the session at its first step_up or block, s."""
    observed_s: float = 0.0
    final: bool = False
    overall: float = 0.0
    channels: dict[ChannelName, float] = dataclasses.field(default_factory=dict)
    """Latest any-time score of each channel that had one."""


@dataclasses.dataclass(frozen=True, slots=True)
class Moment:
    """A risk event worth a line: the session's decision changed, or it ended."""

    at_s: float
    """Since the traffic began, s."""
    session_id: str
    flow: str
    action: Action
    score: float
    observed_s: float
    final: bool
    reasons: tuple[Reason, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Quantiles:
    """Median and 99th percentile, ms, of so many."""

    p50_ms: float
    p99_ms: float
    n: int


class Tally:
    """Everything that the view and the summary show."""

    def __init__(self, run: str = "") -> None:
        """`run` is the end of this run's session ids: what others send to the same broker is left out."""
        self.run = run
        self.traffic = Counts()
        self.truth: dict[str, TruthLine] = {}
        self.sessions: dict[str, SessionSeen] = {}
        self.moments: collections.deque[Moment] = collections.deque(maxlen=MOMENTS_KEPT)
        self.events = 0
        self.replayed = 0
        self.repeats = 0
        self.foreign = 0
        self.forgotten = 0
        """Sessions that are no longer told apart."""
        self.dead_letters: collections.Counter[str] = collections.Counter()
        self.unreadable = 0
        self.scored_ms: collections.deque[float] = collections.deque(maxlen=LATENCY_KEPT)
        """From received to scored, ms, by the worker's own clock."""
        self.back_ms: collections.deque[float] = collections.deque(maxlen=LATENCY_KEPT)
        """From observed at the gateway to read back here, ms."""
        self.in_rate, self.out_rate = Rate(), Rate()
        self._last_offset: dict[tuple[str, int], int] = {}

    def hear(self, counts: Counts, now_s: float) -> None:
        """Take a report of the traffic process."""
        self.in_rate.add(now_s, counts.acked - self.traffic.acked)
        self.traffic = counts

    def learn(self, truth: TruthLine) -> None:
        """Take the truth about a session that begins."""
        self.truth[truth.session_id] = truth

    def take(self, event: RiskEvent, now_ms: int, now_s: float) -> bool:
        """Count one risk event, unless it is a repeat or of another run's session; return whether it counted."""
        source = event.source
        place = (source.topic_id, source.partition)
        if source.offset <= self._last_offset.get(place, -1):
            self.repeats += 1
            return False
        self._last_offset[place] = source.offset
        if not event.session_id.endswith(self.run):
            self.foreign += 1
            return False
        self.events += 1
        self.replayed += event.replayed
        self.out_rate.add(now_s, 1)
        if (total := event.latency_ms.get("total")) is not None:
            self.scored_ms.append(total)
        self.back_ms.append(float(max(0, now_ms - event.observed_at)))
        self._fold(event, now_s)
        return True

    def bury(self, reason: str) -> None:
        """Count one dead letter."""
        self.dead_letters[reason] += 1

    def lost(self) -> int:
        """Acknowledged records that have neither a risk event nor a dead letter (yet)."""
        return self.traffic.acked - self.events - self.dead_letters.total()

    def actor(self, session_id: str) -> str:
        """`person`, `bot` or `unknown`."""
        truth = self.truth.get(session_id)
        return truth.actor if truth is not None else UNKNOWN

    def actions(self, actor: str) -> dict[Action, int]:
        """Sessions of people or bots by their strongest action."""
        found = collections.Counter(s.action for s in self.sessions.values() if self.actor(s.session_id) == actor)
        return {action: found[action] for action in ACTIONS}

    def scores(self, actor: str, channel: ChannelName | None) -> list[float]:
        """Latest any-time score of each session of people or bots: overall, or of one channel."""
        mine = [s for s in self.sessions.values() if self.actor(s.session_id) == actor]
        if channel is None:
            return [s.overall for s in mine]
        return [s.channels[channel] for s in mine if channel in s.channels]

    def _fold(self, event: RiskEvent, now_s: float) -> None:
        seen = self.sessions.get(event.session_id)
        if seen is None:
            seen = self.sessions[event.session_id] = SessionSeen(event.session_id, event.flow)
            if len(self.sessions) > SESSIONS_KEPT:
                oldest = next(iter(self.sessions))
                del self.sessions[oldest]
                self.truth.pop(oldest, None)
                self.forgotten += 1
        action = event.decision.action
        stronger = ACTIONS.index(action) > ACTIONS.index(seen.action)
        seen.events += 1
        seen.observed_s = event.observed_s
        seen.final |= event.is_final
        seen.overall = event.scores.overall_anytime
        for channel in CHANNELS:
            score = getattr(event.scores, channel)
            if score is not None and score.score_anytime is not None:
                seen.channels[channel] = score.score_anytime
        if stronger:
            seen.action = action
            if seen.found_s is None:
                seen.found_s = event.observed_s
        if stronger or event.is_final:
            self.moments.appendleft(
                Moment(
                    at_s=now_s,
                    session_id=event.session_id,
                    flow=event.flow,
                    action=seen.action,
                    score=event.scores.overall_anytime,
                    observed_s=event.observed_s,
                    final=event.is_final,
                    reasons=tuple(r for r in event.reasons if r.polarity == "risk")[:4],
                )
            )


class Rate:
    """Counts by second, for a rate and a sparkline."""

    def __init__(self) -> None:
        self._seconds: dict[int, int] = {}

    def add(self, now_s: float, n: int) -> None:
        """Count `n` things at `now_s`."""
        second = int(now_s)
        self._seconds[second] = self._seconds.get(second, 0) + n
        for old in [s for s in self._seconds if s < second - RATE_SECONDS]:
            del self._seconds[old]

    def per_s(self, now_s: float, over_s: int = 3) -> float:
        """Mean rate of the last `over_s` whole seconds, 1/s."""
        second = int(now_s)
        return sum(self._seconds.get(s, 0) for s in range(second - over_s, second)) / over_s

    def last(self, now_s: float, n: int) -> list[int]:
        """Counts of the last `n` whole seconds, oldest first."""
        second = int(now_s)
        return [self._seconds.get(s, 0) for s in range(second - n, second)]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class FamilyRow:
    """How the sessions of one family, or kind of people, came out."""

    actor: str
    family: str
    sessions: int
    step_up: int
    block: int
    median_found_s: float | None
    """Median observed time at the first step_up or block, s; None when none was."""

    @property
    def found(self) -> int:
        """Sessions at step_up or block."""
        return self.step_up + self.block


def families(tally: Tally) -> list[FamilyRow]:
    """One row a family, bots first, by name; sessions without a risk event yet are left out."""
    groups: dict[tuple[str, str], list[SessionSeen]] = {}
    for seen in tally.sessions.values():
        truth = tally.truth.get(seen.session_id)
        key = (truth.actor, truth.family) if truth is not None else (UNKNOWN, UNKNOWN)
        groups.setdefault(key, []).append(seen)
    return [_row(actor, family, groups[actor, family]) for actor, family in sorted(groups)]


def total(tally: Tally, actor: str) -> FamilyRow:
    """All people, or all bots, as one row."""
    return _row(actor, "all", [s for s in tally.sessions.values() if tally.actor(s.session_id) == actor])


def quantiles(values: Iterable[float]) -> Quantiles | None:
    """Median and 99th percentile (nearest rank); None without values."""
    ordered = sorted(values)
    if not ordered:
        return None
    return Quantiles(_rank(ordered, 0.5), _rank(ordered, 0.99), len(ordered))


def histogram(values: Sequence[float], bins: int) -> list[int]:
    """Counts of values in equal bins over 0 to 1; 1 falls into the last."""
    edges = [(k + 1) / bins for k in range(bins - 1)]
    counts = [0] * bins
    for value in values:
        counts[bisect.bisect_right(edges, value)] += 1
    return counts


def _rank(ordered: Sequence[float], share: float) -> float:
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def _row(actor: str, family: str, seen: Sequence[SessionSeen]) -> FamilyRow:
    found = [s.found_s for s in seen if s.found_s is not None]
    return FamilyRow(
        actor=actor,
        family=family,
        sessions=len(seen),
        step_up=sum(s.action == "step_up" for s in seen),
        block=sum(s.action == "block" for s in seen),
        median_found_s=statistics.median(found) if found else None,
    )
