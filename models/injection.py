"""The raw risk of the channel `injection`: capture facts, results about the camera step, and who controls the device.

What each fact and result says, which wins and what a missing one means is decided where signals are derived
(`features.fusion`); here the signals that stand are weighed, with the numbers and caps of the signal scorer. A signal
never takes risk away, so a worse fact never lowers it; what is missing has no signal, so it never raises it.
"""

from collections.abc import Mapping
from typing import Final

from models.device_risk import SEVERITIES, SignalScorer
from schemas.risk import SignalValue

_LOWER: Final = {"strong": "medium", "medium": "weak"}


class InjectionScorer:
    """Weighs the signals of one camera step."""

    def __init__(self, signals: SignalScorer) -> None:
        self._signals = signals
        self._counted = frozenset(signals.weights.injection_signals)
        self._support = frozenset(signals.weights.injection_support)

    def raw(self, signals: Mapping[str, SignalValue]) -> float:
        """Risk, 0 to 0.999, of a session that has shown anything of a camera step; 0 where nothing fired."""
        rest = [1.0, 1.0, 1.0]
        for name in sorted(signals):  # a product of floats depends on its order
            signal = signals[name]
            if name in self._counted:
                severity: str | None = signal.severity
            elif name in self._support:
                severity = _LOWER.get(signal.severity)
            else:
                continue
            if severity is None:
                continue
            weight = self._signals.weight_at(name, signal, severity)
            if weight > 0.0:
                rest[SEVERITIES.index(severity)] *= 1.0 - weight
        return self._signals.join(rest)
