"""What the pipeline made of one session: which ways found it, when, and by which signals. Pure: risk events in.

A way finds a session where its channel's any-time score reaches the policy's bar for a channel (`corroborate_at`), or
where a strong signal of its kind fired that nothing excuses: that is what the policy acts on. `overall` finds it where
the decision is anything but allow.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from models.device_risk import SignalScorer
from schemas.risk import CHANNELS, ChannelName, RiskEvent, SignalValue

WAYS: Final = ("device", "behaviour", "anomaly", "injection", "replay", "ring", "overall")
"""Ways to find a session, in the order of the report; `overall` is the decision."""
_OF_CHANNEL: Final[Mapping[ChannelName, str]] = {name: "behaviour" if name == "bot" else name for name in CHANNELS}
_CHANNEL_OF: Final = SignalScorer().channel_of
_REPLAYED: Final = ("payload_replayed", "stroke_replayed", "capture_hash_reuse")
"""Signals that say that something came before, whatever their category."""


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """One session as it was judged. Times are seconds of observed session time, `latency_ms` of the wall clock."""

    events: int
    observed_s: float
    action: str
    rule: str
    found_after_s: dict[str, float]
    """By way: when it first found the session; ways that did not are absent."""
    peaks: dict[str, float]
    """By channel: its highest any-time score; channels without one are absent."""
    overall: float
    signals: dict[str, str]
    """Every signal that fired and nothing excuses, with its severity."""
    first_by: list[str]
    """What stood behind the first decision against it: strong signals, else channels above the bar, else the rule."""
    missing: list[str]
    """Expected evidence that never came."""
    found_ms: int | None
    """From the first event received to the first decision against it, wall clock, ms."""


def way_of(signal: str) -> str:
    """The way that a signal belongs to: its channel's, as the scorer has it."""
    return "replay" if signal in _REPLAYED else _OF_CHANNEL[_CHANNEL_OF(signal)]


def judge(events: Sequence[RiskEvent], bar: float) -> Verdict | None:
    """Sum up a session's risk events, in any order; None without any. `bar`: any-time score that finds, 0 to 1."""
    ordered = sorted(events, key=lambda event: event.sequence)
    if not ordered:
        return None
    found: dict[str, float] = {}
    peaks: dict[str, float] = {}
    signals: dict[str, str] = {}
    first_by: list[str] = []
    found_ms: int | None = None
    for event in ordered:
        ways = _ways(event, bar, peaks)
        signals |= {name: value.severity for name, value in event.signals.items() if counts(value)}
        if event.decision.action != "allow":
            ways.add("overall")
            if "overall" not in found:
                first_by = _grounds(event, bar)
                found_ms = event.scored_at - ordered[0].observed_at
        for way in ways:
            found.setdefault(way, event.observed_s)
    last = ordered[-1]
    return Verdict(
        events=len(ordered),
        observed_s=last.observed_s,
        action=last.decision.action,
        rule=last.decision.policy.rule,
        found_after_s=found,
        peaks=peaks,
        overall=max(event.scores.overall_anytime for event in ordered),
        signals=signals,
        first_by=first_by,
        missing=last.missing_signals,
        found_ms=found_ms,
    )


def counts(value: SignalValue) -> bool:
    """Whether a signal fired and nothing excuses it."""
    return value.exempt is None and value.value is not False


def _ways(event: RiskEvent, bar: float, peaks: dict[str, float]) -> set[str]:
    ways = {way_of(name) for name, value in event.signals.items() if value.severity == "strong" and counts(value)}
    for name in CHANNELS:
        channel = getattr(event.scores, name)
        if channel is None or channel.score_anytime is None:
            continue
        peaks[name] = max(peaks.get(name, 0.0), channel.score_anytime)
        if channel.score_anytime >= bar:
            ways.add(_OF_CHANNEL[name])
    return ways


def _grounds(event: RiskEvent, bar: float) -> list[str]:
    strong = [name for name, value in event.signals.items() if value.severity == "strong" and counts(value)]
    if strong:
        return strong
    above = []
    for name in CHANNELS:
        channel = getattr(event.scores, name)
        if channel is not None and channel.score_anytime is not None and channel.score_anytime >= bar:
            above.append(f"{name} score")
    return above or [f"rule {event.decision.policy.rule}"]
