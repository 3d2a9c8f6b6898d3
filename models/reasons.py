"""Reasons: what moved the scores, in words a reviewer can check, from contributions, signals and counters.

Contributions are grouped to reviewer-level codes (`models.reason_codes`); the strongest feature of a group is its
evidence. Weights are shares of the channel's evidence; model reasons that speak against risk have polarity `trust`.
Groups are chosen for all rows of a chunk at once; texts are written only for the reasons that an event shows.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final, Literal, NamedTuple

import numba
import numpy as np

from features.fusion import NEVER, RESULTS, Times, standing_of
from models.device_risk import SignalScorer
from models.movement_match import BAR, MATCHING, NEAR_STEP, copies
from models.policy import Policy
from models.reason_codes import RISK_SUFFIX, TRUST_SUFFIX, code_of, stem_of
from models.scorer import FloatArray, IntArray
from schemas.risk import ChannelName, ChannelScore, Reason, SignalValue, Velocity

MAX_REASONS: Final = 8
MIN_WEIGHT: Final = 0.02
MAX_KNOWN: Final = 10_000
"""Reasons of counters that are kept to be used again."""
Reached = tuple[str, str, int, bool]
"""A counter at or above its limit: its name, window, number, and whether that is a sketch's estimate."""
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
def _strongest_groups(  # type: ignore[no-untyped-def]
    rows, at, inputs, shares, risks, group_of, n_groups, limits, whole, real
):
    """Choose for each row in `at` the up to `limits[i]` groups whose shares sum to the most, strongest first.

    Writes for each one chosen, one after the other, into `whole` whose it is (i), its group (sum below 0: the
    complement) and its strongest feature, into `real` its weight and that feature's value; returns their number. Rows
    whose risk is NaN have none; what weighs too little is left out.
    """
    n = 0
    sums = np.empty(n_groups, dtype=np.float64)
    largest = np.empty(n_groups, dtype=np.float64)
    strongest = np.zeros(n_groups, dtype=np.int64)
    for i in range(len(at)):
        if np.isnan(risks[i]):
            continue
        sums[:] = 0.0
        largest[:] = 0.0
        strongest[:] = 0
        total = 0.0
        for k in range(len(inputs)):
            share = shares[i, k]
            size = abs(share)
            group = group_of[inputs[k]]
            sums[group] += share
            total += size
            if size > largest[group]:
                largest[group] = size
                strongest[group] = inputs[k]
        # Neither without any share, nor with one that is NaN.
        if not total > 0.0:
            continue
        for _ in range(min(limits[i], n_groups)):
            best = 0
            for group in range(1, n_groups):
                if abs(sums[group]) > abs(sums[best]):
                    best = group
            value = sums[best]
            sums[best] = 0.0
            weight = abs(value) / total * (risks[i] if value > 0.0 else 1.0 - risks[i])
            if not weight >= MIN_WEIGHT:
                continue
            whole[0, n] = i
            whole[1, n] = best if value > 0.0 else ~best
            whole[2, n] = strongest[best]
            real[0, n] = min(1.0, weight)
            real[1, n] = rows[at[i], strongest[best]]
            n += 1
    return n


_Chosen = tuple[ChannelName, bool, int, float]
"""A model's reason before it is written down: channel, whether it speaks for risk, feature, and its value."""
Draft = tuple[float, str, int, Reason | _Chosen]
"""Weight below 0, code, order of appearance, and the reason: sorted, the heaviest come first, equal ones by code."""


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
        # By group; the complement of a group's number, which counts from the end, is its code for trust.
        self._codes = {
            channel: [prefix + stem + RISK_SUFFIX for stem in self._stems]
            + [prefix + stem + TRUST_SUFFIX for stem in reversed(self._stems)]
            for channel, prefix in (("", ""), ("anomaly", "ANOMALY_"))
        }
        self._fired: dict[tuple[str, str, str], Reason] = {}
        self._counted: dict[Reached, Reason] = {}
        self._texts = [
            FeatureText(t.text.rstrip(".") + ": ", "" if t.unit in ("1", "code") else f" {t.unit}") for t in texts
        ]
        self._signals = signals
        self._category_of = category_of
        self._limits: dict[tuple[str, str], int] = {}
        for rule in policy.rules:
            if rule.velocity is not None:
                key = (rule.velocity.counter, rule.velocity.window)
                self._limits[key] = min(rule.velocity.at_least, self._limits.get(key, rule.velocity.at_least))
        self._counters = [
            (counter, [(window, limit) for (other, window), limit in self._limits.items() if other == counter])
            for counter in dict.fromkeys(counter for counter, _ in self._limits)
        ]

    def from_shares(
        self,
        rows: FloatArray,
        at: IntArray,
        limits: IntArray,
        inputs: IntArray,
        shares: FloatArray,
        risks: FloatArray,
        channel: ChannelName,
        drafts: Sequence[list[Draft]],
    ) -> None:
        """Add to `drafts[i]` at most `limits[i]` model reasons of row `at[i]`, from each input's share in its score.

        rows (n, N_FEATURES), shares (len(at), n_inputs). `risks` (len(at),), 0..1, are the scorer's own output: reasons
        for risk weigh by it, reasons for trust by the rest. Where it is NaN there are no reasons.
        """
        cap = int(limits.sum())
        whole, real = np.empty((3, cap), dtype=np.int64), np.empty((2, cap), dtype=np.float64)
        n = _strongest_groups(rows, at, inputs, shares, risks, self._group, len(self._stems), limits, whole, real)
        if n == 0:
            return
        codes = self._codes["anomaly" if channel == "anomaly" else ""]
        for i, group, feature, weight, value in zip(*whole[:, :n].tolist(), *real[:, :n].tolist(), strict=True):
            draft = drafts[i]
            draft.append((-weight, codes[group], len(draft), (channel, group >= 0, feature, value)))

    def from_signals(self, signals: Mapping[str, SignalValue], draft: list[Draft]) -> None:
        """Add one reason for each signal that counts."""
        for name, signal in signals.items():
            weight = self._signals.weight_of(name, signal)
            if weight > 0.0:
                reason = self._of_signal(name, signal, weight)
                draft.append((-reason.weight, reason.code, len(draft), reason))

    def _of_signal(self, name: str, signal: SignalValue, weight: float) -> Reason:
        """The reason of a signal; of one that says nothing but that it fired, the same object each time."""
        plain = signal.value is True or signal.value is None
        key = (name, signal.severity, signal.confidence)
        found = self._fired.get(key) if plain else None
        if found is None:
            value = "" if plain else f": {signal.value!s:.120}"
            found = Reason(
                code=code_of(name),
                category=_CATEGORIES.get(self._category_of(name), "device"),
                weight=min(1.0, weight),
                polarity="risk",
                severity=signal.severity,
                evidence=f"{name.replace('_', ' ')}{value}",
                basis="signal",
                channel=self._signals.channel_of(name),
            )
            if plain:
                self._fired[key] = found
        return found

    def from_results(self, results: Mapping[str, Times], injection: ChannelScore | None, draft: list[Draft]) -> None:
        """Add what speaks for the person: results about the camera step that pass, and which ones there are none of."""
        passed = [kind for kind in RESULTS if standing_of(kind, results.get(kind, NEVER)) == "passed"]
        risk = injection.raw if injection is not None else None
        if not passed or risk is None:
            return
        silent = [kind for kind in RESULTS if kind not in results]
        reason = Reason(
            code="CAMERA_RESULTS_PASSED",
            category="capture",
            weight=1.0 - risk,
            polarity="trust",
            evidence=f"passed: {_listed(passed)}; no result of: {_listed(silent) or 'none'}",
            basis="signal",
            channel="injection",
        )
        if reason.weight >= MIN_WEIGHT:
            draft.append((-reason.weight, reason.code, len(draft), reason))

    def from_movements(self, near: bytes, replay: ChannelScore | None, draft: list[Draft]) -> None:
        """Add that movements are copies of other sessions'; near: `Compared.near`."""
        raw = replay.raw if replay is not None else None
        if raw is None or raw < MIN_WEIGHT:
            return
        nearest = sorted(near)[:MATCHING]
        text = ", ".join(f"{one * NEAR_STEP:.2f}" for one in nearest)
        reason = Reason(
            code="MOVEMENTS_REPEATED",
            category="behaviour",
            weight=raw,
            polarity="risk",
            evidence=f"{copies(near)} of the latest {len(near)} movements are copies of another session's; the nearest "
            f"came to {text} of what is usual between people, a copy to {BAR:.2f} at most",
            basis="rule",
            channel="replay",
        )
        draft.append((-reason.weight, reason.code, len(draft), reason))

    def reached(self, velocity: Mapping[str, Velocity]) -> list[Reached]:
        """The counters that reach a limit of the policy."""
        found = []
        for counter, windows in self._counters:
            count = velocity.get(counter)
            if count is not None:
                for window, limit in windows:
                    value = getattr(count, window)
                    if value is not None and value >= limit:
                        found.append((counter, window, value, count.approximate))
        return found

    def from_counters(self, reached: Sequence[Reached], draft: list[Draft]) -> None:
        """Add one reason for each counter that reached a limit; of the same number, the same object each time."""
        for key in reached:
            reason = self._counted.get(key)
            if reason is None:
                if len(self._counted) >= MAX_KNOWN:
                    self._counted.clear()
                reason = self._counted[key] = self._of_counter(*key)
            draft.append((-reason.weight, reason.code, len(draft), reason))

    def _of_counter(self, counter: str, window: str, value: int, approximate: bool) -> Reason:  # noqa: FBT001
        entity, what = counter.split("_", 1)
        return Reason(
            code=f"{counter.upper()}_{window.upper()}",
            category="velocity",
            weight=min(1.0, value / (value + self._limits[counter, window])),
            polarity="risk",
            evidence=f"{'about ' if approximate else ''}{value} {what} with this {entity} in {_WINDOW_TEXT[window]}",
            basis="counter",
            channel="device",
        )

    def written(self, draft: list[Draft], limit: int = MAX_REASONS) -> list[Reason]:
        """The heaviest `limit` reasons, equal ones by code, so that the order is reproducible. Sorts `draft`."""
        draft.sort()
        reasons, texts = [], self._texts
        for negative_weight, code, _, what in draft[:limit]:
            if not isinstance(what, tuple):
                reasons.append(what)
                continue
            channel, is_risk, feature, value = what
            text, unit = texts[feature]
            reasons.append(
                Reason(
                    code=code,
                    category="anomaly" if channel == "anomaly" else "behaviour",
                    weight=-negative_weight,
                    polarity="risk" if is_risk else "trust",
                    evidence=f"{text}{value:.3g}{unit}" if value == value else f"{text}no data{unit}",
                    basis="model",
                    channel=channel,
                )
            )
        return reasons


def _listed(kinds: Sequence[str]) -> str:
    return ", ".join(kind.replace("_", " ") for kind in kinds)


_WINDOW_TEXT: Final = {"m5": "5 minutes", "h1": "1 hour", "h24": "24 hours"}
