"""The engine: from feature vectors to an assessment (scores, decision, reasons), by shipped and live models.

`raw` scores a whole chunk at once; `assess` is called for each event in offset order and changes the session's `Meta`
(running maxima, latch, evaluations). Both are deterministic in their inputs: no clock, no randomness, no network.
"""

import hashlib
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, Literal

import numpy as np

from features.registry import FEATURES, INDEX, N_FEATURES, NAMES, REGISTRY_HASH
from features.signal_table import SIGNALS
from models import artifact
from models.anomaly import FlatHST
from models.assessment import Assessment, SessionMeta
from models.calibration import CalibrationTable, Calibrator
from models.cells import Cell, evidence_of, input_of, source_of
from models.combine import coverage, hundredths, overall
from models.decide import Decider, Facts, Latch
from models.policy import LoadedPolicy, load_policy
from models.reasons import FeatureText, Reasoner, ordered
from models.scorer import FloatArray
from models.snapshots import EMPTY, SnapshotSet
from schemas.risk import (
    CHANNELS,
    Action,
    ChannelScore,
    Reason,
    RiskLevel,
    Scores,
    SignalValue,
    Velocity,
    Versions,
)

__all__ = ["ANOMALY", "BOT", "DEVICE", "Assessment", "Engine", "SessionMeta"]

BOT: Final = CHANNELS.index("bot")
ANOMALY: Final = CHANNELS.index("anomaly")
DEVICE: Final = CHANNELS.index("device")
MIN_KEYS: Final = 10
MIN_POINTER_SAMPLES: Final = 10
"""Fewer presses or samples than these don't make a session one of that input type."""

_NOT_EXPECTED: Final = ChannelScore(state="not_expected")
_DEPENDENCY: Final[Mapping[str, str]] = {"anomaly": "snapshot", "bot": "models", "device": "models"}


class Engine:
    """Scores and decides. One engine serves one thread."""

    def __init__(
        self,
        artifacts: artifact.Artifacts,
        policy: LoadedPolicy,
        *,
        source: CalibrationTable | None = None,
    ) -> None:
        self.artifacts = artifacts
        self.policy = policy.policy
        self._loaded_policy = policy
        self._source = source
        self._tables = [table for table in (source, artifacts.calibration) if table is not None]
        self._calibrators: tuple[SnapshotSet, dict[str, Calibrator]] = (EMPTY, {})
        self._decider = Decider(policy)
        self._reasoner = Reasoner(
            NAMES,
            [FeatureText(f.description, f.unit) for f in FEATURES],
            artifacts.signals,
            _category_of,
            self.policy,
        )
        self._observed_s = INDEX["session_observed_s"]
        self._device_seen = INDEX["session_device_seen"]
        self._samples = INDEX["pointer_samples"]
        self._keys = INDEX["keystroke_keys"]
        self._coverage: dict[tuple[str, int], tuple[float, list[str]]] = {}
        self._cells: dict[tuple[str, str, str, str, float], Cell] = {}
        models = {"signals": artifacts.signals.hash, **{name: s.hash for name, s in artifacts.scorers().items()}}
        tables = [table.hash for table in self._tables]
        combined = tables[0] if len(tables) == 1 else hashlib.sha256("\n".join(tables).encode()).hexdigest()
        self.versions: dict[str, object] = {
            "features": REGISTRY_HASH,
            "models": models,
            "calibration": combined,
            "policy": policy.revision,
        }

    @classmethod
    def load(cls, directory: Path | None = None, *, policy: Path | None = None) -> "Engine":
        """Load and check artefacts (None: what ships) and policy (None: the default).

        Raises ArtifactError or PolicyError with one line; nothing is half loaded.
        """
        return cls.build(artifact.read(directory), load_policy(policy, known_signals=SIGNALS))

    @classmethod
    def build(cls, bundle: artifact.Bundle, policy: LoadedPolicy) -> "Engine":
        """Build from bytes that were read before, golden rows included, and call everything once.

        Raises ArtifactError with one line. May run in another thread than the one that the engine will serve.
        """
        engine = cls(artifact.assemble(bundle, NAMES, REGISTRY_HASH), policy)
        engine.warm_up()
        return engine

    def with_calibration(self, table: CalibrationTable | None) -> "Engine":
        """This engine with people of the source at hand (state `source`) ranked before the shipped ones."""
        return Engine(self.artifacts, self._loaded_policy, source=table)

    def with_policy(self, policy: LoadedPolicy) -> "Engine":
        """This engine under another policy."""
        return Engine(self.artifacts, policy, source=self._source)

    def warm_up(self) -> None:
        """Compile or load every kernel and call every model once."""
        rows = np.zeros((2, N_FEATURES))
        for n in (1, 2):
            self.raw(rows[:n], ["login"] * n, [{}] * n, None)
        for scorer in self.artifacts.scorers().values():
            scorer.explain(rows[0])
        self._reasoner.from_shares(rows[0], np.zeros(1, dtype=np.int64), np.ones(1), "bot", 1.0, 1)

    def versions_of(
        self, *, pipeline: str, snapshot: SnapshotSet | None = None, ref_key: str | None = None
    ) -> Versions:
        """The versions block of a risk event."""
        models = self.versions["models"]
        assert isinstance(models, dict)
        return Versions(
            pipeline=pipeline,
            features=REGISTRY_HASH,
            models=models,
            calibration=str(self.versions["calibration"]),
            policy=self._loaded_policy.revision,
            snapshot=snapshot.hash if snapshot is not None else None,
            ref_key=ref_key,
        )

    def raw(
        self,
        rows: FloatArray,
        flows: Sequence[str],
        signals: Sequence[Mapping[str, SignalValue]],
        snapshot: SnapshotSet | None = None,
    ) -> FloatArray:
        """Raw scores of a chunk: rows (n, N_FEATURES) to (n, len(CHANNELS)), 0..1, NaN = no data.

        `signals` are those that fired in the session so far. Each row's result depends on that row alone.
        """
        n = len(rows)
        out = np.full((n, len(CHANNELS)), np.nan)
        if n == 0:
            return out
        bot = out[:, BOT]
        if self.artifacts.pointer is not None:
            bot[:] = self.artifacts.pointer.raw(rows)
        if self.artifacts.keystroke is not None:
            np.fmax(bot, self.artifacts.keystroke.raw(rows), out=bot)
        self._raw_anomaly(rows, flows, snapshot, out)
        score = self.artifacts.signals.raw
        for i, fired in enumerate(signals):
            device, forensic = score(fired) if fired else (0.0, 0.0)
            if device > 0.0 or rows[i, self._device_seen] > 0.0:
                out[i, DEVICE] = device
            if forensic > 0.0:
                bot[i] = np.fmax(bot[i], forensic)
        return out

    def _raw_anomaly(
        self, rows: FloatArray, flows: Sequence[str], snapshot: SnapshotSet | None, out: FloatArray
    ) -> None:
        distinct = set(flows)
        for flow in distinct:
            model = self.anomaly_of(flow, snapshot)
            if model is None:
                continue
            if len(distinct) == 1:
                out[:, ANOMALY] = model.raw(rows)
                return
            at = np.array([i for i, f in enumerate(flows) if f == flow])
            out[at, ANOMALY] = model.raw(rows[at])

    def anomaly_of(self, flow: str, snapshot: SnapshotSet | None = None) -> FlatHST | None:
        """The anomaly model that serves a flow: the live one once ready, else what ships for the flow or for all."""
        if snapshot is not None:
            live = snapshot.anomaly.get(flow)
            if live is not None and live.ready:
                return live
        return self.artifacts.anomaly.get(flow) or self.artifacts.anomaly.get("*")

    def cell_of(self, x: FloatArray, meta: SessionMeta) -> Cell:
        """Calibration cell of one vector: flow x input type x source class x amount of evidence."""
        has_pointer, has_keys = bool(x[self._samples] > 0), bool(x[self._keys] > 0)
        if has_pointer and has_keys:
            # The odd key press of a mouse session, or the odd move of a typist, makes no mixed session.
            few_keys, few_moves = x[self._keys] < MIN_KEYS, x[self._samples] < MIN_POINTER_SAMPLES
            has_keys, has_pointer = not few_keys or bool(few_moves), not few_moves or bool(few_keys)
        kind = input_of(meta.pointer_type, has_pointer=has_pointer, has_keys=has_keys)
        evidence = evidence_of(x[self._observed_s])
        key = (meta.flow, kind, evidence, meta.collector, meta.sampling_interval_ms)
        cell = self._cells.get(key)
        if cell is None:
            if len(self._cells) >= 10_000:
                self._cells.clear()
            source = source_of(meta.collector, meta.sampling_interval_ms)
            cell = self._cells[key] = Cell(meta.flow, kind, source, evidence)
        return cell

    def _calibrator(self, flow: str, snapshot: SnapshotSet | None) -> Calibrator:
        snapshot = snapshot if snapshot is not None else EMPTY
        if self._calibrators[0] is not snapshot:
            self._calibrators = (snapshot, {})
        found = self._calibrators[1].get(flow)
        if found is None:
            live = snapshot.calibration.get(flow)
            found = Calibrator([live, *self._tables] if live is not None else self._tables)
            self._calibrators[1][flow] = found
        return found

    def assess(  # noqa: PLR0917 - the pipeline's order of things, settled by position
        self,
        x: FloatArray,
        raw: FloatArray,
        meta: SessionMeta,
        signals: Mapping[str, SignalValue],
        velocity: Mapping[str, Velocity],
        degraded: Sequence[str],
        snapshot: SnapshotSet | None = None,
    ) -> Assessment:
        """Assess one event of a session, in offset order; updates `meta` (raw_max, evaluations, latch).

        x: vector (N_FEATURES,); raw: its row of `raw()`; velocity by `<entity>_<what>`; degraded: names of dependencies
        that were missing while scoring.
        """
        flow = meta.flow
        cell = self.cell_of(x, meta)
        scores, anytime = self._scores(raw.tolist(), meta, cell, self._calibrator(flow, snapshot), degraded)
        overall_anytime = scores.overall_anytime
        meta.evaluations += 1
        facts = Facts(overall_anytime, anytime, signals, velocity, degraded)
        latched = Latch(_action(meta.latched_action), meta.latched_evaluation)
        decision, latch = self._decider.decide(flow, facts, latched, meta.evaluations)
        meta.latched_action, meta.latched_evaluation = latch.action, latch.evaluation
        level = self._decider.level(overall_anytime)
        share, missing = self._covered(flow, meta)
        return Assessment(
            scores=scores,
            decision=decision,
            risk_level=level,
            risk_score=hundredths(overall_anytime),
            reasons=self.reasons(
                x,
                raw,
                flow,
                signals=signals,
                velocity=velocity,
                snapshot=snapshot,
                detail=_detail(decision.action, level, meta),
            ),
            coverage=share,
            missing_signals=missing,
            cell=cell,
            flagged_by=[name for name in CHANNELS if anytime.get(name, 0.0) >= self.policy.corroborate_at],
        )

    def _scores(
        self, raw: list[float], meta: SessionMeta, cell: Cell, calibrator: Calibrator, degraded: Sequence[str]
    ) -> tuple[Scores, dict[str, float]]:
        """All channels and the overall scores, and the any-time score of each channel that has one."""
        weights = self.policy.flows[meta.flow].weights  # type: ignore[index]
        now: dict[str, float] = {}
        anytime: dict[str, float] = {}
        channels: dict[str, ChannelScore] = {}
        for i, name in enumerate(CHANNELS):
            value, highest = raw[i], meta.raw_max[i]
            if value == value and not highest >= value:
                highest = meta.raw_max[i] = value
            weight = weights.get(name)
            if weight is None:
                channels[name] = _NOT_EXPECTED
                continue
            if highest != highest:
                missing = degraded and _DEPENDENCY.get(name) in degraded
                channels[name] = ChannelScore(state="degraded" if missing else "no_data", weight=weight)
                continue
            ever = calibrator.at(name, "anytime", cell).score(highest)
            found = calibrator.at(name, "now", cell).score(value) if value == value else None
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

    def _covered(self, flow: str, meta: SessionMeta) -> tuple[float, list[str]]:
        key = (flow, meta.blocks)
        found = self._coverage.get(key)
        if found is None:
            wanted = self.policy.flows[flow].expected_evidence  # type: ignore[index]
            seen = {name for name in wanted if meta.has(name)}
            # A finger is a pointer: a touch device owes no mouse.
            if meta.has("touch"):
                seen.add("pointer")
            found = self._coverage[key] = coverage(wanted, seen)
        return found

    def reasons(
        self,
        x: FloatArray,
        raw: FloatArray,
        flow: str,
        *,
        signals: Mapping[str, SignalValue],
        velocity: Mapping[str, Velocity],
        snapshot: SnapshotSet | None = None,
        detail: Literal["facts", "brief", "full"] = "full",
    ) -> list[Reason]:
        """What moved the scores, heaviest first.

        `facts`: signals and counters only; `brief`: and the two strongest groups of the bot channel; `full`: and more
        of them, and the anomaly channel's.
        """
        limit = 2 if detail == "brief" else 5
        found: list[Reason] = []
        for model in (self.artifacts.pointer, self.artifacts.keystroke) if detail != "facts" else ():
            explained = model.shares(x) if model is not None else None
            if model is not None and explained is not None:
                found += self._reasoner.from_shares(x, model.inputs, explained[1], "bot", explained[0], limit)
        anomaly = None if detail != "full" or math.isnan(raw[ANOMALY]) else self.anomaly_of(flow, snapshot)
        if anomaly is not None:
            shares = anomaly.shares(x)[1]
            found += self._reasoner.from_shares(x, anomaly.inputs, shares, "anomaly", float(raw[ANOMALY]), 2)
        if signals:
            found += self._reasoner.from_signals(signals)
        if velocity:
            found += self._reasoner.from_counters(velocity)
        return ordered(found)


def _detail(action: Action, level: RiskLevel, meta: SessionMeta) -> Literal["facts", "brief", "full"]:
    """Model reasons cost as much as all the rest of an assessment: an allowed low risk gets them at its end only."""
    if action != "allow" or level != "low":
        return "full"
    return "brief" if meta.ended else "facts"


def _action(name: str | None) -> Action | None:
    if name == "step_up":
        return "step_up"
    return "block" if name == "block" else None


def _category_of(signal: str) -> str:
    known = SIGNALS.get(signal)
    return known.category if known is not None else "device"
