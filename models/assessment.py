"""What the engine reads of a session, and what it hands back for one evaluation."""

from typing import Protocol

import msgspec

from features.camera import Camera
from features.meta import Compared
from models.cells import Cell
from schemas.risk import Automation, Decision, Reason, RiskLevel, Scores


class SessionMeta(Protocol):
    """The part of `features.session.Meta` that the engine reads and changes."""

    flow: str
    pointer_type: str
    collector: str
    sampling_interval_ms: float
    blocks: int
    ended: bool
    assistive: bool
    evaluations: int
    raw_max: list[float]
    latched_action: str | None
    latched_evaluation: int
    camera: Camera | None
    movements: Compared | None

    def has(self, block: str) -> bool:
        """Whether the session has shown this telemetry block."""
        ...


class Assessment(msgspec.Struct, frozen=True):
    """What one evaluation found; the fields are those of `schemas.risk.RiskEvent` and `ServedFeatures`."""

    scores: Scores
    decision: Decision
    risk_level: RiskLevel
    risk_score: int
    reasons: list[Reason]
    coverage: float
    missing_signals: list[str]
    cell: Cell
    flagged_by: list[str]
    """Channels whose any-time score passes the policy's `corroborate_at`; `velocity`: a counter reaches a limit."""
    automation: Automation | None = None
