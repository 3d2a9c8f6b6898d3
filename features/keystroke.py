"""The keystroke family: rhythm of key presses by class of key, as mergeable power sums of log times and histograms.

hold = press to release; DD = press to press; flight (UD) = release to next press, negative where keys overlap
(rollover); UU = release to release. Modifiers are held across other keys, so they are counted but kept out of the
chain. A press before its predecessor is counted, and no interval is taken across it.
"""

import math

from features.kernel import add_moments, add_pair, get_time, inner, log_bin, put_time
from features.table import Table

BREAK_MS = 2_000.0
"""A longer time between presses is a pause in typing, not rhythm."""

LONGEST_MS = 60_000.0
HOLD_UNIT_MS = 100.0
DD_UNIT_MS = 150.0
"""Logs are taken of times over these units, so that float32 sums of their powers stay exact enough."""

EQUAL_MS = 1.0

T = Table("keystroke", revision=1)

KEYS = T.sum("keys")
MODIFIERS = T.sum("modifiers")
DELETES = T.sum("deletes")
LETTERS = T.sum("letters")
REORDERED = T.sum("reordered")
UNTRUSTED = T.sum("untrusted")
IME = T.sum("ime")
UNFOCUSED = T.sum("unfocused")
NO_RELEASE = T.sum("no_release")
# Power sums n, s1..s4 of the logs.
HOLD = T.sum("hold", 5)
HOLD_LIN = T.sum("hold_s", 2)
HOLD_ZERO = T.sum("hold_zero")
HOLD_EQUAL = T.sum("hold_equal")
HOLD_HIST = T.sum("hold_hist", 12)
HOLD_LETTER = T.sum("hold_letter", 3)
HOLD_OTHER = T.sum("hold_other", 3)
DD = T.sum("dd", 5)
DD_LIN = T.sum("dd_s", 2)
DD_EQUAL = T.sum("dd_equal")
DD_HIST = T.sum("dd_hist", 14)
DD_FAST = T.sum("dd_fast")
DD_PAIR = T.sum("dd_pair", 6)
DD_LETTER = T.sum("dd_letter", 3)
DD_SPACE = T.sum("dd_space", 3)
DD_OTHER = T.sum("dd_other", 3)
BREAKS = T.sum("breaks", 3)
UD = T.sum("ud", 3)
UD_NEGATIVE = T.sum("ud_negative")
UD_ZERO = T.sum("ud_zero")
UU = T.sum("uu", 3)
UU_NEGATIVE = T.sum("uu_negative")
HOLD_UD = T.sum("hold_ud", 6)
HOLD_PAIR = T.sum("hold_pair", 6)
# The last key of the chain.
SEEN = T.slot("seen")
LAST_DOWN = T.slot("last_down", 2)
LAST_HOLD = T.slot("last_hold")
LAST_UP_KNOWN = T.slot("last_up_known")
LAST_DD = T.slot("last_dd")
LAST_CLASS = T.slot("last_class")
FRONT = T.slot("front", 2)

LETTER, DIGIT, SPACE, ENTER, DELETE, MODIFIER = 1, 2, 3, 4, 5, 6


@inner
def _powers(s, slot, u):  # type: ignore[no-untyped-def]
    s[slot] += 1.0
    s[slot + 1] += u
    s[slot + 2] += u * u
    s[slot + 3] += u * u * u
    s[slot + 4] += u * u * u * u


@inner
def _log(value, unit):  # type: ignore[no-untyped-def]
    return math.log(min(max(value, 1.0), LONGEST_MS) / unit)


@inner
def _hold(s, hold, letter, last_hold, joined):  # type: ignore[no-untyped-def]
    """Count one hold time; `joined`: the key before it in the chain is known."""
    u = _log(hold, HOLD_UNIT_MS)
    _powers(s, HOLD, u)
    seconds = min(hold, LONGEST_MS) / 1000.0
    s[HOLD_LIN] += seconds
    s[HOLD_LIN + 1] += seconds * seconds
    s[HOLD_HIST + _half_octave(hold, 16.0, 12)] += 1.0
    if hold < 5.0:
        s[HOLD_ZERO] += 1.0
    add_moments(s, HOLD_LETTER if letter else HOLD_OTHER, u)
    if joined and last_hold >= 0.0:
        if abs(hold - last_hold) < EQUAL_MS:
            s[HOLD_EQUAL] += 1.0
        add_pair(s, HOLD_PAIR, _log(last_hold, HOLD_UNIT_MS), u)


@inner
def _half_octave(value, first, bins):  # type: ignore[no-untyped-def]
    """Index of `value` among bins of half an octave from `first` on, ends open."""
    return log_bin(value * value, first * first, bins)


@inner
def _interval(s, dd, code, last_code):  # type: ignore[no-untyped-def]
    """Count one press-to-press time of the chain."""
    if dd > BREAK_MS:
        add_moments(s, BREAKS, _log(dd, BREAK_MS))
        s[LAST_DD] = -1.0
        return
    u = _log(dd, DD_UNIT_MS)
    _powers(s, DD, u)
    s[DD_LIN] += dd / 1000.0
    s[DD_LIN + 1] += dd * dd / 1e6
    s[DD_HIST + _half_octave(dd, 16.0, 14)] += 1.0
    if dd < 25.0:
        s[DD_FAST] += 1.0
    last_dd = float(s[LAST_DD])
    if last_dd >= 0.0:
        if abs(dd - last_dd) < EQUAL_MS:
            s[DD_EQUAL] += 1.0
        add_pair(s, DD_PAIR, _log(last_dd, DD_UNIT_MS), u)
    s[LAST_DD] = dd
    if code == LETTER and last_code == LETTER:
        add_moments(s, DD_LETTER, u)
    elif SPACE in (code, last_code):
        add_moments(s, DD_SPACE, u)
    else:
        add_moments(s, DD_OTHER, u)


@inner
def fold(s, start, n, down, up, key_class):  # type: ignore[no-untyped-def]
    """Fold n presses (ms from `start`, ms from the session's origin; up: NaN where not seen) into the row's part."""
    for i in range(n):
        now = start + down[i]
        code = int(key_class[i])
        hold = up[i] - down[i]
        known = hold >= 0.0
        s[KEYS] += 1.0
        if code == MODIFIER:
            s[MODIFIERS] += 1.0
            continue
        if code == DELETE:
            s[DELETES] += 1.0
        if code == LETTER:
            s[LETTERS] += 1.0
        if not known:
            s[NO_RELEASE] += 1.0
        joined = s[SEEN] != 0.0
        last = get_time(s, LAST_DOWN)
        front = get_time(s, FRONT) if joined else now
        dd = now - last
        if joined and (dd < -1e-3 or last < front - 1e-3):
            joined = False
            if dd < -1e-3:
                s[REORDERED] += 1.0
                if now < front - LONGEST_MS:
                    front = now
        last_hold = float(s[LAST_HOLD]) if s[LAST_UP_KNOWN] != 0.0 else -1.0
        if known:
            _hold(s, hold, code == LETTER, last_hold, joined)
        if joined:
            dd = max(dd, 0.0)
            _interval(s, dd, code, int(s[LAST_CLASS]))
            if last_hold >= 0.0 and dd <= BREAK_MS:
                ud = dd - last_hold
                add_moments(s, UD, min(max(ud, -BREAK_MS), BREAK_MS) / 1000.0)
                if ud < -1.0:
                    s[UD_NEGATIVE] += 1.0
                elif ud < 5.0:
                    s[UD_ZERO] += 1.0
                add_pair(s, HOLD_UD, _log(last_hold, HOLD_UNIT_MS), _log(dd, DD_UNIT_MS))
                if known:
                    uu = ud + hold
                    add_moments(s, UU, _log(abs(uu), DD_UNIT_MS))
                    if uu < 0.0:
                        s[UU_NEGATIVE] += 1.0
        else:
            s[LAST_DD] = -1.0
        s[SEEN] = 1.0
        s[LAST_UP_KNOWN] = 1.0 if known else 0.0
        s[LAST_HOLD] = min(hold, LONGEST_MS) if known else 0.0
        s[LAST_CLASS] = code
        put_time(s, LAST_DOWN, now)
        put_time(s, FRONT, max(front, now))
