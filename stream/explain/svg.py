"""The page's pictures: the pointer's way, and scores with decisions over time, as SVG that its style sheet colours.

Colour is never alone: lines have their own dashes and labels, decisions their numbers and words.
"""

from collections.abc import Iterable, Sequence
from html import escape
from typing import Final

from schemas.risk import RiskEvent
from stream.explain import words
from stream.explain.story import Story
from stream.explain.trail import Point, Trail
from stream.plain_text import printable

WIDTH: Final = 520.0
SLICES: Final = 6
"""Slices of time that the pointer's way is coloured by; the style sheet has a colour for each."""
_LEFT, _RIGHT, _TOP = 42.0, 88.0, 12.0
_PLOT_H, _STRIP_H, _AXIS_H = 190.0, 22.0, 44.0
_LABEL_H: Final = 17.0
_MAX_TRAIL_H: Final = 460.0
_EDGE: Final = 18.0
"""Around the pointer's way, so that a flag at its edge is seen whole."""


def text_of(value: object) -> str:
    """Text that may stand in the page: nothing hidden in it, nothing that is markup."""
    return escape(printable(str(value)), quote=True)


def trail_svg(trail: Trail, story: Story, name: str = "trail") -> str:
    """The pointer's way: coloured by time, presses as rings, changes of the decision as numbered flags."""
    left, top, right, bottom = trail.box
    scale = min((WIDTH - 2 * _EDGE) / (right - left), (_MAX_TRAIL_H - 2 * _EDGE) / (bottom - top))
    width, height = (right - left) * scale + 2 * _EDGE, (bottom - top) * scale + 2 * _EDGE

    def place(point: Point) -> tuple[float, float]:
        return _EDGE + (point.x - left) * scale, _EDGE + (point.y - top) * scale

    points = trail.points
    first, last = points[0], points[-1]
    span = max(last.t_s - first.t_s, 1e-9)
    parts = []
    if trail.viewport is not None:
        x, y = place(Point(0.0, 0.0, 0.0))
        w, h = trail.viewport[0] * scale, trail.viewport[1] * scale
        parts.append(f'<rect class="view" x="{x:.1f}" y="{y:.1f}" width="{w:.1f}" height="{h:.1f}" rx="4"/>')
    for line in trail.lines:
        for number, piece in _sliced(line.points, first.t_s, span):
            drawn = " ".join("{:.1f},{:.1f}".format(*place(point)) for point in piece)
            if len(piece) == 1:
                x, y = place(piece[0])
                parts.append(f'<circle class="dot s{number}" cx="{x:.1f}" cy="{y:.1f}" r="1.6"/>')
            else:
                parts.append(f'<polyline class="way {line.kind} s{number}" points="{drawn}"/>')
    parts += ['<circle class="press" cx="{:.1f}" cy="{:.1f}" r="5"/>'.format(*place(p)) for p in trail.presses]
    x, y = place(first)
    parts.append(f'<path class="begin" d="M{x:.1f} {y - 6:.1f}l6 11h-12z"/>')
    x, y = place(last)
    parts.append(f'<rect class="finish" x="{x - 5:.1f}" y="{y - 5:.1f}" width="10" height="10"/>')
    for number, turn in enumerate(story.turns[1:], start=1):
        at = trail.at(_seen_until_s(story, turn.event))
        if at is not None:
            parts.append(_flag(*place(at), number, turn.action))
    told = (
        f"{trail.samples} samples from {first.t_s:.1f} to {last.t_s:.1f} s, {len(trail.presses)} presses"
        + (f", viewport {trail.viewport[0]:g} by {trail.viewport[1]:g} px" if trail.viewport else "")
        + "."
    )
    return _svg(name, "The pointer's way", told, width, height, parts)


def _seen_until_s(story: Story, event: RiskEvent) -> float:
    """Time of the last sample that an evaluation had seen, s from the session's first event."""
    begin_ms = min(one.effective_at for one in story.telemetry)
    answered = next((one for one in story.telemetry if one.event_id == event.event_id), None)
    blocks = () if answered is None else (answered.pointer, answered.touch)
    last_ms = max((block.t[-1] for block in blocks if block is not None and block.t), default=0.0)
    return (event.effective_at - begin_ms + last_ms) / 1000.0


def _sliced(points: Sequence[Point], begin_s: float, span_s: float) -> Iterable[tuple[int, list[Point]]]:
    """Cut a line where it passes into another slice of time; neighbours share the point at the cut."""
    piece: list[Point] = []
    number = -1
    for point in points:
        own = min(SLICES - 1, int(SLICES * (point.t_s - begin_s) / span_s))
        if own != number:
            if piece:
                yield number, piece
            piece, number = piece[-1:], own
        piece.append(point)
    if piece:
        yield number, piece


def _flag(x: float, y: float, number: int, action: str) -> str:
    return (
        f'<g class="flag {action}"><path d="M{x:.1f} {y:.1f}l-9 -14h18z"/>'
        f'<text x="{x:.1f}" y="{y - 6.5:.1f}" text-anchor="middle">{number}</text></g>'
    )


def timeline_svg(story: Story, name: str = "timeline") -> str:
    """Any-time scores of the session so far, overall and by channel, over observed time; decisions below."""
    events = story.events
    end_s = max(0.5, *(event.observed_s for event in events))
    plot_w = WIDTH - _LEFT - _RIGHT
    floor = _TOP + _PLOT_H

    def x_of(t_s: float) -> float:
        return _LEFT + plot_w * t_s / end_s

    def y_of(score: float) -> float:
        return floor - _PLOT_H * score

    parts = []
    for score in (0.0, 0.25, 0.5, 0.75, 1.0):
        y = y_of(score)
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text class="tick" x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{score:g}</text>')
    series = [("overall", [event.scores.overall_anytime for event in events])]
    series += [
        (channel, [_anytime(event, channel) for event in events])  # type: ignore[misc]
        for channel in story.channels
    ]
    times = [x_of(event.observed_s) for event in events]
    labels = []
    for line, values in reversed(series):
        drawn, last = _steps(times, values, y_of)
        if last is None:
            continue
        parts.append(f'<path class="line c-{line}" d="{drawn}"/>')
        labels.append((y_of(last), line))
    parts += [
        f'<text class="name c-{line}" x="{WIDTH - _RIGHT + 6}" y="{y + 4:.1f}">{line}</text>'
        for y, line in _spread(labels, _TOP, floor)
    ]
    parts += _strip(story, x_of, floor + 6.0)
    axis = floor + 6.0 + _STRIP_H
    for t_s in _ticks(end_s):
        parts.append(f'<text class="tick" x="{x_of(t_s):.1f}" y="{axis + 15:.1f}" text-anchor="middle">{t_s:g}</text>')
    middle = _LEFT + plot_w / 2
    parts.append(
        f'<text class="tick" x="{middle:.1f}" y="{axis + 32:.1f}" text-anchor="middle">seconds observed</text>'
    )
    turns = "; ".join(f"{words.ACTION[turn.action]} from {turn.event.observed_s:.1f} s on" for turn in story.turns)
    told = f"Overall any-time score {events[-1].scores.overall_anytime:.3f} after {end_s:.1f} s. Decisions: {turns}."
    return _svg(name, "Scores and decisions over time", told, WIDTH, axis + _AXIS_H, parts)


def _anytime(event: RiskEvent, channel: str) -> float | None:
    score = getattr(event.scores, channel)
    return None if score is None else score.score_anytime


def _steps(times: Sequence[float], values: Sequence[float | None], y_of) -> tuple[str, float | None]:  # type: ignore[no-untyped-def]
    """A path that keeps each value until the next one, and the last value; where there is none, the path is broken."""
    drawn = ""
    last: float | None = None
    for i, (x, value) in enumerate(zip(times, values, strict=True)):
        if value is None:
            last = None
            continue
        drawn += f"M{x:.1f} {y_of(value):.1f}" if last is None else f"V{y_of(value):.1f}"
        until = times[i + 1] if i + 1 < len(times) else x
        drawn += f"H{until:.1f}"
        last = value
    known = [value for value in values if value is not None]
    return drawn, known[-1] if known else None


def _spread(labels: list[tuple[float, str]], top: float, floor: float) -> list[tuple[float, str]]:
    """Labels pushed apart so that none covers another, as near to their lines as that leaves."""
    found: list[tuple[float, str]] = []
    for y, line in sorted(labels, key=lambda one: (one[0], one[1] != "overall")):
        found.append((max(y, found[-1][0] + _LABEL_H if found else top), line))
    over = found[-1][0] - floor if found else 0.0
    limit = floor
    for i in range(len(found) - 1, -1, -1):
        if over > 0 and found[i][0] > limit:
            found[i] = (limit, found[i][1])
        limit = found[i][0] - _LABEL_H
    return found


def _strip(story: Story, x_of, y: float) -> list[str]:  # type: ignore[no-untyped-def]
    """The decisions as a strip: a stretch each, with its word where there is room, its number where it changed."""
    turns = story.turns
    edges = [x_of(0.0), *(x_of(turn.event.observed_s) for turn in turns[1:]), WIDTH - _RIGHT]
    parts = []
    for number, turn in enumerate(turns):
        x, width = edges[number], max(2.0, edges[number + 1] - edges[number])
        parts.append(
            f'<rect class="strip {turn.action}" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{_STRIP_H}"/>'
        )
        word = words.ACTION[turn.action]
        if width > 8.0 * len(word):
            parts.append(f'<text class="on-strip" x="{x + 6:.1f}" y="{y + 15.5:.1f}">{word}</text>')
        if number:
            parts.append(f'<line class="turn {turn.action}" x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{y:.1f}"/>')
            parts.append(_flag(x, _TOP + 16.0, number, turn.action))
    return parts


def _ticks(end_s: float) -> list[float]:
    steps = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600)
    step = next((s for s in steps if end_s / s <= 8), end_s / 8)
    return [round(k * step, 3) for k in range(int(end_s / step + 1e-9) + 1)]


def _svg(name: str, title: str, told: str, width: float, height: float, parts: Iterable[str]) -> str:
    return (
        f'<svg role="img" aria-labelledby="{name}-t {name}-d" viewBox="0 0 {width:.0f} {height:.0f}">'
        f'<title id="{name}-t">{text_of(title)}</title><desc id="{name}-d">{text_of(told)}</desc>'
        + "".join(parts)
        + "</svg>"
    )
