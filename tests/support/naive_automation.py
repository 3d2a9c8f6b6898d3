"""The stupid twin of naming a sender's kind: all that anything speaks for, by precedence, in plain Python."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from features.registry import INDEX
from models.assessment import SessionMeta
from schemas.risk import Automation, Scores, SignalValue
from tests.support.naive_shares import Floats


def naive_automation(
    x: Floats, meta: SessionMeta, scores: Scores, anytime: Mapping[str, float], signals: Mapping[str, SignalValue]
) -> Automation | None:
    """Every class that something speaks for, by precedence; the first one is it."""
    holds = {name: s.confidence for name, s in signals.items() if s.exempt is None and s.value is not False}

    def value(name: str) -> float:
        return float(x[INDEX[name]])

    bot, seconds = anytime.get("bot"), value("session_observed_s")
    said: list[tuple[str, str, str, str]] = []
    said += [("replayed", "rule", holds[name], name) for name in ("payload_replayed",) if name in holds]
    if anytime.get("replay", 0.0) >= 0.95:
        said.append(("replayed", "rule", "medium", "replay_channel"))
    agents = ("agent_signed", "agent_unsigned", "agent_spoofed")
    said += [("agent", "rule", holds[name], name) for name in agents if name in holds]
    if {"click_without_move", "value_without_keys"} <= set(holds):
        bursts = seconds >= 20.0 and value("session_active_s") < seconds / 2.0
        said.append(("agent", "rule", "medium" if bursts else "low", "jumps_and_whole_values"))
    drivers = (
        "webdriver_true webdriver_patched driver_artifacts playwright_binding scripted_keys headless_ua "
        "zero_ms_hold untrusted_events keys_while_unfocused cdp_rate centre_clicks"
    )
    said += [("scripted", "rule", holds[name], name) for name in drivers.split() if name in holds]
    if bot is not None and bot >= 0.95:
        sure = "low" if bot < 0.98 else "medium" if bot < 0.99 else "high"
        even = value("keystroke_dd_log_sd") < 0.08 or value("keystroke_hold_log_sd") < 0.03
        if value("keystroke_keys") >= 10.0 and even:
            said.append(("scripted", "rule", sure, "even_typing"))
        even = value("pointer_speed_cv_mean") < 0.15 and value("pointer_bend_log_mean") < 0.01
        if even and value("pointer_strokes") >= 3.0:
            said.append(("scripted", "rule", sure, "even_motion"))
        said.append(("humanised", "model", sure, "bot_score"))
    if meta.assistive:
        said.append(("assistive", "rule", "medium", "declared"))
    if bot is not None:
        there = scores.bot.calibration.n_people if scores.bot is not None and scores.bot.calibration else 0
        sure = "high" if there >= 1000 and seconds >= 30.0 else "medium" if there >= 50 and seconds >= 5.0 else "low"
        said.append(("human", "model", sure, "bot_score"))
    names = ("kind", "basis", "confidence", "rule")
    return msgspec.convert(dict(zip(names, said[0], strict=True)), Automation) if said else None
