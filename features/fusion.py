"""How results about one camera step are read together: what each says, which wins, what goes to a person for review.

A result counts in its provider's own terms: its verdict, or its score beside its own threshold. No threshold of ours is
laid on a foreign score. The same capture is told by the time at which the evidence was captured.
"""

from collections.abc import Mapping
from typing import Final, Literal, NamedTuple, TypeAlias

from features.signal_definition import Severity
from schemas.signals import Signal, SignalKind

Verdict = Literal["pass", "review", "fail"]
Standing = Literal["unknown", "passed", "review", "contested", "refuted"]
Times: TypeAlias = tuple[int, int, int]
"""Event time of the latest capture that passed, that is to be reviewed, and that failed, epoch ms; -1: none."""

NEVER: Final[Times] = (-1, -1, -1)
SAME_CAPTURE_MS: Final = 10_000
"""Results whose evidence was captured within this time are about one capture."""
_UNUSABLE: Final = frozenset({"quality_fail", "timeout", "refused", "error"})


class ResultRule(NamedTuple):
    """What a kind of result says once it fails."""

    signal: str
    """The signal that a failure fires."""
    later_stands: bool
    """Whether a later capture that passes takes an earlier failure back: people try again in better light."""
    why: str


RESULTS: Final[Mapping[SignalKind, ResultRule]] = {
    "injection": ResultRule("injection_detected", later_stands=False, why="an attack that was made was made"),
    "deepfake": ResultRule("deepfake_detected", later_stands=False, why="an attack that was made was made"),
    "pad": ResultRule("presentation_attack", later_stands=True, why="glare and masks are taken off"),
    "liveness": ResultRule("liveness_failed", later_stands=True, why="light, distance and instructions get better"),
    "document_tamper": ResultRule("document_tampered", later_stands=True, why="glare and folds look like changes"),
    "document": ResultRule("document_failed", later_stands=True, why="the wrong page, glare"),
    "face_match_1to1": ResultRule("face_mismatch", later_stands=True, why="light, pose, old photographs"),
    "face_match_1ton": ResultRule("known_face", later_stands=True, why="twins, and thresholds of large galleries"),
}
"""Every kind of result that says something of a camera step, in the order of the documents."""


class Conflict(NamedTuple):
    """Two results that can't both be right. The one that fails wins; what passed takes nothing off it."""

    passed: SignalKind
    failed: SignalKind
    severity: Severity
    """How much it says of where the picture came from. Whatever it is, a person reviews it."""
    why: str


CONFLICTS: Final[tuple[Conflict, ...]] = (
    Conflict(
        "liveness", "injection", "strong", "liveness judges the picture, and an injected one may show a living person"
    ),
    Conflict("liveness", "deepfake", "strong", "a synthetic face follows instructions as a living one does"),
    Conflict("pad", "injection", "strong", "nothing is presented to a camera that is not in use"),
    Conflict("pad", "deepfake", "strong", "a synthetic face is no mask, print or screen"),
    Conflict("document", "face_match_1to1", "weak", "a genuine document in another person's hand"),
    Conflict("document", "document_tamper", "weak", "one of the two has not seen what the other saw"),
)
"""In this order; the first that holds is told."""

PASSES_BLIND_TO_FACTS: Final[tuple[SignalKind, ...]] = ("liveness", "pad")
"""Results that see the picture only: where one passes and a strong fact of the capture fires, the fact wins."""

CONTESTED: Final[Mapping[Severity, Severity]] = {"strong": "medium", "medium": "weak", "weak": "weak"}
"""Severity of a failure that another result of the same kind and capture contradicts, by its own."""


def verdict_of(signal: Signal) -> Verdict | None:
    """What a result says: its verdict, else its score beside its own threshold, else nothing."""
    if signal.outcome in _UNUSABLE or (signal.routing is not None and signal.routing.shadow):
        return None
    if signal.verdict is not None:
        return signal.verdict
    if signal.outcome != "scored" or signal.score is None or signal.threshold is None:
        return None
    if signal.direction == "high_is_genuine":
        return "pass" if signal.score >= signal.threshold else "fail"
    return "fail" if signal.score >= signal.threshold else "pass"


def standing_of(kind: str, times: Times) -> Standing:
    """What stands of a kind of result.

    The worse of two verdicts stands: of one capture they contest each other, and of two captures the later one takes a
    failure back where the kind allows it. A further failure never betters what stands.
    """
    passed, review, failed = times
    rule = RESULTS[kind]  # type: ignore[index]
    if failed >= 0 and not (rule.later_stands and passed > failed + SAME_CAPTURE_MS):
        return "contested" if passed >= 0 and passed >= failed - SAME_CAPTURE_MS else "refuted"
    if review >= 0 and not (rule.later_stands and passed > review + SAME_CAPTURE_MS):
        return "review"
    return "passed" if passed >= 0 else "unknown"


def conflict_of(results: Mapping[str, Times]) -> Conflict | None:
    """The first contradiction among results of different kinds, or None.

    A pass that was given stays given: a later failure of that kind settles nothing about it.
    """
    for conflict in CONFLICTS:
        if results.get(conflict.passed, NEVER)[0] >= 0:
            failed = standing_of(conflict.failed, results.get(conflict.failed, NEVER))
            if failed in {"contested", "refuted"}:
                return conflict
    return None


def disagreement_of(results: Mapping[str, Times]) -> str | None:
    """The first kind of which one capture has a pass and a failure, or None."""
    return next((kind for kind in RESULTS if standing_of(kind, results.get(kind, NEVER)) == "contested"), None)
