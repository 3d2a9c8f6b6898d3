"""What a session holds besides sample sums: who, where, since when, which events were seen, what was decided.

`Meta` is stored beside the numeric row (codec.py). It is changed in place, by `observe` for each new telemetry event,
and by the pipeline and the engine for what they own.
"""

import math
from typing import Literal

import msgspec

from features import velocity
from features.camera import Camera, is_judged
from features.template import template_of
from features.useragent import is_mobile
from features.vouching import vouched_by
from schemas.risk import CHANNELS
from schemas.signals import Signal
from schemas.telemetry import Device, Network, Telemetry

SEQUENCE_WINDOW = 256
"""Sequence numbers below the highest whose arrival is remembered."""

CLOCK_STEP_MS = 5_000
"""How far behind the latest one an event must begin for its clock to have been set back, ms."""
MAX_RECENT_SIGNALS = 16
MAX_UPSTREAM = 16

BLOCKS: tuple[str, ...] = (
    "pointer",
    "touch",
    "scroll",
    "keys",
    "motion",
    "form",
    "focus",
    "device",
    "capture",
    "network",
)
"""Telemetry blocks in the order of the bits of `Meta.blocks`."""
_POINTER, _TOUCH, _SCROLL, _KEYS, _MOTION, _FORM, _FOCUS, _DEVICE, _CAPTURE, _NETWORK = (
    1 << bit for bit in range(len(BLOCKS))
)

Sequence = Literal["new", "duplicate", "too_old"]


class SignalRecord(msgspec.Struct, array_like=True):
    """A derived signal that fired in the session; mirrors schemas.risk.SignalValue."""

    value: bool | float | str | None
    severity: Literal["strong", "medium", "weak"]
    confidence: Literal["low", "medium", "high"]
    exempt: str | None = None


class Upstream(msgspec.Struct, array_like=True):
    """One upstream result, compact: what fusion may need later."""

    kind: str
    provider: str
    outcome: str
    risk: float | None
    verdict: str | None
    quality: float | None
    effective_ms: int


class Compared(msgspec.Struct, array_like=True):
    """What is known of the session's movements beside those of other sessions (`features.movement`)."""

    compared: int = 0
    """Movements that were looked up."""
    kept: int = 0
    """Movements that were put where those of later sessions are looked up."""
    near: bytes = b""
    """Of the latest ones, how near another session's movement came, a byte each, as models/movement_match.py says."""
    pending: list[bytes] = msgspec.field(default_factory=list)
    """Movements that wait for their answer, packed (models/movement_match.py), oldest first."""


class Meta(msgspec.Struct, array_like=True):
    """A session's slow-changing part. Times are epoch ms; 0 or None means not known yet."""

    flow: str = ""
    tenant: str = ""
    account_ref: str | None = None
    device_ref: str | None = None
    ip_ref: str | None = None
    ip_country: str | None = None
    ref_key_version: str | None = None
    pointer_type: str = ""
    viewport_width_px: float = 0.0
    viewport_height_px: float = 0.0
    collector: str = ""
    sampling_interval_ms: float = 0.0
    first_effective_ms: int = 0
    last_effective_ms: int = 0
    first_ingested_ms: int = 0
    last_ingested_ms: int = 0
    n_events: int = 0
    highest_sequence: int = -1
    window: bytes = b""
    recent_signals: list[str] = msgspec.field(default_factory=list)
    signals: dict[str, SignalRecord] = msgspec.field(default_factory=dict)
    blocks: int = 0
    upstream: list[Upstream] = msgspec.field(default_factory=list)
    assistive: bool = False
    privacy_mode: bool = False
    reduced_motion: bool = False
    mobile: bool = False
    ime: bool = False
    ended: bool = False
    state_cold: bool = False
    evaluations: int = 0
    raw_max: list[float] = msgspec.field(default_factory=lambda: [math.nan] * len(CHANNELS))
    latched_action: str | None = None
    latched_evaluation: int = 0
    counters: velocity.Parts = velocity.NOTHING_KNOWN
    counters_as_of_ms: int = 0
    link_bucket_ms: int = 0
    ip_changes: int = 0
    logged_ratio: float = -1.0
    """Sampling ratio under which the session's vectors are logged; 0: they are not, -1: not decided yet."""
    camera: Camera | None = None
    """The camera step, once there was anything of it."""
    movements: Compared | None = None
    """None: none has ended yet, or none is compared."""
    vouched: Literal["", "trusted", "control"] = ""
    """Whether an upstream result showed that a genuine person is behind the session; see `features.vouching`."""
    capture_ref: str | None = None
    """Hash of the latest image or video that was captured."""
    capture_counters: velocity.Part = velocity.UNKNOWN
    clock_behind: bool = False
    """Whether the latest event that came in its order began more than `CLOCK_STEP_MS` before another one."""
    clock_steps: int = 0
    """How often that became so."""
    template_ref: str | None = None
    """Digest of what the latest device block shares with other machines made alike; see `features.template`."""
    template_counters: velocity.Part = velocity.UNKNOWN

    def seen(self, sequence: int) -> Sequence:
        """Whether an event of this number has arrived: "too_old" is below the window, where nobody remembers."""
        below = self.highest_sequence - sequence
        if below < 0:
            return "new"
        if below >= SEQUENCE_WINDOW:
            return "too_old"
        at, bit = divmod(below, 8)
        return "duplicate" if at < len(self.window) and self.window[at] >> bit & 1 else "new"

    def mark(self, sequence: int) -> None:
        """Remember that an event of this number has arrived. Numbers below the window are forgotten at once.

        Bit i (byte i // 8, from the least significant bit) of `window` stands for `highest_sequence - i`.
        """
        bits = int.from_bytes(self.window, "little")
        if sequence > self.highest_sequence:
            ahead = sequence - self.highest_sequence
            bits = (bits << ahead | 1) & (1 << SEQUENCE_WINDOW) - 1 if ahead < SEQUENCE_WINDOW else 1
            self.highest_sequence = sequence
        elif self.highest_sequence - sequence < SEQUENCE_WINDOW:
            bits |= 1 << self.highest_sequence - sequence
        self.window = bits.to_bytes((bits.bit_length() + 7) // 8, "little")

    def observe(self, event: Telemetry, ingested_ms: int) -> None:
        """Take over what a new telemetry event says of the session. The first value of a reference is kept."""
        self._touch(event.flow, event.tenant, event.effective_at, ingested_ms)
        if self.account_ref is None and event.account_ref is not None:
            self.account_ref = event.account_ref
            self.link_bucket_ms = 0
        if self.device_ref is None and event.device_ref is not None:
            self.device_ref = event.device_ref
            self.link_bucket_ms = 0
        if event.ref_key_version is not None:
            self.ref_key_version = event.ref_key_version
        behind = self.last_effective_ms - event.effective_at > CLOCK_STEP_MS
        # What comes late begins earlier of course, and an upstream result's time is of another clock.
        if behind is not self.clock_behind and event.sequence == self.highest_sequence and not self.upstream:
            self.clock_behind = behind
            self.clock_steps += behind
        collector = event.collector
        self.collector = collector.name
        self.sampling_interval_ms = collector.sampling_interval_ms
        viewport = event.viewport
        if viewport is not None:
            self.viewport_width_px = viewport.width_px
            self.viewport_height_px = viewport.height_px
        # Most events hold a pointer block and little else: each block is asked for once.
        blocks = self.blocks
        pointer = event.pointer
        if pointer is not None:
            blocks |= _POINTER
            if pointer.t and (pointer.pointer_type != "unknown" or not self.pointer_type):
                self.pointer_type = pointer.pointer_type
        if event.touch is not None:
            blocks |= _TOUCH
        if event.scroll is not None:
            blocks |= _SCROLL
        keys = event.keys
        if keys is not None:
            blocks |= _KEYS
            if keys.ime_count > 0:
                self.ime = True
        if event.motion is not None:
            blocks |= _MOTION
        if event.form is not None:
            blocks |= _FORM
        if event.focus is not None:
            blocks |= _FOCUS
        device = event.device
        if device is not None:
            blocks |= _DEVICE
            self._observe_device(device)
        capture = event.capture
        if capture is not None:
            blocks |= _CAPTURE
            if self.camera is None:
                self.camera = Camera()
            self.camera.take(capture, event.effective_at)
            self._observe_capture(capture.capture_ref)
        network = event.network
        if network is not None:
            blocks |= _NETWORK
            self._observe_network(network)
        self.blocks = blocks
        if event.end is not None:
            self.ended = True

    def _observe_capture(self, ref: str | None) -> None:
        if ref is not None and ref != self.capture_ref:
            # The latest one counts; another means new links, and what was counted was the other's.
            self.capture_ref = ref
            self.capture_counters = velocity.UNKNOWN
            self.link_bucket_ms = 0

    def _observe_device(self, device: Device) -> None:
        self.assistive |= bool(device.assistive_technology)
        self.privacy_mode |= bool(device.resist_fingerprinting)
        self.reduced_motion |= bool(device.reduced_motion)
        self.mobile |= bool(device.ua_mobile) or is_mobile(device.user_agent or "")
        template = template_of(device)
        if template is not None and template != self.template_ref:
            # As with a capture: the latest one counts, and what was counted was the other's.
            self.template_ref = template
            self.template_counters = velocity.UNKNOWN
            self.link_bucket_ms = 0

    def _observe_network(self, network: Network) -> None:
        if network.ip_ref is not None and network.ip_ref != self.ip_ref:
            # The latest address counts; a change means new links.
            self.ip_changes += self.ip_ref is not None
            self.ip_ref = network.ip_ref
            self.link_bucket_ms = 0
        if network.ip_country is not None and network.ip_country != self.ip_country:
            self.ip_country = network.ip_country
            self.link_bucket_ms = 0
        # Who doesn't agree to device facts is on a phone all the same.
        self.mobile |= bool(network.ua_mobile) or is_mobile(network.user_agent or "")

    def observe_signal(self, signal: Signal, ingested_ms: int) -> bool:
        """Take over an upstream result. False: this result is already known, nothing changed."""
        if signal.event_id in self.recent_signals:
            return False
        self._touch(signal.flow, signal.tenant, signal.effective_at, ingested_ms)
        if signal.account_ref is not None and self.account_ref is None:
            self.account_ref = signal.account_ref
            self.link_bucket_ms = 0
        if signal.device_ref is not None and self.device_ref is None:
            self.device_ref = signal.device_ref
            self.link_bucket_ms = 0
        if signal.refs is not None:
            self._observe_capture(signal.refs.capture_ref)
        self.recent_signals = [*self.recent_signals[-(MAX_RECENT_SIGNALS - 1) :], signal.event_id]
        if signal.routing is not None and signal.routing.shadow:
            return True  # asked for comparison only: it never decides
        self.vouched = self.vouched or vouched_by(signal, stepped_up=self.latched_action == "step_up")
        result = Upstream(
            signal.kind,
            signal.provider,
            signal.outcome,
            upstream_risk(signal),
            signal.verdict,
            signal.quality,
            signal.effective_at,
        )
        self.upstream = [*self.upstream[-(MAX_UPSTREAM - 1) :], result]
        if is_judged(signal):
            if self.camera is None:
                self.camera = Camera()
            self.camera.judge(signal)
        return True

    def has(self, block: str) -> bool:
        """Whether the session has shown this telemetry block."""
        return bool(self.blocks >> BLOCKS.index(block) & 1)

    def _touch(self, flow: str, tenant: str, effective_ms: int, ingested_ms: int) -> None:
        if self.n_events == 0:
            self.first_effective_ms = effective_ms
            self.first_ingested_ms = ingested_ms
            self.flow = self.flow or flow
            self.tenant = self.tenant or tenant
        self.last_effective_ms = max(self.last_effective_ms, effective_ms)
        self.last_ingested_ms = max(self.last_ingested_ms, ingested_ms)
        self.n_events += 1


def upstream_risk(signal: Signal) -> float | None:
    """An upstream score turned so that high is risk, scaled to 0..1 where the provider's range is known."""
    if signal.score is None or signal.direction is None:
        return None
    score = signal.score
    if signal.score_min is not None and signal.score_max is not None:
        score = min(max((score - signal.score_min) / (signal.score_max - signal.score_min), 0.0), 1.0)
    elif not 0.0 <= score <= 1.0:
        return None
    return score if signal.direction == "high_is_risk" else 1.0 - score
