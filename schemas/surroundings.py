"""What a telemetry event reports of the session's surroundings: device and browser, camera, network.

Behaviour, and the event itself, are in `schemas.telemetry`.
"""

from typing import Annotated, Literal

from msgspec import Meta

from schemas.base import (
    MAX_SAMPLES,
    Block,
    Count,
    Country,
    LongText,
    Millis,
    NumberColumn,
    OffsetColumn,
    OffsetMs,
    Ref,
    Text,
    equal_lengths,
)


class Scope(Block, kw_only=True):
    """The same attributes read in another scope (worker or iframe), to be compared with the window's."""

    user_agent: Annotated[LongText | None, Meta(description="navigator.userAgent in that scope.")] = None
    platform: Annotated[Text | None, Meta(description="navigator.platform in that scope.")] = None
    hardware_concurrency: Annotated[Count | None, Meta(description="navigator.hardwareConcurrency in that scope.")] = (
        None
    )
    device_memory_gib: Annotated[
        Annotated[float, Meta(ge=0, le=4096)] | None, Meta(description="navigator.deviceMemory, GiB.")
    ] = None
    languages: Annotated[
        Annotated[list[Text], Meta(max_length=32)] | None, Meta(description="navigator.languages.")
    ] = None
    timezone: Annotated[Text | None, Meta(description="IANA time zone of that scope.")] = None
    webdriver: Annotated[bool | None, Meta(description="navigator.webdriver in that scope.")] = None
    gpu_renderer: Annotated[Text | None, Meta(description="Unmasked WebGL renderer in that scope.")] = None


class Device(Block, kw_only=True):
    """Fingerprint attributes that the client reports of its device and browser. Absent means not collected."""

    user_agent: Annotated[LongText | None, Meta(description="navigator.userAgent.")] = None
    ua_platform: Annotated[Text | None, Meta(description="UA client hint platform.")] = None
    ua_mobile: Annotated[bool | None, Meta(description="UA client hint mobile.")] = None
    platform: Annotated[Text | None, Meta(description="navigator.platform.")] = None
    vendor: Annotated[Text | None, Meta(description="navigator.vendor.")] = None
    product_sub: Annotated[Text | None, Meta(description="navigator.productSub.")] = None
    languages: Annotated[
        Annotated[list[Text], Meta(max_length=32)] | None, Meta(description="navigator.languages.")
    ] = None
    language: Annotated[Text | None, Meta(description="navigator.language.")] = None
    timezone: Annotated[Text | None, Meta(description="IANA time zone.")] = None
    timezone_offset_min: Annotated[
        Annotated[int, Meta(ge=-1_000, le=1_000)] | None, Meta(description="Date.getTimezoneOffset, minutes.")
    ] = None
    hardware_concurrency: Annotated[Count | None, Meta(description="navigator.hardwareConcurrency, cores.")] = None
    device_memory_gib: Annotated[
        Annotated[float, Meta(ge=0, le=4096)] | None, Meta(description="navigator.deviceMemory, GiB.")
    ] = None
    max_touch_points: Annotated[Count | None, Meta(description="navigator.maxTouchPoints.")] = None
    screen_width_px: Annotated[
        Annotated[float, Meta(ge=0, le=1e6)] | None, Meta(description="screen.width, CSS px.")
    ] = None
    screen_height_px: Annotated[
        Annotated[float, Meta(ge=0, le=1e6)] | None, Meta(description="screen.height, CSS px.")
    ] = None
    avail_width_px: Annotated[
        Annotated[float, Meta(ge=0, le=1e6)] | None, Meta(description="screen.availWidth, CSS px.")
    ] = None
    avail_height_px: Annotated[
        Annotated[float, Meta(ge=0, le=1e6)] | None, Meta(description="screen.availHeight, CSS px.")
    ] = None
    outer_width_px: Annotated[
        Annotated[float, Meta(ge=0, le=1e6)] | None, Meta(description="window.outerWidth, CSS px.")
    ] = None
    outer_height_px: Annotated[
        Annotated[float, Meta(ge=0, le=1e6)] | None, Meta(description="window.outerHeight, CSS px.")
    ] = None
    color_depth_bits: Annotated[Count | None, Meta(description="screen.colorDepth, bits.")] = None
    gpu_vendor: Annotated[Text | None, Meta(description="Unmasked WebGL vendor.")] = None
    gpu_renderer: Annotated[Text | None, Meta(description="Unmasked WebGL renderer.")] = None
    plugin_count: Annotated[Count | None, Meta(description="navigator.plugins.length.")] = None
    eval_length: Annotated[Count | None, Meta(description="eval.toString().length.")] = None
    notification_permission: Annotated[Text | None, Meta(description="Notification.permission.")] = None
    notification_query: Annotated[Text | None, Meta(description="permissions.query result for notifications.")] = None
    rtt_ms: Annotated[
        Annotated[float, Meta(ge=0, le=1e6)] | None, Meta(description="navigator.connection.rtt, ms.")
    ] = None
    has_focus: Annotated[bool | None, Meta(description="document.hasFocus() when attributes were read.")] = None
    webdriver: Annotated[bool | None, Meta(description="navigator.webdriver.")] = None
    webdriver_native: Annotated[
        bool | None, Meta(description="navigator.webdriver is the browser's own getter, not a replacement.")
    ] = None
    automation_globals: Annotated[
        Annotated[list[Text], Meta(max_length=64)] | None,
        Meta(description="Names of automation tools' globals and attributes found."),
    ] = None
    cdp_open: Annotated[bool | None, Meta(description="A console serialisation probe fired.")] = None
    devtools_open: Annotated[bool | None, Meta(description="Developer tools were seen open by another cue.")] = None
    chrome_object: Annotated[bool | None, Meta(description="window.chrome exists.")] = None
    native_functions_patched: Annotated[
        Annotated[list[Text], Meta(max_length=64)] | None,
        Meta(description="Native functions found replaced or proxied."),
    ] = None
    capitals_unshifted: Annotated[
        bool | None, Meta(description="Letter keys gave capitals twice with neither Shift nor Caps Lock.")
    ] = None
    canvas_hash: Annotated[Ref | None, Meta(description="Hash of the canvas rendering.")] = None
    canvas_stable: Annotated[bool | None, Meta(description="Two canvas reads agree.")] = None
    audio_hash: Annotated[Ref | None, Meta(description="Hash of the audio rendering.")] = None
    audio_stable: Annotated[bool | None, Meta(description="Two audio reads agree.")] = None
    fonts_hash: Annotated[Ref | None, Meta(description="Hash of the fonts found.")] = None
    reduced_motion: Annotated[bool | None, Meta(description="prefers-reduced-motion: reduce.")] = None
    resist_fingerprinting: Annotated[bool | None, Meta(description="A privacy mode that fakes attributes is on.")] = (
        None
    )
    assistive_technology: Annotated[
        bool | None, Meta(description="The client or its user declares assistive technology. It only ever exempts.")
    ] = None
    worker: Annotated[Scope | None, Meta(description="The same attributes in a worker.")] = None
    iframe: Annotated[Scope | None, Meta(description="The same attributes in an iframe.")] = None
    partial: Annotated[
        bool | None,
        Meta(description="Only what was read so far: the whole follows, unless the session ends first."),
    ] = None


class CameraTrack(Block, kw_only=True):
    """What the media track says of itself, or what was asked of it."""

    width_px: Annotated[Annotated[float, Meta(ge=0, le=1e5)] | None, Meta(description="Frame width, px.")] = None
    height_px: Annotated[Annotated[float, Meta(ge=0, le=1e5)] | None, Meta(description="Frame height, px.")] = None
    frame_rate_hz: Annotated[Annotated[float, Meta(ge=0, le=1e4)] | None, Meta(description="Frames a second.")] = None
    facing_mode: Annotated[Text | None, Meta(description="user, environment, left or right.")] = None
    response_ms: Annotated[Millis | None, Meta(description="Time until the constraints were settled, ms.")] = None


class Capture(Block, kw_only=True):
    """What the capture step observed of the camera. The columns of frame times have one length."""

    camera_label: Annotated[Text | None, Meta(description="Label of the track in use.")] = None
    camera_labels: Annotated[
        Annotated[list[Text], Meta(max_length=32)] | None, Meta(description="Labels of all video inputs.")
    ] = None
    device_list_changed: Annotated[bool | None, Meta(description="devicechange fired during the capture.")] = None
    camera_switched: Annotated[bool | None, Meta(description="The track in use changed during the capture.")] = None
    asked: Annotated[CameraTrack | None, Meta(description="Constraints asked for.")] = None
    reported: Annotated[CameraTrack | None, Meta(description="Settings that the track reports.")] = None
    delivered: Annotated[CameraTrack | None, Meta(description="Sizes and rate measured on frames.")] = None
    capabilities: Annotated[
        Annotated[list[Text], Meta(max_length=64)] | None, Meta(description="Names of track capabilities.")
    ] = None
    frame_t: Annotated[OffsetColumn | None, Meta(description="Presentation times of frames, ms from event start.")] = (
        None
    )
    media_t: Annotated[NumberColumn | None, Meta(description="Media times of the same frames, s.")] = None
    capture_t: Annotated[
        Annotated[list[OffsetMs | None], Meta(max_length=MAX_SAMPLES)] | None,
        Meta(description="Capture times of the same frames, ms from event start; null where absent."),
    ] = None
    presented_frames: Annotated[Count | None, Meta(description="presentedFrames at the last callback.")] = None
    hooked_functions: Annotated[
        Annotated[list[Text], Meta(max_length=64)] | None,
        Meta(description="Media functions that are not the browser's own."),
    ] = None
    upload: Annotated[bool | None, Meta(description="A file was uploaded in place of a live capture.")] = None
    capture_ref: Annotated[Ref | None, Meta(description="Hash of the captured image or video.")] = None

    def __post_init__(self) -> None:
        equal_lengths(frame_t=self.frame_t, media_t=self.media_t, capture_t=self.capture_t)


class Network(Block, kw_only=True):
    """Facts that only the edge knows; a gateway adds them."""

    ip_ref: Annotated[Ref | None, Meta(description="Client address, or its keyed hash.")] = None
    ip_country: Annotated[Country | None, Meta(description="Country of the address; not T1 or XX.")] = None
    asn: Annotated[Count | None, Meta(description="Autonomous system number.")] = None
    asn_type: Annotated[
        Literal["residential", "mobile", "business", "education", "hosting", "unknown"] | None,
        Meta(description="What kind of network it is."),
    ] = None
    proxy: Annotated[bool | None, Meta(description="Known proxy.")] = None
    vpn: Annotated[bool | None, Meta(description="Known VPN.")] = None
    relay: Annotated[bool | None, Meta(description="Known privacy relay.")] = None
    tor: Annotated[bool | None, Meta(description="Known Tor exit.")] = None
    timezone: Annotated[Text | None, Meta(description="IANA time zone of the address.")] = None
    header_order_ref: Annotated[Ref | None, Meta(description="Hash of the order of HTTP headers.")] = None
    headers_missing: Annotated[
        Annotated[list[Text], Meta(max_length=32)] | None,
        Meta(description="Headers that this browser always sends, absent here."),
    ] = None
    user_agent: Annotated[LongText | None, Meta(description="User-Agent header.")] = None
    languages: Annotated[
        Annotated[list[Text], Meta(max_length=32)] | None,
        Meta(description="Languages of the Accept-Language header, most wanted first."),
    ] = None
    ua_platform: Annotated[Text | None, Meta(description="Sec-CH-UA-Platform header, without its quotes.")] = None
    ua_mobile: Annotated[bool | None, Meta(description="Sec-CH-UA-Mobile header.")] = None
    tls_class: Annotated[Text | None, Meta(description="Client class by TLS fingerprint, e.g. chrome, python.")] = None
    tcp_os: Annotated[
        Text | None, Meta(description="Operating system by TCP fingerprint, e.g. windows, linux, macos.")
    ] = None
    agent: Annotated[
        Literal["none", "signed", "unsigned", "spoofed"] | None,
        Meta(description="Verdict of the edge on declared agents (Web Bot Auth)."),
    ] = None
