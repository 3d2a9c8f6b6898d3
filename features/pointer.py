"""The pointer family: what a mouse, touchpad, pen or finger does, as mergeable sums over strokes, pauses and clicks.

Samples become movements (from pause to pause, or button to button), movements are cut into strokes of at most 1.24 s
on a fixed time grid (stroke.py). Kept are sums over strokes, never the path: only the open stroke's points are held.
A sample before its predecessor ends the open movement and is counted; intervals next to it are not.
"""

import math

import numba

from features.kernel import add_moments, get_time, inner, log_bin, put_time
from features.stroke import GRID_MS, MAX_POINTS, MIN_PATH_PX, N_QUANTITIES, PROFILE_BINS, measure
from features.table import Table

PAUSE_MS = 250.0
"""Time without displacement that ends a movement: above the interval of slow recorders (100 ms)."""

EDGE_MS = 1e-3
"""What sums of decimal times are off by: two times closer than this are the same."""

CLOCK_STEP_MS = 60_000.0
"""A sample further back than this is a clock that was set, not an event that came late."""

LONGEST_MS = 60_000.0
"""Pauses and holds count as at most this long."""

JUMP_PX = 40.0
"""Displacement across a pause beyond which the pointer was somewhere else in between."""

STEP_PX = 4.0
"""Raw steps shorter than this are mostly rounding; directions of longer ones mean something."""

SPEED_FIRST = 2.0**-4.5
"""Lower border of the first octave of speed over its mean: borders at odd half octaves keep even speed off a border."""

T = Table("pointer", revision=3)

SAMPLES = T.sum("samples")
MOVED = T.sum("moved")
STILL = T.sum("still")
REORDERED = T.sum("reordered")
UNTRUSTED = T.sum("untrusted")
COALESCED = T.sum("coalesced")
COALESCED_OF = T.sum("coalesced_of")
WHEELS = T.sum("wheels")
# The last sample, and the time up to which samples are known.
LAST_T = T.slot("last_t", 2)
FRONT_T = T.slot("front_t", 2)
MOVE_T = T.slot("move_t", 2)
LAST_X = T.slot("last_x")
LAST_Y = T.slot("last_y")
STEP_X = T.slot("step_x")
STEP_Y = T.slot("step_y")
LAST_DT = T.slot("last_dt")
# Open movement and open stroke.
OPEN = T.slot("open")
M_START_T = T.slot("movement_start_t", 2)
M_PATH = T.slot("movement_path")
POINTS = T.slot("points")
S_START_T = T.slot("stroke_start_t", 2)
S_X = T.slot("stroke_x")
S_Y = T.slot("stroke_y")
PX = T.slot("px", MAX_POINTS)
PY = T.slot("py", MAX_POINTS)
# Sums over strokes: (n, sum, squares) a quantity.
STROKES = T.sum("strokes")
MICRO = T.sum("micro_strokes")
QUANTITY = T.sum("quantity", 3 * N_QUANTITIES)
PROFILE = T.sum("profile", 2 * PROFILE_BINS)
HEADINGS = T.sum("headings", 8)
SPEEDS = T.sum("speeds", 8)
# Movements: count and sums of u = ln(path / 100 px), v = ln(duration / 300 ms).
MOVEMENTS = T.sum("movements", 6)
MOVE_TIME = T.sum("move_time_ms")
PATH = T.sum("path_px")
JUMPS = T.sum("jumps")
# Pauses: (n, sum, squares) of ln(pause / 500 ms), total time, histogram from 250 ms by octaves.
PAUSES = T.sum("pauses", 3)
PAUSE_TIME = T.sum("pause_time_ms")
PAUSE_HIST = T.sum("pause_hist", 8)
# Raw steps of at least STEP_PX.
STEPS = T.sum("steps")
STEPS_AXIS = T.sum("steps_axis")
STEPS_AHEAD = T.sum("steps_ahead")
STEPS_EQUAL = T.sum("steps_equal")
STEPS_DIAGONAL = T.sum("steps_diagonal")
STEPS_SHORT = T.sum("steps_short")
# Sample intervals up to a second: (n, sum, squares) of ln(interval / 16 ms), equal ones, histogram.
INTERVALS = T.sum("intervals", 3)
INTERVALS_EQUAL = T.sum("intervals_equal")
INTERVALS_ZERO = T.sum("intervals_zero")
INTERVAL_HIST = T.sum("interval_hist", 10)
# Buttons.
HELD = T.slot("held")
DOWN_T = T.slot("down_t", 2)
DOWN_X = T.slot("down_x")
DOWN_Y = T.slot("down_y")
PRESS_MOVED = T.slot("moved_at_press")
PRESSES = T.sum("presses")
HOLDS = T.sum("holds", 3)
HOLDS_ZERO = T.sum("holds_zero")
HOLDS_EQUAL = T.sum("holds_equal")
LAST_HOLD = T.slot("last_hold")
DWELLS = T.sum("dwells", 3)
DWELLS_ZERO = T.sum("dwells_zero")
PRESS_JUMPS = T.sum("press_jumps")
PRESS_UNMOVED = T.sum("press_unmoved")
DRAGS = T.sum("drags")
DRIFT = T.sum("press_drift", 2)
OFFSETS = T.sum("click_offsets")
OFFSETS_CENTRE = T.sum("click_offsets_centre")
WORK = 4 * MAX_POINTS + N_QUANTITIES + PROFILE_BINS
"""Length of the scratch array that the kernels need."""


@inner
def close_stroke(s, work):  # type: ignore[no-untyped-def]
    """Measure the open stroke, add it to the sums and clear it. work: float64 scratch of at least WORK numbers."""
    points = int(s[POINTS])
    if points == 0:
        return
    px = work[0:MAX_POINTS]
    py = work[MAX_POINTS : 2 * MAX_POINTS]
    speed = work[2 * MAX_POINTS : 3 * MAX_POINTS]
    smooth = work[3 * MAX_POINTS : 4 * MAX_POINTS]
    q = work[4 * MAX_POINTS : 4 * MAX_POINTS + N_QUANTITIES]
    profile = work[4 * MAX_POINTS + N_QUANTITIES : 4 * MAX_POINTS + N_QUANTITIES + PROFILE_BINS]
    for i in range(points):
        px[i] = s[PX + i]
        py[i] = s[PY + i]
        s[PX + i] = 0.0
        s[PY + i] = 0.0
    s[POINTS] = 0.0
    if not measure(px, py, points, speed, smooth, q, profile):
        s[MICRO] += 1.0
        return
    s[STROKES] += 1.0
    for k in range(N_QUANTITIES):
        if not math.isnan(q[k]):
            add_moments(s, QUANTITY + 3 * k, q[k])
    for b in range(PROFILE_BINS):
        s[PROFILE + b] += profile[b]
        s[PROFILE + PROFILE_BINS + b] += profile[b] * profile[b]
    mean = 0.0
    for i in range(points - 1):
        mean += speed[i] / (points - 1)
    for i in range(points - 1):
        s[SPEEDS + log_bin(speed[i] / mean, SPEED_FIRST, 8)] += 1.0 / (points - 1)
    heading = math.atan2(py[points - 1] - py[0], px[points - 1] - px[0])
    # Sectors are centred on the axes and diagonals.
    sector = math.floor(heading / (math.pi / 4.0) + 0.5) % 8
    s[HEADINGS + sector] += 1.0


@inner
def close_movement(s, work):  # type: ignore[no-untyped-def]
    """End the open movement: its stroke, and its duration against its path."""
    if s[OPEN] == 0.0:
        return
    close_stroke(s, work)
    duration = min(get_time(s, MOVE_T) - get_time(s, M_START_T), 10.0 * LONGEST_MS)
    path = float(s[M_PATH])
    s[MOVE_TIME] += duration
    if path >= MIN_PATH_PX and duration >= GRID_MS:
        u = math.log(path / 100.0)
        v = math.log(duration / 300.0)
        s[MOVEMENTS] += 1.0
        s[MOVEMENTS + 1] += u
        s[MOVEMENTS + 2] += v
        s[MOVEMENTS + 3] += u * u
        s[MOVEMENTS + 4] += v * v
        s[MOVEMENTS + 5] += u * v
    s[OPEN] = 0.0
    s[M_PATH] = 0.0


@inner
def _start_stroke(s, t, x, y):  # type: ignore[no-untyped-def]
    put_time(s, S_START_T, t)
    s[S_X] = x
    s[S_Y] = y
    s[POINTS] = 1.0
    s[PX] = 0.0
    s[PY] = 0.0


@inner
def _extend(s, work, t0, x0, y0, t1, x1, y1):  # type: ignore[no-untyped-def]
    """Add the grid points of the straight piece from (t0, x0, y0) to (t1, x1, y1) to the open stroke."""
    while True:
        points = int(s[POINTS])
        start = get_time(s, S_START_T)
        at = start + points * GRID_MS
        if at > t1 + EDGE_MS or t1 <= t0:
            return
        share = min(max((at - t0) / (t1 - t0), 0.0), 1.0)
        x = x0 + share * (x1 - x0)
        y = y0 + share * (y1 - y0)
        s[PX + points] = x - s[S_X]
        s[PY + points] = y - s[S_Y]
        s[POINTS] = points + 1.0
        if points + 1 == MAX_POINTS:
            close_stroke(s, work)
            _start_stroke(s, at, x, y)


@inner
def _move(s, work, t, x, y):  # type: ignore[no-untyped-def]
    """A displacement from the last sample to (t, x, y) that belongs to a movement."""
    last_x = float(s[LAST_X])
    last_y = float(s[LAST_Y])
    dx = x - last_x
    dy = y - last_y
    length = math.sqrt(dx * dx + dy * dy)
    since = t - get_time(s, MOVE_T)
    s[MOVED] += 1.0
    if s[OPEN] != 0.0 and since > PAUSE_MS + EDGE_MS:
        close_movement(s, work)
    if s[OPEN] == 0.0:
        if since > PAUSE_MS + EDGE_MS and length > JUMP_PX:
            s[JUMPS] += 1.0
        s[OPEN] = 1.0
        s[M_PATH] = 0.0
        put_time(s, M_START_T, t)
        _start_stroke(s, t, x, y)
        s[STEP_X] = 0.0
        s[STEP_Y] = 0.0
    else:
        _extend(s, work, get_time(s, MOVE_T), last_x, last_y, t, x, y)
        s[M_PATH] += length
        s[PATH] += length
        if length < 1.5:
            s[STEPS_SHORT] += 1.0
        if length >= STEP_PX:
            ex = float(s[STEP_X])
            ey = float(s[STEP_Y])
            s[STEPS] += 1.0
            if dx == 0.0 or dy == 0.0:
                s[STEPS_AXIS] += 1.0
            if abs(abs(dx) - abs(dy)) < 0.05:
                s[STEPS_DIAGONAL] += 1.0
            if ex != 0.0 or ey != 0.0:
                cross = ex * dy - ey * dx
                if abs(cross) <= 1e-4 * length * length and ex * dx + ey * dy > 0.0:
                    s[STEPS_AHEAD] += 1.0
                if abs(dx - ex) < 0.01 and abs(dy - ey) < 0.01:
                    s[STEPS_EQUAL] += 1.0
        s[STEP_X] = dx
        s[STEP_Y] = dy
    put_time(s, MOVE_T, t)


@inner
def _interval(s, dt, moved_since):  # type: ignore[no-untyped-def]
    """Count the time between two samples; `moved_since`: time without displacement that a displacement now ends."""
    if dt <= 1000.0:
        if dt < 0.05:
            s[INTERVALS_ZERO] += 1.0
        elif dt <= PAUSE_MS + EDGE_MS:
            add_moments(s, INTERVALS, math.log(dt / 16.0))
            s[INTERVAL_HIST + log_bin(dt, 1.0, 10)] += 1.0
            if abs(dt - float(s[LAST_DT])) < 0.05:
                s[INTERVALS_EQUAL] += 1.0
            s[LAST_DT] = dt
    if moved_since > PAUSE_MS + EDGE_MS:
        pause = min(moved_since, LONGEST_MS)
        add_moments(s, PAUSES, math.log(pause / 500.0))
        s[PAUSE_TIME] += pause
        s[PAUSE_HIST + log_bin(pause, PAUSE_MS, 8)] += 1.0


@inner
def _press(s, t, x, y, jump, known):  # type: ignore[no-untyped-def]
    """A button goes down, or clicks, at (t, x, y), `jump` px from the last sample; `known`: there was one in order."""
    s[PRESSES] += 1.0
    if known:
        if jump > JUMP_PX:
            s[PRESS_JUMPS] += 1.0
        if s[MOVED] - s[PRESS_MOVED] <= 1.0 and s[PRESSES] > 1.0:
            away = math.sqrt((x - s[DOWN_X]) ** 2 + (y - s[DOWN_Y]) ** 2)
            # One displaced sample is a jump, not a path; a second press at the same place is a double click.
            if away > JUMP_PX:
                s[PRESS_UNMOVED] += 1.0
        dwell = t - get_time(s, MOVE_T)
        if dwell < 1.0:
            s[DWELLS_ZERO] += 1.0
        add_moments(s, DWELLS, math.log(min(max(dwell, 1.0), LONGEST_MS) / 100.0))
    s[PRESS_MOVED] = s[MOVED]
    s[DOWN_X] = x
    s[DOWN_Y] = y
    put_time(s, DOWN_T, t)


@inner
def _release(s, t, x, y):  # type: ignore[no-untyped-def]
    """The button that went down comes up."""
    if s[HELD] == 0.0:
        return
    s[HELD] = 0.0
    hold = t - get_time(s, DOWN_T)
    if hold < 0.0 or hold > LONGEST_MS:
        return
    away = abs(x - s[DOWN_X]) + abs(y - s[DOWN_Y])
    if away > 8.0:
        s[DRAGS] += 1.0
        return
    s[DRIFT] += 1.0
    if away > 0.0:
        s[DRIFT + 1] += 1.0
    if hold < 1.0:
        s[HOLDS_ZERO] += 1.0
    if s[HOLDS] > 0.0 and abs(hold - s[LAST_HOLD]) < 0.5:
        s[HOLDS_EQUAL] += 1.0
    s[LAST_HOLD] = hold
    add_moments(s, HOLDS, math.log(max(hold, 1.0) / 100.0))


@inner
def fold(s, work, start, n, t, x, y, kind, kinds):  # type: ignore[no-untyped-def]
    """Fold n samples (t: ms from `start`, which is ms from the session's origin) into the family's part of the row."""
    for i in range(n):
        now = start + t[i]
        # The stored position is float32: compare like with like.
        xi = float(numba.float32(x[i]))
        yi = float(numba.float32(y[i]))
        code = int(kind[i]) if kinds else 0
        first = s[SAMPLES] == 0.0
        s[SAMPLES] += 1.0
        if first:
            put_time(s, LAST_T, now)
            put_time(s, FRONT_T, now)
            put_time(s, MOVE_T, now)
            s[LAST_X] = xi
            s[LAST_Y] = yi
        last = get_time(s, LAST_T)
        front = get_time(s, FRONT_T)
        dt = now - last
        in_order = last >= front - EDGE_MS and dt >= -EDGE_MS
        if dt < -EDGE_MS or (last < front - EDGE_MS and now >= front):
            # Late, or back from late: nothing joins the last sample to this one.
            close_movement(s, work)
            s[LAST_X] = xi
            s[LAST_Y] = yi
            put_time(s, MOVE_T, now)
            s[HELD] = 0.0
            if dt < -EDGE_MS:
                s[REORDERED] += 1.0
                if now < front - CLOCK_STEP_MS:
                    front = now
        jump_x = xi - s[LAST_X]
        jump_y = yi - s[LAST_Y]
        moved = (jump_x != 0.0 or jump_y != 0.0) and code != 3
        jump = math.sqrt(jump_x * jump_x + jump_y * jump_y)
        if in_order and not first:
            _interval(s, max(dt, 0.0), now - get_time(s, MOVE_T) if moved else 0.0)
        if code == 3:
            s[WHEELS] += 1.0
        elif code in (1, 5):
            _press(s, now, xi, yi, jump, in_order and not first)
            if moved:
                _move(s, work, now, xi, yi)
            close_movement(s, work)
            s[HELD] = 1.0 if code == 1 else 0.0
        elif code == 2:
            if moved:
                _move(s, work, now, xi, yi)
            close_movement(s, work)
            _release(s, now, xi, yi)
        elif moved:
            _move(s, work, now, xi, yi)
        else:
            s[STILL] += 1.0
        if code != 3:
            # A wheel event says where the pointer is less reliably than a move: its position is not taken over.
            s[LAST_X] = xi
            s[LAST_Y] = yi
        put_time(s, LAST_T, now)
        put_time(s, FRONT_T, max(front, now))
