"""Reasons: what moved the scores, in words a reviewer can check, from contributions, signals and counters.

Contributions are grouped to reviewer-level codes (`models.reason_codes`); the strongest feature of a group is its
evidence. Weights are shares of the channel's evidence; model reasons that speak against risk have polarity `trust`.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final, Literal, NamedTuple

import numba
import numpy as np

from models.device_risk import SignalScorer
from models.policy import Policy
from models.reason_codes import RISK_SUFFIX, TRUST_SUFFIX, code_of, stem_of
from models.scorer import FloatArray, IntArray
from schemas.risk import ChannelName, Reason, SignalValue, Velocity

MAX_REASONS: Final = 8
MIN_WEIGHT: Final = 0.02
Category = Literal[
    "behaviour", "automation", "device", "network", "velocity", "capture", "anomaly", "identity", "coverage"
]
_CATEGORIES: Final[Mapping[str, Category]] = {
    "behaviour": "behaviour",
    "automation": "automation",
    "device": "device",
    "network": "network",
    "velocity": "velocity",
    "capture": "capture",
    "identity": "identity",
}


@numba.njit(cache=True, nogil=True)
def _group(inputs: IntArray, shares: FloatArray, group_of: IntArray, sums: FloatArray, strongest: IntArray) -> float:
    """Sum shares by group and find each group's strongest feature; return the sum of absolute shares."""
    sums[:] = 0.0
    largest = np.zeros(len(sums), dtype=np.float64)
    total = 0.0
    for k in range(len(inputs)):
        group = group_of[inputs[k]]
        size = abs(shares[k])
        sums[group] += shares[k]
        total += size
        if size > largest[group]:
            largest[group] = size
            strongest[group] = inputs[k]
    return total


class FeatureText(NamedTuple):
    """How a feature is shown."""

    text: str
    unit: str


class Reasoner:
    """Builds reasons.

    Args:
        names: Features in the order of the vector.
        texts: Description and unit of each.
        signals: The signal scorer, whose weights are shown.
        category_of: Category of a signal, by its name.
        policy: Its velocity rules say which counters are worth a reason.
    """

    def __init__(
        self,
        names: Sequence[str],
        texts: Sequence[FeatureText],
        signals: SignalScorer,
        category_of: Callable[[str], str],
        policy: Policy,
    ) -> None:
        stems = [stem_of(name) for name in names]
        self._stems = sorted(set(stems))
        self._group: IntArray = np.array([self._stems.index(stem) for stem in stems], dtype=np.int64)
        self._sums = np.zeros(len(self._stems), dtype=np.float64)
        self._strongest: IntArray = np.zeros(len(self._stems), dtype=np.int64)
        self._texts = [FeatureText(t.text.rstrip("."), "" if t.unit in ("1", "code") else f" {t.unit}") for t in texts]
        self._signals = signals
        self._category_of = category_of
        self._limits: dict[tuple[str, str], int] = {}
        for rule in policy.rules:
            if rule.velocity is not None:
                key = (rule.velocity.counter, rule.velocity.window)
                self._limits[key] = min(rule.velocity.at_least, self._limits.get(key, rule.velocity.at_least))

    def from_shares(
        self, x: FloatArray, inputs: IntArray, shares: FloatArray, channel: ChannelName, risk: float, limit: int
    ) -> list[Reason]:
        """At most `limit` model reasons of one scorer from the share of each of its inputs in its score.

        `risk` (0..1) is the scorer's own output: reasons for risk weigh by it, reasons for trust by the rest.
        """
        total = _group(inputs, shares, self._group, self._sums, self._strongest)
        if total <= 0.0:
            return []
        sums, prefix = self._sums, "ANOMALY_" if channel == "anomaly" else ""
        reasons = []
        for group in np.argsort(-np.abs(sums), kind="stable")[:limit].tolist():
            value = float(sums[group])
            against = value > 0.0
            weight = abs(value) / total * (risk if against else 1.0 - risk)
            if weight < MIN_WEIGHT:
                continue
            feature = int(self._strongest[group])
            reasons.append(
                Reason(
                    code=prefix + self._stems[group] + (RISK_SUFFIX if against else TRUST_SUFFIX),
                    category="anomaly" if prefix else "behaviour",
                    weight=min(1.0, weight),
                    polarity="risk" if against else "trust",
                    evidence=self._evidence(feature, float(x[feature])),
                    basis="model",
                    channel=channel,
                )
            )
        return reasons

    def _evidence(self, feature: int, value: float) -> str:
        text, unit = self._texts[feature]
        return f"{text}: {'no data' if value != value else f'{value:.3g}'}{unit}"

    def from_signals(self, signals: Mapping[str, SignalValue]) -> list[Reason]:
        """One reason for each signal that counts."""
        reasons = []
        for name, signal in signals.items():
            weight = self._signals.weight_of(name, signal)
            if weight <= 0.0:
                continue
            value = "" if signal.value is True or signal.value is None else f": {signal.value!s:.120}"
            reasons.append(
                Reason(
                    code=code_of(name),
                    category=_CATEGORIES.get(self._category_of(name), "device"),
                    weight=min(1.0, weight),
                    polarity="risk",
                    severity=signal.severity,
                    evidence=f"{name.replace('_', ' ')}{value}",
                    basis="signal",
                    channel=self._signals.channel_of(name),
                )
            )
        return reasons

    def from_counters(self, velocity: Mapping[str, Velocity]) -> list[Reason]:
        """One reason for each counter that reaches a limit of the policy."""
        reasons = []
        for (counter, window), limit in self._limits.items():
            found = velocity.get(counter)
            value = getattr(found, window) if found is not None else None
            if found is None or value is None or value < limit:
                continue
            entity, what = counter.split("_", 1)
            about = "about " if found.approximate else ""
            reasons.append(
                Reason(
                    code=f"{counter.upper()}_{window.upper()}",
                    category="velocity",
                    weight=min(1.0, value / (value + limit)),
                    polarity="risk",
                    evidence=f"{about}{value} {what} with this {entity} in {_WINDOW_TEXT[window]}",
                    basis="counter",
                    channel="device",
                )
            )
        return reasons


def ordered(reasons: list[Reason], limit: int = MAX_REASONS) -> list[Reason]:
    """The heaviest reasons first; equal ones by code, so that the order is reproducible."""
    return sorted(reasons, key=lambda reason: (-reason.weight, reason.code))[:limit]


_WINDOW_TEXT: Final = {"m5": "5 minutes", "h1": "1 hour", "h24": "24 hours"}
