"""Derived signals: the table of all of them, and `derive_signals`, which reads them off an event and its session.

A signal is an observation, kept apart from any score. S (strong) stands alone, M (medium) needs a second, W (weak)
never counts alone. A known innocent cause is written into `exempt`; an exempt signal is shown and does not count.
Rules on behaviour look at the session's vector and are judged anew with each event; facts of the client stay.
"""

from collections.abc import Callable, Mapping
from typing import Literal

import numpy as np
import numpy.typing as npt

from features.automation import automation_signals
from features.capture import capture_signals
from features.device import device_signals
from features.forensics import forensic_signals
from features.meta import Meta, SignalRecord
from features.network import network_signals
from features.signal_table import SIGNALS
from schemas.risk import SignalValue
from schemas.telemetry import Telemetry

__all__ = ["SIGNALS", "derive_signals", "signal_values"]

Vector = npt.NDArray[np.float64]

_JUDGED_ANEW = tuple(name for name, definition in SIGNALS.items() if not definition.stays)


def derive_signals(event: Telemetry, meta: Meta, vector: Vector | None = None) -> dict[str, SignalValue]:
    """Signals that hold now in the session, by name, in the table's order; `meta.signals` is brought up to date.

    meta: the session's, `event` already observed. vector: the session's features right after the event
    (float64[N_FEATURES]); without it the rules on behaviour are left as they were.
    """
    found: dict[str, bool | float | str] = {}
    if event.device is not None:
        automation_signals(event.device, found)
        device_signals(event, meta, found)
    if event.network is not None or event.device is not None:
        network_signals(event, meta, found)
    if event.capture is not None:
        capture_signals(event.capture, found)
    if vector is not None:
        for name in _JUDGED_ANEW if meta.signals else ():
            meta.signals.pop(name, None)
        forensic_signals(meta, vector, found)
    for name, value in found.items():
        definition = SIGNALS[name]
        meta.signals[name] = SignalRecord(value, definition.severity, definition.confidence)
    return signal_values(meta)


def signal_values(meta: Meta) -> dict[str, SignalValue]:
    """The session's signals with what exempts them by all that is known now, in the table's order."""
    if not meta.signals:
        return {}
    return {
        name: SignalValue(
            value=record.value,
            severity=record.severity,
            confidence=record.confidence,
            exempt=exemption(name, meta),
        )
        for name in SIGNALS
        if (record := meta.signals.get(name)) is not None
    }


def exemption(name: str, meta: Meta) -> str | None:
    """Why a signal does not count in this session, or None."""
    for reason in SIGNALS[name].exempt_if:
        if _EXEMPTIONS[reason](meta):
            return reason
    return None


Exemption = Literal["assistive_technology", "privacy_mode", "touch_input", "mobile", "ime"]

_EXEMPTIONS: Mapping[str, Callable[[Meta], bool]] = {
    "assistive_technology": lambda meta: meta.assistive,
    "privacy_mode": lambda meta: meta.privacy_mode,
    "touch_input": lambda meta: meta.pointer_type in {"touch", "pen"},
    "mobile": lambda meta: meta.mobile,
    "ime": lambda meta: meta.ime,
}
