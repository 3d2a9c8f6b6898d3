"""The keystroke family's features: shape of the rhythm, by which random delays differ from fingers."""

from features import keystroke as k
from features.kernel import (
    correlation_of,
    entropy_of,
    inner,
    kurtosis_of,
    mean_of,
    ratio_of,
    sd_of,
    skew_of,
)

T = k.T

_SOURCE = "heliyon 2021 e08413; BeCAPTCHA-Type 2207.13394"
_EXEMPT = "IME, swipe keyboards, switch access, password managers: few or no keys, no data"


def _add(name: str, unit: str, low: float, high: float, text: str, source: str = _SOURCE) -> int:
    return T.feature(name, unit, low, high, text, source, keys=True, anomaly=True, exemption=_EXEMPT)


def _context(name: str, unit: str, low: float, high: float, text: str) -> int:
    return T.feature(name, unit, low, high, text, "own", basis="context")


F_KEYS = _context("keys", "keys", 0, 1e9, "Key presses, modifiers included.")
F_REORDERED = _context("reordered", "keys", 0, 1e9, "Presses that came after later ones.")
F_HOLD_MEAN = _add("hold_log_mean", "ln(s/0.1)", -5, 7, "Mean of ln (hold / 0.1 s).")
F_HOLD_SD = _add("hold_log_sd", "1", 0, 4, "Standard deviation of ln hold.")
F_HOLD_CV = _add("hold_cv", "1", 0, 10, "Standard deviation of hold over its mean.")
F_HOLD_SKEW = _add("hold_log_skew", "1", -10, 10, "Skewness of ln hold.")
F_HOLD_KURTOSIS = _add("hold_log_kurtosis", "1", -3, 50, "Excess kurtosis of ln hold: below zero for uniform delays.")
F_HOLD_ZERO = _add(
    "hold_zero_ratio", "1", 0, 1, "Share of holds shorter than 5 ms.", "FCaptcha; issue statistics of drivers"
)
F_HOLD_EQUAL = _add("hold_equal_ratio", "1", 0, 1, "Share of holds equal to the last one within 1 ms.")
F_HOLD_ENTROPY = _add("hold_entropy", "1", 0, 1, "Entropy of holds in half octaves.")
F_HOLD_MEMORY = _add("hold_memory", "1", -1, 1, "Correlation of successive ln holds.")
F_HOLD_CLASS = _add("hold_class_effect", "1", -4, 4, "Mean ln hold of other keys less that of letters.")
F_DD_MEAN = _add("dd_log_mean", "ln(s/0.15)", -6, 3, "Mean of ln (press to press / 0.15 s), up to 2 s.")
F_DD_SD = _add("dd_log_sd", "1", 0, 4, "Standard deviation of ln press to press.")
F_DD_CV = _add("dd_cv", "1", 0, 10, "Standard deviation of press to press over its mean.")
F_DD_BURST = _add("dd_burstiness", "1", -1, 1, "(sd - mean) / (sd + mean) of press to press: -1 regular, 0 random.")
F_DD_SKEW = _add("dd_log_skew", "1", -10, 10, "Skewness of ln press to press.")
F_DD_KURTOSIS = _add("dd_log_kurtosis", "1", -3, 50, "Excess kurtosis of ln press to press.")
F_DD_EQUAL = _add("dd_equal_ratio", "1", 0, 1, "Share of press-to-press times equal to the last one within 1 ms.")
F_DD_ENTROPY = _add("dd_entropy", "1", 0, 1, "Entropy of press to press in half octaves.")
F_DD_FAST = _add(
    "dd_fast_ratio", "1", 0, 1, "Share of press-to-press times below 25 ms.", "FCaptcha (key interval < 50 ms)"
)
F_DD_MEMORY = _add("dd_memory", "1", -1, 1, "Correlation of successive ln press-to-press times.")
F_DD_SPACE = _add("dd_space_effect", "1", -4, 4, "Mean ln press to press next to a space less that between letters.")
F_DD_OTHER = _add("dd_other_effect", "1", -4, 4, "Mean ln press to press next to other keys less that between letters.")
F_DD_LETTER_SD = _add("dd_letter_log_sd", "1", 0, 4, "Standard deviation of ln press to press between letters.")
F_BREAKS = _add("break_ratio", "1", 0, 1, "Share of press-to-press times above 2 s.")
F_UD_MEAN = _add("ud_mean_s", "s", -2, 2, "Mean flight (release to next press), clipped to 2 s.")
F_UD_SD = _add("ud_sd_s", "s", 0, 2, "Standard deviation of flight.")
F_ROLLOVER = _add("rollover_ratio", "1", 0, 1, "Share of negative flights: next key pressed before the release.")
F_UD_ZERO = _add("ud_zero_ratio", "1", 0, 1, "Share of flights of 0 to 5 ms (released and pressed in one go).")
F_UU_SD = _add("uu_log_sd", "1", 0, 4, "Standard deviation of ln release to release.")
F_UU_NEGATIVE = _add("uu_negative_ratio", "1", 0, 1, "Share of keys released before the key pressed earlier.")
F_HOLD_DD = _add("hold_dd_correlation", "1", -1, 1, "Correlation of ln hold with ln time to the next press.")
F_DELETES = _add("correction_ratio", "1", 0, 1, "Share of presses that delete.")
F_NO_RELEASE = T.feature(
    "no_release_ratio", "1", 0, 1, "Share of presses whose release was not seen.", "own", basis="context"
)
F_LETTERS = T.feature("letter_ratio", "1", 0, 1, "Share of letters among the presses.", "own", basis="context")
F_MODIFIERS = T.feature("modifier_ratio", "1", 0, 1, "Share of modifiers among the presses.", "own", basis="context")
F_UNTRUSTED = T.feature(
    "untrusted_ratio",
    "1",
    0,
    1,
    "Share of key events with isTrusted = false.",
    "FCaptcha",
    basis="rule",
    exemption="password managers, assistive tools",
)
F_IME = T.feature("ime_ratio", "1", 0, 1, "Composition events over these and key presses.", "own", basis="context")
F_UNFOCUSED = T.feature(
    "unfocused_ratio", "1", 0, 1, "Share of key events while the document had no focus.", "own", basis="rule"
)


@inner
def finalize(s, out):  # type: ignore[no-untyped-def]
    """Write the family's features. s: float64 copy of its slots; out: float64[features]."""
    keys = s[k.KEYS]
    chain = keys - s[k.MODIFIERS]
    out[F_KEYS] = keys
    out[F_REORDERED] = s[k.REORDERED]
    n = s[k.HOLD]
    h1, h2, h3, h4 = s[k.HOLD + 1], s[k.HOLD + 2], s[k.HOLD + 3], s[k.HOLD + 4]
    out[F_HOLD_MEAN] = mean_of(n, h1, 3.0)
    out[F_HOLD_SD] = sd_of(n, h1, h2, 5.0)
    out[F_HOLD_CV] = sd_of(n, s[k.HOLD_LIN], s[k.HOLD_LIN + 1], 5.0) / max(mean_of(n, s[k.HOLD_LIN], 5.0), 1e-3)
    out[F_HOLD_SKEW] = skew_of(n, h1, h2, h3, 10.0)
    out[F_HOLD_KURTOSIS] = kurtosis_of(n, h1, h2, h3, h4, 15.0)
    out[F_HOLD_ZERO] = ratio_of(s[k.HOLD_ZERO], n, 3.0)
    out[F_HOLD_EQUAL] = ratio_of(s[k.HOLD_EQUAL], s[k.HOLD_PAIR], 5.0)
    out[F_HOLD_ENTROPY] = entropy_of(s, k.HOLD_HIST, 12, 8.0)
    a = k.HOLD_PAIR
    out[F_HOLD_MEMORY] = correlation_of(s[a], s[a + 1], s[a + 2], s[a + 3], s[a + 4], s[a + 5], 10.0)
    letter = mean_of(s[k.HOLD_LETTER], s[k.HOLD_LETTER + 1], 5.0)
    out[F_HOLD_CLASS] = mean_of(s[k.HOLD_OTHER], s[k.HOLD_OTHER + 1], 5.0) - letter
    n = s[k.DD]
    d1, d2, d3, d4 = s[k.DD + 1], s[k.DD + 2], s[k.DD + 3], s[k.DD + 4]
    out[F_DD_MEAN] = mean_of(n, d1, 3.0)
    out[F_DD_SD] = sd_of(n, d1, d2, 5.0)
    mean = max(mean_of(n, s[k.DD_LIN], 5.0), 1e-3)
    sd = sd_of(n, s[k.DD_LIN], s[k.DD_LIN + 1], 5.0)
    out[F_DD_CV] = sd / mean
    out[F_DD_BURST] = (sd - mean) / (sd + mean)
    out[F_DD_SKEW] = skew_of(n, d1, d2, d3, 10.0)
    out[F_DD_KURTOSIS] = kurtosis_of(n, d1, d2, d3, d4, 15.0)
    out[F_DD_EQUAL] = ratio_of(s[k.DD_EQUAL], s[k.DD_PAIR], 5.0)
    out[F_DD_ENTROPY] = entropy_of(s, k.DD_HIST, 14, 8.0)
    out[F_DD_FAST] = ratio_of(s[k.DD_FAST], n, 3.0)
    a = k.DD_PAIR
    out[F_DD_MEMORY] = correlation_of(s[a], s[a + 1], s[a + 2], s[a + 3], s[a + 4], s[a + 5], 10.0)
    letter = mean_of(s[k.DD_LETTER], s[k.DD_LETTER + 1], 5.0)
    out[F_DD_SPACE] = mean_of(s[k.DD_SPACE], s[k.DD_SPACE + 1], 5.0) - letter
    out[F_DD_OTHER] = mean_of(s[k.DD_OTHER], s[k.DD_OTHER + 1], 5.0) - letter
    out[F_DD_LETTER_SD] = sd_of(s[k.DD_LETTER], s[k.DD_LETTER + 1], s[k.DD_LETTER + 2], 5.0)
    out[F_BREAKS] = ratio_of(s[k.BREAKS], s[k.BREAKS] + n, 5.0)
    ud = s[k.UD]
    out[F_UD_MEAN] = mean_of(ud, s[k.UD + 1], 3.0)
    out[F_UD_SD] = sd_of(ud, s[k.UD + 1], s[k.UD + 2], 5.0)
    out[F_ROLLOVER] = ratio_of(s[k.UD_NEGATIVE], ud, 5.0)
    out[F_UD_ZERO] = ratio_of(s[k.UD_ZERO], ud, 5.0)
    out[F_UU_SD] = sd_of(s[k.UU], s[k.UU + 1], s[k.UU + 2], 5.0)
    out[F_UU_NEGATIVE] = ratio_of(s[k.UU_NEGATIVE], s[k.UU], 5.0)
    a = k.HOLD_UD
    out[F_HOLD_DD] = correlation_of(s[a], s[a + 1], s[a + 2], s[a + 3], s[a + 4], s[a + 5], 10.0)
    out[F_DELETES] = ratio_of(s[k.DELETES], keys, 5.0)
    out[F_NO_RELEASE] = ratio_of(s[k.NO_RELEASE], chain, 3.0)
    out[F_LETTERS] = ratio_of(s[k.LETTERS], keys, 3.0)
    out[F_MODIFIERS] = ratio_of(s[k.MODIFIERS], keys, 3.0)
    out[F_UNTRUSTED] = ratio_of(s[k.UNTRUSTED], max(keys, s[k.UNTRUSTED]), 1.0)
    out[F_IME] = ratio_of(s[k.IME], keys + s[k.IME], 1.0)
    out[F_UNFOCUSED] = ratio_of(s[k.UNFOCUSED], max(keys, s[k.UNFOCUSED]), 1.0)
