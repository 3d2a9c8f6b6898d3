"""Signals of the camera step that need no history: labels, hooks, uploads, switches, capabilities."""

import re

from features.automation import Found
from schemas.telemetry import Capture

_LOOPBACK = re.compile(
    r"\b(e2esoft|vcam|akvirtualcamera|unity (video )?capture|v4l2loopback|dummy video device|fake_device_\d+)\b|"
    r"^fake (video )?(device|camera)",
    re.IGNORECASE,
)
_VIRTUAL = re.compile(
    r"\b(obs|manycam|splitcam|xsplit|snap camera|droidcam|epoccam|iriun|camo|ndi|nvidia broadcast|virtual)\b",
    re.IGNORECASE,
)


def capture_signals(capture: Capture, found: Found, *, is_mobile: bool = False) -> None:
    """Add what the capture block shows. is_mobile: the session is known to be a phone's or tablet's."""
    label = capture.camera_label
    if label and _LOOPBACK.search(label):
        found["loopback_camera_label"] = label[:64]
    elif label and _VIRTUAL.search(label):
        found["virtual_camera_label"] = label[:64]
    for other in capture.camera_labels or ():
        if label and other != label and (_VIRTUAL.search(other) or _LOOPBACK.search(other)):
            found["virtual_camera_installed"] = other[:64]
    if capture.hooked_functions:
        found["media_api_hooked"] = capture.hooked_functions[0][:64]
    if capture.upload:
        found["upload_instead_of_live"] = True
    if capture.camera_switched:
        found["camera_switch_mid_capture"] = True
    if label and capture.camera_labels and label not in capture.camera_labels:
        found["label_enum_mismatch"] = True
    if capture.device_list_changed:
        found["device_list_changed"] = True
    if is_mobile and capture.capabilities and "facingMode" not in capture.capabilities:
        found["capability_implausible"] = True
