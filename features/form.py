"""The form family: how fields were filled (keys, paste, autofill, corrections, hesitation), never with what."""

import math

from features.kernel import add_moments, inner, mean_of, ratio_of, sd_of
from features.table import Table

T = Table("form", revision=1)

FIELD_COLUMNS = 9
"""Numbers a field has in the columns: focus_ms, hesitation_ms (NaN: none), key_count, input_count, paste_count,
autofill_count, correction_count, ime_count, changed_without_input (0 or 1)."""

LONGEST_COUNT = 1e6

FIELDS = T.sum("fields")
FOCUS_S = T.sum("focus_s")
KEYS = T.sum("keys")
INPUTS = T.sum("inputs")
PASTES = T.sum("pastes")
AUTOFILLS = T.sum("autofills")
CORRECTIONS = T.sum("corrections")
IMES = T.sum("imes")
UNEXPLAINED = T.sum("unexplained")
SILENT = T.sum("filled_without_keys")
HESITATION = T.sum("hesitation", 3)
SUBMITS = T.sum("submits")
SUBMIT_S = T.slot("submit_s")

_EXEMPT = "password managers, browsers' autofill, IME and dictation fill fields without keys"


def _add(name: str, unit: str, low: float, high: float, text: str) -> int:
    return T.feature(
        name, unit, low, high, text, "Persona, Sardine, FCaptcha (form signals)", basis="rule", exemption=_EXEMPT
    )


F_FIELDS = _add("fields", "fields", 0, 1e9, "Field reports: fields touched, counted once a batch.")
F_PASTE = _add("paste_ratio", "1", 0, 1, "Pastes over pastes, autofills and inputs.")
F_AUTOFILL = _add("autofill_ratio", "1", 0, 1, "Autofills over pastes, autofills and inputs.")
F_CORRECTIONS = _add("correction_ratio", "1", 0, 1, "Deletions over key presses in fields.")
F_UNEXPLAINED = _add(
    "unexplained_ratio", "1", 0, 1, "Share of fields whose value changed with no key, paste, autofill or IME."
)
F_SILENT = _add("silent_ratio", "1", 0, 1, "Share of fields with input but no key, paste, autofill or IME.")
F_HESITATION = _add("hesitation_log_mean", "ln(s)", -7, 12, "Mean of ln (focus to first input / 1 s).")
F_HESITATION_SD = _add("hesitation_log_sd", "1", 0, 6, "Standard deviation of ln hesitation.")
F_FOCUS = _add("focus_s_per_field", "s", 0, 86_400, "Time in focus a field report.")
F_SUBMIT = _add("submit_s", "s", 0, 86_400, "From page load to the submission.")


@inner
def fold(s, n, fields, submitted, submit_ms):  # type: ignore[no-untyped-def]
    """Fold n fields (FIELD_COLUMNS numbers each, one after the other) and the submission (submit_ms: NaN unknown)."""
    for i in range(n):
        at = i * FIELD_COLUMNS
        hesitation = fields[at + 1]
        keys = min(fields[at + 2], LONGEST_COUNT)
        inputs = min(fields[at + 3], LONGEST_COUNT)
        pastes = min(fields[at + 4], LONGEST_COUNT)
        autofills = min(fields[at + 5], LONGEST_COUNT)
        imes = min(fields[at + 7], LONGEST_COUNT)
        s[FIELDS] += 1.0
        s[FOCUS_S] += fields[at] / 1000.0
        s[KEYS] += keys
        s[INPUTS] += inputs
        s[PASTES] += pastes
        s[AUTOFILLS] += autofills
        s[CORRECTIONS] += min(fields[at + 6], LONGEST_COUNT)
        s[IMES] += imes
        s[UNEXPLAINED] += 1.0 if fields[at + 8] != 0.0 else 0.0
        if inputs > 0.0 and keys + pastes + autofills + imes == 0.0:
            s[SILENT] += 1.0
        if hesitation >= 0.0:
            add_moments(s, HESITATION, math.log(max(hesitation, 1.0) / 1000.0))
    if submitted:
        s[SUBMITS] += 1.0
        if submit_ms >= 0.0:
            s[SUBMIT_S] = max(submit_ms, 1.0) / 1000.0


@inner
def finalize(s, out):  # type: ignore[no-untyped-def]
    """Write the family's features: NaN each without any field report."""
    n = s[FIELDS]
    filled = s[PASTES] + s[AUTOFILLS] + s[INPUTS]
    out[F_FIELDS] = n if n > 0.0 or s[SUBMITS] > 0.0 else math.nan
    out[F_PASTE] = ratio_of(s[PASTES], filled, 1.0)
    out[F_AUTOFILL] = ratio_of(s[AUTOFILLS], filled, 1.0)
    out[F_CORRECTIONS] = ratio_of(s[CORRECTIONS], s[KEYS], 5.0)
    out[F_UNEXPLAINED] = ratio_of(s[UNEXPLAINED], n, 1.0)
    out[F_SILENT] = ratio_of(s[SILENT], n, 1.0)
    out[F_HESITATION] = mean_of(s[HESITATION], s[HESITATION + 1], 1.0)
    out[F_HESITATION_SD] = sd_of(s[HESITATION], s[HESITATION + 1], s[HESITATION + 2], 3.0)
    out[F_FOCUS] = ratio_of(s[FOCUS_S], n, 1.0)
    out[F_SUBMIT] = s[SUBMIT_S] if s[SUBMIT_S] > 0.0 else math.nan
