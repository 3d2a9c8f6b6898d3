"""The simulated camera step: constraints asked and got, and the times of frames.

Part of the simulation (see the package).
"""

from __future__ import annotations

import numpy as np

from schemas.telemetry import CameraTrack, Capture
from stream.simulation.recording import BATCH_MS, Recording

Rng = np.random.Generator
_WEBCAMS = (
    "Integrated Camera (04f2:b6d9)",
    "HD Pro Webcam C920 (046d:082d)",
    "FaceTime HD Camera",
    "USB2.0 HD UVC WebCam",
)


def film(
    rng: Rng,
    recording: Recording,
    t_ms: float,
    *,
    phone: bool = False,
    virtual: str | None = None,
) -> float:
    """Record a capture of 2 to 4 s that begins at `t_ms`; returns its end, ms.

    `virtual` names a virtual camera: its frames come on an exact clock, and nothing is known of when they were taken.
    """
    label = virtual or ("Front Camera" if phone else str(rng.choice(_WEBCAMS)))
    width, height, rate = (1280.0, 720.0, 30.0) if not phone else (1080.0, 1920.0, 30.0)
    begin = t_ms + float(rng.uniform(350, 1100))
    n = int(float(rng.uniform(2.0, 4.0)) * rate)
    gaps = np.full(n, 1000 / rate) + (0.0 if virtual else rng.normal(0.0, 2.1, n))
    if not virtual:
        gaps += 1000 / rate * (rng.random(n) < 0.015)
    shown = begin + np.cumsum(np.maximum(4.0, gaps))
    media = np.cumsum(gaps) / 1000.0
    taken = shown - rng.normal(45.0, 3.0, n)
    track = CameraTrack(
        width_px=width,
        height_px=height,
        frame_rate_hz=rate,
        facing_mode="user" if phone else None,
    )
    for k in range(int(begin // BATCH_MS), int(shown[-1] // BATCH_MS) + 1):
        rows = np.flatnonzero((shown >= k * BATCH_MS) & (shown < (k + 1) * BATCH_MS))
        if not rows.size:
            continue
        first = k == int(shown[0] // BATCH_MS)
        recording.captures.append(
            (
                float(shown[rows[0]]),
                Capture(
                    camera_label=label,
                    camera_labels=[label] if first else None,
                    asked=CameraTrack(width_px=1280.0, height_px=720.0, frame_rate_hz=30.0) if first else None,
                    reported=track if first else None,
                    delivered=track if first else None,
                    frame_t=[round(float(shown[i]) - k * BATCH_MS, 1) for i in rows],
                    media_t=[round(float(media[i]), 6) for i in rows],
                    capture_t=[None if virtual else round(float(taken[i]) - k * BATCH_MS, 1) for i in rows],
                    presented_frames=int(rows[-1]) + 1,
                    hooked_functions=[],
                ),
            )
        )
    return float(shown[-1]) + float(rng.uniform(300, 900))
