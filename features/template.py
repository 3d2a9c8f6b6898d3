"""What a device's fingerprint shares with every copy of it: a digest by which copies are counted with their accounts.

An evasion tool that is put on many machines, or one machine behind many addresses, shows the same graphics, canvas,
sound and fonts again and again under other accounts. So do machines that a maker built alike, which is why a count of
them is weak evidence. What differs between copies anyhow (the browser's version, time zone, languages, window) is left
out.
"""

import hashlib
from typing import Final

from features.hardware import is_class
from features.useragent import browser_of, is_mobile, os_of
from schemas.telemetry import Device

LEAST_RENDERINGS: Final = 2
"""Of canvas, sound and fonts: with fewer, thousands who have nothing to do with each other look alike."""


def template_of(device: Device) -> str | None:
    """Return 32 hex digits, the same for devices that look alike, or None where too little says so.

    None for a part of a device, whose rest is still being read (the whole is another one), for phones, for browsers
    that give a class of graphics or none (everybody with the same product looks alike there) and for privacy modes
    (looking alike is what they are for). canvas_hash, audio_hash and fonts_hash must be keyed already where the digest
    is kept: it is as hard to find what it stands for as they are.
    """
    agent, renderer = device.user_agent or "", device.gpu_renderer
    renderings = (device.canvas_hash, device.audio_hash, device.fonts_hash)
    if (
        device.partial
        or sum(each is not None for each in renderings) < LEAST_RENDERINGS
        or not agent
        or not renderer
        or device.ua_mobile
        or device.resist_fingerprinting
        or device.canvas_stable is False
        or device.audio_stable is False
        or is_mobile(agent)
        or is_class(renderer)
    ):
        return None
    shared = (
        os_of(agent),
        browser_of(agent),
        device.platform,
        renderer,
        device.hardware_concurrency,
        device.device_memory_gib,
        device.max_touch_points,
        device.screen_width_px,
        device.screen_height_px,
        device.color_depth_bits,
        *renderings,
    )
    return hashlib.blake2b("\x1f".join(map(repr, shared)).encode(), digest_size=16).hexdigest()
