"""The pointer's way through a session: points in time and space, presses, and where nothing was seen for a while."""

import math
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final, Literal

from schemas.telemetry import PointerKind, Telemetry, Touch

GAP_S: Final = 1.0
"""A line is broken where no sample came for so long, s."""
MAX_POINTS: Final = 6_000
"""Of a longer way, every second point goes until it fits; presses stay."""
_NEAR_PX: Final = 0.5
"""Points nearer to their neighbour than this, CSS px, look the same."""
_PRESSES: Final = (PointerKind.DOWN, PointerKind.CLICK)
_TOUCH_START: Final = 1


@dataclass(frozen=True, slots=True)
class Point:
    """A place (CSS px from the viewport's corner) at a time (s from the session's first event)."""

    t_s: float
    x: float
    y: float


@dataclass(frozen=True, slots=True)
class Line:
    """Points without a gap between them, of one finger or of the pointer."""

    kind: Literal["pointer", "touch"]
    points: list[Point]


@dataclass(frozen=True, slots=True)
class Trail:
    """The whole way. `viewport` is the last one that was told, CSS px."""

    lines: list[Line] = field(default_factory=list)
    presses: list[Point] = field(default_factory=list)
    samples: int = 0
    """Samples that were received; fewer may be drawn."""
    viewport: tuple[float, float] | None = None

    @property
    def points(self) -> list[Point]:
        """All points of all lines, in order of time."""
        return sorted((p for line in self.lines for p in line.points), key=lambda p: p.t_s)

    @property
    def box(self) -> tuple[float, float, float, float]:
        """Left, top, right and bottom of all there is to show: the viewport, and what lies beyond it."""
        points = self.points + self.presses
        width, height = self.viewport or (0.0, 0.0)
        if not points:
            return 0.0, 0.0, width or 1.0, height or 1.0
        own = (min(p.x for p in points), min(p.y for p in points), max(p.x for p in points), max(p.y for p in points))
        if self.viewport is None:
            return own[0], own[1], max(own[2], own[0] + 1.0), max(own[3], own[1] + 1.0)
        return min(0.0, own[0]), min(0.0, own[1]), max(width, own[2]), max(height, own[3])

    def at(self, t_s: float) -> Point | None:
        """Where the pointer was last seen up to a time (s)."""
        before = [p for p in self.points if p.t_s <= t_s]
        return before[-1] if before else None


def trail_of(telemetry: list[Telemetry]) -> Trail:
    """The way through telemetry events in their order."""
    if not telemetry:
        return Trail()
    start_ms = min(event.effective_at for event in telemetry)
    way: list[Point] = []
    touched = _Touched()
    presses: list[Point] = []
    samples = 0
    viewport: tuple[float, float] | None = None
    for event in telemetry:
        base_s = (event.effective_at - start_ms) / 1000.0
        if event.viewport is not None and event.viewport.width_px > 0 and event.viewport.height_px > 0:
            viewport = (event.viewport.width_px, event.viewport.height_px)
        if (pointer := event.pointer) is not None:
            samples += len(pointer.t)
            kinds = pointer.kind or [int(PointerKind.MOVE)] * len(pointer.t)
            points = [Point(base_s + t / 1000.0, x, y) for t, x, y in zip(pointer.t, pointer.x, pointer.y, strict=True)]
            way += points
            presses += [point for point, kind in zip(points, kinds, strict=True) if kind in _PRESSES]
        if event.touch is not None:
            samples += len(event.touch.t)
            presses += touched.add(event.touch, base_s)
    return Trail(_thinned([*_broken("pointer", way), *touched.lines()]), presses, samples, viewport)


class _Touched:
    """Ways of fingers: each contact is one of its own."""

    def __init__(self) -> None:
        self._done: list[Line] = []
        self._ways: dict[int, list[Point]] = {}

    def add(self, touch: Touch, base_s: float) -> list[Point]:
        """Take the contacts of one event, which begins at `base_s`; return where they began."""
        began = []
        fingers = touch.id or [0] * len(touch.t)
        for t, x, y, kind, finger in zip(touch.t, touch.x, touch.y, touch.kind, fingers, strict=True):
            point = Point(base_s + t / 1000.0, x, y)
            if kind == _TOUCH_START:
                began.append(point)
                self._done += _broken("touch", self._ways.pop(finger, []))
            self._ways.setdefault(finger, []).append(point)
        return began

    def lines(self) -> list[Line]:
        """All ways so far."""
        return [*self._done, *(line for points in self._ways.values() for line in _broken("touch", points))]


def _broken(kind: Literal["pointer", "touch"], points: list[Point]) -> list[Line]:
    """Lines between gaps; points that can't be told from their neighbours are left out."""
    found: list[Line] = []
    for point in points:
        last = found[-1].points[-1] if found else None
        if last is None or point.t_s - last.t_s > GAP_S:
            found.append(Line(kind, [point]))
        elif math.hypot(point.x - last.x, point.y - last.y) >= _NEAR_PX:
            found[-1].points.append(point)
    return found


def _thinned(lines: list[Line]) -> list[Line]:
    while sum(len(line.points) for line in lines) > MAX_POINTS and any(len(line.points) > 2 for line in lines):
        lines = [Line(line.kind, [*line.points[:-1:2], line.points[-1]]) for line in lines]
    return lines


def length_px(trail: Trail) -> float:
    """Length of all lines, CSS px."""
    return math.fsum(math.hypot(b.x - a.x, b.y - a.y) for line in trail.lines for a, b in pairwise(line.points))
