"""Signals of the camera step that need no history: labels, hooks, uploads, switches."""

import re

from features.automation import Found
from schemas.telemetry import Capture

_VIRTUAL = re.compile(
    r"\b(obs|manycam|splitcam|xsplit|snap camera|e2esoft|vcam|droidcam|epoccam|iriun|camo|ndi|nvidia broadcast|"
    r"unity (video )?capture|v4l2loopback|virtual)\b",
    re.IGNORECASE,
)


def capture_signals(capture: Capture, found: Found) -> None:
    """Add what the capture block shows."""
    label = capture.camera_label
    if label and _VIRTUAL.search(label):
        found["virtual_camera_label"] = label[:64]
    if capture.hooked_functions:
        found["media_api_hooked"] = capture.hooked_functions[0][:64]
    if capture.upload:
        found["upload_instead_of_live"] = True
    if capture.camera_switched:
        found["camera_switch_mid_capture"] = True
    if label and capture.camera_labels and label not in capture.camera_labels:
        found["label_enum_mismatch"] = True
