"""Fingerprints as evasion tools draw them: samples of the published Bayesian networks, as device blocks.

The networks draw every attribute by the user agent alone (and that from all that were recorded), so graphics, cores,
memory and screen of a drawn fingerprint come from different machines. Only the evaluation reads them.
"""

import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np

from features.useragent import browser_of, os_of
from schemas.telemetry import Device

_MISSING: Final = "*MISSING_VALUE*"
_JSON: Final = "*STRINGIFIED*"


def draw(folder: Path, n: int, seed: int) -> Iterator[tuple[str, Device]]:
    """Draw `n` fingerprints; yields the claimed system and browser, and the device block. OSError without networks."""
    with zipfile.ZipFile(folder / "fingerprint-network-definition.zip") as archive:
        nodes = msgspec.json.decode(archive.read(archive.namelist()[0]))["nodes"]
    rng = np.random.default_rng(seed)
    for _ in range(n):
        drawn: dict[str, str] = {}
        for node in nodes:
            table = node["conditionalProbabilities"]
            for parent in node["parentNames"]:
                table = table["deeper"][drawn[parent]]
            drawn[node["name"]] = _choose(table, float(rng.random()))
        device = device_of({name: _value(text) for name, text in drawn.items()})
        agent = device.user_agent or ""
        yield f"{os_of(agent)} {browser_of(agent)}", device


def device_of(drawn: Mapping[str, Any]) -> Device:
    """The device block of one drawn fingerprint."""
    screen, card = drawn.get("screen") or {}, drawn.get("videoCard") or {}
    hints, plugins = drawn.get("userAgentData") or {}, drawn.get("pluginsData") or {}
    known = {
        "user_agent": drawn.get("userAgent"),
        "ua_platform": hints.get("platform"),
        "ua_mobile": hints.get("mobile"),
        "platform": drawn.get("platform"),
        "vendor": drawn.get("vendor"),
        "product_sub": drawn.get("productSub"),
        "hardware_concurrency": drawn.get("hardwareConcurrency"),
        "device_memory_gib": drawn.get("deviceMemory"),
        "max_touch_points": drawn.get("maxTouchPoints"),
        "screen_width_px": screen.get("width"),
        "screen_height_px": screen.get("height"),
        "avail_width_px": screen.get("availWidth"),
        "avail_height_px": screen.get("availHeight"),
        "color_depth_bits": screen.get("colorDepth"),
        "gpu_vendor": card.get("vendor"),
        "gpu_renderer": card.get("renderer"),
        "plugin_count": len(plugins["plugins"]) if "plugins" in plugins else None,
        "webdriver": drawn.get("webdriver"),
    }
    return msgspec.convert({name: value for name, value in known.items() if value is not None}, Device)


def _choose(table: Mapping[str, float], at: float) -> str:
    values: Sequence[str] = list(table)
    for value in values:
        at -= table[value]
        if at <= 0.0:
            return value
    return values[-1]


def _value(text: str) -> Any:
    if text == _MISSING:
        return None
    return msgspec.json.decode(text[len(_JSON) :]) if text.startswith(_JSON) else text
