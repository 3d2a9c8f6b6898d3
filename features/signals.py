"""Derived signals: the table of all of them, and `derive_signals`, which reads them off an event and its session.

A signal is an observation, kept apart from any score. S (strong) stands alone, M (medium) needs a second, W (weak)
never counts alone. A known innocent cause is written into `exempt`; an exempt signal is shown and does not count.
Rules on behaviour look at the session's vector and are judged anew with each event; facts of the client stay. A device
may be told in parts, the whole at last: the same signals as of the whole alone.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

from features.automation import automation_signals
from features.capture import capture_signals
from features.device import device_signals
from features.forensics import forensic_signals
from features.frames import FRAME_SIGNALS, frame_signals
from features.meta import Meta, SignalRecord
from features.network import network_signals
from features.signal_definition import Confidence
from features.signal_table import SIGNALS
from features.signals_upstream import RESULT_SIGNALS, result_signals, upstream_signals
from features.velocity import CAPTURE, TEMPLATE, WHAT_INDEX
from schemas.risk import SignalValue
from schemas.signals import Signal
from schemas.telemetry import Telemetry

__all__ = ["SIGNALS", "derive_signals", "signal_values", "signals_of"]

Vector = npt.NDArray[np.float64]

_JUDGED_ANEW = frozenset(name for name, definition in SIGNALS.items() if not definition.stays)
_WAITING = frozenset(
    {
        *(name for name, definition in SIGNALS.items() if {"privacy_mode", "mobile"} & set(definition.exempt_if)),
        "touch_mismatch",
        "cdp_open",
    }
)
"""Signals that a partial device block does not bring: what excuses them may be in what is not read yet."""
_SURE: Sequence[Confidence] = ("low", "medium", "high")
_ACCOUNTS_H24 = 3 * WHAT_INDEX[CAPTURE]["accounts"] + 2
_TEMPLATE_ACCOUNTS_H1 = 3 * WHAT_INDEX[TEMPLATE]["accounts"] + 1
_TEMPLATE_ADDRESSES_H1 = 3 * WHAT_INDEX[TEMPLATE]["ips"] + 1
MOST_ALIKE = 20
"""Accounts and addresses an hour from which a template stands out."""
_ORDER = {name: place for place, name in enumerate(SIGNALS)}


def signals_of(
    events: Sequence[Telemetry | Signal],
    metas: Sequence[Meta],
    vectors: Vector,
    may_hold: npt.NDArray[np.bool_],
) -> list[dict[str, SignalValue]]:
    """`derive_signals` of each event. vectors, may_hold: what folding the same events gave.

    Most are telemetry with neither device, network nor capture, of which no rule on behaviour holds: they cost next to
    nothing.
    """
    found: list[dict[str, SignalValue]] = []
    for i, (event, meta, marked) in enumerate(zip(events, metas, may_hold.tolist(), strict=True)):
        if (
            not isinstance(event, Telemetry)
            or event.device is not None
            or event.network is not None
            or event.capture is not None
        ):
            _take(event, meta, vectors[i])
            if marked:
                _judge(meta, vectors[i])
            else:
                _forget_judged(meta)
            found.append(signal_values(meta))
        elif marked:
            _judge(meta, vectors[i])
            found.append(signal_values(meta))
        elif meta.signals:
            _forget_judged(meta)
            found.append(signal_values(meta))
        else:
            found.append({})
    return found


def derive_signals(event: Telemetry | Signal, meta: Meta, vector: Vector | None = None) -> dict[str, SignalValue]:
    """Signals that hold now in the session, by name, in the table's order; `meta.signals` is brought up to date.

    meta: the session's, `event` already observed. vector: the session's features right after the event
    (float64[N_FEATURES]); without it the rules on behaviour are left as they were.
    """
    _take(event, meta, vector)
    if vector is not None:
        _judge(meta, vector)
    return signal_values(meta)


def _take(event: Telemetry | Signal, meta: Meta, vector: Vector | None) -> None:
    """Take the facts that an event or an upstream result brings into the session's signals."""
    found: dict[str, bool | float | str] = {}
    confidence = None
    if isinstance(event, Signal):
        confidence = upstream_signals(event, meta, vector, found)
    else:
        if event.device is not None:
            automation_signals(event.device, found)
            device_signals(event, meta, found)
        if event.network is not None or event.device is not None:
            network_signals(event, meta, found)
        if event.device is not None and event.device.partial:
            for name in _WAITING & found.keys():
                del found[name]
        if event.capture is not None:
            capture_signals(event.capture, found, is_mobile=meta.mobile)
            _forget(meta, FRAME_SIGNALS)
            if meta.camera is not None:
                frame_signals(meta.camera, found)
    _record(meta, found, confidence)
    # With what is about the capture only: so it is the same whether a chunk's plain events are looked at or not.
    if meta.capture_counters and (isinstance(event, Signal) or event.capture is not None):
        accounts = meta.capture_counters[_ACCOUNTS_H24]
        if accounts > 1:
            _record(meta, {"capture_hash_reuse": float(accounts)})
    if meta.template_counters and isinstance(event, Telemetry) and event.device is not None:
        accounts = meta.template_counters[_TEMPLATE_ACCOUNTS_H1]
        if min(accounts, meta.template_counters[_TEMPLATE_ADDRESSES_H1]) >= MOST_ALIKE:
            _record(meta, {"fingerprint_copies": float(accounts)})
    if meta.camera is not None and meta.camera.results:
        _record_results(meta)


def _judge(meta: Meta, vector: Vector) -> None:
    """Judge the rules on behaviour anew."""
    _forget_judged(meta)
    found: dict[str, bool | float | str] = {}
    forensic_signals(meta, vector, found)
    _record(meta, found)


def _record(meta: Meta, found: dict[str, bool | float | str], confidence: Confidence | None = None) -> None:
    """Keep what was found. confidence: how sure the one is who told it; None: as the table says."""
    for name, value in found.items():
        definition = SIGNALS[name]
        sure = confidence or definition.confidence
        if definition.category == "capture" and (held := meta.signals.get(name)) is not None:
            # Of two who tell the same, the surer one counts, whoever comes last.
            sure = max(sure, held.confidence, key=_SURE.index)
        meta.signals[name] = SignalRecord(value, definition.severity, sure)


def _record_results(meta: Meta) -> None:
    """Judge anew what stands of the results about the camera step."""
    assert meta.camera is not None
    _forget(meta, RESULT_SIGNALS)
    for name, (value, severity) in result_signals(meta.camera.results, meta.signals).items():
        meta.signals[name] = SignalRecord(value, severity, SIGNALS[name].confidence)


def _forget(meta: Meta, names: Sequence[str]) -> None:
    for name in names if meta.signals else ():
        meta.signals.pop(name, None)


def _forget_judged(meta: Meta) -> None:
    for name in _JUDGED_ANEW & meta.signals.keys() if meta.signals else ():
        del meta.signals[name]


def signal_values(meta: Meta) -> dict[str, SignalValue]:
    """The session's signals with what exempts them by all that is known now, in the table's order."""
    if not meta.signals:
        return {}
    # A name that the table no longer has may be stored: it is left out.
    names = sorted(_ORDER.keys() & meta.signals.keys(), key=_ORDER.__getitem__)
    held = meta.signals
    return {
        name: SignalValue(
            value=held[name].value,
            severity=held[name].severity,
            confidence=held[name].confidence,
            exempt=exemption(name, meta),
        )
        for name in names
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
