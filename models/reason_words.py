"""Reasons and signals as sentences for a reviewer: what was looked at, what was seen, what may excuse it."""

from typing import Final

from features.signal_table import SIGNALS
from models.reason_codes import RISK_SUFFIX, TRUST_SUFFIX, code_of
from schemas.risk import Reason

ANOMALY_PREFIX: Final = "ANOMALY_"

WORDS: Final[dict[str, str]] = {
    "POINTER_MOVEMENT": "how the pointer moved",
    "POINTER_CURVATURE": "how the pointer's strokes bend",
    "POINTER_AIM": "how strokes overshoot and correct at their targets",
    "POINTER_TURNING": "how strokes turn, and into which directions they go",
    "POINTER_SPEED_CURVATURE_LAW": "how speed follows the bends of a stroke, as a hand's does",
    "POINTER_SMOOTHNESS": "how smooth or rough speed and path are from sample to sample",
    "POINTER_SPEED_PROFILE": "how strokes speed up, peak and brake",
    "POINTER_DISTANCE_TIME_LAW": "how long strokes take for their distance",
    "POINTER_PAUSES": "how often and how long the pointer rests",
    "POINTER_JUMPS": "how far the pointer jumps between samples",
    "POINTER_CLICKS": "how the pointer comes to rest, presses and releases",
    "POINTER_GRID": "how positions lie on axes, diagonals and equal steps",
    "KEY_HOLD": "how long keys are held",
    "KEY_ROLLOVER": "how a key's release overlaps the next press",
    "KEY_RHYTHM": "the rhythm of key presses",
    "FOCUS": "how windows and fields came into focus",
    "FORM": "how form fields were filled",
    "TOUCH": "how the screen was touched",
    "SCROLL": "how the page was scrolled",
    "MOTION": "how the device was held and moved",
    "VELOCITY": "how many things the account, device or address was seen with",
}
"""Stem of a reason's code, and what it looks at, to begin a sentence."""

_CUES: Final = {code_of(name): definition for name, definition in SIGNALS.items()}


def sentence(reason: Reason) -> str:
    """What a reason says, as one sentence with its full stop. Codes that are not known are written out."""
    code = reason.code
    is_anomaly = code.startswith(ANOMALY_PREFIX)
    plain = code.removeprefix(ANOMALY_PREFIX)
    for suffix, is_risk in ((RISK_SUFFIX, True), (TRUST_SUFFIX, False)):
        if plain.endswith(suffix):
            stem = plain.removesuffix(suffix)
            about = WORDS.get(stem, stem.lower().replace("_", " "))
            if is_anomaly:
                return f"{_upper(about)}: {'unlike' if is_risk else 'like'} this flow's usual sessions."
            return f"{_upper(about)}: {'unlike' if is_risk else 'like'} what people do."
    known = _CUES.get(code)
    if known is not None:
        return f"{_upper(known.cue)}."
    if reason.basis == "counter":
        return f"{_upper(reason.evidence)}."
    return f"{_upper(code.lower().replace('_', ' '))}."


def evidence(reason: Reason) -> str:
    """What was observed, without what the sentence says already; empty where that is all."""
    if reason.basis == "counter":
        return ""
    if reason.code in _CUES:
        # A signal's evidence repeats its name, then the value where it has one.
        return reason.evidence.partition(": ")[2]
    return reason.evidence


def innocent_cause(code: str) -> str:
    """What may lead to a signal without any fraud; empty where nothing is known, or the code is no signal's."""
    known = _CUES.get(code)
    return known.exemption if known is not None else ""


def _upper(text: str) -> str:
    # A name such as navigator.webdriver keeps its letters.
    first = text.split(" ", 1)[0]
    return text if "." in first or "_" in first else text[:1].upper() + text[1:]
