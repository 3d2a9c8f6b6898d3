"""The transparent scorer of derived signals: weights by severity, joined as a noisy-or under caps.

Each fired signal that no exemption excuses has a weight: its severity's (or its own), times the confidence of the
observation. Risk is 1 - prod(1 - weight), where weak signals together stay under `caps.weak` and weak and medium ones
under `caps.medium`: no number of hints adds up to a proof. A signal belongs to the channel `bot` (what input looked
like), `injection` (where the picture came from, `models.injection`) or `device` (what browser and network look like).
"""

import hashlib
from collections.abc import Mapping
from typing import Annotated, Final, Literal, NamedTuple

import msgspec
from msgspec import Meta

from models.errors import ArtifactError
from schemas.base import Name
from schemas.risk import SignalValue

Share = Annotated[float, Meta(ge=0.0, le=0.999)]
SEVERITIES: Final = ("strong", "medium", "weak")
MAX_RISK: Final = 0.999


class _Levels(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    strong: Share
    medium: Share
    weak: Share


class _Caps(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    medium: Share
    weak: Share


class _Confidence(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    high: Annotated[float, Meta(ge=0.0, le=1.0)]
    medium: Annotated[float, Meta(ge=0.0, le=1.0)]
    low: Annotated[float, Meta(ge=0.0, le=1.0)]


class SignalWeights(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The artefact: every number that the score rests on."""

    format: Literal[1]
    note: str
    severity: _Levels
    caps: _Caps
    confidence: _Confidence
    bot_signals: list[Name]
    """Signals about the input itself: they count in the channel `bot`."""
    own_weight: dict[Name, Share] = {}
    """Signals whose weight is not their severity's."""
    injection_signals: list[Name] = []
    """Signals about the camera step and its results: they count in the channel `injection`."""
    injection_support: list[Name] = []
    """Signals of the channel `device` that count in `injection` as well, one severity lower, where there is a camera
    step: whoever controls the app or the browser can feed it a picture, and need not."""


DEFAULT_WEIGHTS: Final = SignalWeights(
    format=1,
    note=(
        "Set by judgement, not learnt: a strong signal alone is nearly sure, one medium signal is a doubt, two are a "
        "suspicion, weak ones only ever support. No recorded people exist for these signals yet."
    ),
    severity=_Levels(strong=0.95, medium=0.45, weak=0.1),
    caps=_Caps(medium=0.85, weak=0.3),
    confidence=_Confidence(high=1.0, medium=0.8, low=0.5),
    bot_signals=[
        "untrusted_events",
        "no_coalesced",
        "click_without_move",
        "press_without_rest",
        "zero_ms_hold",
        "cdp_rate",
        "value_without_keys",
        "keys_while_unfocused",
        "tab_hidden_activity",
        "centre_clicks",
    ],
    # A verified agent is declared, not hidden: the policy decides what it may do.
    own_weight={"agent_signed": 0.3},
    injection_signals=[
        "virtual_camera_label",
        "media_api_hooked",
        "upload_instead_of_live",
        "camera_switch_mid_capture",
        "label_enum_mismatch",
        "loopback_camera_label",
        "virtual_camera_installed",
        "device_list_changed",
        "capability_implausible",
        "constraint_challenge_fail",
        "frame_interval_too_regular",
        "frame_duplicate_ratio",
        "frame_drop_pattern",
        "capture_time_constant",
        "capture_retries",
        "cv_conflict",
        "injection_detected",
        "deepfake_detected",
        "presentation_attack",
        "liveness_failed",
        "document_tampered",
        "document_failed",
        "face_mismatch",
        "known_face",
        "result_to_review",
        "results_disagree",
        "capture_hash_reuse",
        "encoder_mismatch",
        "desktop_for_mobile_flow",
        "device_handoff",
        "motion_video_mismatch",
        "liveness_too_fast",
        "signed_capture_invalid",
    ],
    injection_support=[
        "stealth_patch",
        "emulator",
        "gps_mock",
        "test_keys",
        "bootloader_unlocked",
        "custom_rom",
        "hook_framework",
        "rooted",
        "jailbroken",
        "mitm_certificate",
        "cloned_app",
        "adb_on",
        "debugger_attached",
        "attestation_failed",
        "sensor_impossible",
        "sensor_touch_decoupled",
        "remote_software_active",
    ],
)


class SignalShare(NamedTuple):
    """One fired signal and its weight in its channel."""

    name: str
    weight: float
    signal: SignalValue


class SignalScorer:
    """Raw risk of the channels `device` and `bot` from fired signals."""

    name = "signals"

    def __init__(self, weights: SignalWeights = DEFAULT_WEIGHTS) -> None:
        self.weights = weights
        self.hash = hashlib.sha256(msgspec.json.encode(weights, order="sorted")).hexdigest()
        self._bot = frozenset(weights.bot_signals)
        self._injection = frozenset(weights.injection_signals)
        self._severity = {level: getattr(weights.severity, level) for level in SEVERITIES}
        self._confidence = {level: getattr(weights.confidence, level) for level in ("high", "medium", "low")}

    @classmethod
    def decode(cls, data: bytes) -> "SignalScorer":
        """Read the artefact; ArtifactError with one line if it is malformed."""
        try:
            return cls(msgspec.json.decode(data, type=SignalWeights))
        except (msgspec.DecodeError, RecursionError) as error:
            raise ArtifactError(f"signal weights: {error}") from None

    def encode(self) -> bytes:
        """The artefact."""
        return msgspec.json.format(msgspec.json.encode(self.weights), indent=2) + b"\n"

    def channel_of(self, name: str) -> Literal["bot", "device", "injection"]:
        """Channel that a signal counts in."""
        if name in self._bot:
            return "bot"
        return "injection" if name in self._injection else "device"

    def raw(self, signals: Mapping[str, SignalValue]) -> tuple[float, float]:
        """Risk of `device` and of `bot`, 0 to 0.999; 0 where nothing fired."""
        if not signals:
            return 0.0, 0.0
        # Per channel the product of (1 - weight) by severity.
        rest = {"device": [1.0, 1.0, 1.0], "bot": [1.0, 1.0, 1.0]}
        for name in sorted(signals):  # a product of floats depends on its order
            signal = signals[name]
            weight = self.weight_of(name, signal)
            if weight > 0.0 and (its := rest.get(self.channel_of(name))) is not None:
                its[SEVERITIES.index(signal.severity)] *= 1.0 - weight
        return self.join(rest["device"]), self.join(rest["bot"])

    def join(self, rest: list[float]) -> float:
        """Risk of what is left of 1 by strong, medium and weak signals: `rest` is the product of (1 - weight) of each.

        0 to 0.999.
        """
        strong, medium, weak = rest
        hints = min(self.weights.caps.weak, 1.0 - weak)
        doubts = min(self.weights.caps.medium, 1.0 - medium * (1.0 - hints))
        # The weak cap may lie above what medium ones allow; hints never lower the risk.
        return min(MAX_RISK, 1.0 - strong * (1.0 - doubts))

    def weight_of(self, name: str, signal: SignalValue) -> float:
        """Weight of one fired signal, 0 where it is exempt or did not fire."""
        return self.weight_at(name, signal, signal.severity)

    def weight_at(self, name: str, signal: SignalValue, severity: str) -> float:
        """Its weight if it had that severity."""
        if signal.exempt is not None or signal.value is False:
            return 0.0
        own = self.weights.own_weight.get(name)
        base = own if own is not None else self._severity[severity]
        return float(base * self._confidence[signal.confidence])

    def explain(self, signals: Mapping[str, SignalValue], channel: str) -> list[SignalShare]:
        """Fired signals of a channel with their weights, heaviest first, then by name."""
        shares = [
            SignalShare(name, weight, signal)
            for name, signal in signals.items()
            if self.channel_of(name) == channel and (weight := self.weight_of(name, signal)) > 0.0
        ]
        return sorted(shares, key=lambda share: (-share.weight, share.name))
