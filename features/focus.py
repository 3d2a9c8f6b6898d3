"""The focus family: window focus, visibility and field changes, and what happens while the page is hidden."""

import math

from features.kernel import get_time, inner, put_time, ratio_of
from features.table import Table

T = Table("focus", revision=1)

LONGEST_MS = 3_600_000.0

COUNTS = T.sum("changes", 6)
HIDDEN_TIME = T.sum("hidden_s")
HIDDEN_SAMPLES = T.sum("hidden_samples")
ALL_SAMPLES = T.sum("all_samples")
REORDERED = T.sum("reordered")
HIDDEN = T.slot("hidden")
CHANGE_T = T.slot("change_t", 2)
SEEN = T.slot("seen")

_EXEMPT = "screen readers, tab managers and dual screens change focus often"


def _add(name: str, unit: str, high: float, text: str) -> int:
    return T.feature(name, unit, 0, high, text, "own; Suchacka, KBS 223", basis="rule", exemption=_EXEMPT)


F_CHANGES = _add("changes", "changes", 1e9, "Window focus, blur and visibility changes.")
F_FIELDS = _add("fields", "changes", 1e9, "Fields that got the focus.")
F_BLUR = _add("blurs_per_minute", "1/min", 1e4, "Window blurs and hidings a minute of session time.")
F_HIDDEN = _add("hidden_ratio", "1", 1, "Share of session time with the page hidden.")
F_HIDDEN_ACTIVITY = _add(
    "hidden_activity_ratio", "1", 1, "Share of samples and keys in batches that lie wholly in hidden time."
)


@inner
def fold(s, start, n, t, kind, samples):  # type: ignore[no-untyped-def]
    """Fold n changes (ms from `start`) and the event's number of pointer samples and keys into the family's part."""
    hidden_before = s[HIDDEN] != 0.0
    shown = False
    for i in range(n):
        code = int(kind[i])
        if code > 5:
            continue
        s[COUNTS + code] += 1.0
        now = start + t[i]
        last = get_time(s, CHANGE_T)
        if s[SEEN] != 0.0 and now < last - 1e-3:
            s[REORDERED] += 1.0
            continue
        if code in (0, 2):
            shown = True
        if code in (2, 3):
            if s[HIDDEN] != 0.0:
                s[HIDDEN_TIME] += min(now - last, LONGEST_MS) / 1000.0
            s[HIDDEN] = 1.0 if code == 3 else 0.0
            put_time(s, CHANGE_T, now)
            s[SEEN] = 1.0
    s[ALL_SAMPLES] += samples
    if hidden_before and not shown:
        s[HIDDEN_SAMPLES] += samples


@inner
def finalize(s, observed_s, out):  # type: ignore[no-untyped-def]
    """Write the family's features. observed_s: session time covered so far."""
    total = 0.0
    for i in range(6):
        total += s[COUNTS + i]
    if total == 0.0:
        for i in range(T_COUNT):
            out[i] = math.nan
        return
    out[F_CHANGES] = s[COUNTS] + s[COUNTS + 1] + s[COUNTS + 2] + s[COUNTS + 3]
    out[F_FIELDS] = s[COUNTS + 4]
    out[F_BLUR] = ratio_of((s[COUNTS + 1] + s[COUNTS + 3]) * 60.0, observed_s, 1.0)
    out[F_HIDDEN] = ratio_of(s[HIDDEN_TIME], observed_s, 1.0)
    out[F_HIDDEN_ACTIVITY] = ratio_of(s[HIDDEN_SAMPLES], s[ALL_SAMPLES], 1.0)


T_COUNT = T.count
