"""THE adapter from a recorded session (event columns) to the telemetry that a collector would have sent of it.

Train, score and demo read recordings through this and nothing else, so that they see what the pipeline sees: batches of
500 ms, times and positions rounded as on the wire, keys that wait for their release.
"""

import itertools
import math
from typing import cast

import msgspec
import numpy as np
import numpy.typing as npt

from schemas.base import Flow
from schemas.telemetry import Collector, Keys, Pointer, PointerType, SessionEnd, Telemetry, Viewport

BATCH_MS = 500.0
RELEASE_WAIT_MS = 1_000.0
"""How long a key row waits for its release; later rows wait behind it."""

MAX_PX = 1e6
POINTER_TYPES = ("mouse", "touchpad", "pen", "touch", "unknown")
START_MS = 1_700_000_000_000
"""Epoch ms that a recording is placed at unless the caller says otherwise: recordings know relative times only."""

Column = npt.NDArray[np.float64]


class Recorded(msgspec.Struct, kw_only=True, frozen=True):
    """A recorded session: columns of one length each. Times in ms from the session's start, positions in px.

    kind: 0 move, 1 down, 2 up, 3 wheel, 4 drag, 5 click; button: 0 none, 1 left, 2 right, 3 middle, 4 wheel.
    key_up_ms: NaN where the release was not logged. key_class: 1 letter to 9 other (schemas.telemetry.KeyClass).
    """

    session_id: str
    t_ms: npt.ArrayLike = ()
    x: npt.ArrayLike = ()
    y: npt.ArrayLike = ()
    kind: npt.ArrayLike | None = None
    button: npt.ArrayLike | None = None
    key_down_ms: npt.ArrayLike = ()
    key_up_ms: npt.ArrayLike = ()
    key_class: npt.ArrayLike = ()
    pointer_type: str = "unknown"
    viewport_width_px: float | None = None
    viewport_height_px: float | None = None


def _floats(values: npt.ArrayLike) -> Column:
    column: Column = np.asarray(values, dtype=np.float64).reshape(-1)
    return column


def _codes(values: npt.ArrayLike | None, n: int) -> npt.NDArray[np.int64]:
    column: npt.NDArray[np.int64] = (
        np.zeros(n, np.int64) if values is None else np.asarray(values, np.int64).reshape(-1)
    )
    return column


def telemetry_of(
    recorded: Recorded,
    *,
    flow: Flow = "signup",
    tenant: str = "recorded",
    collector: str = "recorded",
    sampling_interval_ms: float = 0.0,
    start_ms: int = START_MS,
    latency_ms: int = 0,
    account_ref: str | None = None,
    device_ref: str | None = None,
    batch_ms: float = BATCH_MS,
) -> list[Telemetry]:
    """Telemetry events of a recording, in order; the last one carries `end`. A batch without content is not sent.

    start_ms: epoch ms of the recording's time 0. latency_ms: from a batch's end to `observed_at`.
    Samples without a finite time or position are left out. Raises ValueError where columns differ in length.
    """
    t, x, y = _floats(recorded.t_ms), _floats(recorded.x), _floats(recorded.y)
    kind, button = _codes(recorded.kind, len(t)), _codes(recorded.button, len(t))
    if not len(t) == len(x) == len(y) == len(kind) == len(button):
        msg = f"pointer columns differ in length: {len(t)}, {len(x)}, {len(y)}, {len(kind)}, {len(button)}"
        raise ValueError(msg)
    down, up, key_class = _floats(recorded.key_down_ms), _floats(recorded.key_up_ms), _codes(recorded.key_class, 0)
    if not len(down) == len(up) == len(key_class):
        msg = f"key columns differ in length: {len(down)}, {len(up)}, {len(key_class)}"
        raise ValueError(msg)
    pointers = _pointer_batches(recorded.pointer_type, t, x, y, kind, button, batch_ms)
    presses = _key_batches(down, up, key_class, batch_ms)
    viewport = None
    if recorded.viewport_width_px and recorded.viewport_height_px:
        viewport = Viewport(width_px=float(recorded.viewport_width_px), height_px=float(recorded.viewport_height_px))
    batches = sorted(pointers.keys() | presses.keys()) or [0]
    events = []
    for sequence, batch in enumerate(batches):
        effective = start_ms + round(batch * batch_ms)
        events.append(
            Telemetry(
                event_id=f"{recorded.session_id[:110]}:{sequence}",
                session_id=recorded.session_id,
                tenant=tenant,
                flow=flow,
                sequence=sequence,
                effective_at=effective,
                observed_at=effective + round(batch_ms) + latency_ms,
                collector=Collector(name=collector, version="1.0.0", sampling_interval_ms=sampling_interval_ms),
                account_ref=account_ref,
                device_ref=device_ref,
                viewport=viewport if sequence == 0 else None,
                pointer=pointers.get(batch),
                keys=presses.get(batch),
                end=SessionEnd(reason="completed") if batch == batches[-1] else None,
            )
        )
    return events


def _pointer_batches(
    pointer_type: str,
    t: Column,
    x: Column,
    y: Column,
    kind: npt.NDArray[np.int64],
    button: npt.NDArray[np.int64],
    batch_ms: float,
) -> dict[int, Pointer]:
    usable = np.isfinite(t) & np.isfinite(x) & np.isfinite(y)
    order = np.flatnonzero(usable)[np.argsort(t[usable], kind="stable")]
    t, x, y, kind, button = t[order], x[order], y[order], kind[order], button[order]
    batch = np.floor(t / batch_ms).astype(np.int64)
    offset = np.round(t - batch * batch_ms, 1).tolist()
    x_px = np.round(np.clip(x, -MAX_PX, MAX_PX), 1).tolist()
    y_px = np.round(np.clip(y, -MAX_PX, MAX_PX), 1).tolist()
    kinds, buttons = kind.tolist(), button.tolist()
    device = cast("PointerType", pointer_type if pointer_type in POINTER_TYPES else "unknown")
    borders = [*np.flatnonzero(np.diff(batch, prepend=batch[:1] - 1)).tolist(), len(t)]
    return {
        int(batch[a]): Pointer(
            t=offset[a:b],
            x=x_px[a:b],
            y=y_px[a:b],
            kind=kinds[a:b],
            button=buttons[a:b],
            pointer_type=device,
        )
        for a, b in itertools.pairwise(borders)
    }


def _key_batches(down: Column, up: Column, key_class: npt.NDArray[np.int64], batch_ms: float) -> dict[int, Keys]:
    usable = np.isfinite(down)
    order = np.flatnonzero(usable)[np.argsort(down[usable], kind="stable")]
    rows: dict[int, tuple[list[float], list[float | None], list[int]]] = {}
    ready = -math.inf
    for pressed, seen, code in zip(down[order].tolist(), up[order].tolist(), key_class[order].tolist(), strict=True):
        released = seen if pressed <= seen <= pressed + RELEASE_WAIT_MS else math.nan
        # A row is sent with the batch in which its release, or the end of the wait, falls; never before earlier rows.
        ready = max(ready, pressed + RELEASE_WAIT_MS if math.isnan(released) else released)
        batch = math.floor(ready / batch_ms)
        downs, ups, classes = rows.setdefault(batch, ([], [], []))
        downs.append(round(pressed - batch * batch_ms, 1))
        ups.append(None if math.isnan(released) else round(released - batch * batch_ms, 1))
        classes.append(code)
    return {batch: Keys(down=d, up=u, key_class=c) for batch, (d, u, c) in rows.items()}
