"""What the page shows of one session: a risk event in words and numbers, without any identifier."""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from features.signals import SIGNALS
from models.reason_codes import RISK_SUFFIX, TRUST_SUFFIX, code_of
from schemas.risk import CHANNELS, Action, Reason, RiskEvent

TREND: Final = 100
"""Most points of a session's trend; of more every second one goes, so that all of the session is seen."""
REASONS: Final = 6
_UPPER: Final = {name: name.upper() for name in ("cdp", "gpu", "ip", "os", "rtt", "tls", "ua", "vpn", "webgl")}
_CUES: Final = {code_of(name): definition.cue for name, definition in SIGNALS.items()}

Who = Literal["visitor", "bot"]


class Channel(msgspec.Struct):
    """One channel: its score now, its highest so far, both 0 to 1; null without one, and `state` says why."""

    name: str
    state: str
    now: float | None
    peak: float | None


class Why(msgspec.Struct):
    """One reason: what it is, what was observed, and whether it speaks for risk or against it."""

    text: str
    evidence: str
    is_risk: bool
    weight: float
    severity: str | None


class Shown(msgspec.Struct, kw_only=True):
    """One session as its latest risk event tells it. Times in ms or s as named; scores 0 to 1, `risk` 0 to 100."""

    ref: str
    who: Who
    told: str
    """What it truly is, where the demo knows it."""
    state: str
    """`open`, `final`, or how a bot's run ended."""
    note: str = ""
    events: int = 0
    action: Action | None = None
    """None before the first risk event."""
    methods: list[str] = []
    rule: str = ""
    risk: int = 0
    level: str = ""
    observed_s: float = 0.0
    channels: list[Channel] = []
    reasons: list[Why] = []
    coverage: float = 0.0
    missing: list[str] = []
    degraded: list[str] = []
    scored_ms: float | None = None
    """From received by the worker to scored."""
    stages_ms: dict[str, float] = {}
    published_ms: int | None = None
    """From received by the gateway to the risk event's own time in Kafka."""
    back_ms: int | None = None
    """From received by the gateway to read back by this page's server."""
    received_at: int | None = None
    """When the gateway received it, epoch ms."""
    trend_every: int = 1
    """So many events a point of the trend."""
    trend: list[list[float | None]] = []
    """Points: observed_s, overall now and so far, and each channel now, in the order of `channels`."""


def reason_of(reason: Reason) -> Why:
    """Put a reason into words."""
    code = reason.code
    if code.endswith(RISK_SUFFIX):
        text = f"{words(code.removesuffix(RISK_SUFFIX))}: unlike people"
    elif code.endswith(TRUST_SUFFIX):
        text = f"{words(code.removesuffix(TRUST_SUFFIX))}: like people"
    elif reason.basis == "counter":
        # What was counted says it all.
        return Why(reason.evidence, "", reason.polarity == "risk", reason.weight, reason.severity)
    else:
        text = words(code)
    evidence = reason.evidence
    cue = _CUES.get(code)
    if cue is not None:
        # A signal's own evidence repeats its name, then the value where it has one.
        _, colon, value = evidence.partition(": ")
        evidence = f"{cue} ({value})" if colon else cue
    return Why(text, evidence, reason.polarity == "risk", reason.weight, reason.severity)


def words(code: str) -> str:
    """`UPPER_SNAKE` as words that begin with a capital."""
    found = [_UPPER.get(word, word) for word in code.lower().split("_")]
    return " ".join([found[0].capitalize() if found[0].islower() else found[0], *found[1:]])


def show(shown: Shown, event: RiskEvent, published_ms: int, now_ms: int) -> None:
    """Bring `shown` up to a risk event that was published and read back at these times, epoch ms."""
    decision = event.decision
    shown.action = decision.action
    shown.methods = [method.replace("_", " ") for method in decision.step_up_methods or []]
    shown.rule = decision.policy.rule.replace("_", " ")
    shown.risk = event.risk_score
    shown.level = event.risk_level.replace("_", " ")
    shown.observed_s = event.observed_s
    shown.channels = [_channel(event, name) for name in CHANNELS]
    # What speaks for risk stands first: it is what a decision is about.
    reasons = sorted(event.reasons, key=lambda reason: reason.polarity != "risk")
    shown.reasons = [reason_of(reason) for reason in reasons[:REASONS]]
    shown.coverage = event.coverage
    shown.missing = event.missing_signals
    shown.degraded = event.degraded
    shown.scored_ms = event.latency_ms.get("total")
    shown.stages_ms = {name: value for name, value in event.latency_ms.items() if name != "total"}
    shown.published_ms = max(0, published_ms - event.observed_at)
    shown.back_ms = max(0, now_ms - event.observed_at)
    shown.received_at = event.observed_at
    scores = event.scores
    point = [
        round(event.observed_s, 2),
        scores.overall,
        scores.overall_anytime,
        *(channel.now for channel in shown.channels),
    ]
    # The last point is the latest event's, and stays where it is one of every so many.
    stays = (shown.events - 1) % shown.trend_every == 0
    shown.trend = [*(shown.trend if stays else shown.trend[:-1]), point]
    if len(shown.trend) > TREND:
        shown.trend = shown.trend[::2]
        shown.trend_every *= 2
    shown.events = event.sequence
    if event.is_final:
        shown.state = "final"


def _channel(event: RiskEvent, name: str) -> Channel:
    score = getattr(event.scores, name)
    if score is None:
        return Channel(name, "not_expected", None, None)
    return Channel(name, score.state, score.score, score.score_anytime)
