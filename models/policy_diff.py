"""What another policy says and would have decided: two policy files side by side, and sessions decided anew by both.

A risk event holds all that a decision rests on: the channels' any-time scores, signals with their exemptions, counters,
what was missing. So both policies decide each session again, event by event, latch included, without a model. Where an
event cannot tell (a channel that was not scored), that is counted and said, not guessed.
"""

from collections import Counter, OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, NamedTuple

import msgspec

from models.channels import shared_weights
from models.decide import Decider, Facts, Latch
from models.policy import ACTION_RANK, LoadedPolicy, Policy
from schemas.risk import Action, ChannelName, ChannelScore, RiskEvent

MAX_SESSIONS: Final = 200_000
EXAMPLES: Final = 5
By = Literal["flow", "tenant", "input", "source", "collector", "platform"]
GROUPS: Final[tuple[By, ...]] = ("flow", "tenant", "input", "source", "collector", "platform")


class Change(NamedTuple):
    """One thing that the new policy says otherwise; None: it is not there."""

    where: str
    old: str | None
    new: str | None


def changes(old: Policy, new: Policy) -> list[Change]:
    """What differs, in the order of the file; rules by their id, and their order where that changed."""
    found: list[Change] = []
    before, after = _flat(old), _flat(new)
    found += [
        Change(name, before.get(name), after.get(name))
        for name in {**before, **after}
        if before.get(name) != after.get(name)
    ]
    both = [rule.id for rule in old.rules if any(rule.id == other.id for other in new.rules)]
    order = [rule.id for rule in new.rules if rule.id in set(both)]
    if both != order:
        found.append(Change("rules, in order", ", ".join(both), ", ".join(order)))
    return found


def _flat(policy: Policy) -> dict[str, str]:
    plain: dict[str, Any] = msgspec.to_builtins(policy)
    rules = plain.pop("rules")
    found = dict(_leaves(plain, ""))
    for rule in rules:
        name = f"rules.{rule.pop('id')}"
        found |= {where: text for where, text in _leaves(rule, name) if text != "null"}
    return found


def _leaves(value: object, where: str) -> list[tuple[str, str]]:
    if isinstance(value, dict):
        return [leaf for name, own in value.items() for leaf in _leaves(own, f"{where}.{name}" if where else name)]
    return [(where, msgspec.json.encode(value).decode())]


def overall_anytime(event: RiskEvent, weights: Mapping[ChannelName, float]) -> tuple[float, list[str]]:
    """The overall any-time score under these weights, as the pipeline combines it, and channels that were not scored.

    A channel that the flow did not expect then has no calibrated score: it counts as no evidence.
    """
    least = 1.0
    unknown: list[str] = []
    for name, weight in shared_weights(weights).items():
        score: ChannelScore | None = getattr(event.scores, name)
        if score is None or score.state == "not_expected":
            if name in weights:
                unknown.append(name)
        elif score.score_anytime is not None:
            least = min(least, (1.0 - score.score_anytime) / weight)
    return 1.0 - least, unknown


class Judge:
    """One policy, deciding sessions anew from their risk events."""

    def __init__(self, loaded: LoadedPolicy) -> None:
        self.loaded = loaded
        self._decider = Decider(loaded)

    def decide(self, event: RiskEvent, latch: Latch) -> tuple[Action, str, Latch, list[str]]:
        """Action, rule, the latch to keep, and channels that this policy weighs and the event has no score of."""
        weights = self.loaded.policy.flows[event.flow].weights
        overall, unknown = overall_anytime(event, weights)
        anytime: dict[str, float] = {}
        for name in shared_weights(weights):
            score: ChannelScore | None = getattr(event.scores, name)
            if score is not None and score.score_anytime is not None:
                anytime[name] = score.score_anytime
        facts = Facts(overall, anytime, event.signals, event.velocity, event.degraded)
        decision, latch = self._decider.decide(event.flow, facts, latch, event.sequence)
        return decision.action, decision.policy.rule, latch, unknown


@dataclass(slots=True)
class Decided:
    """A session under one policy so far."""

    latch: Latch = field(default_factory=lambda: Latch(None, 0))
    action: Action = "allow"
    rule: str = "none"
    """The rule that took the decision which holds."""
    at_s: float = 0.0
    """Observed time of that decision, s; of allow 0."""

    def take(self, judge: Judge, event: RiskEvent) -> list[str]:
        """Decide on the session's next event; return channels without a score."""
        action, rule, self.latch, unknown = judge.decide(event, self.latch)
        if ACTION_RANK[action] > ACTION_RANK[self.action]:
            self.rule, self.at_s = rule, event.observed_s
        self.action = action
        return unknown


@dataclass(slots=True)
class Both:
    """A session under both policies, and what it belongs to."""

    groups: dict[By, str]
    sequence: int = 0
    place: tuple[str, int, int] = ("", -1, -1)
    """Topic id, partition and offset of the latest event's source."""
    old: Decided = field(default_factory=Decided)
    new: Decided = field(default_factory=Decided)
    overall: float = 0.0
    """Under the new policy, highest so far."""


class Example(NamedTuple):
    """A session whose decision is another: under which rules, at which overall score (of the new policy)."""

    session_id: str
    flow: str
    old: Action
    new: Action
    old_rule: str
    new_rule: str
    overall: float


class PolicyDiff:
    """Decides sessions by two policies, and counts."""

    def __init__(self, old: LoadedPolicy, new: LoadedPolicy, max_sessions: int = MAX_SESSIONS) -> None:
        self.old, self.new = Judge(old), Judge(new)
        self._max_sessions = max_sessions
        self._sessions: OrderedDict[str, Both] = OrderedDict()
        self._places: dict[str, tuple[str, str]] = {}
        self.events = 0
        self.repeats = 0
        """Events that were there twice, or out of order."""
        self.beheaded: set[str] = set()
        """Sessions whose beginning is not among the events: what was decided before is not known, they are left out."""
        self.beyond = 0
        """Events of sessions beyond the most that are told apart."""
        self.gaps = 0
        self.by_old = 0
        """Events that the old policy decided in truth."""
        self.not_as_stored: dict[str, None] = {}
        """Sessions of those events that the old policy decides otherwise here than then: some of their events are
        missing, or they were decided by another release."""
        self.unknown: Counter[str] = Counter()
        """Events by channel that the new policy weighs and that they have no score of."""

    def describe(self, session_id: str, collector: str, platform: str) -> None:
        """Take from telemetry what risk events don't say of a session."""
        if session_id in self._places or len(self._places) < self._max_sessions:
            self._places[session_id] = (collector, platform)

    def take(self, event: RiskEvent) -> None:
        """Decide on one event; events of one session in their order."""
        place = (event.source.topic_id, event.source.partition, event.source.offset)
        session = self._session_of(event, place)
        if session is None:
            return
        if event.sequence <= session.sequence:
            self.repeats += 1
            return
        self.gaps += event.sequence > session.sequence + 1
        session.sequence, session.place = event.sequence, place
        self.events += 1
        if "*" in {session.groups["input"], session.groups["source"]}:
            session.groups |= {name: own for name, own in _groups(event).items() if own != "*"}
        session.old.take(self.old, event)
        self.unknown.update(session.new.take(self.new, event))
        session.overall = overall_anytime(event, self.new.loaded.policy.flows[event.flow].weights)[0]
        if event.decision.policy.revision == self.old.loaded.revision:
            self.by_old += 1
            if session.old.action != event.decision.action:
                self.not_as_stored[event.session_id] = None

    def _session_of(self, event: RiskEvent, place: tuple[str, int, int]) -> Both | None:
        """The session to decide on; None where the event is a repeat, or its session can't be decided."""
        session = self._sessions.get(event.session_id)
        if session is not None:
            if place[:2] == session.place[:2] and place[2] <= session.place[2]:
                self.repeats += 1
                return None
            if event.sequence > 1:
                return session
            # It was erased, and began anew.
        if event.sequence != 1:
            if event.session_id in self.beheaded or len(self.beheaded) < self._max_sessions:
                self.beheaded.add(event.session_id)
            else:
                self.beyond += 1
            return None
        if len(self._sessions) >= self._max_sessions and session is None:
            self.beyond += 1
            return None
        session = self._sessions[event.session_id] = Both(_groups(event))
        return session

    @property
    def sessions(self) -> int:
        """Sessions that were decided."""
        return len(self._sessions)

    def flips(self, by: By) -> dict[str, Counter[tuple[Action, Action]]]:
        """Sessions by group and by old and new decision, in the order of the groups' names."""
        found: dict[str, Counter[tuple[Action, Action]]] = {}
        for session_id, session in self._sessions.items():
            found.setdefault(self._group(session_id, session, by), Counter())[
                session.old.action, session.new.action
            ] += 1
        return dict(sorted(found.items()))

    def _group(self, session_id: str, session: Both, by: By) -> str:
        if by in {"collector", "platform"}:
            place = self._places.get(session_id)
            return "unknown" if place is None else place[by == "platform"] or "unknown"
        return session.groups[by]

    @property
    def changed(self) -> int:
        """Sessions whose decision is another at their end."""
        return sum(one.old.action != one.new.action for one in self._sessions.values())

    @property
    def moved(self) -> tuple[int, int]:
        """Sessions that are decided alike, but earlier, or later, in observed time."""
        same = [one for one in self._sessions.values() if one.old.action == one.new.action]
        return sum(one.new.at_s < one.old.at_s for one in same), sum(one.new.at_s > one.old.at_s for one in same)

    @property
    def other_rule(self) -> int:
        """Sessions that are decided alike by a rule of another name."""
        return sum(one.old.action == one.new.action and one.old.rule != one.new.rule for one in self._sessions.values())

    def examples(self, most: int = EXAMPLES) -> list[Example]:
        """Of each flow and change the first few sessions."""
        seen: Counter[tuple[str, Action, Action]] = Counter()
        found = []
        for session_id, one in self._sessions.items():
            key = (one.groups["flow"], one.old.action, one.new.action)
            if one.old.action == one.new.action or seen[key] >= most:
                continue
            seen[key] += 1
            found.append(Example(session_id, *key, one.old.rule, one.new.rule, one.overall))
        return sorted(found, key=lambda e: (e.flow, ACTION_RANK[e.old], ACTION_RANK[e.new]))


def _groups(event: RiskEvent) -> dict[By, str]:
    """What a risk event says of its session; a cell's `*` means that its people are of all kinds."""
    parts = ["*"] * 4
    for name in ("bot", "anomaly", "device"):
        score: ChannelScore | None = getattr(event.scores, name)
        if score is not None and score.calibration is not None:
            own = score.calibration.cell.split("/")
            parts = [mine if mine != "*" else new for mine, new in zip(parts, own, strict=False)]
    return {"flow": event.flow, "tenant": event.tenant, "input": parts[1], "source": parts[2]}
