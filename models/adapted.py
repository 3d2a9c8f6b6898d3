"""How people's input looks through the tools and hands of those who move otherwise: transforms of a recording.

Tremor, mouse keys, half speed, a recorder at 30 Hz, dwell clicks, no pointer, keyboard only, batches or releases that
are missing. None is a recording of somebody who lives with it: they are what is known of the tools (steps of mouse
keys along eight directions, a dwell before each click), laid over recorded people. So they show what a score does to
the change itself, and no more. Every function is pure: the random generator is passed in.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np

from models.dataset import Codes, Floats, Recording
from models.train_transforms import MOVING, Instrument, through

DOWN, UP, CLICK = 1, 2, 5
LETTER_LIKE: Final = 7
"""Key classes up to this one (letters to punctuation, modifiers among them) belong to text."""
NAVIGATION: Final = 8
BATCH_MS: Final = 500.0

Adapt = Callable[[Recording, np.random.Generator], Recording]


def tremor(recording: Recording, rng: np.random.Generator) -> Recording:
    """An oscillation of 4 to 8 Hz and 1 to 4 px while the pointer moves; some keys struck twice, held unevenly."""
    shaken = through(
        recording,
        Instrument(tremor_px=float(rng.uniform(1.0, 4.0)), tremor_hz=float(rng.uniform(4.0, 8.0))),
        rng,
    )
    down, up, classes = shaken.key_down_ms, shaken.key_up_ms, shaken.key_class
    if not len(down):
        return shaken
    up = np.maximum(up + rng.normal(0.0, 15.0, len(up)), down + 8.0)
    gap = np.diff(down, append=np.inf)
    again = np.flatnonzero((rng.random(len(down)) < 0.05) & (classes < LETTER_LIKE) & (classes != 6) & (gap > 250.0))
    second = down[again] + rng.uniform(90.0, 160.0, len(again))
    first_up = np.minimum(up[again], second - 10.0)
    up[again] = first_up
    down = np.concatenate([down, second])
    up = np.concatenate([up, second + rng.uniform(40.0, 80.0, len(again))])
    classes = np.concatenate([classes, classes[again]])
    order = np.argsort(down, kind="stable")
    return replace(shaken, key_down_ms=down[order], key_up_ms=up[order], key_class=classes[order])


def half_speed(recording: Recording, rng: np.random.Generator) -> Recording:
    """Everything takes twice as long; the recorder's rate stays."""
    slow = through(recording, Instrument(time_scale=2.0), rng)
    return slow if len(slow.t_ms) < 2 else _filled_in(slow)


def _filled_in(slow: Recording) -> Recording:
    """A sample half way along each move, since the recorder's rate did not halve."""
    t, x, y = slow.t_ms, slow.x, slow.y
    moves = np.isin(slow.kind, MOVING)
    apart = np.diff(t)
    usual = float(np.median(apart[(apart > 0.0) & (apart < 200.0)])) if np.any((apart > 0.0) & (apart < 200.0)) else 0.0
    between = np.flatnonzero(moves[:-1] & moves[1:] & (apart <= 1.5 * usual) & (apart >= 4.0))
    middle = np.round((t[between] + t[between + 1]) / 2.0)
    return _in_order(
        slow,
        np.concatenate([t, middle]),
        np.concatenate([x, np.round((x[between] + x[between + 1]) / 2.0)]),
        np.concatenate([y, np.round((y[between] + y[between + 1]) / 2.0)]),
        np.concatenate([slow.kind, slow.kind[between]]),
        np.concatenate([slow.button, slow.button[between]]),
    )


def sampled_at_30_hz(recording: Recording, rng: np.random.Generator) -> Recording:
    """Moves kept at most every 33.3 ms, as slow remote desktops and old devices bring them."""
    return through(recording, Instrument(interval_ms=33.3), rng)


def mouse_keys(recording: Recording, rng: np.random.Generator) -> Recording:
    """The pointer led by a keypad: runs along eight directions that speed up while a key is held, taps near the end.

    Each stretch between rests and presses becomes a diagonal and a straight run (in either order) towards where the
    hand went. Presses stay where they were; all comes later, since a keypad is slower.
    """
    if len(recording.t_ms) < 2:
        return recording
    t, x, y, kind = recording.t_ms, recording.x, recording.y, recording.kind
    pad = _Keypad(float(rng.uniform(16.0, 40.0)), float(rng.uniform(8.0, 25.0)), float(t[0]), float(x[0]), float(y[0]))
    breaks = np.flatnonzero((np.diff(t) > 150.0) | ~np.isin(kind[1:], MOVING) | ~np.isin(kind[:-1], MOVING)) + 1
    origin: list[float] = []
    placed: list[float] = []
    for part in np.split(np.arange(len(t)), breaks):
        first, last = int(part[0]), int(part[-1])
        pad.now += max(0.0, float(t[first]) - float(t[first - 1])) if first else 0.0
        origin.append(float(t[first]))
        placed.append(pad.now)
        what = (int(kind[first]), int(recording.button[first]))
        if kind[first] not in MOVING:
            pad.note(what)
            continue
        for run in _runs(float(x[last]) - pad.x, float(y[last]) - pad.y, rng):
            pad.hold(run, what)
            pad.now += float(rng.uniform(120.0, 450.0))
        pad.now = max(pad.now, placed[-1] + float(t[last] - t[first]))
    table = np.asarray(pad.rows, dtype=np.float64).reshape(-1, 5)
    down = _moved(recording.key_down_ms, origin, placed)
    return replace(
        recording,
        t_ms=np.round(table[:, 0]), x=np.round(table[:, 1]), y=np.round(table[:, 2]),
        kind=table[:, 3].astype(np.int64), button=table[:, 4].astype(np.int64),
        key_down_ms=down, key_up_ms=down + (recording.key_up_ms - recording.key_down_ms),
    )  # fmt: skip


@dataclass(slots=True)
class _Keypad:
    """A keypad that moves the pointer: a step each `tick` ms, up to `fastest` px; where it is, and what it showed."""

    tick: float
    fastest: float
    now: float
    x: float
    y: float
    rows: list[tuple[float, float, float, int, int]] = field(default_factory=list)

    def note(self, what: tuple[int, int]) -> None:
        """A sample of a kind and button, here and now."""
        self.rows.append((self.now, self.x, self.y, *what))

    def hold(self, run: tuple[int, int, float], what: tuple[int, int]) -> None:
        """Hold one key: steps that grow to the fastest, then single taps for what is left."""
        dx, dy, left = run
        step = 1.0
        while left >= max(step, 3.0):
            self.now += self.tick
            go = math.floor(min(step, left))
            self.x, self.y, left = self.x + dx * go, self.y + dy * go, left - go
            self.note(what)
            step = min(step * 1.15 + 0.3, self.fastest)
        for _ in range(int(left)):
            self.now += 110.0 + self.tick
            self.x, self.y = self.x + dx, self.y + dy
            self.note(what)


def _runs(dx: float, dy: float, rng: np.random.Generator) -> list[tuple[int, int, float]]:
    """A diagonal and a straight run of whole pixels that lead there: (direction x, direction y, pixels each axis)."""
    step_x, step_y = int(np.sign(dx)), int(np.sign(dy))
    both = min(abs(dx), abs(dy))
    straight = abs(dx) - abs(dy)
    runs = [(step_x, step_y, both), (step_x, 0, straight) if straight > 0.0 else (0, step_y, -straight)]
    if rng.random() < 0.5:
        runs.reverse()
    return [run for run in runs if run[2] >= 1.0]


def _moved(times: Floats, origin: list[float], placed: list[float]) -> Floats:
    """Times carried along with the stretch of the pointer that they fell into, in order."""
    if not len(times):
        return times
    at = np.maximum(np.searchsorted(np.asarray(origin), times, side="right") - 1, 0)
    return np.asarray(np.maximum.accumulate(np.asarray(placed)[at] + (times - np.asarray(origin)[at])))


def dwell_clicks(recording: Recording, rng: np.random.Generator) -> Recording:
    """A tool clicks where the pointer has rested: a wait before each click, then down and up at once.

    Presses that drag are left to a switch: they stay as they were.
    """
    dwell = float(rng.uniform(500.0, 1200.0))
    kind, t = recording.kind, recording.t_ms.copy()
    if not len(t):
        return recording
    shift = np.zeros(len(t))
    for i in np.flatnonzero((kind == DOWN) | (kind == CLICK)).tolist():
        shift[i:] += dwell
        if kind[i] != DOWN:
            continue
        after = np.flatnonzero(kind[i + 1 :] == UP)
        if not len(after):
            continue
        up = i + 1 + int(after[0])
        if np.hypot(recording.x[up] - recording.x[i], recording.y[up] - recording.y[i]) <= 5.0:
            held = float(t[up] - t[i])
            early = max(0.0, held - float(rng.uniform(10.0, 50.0)))
            shift[up:] -= early
            if held > 0.0:
                shift[i:up] -= (t[i:up] - t[i]) * (early / held)
    moved = np.maximum.accumulate(np.round(t + shift))
    down = _moved(recording.key_down_ms, t.tolist(), moved.tolist())
    return replace(
        recording,
        t_ms=moved,
        key_down_ms=down,
        key_up_ms=down + (recording.key_up_ms - recording.key_down_ms),
    )


def no_pointer(recording: Recording, rng: np.random.Generator) -> Recording:
    """No pointer is seen: screen readers, touch laptops, collectors without consent for it."""
    del rng
    empty, codes = np.zeros(0), np.zeros(0, dtype=np.int64)
    return replace(recording, t_ms=empty, x=empty, y=empty, kind=codes, button=codes)


def keyboard_only(recording: Recording, rng: np.random.Generator) -> Recording:
    """No pointer, and the tabulator between pieces of text: a pause, one to three presses, then the text goes on."""
    typed = no_pointer(recording, rng)
    down, up, classes = typed.key_down_ms, typed.key_up_ms, typed.key_class
    if len(down) < 2:
        return typed
    shift = np.zeros(len(down))
    new_down: list[float] = []
    at = int(rng.integers(8, 20))
    while at < len(down):
        begins = float(down[at] + shift[at])
        tabs = int(rng.integers(1, 4))
        each = np.cumsum(rng.uniform(180.0, 420.0, tabs)) + float(rng.uniform(200.0, 700.0))
        new_down += (begins + each).tolist()
        shift[at:] += float(each[-1]) + float(rng.uniform(300.0, 900.0))
        at += int(rng.integers(8, 20))
    added = np.asarray(new_down)
    downs = np.concatenate([down + shift, added])
    ups = np.concatenate([up + shift, added + rng.uniform(60.0, 130.0, len(added))])
    order = np.argsort(downs, kind="stable")
    kinds = np.concatenate([classes, np.full(len(added), NAVIGATION, dtype=np.int64)])
    return replace(typed, key_down_ms=downs[order], key_up_ms=ups[order], key_class=kinds[order])


def missing_batches(recording: Recording, rng: np.random.Generator) -> Recording:
    """A fifth of the half seconds never arrives, whole: an unsteady network, a tab that was put to sleep."""
    batches = int(recording.duration_ms // BATCH_MS) + 1
    lost = rng.random(batches) < 0.2
    keep = ~lost[np.clip(recording.t_ms // BATCH_MS, 0, batches - 1).astype(np.int64)]
    typed = ~lost[np.clip(recording.key_down_ms // BATCH_MS, 0, batches - 1).astype(np.int64)]
    return replace(
        recording,
        t_ms=recording.t_ms[keep], x=recording.x[keep], y=recording.y[keep],
        kind=recording.kind[keep], button=recording.button[keep],
        key_down_ms=recording.key_down_ms[typed], key_up_ms=recording.key_up_ms[typed],
        key_class=recording.key_class[typed],
    )  # fmt: skip


def missing_releases(recording: Recording, rng: np.random.Generator) -> Recording:
    """No release is told, of keys as of buttons."""
    del rng
    keep = recording.kind != UP
    return replace(
        recording,
        t_ms=recording.t_ms[keep], x=recording.x[keep], y=recording.y[keep],
        kind=recording.kind[keep], button=recording.button[keep],
        key_up_ms=np.full(len(recording.key_up_ms), np.nan),
    )  # fmt: skip


def _in_order(recording: Recording, t: Floats, x: Floats, y: Floats, kind: Codes, button: Codes) -> Recording:
    order = np.argsort(t, kind="stable")
    return replace(recording, t_ms=t[order], x=x[order], y=y[order], kind=kind[order], button=button[order])


ADAPTED: Final[Mapping[str, Adapt]] = {
    "tremor of 4 to 8 Hz": tremor,
    "mouse keys": mouse_keys,
    "half speed": half_speed,
    "30 Hz sampling": sampled_at_30_hz,
    "dwell clicks": dwell_clicks,
    "no pointer": no_pointer,
    "keyboard only": keyboard_only,
    "missing batches": missing_batches,
    "missing releases": missing_releases,
}
"""Each change by its name in reports."""
