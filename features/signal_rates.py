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
        "cores_gpu_mismatch": (18, 6926),
        "cores_unusual": (25, 6926),
        "memory_gpu_mismatch": (0, 6926),
        "screen_gpu_mismatch": (0, 6926),
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

EVASIONS: Final[dict[str, dict[str, tuple[int, int]]]] = {
    "windows chrome": {
        "cores_gpu_mismatch": (1240, 3013),
        "cores_unusual": (42, 3013),
        "memory_gpu_mismatch": (0, 3013),
        "screen_gpu_mismatch": (0, 3013),
        "any of these": (1282, 3013),
        "any medium or strong": (1253, 3013),
    },
    "macos chrome": {
        "cores_gpu_mismatch": (552, 933),
        "cores_unusual": (0, 933),
        "memory_gpu_mismatch": (211, 933),
        "screen_gpu_mismatch": (173, 933),
        "any of these": (686, 933),
        "any medium or strong": (688, 933),
    },
    "macos safari": {
        "cores_gpu_mismatch": (0, 463),
        "cores_unusual": (0, 463),
        "memory_gpu_mismatch": (0, 463),
        "screen_gpu_mismatch": (0, 463),
        "any of these": (0, 463),
        "any medium or strong": (0, 463),
    },
    "ios safari": {
        "cores_gpu_mismatch": (0, 333),
        "cores_unusual": (0, 333),
        "memory_gpu_mismatch": (0, 333),
        "screen_gpu_mismatch": (0, 333),
        "any of these": (0, 333),
        "any medium or strong": (1, 333),
    },
    "linux chrome": {
        "cores_gpu_mismatch": (45, 118),
        "cores_unusual": (6, 118),
        "memory_gpu_mismatch": (0, 118),
        "screen_gpu_mismatch": (0, 118),
        "any of these": (51, 118),
        "any medium or strong": (56, 118),
    },
}
"""(drawn fingerprints in which it fires, drawn) by claimed platform."""
