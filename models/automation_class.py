"""What kind of sender a session looks like, and what says so: a named rule on facts, or the calibrated bot score.

Classes: human, scripted (a driver, or input that no hand makes), humanised (the score says bot, no fact says how),
replayed, agent (a declared AI agent; or clicks that jump, whole values and bursts), assistive. There are recorded bots
for the score only, so all but human and humanised are rules, each by its name. The class informs: no policy reads it.
"""

from collections.abc import Mapping
from typing import Final

import numpy as np

from features.registry import INDEX
from models.assessment import SessionMeta
from models.scorer import FloatArray
from schemas.risk import Automation, AutomationClass, Scores, SignalValue

REPLAYED: Final = ("payload_replayed",)
AGENTS: Final = ("agent_signed", "agent_unsigned", "agent_spoofed")
DRIVERS: Final = (
    "webdriver_true", "webdriver_patched", "driver_artifacts", "playwright_binding", "scripted_keys", "headless_ua",
    "zero_ms_hold", "untrusted_events", "keys_while_unfocused", "cdp_rate", "centre_clicks",
)  # fmt: skip
"""Signals that a program drives the browser or makes the input, surest first."""
JUMPS: Final = "click_without_move"
WHOLE_VALUES: Final = "value_without_keys"

BOT_FROM: Final = 0.95
"""Any-time bot score from which the score says bot, at a cost of 5 % of people where the calibration holds."""
REPLAY_FROM: Final = 0.95
BURSTS_BELOW: Final = 0.5
"""Share of the session's time with input: an agent thinks between bursts of it."""
BURSTS_AFTER_S: Final = 20.0
SURE_PEOPLE: Final = 1_000
SOME_PEOPLE: Final = 50

_ACTIVE: Final = INDEX["session_active_s"]
_EVENNESS: Final = np.array([
    INDEX[name]
    for name in (
        "keystroke_keys", "keystroke_dd_log_sd", "keystroke_hold_log_sd",
        "pointer_strokes", "pointer_speed_cv_mean", "pointer_bend_log_mean",
    )
])  # fmt: skip
_KNOWN: Final[dict[tuple[AutomationClass, str, str, str], Automation]] = {}


def automation_of(
    x: FloatArray,
    observed_s: float,
    meta: SessionMeta,
    scores: Scores,
    anytime: Mapping[str, float],
    signals: Mapping[str, SignalValue],
) -> Automation | None:
    """The class of a session now; None while neither a score nor a fact says anything.

    x: vector (N_FEATURES,), of which `observed_s` is a feature; anytime: any-time score of each channel that has one;
    signals: those that fired.
    """
    bot = anytime.get("bot")
    if signals or anytime.get("replay", 0.0) >= REPLAY_FROM:
        found = _by_fact(x, observed_s, anytime, signals)
        if found is not None:
            return found
    if bot is not None and bot >= BOT_FROM:
        return _flagged(x, bot)
    if meta.assistive:
        return _made("assistive", "rule", "medium", "declared")
    if bot is None:
        return None
    return _human(observed_s, scores)


def _by_fact(
    x: FloatArray, observed_s: float, anytime: Mapping[str, float], signals: Mapping[str, SignalValue]
) -> Automation | None:
    counted = {name: one for name, one in signals.items() if one.exempt is None and one.value is not False}
    for name in REPLAYED:
        if name in counted:
            return _made("replayed", "rule", counted[name].confidence, name)
    if anytime.get("replay", 0.0) >= REPLAY_FROM:
        return _made("replayed", "rule", "medium", "replay_channel")
    for name in AGENTS:
        if name in counted:
            return _made("agent", "rule", counted[name].confidence, name)
    if JUMPS in counted and WHOLE_VALUES in counted:
        bursts = observed_s >= BURSTS_AFTER_S and x[_ACTIVE] < BURSTS_BELOW * observed_s
        return _made("agent", "rule", "medium" if bursts else "low", "jumps_and_whole_values")
    for name in DRIVERS:
        if name in counted:
            return _made("scripted", "rule", counted[name].confidence, name)
    return None


def _flagged(x: FloatArray, bot: float) -> Automation:
    """The score says bot: scripted where the input is too even for a hand, else humanised."""
    confidence = "high" if bot >= 0.99 else "medium" if bot >= 0.98 else "low"
    keys, interval_sd, hold_sd, strokes, speed_cv, bend = x[_EVENNESS].tolist()
    if keys >= 10.0 and (interval_sd < 0.08 or hold_sd < 0.03):
        return _made("scripted", "rule", confidence, "even_typing")
    if strokes >= 3.0 and speed_cv < 0.15 and bend < 0.01:
        return _made("scripted", "rule", confidence, "even_motion")
    return _made("humanised", "model", confidence, "bot_score")


def _human(observed_s: float, scores: Scores) -> Automation:
    calibration = scores.bot.calibration if scores.bot is not None else None
    people = calibration.n_people if calibration is not None else 0
    if people >= SURE_PEOPLE and observed_s >= 30.0:
        return _made("human", "model", "high", "bot_score")
    if people >= SOME_PEOPLE and observed_s >= 5.0:
        return _made("human", "model", "medium", "bot_score")
    return _made("human", "model", "low", "bot_score")


def _made(kind: AutomationClass, basis: str, confidence: str, rule: str) -> Automation:
    """The one object of this finding: there are few of them."""
    key = (kind, basis, confidence, rule)
    found = _KNOWN.get(key)
    if found is None:
        found = _KNOWN[key] = Automation(kind=kind, basis=basis, confidence=confidence, rule=rule)  # type: ignore[arg-type]
    return found
