"""Signals that upstream results bring: facts that only an app, a vendor or an edge can know, and contradictions.

A finding is a fact where it has a signal's name, comes with a kind of result that may know it, and is true. A result
that was asked for comparison only, or that failed, brings nothing; a result that is missing says nothing.
"""

import math
from collections.abc import Mapping
from typing import Final

import numpy as np
import numpy.typing as npt

from features.automation import Found
from features.fusion import (
    CONTESTED,
    NEVER,
    PASSES_BLIND_TO_FACTS,
    RESULTS,
    Times,
    conflict_of,
    disagreement_of,
    standing_of,
)
from features.meta import Meta, SignalRecord
from features.registry import INDEX
from features.signal_definition import Confidence, Severity
from features.signal_table import SIGNALS
from schemas.signals import Signal

Vector = npt.NDArray[np.float64]

MOST_ATTEMPTS: Final = 3
"""Attempts at a camera step that say nothing."""
STRONG_FACTS: Final = ("media_api_hooked", "loopback_camera_label", "capture_hash_reuse", "signed_capture_invalid")
"""What shows that the picture did not come from a camera just now, whatever it shows."""
HESITATION_S: Final = 5.0
_HESITATION: Final = INDEX["form_hesitation_log_mean"]
_FAILED: Final = frozenset({"timeout", "refused", "error"})
_CAMERA_STEPS: Final = frozenset({"liveness", "pad", "face_match_1to1", "document", "capture_quality"})
RESULT_SIGNALS: Final = (
    *(rule.signal for rule in RESULTS.values()),
    "result_to_review",
    "results_disagree",
    "cv_conflict",
)
"""What follows from all results about the camera step together: judged anew with each of them."""


def upstream_signals(signal: Signal, meta: Meta, vector: Vector | None, found: Found) -> Confidence | None:
    """Add what the result brings; `meta` has observed it. Returns how sure the provider is, None where it says nothing.

    vector: the session's features, float64[N_FEATURES].
    """
    if signal.outcome in _FAILED or (signal.routing is not None and signal.routing.shadow):
        return None
    for finding in signal.findings or ():
        definition = SIGNALS.get(finding.name)
        if definition is not None and finding.value is True and signal.kind in definition.accepted_from:
            found[finding.name] = True
    if signal.kind == "device_attestation" and signal.verdict == "fail":
        found["attestation_failed"] = signal.provider
    if signal.kind in _CAMERA_STEPS and signal.attempt is not None and signal.attempt > MOST_ATTEMPTS:
        found["capture_retries"] = float(signal.attempt)
    if signal.kind == "document" and signal.country is not None and meta.ip_country not in {None, signal.country}:
        found["document_country_mismatch"] = f"{signal.country}/{meta.ip_country}"
    held = found.keys() | meta.signals.keys()
    hesitation = float(vector[_HESITATION]) if vector is not None else math.nan
    # NaN, which is no data, is not above anything.
    if hesitation >= math.log(HESITATION_S) and {"active_call", "remote_software_active"} <= held:
        found["coercion_pattern"] = round(math.exp(hesitation), 1)
    return _confidence(signal.confidence)


def result_signals(
    results: Mapping[str, Times], held: Mapping[str, SignalRecord]
) -> dict[str, tuple[bool | str, Severity]]:
    """The signals of `RESULT_SIGNALS` that hold, each with its value and severity. held: the session's signals."""
    found: dict[str, tuple[bool | str, Severity]] = {}
    for kind, rule in RESULTS.items():
        standing = standing_of(kind, results.get(kind, NEVER))
        if standing in {"refuted", "contested"}:
            severity = SIGNALS[rule.signal].severity
            found[rule.signal] = True, CONTESTED[severity] if standing == "contested" else severity
        elif standing == "review":
            found.setdefault("result_to_review", (kind, SIGNALS["result_to_review"].severity))
    disagreeing = disagreement_of(results)
    if disagreeing is not None:
        found["results_disagree"] = disagreeing, SIGNALS["results_disagree"].severity
    conflict = conflict_of(results)
    fact = None if conflict is not None and conflict.severity == "strong" else _against_facts(results, held)
    if fact is not None:
        found["cv_conflict"] = fact, SIGNALS["cv_conflict"].severity
    elif conflict is not None:
        found["cv_conflict"] = f"{conflict.passed}/{conflict.failed}", conflict.severity
    return found


def _against_facts(results: Mapping[str, Times], held: Mapping[str, SignalRecord]) -> str | None:
    """A result that sees the picture only, and passes, and a strong fact of the capture, as passed/fact."""
    for passed in PASSES_BLIND_TO_FACTS:
        if results.get(passed, NEVER)[0] >= 0:
            for name in STRONG_FACTS:
                if name in held:
                    return f"{passed}/{name}"
    return None


def _confidence(ratio: float | None) -> Confidence | None:
    if ratio is None:
        return None
    return "high" if ratio >= 0.9 else "medium" if ratio >= 0.5 else "low"
