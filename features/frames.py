"""Signals of the shape and times of camera frames. No recordings of cameras stand behind them: none stands alone."""

from typing import Final

import numpy as np

from features.automation import Found
from schemas.telemetry import CameraTrack, Capture

LEAST_FRAMES: Final = 30
SAME_MS: Final = 0.01
LEAST_SHARE: Final = 0.3
GAP: Final = 1.8
LEAST_ASPECT_CHANGE: Final = 0.05


def frame_signals(capture: Capture, found: Found) -> None:
    """Add what the block's frames show; fewer than 30 show nothing."""
    if _shape_differs(capture.reported, capture.delivered):
        found["constraint_challenge_fail"] = True
    media = capture.media_t
    if media is None or len(media) < LEAST_FRAMES:
        return
    gaps = np.diff(np.array(media)) * 1000.0
    duplicates = float((gaps == 0.0).mean())
    if duplicates >= LEAST_SHARE:
        found["frame_duplicate_ratio"] = round(duplicates, 4)
    moving = gaps[gaps > 0.0]
    if len(moving) >= LEAST_FRAMES - 1 and float(np.ptp(moving)) <= SAME_MS:
        found["frame_interval_too_regular"] = round(float(moving.mean()), 3)
    if len(moving) > 0:
        dropped = float((moving > GAP * np.quantile(moving, 0.25)).mean())
        if dropped >= LEAST_SHARE:
            found["frame_drop_pattern"] = round(dropped, 4)
    # Frame times stand still where the clock of a picture that is shown again and again does.
    captured = capture.capture_t
    if captured is not None and None not in captured and len(set(captured)) == 1 and media[-1] > media[0]:
        found["capture_time_constant"] = True


def _shape_differs(reported: CameraTrack | None, delivered: CameraTrack | None) -> bool:
    """Whether frames have another aspect than the track says, turned by a quarter or not. Smaller ones are scaled."""
    if reported is None or delivered is None:
        return False
    said, got = _aspect(reported), _aspect(delivered)
    return said is not None and got is not None and abs(said - got) > LEAST_ASPECT_CHANGE * said


def _aspect(track: CameraTrack) -> float | None:
    """Longer side over shorter one, from 1."""
    width, height = track.width_px, track.height_px
    return max(width, height) / min(width, height) if width and height else None
