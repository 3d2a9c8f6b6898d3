"""The shape of one stroke: dimensionless statistics of at most 1.24 seconds of pointer path on a fixed time grid.

A stroke is a piece of movement, resampled by linear interpolation every `GRID_MS`, so that recorders with other clocks
see nearly the same points. `measure` turns its points into `QUANTITIES`, all free of unit, scale, position, rotation
(axes excepted) and clock; pointer.py keeps their sums over strokes.
"""

import math

import numpy as np

from features.kernel import add_pair, correlation_of, inner, slope_of

GRID_MS = 40.0
"""Step of the time grid: coarser than usual recorders (8 to 30 ms), finer than a corrective sub-movement (75 ms up).
On left-out bot families 25 ms found as much, and moved a third more when people were recorded at another rate."""

MAX_POINTS = 32
"""Points a stroke may hold; at the 32nd (1.24 s) it is measured and the next one begins there."""

MIN_POINTS = 6
"""A stroke with fewer points (200 ms) or a shorter path than MIN_PATH_PX says nothing about shape."""

MIN_PATH_PX = 12.0

PROFILE_BINS = 8

QUANTITIES: tuple[tuple[str, float, float, str], ...] = (
    ("bend_log", 0.0, 4.0, "ln(path / chord): 0 is a straight line"),
    ("deviation_log", -8.0, 2.0, "ln of the largest distance from the chord over the chord"),
    ("deviation_place", 0.0, 1.0, "where along the stroke's time that distance lies"),
    ("speed_cv", 0.0, 4.0, "standard deviation of the grid speed over its mean"),
    ("peak_place", 0.0, 1.0, "time of the highest (smoothed) speed over the duration"),
    ("speed_centre", 0.0, 1.0, "path-weighted mean time over the duration: below 0.5 is fast first"),
    ("peaks", 0.0, 12.0, "speed peaks (sub-movements) a second"),
    ("brake_log", -4.0, 4.0, "ln of the strongest acceleration over the strongest deceleration"),
    ("start_speed", 0.0, 1.0, "first step over the longest"),
    ("end_speed", 0.0, 1.0, "last step over the longest"),
    ("rest_share", 0.0, 1.0, "share of steps shorter than 4 % of the longest"),
    ("turn_total_log", -6.0, 4.0, "ln of the mean absolute turn a step, radians"),
    ("turn_net_share", 0.0, 1.0, "absolute net turn over the total of absolute turns"),
    ("turn_flips", 0.0, 1.0, "share of successive turns that change their side"),
    ("side_flips", 0.0, 1.0, "crossings of the chord line over the steps"),
    ("roughness_log", -8.0, 4.0, "ln of the second differences' energy of the steps over the steps' energy"),
    ("speed_rough_log", -8.0, 4.0, "the same of the speed alone"),
    ("speed_memory", -1.0, 1.0, "lag-one autocorrelation of the grid speed"),
    ("overshoot", 0.0, 1.0, "how far the path runs beyond the chord's ends, over the path"),
    ("power_slope", -1.5, 1.5, "slope of ln speed on ln curvature inside the stroke (people near -1/3)"),
    ("power_fit", -1.0, 1.0, "correlation of ln speed with ln curvature inside the stroke"),
    ("rough_scale_log", -6.0, 6.0, "ln of the steps' second-difference energy at twice the grid step over that at one"),
    ("rough_order_log", -6.0, 6.0, "ln of the steps' second-difference energy over their first-difference energy"),
    ("turn_memory", -1.0, 1.0, "correlation of successive turns"),
    ("turn_none_share", 0.0, 1.0, "share of turns below 0.01 rad"),
    ("turn_sharp_share", 0.0, 1.0, "share of turns above 1 rad"),
    ("speed_skew", -4.0, 6.0, "skewness of the grid speed"),
    ("step_memory", -1.0, 1.0, "lag-one correlation of ln step"),
    ("step_spread", 0.0, 1.0, "entropy of the steps' lengths in eight bins up to the longest, over ln 8"),
)
N_QUANTITIES = len(QUANTITIES)

(
    Q_BEND,
    Q_DEVIATION,
    Q_DEVIATION_PLACE,
    Q_SPEED_CV,
    Q_PEAK_PLACE,
    Q_CENTRE,
    Q_PEAKS,
    Q_BRAKE,
    Q_START,
    Q_END,
    Q_REST,
    Q_TURN,
    Q_TURN_NET,
    Q_TURN_FLIPS,
    Q_SIDE_FLIPS,
    Q_ROUGH,
    Q_SPEED_ROUGH,
    Q_MEMORY,
    Q_OVERSHOOT,
    Q_POWER_SLOPE,
    Q_POWER_FIT,
    Q_ROUGH_SCALE,
    Q_ROUGH_ORDER,
    Q_TURN_MEMORY,
    Q_TURN_NONE,
    Q_TURN_SHARP,
    Q_SPEED_SKEW,
    Q_STEP_MEMORY,
    Q_STEP_SPREAD,
) = range(N_QUANTITIES)

_NAN = math.nan


@inner
def _clip(value, low, high):  # type: ignore[no-untyped-def]
    return min(max(value, low), high)


@inner
def _measure_speed(speed, smooth, n, total, top, q, profile):  # type: ignore[no-untyped-def]
    """The speed's shape: spread, peaks, asymmetry, memory and the profile over normalised time."""
    mean = total / n
    squares = 0.0
    cubes = 0.0
    lagged = 0.0
    memory = np.zeros(6)
    lengths = np.zeros(8)
    centre = 0.0
    rest = 0.0
    second = 0.0
    energy = 0.0
    before = 0.0
    for i in range(n):
        centred = speed[i] - mean
        squares += centred * centred
        cubes += centred * centred * centred
        energy += speed[i] * speed[i]
        centre += (i + 0.5) * speed[i]
        if speed[i] < 0.04 * top:
            rest += 1.0
        lengths[min(int(speed[i] / top * 8.0), 7)] += 1.0
        # A hundredth of the mean step keeps rests finite.
        log = math.log(speed[i] / mean + 0.01)
        if i > 0:
            lagged += centred * (speed[i - 1] - mean)
            add_pair(memory, 0, before, log)
        before = log
        if i > 1:
            bend = speed[i] - 2.0 * speed[i - 1] + speed[i - 2]
            second += bend * bend
        left = speed[i - 1] if i > 0 else speed[i]
        right = speed[i + 1] if i < n - 1 else speed[i]
        smooth[i] = 0.25 * left + 0.5 * speed[i] + 0.25 * right
    q[Q_SPEED_CV] = _clip(math.sqrt(squares / n) / mean, 0.0, 4.0)
    q[Q_CENTRE] = centre / total / n
    q[Q_REST] = rest / n
    q[Q_MEMORY] = lagged / squares if squares > 1e-3 * energy else _NAN
    deviation = math.sqrt(squares / n)
    q[Q_SPEED_SKEW] = (
        _clip(cubes / n / (deviation * deviation * deviation), -4.0, 6.0) if deviation > 0.03 * mean else _NAN
    )
    q[Q_STEP_MEMORY] = correlation_of(memory[0], memory[1], memory[2], memory[3], memory[4], memory[5], 5.0)
    q[Q_SPEED_ROUGH] = _clip(math.log(max(second, 1e-12) / energy), -8.0, 4.0)
    q[Q_START] = speed[0] / top
    q[Q_END] = speed[n - 1] / top
    peak = 0
    rise = 0.0
    fall = 0.0
    for i in range(1, n):
        if smooth[i] > smooth[peak]:
            peak = i
        change = smooth[i] - smooth[i - 1]
        rise = max(rise, change)
        fall = max(fall, -change)
    # At even speed the highest step is an accident of rounding.
    q[Q_PEAK_PLACE] = (peak + 0.5) / n if smooth[peak] > 1.02 * mean else _NAN
    # A tenth of the peak keeps rounding to whole pixels from looking like strong acceleration of slow strokes.
    least = 0.02 * smooth[peak]
    q[Q_BRAKE] = math.log((rise + least) / (fall + least))
    # A peak counts when the speed rose by a tenth of the highest before it and fell by as much after it.
    prominence = 0.1 * smooth[peak]
    peaks = 0.0
    low = 0.0
    high = 0.0
    rising = True
    for i in range(n + 1):
        value = smooth[i] if i < n else 0.0
        if rising:
            high = max(high, value)
            if value < high - prominence:
                peaks += 1.0
                rising = False
                low = value
        else:
            low = min(low, value)
            if value > low + prominence:
                rising = True
                high = value
    q[Q_PEAKS] = _clip(peaks * 1000.0 / (n * GRID_MS), 0.0, 12.0)
    # Path share in each eighth of the duration, steps split where they straddle a border.
    for b in range(PROFILE_BINS):
        profile[b] = 0.0
    for i in range(n):
        start = i * PROFILE_BINS / n
        end = (i + 1) * PROFILE_BINS / n
        at = start
        while at < end - 1e-9:
            b = min(int(at + 1e-9), PROFILE_BINS - 1)
            stop = min(end, b + 1.0)
            profile[b] += speed[i] / total * (stop - at) / (end - start)
            at = stop
    # Entropy of step lengths, eight bins up to the longest.
    spread = 0.0
    for count in lengths:
        if count > 0.0:
            spread -= count / n * math.log(count / n)
    q[Q_STEP_SPREAD] = spread / math.log(8.0)


@inner
def _measure_roughness(px, py, n, energy, q):  # type: ignore[no-untyped-def]
    """Energy of the path's higher differences: how smooth it is, and at which scale it is rough."""
    first = 0.0
    second = 0.0
    wide = 0.0
    wides = 0.0
    for i in range(n):
        if i > 0:
            ax = px[i + 1] - 2.0 * px[i] + px[i - 1]
            ay = py[i + 1] - 2.0 * py[i] + py[i - 1]
            first += ax * ax + ay * ay
        if i > 1:
            ax = px[i + 1] - 3.0 * px[i] + 3.0 * px[i - 1] - px[i - 2]
            ay = py[i + 1] - 3.0 * py[i] + 3.0 * py[i - 1] - py[i - 2]
            second += ax * ax + ay * ay
        if i > 2:
            ax = px[i + 1] - 2.0 * px[i - 1] + px[i - 3]
            ay = py[i + 1] - 2.0 * py[i - 1] + py[i - 3]
            wide += ax * ax + ay * ay
            wides += 1.0
    mean_first = first / (n - 1)
    mean_second = second / (n - 2)
    floor = 1e-9 * energy / n
    q[Q_ROUGH] = _clip(math.log(max(second, 1e-12) / energy), -8.0, 4.0)
    q[Q_ROUGH_SCALE] = _clip(math.log((wide / wides + floor) / (mean_first + floor)), -6.0, 6.0)
    q[Q_ROUGH_ORDER] = _clip(math.log((mean_second + floor) / (mean_first + floor)), -6.0, 6.0)


@inner
def _measure_turns(px, py, speed, n, shortest, q):  # type: ignore[no-untyped-def]
    """Turning between steps of at least `shortest` px: how much, how one-sided, and how speed follows curvature."""
    total = 0.0
    net = 0.0
    turns = 0.0
    none = 0.0
    sharp = 0.0
    flips = 0.0
    pairs = 0.0
    last = 0.0
    before = _NAN
    memory = np.zeros(6)
    power = np.zeros(6)
    for i in range(1, n):
        if speed[i] < shortest or speed[i - 1] < shortest:
            before = _NAN
            continue
        dx = px[i + 1] - px[i]
        dy = py[i + 1] - py[i]
        ex = px[i] - px[i - 1]
        ey = py[i] - py[i - 1]
        turn = math.atan2(ex * dy - ey * dx, ex * dx + ey * dy)
        size = abs(turn)
        total += size
        net += turn
        turns += 1.0
        if size < 0.01:
            none += 1.0
        if size > 1.0:
            sharp += 1.0
        if not math.isnan(before):
            add_pair(memory, 0, before, turn)
        before = turn
        # Below this a turn is what rounding and interpolation between sparse samples make of a straight line.
        if size > 2e-3:
            if last != 0.0:
                pairs += 1.0
                if (turn > 0.0) != (last > 0.0):
                    flips += 1.0
            last = turn
        if size > 0.01 and size < 2.0:
            length = 0.5 * (speed[i] + speed[i - 1])
            add_pair(power, 0, math.log(size / length), math.log(length))
    q[Q_TURN] = _NAN
    q[Q_TURN_NET] = _NAN
    q[Q_TURN_NONE] = _NAN
    q[Q_TURN_SHARP] = _NAN
    q[Q_TURN_FLIPS] = flips / pairs if pairs >= 3.0 else _NAN
    if turns >= 3.0:
        q[Q_TURN] = math.log(total / turns + 2.5e-3)
        q[Q_TURN_NONE] = none / turns
        q[Q_TURN_SHARP] = sharp / turns
        if total > 0.01:
            q[Q_TURN_NET] = min(abs(net) / total, 1.0)
    q[Q_TURN_MEMORY] = correlation_of(memory[0], memory[1], memory[2], memory[3], memory[4], memory[5], 4.0)
    slope = slope_of(power[0], power[1], power[2], power[3], power[5], 5.0)
    q[Q_POWER_SLOPE] = _clip(slope, -1.5, 1.5) if not math.isnan(slope) else _NAN
    q[Q_POWER_FIT] = correlation_of(power[0], power[1], power[2], power[3], power[4], power[5], 5.0)


@inner
def _measure_chord(px, py, n, path, q):  # type: ignore[no-untyped-def]
    """Straightness, deviation from the chord, overshoot."""
    cx = px[n] - px[0]
    cy = py[n] - py[0]
    chord = math.sqrt(cx * cx + cy * cy)
    q[Q_BEND] = _clip(math.log(path / max(chord, path * 0.02)), 0.0, 4.0)
    q[Q_DEVIATION] = _NAN
    q[Q_DEVIATION_PLACE] = _NAN
    q[Q_SIDE_FLIPS] = _NAN
    q[Q_OVERSHOOT] = _NAN
    if chord < 0.1 * path or chord < 4.0:
        return
    widest = 0.0
    place = 0.0
    flips = 0.0
    last = 0.0
    beyond = 0.0
    for i in range(1, n):
        x = px[i] - px[0]
        y = py[i] - py[0]
        side = (cx * y - cy * x) / chord
        along = (cx * x + cy * y) / chord
        beyond = max(beyond, along - chord, -along)
        if abs(side) > widest:
            widest = abs(side)
            place = i / n
        # Half a pixel is what rounding moves a point: nearer the chord it has no side.
        if abs(side) > 0.5:
            if last != 0.0 and (side > 0.0) != (last > 0.0):
                flips += 1.0
            last = side
    q[Q_DEVIATION] = _clip(math.log(widest / chord + 1e-3), -8.0, 2.0)
    if widest > 0.5:
        q[Q_DEVIATION_PLACE] = place
    q[Q_SIDE_FLIPS] = flips / n
    q[Q_OVERSHOOT] = min(beyond / path, 1.0)


@inner
def measure(px, py, points, speed, smooth, q, profile):  # type: ignore[no-untyped-def]
    """Measure a stroke of `points` grid points (px, py: float64[>= points], px). Returns False when it says nothing.

    q (float64[N_QUANTITIES]) and profile (float64[PROFILE_BINS]: path share in each eighth of the time) are written
    only when True is returned; a quantity that the stroke cannot show is NaN. speed, smooth: scratch[>= points].
    """
    n = points - 1
    if points < MIN_POINTS:
        return False
    path = 0.0
    top = 0.0
    for i in range(n):
        dx = px[i + 1] - px[i]
        dy = py[i + 1] - py[i]
        speed[i] = math.sqrt(dx * dx + dy * dy)
        path += speed[i]
        top = max(top, speed[i])
    if path < MIN_PATH_PX:
        return False
    _measure_speed(speed, smooth, n, path, top, q, profile)
    energy = 0.0
    for i in range(n):
        energy += speed[i] * speed[i]
    _measure_roughness(px, py, n, energy, q)
    _measure_turns(px, py, speed, n, 1.0, q)
    _measure_chord(px, py, n, path, q)
    return True
