"""Signals that upstream results bring: facts that only an app, a vendor or an edge can know, and contradictions.

A finding is a fact where it has a signal's name, comes with a kind of result that may know it, and is true. A result
that was asked for comparison only, or that failed, brings nothing; a result that is missing says nothing.
"""

import math
from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from features.automation import Found
from features.meta import Meta, Upstream
from features.registry import INDEX
from features.signal_definition import Confidence
from features.signal_table import SIGNALS
from schemas.signals import Signal

Vector = npt.NDArray[np.float64]

MOST_ATTEMPTS: Final = 3
"""Attempts at a camera step that say nothing."""
HESITATION_S: Final = 5.0
_HESITATION: Final = INDEX["form_hesitation_log_mean"]
_FAILED: Final = frozenset({"timeout", "refused", "error"})
_CAMERA_STEPS: Final = frozenset({"liveness", "pad", "face_match_1to1", "document", "capture_quality"})
_CONFLICTS: Final = (
    *((passed, failed) for passed in ("liveness", "pad") for failed in ("injection", "deepfake")),
    ("document", "face_match_1to1"),
)
"""(kind that passes, kind that fails): both can't be right."""


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
    conflict = conflict_of(meta.upstream)
    if conflict is not None:
        found["cv_conflict"] = conflict
    held = found.keys() | meta.signals.keys()
    hesitation = float(vector[_HESITATION]) if vector is not None else math.nan
    # NaN, which is no data, is not above anything.
    if hesitation >= math.log(HESITATION_S) and {"active_call", "remote_software_active"} <= held:
        found["coercion_pattern"] = round(math.exp(hesitation), 1)
    return _confidence(signal.confidence)


def conflict_of(results: Sequence[Upstream]) -> str | None:
    """The kinds of the first contradiction among the latest verdicts by kind, as passed/failed, or None."""
    latest = {result.kind: result.verdict for result in results if result.verdict is not None}
    for passed, failed in _CONFLICTS:
        if latest.get(passed) == "pass" and latest.get(failed) == "fail":
            return f"{passed}/{failed}"
    return None


def _confidence(ratio: float | None) -> Confidence | None:
    if ratio is None:
        return None
    return "high" if ratio >= 0.9 else "medium" if ratio >= 0.5 else "low"
