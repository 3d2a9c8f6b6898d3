"""The session family: how much was observed and under which circumstances; entity counters as features.

What the samples show is folded (origin, time covered, events). What only the session's `Meta` and the counters know is
filled in by `fill_context`, after the fold.
"""

import math

from features import velocity
from features.kernel import get_time, inner, put_time
from features.meta import Meta
from features.table import Table

FAR_MS = 1e9
"""Event times further than this (11 days) from the session's first one are clamped: such clocks are broken."""

T = Table("session", revision=1)

EVENTS = T.sum("events")
CLAMPED = T.sum("clamped_clocks")
POINTER_EVENTS = T.sum("pointer_events")
KEY_EVENTS = T.sum("key_events")
DEVICE_EVENTS = T.sum("device_events")
ACTIVE = T.sum("active_s")
BEGUN = T.slot("begun")
ORIGIN = T.slot("origin", 2)
FRONT = T.slot("front", 2)

ACTIVE_GAP_MS = 5_000.0
"""Time between events up to which the session counts as active."""


def _add(name: str, unit: str, low: float, high: float, text: str) -> int:
    return T.feature(name, unit, low, high, text, "own", basis="context")


F_OBSERVED = _add("observed_s", "s", 0, 1e6, "Session time from the first event's start to the latest sample.")
F_ACTIVE = _add("active_s", "s", 0, 1e6, "The same without gaps above 5 s between batches.")
F_EVENTS = _add("events", "events", 0, 1e9, "Telemetry events folded.")
F_CLAMPED = _add("clamped_clocks", "events", 0, 1e9, "Events whose clock was more than 11 days off.")
F_DEVICE = _add("device_seen", "1", 0, 1, "1 once a device block was seen.")
FOLDED = T.count
F_INPUT = _add("input_type", "code", 0, 5, "0 none, 1 mouse, 2 touchpad, 3 pen, 4 touch, 5 keys only.")
F_SAMPLING = _add("sampling_interval_ms", "ms", 0, 10_000, "Collector's declared sampling interval, 0 = every sample.")
F_VIEWPORT_W = _add("viewport_width_px", "px", 0, 1e5, "Viewport width.")
F_VIEWPORT_H = _add("viewport_height_px", "px", 0, 1e5, "Viewport height.")
F_BLOCKS = _add("blocks", "blocks", 0, 10, "Kinds of telemetry block seen.")
F_COLD = _add("state_cold", "1", 0, 1, "1 when the session's beginning was lost.")

V = Table("velocity", revision=1)
for _entity, _what in velocity.PAIRS:
    for _window in velocity.WINDOWS:
        V.feature(
            f"{_entity}_{_what}_{_window}",
            _what,
            0,
            1e9,
            f"Distinct {_what} with the session's {_entity} in {_window} of append time, this session included.",
            "tirreno, FCaptcha, Jube (velocity rules)",
            basis="rule",
            exemption="carrier NAT, shared devices, offices" if _entity != "account" else None,
        )

INPUT_CODES: dict[str, float] = {"": 0.0, "unknown": 1.0, "mouse": 1.0, "touchpad": 2.0, "pen": 3.0, "touch": 4.0}


@inner
def begin(s, effective_ms):  # type: ignore[no-untyped-def]
    """Count an event and return its start in ms from the session's origin, which the first event sets."""
    if s[BEGUN] == 0.0:
        s[BEGUN] = 1.0
        put_time(s, ORIGIN, effective_ms)
    s[EVENTS] += 1.0
    start = effective_ms - get_time(s, ORIGIN)
    if not -FAR_MS <= start <= FAR_MS:
        s[CLAMPED] += 1.0
        start = min(max(start, -FAR_MS), FAR_MS)
    return start


@inner
def finish(s, latest_ms, pointers, keys, device):  # type: ignore[no-untyped-def]
    """Advance the time covered to the event's latest sample, and count its blocks."""
    front = get_time(s, FRONT)
    if latest_ms > front:
        s[ACTIVE] += min(latest_ms - front, ACTIVE_GAP_MS) / 1000.0
        put_time(s, FRONT, latest_ms)
    if pointers > 0:
        s[POINTER_EVENTS] += 1.0
    if keys > 0:
        s[KEY_EVENTS] += 1.0
    s[DEVICE_EVENTS] += device


@inner
def observed_s(s):  # type: ignore[no-untyped-def]
    """Session time covered, s."""
    return max(get_time(s, FRONT), 0.0) / 1000.0


@inner
def finalize(s, out):  # type: ignore[no-untyped-def]
    """Write the folded part of the family's features; the rest stays as it is (NaN)."""
    out[F_OBSERVED] = observed_s(s)
    out[F_ACTIVE] = s[ACTIVE]
    out[F_EVENTS] = s[EVENTS]
    out[F_CLAMPED] = s[CLAMPED]
    out[F_DEVICE] = 1.0 if s[DEVICE_EVENTS] > 0.0 else math.nan


def context_of(meta: Meta) -> tuple[float, float, float, float, float, float]:
    """What Meta knows, in the order of the features from `F_INPUT` on; NaN where it is not known."""
    width, height = meta.viewport_width_px, meta.viewport_height_px
    if not width > 0.0:
        width = height = math.nan
    pointer_type = meta.pointer_type
    keys_only = not pointer_type and meta.has("keys")
    return (
        5.0 if keys_only else INPUT_CODES.get(pointer_type, 1.0),
        meta.sampling_interval_ms,
        width,
        height,
        meta.blocks.bit_count(),
        1.0 if meta.state_cold else 0.0,
    )
