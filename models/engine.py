"""The engine: from feature vectors to an assessment (scores, decision, reasons), by shipped and live models.

`raw` scores a whole chunk at once, and `assess_chunk` decides on it and changes the sessions' `Meta` (running maxima,
latch, evaluations), so that no session may be in a chunk twice. Both are deterministic in their inputs: no clock, no
randomness, no network. What comes again (decisions, scores without data, reasons of signals) is one object each time.
"""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, Literal

import numpy as np

from features.camera import Camera
from features.registry import FEATURES, INDEX, N_FEATURES, NAMES, REGISTRY_HASH
from features.signal_table import SIGNALS
from models import artifact, binomial
from models.anomaly import FlatHST
from models.assessment import Assessment, SessionMeta
from models.automation_class import automation_of
from models.calibration import CalibrationTable
from models.channels import Plan, Planner, scores_of
from models.combine import coverage, hundredths
from models.decide import Decider, Facts, Latch
from models.injection import InjectionScorer
from models.movement_match import raw_of
from models.policy import LoadedPolicy, load_policy
from models.reasons import Draft, FeatureText, Reached, Reasoner
from models.scorer import FloatArray
from models.snapshots import SnapshotSet
from schemas.risk import (
    CHANNELS,
    Action,
    Automation,
    Decision,
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
INJECTION: Final = CHANNELS.index("injection")
REPLAY: Final = CHANNELS.index("replay")
Detail = Literal["facts", "brief", "full"]
"""Which reasons: signals and counters only; with the two strongest groups of the bot channel; with all there is."""
_GROUPS: Final[Mapping[Detail, int]] = {"brief": 2, "full": 5}
_ANOMALY_GROUPS: Final = 2
_NO_VELOCITY: Final[Mapping[str, Velocity]] = {}


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
        self._injection = InjectionScorer(artifacts.signals)
        self.scorers = _scorers_hash(artifacts)
        """Hash of what gives the bot channel's raw scores: live people ranked by other scorers don't serve."""
        self._planner = Planner(self.policy, self._tables, self.scorers)
        self._decider = Decider(policy)
        self._reasoner = Reasoner(
            NAMES,
            [FeatureText(f.description, f.unit) for f in FEATURES],
            artifacts.signals,
            _category_of,
            self.policy,
        )
        self._device_seen = INDEX["session_device_seen"]
        self._kind = np.array([INDEX[name] for name in ("pointer_samples", "keystroke_keys", "session_observed_s")])
        self._coverage: dict[tuple[str, int], tuple[float, list[str]]] = {}
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
        self._explain(rows, [0, 1], ["full", "brief"], ["login"] * 2, None, [[], []])
        binomial.warm_up()

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
        cameras: Sequence[Camera | None] | None = None,
    ) -> FloatArray:
        """Raw scores of a chunk: rows (n, N_FEATURES) to (n, len(CHANNELS)), 0..1, NaN = no data.

        `signals` are those that fired in the session so far, `cameras` their `Meta.camera` (None: no session has one).
        Each row's result depends on that row alone.
        """
        n = len(rows)
        out = np.empty((n, len(CHANNELS)))
        out.fill(np.nan)
        if n == 0:
            return out
        bot = out[:, BOT]
        if self.artifacts.pointer is not None:
            bot[:] = self.artifacts.pointer.raw(rows)
        if self.artifacts.keystroke is not None:
            np.fmax(bot, self.artifacts.keystroke.raw(rows), out=bot)
        self._raw_anomaly(rows, flows, snapshot, out)
        np.copyto(out[:, DEVICE], 0.0, where=rows[:, self._device_seen] > 0.0)
        score = self.artifacts.signals.raw
        for i, fired in enumerate(signals):
            if fired:
                device, forensic = score(fired)
                if device > 0.0:
                    out[i, DEVICE] = device
                if forensic > 0.0:
                    bot[i] = np.fmax(bot[i], forensic)
        if cameras is not None and any(cameras):
            self._raw_injection(signals, cameras, out)
        return out

    def _raw_injection(
        self, signals: Sequence[Mapping[str, SignalValue]], cameras: Sequence[Camera | None], out: FloatArray
    ) -> None:
        for i, camera in enumerate(cameras):
            if camera is not None:
                out[i, INJECTION] = self._injection.raw(signals[i])

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
        """Assess one event alone, as a chunk of one; x: vector (N_FEATURES,); raw: its row of `raw()`."""
        found = self.assess_chunk(
            x.reshape(1, -1), raw.reshape(1, -1), [meta], [signals], [velocity], [degraded], snapshot
        )
        return found[0]

    def assess_chunk(  # noqa: PLR0917 - likewise
        self,
        rows: FloatArray,
        raw: FloatArray,
        metas: Sequence[SessionMeta],
        signals: Sequence[Mapping[str, SignalValue]],
        velocity: Sequence[Mapping[str, Velocity]],
        degraded: Sequence[Sequence[str]],
        snapshot: SnapshotSet | None = None,
    ) -> list[Assessment]:
        """Assess one event each of several sessions, and bring each `meta` up to date (raw_max, evaluations, latch).

        rows: vectors (n, N_FEATURES); raw: (n, len(CHANNELS)) of `raw()`; velocity by `<entity>_<what>`; degraded:
        names of dependencies that were missing while scoring. The raw score of `replay`, which follows from the meta
        alone, is written into `raw`. The metas must be n different ones, each event the next
        of its session in offset order. Each result is the same as alone.
        """
        _fill_replay(raw, metas)
        kinds = rows[:, self._kind].tolist()
        found: list[tuple[Scores, Decision, RiskLevel, Plan, list[str], list[Reached], Automation | None]] = []
        drafts: list[list[Draft]] = [[] for _ in metas]
        at: list[int] = []
        details: list[Detail] = []
        for i, (meta, own, evidence) in enumerate(zip(metas, raw.tolist(), kinds, strict=True)):
            plan = self._planner.plan(meta, evidence[0], evidence[1], evidence[2], snapshot)
            scores, anytime, flagged = scores_of(plan, own, meta.raw_max, degraded[i])
            reached = self._reasoner.reached(velocity[i]) if velocity[i] else []
            if reached:
                flagged.append("velocity")
            decision = self._decide(
                meta, scores.overall_anytime, anytime, signals[i], velocity[i], degraded[i], reached
            )
            level = self._decider.level(scores.overall_anytime)
            detail = _detail(decision.action, level, meta)
            if detail != "facts":
                at.append(i)
                details.append(detail)
            kind = automation_of(rows[i], evidence[2], meta, scores, anytime, signals[i])
            found.append((scores, decision, level, plan, flagged, reached, kind))
        if at:
            self._explain(rows, at, details, [metas[i].flow for i in at], snapshot, [drafts[i] for i in at])
        assessments = []
        for one, meta, fired, draft in zip(found, metas, signals, drafts, strict=True):
            scores, decision, level, plan, flagged, reached, automation = one
            if fired:
                self._reasoner.from_signals(fired, draft)
            if reached:
                self._reasoner.from_counters(reached, draft)
            if meta.movements is not None:
                self._reasoner.from_movements(meta.movements.near, scores.replay, draft)
            if meta.camera is not None and _detail(decision.action, level, meta) != "facts":
                self._reasoner.from_results(meta.camera.results, scores.injection, draft)
            share, missing = self._covered(meta)
            assessments.append(
                Assessment(
                    scores=scores,
                    decision=decision,
                    risk_level=level,
                    risk_score=hundredths(scores.overall_anytime),
                    reasons=self._reasoner.written(draft) if draft else [],
                    coverage=share,
                    missing_signals=missing,
                    cell=plan.cell,
                    flagged_by=flagged,
                    automation=automation,
                )
            )
        return assessments

    def _decide(  # noqa: PLR0917 - likewise
        self,
        meta: SessionMeta,
        overall_anytime: float,
        anytime: Mapping[str, float],
        signals: Mapping[str, SignalValue],
        velocity: Mapping[str, Velocity],
        degraded: Sequence[str],
        reached: Sequence[Reached],
    ) -> Decision:
        """The decision on a session's next evaluation; counts it and keeps the latch."""
        meta.evaluations += 1
        if not signals and not reached and not degraded and meta.latched_action is None:
            plain = self._decider.plain(meta.flow, overall_anytime)
            if plain is not None:
                return plain
        # Below every limit that a rule names, counters say nothing.
        facts = Facts(overall_anytime, anytime, signals, velocity if reached else _NO_VELOCITY, degraded)
        latched = Latch(_action(meta.latched_action), meta.latched_evaluation)
        decision, latch = self._decider.decide(meta.flow, facts, latched, meta.evaluations)
        meta.latched_action, meta.latched_evaluation = latch.action, latch.evaluation
        return decision

    def _covered(self, meta: SessionMeta) -> tuple[float, list[str]]:
        key = (meta.flow, meta.blocks)
        found = self._coverage.get(key)
        if found is None:
            wanted = self.policy.flows[meta.flow].expected_evidence  # type: ignore[index]
            seen = {name for name in wanted if meta.has(name)}
            # A finger is a pointer: a touch device owes no mouse.
            if meta.has("touch"):
                seen.add("pointer")
            found = self._coverage[key] = coverage(wanted, seen)
        return found

    def _explain(
        self,
        rows: FloatArray,
        at: Sequence[int],
        details: Sequence[Detail],
        flows: Sequence[str],
        snapshot: SnapshotSet | None,
        drafts: Sequence[list[Draft]],
    ) -> None:
        """Add the model reasons of the rows `at` of `rows` (n, N_FEATURES) to their drafts."""
        add = self._reasoner.from_shares
        where = np.array(at, dtype=np.int64)
        limits = np.array([_GROUPS[detail] for detail in details], dtype=np.int64)
        for model in (self.artifacts.pointer, self.artifacts.keystroke):
            if model is not None:
                scores, shares = model.shares(rows, where)
                add(rows, where, limits, model.inputs, shares, scores, "bot", drafts)
        wanted = [k for k, detail in enumerate(details) if detail == "full"]
        for flow in dict.fromkeys(flows[k] for k in wanted):
            anomaly = self.anomaly_of(flow, snapshot)
            if anomaly is not None:
                own = [k for k in wanted if flows[k] == flow]
                its = where if len(own) == len(where) else where[own]
                scores, shares = anomaly.shares(rows, its)
                few = np.full(len(own), _ANOMALY_GROUPS)
                add(rows, its, few, anomaly.inputs, shares, scores, "anomaly", [drafts[k] for k in own])


def _scorers_hash(artifacts: artifact.Artifacts) -> str:
    parts = [artifacts.signals, artifacts.pointer, artifacts.keystroke]
    return hashlib.sha256("\n".join(part.hash if part is not None else "" for part in parts).encode()).hexdigest()[:16]


def _fill_replay(raw: FloatArray, metas: Sequence[SessionMeta]) -> None:
    for i, meta in enumerate(metas):
        if meta.movements is not None and meta.movements.near:
            raw[i, REPLAY] = raw_of(meta.movements.near)


def _detail(action: Action, level: RiskLevel, meta: SessionMeta) -> Detail:
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
