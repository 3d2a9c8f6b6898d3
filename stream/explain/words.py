"""How page and terminal say things: decisions, rules, channels, times; meanings are those of `schemas.meanings`."""

from datetime import UTC, datetime
from typing import Final

from features.signal_table import SIGNALS
from schemas.meanings import meanings_of
from schemas.risk import CHANNELS, Calibration

ACTION: Final = {"allow": "allow", "step_up": "step up", "block": "block"}
ACTION_MEANINGS: Final = meanings_of(("allow", "step_up", "block")) or {}
LEVELS: Final = meanings_of(("low", "medium", "high", "very_high")) or {}
METHODS: Final = meanings_of(("captcha", "otp", "passkey", "liveness", "document", "manual_review")) or {}
MODES: Final = meanings_of(("live", "shadow", "preview")) or {}
BASIS: Final = meanings_of(("model", "signal", "rule", "counter")) or {}
CHANNEL_MEANINGS: Final = meanings_of(CHANNELS) or {}
STATES: Final = meanings_of(("scored", "no_data", "degraded", "not_expected")) or {}
CALIBRATION: Final = meanings_of(("prior", "source", "live")) or {}
RULES: Final = {
    "none": "no rule and no threshold was reached",
    "score_step_up": "the overall score reached the flow's threshold for a step-up",
    "score_block": "the overall score reached the flow's threshold for a block, and a fact beside behaviour agrees",
    "degraded": "a dependency was missing while scoring, and the flow does not fail open",
    "latched": "an earlier decision of the session holds",
}
"""Rules that are no rule of the policy file (`models.policy.RESERVED_RULES`)."""
METHOD_WORDS: Final = {
    "client": "the browser says so",
    "comparison": "two things said contradict each other",
    "behaviour": "a rule on the input",
    "edge": "the edge saw it",
    "counters": "entity counters",
    "upstream": "an upstream result says so",
}


def time_of(epoch_ms: int) -> str:
    """A time in UTC, to the millisecond."""
    return datetime.fromtimestamp(epoch_ms / 1000.0, UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3] + " UTC"


def rule_words(rule: str) -> str:
    """What a rule's name says; a rule of the policy file is named as it is."""
    return RULES.get(rule, f"rule {rule} of the policy holds")


def cue_of(signal: str) -> str:
    """What a signal looks at; empty for one that this version does not know."""
    known = SIGNALS.get(signal)
    return known.cue if known is not None else ""


def ranges(numbers: list[tuple[int, int]], most: int = 6) -> str:
    """`3, 7 to 9 and 2 more ranges`."""
    named = ", ".join(f"{a}" if a == b else f"{a} to {b}" for a, b in numbers[:most])
    return named + (f" and {len(numbers) - most} more ranges" if len(numbers) > most else "")


def rests_on(calibration: Calibration) -> str:
    """Whom a score was ranked among."""
    if calibration.n_people == 0:
        return f"a stated prior in {calibration.cell}; no people yet"
    state = CALIBRATION.get(calibration.state, calibration.state)
    return f"{calibration.n_people} people in {calibration.cell}: {state}"
