"""From scores and facts to a decision: thresholds, rules, fail policy and the latch.

Behaviour alone never blocks: a score blocks only beside a fact about device, network or capture of medium or strong
severity, or a second channel that is not behaviour. What was read off the input (a key held for 0 ms, say) is behaviour
too: password managers, text expanders and assistive tools do that for people. A decision latches: a session is stepped
up once, and only a block comes after a step-up.
"""

from collections.abc import Collection, Mapping
from typing import Final, NamedTuple

from models.policy import ACTION_RANK, BEHAVIOUR_SIGNALS, FlowPolicy, LoadedPolicy, Rule
from schemas.risk import Action, Decision, RiskLevel, SignalValue, Velocity
from schemas.risk import Policy as PolicyRef

BEHAVIOUR_CHANNELS: Final = frozenset(("bot", "anomaly", "replay"))
_SEVERITY_RANK: Final = {"weak": 0, "medium": 1, "strong": 2}


class Latch(NamedTuple):
    """What the session already decided: the action (None: allow so far) and the number of that evaluation."""

    action: Action | None
    evaluation: int


class Facts(NamedTuple):
    """What decisions rest on."""

    overall_anytime: float
    channels_anytime: Mapping[str, float]
    signals: Mapping[str, SignalValue]
    velocity: Mapping[str, Velocity]
    degraded: Collection[str]


class Decider:
    """Decides by one policy."""

    def __init__(self, loaded: LoadedPolicy) -> None:
        self.policy = loaded.policy
        self.revision = loaded.revision
        self._critical = frozenset(self.policy.critical_dependencies)
        self._rules: dict[str, tuple[Rule, ...]] = {
            flow: tuple(rule for rule in self.policy.rules if rule.flows is None or flow in rule.flows)
            for flow in self.policy.flows
        }
        self._methods = {
            rule.id: rule.step_up_methods for rule in self.policy.rules if isinstance(rule.step_up_methods, list)
        }
        # Counters alone can meet only these.
        self._counter_rules = {
            flow: tuple(rule for rule in rules if rule.any_signal is None and rule.severity is None)
            for flow, rules in self._rules.items()
        }
        bands = self.policy.bands
        self._bands: tuple[tuple[float, RiskLevel], ...] = (
            (bands.very_high, "very_high"),
            (bands.high, "high"),
            (bands.medium, "medium"),
        )
        self._refs: dict[str, PolicyRef] = {}
        self._decisions: dict[tuple[str, Action, str, bool, bool], Decision] = {}
        self._plain = {flow: self._decision(flow, "allow", "none") for flow in self.policy.flows}
        self._step_up_at = {flow: rules.step_up_at for flow, rules in self.policy.flows.items()}

    def level(self, overall_anytime: float) -> RiskLevel:
        """Risk level by the policy's bands."""
        for edge, level in self._bands:
            if overall_anytime >= edge:
                return level
        return "low"

    def plain(self, flow: str, overall_anytime: float) -> Decision | None:
        """The decision where there is nothing but a score and no latch, if that score is too low for any action."""
        return self._plain[flow] if overall_anytime < self._step_up_at[flow] else None  # type: ignore[index]

    def decide(self, flow: str, facts: Facts, latch: Latch, evaluation: int) -> tuple[Decision, Latch]:
        """The decision for evaluation number `evaluation` of a session, and the latch to keep."""
        action, rule = self._propose(flow, facts)
        before: Action = latch.action or "allow"
        if ACTION_RANK[action] > ACTION_RANK[before]:
            return self._decision(flow, action, rule, changed=True), Latch(action, evaluation)
        if before == "allow":
            return self._decision(flow, "allow", rule), latch
        held = rule if action == before else "latched"
        return self._decision(flow, before, held, latched=True), latch

    def _propose(self, flow: str, facts: Facts) -> tuple[Action, str]:
        flow_policy = self.policy.flows[flow]  # type: ignore[index]
        best: Action = "allow"
        name = "none"
        if facts.signals or facts.velocity:
            for rule in self._rules[flow] if facts.signals else self._counter_rules[flow]:
                if ACTION_RANK[rule.action] > ACTION_RANK[best] and _holds(rule, facts):
                    best, name = rule.action, rule.id
        by_score = self._by_score(flow_policy, facts)
        if ACTION_RANK[by_score] > ACTION_RANK[best]:
            best, name = by_score, f"score_{by_score}"
        failed = facts.degraded and not self._critical.isdisjoint(facts.degraded)
        if failed and ACTION_RANK[flow_policy.on_degraded] > ACTION_RANK[best]:
            best, name = flow_policy.on_degraded, "degraded"
        return best, name

    def _by_score(self, flow_policy: FlowPolicy, facts: Facts) -> Action:
        score = facts.overall_anytime
        if score < flow_policy.step_up_at:
            return "allow"
        if flow_policy.block_at is None or score < flow_policy.block_at or not self._corroborated(facts):
            return "step_up"
        return "block"

    def _corroborated(self, facts: Facts) -> bool:
        if any(
            _counts(signal) and signal.severity != "weak" and name not in BEHAVIOUR_SIGNALS
            for name, signal in facts.signals.items()
        ):
            return True
        return any(
            score >= self.policy.corroborate_at
            for channel, score in facts.channels_anytime.items()
            if channel not in BEHAVIOUR_CHANNELS
        )

    def _decision(
        self, flow: str, action: Action, rule: str, *, latched: bool = False, changed: bool = False
    ) -> Decision:
        """The one object for this decision: there are no more of them than rules."""
        key = (flow, action, rule, latched, changed)
        found = self._decisions.get(key)
        if found is None:
            ref = self._refs.get(rule)
            if ref is None:
                ref = PolicyRef(id=self.policy.id, revision=self.revision, rule=rule, mode=self.policy.mode)
                self._refs[rule] = ref
            own = self._methods.get(rule) or self.policy.flows[flow].step_up_methods  # type: ignore[index]
            methods = list(own) if action == "step_up" else None
            found = Decision(action=action, policy=ref, step_up_methods=methods, latched=latched, changed=changed)
            self._decisions[key] = found
        return found


def _holds(rule: Rule, facts: Facts) -> bool:
    if rule.min_overall_anytime is not None and facts.overall_anytime < rule.min_overall_anytime:
        return False
    if rule.any_signal is not None and not any(_counts(facts.signals.get(name)) for name in rule.any_signal):
        return False
    if rule.severity is not None:
        least = _SEVERITY_RANK[rule.severity.at_least]
        count = sum(
            _counts(signal) and _SEVERITY_RANK[signal.severity] >= least
            for name, signal in facts.signals.items()
            if name not in rule.severity.exclude and not (rule.action == "block" and name in BEHAVIOUR_SIGNALS)
        )
        if count < rule.severity.count:
            return False
    if rule.velocity is not None:
        found = facts.velocity.get(rule.velocity.counter)
        value = getattr(found, rule.velocity.window) if found is not None else None
        if value is None or value < rule.velocity.at_least:
            return False
    # Last: few rules come so far, and fewer have one.
    return not (isinstance(rule.unless, list) and any(_counts(facts.signals.get(name)) for name in rule.unless))


def _counts(signal: SignalValue | None) -> bool:
    return signal is not None and signal.exempt is None and signal.value is not False
