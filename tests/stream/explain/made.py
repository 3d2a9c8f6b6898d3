"""A session made by hand: telemetry and risk events as a worker would have written them, without a worker."""

from __future__ import annotations

import math
from typing import Any

import msgspec

from schemas.risk import (
    Calibration,
    ChannelScore,
    Decision,
    Policy,
    Reason,
    RiskEvent,
    Scores,
    SignalValue,
    Source,
    Velocity,
    Versions,
)
from schemas.signals import Finding, Signal
from schemas.telemetry import Collector, Device, Pointer, Telemetry, Viewport

START_MS = 1_790_000_000_000
SESSION = "ses_7Qm2vXb9"
RAW_ACCOUNT = "alice@example.com"
"""What a producer without a gateway may have sent; it must never be shown."""
VERSIONS = Versions(
    pipeline="0.1.0", features="f" * 64, models={"bot_pointer": "a" * 64}, calibration="c" * 64, policy="d" * 64
)
CURVATURE = Reason(
    code="POINTER_CURVATURE_UNLIKE_PEOPLE", category="behaviour", weight=0.62, polarity="risk",
    evidence="Deviation of a stroke from its chord: 0.001", basis="model", channel="bot",
)  # fmt: skip
RHYTHM = Reason(
    code="KEY_RHYTHM_LIKE_PEOPLE", category="behaviour", weight=0.11, polarity="trust",
    evidence="Spread of gaps between presses: 0.4", basis="model", channel="bot",
)  # fmt: skip
WEBDRIVER = Reason(
    code="WEBDRIVER_TRUE", category="automation", weight=0.8, polarity="risk", severity="strong",
    evidence="webdriver true", basis="signal", channel="device",
)  # fmt: skip
MANY = Reason(
    code="DEVICE_ACCOUNTS_H24", category="velocity", weight=0.5, polarity="risk",
    evidence="6 accounts with this device in 24 hours", basis="counter", channel="device",
)  # fmt: skip


def telemetry(number: int, **more: Any) -> Telemetry:
    """Half a second of the pointer's way, in an arc; a press in every fourth event."""
    t = [20.0 * k for k in range(25)]
    phase = [0.5 * number + 0.02 * k for k in range(25)]
    kinds = [0] * 25
    if number % 4 == 3:
        kinds[20], kinds[22] = 1, 2
    return Telemetry(
        event_id=f"evt-{number}", session_id=SESSION, tenant="example-bank", flow="login", sequence=number,
        effective_at=START_MS + 500 * number, observed_at=START_MS + 500 * number + 600,
        collector=Collector(name="tellwire-web", version="1.0.0"), account_ref=RAW_ACCOUNT,
        viewport=Viewport(width_px=1280.0, height_px=720.0),
        pointer=Pointer(
            t=t, x=[640 + 400 * math.cos(p) for p in phase], y=[360 + 250 * math.sin(p) for p in phase], kind=kinds
        ),
        device=Device(user_agent="Mozilla/5.0 (SECRET)") if number == 0 else None,
        **more,
    )  # fmt: skip


def risk(number: int, score: float, action: str = "allow", **more: Any) -> RiskEvent:
    """The risk event that answers telemetry event `number`."""
    at = START_MS + 500 * number
    fields: dict[str, Any] = {
        "evaluation_id": f"t:1:{100 + 3 * number}", "event_id": f"evt-{number}", "session_id": SESSION,
        "tenant": "example-bank", "flow": "login",
        "source": Source(topic="capture.telemetry", topic_id="t", partition=1, offset=100 + 3 * number),
        "sequence": number + 1, "evaluation_status": "superseding" if number else "new", "is_final": False,
        "effective_at": at, "observed_at": at + 600, "ingested_at": at + 610, "scored_at": at + 613,
        "observed_s": 0.5 * number,
        "scores": Scores(
            overall=score - 0.02 if score > 0.02 else score, overall_anytime=score,
            bot=ChannelScore(
                state="scored", score=score, score_anytime=score, raw=score, raw_max=score, weight=0.6,
                calibration=Calibration(cell="login/mouse/*/lt7s", n_people=91, state="prior", fpr_upper95=0.03),
            ),
            anomaly=ChannelScore(state="no_data", weight=0.1),
            device=ChannelScore(state="scored", score=0.2, score_anytime=0.2, raw=0.0, raw_max=0.0, weight=0.3),
            injection=ChannelScore(state="not_expected"),
        ),
        "risk_score": int(100 * score), "risk_level": "high" if score >= 0.9 else "low",
        "decision": Decision(
            action=action,  # type: ignore[arg-type]
            policy=Policy(id="default", revision="d" * 64, rule="none" if action == "allow" else "score_step_up"),
            step_up_methods=["passkey", "otp"] if action == "step_up" else None,
        ),
        "reasons": [CURVATURE, RHYTHM] if score >= 0.5 else [],
        "signals": {}, "coverage": 0.6, "missing_signals": ["keys"], "degraded": [],
        "velocity": {"device_accounts": Velocity(m5=1, h1=2, h24=6)}, "versions": VERSIONS,
        "latency_ms": {"decode": 0.02, "total": 1.0 + number},
        "account_ref": "k3:8f1d0a6b", "device_ref": "k3:51c7e0d9",
    }  # fmt: skip
    return RiskEvent(**(fields | more))


def session() -> list[Telemetry | Signal | RiskEvent]:
    """Twelve events: risk rises, a step-up at the ninth, a fact that counts, an excused one, an upstream result."""
    found: list[Telemetry | Signal | RiskEvent] = []
    for number in range(12):
        found.append(telemetry(number))
        signals: dict[str, SignalValue] = {}
        if number >= 4:
            signals["webdriver_true"] = SignalValue(value=True, severity="strong", confidence="high")
        if number >= 6:
            signals["engine_mismatch"] = SignalValue(
                value=True, severity="medium", confidence="medium", exempt="privacy_mode"
            )
        action = "step_up" if number >= 8 else "allow"
        event = risk(number, min(0.96, 0.1 + 0.1 * number), action, signals=signals)
        if number >= 8:
            event.reasons = [WEBDRIVER, CURVATURE, MANY, RHYTHM]
        event.decision.changed, event.decision.latched = number == 8, number > 8
        event.is_final = number == 11
        found.append(event)
    found.append(
        Signal(
            event_id="up-1", session_id=SESSION, tenant="example-bank", flow="login", effective_at=START_MS + 2_000,
            observed_at=START_MS + 2_100, kind="liveness", provider="acme", outcome="scored", score=0.98,
            direction="high_is_genuine", verdict="pass", findings=[Finding(name="note", value="SECRET")],
        )
    )  # fmt: skip
    return found


def lines(records: list[Telemetry | Signal | RiskEvent]) -> bytes:
    """The records as JSON lines."""
    return b"".join(msgspec.json.encode(record) + b"\n" for record in records)
