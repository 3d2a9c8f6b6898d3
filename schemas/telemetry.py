"""The telemetry contract: what a collector observes of one capture session, in batches, on `capture.telemetry`.

Samples are columnar: one list a quantity, all of one length. Times inside blocks are milliseconds from the event's
start. The typed character never appears: a key is known by its class alone.
"""

from enum import IntEnum
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from schemas.base import (
    MAX_SAMPLES,
    Block,
    CodeColumn,
    Count,
    EpochMs,
    Flow,
    Id,
    Millis,
    Name,
    NumberColumn,
    OffsetColumn,
    OffsetMs,
    PxColumn,
    Ref,
    equal_lengths,
)
from schemas.surroundings import CameraTrack, Capture, Device, Network, Scope

__all__ = [
    "GATEWAY_FIELDS",
    "CameraTrack",
    "Capture",
    "Collector",
    "Device",
    "Focus",
    "FocusKind",
    "Form",
    "FormField",
    "KeyClass",
    "Keys",
    "Motion",
    "Network",
    "Pointer",
    "PointerKind",
    "PointerType",
    "Scope",
    "Scroll",
    "SessionEnd",
    "Telemetry",
    "Touch",
    "Viewport",
]

PointerType = Literal["mouse", "touchpad", "pen", "touch", "unknown"]


class PointerKind(IntEnum):
    """What a pointer sample is. Codes are stable: they are on the wire."""

    MOVE = 0
    DOWN = 1
    UP = 2
    WHEEL = 3
    DRAG = 4
    CLICK = 5


class KeyClass(IntEnum):
    """The class of a key; the character itself is never sent. Codes are stable."""

    LETTER = 1
    DIGIT = 2
    SPACE = 3
    ENTER = 4
    DELETE = 5
    MODIFIER = 6
    PUNCTUATION = 7
    NAVIGATION = 8
    OTHER = 9


class FocusKind(IntEnum):
    """A change of focus or visibility. Codes are stable."""

    FOCUS = 0
    BLUR = 1
    VISIBLE = 2
    HIDDEN = 3
    FIELD_FOCUS = 4
    FIELD_BLUR = 5


class Collector(Block, kw_only=True):
    """Which collector recorded the event, and how finely."""

    name: Annotated[Name, Meta(description="Collector package, e.g. tellwire-web.")]
    version: Annotated[Name, Meta(description="Collector version, semantic.")]
    sampling_interval_ms: Annotated[
        float,
        Meta(
            ge=0.0,
            le=10_000.0,
            description="Shortest time between two pointer samples that it keeps, ms; 0 = every one.",
        ),
    ] = 0.0


class Viewport(Block, kw_only=True):
    """The layout viewport that coordinates refer to."""

    width_px: Annotated[float, Meta(ge=0.0, le=100_000.0, description="Width, CSS px.")]
    height_px: Annotated[float, Meta(ge=0.0, le=100_000.0, description="Height, CSS px.")]
    device_pixel_ratio: Annotated[
        Annotated[float, Meta(ge=0.0, le=100.0)] | None, Meta(description="Device pixels a CSS pixel.")
    ] = None


class Pointer(Block, kw_only=True):
    """Pointer samples of any pointing device, in the order of their times. Columns that are there have one length."""

    t: Annotated[OffsetColumn, Meta(description="Sample time, ms from the event's start, not decreasing.")]
    x: Annotated[PxColumn, Meta(description="Horizontal position in the viewport, CSS px.")]
    y: Annotated[PxColumn, Meta(description="Vertical position in the viewport, CSS px.")]
    kind: Annotated[
        CodeColumn | None,
        Meta(description="0 move, 1 down, 2 up, 3 wheel, 4 drag, 5 click without down and up. Absent: all moves."),
    ] = None
    button: Annotated[CodeColumn | None, Meta(description="0 none, 1 left, 2 right, 3 middle, 4 wheel.")] = None
    pointer_type: Annotated[PointerType, Meta(description="Pointing device as the browser reports it.")] = "unknown"
    untrusted_count: Annotated[Count, Meta(description="Samples whose event had isTrusted = false.")] = 0
    coalesced_count: Annotated[
        Count | None, Meta(description="Samples that came out of getCoalescedEvents; absent where unsupported.")
    ] = None
    click_offset_px: Annotated[
        Annotated[list[Annotated[float, Meta(ge=0.0, le=1e5)]], Meta(max_length=256)] | None,
        Meta(description="Distance of each click from the centre of its target, px."),
    ] = None

    def __post_init__(self) -> None:
        equal_lengths(t=self.t, x=self.x, y=self.y, kind=self.kind, button=self.button)


class Touch(Block, kw_only=True):
    """Touch contacts with their geometry; `id` tells fingers apart. Columns that are there have one length."""

    t: Annotated[OffsetColumn, Meta(description="Sample time, ms from the event's start.")]
    x: Annotated[PxColumn, Meta(description="Horizontal position, CSS px.")]
    y: Annotated[PxColumn, Meta(description="Vertical position, CSS px.")]
    kind: Annotated[CodeColumn, Meta(description="0 move, 1 start, 2 end, 3 cancel.")]
    id: Annotated[CodeColumn | None, Meta(description="Contact number; absent: one finger.")] = None
    radius_px: Annotated[NumberColumn | None, Meta(description="Contact radius, CSS px.")] = None
    force: Annotated[NumberColumn | None, Meta(description="Pressure, 0 to 1.")] = None
    untrusted_count: Annotated[Count, Meta(description="Samples whose event had isTrusted = false.")] = 0

    def __post_init__(self) -> None:
        equal_lengths(
            t=self.t, x=self.x, y=self.y, kind=self.kind, id=self.id, radius_px=self.radius_px, force=self.force
        )


class Scroll(Block, kw_only=True):
    """Scroll positions of the document or a scrolled element. Columns have one length."""

    t: Annotated[OffsetColumn, Meta(description="Sample time, ms from the event's start.")]
    x: Annotated[PxColumn, Meta(description="Horizontal scroll position, CSS px.")]
    y: Annotated[PxColumn, Meta(description="Vertical scroll position, CSS px.")]

    def __post_init__(self) -> None:
        equal_lengths(t=self.t, x=self.x, y=self.y)


class Keys(Block, kw_only=True):
    """Key presses by class, ordered by press time. Columns have one length.

    A row waits at most one second for its release, and later rows wait behind it, so that rows of successive events
    are in order too; a press may therefore lie before the event's start (negative time).
    """

    down: Annotated[OffsetColumn, Meta(description="Press time, ms from the event's start, not decreasing.")]
    up: Annotated[
        Annotated[list[OffsetMs | None], Meta(max_length=MAX_SAMPLES)],
        Meta(description="Release time, ms from the event's start; null where the release was not seen."),
    ]
    key_class: Annotated[
        CodeColumn,
        Meta(
            description="1 letter, 2 digit, 3 space, 4 enter, 5 backspace or delete, 6 modifier, 7 punctuation, "
            "8 navigation, tab or escape, 9 other. Never the character."
        ),
    ]
    untrusted_count: Annotated[Count, Meta(description="Key events with isTrusted = false.")] = 0
    ime_count: Annotated[Count, Meta(description="Composition (IME) events: typing that shows no single keys.")] = 0
    unfocused_count: Annotated[Count, Meta(description="Key events while the document had no focus.")] = 0

    def __post_init__(self) -> None:
        equal_lengths(down=self.down, up=self.up, key_class=self.key_class)


class Motion(Block, kw_only=True):
    """Accelerometer and gyroscope samples, with permission. Columns that are there have one length."""

    t: Annotated[OffsetColumn, Meta(description="Sample time, ms from the event's start.")]
    ax: Annotated[NumberColumn, Meta(description="Acceleration with gravity along x, m/s².")]
    ay: Annotated[NumberColumn, Meta(description="Acceleration with gravity along y, m/s².")]
    az: Annotated[NumberColumn, Meta(description="Acceleration with gravity along z, m/s².")]
    rx: Annotated[NumberColumn | None, Meta(description="Rotation rate about x, °/s.")] = None
    ry: Annotated[NumberColumn | None, Meta(description="Rotation rate about y, °/s.")] = None
    rz: Annotated[NumberColumn | None, Meta(description="Rotation rate about z, °/s.")] = None

    def __post_init__(self) -> None:
        equal_lengths(t=self.t, ax=self.ax, ay=self.ay, az=self.az, rx=self.rx, ry=self.ry, rz=self.rz)


class FormField(Block, kw_only=True):
    """What happened in one form field since the previous event; values are never sent, only counts and times."""

    # Names of form fields are whatever a page's author wrote (`user[email]`), so this is no `Name`.
    field: Annotated[Id, Meta(description="Field's stable key in the form, e.g. email; never its value.")]
    focus_ms: Annotated[Millis, Meta(description="Time in focus, ms.")] = 0.0
    hesitation_ms: Annotated[
        Millis | None, Meta(description="From focus to the first input, ms; absent before the first input.")
    ] = None
    key_count: Annotated[Count, Meta(description="Key presses in the field.")] = 0
    input_count: Annotated[Count, Meta(description="Input events in the field.")] = 0
    paste_count: Annotated[Count, Meta(description="Pastes and drops.")] = 0
    autofill_count: Annotated[Count, Meta(description="Fills by browser or password manager.")] = 0
    correction_count: Annotated[Count, Meta(description="Deletions of typed input.")] = 0
    ime_count: Annotated[Count, Meta(description="Composition (IME) commits.")] = 0
    changed_without_input: Annotated[
        bool, Meta(description="The value changed with no key, paste, autofill or IME event.")
    ] = False


class Form(Block, kw_only=True):
    """Per-field counts and times, and the submission."""

    fields: Annotated[list[FormField], Meta(max_length=64, description="Fields touched since the previous event.")]
    submitted: Annotated[bool, Meta(description="The form was submitted.")] = False
    submit_ms: Annotated[Millis | None, Meta(description="From page load to the submission, ms; absent before it.")] = (
        None
    )


class Focus(Block, kw_only=True):
    """Changes of focus and visibility. Columns have one length."""

    t: Annotated[OffsetColumn, Meta(description="Time of the change, ms from the event's start.")]
    kind: Annotated[
        CodeColumn,
        Meta(description="0 window focus, 1 window blur, 2 visible, 3 hidden, 4 field focus, 5 field blur."),
    ]

    def __post_init__(self) -> None:
        equal_lengths(t=self.t, kind=self.kind)


class SessionEnd(Block, kw_only=True):
    """The collector says that the session is over: the next risk event is the session's final one."""

    reason: Annotated[Literal["completed", "abandoned", "timeout", "error"], Meta(description="Why the session ended.")]


class Telemetry(
    msgspec.Struct, kw_only=True, omit_defaults=True, gc=False, tag_field="type", tag="capture.telemetry.v1"
):
    """One batch of what a collector observed of a capture session. Key: `session_id`."""

    event_id: Annotated[Id, Meta(description="The producer's idempotency key.")]
    session_id: Annotated[Id, Meta(description="Opaque id of the capture session; also the record's key.")]
    tenant: Annotated[Name, Meta(description="Customer or product that the session belongs to.")]
    flow: Annotated[Flow, Meta(description="Business flow.")]
    sequence: Annotated[
        int, Meta(ge=0, le=2**31 - 1, description="Number of this event in its session, from 0; a repeat is dropped.")
    ]
    effective_at: Annotated[EpochMs, Meta(description="Event time: when the batch began, client clock, epoch ms.")]
    observed_at: Annotated[EpochMs, Meta(description="When the gateway received it, server clock, epoch ms.")]
    collector: Annotated[Collector, Meta(description="Which collector recorded it.")]
    account_ref: Annotated[Ref | None, Meta(description="Account, or its keyed hash.")] = None
    device_ref: Annotated[Ref | None, Meta(description="Device, or its keyed hash.")] = None
    ref_key_version: Annotated[
        Name | None, Meta(description="Key that hashed the references; absent: they are raw and hashed on arrival.")
    ] = None
    nonce: Annotated[Id | None, Meta(description="One-time value that the gateway issued for this session.")] = None
    viewport: Annotated[Viewport | None, Meta(description="Layout viewport.")] = None
    pointer: Annotated[Pointer | None, Meta(description="Pointer samples.")] = None
    touch: Annotated[Touch | None, Meta(description="Touch contacts.")] = None
    scroll: Annotated[Scroll | None, Meta(description="Scroll positions.")] = None
    keys: Annotated[Keys | None, Meta(description="Key presses by class.")] = None
    motion: Annotated[Motion | None, Meta(description="Accelerometer and gyroscope.")] = None
    form: Annotated[Form | None, Meta(description="Form fields.")] = None
    focus: Annotated[Focus | None, Meta(description="Focus and visibility.")] = None
    device: Annotated[Device | None, Meta(description="Fingerprint attributes.")] = None
    capture: Annotated[Capture | None, Meta(description="Camera facts.")] = None
    network: Annotated[Network | None, Meta(description="Edge facts.")] = None
    end: Annotated[SessionEnd | None, Meta(description="Present on the last event of the session.")] = None


GATEWAY_FIELDS: Final = frozenset(
    {"tenant", "flow", "observed_at", "account_ref", "device_ref", "ref_key_version", "network"}
)
"""Fields of a telemetry event that only a gateway says, never a browser: the gateway knows them better."""
