"""Rules on input behaviour: what no hand does, read off the session's vector.

`may_hold` is the same in compiled form, without what only Meta knows: hardly any event needs the rules themselves.
"""

import math

import numpy as np
import numpy.typing as npt

from features.automation import Found
from features.kernel import inner
from features.meta import Meta
from features.registry import INDEX

Vector = npt.NDArray[np.float64]

_NAMES = (
    "pointer_untrusted_ratio",
    "keystroke_untrusted_ratio",
    "pointer_coalesced_ratio",
    "pointer_speed_px_s",
    "pointer_presses",
    "pointer_press_unmoved_ratio",
    "pointer_press_jump_ratio",
    "pointer_dwell_zero_ratio",
    "keystroke_keys",
    "keystroke_hold_zero_ratio",
    "keystroke_unfocused_ratio",
    "pointer_interval_ms",
    "pointer_interval_log_sd",
    "pointer_samples",
    "form_unexplained_ratio",
    "form_silent_ratio",
    "focus_hidden_activity_ratio",
    "pointer_centre_click_ratio",
)
_COLUMNS = np.array([INDEX[name] for name in _NAMES], dtype=np.int64)


def forensic_signals(meta: Meta, vector: Vector, found: Found) -> None:
    """Add the rules that the vector (float64[N_FEATURES]) fulfils. NaN, which is no data, fulfils none."""
    v = dict(zip(_NAMES, vector[_COLUMNS].tolist(), strict=True))
    untrusted = max(_known(v["pointer_untrusted_ratio"]), _known(v["keystroke_untrusted_ratio"]))
    if untrusted > 0.0:
        found["untrusted_events"] = round(untrusted, 4)
    if v["pointer_coalesced_ratio"] == 0.0 and v["pointer_speed_px_s"] > 1500.0 and v["pointer_samples"] >= 100.0:
        found["no_coalesced"] = True
    if v["pointer_presses"] >= 4.0:
        unreached = max(_known(v["pointer_press_unmoved_ratio"]), _known(v["pointer_press_jump_ratio"]))
        if unreached >= 0.6:
            found["click_without_move"] = round(unreached, 4)
        if v["pointer_dwell_zero_ratio"] >= 0.9:
            found["press_without_rest"] = round(v["pointer_dwell_zero_ratio"], 4)
    if v["keystroke_keys"] >= 8.0 and v["keystroke_hold_zero_ratio"] >= 0.6:
        found["zero_ms_hold"] = round(v["keystroke_hold_zero_ratio"], 4)
    fixed = v["pointer_interval_log_sd"] < 0.05 and 25.0 <= v["pointer_interval_ms"] <= 50.0
    if fixed and v["pointer_samples"] >= 60.0 and 0.0 < meta.sampling_interval_ms < 20.0:
        found["cdp_rate"] = round(1000.0 / v["pointer_interval_ms"], 1)
    unexplained = max(_known(v["form_unexplained_ratio"]), _known(v["form_silent_ratio"]))
    if unexplained > 0.0:
        found["value_without_keys"] = round(unexplained, 4)
    if v["keystroke_unfocused_ratio"] > 0.0:
        found["keys_while_unfocused"] = round(v["keystroke_unfocused_ratio"], 4)
    if v["focus_hidden_activity_ratio"] > 0.0:
        found["tab_hidden_activity"] = round(v["focus_hidden_activity_ratio"], 4)
    if v["pointer_centre_click_ratio"] >= 0.9:
        found["centre_clicks"] = round(v["pointer_centre_click_ratio"], 4)


_UNTRUSTED, _KEYS_UNTRUSTED = INDEX["pointer_untrusted_ratio"], INDEX["keystroke_untrusted_ratio"]
_COALESCED, _SPEED = INDEX["pointer_coalesced_ratio"], INDEX["pointer_speed_px_s"]
_SAMPLES, _PRESSES = INDEX["pointer_samples"], INDEX["pointer_presses"]
_UNMOVED, _JUMP = INDEX["pointer_press_unmoved_ratio"], INDEX["pointer_press_jump_ratio"]
_DWELL_ZERO, _CENTRE = INDEX["pointer_dwell_zero_ratio"], INDEX["pointer_centre_click_ratio"]
_INTERVAL, _INTERVAL_SD = INDEX["pointer_interval_ms"], INDEX["pointer_interval_log_sd"]
_KEYS, _HOLD_ZERO = INDEX["keystroke_keys"], INDEX["keystroke_hold_zero_ratio"]
_UNFOCUSED, _HIDDEN = INDEX["keystroke_unfocused_ratio"], INDEX["focus_hidden_activity_ratio"]
_UNEXPLAINED, _SILENT = INDEX["form_unexplained_ratio"], INDEX["form_silent_ratio"]


@inner
def may_hold(v):  # type: ignore[no-untyped-def]
    """Whether the vector (float64[N_FEATURES]) fulfils any rule, whatever the session's Meta says."""
    if v[_UNTRUSTED] > 0.0 or v[_KEYS_UNTRUSTED] > 0.0:
        return True
    if v[_COALESCED] == 0.0 and v[_SPEED] > 1500.0 and v[_SAMPLES] >= 100.0:
        return True
    if v[_PRESSES] >= 4.0 and (v[_UNMOVED] >= 0.6 or v[_JUMP] >= 0.6 or v[_DWELL_ZERO] >= 0.9):
        return True
    if v[_KEYS] >= 8.0 and v[_HOLD_ZERO] >= 0.6:
        return True
    if v[_INTERVAL_SD] < 0.05 and 25.0 <= v[_INTERVAL] <= 50.0 and v[_SAMPLES] >= 60.0:
        return True
    if v[_UNEXPLAINED] > 0.0 or v[_SILENT] > 0.0:
        return True
    return v[_UNFOCUSED] > 0.0 or v[_HIDDEN] > 0.0 or v[_CENTRE] >= 0.9


def _known(value: float) -> float:
    return 0.0 if math.isnan(value) else value
