"""Naive twins of the compiled families: whole sessions in plain Python lists, no state, no float32 sums."""

import itertools
import math
import statistics
from collections.abc import Sequence

import numpy as np

from features.keystroke import BREAK_MS, DD_UNIT_MS, HOLD_UNIT_MS
from features.pointer import EDGE_MS, JUMP_PX, PAUSE_MS, STEP_PX
from features.stroke import GRID_MS, MAX_POINTS, MIN_PATH_PX, MIN_POINTS

Sample = tuple[float, float, float, int]
Point = tuple[float, float, float]
Key = tuple[float, float | None, int]
NAN = math.nan


def movements_of(samples: Sequence[Sample]) -> list[list[Point]]:
    """Movements as lists of (t, x, y): displaced samples, cut at pauses and at buttons."""
    movements: list[list[Point]] = []
    current: list[Point] = []
    t0, x0, y0, _ = samples[0]
    moved_at = t0
    for t, x, y, kind in samples:
        moved = (x, y) != (x0, y0)
        if kind == 3:
            continue
        if moved:
            if current and t - moved_at > PAUSE_MS + EDGE_MS:
                movements.append(current)
                current = []
            current.append((t, x, y))
            moved_at = t
        if kind in (1, 2, 5) and current:
            movements.append(current)
            current = []
        x0, y0 = x, y
    return movements + ([current] if current else [])


def strokes_of(movement: list[Point]) -> list[list[tuple[float, float]]]:
    """Grid points of a movement, cut into strokes that share their border point."""
    start, at = movement[0][0], 1
    strokes = [[movement[0][1:]]]
    for (t0, x0, y0), (t1, x1, y1) in itertools.pairwise(movement):
        while t1 > t0 and start + at * GRID_MS <= t1 + EDGE_MS:
            time = start + at * GRID_MS
            share = min(max((time - t0) / (t1 - t0), 0.0), 1.0)
            point = (x0 + share * (x1 - x0), y0 + share * (y1 - y0))
            strokes[-1].append(point)
            at += 1
            if at == MAX_POINTS:
                strokes.append([point])
                start, at = time, 1
    return strokes


def correlation(u: Sequence[float], v: Sequence[float], least: int) -> float:
    if len(u) < max(least, 3) or statistics.pvariance(u) < 1e-6 or statistics.pvariance(v) < 1e-6:
        return NAN
    return float(np.corrcoef(u, v)[0, 1])


def slope(u: Sequence[float], v: Sequence[float], least: int) -> float:
    if len(u) < max(least, 3) or statistics.pvariance(u) < 1e-3:
        return NAN
    return float(np.polyfit(u, v, 1)[0])


def clip(value: float, low: float, high: float) -> float:
    return float(min(max(value, low), high))


def peaks_of(smooth: Sequence[float]) -> int:
    """Peaks of at least a tenth of the highest on both sides."""
    least, peaks, rising = 0.1 * max(smooth), 0, True
    high, low = 0.0, 0.0
    for value in [*smooth, 0.0]:
        if rising:
            high = max(high, value)
            if value < high - least:
                peaks, rising, low = peaks + 1, False, value
        else:
            low = min(low, value)
            if value > low + least:
                rising, high = True, value
    return peaks


def measure(points: list[tuple[float, float]]) -> tuple[dict[str, float], list[float], list[float]] | None:
    """Quantities of a stroke by name, its profile in eighths, its steps over their mean; None where it says nothing."""
    if len(points) < MIN_POINTS:
        return None
    p = np.array(points)
    d = np.diff(p, axis=0)
    v = np.hypot(d[:, 0], d[:, 1])
    n, path, top, mean = len(v), v.sum(), v.max(), v.mean()
    if path < MIN_PATH_PX:
        return None
    q: dict[str, float] = {}
    chord = float(np.hypot(*(p[-1] - p[0])))
    q["bend_log"] = clip(math.log(path / max(chord, 0.02 * path)), 0.0, 4.0)
    q["speed_cv"] = clip(v.std() / mean, 0, 4)
    q["speed_centre"] = float(((np.arange(n) + 0.5) * v).sum() / path / n)
    q["rest_share"] = float((v < 0.04 * top).mean())
    q["start_speed"], q["end_speed"] = float(v[0] / top), float(v[-1] / top)
    centred = v - mean
    squares = (centred**2).sum()
    q["speed_memory"] = float((centred[1:] * centred[:-1]).sum() / squares) if squares > 1e-3 * (v**2).sum() else NAN
    q["speed_skew"] = clip((centred**3).mean() / v.std() ** 3, -4, 6) if v.std() > 0.03 * mean else NAN
    logs = np.log(v / mean + 0.01)
    q["step_memory"] = correlation(logs[:-1].tolist(), logs[1:].tolist(), 5)
    q["speed_rough_log"] = clip(math.log(max((np.diff(v, 2) ** 2).sum(), 1e-12) / (v**2).sum()), -8, 4)
    padded = np.concatenate([v[:1], v, v[-1:]])
    smooth = 0.25 * padded[:-2] + 0.5 * padded[1:-1] + 0.25 * padded[2:]
    q["peak_place"] = (int(np.argmax(smooth)) + 0.5) / n if smooth.max() > 1.02 * mean else NAN
    change = np.diff(smooth)
    least = 0.02 * smooth.max()
    q["brake_log"] = math.log((max(change.max(), 0.0) + least) / (max((-change).max(), 0.0) + least))
    q["peaks"] = clip(peaks_of(smooth.tolist()) * 1000.0 / (n * GRID_MS), 0, 12)
    bins = [min(int(s / top * 8.0), 7) for s in v]
    shares = [bins.count(b) / n for b in range(8)]
    q["step_spread"] = -sum(s * math.log(s) for s in shares if s) / math.log(8)
    jerk = [(np.diff(p, k, axis=0) ** 2).sum(axis=1) for k in (2, 3)]
    wide = ((p[4:] - 2 * p[2:-2] + p[:-4]) ** 2).sum(axis=1)
    floor = 1e-9 * (v**2).mean()
    q["roughness_log"] = clip(math.log(max(jerk[1].sum(), 1e-12) / (v**2).sum()), -8, 4)
    q["rough_scale_log"] = clip(math.log((wide.mean() + floor) / (jerk[0].mean() + floor)), -6, 6)
    q["rough_order_log"] = clip(math.log((jerk[1].mean() + floor) / (jerk[0].mean() + floor)), -6, 6)
    q |= turns(d, v)
    q |= deviation(p, path, chord)
    fine = np.interp(np.linspace(0, n, 8 * n + 1), np.arange(n + 1), np.concatenate([[0], np.cumsum(v)]))
    profile = np.diff(fine[::n]) / path
    return q, profile.tolist(), (v / mean).tolist()


def turns(
    d: "np.ndarray[tuple[int, int], np.dtype[np.float64]]", v: "np.ndarray[tuple[int], np.dtype[np.float64]]"
) -> dict[str, float]:
    """Turning quantities."""
    angle = [
        math.remainder(math.atan2(b[1], b[0]) - math.atan2(a[1], a[0]), math.tau) if min(va, vb) >= 1.0 else None
        for (a, b), (va, vb) in zip(itertools.pairwise(d), itertools.pairwise(v), strict=True)
    ]
    known = [a for a in angle if a is not None]
    sides = [a > 0 for a in known if abs(a) > 2e-3]
    flips = [a != b for a, b in itertools.pairwise(sides)]
    pairs = [(a, b) for a, b in itertools.pairwise(angle) if a is not None and b is not None]
    total = sum(abs(a) for a in known)
    power = [
        (math.log(abs(a) / (0.5 * (v[i] + v[i + 1]))), math.log(0.5 * (v[i] + v[i + 1])))
        for i, a in enumerate(angle)
        if a is not None and 0.01 < abs(a) < 2.0
    ]
    u, w = [a for a, _ in power], [b for _, b in power]
    power_slope = slope(u, w, 5)
    enough = len(known) >= 3
    return {
        "turn_flips": statistics.mean(flips) if len(flips) >= 3 else NAN,
        "turn_total_log": math.log(total / len(known) + 2.5e-3) if enough else NAN,
        "turn_none_share": sum(abs(a) < 0.01 for a in known) / len(known) if enough else NAN,
        "turn_sharp_share": sum(abs(a) > 1.0 for a in known) / len(known) if enough else NAN,
        "turn_net_share": min(abs(sum(known)) / total, 1.0) if enough and total > 0.01 else NAN,
        "turn_memory": correlation([a for a, _ in pairs], [b for _, b in pairs], 4),
        "power_slope": power_slope if math.isnan(power_slope) else clip(power_slope, -1.5, 1.5),
        "power_fit": correlation(u, w, 5),
    }


def deviation(p: "np.ndarray[tuple[int, int], np.dtype[np.float64]]", path: float, chord: float) -> dict[str, float]:
    """Quantities against the chord."""
    names = ("deviation_log", "deviation_place", "side_flips", "overshoot")
    if chord < 0.1 * path or chord < 4.0:
        return dict.fromkeys(names, NAN)
    c = (p[-1] - p[0]) / chord
    inside = p[1:-1] - p[0]
    side = c[0] * inside[:, 1] - c[1] * inside[:, 0]
    along = inside @ c
    widest = float(np.abs(side).max())
    signs = [s > 0 for s in side if abs(s) > 0.5]
    n = len(p) - 1
    return {
        "deviation_log": clip(math.log(widest / chord + 1e-3), -8, 2),
        "deviation_place": (int(np.argmax(np.abs(side))) + 1) / n if widest > 0.5 else NAN,
        "side_flips": sum(a != b for a, b in itertools.pairwise(signs)) / n,
        "overshoot": min(max(0.0, float((along - chord).max()), float((-along).max())) / path, 1.0),
    }


def mean(values: Sequence[float], least: int) -> float:
    return statistics.fmean(values) if len(values) >= least else NAN


def sd(values: Sequence[float], least: int) -> float:
    return statistics.stdev(values) if len(values) >= max(least, 2) else NAN


def entropy(counts: Sequence[float], least: float) -> float:
    total = sum(counts)
    if total < max(least, 1e-9):
        return NAN
    used = [c / total for c in counts if c > 0]
    value = -sum(s * math.log(s) for s in used) + (len(used) - 1) / (2 * total)
    return clip(value / math.log(len(counts)), 0, 1)


def octave(value: float, first: float, bins: int) -> int:
    return 0 if value < first else min(int(math.log2(value / first)), bins - 1)


def pointer(samples: Sequence[Sample]) -> dict[str, float]:
    """Pointer features of samples in time order (names without the family), the trained ones."""
    movements = movements_of(samples)
    measured = [
        (stroke, found) for m in movements for stroke in strokes_of(m) if (found := measure(stroke)) is not None
    ]
    micro = sum(1 for m in movements for _ in strokes_of(m)) - len(measured)
    out: dict[str, float] = {"strokes": len(measured), "samples": len(samples)}
    for name in measured[0][1][0] if measured else ():
        values = [found[0][name] for _, found in measured if not math.isnan(found[0][name])]
        out[f"{name}_mean"], out[f"{name}_sd"] = mean(values, 1), sd(values, 3)
    profiles = np.array([found[1] for _, found in measured]).reshape(-1, 8)
    for b in range(8):
        out[f"profile_{b + 1}"] = mean(profiles[:, b].tolist(), 1)
        histograms = [sum(octave(s, 2**-4.5, 8) == b for s in found[2]) / len(found[2]) for _, found in measured]
        out[f"speeds_{b + 1}"] = mean(histograms, 1)
    out["profile_sd"] = math.sqrt(float(profiles.var(axis=0).sum()) / 8) if len(measured) >= 3 else NAN
    out["micro_ratio"] = micro / (micro + len(measured)) if micro + len(measured) >= 3 else NAN
    sectors = [0.0] * 8
    for stroke, _ in measured:
        heading = math.atan2(stroke[-1][1] - stroke[0][1], stroke[-1][0] - stroke[0][0])
        sectors[math.floor(heading / (math.pi / 4) + 0.5) % 8] += 1
    out["headings_entropy"] = entropy(sectors, 6)
    lengths = [sum(math.dist(a[1:], b[1:]) for a, b in itertools.pairwise(m)) for m in movements]
    durations = [m[-1][0] - m[0][0] for m in movements]
    big = [
        (math.log(a / 100), math.log(b / 300))
        for a, b in zip(lengths, durations, strict=True)
        if a >= MIN_PATH_PX and b >= GRID_MS
    ]
    u, w = [a for a, _ in big], [b for _, b in big]
    out["isochrony_slope"], out["isochrony_fit"] = slope(u, w, 5), correlation(u, w, 5)
    fit = out["isochrony_fit"]
    out["isochrony_spread"] = sd(w, 5) * math.sqrt(max(1 - fit * fit, 0)) if not math.isnan(fit) else NAN
    out["path_log_sd"] = sd(u, 3)
    pauses, jumps = pauses_of(samples, movements)
    out["pause_log_mean"] = mean([math.log(x / 500) for x in pauses], 2)
    out["pause_log_sd"] = sd([math.log(x / 500) for x in pauses], 3)
    out["pauses_per_movement"] = len(pauses) / len(big) if len(big) >= 3 else NAN
    out["jump_ratio"] = min(jumps / len(big), 1.0) if len(big) >= 3 else NAN
    time = sum(durations) + sum(pauses)
    out["moving_ratio"] = sum(durations) / time if time >= 500 else NAN
    out |= raw_steps(movements)
    return out


def pauses_of(samples: Sequence[Sample], movements: list[list[Point]]) -> tuple[list[float], int]:
    """Times without displacement above the pause limit, and how many movements begin far from the last position."""
    displaced = [samples[0][:3], *[point for m in movements for point in m]]
    pauses = [b[0] - a[0] for a, b in itertools.pairwise(displaced) if b[0] - a[0] > PAUSE_MS + EDGE_MS]
    jumps = sum(
        1
        for a, b in itertools.pairwise(displaced)
        if b[0] - a[0] > PAUSE_MS + EDGE_MS and math.dist(a[1:], b[1:]) > JUMP_PX
    )
    return [min(p, 60_000.0) for p in pauses], jumps


def raw_steps(movements: list[list[Point]]) -> dict[str, float]:
    """Shares of raw steps of some length: along an axis, straight on, repeated."""
    steps = axis = ahead = equal = 0
    for m in movements:
        last = None
        for a, b in itertools.pairwise(m):
            step = (b[1] - a[1], b[2] - a[2])
            length = math.hypot(*step)
            if length >= STEP_PX:
                steps += 1
                axis += 0.0 in step
                if last is not None:
                    cross = last[0] * step[1] - last[1] * step[0]
                    ahead += abs(cross) <= 1e-4 * length**2 and last[0] * step[0] + last[1] * step[1] > 0
                    equal += abs(step[0] - last[0]) < 0.01 and abs(step[1] - last[1]) < 0.01
            last = step
    names = {"axis_ratio": (axis, 4), "ahead_ratio": (ahead, 4), "equal_step_ratio": (equal, 10)}
    return {name: count / steps if steps >= least else NAN for name, (count, least) in names.items()}


def power_sums(values: Sequence[float], least: tuple[int, int]) -> tuple[float, float]:
    """Skewness and excess kurtosis."""
    if len(values) < 3 or statistics.pvariance(values) < 1e-6:
        return NAN, NAN
    x = np.array(values) - np.mean(values)
    spread = x.std()
    skew = float((x**3).mean() / spread**3) if len(values) >= least[0] else NAN
    kurtosis = float((x**4).mean() / spread**4 - 3) if len(values) >= least[1] else NAN
    return skew, kurtosis


def keystroke(keys: Sequence[Key]) -> dict[str, float]:
    """Keystroke features of presses in time order (names without the family)."""
    chain = [k for k in keys if k[2] != 6]
    holds = [u - d for d, u, _ in chain if u is not None and u >= d]
    out: dict[str, float] = {"keys": len(keys)}
    logs = [math.log(max(h, 1.0) / HOLD_UNIT_MS) for h in holds]
    out["hold_log_mean"], out["hold_log_sd"] = mean(logs, 3), sd(logs, 5)
    out["hold_cv"] = sd(holds, 5) / max(mean(holds, 5), 1.0) if len(holds) >= 5 else NAN
    out["hold_log_skew"], out["hold_log_kurtosis"] = power_sums(logs, (10, 15))
    out["hold_zero_ratio"] = sum(h < 5 for h in holds) / len(holds) if len(holds) >= 3 else NAN
    pairs = list(itertools.pairwise(chain))
    dd = [b[0] - a[0] for a, b in pairs]
    near = [x for x in dd if x <= BREAK_MS]
    dd_logs = [math.log(max(x, 1.0) / DD_UNIT_MS) for x in near]
    out["dd_log_mean"], out["dd_log_sd"] = mean(dd_logs, 3), sd(dd_logs, 5)
    out["dd_log_skew"], out["dd_log_kurtosis"] = power_sums(dd_logs, (10, 15))
    m, s = mean(near, 5), sd(near, 5)
    out["dd_cv"], out["dd_burstiness"] = (s / max(m, 1.0), (s - m) / (s + m)) if len(near) >= 5 else (NAN, NAN)
    out["dd_fast_ratio"] = sum(x < 25 for x in near) / len(near) if len(near) >= 3 else NAN
    out["break_ratio"] = (len(dd) - len(near)) / len(dd) if len(dd) >= 5 else NAN
    successive = [(a, b) for a, b in itertools.pairwise(dd) if max(a, b) <= BREAK_MS]
    log = [(math.log(max(a, 1.0)), math.log(max(b, 1.0))) for a, b in successive]
    out["dd_memory"] = correlation([a for a, _ in log], [b for _, b in log], 10)
    out["dd_equal_ratio"] = (
        sum(abs(a - b) < 1 for a, b in successive) / len(successive) if len(successive) >= 5 else NAN
    )
    flights = [b[0] - a[1] for a, b in pairs if a[1] is not None and a[1] >= a[0] and b[0] - a[0] <= BREAK_MS]
    out["ud_mean_s"], out["ud_sd_s"] = mean([f / 1000 for f in flights], 3), sd([f / 1000 for f in flights], 5)
    out["rollover_ratio"] = sum(f < -1 for f in flights) / len(flights) if len(flights) >= 5 else NAN
    out["ud_zero_ratio"] = sum(-1 <= f < 5 for f in flights) / len(flights) if len(flights) >= 5 else NAN
    letters = [math.log(max(b[0] - a[0], 1.0)) for a, b in pairs if a[2] == b[2] == 1 and b[0] - a[0] <= BREAK_MS]
    spaces = [math.log(max(b[0] - a[0], 1.0)) for a, b in pairs if 3 in (a[2], b[2]) and b[0] - a[0] <= BREAK_MS]
    out["dd_space_effect"] = mean(spaces, 5) - mean(letters, 5)
    out["dd_letter_log_sd"] = sd(letters, 5)
    out["correction_ratio"] = sum(k[2] == 5 for k in keys) / len(keys) if len(keys) >= 5 else NAN
    return out
