"""Simulated camera steps, genuine and injected, as telemetry and results: what the channel `injection` is measured on.

Part of the simulation (see the package). No recordings of cameras or of attacks stand behind it. How often people show
what attacks show is a judgement, stated here in one table: figures from it say whether the parts fit together, and how
many innocent causes it takes to hide an attack among people, and nothing about the world.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Final

import numpy as np

from features.meta import Meta
from features.signals import derive_signals
from models.device_risk import SignalScorer
from models.evaluate_results import GENUINE, Known
from models.injection import InjectionScorer
from schemas.signals import Finding, Signal, SignalKind
from schemas.telemetry import CameraTrack, Capture, Collector, Telemetry

Rng = np.random.Generator

START_MS: Final = 1_760_000_000_000
BATCH_MS: Final = 500
RATE_HZ: Final = 30.0
HARMLESS: Final = {
    "virtual_camera_installed": 0.08,
    "device_list_changed": 0.05,
    "dim_light": 0.03,
    "broadcast_tool_in_use": 0.01,
    "camera_switched": 0.01,
    "cropping_driver": 0.01,
    "driver_makes_up_times": 0.01,
    "stalled": 0.01,
    "uploaded": 0.005,
    "rooted": 0.01,
    "in_a_stand": 0.005,
    "many_attempts": 0.02,
}
"""Share of genuine simulated people who show an innocent cause."""
REFUSED: Final[dict[SignalKind, tuple[float, float]]] = {
    "liveness": (0.05, 0.01),
    "pad": (0.02, 0.005),
    "injection": (0.002, 0.002),
    "deepfake": (0.004, 0.004),
    "document": (0.06, 0.01),
    "document_tamper": (0.01, 0.005),
    "face_match_1to1": (0.03, 0.01),
}
"""Share of genuine simulated people whom a result refuses at first, and for good."""
_ASKED: Final[dict[SignalKind, float]] = {
    "liveness": 0.9,
    "pad": 0.6,
    "injection": 0.4,
    "deepfake": 0.4,
    "document": 0.9,
    "document_tamper": 0.5,
    "face_match_1to1": 0.9,
}
_WEBCAMS: Final = ("Integrated Camera (04f2:b6d9)", "HD Pro Webcam C920 (046d:082d)", "FaceTime HD Camera")


@dataclasses.dataclass(slots=True, kw_only=True)
class Step:
    """One camera step before it is cut into events."""

    label: str
    labels: list[str]
    phone: bool
    jitter_ms: float = 2.1
    dropped: float = 0.015
    repeated: float = 0.0
    frozen: bool = False
    delivered: tuple[float, float] = (1280.0, 720.0)
    hooked: list[str] = dataclasses.field(default_factory=list)
    capabilities: list[str] = dataclasses.field(default_factory=lambda: ["facingMode", "frameRate", "height", "width"])
    switched: bool = False
    list_changed: bool = False
    upload: bool = False
    results: list[tuple[int, SignalKind, str | None, list[str]]] = dataclasses.field(default_factory=list)
    """(ms of the capture, kind, verdict, findings)."""
    attempts: int = 1

    def say(self, kind: SignalKind, verdict: str | None, *findings: str, at_ms: int = 4_000) -> None:
        """Add one result; it replaces what was said of that capture by another of its kind."""
        self.results = [one for one in self.results if (one[0], one[1]) != (at_ms, kind)]
        self.results.append((at_ms, kind, verdict, [*findings]))


def genuine(rng: Rng) -> Step:
    """A person's camera step, with the innocent causes of `HARMLESS` and `REFUSED`."""
    phone = bool(rng.random() < 0.5)
    label = "Front Camera" if phone else str(rng.choice(_WEBCAMS))
    step = Step(label=label, labels=[label], phone=phone)
    _live(rng, step)
    return step


def _live(rng: Rng, step: Step) -> None:
    """Add innocent causes and results."""
    has = {name: bool(rng.random() < share) for name, share in HARMLESS.items()}
    if has["virtual_camera_installed"] and not step.phone:
        step.labels.append("OBS Virtual Camera")
    if has["broadcast_tool_in_use"] and not step.phone:
        step.label = "NVIDIA Broadcast"
        step.labels.append(step.label)
    step.list_changed, step.switched, step.upload = has["device_list_changed"], has["camera_switched"], has["uploaded"]
    if has["dim_light"]:
        step.dropped = 0.4
    if has["cropping_driver"]:
        step.delivered = (720.0, 720.0)
    if has["driver_makes_up_times"]:
        step.jitter_ms = step.dropped = 0.0
    if has["stalled"]:
        step.repeated = 0.5
    step.attempts = 5 if has["many_attempts"] else 1
    if step.phone and has["rooted"]:
        step.say("device_attestation", None, "rooted")
    _results(rng, step, ["motion_video_mismatch"] if has["in_a_stand"] else [])


def _results(rng: Rng, step: Step, of_liveness: list[str]) -> None:
    for kind, share in _ASKED.items():
        if rng.random() >= share:
            continue
        at_first, for_good = REFUSED[kind]
        fails = float(rng.random())
        if fails < at_first:
            step.say(kind, "fail")
            step.say(kind, "fail" if fails < for_good else "pass", at_ms=40_000)
        else:
            step.say(kind, "pass", *(of_liveness if kind == "liveness" else ()))


def _loopback_camera(rng: Rng) -> Step:
    """A program writes into a loopback device that keeps its own name."""
    step = genuine(rng)
    step.label = str(rng.choice(["Dummy video device (0x0000)", "Unity Video Capture", "e2eSoft VCam"]))
    step.labels.append(step.label)
    step.jitter_ms = step.dropped = 0.0
    return step


def _broadcast_software(rng: Rng) -> Step:
    """Broadcast software plays a clip as its virtual camera, on its own clock."""
    step = genuine(rng)
    step.label = str(rng.choice(["OBS Virtual Camera", "ManyCam Virtual Webcam", "XSplit VCam"]))
    step.labels.append(step.label)
    step.jitter_ms = step.dropped = 0.0
    return step


def _renamed_virtual_camera(rng: Rng) -> Step:
    """A virtual camera under a webcam's name: an exact clock, and one shape whatever is asked."""
    step = genuine(rng)
    step.jitter_ms = step.dropped = 0.0
    step.delivered = (640.0, 480.0)
    return step


def _frozen_picture(rng: Rng) -> Step:
    """One picture shown again and again by a virtual camera under a webcam's name."""
    step = genuine(rng)
    step.frozen, step.repeated = True, 0.5
    return step


def _hooked_browser(rng: Rng) -> Step:
    """A script or extension replaces getUserMedia, so that the page films a canvas."""
    step = genuine(rng)
    step.hooked = ["getUserMedia", "HTMLCanvasElement.captureStream"]
    step.label = ""
    return step


def _hooked_app(rng: Rng) -> Step:
    """A rooted phone, whose app is hooked and fed a clip that does not move with the hand."""
    step = genuine(rng)
    step.say("device_attestation", "fail", "hook_framework", "rooted")
    step.say("liveness", "pass", "motion_video_mismatch")
    return step


def _clip_in_many_accounts(rng: Rng) -> Step:
    """The same clip in account after account, found by its hash."""
    step = genuine(rng)
    step.say("liveness", "pass", "capture_hash_reuse")
    return step


def _face_swap(rng: Rng) -> Step:
    """A live face swap over a renamed virtual camera: liveness passes, the deepfake model doesn't."""
    step = genuine(rng)
    step.say("liveness", "pass")
    step.say("deepfake", "fail")
    return step


def _found_by_vendor(rng: Rng) -> Step:
    """What only the vendor's own injection detection sees."""
    step = genuine(rng)
    step.say("liveness", "pass")
    step.say("injection", "fail")
    return step


def _unsigned_capture(rng: Rng) -> Step:
    """An app's capture is replaced on its way: its signature does not hold."""
    step = genuine(rng)
    step.say("liveness", "pass", "signed_capture_invalid")
    return step


def _screen_to_camera(rng: Rng) -> Step:
    """A clip on a screen before a real camera, uploaded in place of a live capture: PAD refuses it, liveness too."""
    step = genuine(rng)
    step.upload = True
    step.say("pad", "fail")
    step.say("liveness", "fail")
    return step


def _hardware_capture_card(rng: Rng) -> Step:
    """A clip through an HDMI capture card with a webcam's name and clock: telemetry can't tell it from a camera."""
    return genuine(rng)


ATTACKS: Final[dict[str, Callable[[Rng], Step]]] = {
    "loopback_camera": _loopback_camera,
    "broadcast_software": _broadcast_software,
    "renamed_virtual_camera": _renamed_virtual_camera,
    "frozen_picture": _frozen_picture,
    "hooked_browser": _hooked_browser,
    "hooked_app": _hooked_app,
    "clip_in_many_accounts": _clip_in_many_accounts,
    "face_swap": _face_swap,
    "found_by_vendor": _found_by_vendor,
    "unsigned_capture": _unsigned_capture,
    "screen_to_camera": _screen_to_camera,
    "hardware_capture_card": _hardware_capture_card,
}
UNSEEN: Final = frozenset({"hardware_capture_card"})
"""Attacks that show nothing to telemetry: only a vendor's model of the picture can find them."""


def records_of(rng: Rng, step: Step, session_id: str = "s") -> list[Telemetry | Signal]:
    """The events and results of a step of 2 to 4 s, in the order in which they come about."""
    n = int(float(rng.uniform(2.0, 4.0)) * RATE_HZ)
    gaps = np.full(n, 1000.0 / RATE_HZ) + rng.normal(0.0, step.jitter_ms, n) if step.jitter_ms else np.full(n, 1e3 / 30)
    gaps += 1000.0 / RATE_HZ * (rng.random(n) < step.dropped)
    shown = 300.0 + np.cumsum(np.maximum(4.0, gaps))
    media = np.cumsum(gaps) / 1000.0
    again = np.flatnonzero(rng.random(n) < step.repeated)
    for i in again[again > 0]:
        media[i] = media[i - 1]
    taken = np.full(n, shown[0]) if step.frozen else shown - 45.0
    found: list[Telemetry | Signal] = []
    for k in range(int(shown[-1] // BATCH_MS) + 1):
        rows = np.flatnonzero((shown >= k * BATCH_MS) & (shown < (k + 1) * BATCH_MS))
        if rows.size:
            found.append(_event(step, session_id, len(found), k * BATCH_MS, rows, shown, media, taken))
    return found + results_of(step, session_id)


def results_of(step: Step, session_id: str = "s") -> list[Signal]:
    """The results of a step alone, in the order in which they come about."""
    return [
        Signal(
            event_id=f"{session_id}:r{number}",
            session_id=session_id,
            tenant="demo",
            flow="kyc_capture",
            effective_at=START_MS + at_ms,
            observed_at=START_MS + at_ms + 900,
            kind=kind,
            provider="simulated",
            outcome="no_decision",
            verdict=verdict,  # type: ignore[arg-type]
            findings=[Finding(name=name, value=True) for name in findings],
            attempt=step.attempts if kind == "liveness" else None,
        )
        for number, (at_ms, kind, verdict, findings) in enumerate(step.results)
    ]


ATTACKED: Final[dict[SignalKind, tuple[str, ...]]] = {
    "injection": tuple(name for name in ATTACKS if name != "screen_to_camera"),
    "deepfake": ("face_swap",),
    "pad": ("screen_to_camera",),
    "liveness": ("screen_to_camera",),
}
"""Attacks that each kind of result is there to refuse; the others of that kind are about genuine captures only."""


def known_results(n_genuine: int = 1_000, n_attacks: int = 100, seed: int = 5) -> list[Known]:
    """Results of simulated steps beside their truth: of genuine people all, of attacks those meant to refuse them."""
    found = []
    for stream, (name, make) in enumerate([(GENUINE, genuine), *ATTACKS.items()]):
        for i in range(n_attacks if stream else n_genuine):
            results = results_of(make(np.random.default_rng([seed, stream, i])))
            found += [Known(one, name) for one in results if not stream or name in ATTACKED.get(one.kind, ())]
    return found


def _event(  # noqa: PLR0917 - one batch of a step, made in one place
    step: Step,
    session_id: str,
    number: int,
    begin_ms: int,
    rows: np.ndarray[tuple[int], np.dtype[np.intp]],
    shown: np.ndarray[tuple[int], np.dtype[np.float64]],
    media: np.ndarray[tuple[int], np.dtype[np.float64]],
    taken: np.ndarray[tuple[int], np.dtype[np.float64]],
) -> Telemetry:
    first = number == 0
    width, height = step.delivered
    return Telemetry(
        event_id=f"{session_id}:{number}",
        session_id=session_id,
        tenant="demo",
        flow="kyc_capture",
        sequence=number,
        effective_at=START_MS + begin_ms,
        observed_at=START_MS + begin_ms + BATCH_MS,
        collector=Collector(name="tellwire-simulation", version="1.0.0"),
        capture=Capture(
            camera_label=step.label if first else None,
            camera_labels=step.labels if first else None,
            asked=CameraTrack(width_px=1280.0, height_px=720.0, frame_rate_hz=RATE_HZ) if first else None,
            reported=CameraTrack(width_px=1280.0, height_px=720.0, frame_rate_hz=RATE_HZ) if first else None,
            delivered=CameraTrack(width_px=width, height_px=height),
            capabilities=step.capabilities if first else None,
            frame_t=[round(float(shown[i]) - begin_ms, 1) for i in rows],
            media_t=[round(float(media[i]), 6) for i in rows],
            capture_t=[round(float(taken[i]) - begin_ms, 1) for i in rows],
            hooked_functions=step.hooked if first else None,
            upload=step.upload if first else None,
            camera_switched=(step.switched or None) if first else None,
            device_list_changed=(step.list_changed or None) if first else None,
        ),
    )


def raw_of(records: list[Telemetry | Signal]) -> float:
    """Raw score of `injection` after all records of one session, in the order given."""
    meta = Meta()
    signals = {}
    for record in records:
        if isinstance(record, Signal):
            meta.observe_signal(record, record.observed_at)
        else:
            meta.observe(record, record.observed_at)
        signals = derive_signals(record, meta)
    return InjectionScorer(SignalScorer()).raw(signals)


FIGURES: Final[dict[str, tuple[int, int]]] = {
    **{name: (100, 100) for name in ATTACKS if name not in UNSEEN},
    **dict.fromkeys(UNSEEN, (0, 100)),
}
"""What `measure` gives; the page shows it, and a test holds it to a new run."""


def measure(n_genuine: int = 1_000, n_attacks: int = 100, seed: int = 5) -> dict[str, tuple[int, int]]:
    """By attack: (sessions found, sessions). Found: at most 1 % of genuine simulated people score as high or higher."""

    def scores(name: str, n: int, make: Callable[[Rng], Step], stream: int) -> list[float]:
        rngs = [np.random.default_rng([seed, stream, i]) for i in range(n)]
        return [raw_of(records_of(rng, make(rng), f"{name}-{i}")) for i, rng in enumerate(rngs)]

    people = np.sort(scores("genuine", n_genuine, genuine, 0))
    found = {}
    for stream, (name, make) in enumerate(ATTACKS.items(), 1):
        at_or_above = n_genuine - np.searchsorted(people, scores(name, n_attacks, make, stream), side="left")
        found[name] = int((at_or_above <= 0.01 * n_genuine).sum()), n_attacks
    return found
