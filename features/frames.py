"""Signals of the shape and times of camera frames. No recordings of cameras stand behind them: none stands alone.

They are judged on all frames of the session so far: one event holds too few of them.
"""

from typing import Final

from features.automation import Found
from features.camera import Camera

FRAME_SIGNALS: Final = (
    "constraint_challenge_fail",
    "frame_interval_too_regular",
    "frame_duplicate_ratio",
    "frame_drop_pattern",
    "capture_time_constant",
)
"""What is judged anew with each capture block."""
LEAST_FRAMES: Final = 30
LEAST_GAPS: Final = 24
SAME_MS: Final = 0.01
LEAST_SHARE: Final = 0.3
LEAST_SHAPE_CHANGE: Final = 0.05


def frame_signals(camera: Camera, found: Found) -> None:
    """Add what the session's frames show; fewer than 30 show their shape only."""
    if _shape_differs(camera.reported, camera.delivered):
        found["constraint_challenge_fail"] = True
    if camera.frames < LEAST_FRAMES or camera.gaps < LEAST_GAPS:
        return
    duplicates = camera.same / camera.gaps
    if duplicates >= LEAST_SHARE:
        found["frame_duplicate_ratio"] = round(duplicates, 4)
    moving = camera.gaps - camera.same
    if moving >= LEAST_GAPS and camera.largest_gap_ms - camera.least_gap_ms <= SAME_MS:
        found["frame_interval_too_regular"] = round(camera.largest_gap_ms, 3)
    if moving > 0 and camera.late / moving >= LEAST_SHARE:
        found["frame_drop_pattern"] = round(camera.late / moving, 4)
    # Capture times stand still where the clock of a picture that is shown again and again does.
    if (
        camera.without_capture_time == 0
        and camera.last_taken_ms - camera.first_taken_ms <= SAME_MS
        and camera.last_media_s > camera.first_media_s
    ):
        found["capture_time_constant"] = True


def _shape_differs(reported: list[float], delivered: list[float]) -> bool:
    """Whether frames had a shape that no track said, turned by a quarter or not. Smaller frames are scaled ones."""
    return bool(reported) and any(
        all(abs(said - got) > LEAST_SHAPE_CHANGE * said for said in reported) for got in delivered
    )
