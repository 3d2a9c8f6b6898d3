"""The pointer family's features: what its sums mean, as dimensionless figures that travel between recorders."""

import math

from features import pointer as p
from features.kernel import (
    correlation_of,
    entropy_of,
    inner,
    mean_of,
    ratio_of,
    sd_of,
    slope_of,
)
from features.stroke import N_QUANTITIES, PROFILE_BINS, QUANTITIES

T = p.T

_KIN = "Barkworth and Rehman 2022; Kandi 2023 (mouse kinematics)"
_MOTOR = "BeCAPTCHA-Mouse, arXiv 2005.00890 (neuromotor form of strokes)"
_CLICK = "FCaptcha heuristics; own"
_NO_POINTER = "keyboard-only, screen reader, switch access: no data, never suspicious"
_REMOTE = "remote desktop and coarse recorders quantise time and position"


def _add(name: str, unit: str, low: float, high: float, text: str, source: str = _KIN, *, clock: bool = False) -> int:
    return T.feature(
        name,
        unit,
        low,
        high,
        text,
        source,
        basis="context" if clock else "trained",
        bot=not clock,
        anomaly=not clock,
        clock=clock,
        exemption=_REMOTE if clock else _NO_POINTER,
    )


def _context(name: str, unit: str, low: float, high: float, text: str) -> int:
    return T.feature(name, unit, low, high, text, "own", basis="context")


F_SAMPLES = _context("samples", "samples", 0, 1e9, "Pointer samples.")
F_STROKES = _context("strokes", "strokes", 0, 1e9, "Strokes of at least 200 ms and 12 px, the open one included.")
F_SPEED = _context("speed_px_s", "px/s", 0, 1e6, "Mean speed while moving: depends on screen and device.")
F_INTERVAL = _context("interval_ms", "ms", 0, 1e4, "Geometric mean of sample intervals up to 250 ms.")
F_REORDERED = _context("reordered", "samples", 0, 1e9, "Samples that came after later ones.")

_first = T.count
for _name, _low, _high, _text in QUANTITIES:
    # Whether a turn is exactly none depends on rounding and on interpolation between sparse samples.
    _rounded = _name == "turn_none_share"
    _add(f"{_name}_mean", "1", _low, _high, f"Mean over strokes: {_text}.", _MOTOR, clock=_rounded)
    _add(f"{_name}_sd", "1", 0.0, _high - _low, f"Standard deviation over strokes: {_text}.", _MOTOR, clock=_rounded)
F_QUANTITY = _first
F_PROFILE = T.count
for _b in range(PROFILE_BINS):
    _add(f"profile_{_b + 1}", "1", 0, 1, f"Share of a stroke's path in the {_b + 1}. eighth of its time.", _MOTOR)
F_PROFILE_SD = _add(
    "profile_sd", "1", 0, 1, "How differently strokes spread their path over time (root mean variance)."
)
F_SPEEDS = T.count
for _b, _text in enumerate(
    ("below 0.09", "0.09 to 0.18", "0.18 to 0.35", "0.35 to 0.7", "0.7 to 1.4", "1.4 to 2.8", "2.8 to 5.7", "above 5.7")
):
    _add(f"speeds_{_b + 1}", "1", 0, 1, f"Share of a stroke's steps at {_text} of its mean speed.", _MOTOR)
F_MICRO = _add("micro_ratio", "1", 0, 1, "Share of strokes too short or too small to have a shape.")
F_HEADINGS = _add("headings_entropy", "1", 0, 1, "Entropy of stroke directions in eight sectors.")
F_FITTS_SLOPE = _add(
    "isochrony_slope",
    "1",
    -1,
    2,
    "Slope of ln duration on ln path over movements: 0 equal time, 1 equal speed.",
    _MOTOR,
)
F_FITTS_FIT = _add("isochrony_fit", "1", -1, 1, "Correlation of ln duration and ln path over movements.", _MOTOR)
F_FITTS_SPREAD = _add("isochrony_spread", "1", 0, 4, "Spread of ln duration that the path does not explain.", _MOTOR)
F_PATH_SD = _add("path_log_sd", "1", 0, 6, "Standard deviation of ln path over movements.")
F_MOVE_RATIO = _add("moving_ratio", "1", 0, 1, "Share of the pointer's time spent in movements.")
F_PAUSE_SD = _add("pause_log_sd", "1", 0, 6, "Standard deviation of ln pause.")
F_PAUSE_MEAN = _add("pause_log_mean", "ln(s/0.5)", -3, 6, "Mean of ln (pause / 0.5 s), pauses above 0.25 s.")
F_PAUSE_ENTROPY = _add("pause_entropy", "1", 0, 1, "Entropy of pause lengths in octaves.")
F_PAUSE_RATE = _add("pauses_per_movement", "1", 0, 4, "Pauses over movements: below one, movements end at buttons.")
F_JUMPS = _add(
    "jump_ratio",
    "1",
    0,
    1,
    "Share of movements that begin more than 40 px from where the last one ended.",
    "FP-Agent 2605.01247 (teleports); own",
)
F_AXIS = _add("axis_ratio", "1", 0, 1, "Share of steps of 4 px and more along an axis.", _KIN, clock=True)
F_AHEAD = _add(
    "ahead_ratio", "1", 0, 1, "Share of such steps that go on exactly in the last one's direction.", _KIN, clock=True
)
F_EQUAL = _add("equal_step_ratio", "1", 0, 1, "Share of such steps that repeat the last one exactly.", _KIN, clock=True)
F_DIAGONAL = _add("diagonal_ratio", "1", 0, 1, "Share of such steps exactly along a diagonal.", _KIN, clock=True)
F_SHORT = _add("short_step_ratio", "1", 0, 1, "Share of displacements shorter than 1.5 px.", _KIN, clock=True)
F_STILL = _add("still_ratio", "1", 0, 1, "Share of samples that move nothing.", _KIN, clock=True)
F_DT_SD = _add(
    "interval_log_sd",
    "1",
    0,
    4,
    "Standard deviation of ln sample interval.",
    "FCaptcha (timing regularity)",
    clock=True,
)
F_DT_ENTROPY = _add(
    "interval_entropy", "1", 0, 1, "Entropy of sample intervals in octaves.", "FCaptcha (timing regularity)", clock=True
)
F_DT_EQUAL = _add(
    "interval_equal_ratio",
    "1",
    0,
    1,
    "Share of sample intervals that equal the last one.",
    "FCaptcha (timing regularity)",
    clock=True,
)
F_DT_ZERO = _add("interval_zero_ratio", "1", 0, 1, "Share of samples at the time of the last one.", "own", clock=True)
F_PRESSES = _context("presses", "presses", 0, 1e9, "Button or finger presses.")
F_HOLD_MEAN = _add("hold_log_mean", "ln(s/0.1)", -5, 7, "Mean of ln (press duration / 0.1 s), drags left out.", _CLICK)
F_HOLD_SD = _add("hold_log_sd", "1", 0, 4, "Standard deviation of ln press duration.", _CLICK)
F_HOLD_ZERO = _add("hold_zero_ratio", "1", 0, 1, "Share of presses shorter than 1 ms.", _CLICK)
F_HOLD_EQUAL = _add(
    "hold_equal_ratio", "1", 0, 1, "Share of press durations equal to the last one within 0.5 ms.", _CLICK
)
F_DWELL_MEAN = _add("dwell_log_mean", "ln(s/0.1)", -5, 7, "Mean of ln (rest before the press / 0.1 s).", _CLICK)
F_DWELL_SD = _add("dwell_log_sd", "1", 0, 4, "Standard deviation of ln rest before the press.", _CLICK)
F_DWELL_ZERO = _add("dwell_zero_ratio", "1", 0, 1, "Share of presses with no rest at all (below 1 ms).", _CLICK)
F_PRESS_JUMP = _add("press_jump_ratio", "1", 0, 1, "Share of presses more than 40 px from the last sample.", _CLICK)
F_PRESS_UNMOVED = _add(
    "press_unmoved_ratio", "1", 0, 1, "Share of presses elsewhere than the last, reached by one jump at most.", _CLICK
)
F_DRAG = _add("drag_ratio", "1", 0, 1, "Share of presses that moved more than 8 px before release.", _CLICK)
F_DRIFT = _add(
    "press_drift_ratio", "1", 0, 1, "Share of presses released a little (up to 8 px) beside where they began.", _CLICK
)
F_CENTRE = T.feature(
    "centre_click_ratio",
    "1",
    0,
    1,
    "Share of clicks 0 to 2 px from the target's centre.",
    "FCaptcha",
    basis="rule",
    exemption=_NO_POINTER,
)
F_UNTRUSTED = T.feature(
    "untrusted_ratio",
    "1",
    0,
    1,
    "Share of samples with isTrusted = false.",
    "FCaptcha",
    basis="rule",
    exemption="password managers, assistive tools",
)
F_COALESCED = T.feature(
    "coalesced_ratio",
    "1",
    0,
    1,
    "Share of samples out of getCoalescedEvents, where supported.",
    "own",
    basis="rule",
    clock=True,
    exemption="recorders that drop them",
)


@inner
def finalize(s, out):  # type: ignore[no-untyped-def]
    """Write the family's features. s: float64 copy of its slots with the movement closed; out: float64[features]."""
    samples = s[p.SAMPLES]
    strokes = s[p.STROKES]
    out[F_SAMPLES] = samples
    out[F_STROKES] = strokes
    out[F_REORDERED] = s[p.REORDERED]
    out[F_SPEED] = ratio_of(s[p.PATH] * 1000.0, s[p.MOVE_TIME], 1.0)
    intervals = s[p.INTERVALS]
    out[F_INTERVAL] = 16.0 * math.exp(mean_of(intervals, s[p.INTERVALS + 1], 5.0))
    for k in range(N_QUANTITIES):
        at = p.QUANTITY + 3 * k
        out[F_QUANTITY + 2 * k] = mean_of(s[at], s[at + 1], 1.0)
        out[F_QUANTITY + 2 * k + 1] = sd_of(s[at], s[at + 1], s[at + 2], 3.0)
    variance = 0.0
    for b in range(PROFILE_BINS):
        mean = mean_of(strokes, s[p.PROFILE + b], 1.0)
        out[F_PROFILE + b] = mean
        variance += max(s[p.PROFILE + PROFILE_BINS + b] / max(strokes, 1.0) - mean * mean, 0.0)
    for b in range(8):
        out[F_SPEEDS + b] = ratio_of(s[p.SPEEDS + b], strokes, 1.0)
    out[F_PROFILE_SD] = math.sqrt(variance / PROFILE_BINS) if strokes >= 3.0 else math.nan
    out[F_MICRO] = ratio_of(s[p.MICRO], s[p.MICRO] + strokes, 3.0)
    out[F_HEADINGS] = entropy_of(s, p.HEADINGS, 8, 6.0)
    n = s[p.MOVEMENTS]
    su = s[p.MOVEMENTS + 1]
    sv = s[p.MOVEMENTS + 2]
    suu = s[p.MOVEMENTS + 3]
    svv = s[p.MOVEMENTS + 4]
    suv = s[p.MOVEMENTS + 5]
    out[F_FITTS_SLOPE] = slope_of(n, su, sv, suu, suv, 5.0)
    fit = correlation_of(n, su, sv, suu, svv, suv, 5.0)
    out[F_FITTS_FIT] = fit
    out[F_FITTS_SPREAD] = (
        sd_of(n, sv, svv, 5.0) * math.sqrt(max(1.0 - fit * fit, 0.0)) if not math.isnan(fit) else math.nan
    )
    out[F_PATH_SD] = sd_of(n, su, suu, 3.0)
    pauses = s[p.PAUSES]
    time = s[p.MOVE_TIME] + s[p.PAUSE_TIME]
    out[F_MOVE_RATIO] = ratio_of(s[p.MOVE_TIME], time, 500.0)
    out[F_PAUSE_SD] = sd_of(pauses, s[p.PAUSES + 1], s[p.PAUSES + 2], 3.0)
    out[F_PAUSE_MEAN] = mean_of(pauses, s[p.PAUSES + 1], 2.0)
    out[F_PAUSE_ENTROPY] = entropy_of(s, p.PAUSE_HIST, 8, 5.0)
    out[F_PAUSE_RATE] = ratio_of(pauses, n, 3.0)
    out[F_JUMPS] = ratio_of(s[p.JUMPS], n, 3.0)
    steps = s[p.STEPS]
    # From few steps on: who leads the pointer by keys must not be judged before that shows.
    out[F_AXIS] = ratio_of(s[p.STEPS_AXIS], steps, 4.0)
    out[F_AHEAD] = ratio_of(s[p.STEPS_AHEAD], steps, 4.0)
    out[F_EQUAL] = ratio_of(s[p.STEPS_EQUAL], steps, 10.0)
    out[F_DIAGONAL] = ratio_of(s[p.STEPS_DIAGONAL], steps, 4.0)
    out[F_SHORT] = ratio_of(s[p.STEPS_SHORT], s[p.MOVED], 10.0)
    out[F_STILL] = ratio_of(s[p.STILL], samples, 10.0)
    out[F_DT_SD] = sd_of(intervals, s[p.INTERVALS + 1], s[p.INTERVALS + 2], 10.0)
    out[F_DT_ENTROPY] = entropy_of(s, p.INTERVAL_HIST, 10, 10.0)
    out[F_DT_EQUAL] = ratio_of(s[p.INTERVALS_EQUAL], intervals, 10.0)
    out[F_DT_ZERO] = ratio_of(s[p.INTERVALS_ZERO], intervals + s[p.INTERVALS_ZERO], 10.0)
    presses = s[p.PRESSES]
    holds = s[p.HOLDS]
    out[F_PRESSES] = presses
    out[F_HOLD_MEAN] = mean_of(holds, s[p.HOLDS + 1], 1.0)
    out[F_HOLD_SD] = sd_of(holds, s[p.HOLDS + 1], s[p.HOLDS + 2], 3.0)
    out[F_HOLD_ZERO] = ratio_of(s[p.HOLDS_ZERO], holds, 1.0)
    out[F_HOLD_EQUAL] = ratio_of(s[p.HOLDS_EQUAL], holds - 1.0, 3.0)
    dwells = s[p.DWELLS]
    out[F_DWELL_MEAN] = mean_of(dwells, s[p.DWELLS + 1], 1.0)
    out[F_DWELL_SD] = sd_of(dwells, s[p.DWELLS + 1], s[p.DWELLS + 2], 3.0)
    out[F_DWELL_ZERO] = ratio_of(s[p.DWELLS_ZERO], dwells, 1.0)
    out[F_PRESS_JUMP] = ratio_of(s[p.PRESS_JUMPS], presses, 2.0)
    out[F_PRESS_UNMOVED] = ratio_of(s[p.PRESS_UNMOVED], presses - 1.0, 2.0)
    out[F_DRAG] = ratio_of(s[p.DRAGS], presses, 2.0)
    out[F_DRIFT] = ratio_of(s[p.DRIFT + 1], s[p.DRIFT], 2.0)
    out[F_CENTRE] = ratio_of(s[p.OFFSETS_CENTRE], s[p.OFFSETS], 4.0)
    out[F_UNTRUSTED] = ratio_of(s[p.UNTRUSTED], max(samples, s[p.UNTRUSTED]), 1.0)
    out[F_COALESCED] = ratio_of(s[p.COALESCED], s[p.COALESCED_OF], 50.0)
