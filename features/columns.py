"""Telemetry events as one flat array of numbers, laid out for the fold kernel.

One `numpy` conversion for a whole chunk: Python's list concatenation copies pointers, so a chunk of one event costs
microseconds. The layout of an event is private to this file and fold.py.
"""

from collections.abc import Sequence
from itertools import count
from operator import eq

import msgspec
import numpy as np
import numpy.typing as npt

from schemas.signals import Signal
from schemas.telemetry import Telemetry

(
    H_EFFECTIVE,
    H_POINTERS,
    H_KINDS,
    H_POINTER_UNTRUSTED,
    H_COALESCED,
    H_OFFSETS,
    H_KEYS,
    H_KEY_UNTRUSTED,
    H_IME,
    H_UNFOCUSED,
    H_FOCUS,
    H_FIELDS,
    H_SUBMITTED,
    H_SUBMIT_MS,
    H_TOUCH,
    H_SCROLL,
    H_MOTION,
    H_DEVICE,
) = range(18)
HEADER = 18
"""Numbers before an event's samples. Then follow pointer t, x, y, [kind], click offsets; keys down, up, class;
focus t, kind; fields."""


_HEADER: list[float | None] = [None if number == H_SUBMIT_MS else 0.0 for number in range(HEADER)]


class Columns(msgspec.Struct, frozen=True):
    """A chunk of events as flat columns: `data` float64, `starts` and `ends` int64[events] (where each event lies).

    All C-contiguous: the kernels are compiled for nothing else.
    """

    data: npt.NDArray[np.float64]
    starts: npt.NDArray[np.int64]
    ends: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.starts)

    def take(self, rows: Sequence[int]) -> "Columns":
        """These events, in this order; all of them, in their own order, are this object."""
        if len(rows) == len(self.starts) and all(map(eq, rows, count())):
            return self
        return Columns(self.data, self.starts[rows], self.ends[rows])


def columns_of(events: Sequence[Telemetry | Signal]) -> Columns:
    """Lay out events (any sessions, in arrival order) for `fold_chunk`. Absent releases become NaN.

    An upstream result is an event without samples: folding it changes nothing but the count of events.
    """
    flat: list[float | None] = []
    starts: list[int] = []
    for event in events:
        starts.append(len(flat))
        _append(flat, event)
    begins = np.array([*starts, len(flat)], dtype=np.int64)
    return Columns(np.array(flat, dtype=np.float64), begins[:-1], begins[1:])


def _append(flat: list[float | None], event: Telemetry | Signal) -> None:
    at = len(flat)
    flat += _HEADER
    flat[at + H_EFFECTIVE] = event.effective_at
    if isinstance(event, Signal):
        return
    pointer, keys, focus, form = event.pointer, event.keys, event.focus, event.form
    if pointer is not None:
        flat[at + H_POINTERS] = len(pointer.t)
        flat += pointer.t
        flat += pointer.x
        flat += pointer.y
        if pointer.kind is not None:
            flat[at + H_KINDS] = 1.0
            flat += pointer.kind
        flat[at + H_POINTER_UNTRUSTED] = pointer.untrusted_count
        flat[at + H_COALESCED] = pointer.coalesced_count if pointer.coalesced_count is not None else -1.0
        if pointer.click_offset_px:
            flat[at + H_OFFSETS] = len(pointer.click_offset_px)
            flat += pointer.click_offset_px
    if keys is not None:
        flat[at + H_KEYS] = len(keys.down)
        flat[at + H_KEY_UNTRUSTED] = keys.untrusted_count
        flat[at + H_IME] = keys.ime_count
        flat[at + H_UNFOCUSED] = keys.unfocused_count
        flat += keys.down
        flat += keys.up
        flat += keys.key_class
    if focus is not None:
        flat[at + H_FOCUS] = len(focus.t)
        flat += focus.t
        flat += focus.kind
    if form is not None:
        flat[at + H_FIELDS] = len(form.fields)
        flat[at + H_SUBMITTED] = form.submitted
        flat[at + H_SUBMIT_MS] = form.submit_ms
        for f in form.fields:
            flat += (
                f.focus_ms,
                f.hesitation_ms,
                f.key_count,
                f.input_count,
                f.paste_count,
                f.autofill_count,
                f.correction_count,
                f.ime_count,
                f.changed_without_input,
            )
    if event.touch is not None:
        flat[at + H_TOUCH] = len(event.touch.t)
    if event.scroll is not None:
        flat[at + H_SCROLL] = len(event.scroll.t)
    if event.motion is not None:
        flat[at + H_MOTION] = len(event.motion.t)
    if event.device is not None:
        flat[at + H_DEVICE] = 1.0


NO_COLUMNS = columns_of([])
"""Columns of no event."""
