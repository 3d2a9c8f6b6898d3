"""A small hand-written set of coherent devices, browsers and networks that simulated people and bots claim to have.

Part of the simulation (see the package). Attributes agree with each other as on the real thing (user agent, platform,
engine, GPU, screen); versions and models are examples, and how often they occur here says nothing about the world.
"""

from __future__ import annotations

import dataclasses
import hashlib
from typing import Literal

import msgspec
import numpy as np

from features.hardware import cores_fit, memory_fits, screen_fits
from schemas.telemetry import Device, Network, Scope, Viewport

Rng = np.random.Generator
Engine = Literal["chromium", "gecko", "webkit"]

_CHROME = "Mozilla/5.0 ({os}) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/{v}.0.0.0 {mobile}Safari/537.36{suffix}"
_FIREFOX = "Mozilla/5.0 ({os}; rv:{v}.0) Gecko/20100101 Firefox/{v}.0"
_SAFARI = "Mozilla/5.0 ({os}) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.5 {mobile}Safari/{build}"
_D3D = "ANGLE ({vendor}, {model} Direct3D11 vs_5_0 ps_5_0, D3D11)"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """One kind of device with one browser; screens in CSS px with their device pixel ratio."""

    name: str
    engine: Engine
    user_agent: str
    platform: str
    hint: str | None
    """Platform by UA client hint; only Chromium has it."""
    gpus: tuple[tuple[str, str], ...]
    cores: tuple[int, ...]
    screens: tuple[tuple[int, int, float], ...]
    taskbar_px: int
    touch_points: int = 0
    phone: bool = False


def _chrome(os: str, version: int = 142, suffix: str = "", mobile: str = "") -> str:
    return _CHROME.format(os=os, v=version, suffix=suffix, mobile=mobile)


_WINDOWS, _MAC, _LINUX = (
    "Windows NT 10.0; Win64; x64",
    "Macintosh; Intel Mac OS X 10_15_7",
    "X11; Linux x86_64",
)
_INTEL = (
    "Google Inc. (Intel)",
    _D3D.format(vendor="Intel", model="Intel(R) UHD Graphics 620 (0x00003EA0)"),
)
_IRIS = (
    "Google Inc. (Intel)",
    _D3D.format(vendor="Intel", model="Intel(R) Iris(R) Xe Graphics (0x00009A49)"),
)
_NVIDIA = (
    "Google Inc. (NVIDIA)",
    _D3D.format(vendor="NVIDIA", model="NVIDIA GeForce RTX 3060 (0x00002504)"),
)
_AMD = (
    "Google Inc. (AMD)",
    _D3D.format(vendor="AMD", model="AMD Radeon(TM) Graphics (0x00001638)"),
)
_METAL = tuple(
    (
        "Google Inc. (Apple)",
        f"ANGLE (Apple, ANGLE Metal Renderer: Apple {chip}, Unspecified Version)",
    )
    for chip in ("M1", "M2", "M3 Pro")
)
_PC_SCREENS = (
    (1920, 1080, 1.0),
    (1536, 864, 1.25),
    (1366, 768, 1.0),
    (2560, 1440, 1.0),
)
_MAC_SCREENS = ((1440, 900, 2.0), (1512, 982, 2.0), (1728, 1117, 2.0))

PROFILES: dict[str, Profile] = {
    p.name: p
    for p in (
        Profile(
            name="windows_chrome", engine="chromium", user_agent=_chrome(_WINDOWS), platform="Win32", hint="Windows",
            gpus=(_INTEL, _IRIS, _NVIDIA, _AMD), cores=(4, 8, 12, 16), screens=_PC_SCREENS, taskbar_px=48,
        ),
        Profile(
            name="windows_edge", engine="chromium", user_agent=_chrome(_WINDOWS, suffix=" Edg/142.0.0.0"),
            platform="Win32", hint="Windows", gpus=(_INTEL, _IRIS), cores=(4, 8), screens=_PC_SCREENS, taskbar_px=48,
        ),
        Profile(
            name="windows_firefox", engine="gecko", user_agent=_FIREFOX.format(os=_WINDOWS, v=145), platform="Win32",
            hint=None, cores=(4, 8, 16), screens=_PC_SCREENS, taskbar_px=48,
            gpus=(("Google Inc. (Intel)", _D3D.format(vendor="Intel", model="Intel(R) HD Graphics") + ", or similar"),),
        ),
        Profile(
            name="mac_chrome", engine="chromium", user_agent=_chrome(_MAC), platform="MacIntel", hint="macOS",
            gpus=_METAL, cores=(8, 10, 12), screens=_MAC_SCREENS, taskbar_px=25,
        ),
        Profile(
            name="mac_safari", engine="webkit", user_agent=_SAFARI.format(os=_MAC, mobile="", build="605.1.15"),
            platform="MacIntel", hint=None, gpus=(("Apple Inc.", "Apple GPU"),), cores=(8,), screens=_MAC_SCREENS,
            taskbar_px=25,
        ),
        Profile(
            name="linux_firefox", engine="gecko", user_agent=_FIREFOX.format(os=_LINUX, v=145),
            platform="Linux x86_64", hint=None, gpus=(("Intel", "Intel(R) HD Graphics, or similar"),),
            cores=(4, 8, 16), screens=_PC_SCREENS, taskbar_px=32,
        ),
        Profile(
            name="touch_laptop", engine="chromium", user_agent=_chrome(_WINDOWS), platform="Win32", hint="Windows",
            gpus=(_IRIS,), cores=(8, 12), screens=((1368, 912, 2.0), (1280, 853, 2.25)), taskbar_px=48, touch_points=10,
        ),
        Profile(
            name="iphone_safari", engine="webkit", phone=True, platform="iPhone", hint=None, cores=(4,), touch_points=5,
            user_agent=_SAFARI.format(
                os="iPhone; CPU iPhone OS 18_5 like Mac OS X", mobile="Mobile/15E148 ", build="604.1"
            ),
            gpus=(("Apple Inc.", "Apple GPU"),), screens=((393, 852, 3.0), (390, 844, 3.0)), taskbar_px=0,
        ),
        Profile(
            name="android_chrome", engine="chromium", phone=True,
            user_agent=_chrome("Linux; Android 10; K", mobile="Mobile "),
            platform="Linux armv81", hint="Android", gpus=(("Qualcomm", "Adreno (TM) 740"), ("ARM", "Mali-G78")),
            cores=(8,), screens=((412, 915, 2.625), (360, 800, 3.0)), taskbar_px=0, touch_points=5,
        ),
    )
}  # fmt: skip

DESKTOPS = (
    "windows_chrome",
    "windows_edge",
    "windows_firefox",
    "mac_chrome",
    "mac_safari",
    "linux_firefox",
)
PHONES = ("iphone_safari", "android_chrome")

PLACES: tuple[tuple[str, str, int, tuple[str, ...]], ...] = (
    ("DE", "Europe/Berlin", -60, ("de-DE", "de", "en")),
    ("FR", "Europe/Paris", -60, ("fr-FR", "fr", "en")),
    ("GB", "Europe/London", 0, ("en-GB", "en")),
    ("US", "America/New_York", 300, ("en-US", "en")),
    ("BR", "America/Sao_Paulo", 180, ("pt-BR", "pt", "en")),
    ("IN", "Asia/Kolkata", -330, ("en-IN", "en", "hi")),
    ("JP", "Asia/Tokyo", -540, ("ja-JP", "ja", "en")),
)
"""Country, time zone, its offset as browsers give it (minutes, in winter) and the languages of a browser there."""


@dataclasses.dataclass(slots=True, kw_only=True)
class Machine:
    """One device that a session claims: attributes, layout, network and the references of both."""

    profile: Profile
    device: Device
    viewport: Viewport
    network: Network
    device_ref: str


def token(rng: Rng, prefix: str, n_bytes: int = 8) -> str:
    """Return an opaque identifier, e.g. `dev-1f0c...`."""
    return f"{prefix}-{rng.bytes(n_bytes).hex()}"


def machine(rng: Rng, names: tuple[str, ...]) -> Machine:
    """Draw a coherent device of one of the named profiles, at a place whose network and language fit it."""
    profile = PROFILES[str(rng.choice(names))]
    country, zone, offset_min, languages = PLACES[int(rng.integers(len(PLACES)))]
    width, height, ratio = profile.screens[int(rng.integers(len(profile.screens)))]
    gpu_vendor, gpu_renderer = profile.gpus[int(rng.integers(len(profile.gpus)))]
    chromium, gecko = profile.engine == "chromium", profile.engine == "gecko"
    cores = int(rng.choice([each for each in profile.cores if cores_fit(gpu_renderer, each) is not False]))
    memory = float(rng.choice([4.0, 8.0, 8.0])) if chromium else None
    if memory is not None and memory_fits(gpu_renderer, memory, profile.user_agent) is False:
        memory = 8.0
    if screen_fits(gpu_renderer, width, height) is False:
        width, height, ratio = profile.screens[0]
    rendering = f"{profile.name}/{gpu_renderer}/{int(rng.integers(100_000))}"
    device = Device(
        user_agent=profile.user_agent,
        ua_platform=profile.hint,
        ua_mobile=profile.phone if profile.hint else None,
        platform=profile.platform,
        vendor={
            "chromium": "Google Inc.",
            "gecko": "",
            "webkit": "Apple Computer, Inc.",
        }[profile.engine],
        product_sub="20100101" if gecko else "20030107",
        languages=list(languages),
        language=languages[0],
        timezone=zone,
        timezone_offset_min=offset_min,
        hardware_concurrency=cores,
        device_memory_gib=memory,
        max_touch_points=profile.touch_points,
        screen_width_px=float(width),
        screen_height_px=float(height),
        avail_width_px=float(width),
        avail_height_px=float(height - profile.taskbar_px),
        outer_width_px=float(width),
        outer_height_px=float(height - profile.taskbar_px),
        color_depth_bits=30 if profile.engine == "webkit" and not profile.phone else 24,
        gpu_vendor=gpu_vendor,
        gpu_renderer=gpu_renderer,
        plugin_count=None if profile.phone else 5,
        eval_length=33 if chromium else 37,
        notification_permission="default",
        notification_query="prompt",
        rtt_ms=float(rng.choice([50.0, 50.0, 100.0, 150.0])) if chromium else None,
        has_focus=True,
        webdriver=False,
        webdriver_native=True,
        automation_globals=[],
        cdp_open=False,
        chrome_object=True if chromium else None,
        native_functions_patched=[],
        canvas_hash=_hash("canvas", rendering),
        canvas_stable=True,
        audio_hash=_hash("audio", profile.name, profile.platform),
        audio_stable=True,
        fonts_hash=_hash("fonts", profile.platform, country),
        reduced_motion=bool(rng.random() < 0.05),
        resist_fingerprinting=False,
        worker=Scope(
            user_agent=profile.user_agent,
            platform=profile.platform,
            hardware_concurrency=cores,
            device_memory_gib=memory,
            languages=list(languages),
            timezone=zone,
            webdriver=False if chromium else None,
            gpu_renderer=gpu_renderer,
        ),
    )
    chrome_px = 0 if profile.phone else int(rng.choice([87, 111, 123]))
    viewport = Viewport(
        width_px=float(width - (0 if profile.phone else 15)),
        height_px=float(height - profile.taskbar_px - chrome_px - (120 if profile.phone else 0)),
        device_pixel_ratio=ratio,
    )
    return Machine(
        profile=profile,
        device=device,
        viewport=viewport,
        network=_home(rng, country, zone, profile),
        device_ref=token(rng, "dev"),
    )


def hardened(rng: Rng, found: Machine) -> Machine:
    """Turn a machine into a privacy browser: faked attributes that a lie detector must not punish."""
    device = found.device
    device.resist_fingerprinting = True
    device.canvas_stable = device.audio_stable = False
    device.canvas_hash, device.audio_hash = (
        _hash("canvas", token(rng, "farbled")),
        _hash("audio", token(rng, "farbled")),
    )
    if found.profile.engine == "gecko":
        device.timezone, device.timezone_offset_min = "UTC", 0
        device.languages, device.language = ["en-US", "en"], "en-US"
        device.hardware_concurrency = 8
        device.gpu_vendor = device.gpu_renderer = "Mozilla"
        if device.worker is not None:
            device.worker = msgspec.structs.replace(
                device.worker,
                timezone="UTC",
                languages=["en-US", "en"],
                hardware_concurrency=8,
                gpu_renderer="Mozilla",
            )
    found.network.vpn = bool(rng.random() < 0.4)
    return found


def hosted(rng: Rng, found: Machine, *, tls_class: str | None = None) -> Machine:
    """Move a machine into a data centre."""
    found.network.asn, found.network.asn_type = (
        int(rng.choice([16509, 14061, 24940])),
        "hosting",
    )
    found.network.ip_ref = f"203.0.113.{int(rng.integers(1, 255))}"
    found.network.tls_class = tls_class or found.network.tls_class
    return found


def _home(rng: Rng, country: str, zone: str, profile: Profile) -> Network:
    """A network that people have at home, or a phone's, where many share an address."""
    mobile = profile.phone and bool(rng.random() < 0.6)
    low = [int(part) for part in rng.integers(1, 255, 2)]
    # Documentation and benchmark address ranges only: these are nobody's addresses.
    address = f"198.51.100.{low[0] % 24}" if mobile else f"198.18.{low[0]}.{low[1]}"
    return Network(
        ip_ref=address,
        ip_country=country,
        asn=int(rng.choice([64500, 64501, 64502])),
        asn_type="mobile" if mobile else "residential",
        proxy=False,
        vpn=False,
        relay=False,
        tor=False,
        timezone=zone,
        header_order_ref=_hash("headers", profile.engine),
        headers_missing=[],
        tls_class={"chromium": "chrome", "gecko": "firefox", "webkit": "safari"}[profile.engine],
        agent="none",
    )


def _hash(*parts: str) -> str:
    return hashlib.sha256("/".join(parts).encode()).hexdigest()[:24]
