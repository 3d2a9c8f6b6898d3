"""What one derived signal declares: severity, subject, how it is known, what excuses it, who may bring it."""

from typing import Final, Literal

import msgspec

from schemas.signals import SignalKind

Severity = Literal["strong", "medium", "weak"]
Category = Literal["automation", "device", "network", "behaviour", "capture"]
Confidence = Literal["low", "medium", "high"]
Method = Literal["client", "comparison", "behaviour", "edge", "counters", "upstream"]
"""How it is known: the client says it; two things said contradict each other; a rule on input; the edge saw it; entity
counters; an upstream result says it."""

PRIVATE: Final = ("privacy_mode",)
ASSISTED: Final = ("assistive_technology",)

ON_DEVICE: Final[tuple[SignalKind, ...]] = ("device_attestation", "device_reputation")
ON_ADDRESS: Final[tuple[SignalKind, ...]] = ("ip_reputation", "device_reputation")
ON_CAMERA: Final[tuple[SignalKind, ...]] = (
    *("injection", "liveness", "pad", "deepfake", "capture_quality"),
    *("document", "document_tamper", "face_match_1to1", "face_match_1ton"),
)

_CONFIDENCE: Final[dict[Severity, Confidence]] = {"strong": "high", "medium": "medium", "weak": "low"}


class SignalDefinition(msgspec.Struct, frozen=True, kw_only=True):
    """One signal. `exempt_if`: facts of the session under which it does not count. `stays`: once seen it holds."""

    name: str
    severity: Severity
    category: Category
    method: Method
    cue: str
    exemption: str
    source: str
    confidence: Confidence
    exempt_if: tuple[str, ...] = ()
    stays: bool = True
    installed: bool = False
    """It says that something is there to be used, not that it is in use."""
    accepted_from: tuple[SignalKind, ...] = ()
    """Kinds of upstream results of which a finding of this name, with the value true, is taken for the signal."""


def signal(
    name: str,
    severity: Severity,
    category: Category,
    method: Method,
    cue: str,
    source: str,
    exemption: str = "",
    *,
    exempt_if: tuple[str, ...] = (),
    stays: bool = True,
    installed: bool = False,
    accepted_from: tuple[SignalKind, ...] = (),
) -> SignalDefinition:
    """Make one row; its confidence, where nobody says another, is its severity's."""
    return SignalDefinition(
        name=name,
        severity=severity,
        category=category,
        method=method,
        cue=cue,
        exemption=exemption,
        source=source,
        confidence=_CONFIDENCE[severity],
        exempt_if=exempt_if,
        stays=stays,
        installed=installed,
        accepted_from=accepted_from,
    )
