"""How often signals fire for people of recorded fingerprints: written by `models.fingerprints`."""

from typing import Final

RATES: Final[dict[str, dict[str, tuple[int, int]]]] = {
    "chrome_windows_2023": {
        "headless_ua": (0, 6926),
        "plugins_inconsistent": (38, 6926),
        "headless_like": (0, 6926),
        "impossible_hardware": (0, 6926),
        "software_renderer": (650, 6926),
        "emulator": (0, 6926),
        "ua_platform_mismatch": (0, 6926),
        "gpu_os_mismatch": (0, 6926),
        "screen_contradiction": (0, 6926),
    },
    "user_agents_intoli": {
        "headless_ua": (0, 3433),
        "plugins_inconsistent": (33, 3433),
        "rtt_zero": (896, 3433),
        "emulator": (0, 3433),
        "ua_platform_mismatch": (692, 3433),
    },
    "sessions": {
        "click_without_move": (0, 384),
        "press_without_rest": (17, 384),
        "cdp_rate": (8, 2728),
        "zero_ms_hold": (0, 6838),
    },
}
"""(people for whom it fires, people) by recording and signal."""
