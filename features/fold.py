"""The compiled way from columns to states and vectors: fold each event's blocks, then finalize its session's row.

State rows are float32 and every stored number is read back before it is used again, so what a row holds is all there
is: where a chunk ends, or whether a row was written to Redis in between, changes no bit.
"""

import hashlib
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
import numpy as np
import numpy.typing as npt

from features import columns as c
from features import (
    context,
    focus,
    form,
    keystroke,
    keystroke_vector,
    motion,
    movement,
    pointer,
    pointer_vector,
    scroll,
    touch,
)
from features.forensics import may_hold
from features.kernel import get_time, inner, put_time
from features.registry import HIGH, LOW, N_FEATURES, TABLES, feature_offset, state_offset

STATE_WIDTH = movement.OFFSET + movement.T.width
STATE_DTYPE = np.float32
State = npt.NDArray[np.float32]

_CONTEXT, _CONTEXT_END = state_offset("session"), state_offset("session") + context.T.width
_POINTER, _POINTER_END = state_offset("pointer"), state_offset("pointer") + pointer.T.width
_KEYS, _KEYS_END = state_offset("keystroke"), state_offset("keystroke") + keystroke.T.width
_FOCUS, _FOCUS_END = state_offset("focus"), state_offset("focus") + focus.T.width
_FORM, _FORM_END = state_offset("form"), state_offset("form") + form.T.width
_TOUCH, _TOUCH_END = state_offset("touch"), state_offset("touch") + touch.T.width
_SCROLL, _SCROLL_END = state_offset("scroll"), state_offset("scroll") + scroll.T.width
_MOTION, _MOTION_END = state_offset("motion"), state_offset("motion") + motion.T.width

_MOVEMENT = movement.OFFSET

_OUT_CONTEXT, _OUT_CONTEXT_END = feature_offset("session"), feature_offset("session") + context.T.count
_OUT_POINTER, _OUT_POINTER_END = feature_offset("pointer"), feature_offset("pointer") + pointer.T.count
_OUT_KEYS, _OUT_KEYS_END = feature_offset("keystroke"), feature_offset("keystroke") + keystroke.T.count
_OUT_FOCUS, _OUT_FOCUS_END = feature_offset("focus"), feature_offset("focus") + focus.T.count
_OUT_FORM, _OUT_FORM_END = feature_offset("form"), feature_offset("form") + form.T.count
_OUT_TOUCH, _OUT_TOUCH_END = feature_offset("touch"), feature_offset("touch") + touch.T.count
_OUT_SCROLL, _OUT_SCROLL_END = feature_offset("scroll"), feature_offset("scroll") + scroll.T.count
_OUT_MOTION, _OUT_MOTION_END = feature_offset("motion"), feature_offset("motion") + motion.T.count

_ADDED = np.array([added for table in (*TABLES, movement.T) for added in table.added], dtype=np.bool_)

_HEADER = c.HEADER
_FIELD = form.FIELD_COLUMNS


_SOURCES = (
    *("columns", "context", "focus", "fold", "forensics", "form", "kernel", "keystroke", "keystroke_vector", "motion"),
    *("movement", "pointer", "pointer_vector", "registry", "scroll", "stroke", "table", "touch"),
)
"""Files whose text decides what the kernels compute."""


def _salt() -> int:
    """A number out of the sources of all kernels.

    numba's disk cache watches only the file of the function that is cached, not those that it calls. The number is a
    closed-over variable of the cached entry points and so part of their cache key: a changed kernel is never served
    from an old cache.
    """
    digest = hashlib.sha256()
    for name in _SOURCES:
        digest.update((Path(__file__).parent / f"{name}.py").read_bytes())
    return int.from_bytes(digest.digest()[:4], "little")


@inner
def _latest(start, n, t):  # type: ignore[no-untyped-def]
    latest = -math.inf
    for i in range(n):
        latest = max(latest, start + t[i])
    return latest


@inner
def _fold_event(s, work, d):  # type: ignore[no-untyped-def]
    """Fold one event (d: its numbers from the header on) into its session's row s."""
    start = context.begin(s[_CONTEXT:_CONTEXT_END], d[c.H_EFFECTIVE])
    latest = start
    pointers = int(d[c.H_POINTERS])
    keys = int(d[c.H_KEYS])
    at = _HEADER
    p = s[_POINTER:_POINTER_END]
    if pointers > 0:
        t = d[at : at + pointers]
        x = d[at + pointers : at + 2 * pointers]
        y = d[at + 2 * pointers : at + 3 * pointers]
        at += 3 * pointers
        kind = t
        if d[c.H_KINDS] != 0.0:
            kind = d[at : at + pointers]
            at += pointers
        pointer.fold(p, work, start, pointers, t, x, y, kind, d[c.H_KINDS] != 0.0)
        latest = max(latest, _latest(start, pointers, t))
        p[pointer.UNTRUSTED] += min(d[c.H_POINTER_UNTRUSTED], 1e6)
        if d[c.H_COALESCED] >= 0.0:
            p[pointer.COALESCED] += min(d[c.H_COALESCED], pointers)
            p[pointer.COALESCED_OF] += pointers
    offsets = int(d[c.H_OFFSETS])
    for i in range(offsets):
        p[pointer.OFFSETS] += 1.0
        if d[at + i] <= 2.0:
            p[pointer.OFFSETS_CENTRE] += 1.0
    at += offsets
    k = s[_KEYS:_KEYS_END]
    if keys > 0:
        down = d[at : at + keys]
        keystroke.fold(k, start, keys, down, d[at + keys : at + 2 * keys], d[at + 2 * keys : at + 3 * keys])
        latest = max(latest, _latest(start, keys, down))
        at += 3 * keys
    k[keystroke.UNTRUSTED] += min(d[c.H_KEY_UNTRUSTED], 1e6)
    k[keystroke.IME] += min(d[c.H_IME], 1e6)
    k[keystroke.UNFOCUSED] += min(d[c.H_UNFOCUSED], 1e6)
    changes = int(d[c.H_FOCUS])
    change_t = d[at : at + changes]
    focus.fold(s[_FOCUS:_FOCUS_END], start, changes, change_t, d[at + changes : at + 2 * changes], pointers + keys)
    if changes > 0:
        latest = max(latest, _latest(start, changes, change_t))
    at += 2 * changes
    fields = int(d[c.H_FIELDS])
    form.fold(s[_FORM:_FORM_END], fields, d[at : at + fields * _FIELD], d[c.H_SUBMITTED] != 0.0, d[c.H_SUBMIT_MS])
    touch.fold(s[_TOUCH:_TOUCH_END], d[c.H_TOUCH])
    scroll.fold(s[_SCROLL:_SCROLL_END], d[c.H_SCROLL])
    motion.fold(s[_MOTION:_MOTION_END], d[c.H_MOTION])
    context.finish(s[_CONTEXT:_CONTEXT_END], latest, pointers, keys, d[c.H_DEVICE])


@inner
def _finalize(s, copy, work, out):  # type: ignore[no-untyped-def]
    """Write the row's features. copy: float64[STATE_WIDTH] scratch, in which the open movement is ended."""
    for i in range(STATE_WIDTH):
        copy[i] = s[i]
    for i in range(N_FEATURES):
        out[i] = math.nan
    session = copy[_CONTEXT:_CONTEXT_END]
    context.finalize(session, out[_OUT_CONTEXT:_OUT_CONTEXT_END])
    p = copy[_POINTER:_POINTER_END]
    if p[pointer.SAMPLES] > 0.0:
        pointer.close_movement(p, work)
        pointer_vector.finalize(p, out[_OUT_POINTER:_OUT_POINTER_END])
    k = copy[_KEYS:_KEYS_END]
    if k[keystroke.KEYS] + k[keystroke.IME] + k[keystroke.UNTRUSTED] > 0.0:
        keystroke_vector.finalize(k, out[_OUT_KEYS:_OUT_KEYS_END])
    focus.finalize(copy[_FOCUS:_FOCUS_END], context.observed_s(session), out[_OUT_FOCUS:_OUT_FOCUS_END])
    form.finalize(copy[_FORM:_FORM_END], out[_OUT_FORM:_OUT_FORM_END])
    touch.finalize(copy[_TOUCH:_TOUCH_END], out[_OUT_TOUCH:_OUT_TOUCH_END])
    scroll.finalize(copy[_SCROLL:_SCROLL_END], out[_OUT_SCROLL:_OUT_SCROLL_END])
    motion.finalize(copy[_MOTION:_MOTION_END], out[_OUT_MOTION:_OUT_MOTION_END])
    for i in range(N_FEATURES):
        if out[i] < LOW[i]:
            out[i] = LOW[i]
        elif out[i] > HIGH[i]:
            out[i] = HIGH[i]


def _entry_points(salt: int) -> tuple[Callable[..., Any], ...]:
    """The cached entry points, with `salt` in their cache key."""
    compiled = numba.njit(nogil=True, cache=True, error_model="numpy")

    @compiled
    def fold_rows(states, rows, data, starts, ends, out, marks):  # type: ignore[no-untyped-def]
        for row in rows:
            if not 0 <= row < len(states):
                return False
        work = np.zeros(pointer.WORK + (salt & 0))
        copy = np.empty(STATE_WIDTH)
        for i in range(len(starts)):
            s = states[rows[i]]
            # An empty event folds nothing: so are vectors of given states made.
            if ends[i] > starts[i]:
                _fold_event(s, work, data[starts[i] : ends[i]])
            _finalize(s, copy, work, out[i])
            marks[i] = may_hold(out[i])
        return True

    @compiled
    def begin_row(s, origin_ms):  # type: ignore[no-untyped-def]
        context.begin(s[_CONTEXT:_CONTEXT_END], origin_ms + (salt & 0))
        s[_CONTEXT + context.EVENTS] = 0.0

    @compiled
    def merge_rows(a, b, into):  # type: ignore[no-untyped-def]
        work = np.zeros(pointer.WORK + (salt & 0))
        into[:] = a
        pointer.close_movement(into[_POINTER:_POINTER_END], work)
        later_pointer = b[_POINTER + pointer.SAMPLES] > 0.0
        later_keys = b[_KEYS + keystroke.SEEN] > 0.0
        later_focus = b[_FOCUS + focus.SEEN] > 0.0
        later_form = b[_FORM + form.SUBMITS] > 0.0
        for i in range(STATE_WIDTH):
            if _ADDED[i]:
                into[i] += b[i]
            elif (
                ((_POINTER <= i < _POINTER_END or i >= _MOVEMENT) and later_pointer)
                or (_KEYS <= i < _KEYS_END and later_keys)
                or (_FOCUS <= i < _FOCUS_END and later_focus)
                or (_FORM <= i < _FORM_END and later_form)
            ):
                into[i] = b[i]
        if a[_CONTEXT + context.BEGUN] == 0.0:
            for i in (context.BEGUN, context.ORIGIN, context.ORIGIN + 1):
                into[_CONTEXT + i] = b[_CONTEXT + i]
        front = get_time(b[_CONTEXT:_CONTEXT_END], context.FRONT)
        if front > get_time(a[_CONTEXT:_CONTEXT_END], context.FRONT):
            put_time(into[_CONTEXT:_CONTEXT_END], context.FRONT, front)

    return fold_rows, begin_row, merge_rows


fold_rows, begin_row, merge_rows = _entry_points(_salt())
