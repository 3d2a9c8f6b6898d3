"""What a session holds of its camera step: sums over frames, shapes of tracks, and when each kind of result said what.

Every part is a sum, a least, a largest or a small set, so the order in which events and results arrive doesn't matter.
"""

import math
from itertools import pairwise
from typing import Final

import msgspec

from features.fusion import NEVER, RESULTS, Times, verdict_of
from schemas.signals import Signal
from schemas.telemetry import CameraTrack, Capture

MOST_SHAPES: Final = 4
"""Different shapes of a track that are remembered: the narrowest."""
GAP: Final = 1.8
"""A frame comes late from this many times the usual gap of its event, the lower quartile, on."""


class Camera(msgspec.Struct, array_like=True):
    """The camera step so far; a session has it from its first capture block or judged result on."""

    frames: int = 0
    """Frames whose media time is known."""
    gaps: int = 0
    """Pairs of them next to each other in one event."""
    same: int = 0
    """Pairs of one media time."""
    late: int = 0
    """Pairs further apart than is usual in their event."""
    least_gap_ms: float = math.inf
    largest_gap_ms: float = -math.inf
    """Of pairs that are apart at all."""
    first_media_s: float = math.inf
    last_media_s: float = -math.inf
    without_capture_time: int = 0
    """Frames of which nothing says when they were taken."""
    first_taken_ms: float = math.inf
    last_taken_ms: float = -math.inf
    """When frames were taken, epoch ms."""
    reported: list[float] = msgspec.field(default_factory=list)
    delivered: list[float] = msgspec.field(default_factory=list)
    """Shapes (longer side over shorter one) that tracks said, and that frames had; ascending."""
    results: dict[str, Times] = msgspec.field(default_factory=dict)
    """By kind of result: when the latest capture was that passed, that is to be reviewed, that failed."""

    def take(self, capture: Capture, effective_ms: int) -> None:
        """Take over what a capture block of an event from `effective_ms` on shows."""
        self.reported = _with_shape(self.reported, capture.reported)
        self.delivered = _with_shape(self.delivered, capture.delivered)
        media = capture.media_t
        if not media:
            return
        self.frames += len(media)
        # Plain Python: an event holds some 15 frames, for which arrays cost several times as much.
        self.first_media_s = min(self.first_media_s, *media)
        self.last_media_s = max(self.last_media_s, *media)
        gaps = [(b - a) * 1000.0 for a, b in pairwise(media)]
        moving = sorted(gap for gap in gaps if gap > 0.0)
        self.gaps += len(gaps)
        self.same += gaps.count(0.0)
        if moving:
            usual = GAP * moving[(len(moving) - 1) // 4]
            self.late += sum(gap > usual for gap in moving)
            self.least_gap_ms = min(self.least_gap_ms, moving[0])
            self.largest_gap_ms = max(self.largest_gap_ms, moving[-1])
        taken = [at for at in capture.capture_t or () if at is not None]
        self.without_capture_time += len(media) - len(taken)
        if taken:
            self.first_taken_ms = min(self.first_taken_ms, effective_ms + min(taken))
            self.last_taken_ms = max(self.last_taken_ms, effective_ms + max(taken))

    def judge(self, signal: Signal) -> None:
        """Take over what a result says of a camera step, in its provider's own terms."""
        at = _place(signal)
        if at is None:
            return
        times = list(self.results.get(signal.kind, NEVER))
        times[at] = max(times[at], signal.effective_at)
        self.results[signal.kind] = (times[0], times[1], times[2])


def is_judged(signal: Signal) -> bool:
    """Whether a result says anything of a camera step."""
    return _place(signal) is not None


def _place(signal: Signal) -> int | None:
    if signal.kind not in RESULTS:
        return None
    verdict = verdict_of(signal)
    return None if verdict is None else ("pass", "review", "fail").index(verdict)


def _with_shape(known: list[float], track: CameraTrack | None) -> list[float]:
    if track is None or not track.width_px or not track.height_px:
        return known
    width, height = track.width_px, track.height_px
    shape = round(max(width, height) / min(width, height), 3)
    return known if shape in known else sorted({*known, shape})[:MOST_SHAPES]
