"""Telemetry that no browser ever saw: what each forger sends, as events with the time at which each is sent.

Pure: the seed decides. A forger knows the contract, as anybody does who reads the collector, and lies in one way each.
Most put their own form on it; those of the group `in_form` write every event as the collector does.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from hashlib import blake2b
from typing import Any, Final

import msgspec
import numpy as np

from schemas.telemetry import Collector, Device, Keys, Pointer, Viewport
from stream.demo.page.scripted import as_client
from stream.simulation.people import Visit, person
from stream.simulation.population import stranger
from stream.simulation.recording import cut

COLLECTOR: Final = Collector(name="tellwire-web", version="0.1.0", sampling_interval_ms=0.5)
"""The collector that forgers claim to be."""
SKEW_MS: Final = 2 * 3_600_000
BACK_MS: Final = 30_000
JUMP: Final = 3_000_000
LONGEST_MS: Final = 20_000
"""Forged visits are cut off after this: nobody waits for more."""
BARE: Final[Mapping[str, str]] = {}
"""What a plain HTTP client sends of its own accord is its own matter."""


@dataclasses.dataclass(slots=True)
class Forgery:
    """What one forged session sends. Events are as a client sends them, without the nonce, which the sender puts in."""

    events: list[tuple[int, dict[str, Any]]]
    """With the time, ms from the start, at which each is sent; in this order."""
    headers: Mapping[str, str]
    sent_at_shift_ms: int = 0
    """How far the clock that it sends by is ahead."""
    foreign_nonce: bool = False
    """It shows another session's nonce."""
    twice: bool = False
    """The same is sent in a session before, which is not judged."""


Sample = Mapping[str, Any]
"""A fingerprint as `redteam/fingerprints.py` writes it."""


def forge(name: str, session_id: str, start_ms: int, seed: int, sample: Sample | None, other: Sample | None) -> Forgery:
    """Return what the attack `name` sends in a session that begins at `start_ms` (epoch ms).

    sample, other: sampled fingerprints, for the attacks that need them. Raises KeyError for a name that is none.
    """
    rng = np.random.default_rng(seed)
    visit = _visit(rng, sample)
    if name == "columns-fabricated":
        return Forgery(_fabricated(rng, visit, session_id, start_ms), browser_headers(visit))
    forgery = Forgery(_events(visit, session_id, start_ms), browser_headers(visit))
    _LIES[name](forgery, sample, other)
    return forgery


def _visit(rng: np.random.Generator, sample: Sample | None) -> Visit:
    visit = person(rng, "mouse", "signup")
    if sample is not None:
        visit.machine.device = device_of(sample)
        screen = sample["screen"]
        visit.machine.viewport = Viewport(
            width_px=float(screen["innerWidth"] or screen["width"]),
            height_px=float(screen["innerHeight"] or screen["height"]),
            device_pixel_ratio=float(screen["devicePixelRatio"]),
        )
    return visit


def _events(visit: Visit, session_id: str, start_ms: int) -> list[tuple[int, dict[str, Any]]]:
    made = cut(visit.recording, stranger(visit, session_id, collector=COLLECTOR), start_ms)
    return [(at_ms, as_client(event)) for at_ms, event in made if at_ms <= LONGEST_MS]


def device_of(sample: Sample) -> Device:
    """The device block of a sampled fingerprint: what it says, and what a forger adds so as not to be asked."""
    navigator, screen, card = sample["navigator"], sample["screen"], sample.get("videoCard") or {}
    hints = navigator.get("userAgentData") or {}
    said = {
        "user_agent": navigator["userAgent"],
        "platform": navigator["platform"],
        "vendor": navigator["vendor"],
        "product_sub": navigator["productSub"],
        "languages": list(navigator["languages"]),
        "language": navigator["language"],
        "hardware_concurrency": navigator["hardwareConcurrency"],
        "device_memory_gib": navigator.get("deviceMemory"),
        "max_touch_points": navigator["maxTouchPoints"],
        "ua_platform": hints.get("platform"),
        "ua_mobile": hints.get("mobile"),
        "screen_width_px": screen["width"],
        "screen_height_px": screen["height"],
        "avail_width_px": screen["availWidth"],
        "avail_height_px": screen["availHeight"],
        "outer_width_px": screen["outerWidth"],
        "outer_height_px": screen["outerHeight"],
        "color_depth_bits": screen["colorDepth"],
        "gpu_vendor": card.get("vendor"),
        "gpu_renderer": card.get("renderer"),
        "plugin_count": len((sample.get("pluginsData") or {}).get("plugins", [])),
        "timezone": "Europe/Berlin",
        "timezone_offset_min": -60,
        "webdriver": False,
        "webdriver_native": True,
        "automation_globals": [],
        "has_focus": True,
    }
    return msgspec.convert({name: value for name, value in said.items() if value is not None}, Device, strict=False)


def browser_headers(visit: Visit) -> dict[str, str]:
    """Headers that a browser of this device sends with a request of the page's own."""
    device = visit.machine.device
    agent = device.user_agent or "Mozilla/5.0"
    headers = {
        "User-Agent": agent,
        "Accept": "*/*",
        "Accept-Encoding": "gzip, deflate, br, zstd",
        "Accept-Language": _accepted(device.languages or ["en-US", "en"]),
        "Sec-Fetch-Site": "same-site",
        "Sec-Fetch-Mode": "cors",
        "Sec-Fetch-Dest": "empty",
    }
    if "Chrome/" in agent:
        version = agent.split("Chrome/")[1].split(".")[0]
        headers["sec-ch-ua"] = f'"Chromium";v="{version}", "Not?A_Brand";v="99"'
        headers["sec-ch-ua-mobile"] = "?1" if device.ua_mobile else "?0"
        headers["sec-ch-ua-platform"] = f'"{device.ua_platform or "Windows"}"'
    return headers


def _accepted(languages: list[str]) -> str:
    weighed = [one if n == 0 else f"{one};q={max(0.1, 1 - 0.1 * n):.1f}" for n, one in enumerate(languages[:6])]
    return ",".join(weighed)


def _sampled_headers(sample: Sample) -> dict[str, str]:
    return {
        name: str(value) for name, value in sample["headers"].items() if name.lower() != "upgrade-insecure-requests"
    }


def _bare(forgery: Forgery, *_: Sample | None) -> None:
    forgery.headers = BARE


def _nothing(*_: object) -> None:
    pass


def _own_headers(forgery: Forgery, sample: Sample | None, _: Sample | None) -> None:
    if sample is not None:
        forgery.headers = _sampled_headers(sample)


def _other_headers(forgery: Forgery, _: Sample | None, other: Sample | None) -> None:
    if other is not None:
        forgery.headers = _sampled_headers(other)


def _foreign(forgery: Forgery, *_: Sample | None) -> None:
    forgery.foreign_nonce = True


def _ahead(forgery: Forgery, *_: Sample | None) -> None:
    forgery.sent_at_shift_ms = SKEW_MS
    for _at, event in forgery.events:
        event["effective_at"] += SKEW_MS


def _backwards(forgery: Forgery, *_: Sample | None) -> None:
    for number, (_at, event) in enumerate(forgery.events):
        if number % 3 == 2:
            event["effective_at"] -= BACK_MS


def _jumping(forgery: Forgery, *_: Sample | None) -> None:
    for number, (_at, event) in enumerate(forgery.events):
        event["sequence"] = number + JUMP * (number % 2)


def _again(forgery: Forgery, *_: Sample | None) -> None:
    forgery.twice = True


def _in_form(lie: Callable[[Forgery, Sample | None, Sample | None], None]) -> Callable[..., None]:
    """The lie, told in the collector's own form: ids as it makes them."""

    def told(forgery: Forgery, sample: Sample | None, other: Sample | None) -> None:
        lie(forgery, sample, other)
        for _at, event in forgery.events:
            event["event_id"] = blake2b(event["event_id"].encode(), digest_size=16).hexdigest()

    return told


_LIES: Final[Mapping[str, Callable[[Forgery, Sample | None, Sample | None], None]]] = {
    "forged-bare": _bare,
    "forged-headers": _nothing,
    "nonce-reused": _foreign,
    "clock-skewed": _ahead,
    "clock-backwards": _backwards,
    "sequence-impossible": _jumping,
    "payload-copied": _again,
    "sampled-fingerprint": _own_headers,
    "sampled-fingerprint-other-headers": _other_headers,
    "in-form": _in_form(_nothing),
    "in-form-bare": _in_form(_bare),
    "in-form-clock-skewed": _in_form(_ahead),
    "in-form-clock-backwards": _in_form(_backwards),
    "in-form-copied": _in_form(_again),
}
"""How each forger departs from a visit that hangs together; who fabricates columns makes none first."""
NAMES: Final = (*_LIES, "columns-fabricated")
SAMPLED: Final = frozenset(("sampled-fingerprint", "sampled-fingerprint-other-headers"))
"""Attacks that need sampled fingerprints."""


def _fabricated(
    dice: np.random.Generator, visit: Visit, session_id: str, start_ms: int
) -> list[tuple[int, dict[str, Any]]]:
    """Twelve batches from a table: lines in equal steps at equal times, clicks on the spot, keys held for no time."""
    made = []
    for number in range(12):
        count = 30
        x0, y0, x1, y1 = (int(dice.integers(50, 900)) for _ in range(4))
        event: dict[str, Any] = {
            "type": "capture.telemetry.v1",
            "event_id": f"{session_id}.{number}",
            "session_id": session_id,
            "sequence": number,
            "effective_at": start_ms + 500 * number,
            "collector": msgspec.to_builtins(COLLECTOR),
            "pointer": msgspec.to_builtins(
                Pointer(
                    t=[16.0 * n for n in range(count)],
                    x=[round(x0 + (x1 - x0) * n / (count - 1), 1) for n in range(count)],
                    y=[round(y0 + (y1 - y0) * n / (count - 1), 1) for n in range(count)],
                    kind=[0] * (count - 2) + [1, 2],
                    button=[0] * (count - 2) + [1, 1],
                    pointer_type="mouse",
                    coalesced_count=0,
                )
            ),
            "keys": msgspec.to_builtins(
                Keys(
                    down=[40.0 * n for n in range(10)],
                    up=[40.0 * n for n in range(10)],
                    key_class=[1] * 10,
                )
            ),
        }
        if number == 0:
            event["device"] = msgspec.to_builtins(visit.machine.device)
            event["viewport"] = msgspec.to_builtins(visit.machine.viewport)
        if number == 11:
            event["end"] = {"reason": "completed"}
        made.append((500 * (number + 1), event))
    return made
