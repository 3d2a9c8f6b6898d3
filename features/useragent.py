"""What a user agent string claims (system, engine, mobile, headless): claims only, lies are found elsewhere."""

import re
from typing import Literal

Os = Literal["windows", "macos", "linux", "android", "ios", "chromeos", "other"]
Browser = Literal["chrome", "firefox", "safari", "other"]

_HEADLESS = re.compile(r"headless|phantomjs|slimerjs|electron", re.IGNORECASE)
_EMULATOR = re.compile(
    r"\b(sdk_g?phone\w*|google_sdk|Android SDK built for \w+|Genymotion|vbox86p|goldfish|ranchu)\b", re.IGNORECASE
)
_EMULATED_GPU = re.compile(r"Android Emulator|Genymotion|vbox|goldfish", re.IGNORECASE)
_MOBILE = re.compile(r"\bMobile\b|iPhone|iPod|Android(?!.*\b(TV|CrKey)\b)")


def os_of(user_agent: str) -> Os:
    """Operating system that a user agent claims."""
    if "Windows" in user_agent:
        return "windows"
    if "Android" in user_agent:
        return "android"
    if "iPhone" in user_agent or "iPad" in user_agent or "iPod" in user_agent:
        return "ios"
    if "Macintosh" in user_agent or "Mac OS X" in user_agent:
        return "macos"
    if "CrOS" in user_agent:
        return "chromeos"
    if "Linux" in user_agent or "X11" in user_agent:
        return "linux"
    return "other"


def browser_of(user_agent: str) -> Browser:
    """Engine family that a user agent claims: every browser on iOS is Safari's."""
    if os_of(user_agent) == "ios":
        return "safari"
    if "Firefox/" in user_agent:
        return "firefox"
    if "Chrome/" in user_agent or "Chromium/" in user_agent:
        return "chrome"
    if "Safari/" in user_agent and "Version/" in user_agent:
        return "safari"
    return "other"


def is_mobile(user_agent: str) -> bool:
    """Whether it claims a phone or tablet."""
    return bool(_MOBILE.search(user_agent))


def is_headless(user_agent: str) -> bool:
    """Whether it says itself that no window is shown, or names a scripted shell."""
    return bool(_HEADLESS.search(user_agent))


def is_emulator(user_agent: str, gpu_renderer: str) -> bool:
    """Whether it claims an emulated Android, by its model or by what draws for it."""
    return "Android" in user_agent and bool(_EMULATOR.search(user_agent) or _EMULATED_GPU.search(gpu_renderer))


def platform_os(platform: str) -> Os:
    """Operating system of navigator.platform or of the client hint platform."""
    lower = platform.lower()
    if lower.startswith("win"):
        return "windows"
    if lower.startswith("mac"):
        return "macos"
    if lower in {"iphone", "ipad", "ipod", "ios"}:
        return "ios"
    if "android" in lower:
        return "android"
    if "chrome os" in lower or "cros" in lower or lower == "chromium os":
        return "chromeos"
    if lower.startswith("linux"):
        return "linux"
    return "other"
