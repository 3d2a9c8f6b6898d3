"""The stupid twin of scoring: one event, one tree, one channel and one reason at a time, in plain Python.

It says what `Engine.raw` and `Engine.assess_chunk` must give, down to the bits: no plans, no reused objects, no walk
over flat tables, no shortcut past the policy's rules.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from features.camera import Camera
from features.fusion import RESULTS, standing_of
from features.registry import FEATURES, INDEX, NAMES
from features.signal_table import SIGNALS
from models.assessment import Assessment, SessionMeta
from models.calibration import Calibrator
from models.cells import Cell, evidence_of, input_of, source_of
from models.channels import STATED
from models.combine import coverage, hundredths
from models.decide import Decider, Facts, _holds
from models.engine import Engine
from models.policy import ACTION_RANK
from models.reason_codes import RISK_SUFFIX, TRUST_SUFFIX, code_of, stem_of
from models.snapshots import EMPTY, SnapshotSet
from schemas.risk import (
    CHANNELS,
    Action,
    ChannelName,
    ChannelScore,
    Decision,
    Reason,
    Scores,
    SignalValue,
    Velocity,
)
from schemas.risk import Policy as PolicyRef
from tests.support.naive_automation import naive_automation
from tests.support.naive_shares import Floats, Shares, anomaly_shares, keystroke_shares, pointer_shares

_WINDOWS = {"m5": "5 minutes", "h1": "1 hour", "h24": "24 hours"}


def overall(weights: Mapping[ChannelName, float], scores: Mapping[str, float]) -> float:
    """1 - min(1, min_i (1 - s_i) / w_i) over the channels expected in the flow; `weights` add up to 1."""
    least = 1.0
    for channel, weight in weights.items():
        score = scores.get(channel)
        if score is not None:
            least = min(least, (1.0 - score) / weight)
    return 1.0 - least


class NaiveScoring:
    """Assesses with an engine's artefacts and policy, but none of its ways."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.policy = engine.policy
        self.decider = Decider(engine._loaded_policy)

    def raw(
        self,
        x: Floats,
        flow: str,
        signals: Mapping[str, SignalValue],
        snapshot: SnapshotSet | None = None,
        camera: Camera | None = None,
    ) -> list[float]:
        """One row of `Engine.raw`."""
        artifacts = self.engine.artifacts
        pointer = pointer_shares(artifacts.pointer, x) if artifacts.pointer is not None else None
        typed = keystroke_shares(artifacts.keystroke, x) if artifacts.keystroke is not None else None
        bots = [found[0] for found in (pointer, typed) if found is not None]
        device, forensic = artifacts.signals.raw(signals)
        if forensic > 0.0:
            bots.append(forensic)
        model = self.engine.anomaly_of(flow, snapshot)
        anomaly = anomaly_shares(model, x) if model is not None else None
        out = dict.fromkeys(CHANNELS, math.nan)
        out["bot"] = max(bots, default=math.nan)
        out["anomaly"] = anomaly[0] if anomaly is not None else math.nan
        if camera is not None:
            out["injection"] = self._injection(signals)
        if device > 0.0 or x[INDEX["session_device_seen"]] > 0.0:
            out["device"] = device
        return [out[channel] for channel in CHANNELS]

    def _injection(self, signals: Mapping[str, SignalValue]) -> float:
        """1 - (1 - strong)(1 - doubts), each a noisy-or; what only supports counts one severity lower."""
        weights = self.engine.artifacts.signals.weights
        base = {"strong": weights.severity.strong, "medium": weights.severity.medium, "weak": weights.severity.weak}
        sure = {"high": weights.confidence.high, "medium": weights.confidence.medium, "low": weights.confidence.low}
        left = {"strong": 1.0, "medium": 1.0, "weak": 1.0}
        for name, signal in sorted(signals.items()):
            severity: str | None = None
            if name in weights.injection_signals:
                severity = signal.severity
            elif name in weights.injection_support:
                severity = {"strong": "medium", "medium": "weak", "weak": None}[signal.severity]
            if severity is not None and signal.exempt is None and signal.value is not False:
                left[severity] *= 1.0 - base[severity] * sure[signal.confidence]
        hints = min(weights.caps.weak, 1.0 - left["weak"])
        doubts = min(weights.caps.medium, 1.0 - left["medium"] * (1.0 - hints))
        return min(0.999, 1.0 - left["strong"] * (1.0 - doubts))

    def assess(
        self,
        x: Floats,
        raw: Sequence[float],
        meta: SessionMeta,
        signals: Mapping[str, SignalValue],
        velocity: Mapping[str, Velocity],
        degraded: Sequence[str],
        *,
        snapshot: SnapshotSet | None = None,
    ) -> Assessment:
        """One event; updates `meta`."""
        cell = _cell_of(x, meta)
        live = (snapshot or EMPTY).calibration.get(meta.flow)
        calibrator = Calibrator([*([live] if live is not None else []), *self.engine._tables, STATED])
        scores, anytime = self._scores(raw, meta, cell, calibrator, degraded)
        meta.evaluations += 1
        facts = Facts(scores.overall_anytime, anytime, signals, velocity, degraded)
        decision = self._decide(meta, facts)
        level = self.decider.level(scores.overall_anytime)
        wanted = self.policy.flows[meta.flow].expected_evidence  # type: ignore[index]
        seen = [name for name in wanted if meta.has(name) or (name == "pointer" and meta.has("touch"))]
        share, missing = coverage(wanted, seen)
        detail = _detail(decision.action, level, ended=meta.ended)
        reasons = self._reasons(x, meta.flow, signals, velocity, snapshot, detail)
        if detail != "facts" and meta.camera is not None and scores.injection is not None:
            reasons = _with_trust(reasons, meta.camera, scores.injection.raw)
        return Assessment(
            scores=scores,
            decision=decision,
            risk_level=level,
            risk_score=hundredths(scores.overall_anytime),
            reasons=sorted(reasons, key=lambda reason: (-reason.weight, reason.code))[:8],
            coverage=share,
            missing_signals=missing,
            cell=cell,
            flagged_by=[
                *[name for name in CHANNELS if anytime.get(name, 0.0) >= self.policy.corroborate_at],
                *(["velocity"] if self._counter_reasons(velocity) else []),
            ],
            automation=naive_automation(x, meta, scores, anytime, signals),
        )

    def _decide(self, meta: SessionMeta, facts: Facts) -> Decision:
        """The most severe of what every rule, the score and what was missing ask for; then the latch."""
        rules = self.policy.flows[meta.flow]  # type: ignore[index]
        asked: list[tuple[Action, str]] = [("allow", "none")]
        asked += [
            (rule.action, rule.id)
            for rule in self.policy.rules
            if (rule.flows is None or meta.flow in rule.flows) and _holds(rule, facts)
        ]
        score = facts.overall_anytime
        if score >= rules.step_up_at:
            blocks = rules.block_at is not None and score >= rules.block_at and self.decider._corroborated(facts)
            asked.append(("block", "score_block") if blocks else ("step_up", "score_step_up"))
        if set(facts.degraded) & set(self.policy.critical_dependencies):
            asked.append((rules.on_degraded, "degraded"))
        action, name = max(asked, key=lambda each: ACTION_RANK[each[0]])  # the first of equals
        before: Any = meta.latched_action or "allow"
        changed = ACTION_RANK[action] > ACTION_RANK[before]
        if changed:
            meta.latched_action, meta.latched_evaluation = action, meta.evaluations
        elif ACTION_RANK[action] < ACTION_RANK[before]:
            action, name = before, "latched"
        elif action == "allow":
            name = "none"
        own = {rule.id: rule.step_up_methods for rule in self.policy.rules}.get(name)
        methods = own if isinstance(own, list) else rules.step_up_methods
        return Decision(
            action=action,
            policy=PolicyRef(id=self.policy.id, revision=self.decider.revision, rule=name, mode=self.policy.mode),
            step_up_methods=list(methods) if action == "step_up" else None,
            latched=action != "allow" and not changed,
            changed=changed,
        )

    def _scores(
        self, raw: Sequence[float], meta: SessionMeta, cell: Cell, calibrator: Calibrator, degraded: Sequence[str]
    ) -> tuple[Scores, dict[str, float]]:
        named = self.policy.flows[meta.flow].weights  # type: ignore[index]
        weights = dict(named)
        if "injection" not in named and "device" in named:
            weights["injection"] = named["device"]
        if "replay" not in named and "bot" in named:
            weights["replay"] = named["bot"]
        needs = {"anomaly": "snapshot", "bot": "models", "device": "models"}
        now: dict[str, float] = {}
        anytime: dict[str, float] = {}
        channels: dict[str, ChannelScore] = {}
        for i, name in enumerate(CHANNELS):
            value, highest = raw[i], meta.raw_max[i]
            if value == value and not highest >= value:
                highest = meta.raw_max[i] = value
            weight = weights.get(name)
            if weight is None:
                channels[name] = ChannelScore(state="not_expected")
                continue
            if highest != highest and name not in named:
                channels[name] = ChannelScore(state="not_expected")
                continue
            if highest != highest:
                channels[name] = ChannelScore(
                    state="degraded" if needs.get(name) in degraded else "no_data", weight=weight
                )
                continue
            ever = calibrator.score(name, "anytime", cell, highest)
            found = calibrator.score(name, "now", cell, value) if value == value else None
            anytime[name] = ever.score
            if found is not None:
                now[name] = found.score
            channels[name] = ChannelScore(
                state="scored" if found is not None else "no_data",
                score=found.score if found is not None else None,
                score_anytime=ever.score,
                raw=value if found is not None else None,
                raw_max=highest,
                weight=weight,
                calibration=found.calibration if found is not None else ever.calibration,
            )
        return Scores(overall=overall(weights, now), overall_anytime=overall(weights, anytime), **channels), anytime

    def _reasons(
        self,
        x: Floats,
        flow: str,
        signals: Mapping[str, SignalValue],
        velocity: Mapping[str, Velocity],
        snapshot: SnapshotSet | None,
        detail: Literal["facts", "brief", "full"],
    ) -> list[Reason]:
        artifacts = self.engine.artifacts
        found: list[Reason] = []
        if detail != "facts":
            limit = 2 if detail == "brief" else 5
            if artifacts.pointer is not None:
                found += _model_reasons(x, artifacts.pointer.inputs, pointer_shares(artifacts.pointer, x), "bot", limit)
            if artifacts.keystroke is not None:
                typed = keystroke_shares(artifacts.keystroke, x)
                found += _model_reasons(x, artifacts.keystroke.inputs, typed, "bot", limit)
        anomaly = self.engine.anomaly_of(flow, snapshot) if detail == "full" else None
        if anomaly is not None:
            found += _model_reasons(x, anomaly.inputs, anomaly_shares(anomaly, x), "anomaly", 2)
        found += [
            Reason(
                code=code_of(share.name),
                category=SIGNALS[share.name].category if share.name in SIGNALS else "device",
                weight=share.weight,
                polarity="risk",
                severity=share.signal.severity,
                evidence=share.name.replace("_", " ")
                + ("" if share.signal.value in {True, None} and not isinstance(share.signal.value, float)
                   else f": {share.signal.value!s:.120}"),
                basis="signal",
                channel=channel,
            )
            for channel in ("bot", "device", "injection")
            for share in artifacts.signals.explain(signals, channel)
        ]  # fmt: skip
        return found + self._counter_reasons(velocity)

    def _counter_reasons(self, velocity: Mapping[str, Velocity]) -> list[Reason]:
        limits: dict[tuple[str, str], int] = {}
        for rule in self.policy.rules:
            if rule.velocity is not None:
                key = (rule.velocity.counter, rule.velocity.window)
                limits[key] = min(rule.velocity.at_least, limits.get(key, rule.velocity.at_least))
        found = []
        for (counter, window), limit in limits.items():
            value = getattr(velocity.get(counter), window, None)
            if value is None or value < limit:
                continue
            entity, what = counter.split("_", 1)
            about = "about " if velocity[counter].approximate else ""
            found.append(
                Reason(
                    code=f"{counter.upper()}_{window.upper()}",
                    category="velocity",
                    weight=value / (value + limit),
                    polarity="risk",
                    evidence=f"{about}{value} {what} with this {entity} in {_WINDOWS[window]}",
                    basis="counter",
                    channel="device",
                )
            )
        return found


def _with_trust(reasons: list[Reason], camera: Camera, raw: float | None) -> list[Reason]:
    passed = [kind for kind in RESULTS if standing_of(kind, camera.results.get(kind, (-1, -1, -1))) == "passed"]
    if not passed or raw is None or 1.0 - raw < 0.02:
        return reasons
    silent = [kind for kind in RESULTS if kind not in camera.results]
    trust = Reason(
        code="CAMERA_RESULTS_PASSED",
        category="capture",
        weight=1.0 - raw,
        polarity="trust",
        evidence=f"passed: {', '.join(passed)}; no result of: {', '.join(silent) or 'none'}".replace("_", " "),
        basis="signal",
        channel="injection",
    )
    return [*reasons, trust]


def _model_reasons(
    x: Floats, inputs: Sequence[int] | NDArray[np.int64], found: tuple[float, Shares] | None,
    channel: Literal["bot", "anomaly"], limit: int,
) -> list[Reason]:  # fmt: skip
    if found is None:
        return []
    risk, shares = found
    stems = sorted({stem_of(name) for name in NAMES})
    sums = dict.fromkeys(stems, 0.0)
    strongest: dict[str, tuple[float, int]] = {}
    total = 0.0
    for k, feature in enumerate(inputs):
        share, stem = shares.get(k, 0.0), stem_of(NAMES[feature])
        sums[stem] += share
        total += abs(share)
        if abs(share) > strongest.get(stem, (0.0, 0))[0]:
            strongest[stem] = (abs(share), int(feature))
    reasons = []
    for stem in sorted(stems, key=lambda stem: -abs(sums[stem]))[:limit] if total > 0.0 else ():
        against = sums[stem] > 0.0
        weight = abs(sums[stem]) / total * (risk if against else 1.0 - risk)
        if weight < 0.02:
            continue
        feature = FEATURES[strongest[stem][1]]
        value = float(x[strongest[stem][1]])
        unit = "" if feature.unit in {"1", "code"} else f" {feature.unit}"
        reasons.append(
            Reason(
                code=("ANOMALY_" if channel == "anomaly" else "") + stem + (RISK_SUFFIX if against else TRUST_SUFFIX),
                category="anomaly" if channel == "anomaly" else "behaviour",
                weight=min(1.0, weight),
                polarity="risk" if against else "trust",
                evidence=f"{feature.description.rstrip('.')}: {'no data' if value != value else f'{value:.3g}'}{unit}",
                basis="model",
                channel=channel,
            )
        )
    return reasons


def _detail(action: Action, level: str, *, ended: bool) -> Literal["facts", "brief", "full"]:
    if action != "allow" or level != "low":
        return "full"
    return "brief" if ended else "facts"


def _cell_of(x: Floats, meta: SessionMeta) -> Cell:
    samples, keys = float(x[INDEX["pointer_samples"]]), float(x[INDEX["keystroke_keys"]])
    has_pointer, has_keys = samples > 0, keys > 0
    if has_pointer and has_keys:
        few_keys, few_moves = keys < 10, samples < 10
        has_keys, has_pointer = not few_keys or few_moves, not few_moves or few_keys
    return Cell(
        meta.flow,
        input_of(meta.pointer_type, has_pointer=has_pointer, has_keys=has_keys),
        source_of(meta.collector, meta.sampling_interval_ms),
        evidence_of(float(x[INDEX["session_observed_s"]])),
    )
