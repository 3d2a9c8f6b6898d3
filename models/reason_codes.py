"""The table from features to reason codes: what a reviewer would call it, by the beginning of a feature's name."""

from typing import Final

POINTER: Final = "POINTER_MOVEMENT"
CODES: Final[tuple[tuple[str, str], ...]] = (
    ("pointer_bend", "POINTER_CURVATURE"),
    ("pointer_deviation", "POINTER_CURVATURE"),
    ("pointer_side_flips", "POINTER_CURVATURE"),
    ("pointer_overshoot", "POINTER_AIM"),
    ("pointer_turn", "POINTER_TURNING"),
    ("pointer_headings", "POINTER_TURNING"),
    ("pointer_power", "POINTER_SPEED_CURVATURE_LAW"),
    ("pointer_rough", "POINTER_SMOOTHNESS"),
    ("pointer_speed_rough", "POINTER_SMOOTHNESS"),
    ("pointer_step", "POINTER_SMOOTHNESS"),
    ("pointer_speed_memory", "POINTER_SMOOTHNESS"),
    ("pointer_speed", "POINTER_SPEED_PROFILE"),
    ("pointer_peak", "POINTER_SPEED_PROFILE"),
    ("pointer_brake", "POINTER_SPEED_PROFILE"),
    ("pointer_start_speed", "POINTER_SPEED_PROFILE"),
    ("pointer_end_speed", "POINTER_SPEED_PROFILE"),
    ("pointer_rest_share", "POINTER_SPEED_PROFILE"),
    ("pointer_profile", "POINTER_SPEED_PROFILE"),
    ("pointer_isochrony", "POINTER_DISTANCE_TIME_LAW"),
    ("pointer_path", "POINTER_DISTANCE_TIME_LAW"),
    ("pointer_pause", "POINTER_PAUSES"),
    ("pointer_moving", "POINTER_PAUSES"),
    ("pointer_micro", "POINTER_PAUSES"),
    ("pointer_jump", "POINTER_JUMPS"),
    ("pointer_press", "POINTER_CLICKS"),
    ("pointer_hold", "POINTER_CLICKS"),
    ("pointer_dwell", "POINTER_CLICKS"),
    ("pointer_drag", "POINTER_CLICKS"),
    ("pointer_axis", "POINTER_GRID"),
    ("pointer_ahead", "POINTER_GRID"),
    ("pointer_equal_step", "POINTER_GRID"),
    ("pointer_diagonal", "POINTER_GRID"),
    ("pointer", POINTER),
    ("keystroke_hold", "KEY_HOLD"),
    ("keystroke_rollover", "KEY_ROLLOVER"),
    ("keystroke_ud", "KEY_ROLLOVER"),
    ("keystroke_uu", "KEY_ROLLOVER"),
    ("keystroke_dd", "KEY_RHYTHM"),
    ("keystroke_break", "KEY_RHYTHM"),
    ("keystroke", "KEY_RHYTHM"),
    ("focus", "FOCUS"),
    ("form", "FORM"),
    ("touch", "TOUCH"),
    ("scroll", "SCROLL"),
    ("motion", "MOTION"),
    ("velocity", "VELOCITY"),
)
"""(beginning of the feature's name, code stem); the longest beginning that fits wins."""

RISK_SUFFIX: Final = "_UNLIKE_PEOPLE"
TRUST_SUFFIX: Final = "_LIKE_PEOPLE"


def stem_of(feature: str) -> str:
    """Code stem of a feature; features of unknown families get their family's name."""
    fits = [(len(prefix), stem) for prefix, stem in CODES if feature.startswith(prefix)]
    return max(fits)[1] if fits else feature.split("_", 1)[0].upper()


def code_of(signal: str) -> str:
    """Reason code of a signal: its name in upper case, anything unusual as `_`."""
    return "".join(c if c.isalnum() else "_" for c in signal).upper()
