"""One simulated session on one time line, and its cut into telemetry events as a collector would send them.

Part of the simulation (see the package). Times of a `Recording` are milliseconds from page load.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from schemas.base import Flow
from schemas.telemetry import (
    Capture,
    Collector,
    Device,
    Focus,
    FocusKind,
    Form,
    FormField,
    Keys,
    Network,
    Pointer,
    PointerKind,
    PointerType,
    Scroll,
    SessionEnd,
    Telemetry,
    Touch,
    Viewport,
)

BATCH_MS = 500.0
"""Length of one telemetry batch, ms."""
RELEASE_WAIT_MS = 1_000.0
"""Longest time that a key row waits for its release, ms (the contract's rule)."""

Act = Literal["focus", "blur", "input", "key", "paste", "autofill", "correction", "ime", "silent"]
"""What can happen in a form field; `silent` is a value that changes with no input of any kind."""
EndReason = Literal["completed", "abandoned", "timeout", "error"]
Float = NDArray[np.float64]
Row = TypeVar("Row", bound=tuple[Any, ...])


@dataclasses.dataclass(slots=True)
class Recording:
    """All that happened in one session; rows are in no particular order until `cut`.

    Rows: pointer `(t, x, y, kind, button)`, touch `(t, x, y, kind, radius, force)`, keys `(down, up | None, class)`,
    focus `(t, kind)`, scroll `(t, y)`, acts `(t, field, act)`; ms and CSS px. `click_offsets` are `(t, px)`.
    """

    pointer_type: PointerType = "mouse"
    pointer: list[tuple[float, float, float, int, int]] = dataclasses.field(default_factory=list)
    touch: list[tuple[float, float, float, int, float, float]] = dataclasses.field(default_factory=list)
    keys: list[tuple[float, float | None, int]] = dataclasses.field(default_factory=list)
    focus: list[tuple[float, int]] = dataclasses.field(default_factory=list)
    scroll: list[tuple[float, float]] = dataclasses.field(default_factory=list)
    acts: list[tuple[float, str, Act]] = dataclasses.field(default_factory=list)
    captures: list[tuple[float, Capture]] = dataclasses.field(default_factory=list)
    click_offsets: list[tuple[float, float]] = dataclasses.field(default_factory=list)
    coalesced: bool = True
    untrusted: bool = False
    submit_ms: float | None = None
    end_ms: float | None = None
    end_reason: EndReason = "completed"
    clock_step_ms: float = 0.1

    def moves(
        self,
        t: Float,
        x: Float,
        y: Float,
        kind: PointerKind = PointerKind.MOVE,
        button: int = 0,
    ) -> None:
        """Add samples, rounded to whole pixels; a browser reports a move only when the position changed."""
        last: tuple[float, float] | None = None
        code = int(kind)
        for time, px, py in zip(t.tolist(), np.rint(x).tolist(), np.rint(y).tolist(), strict=True):
            if (px, py) != last:
                self.pointer.append((time, px, py, code, button))
                last = (px, py)

    def length_ms(self) -> float:
        """Time of the last thing that happened, ms."""
        times = [0.0, self.end_ms or 0.0, self.submit_ms or 0.0]
        times += [row[0] for rows in (self.pointer, self.touch, self.focus, self.scroll) for row in rows]
        times += [row[0] for row in self.acts] + [row[0] for row in self.captures]
        times += [down if up is None else up for down, up, _ in self.keys]
        return max(times)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Who sends a session: everything of a telemetry event that is not behaviour."""

    session_id: str
    flow: Flow
    account_ref: str
    device_ref: str | None
    device: Device | None
    network: Network | None
    viewport: Viewport | None
    collector: Collector
    nonce: str | None = None
    tenant: str = "demo"
    clock_offset_ms: int = 0
    """The client's clock minus the server's, ms."""


def cut(recording: Recording, who: Identity, start_ms: int) -> list[tuple[int, Telemetry]]:
    """Cut a session into events: `(ms from start at which the batch is complete, event)`, in order.

    `start_ms` is the server's epoch time of the page load. A batch in which nothing happened is not sent, as a
    collector does; the first one always is, with device and network. Without `end_ms` the session just stops.
    """
    n_batches = int(recording.length_ms() // BATCH_MS) + 1
    pointer = _split(sorted(recording.pointer), n_batches)
    touch = _split(sorted(recording.touch), n_batches)
    focus = _split(
        sorted([*recording.focus, *_field_focus(recording)], key=lambda row: row[0]),
        n_batches,
    )
    scroll = _split(sorted(recording.scroll), n_batches)
    captures = _split(sorted(recording.captures, key=lambda row: row[0]), n_batches)
    clicks = _split(sorted(recording.click_offsets), n_batches)
    keys = _split_keys(recording.keys)
    n_batches = max(n_batches, max(keys, default=0) + 1)
    forms = _forms(recording, n_batches)
    events: list[tuple[int, Telemetry]] = []
    for k in range(n_batches):
        begin, last = k * BATCH_MS, k == n_batches - 1
        ended = last and recording.end_ms is not None
        blocks = (
            pointer.get(k)
            or touch.get(k)
            or focus.get(k)
            or scroll.get(k)
            or captures.get(k)
            or keys.get(k)
            or forms[k]
        )
        if not (k == 0 or blocks or ended):
            continue
        step = recording.clock_step_ms
        event = Telemetry(
            event_id=f"{who.session_id}.{len(events)}",
            session_id=who.session_id,
            tenant=who.tenant,
            flow=who.flow,
            sequence=len(events),
            effective_at=start_ms + who.clock_offset_ms + int(begin),
            observed_at=start_ms + int(begin + BATCH_MS),
            collector=who.collector,
            account_ref=who.account_ref,
            device_ref=who.device_ref,
            nonce=who.nonce,
            viewport=who.viewport if k == 0 else None,
            device=who.device if k == 0 else None,
            network=who.network if k == 0 else None,
            pointer=_pointer(recording, pointer[k], clicks.get(k, []), begin, step) if k in pointer else None,
            touch=_touch(touch[k], begin, step) if k in touch else None,
            scroll=_scroll(scroll[k], begin, step) if k in scroll else None,
            keys=_keys(recording, keys.get(k, []), forms[k], begin, step),
            focus=_focus(focus[k], begin, step) if k in focus else None,
            form=forms[k],
            capture=captures[k][-1][1] if k in captures else None,
            end=SessionEnd(reason=recording.end_reason) if ended else None,
        )
        events.append((int(begin + BATCH_MS), event))
    return events


def tick(t_ms: float, begin_ms: float, step_ms: float) -> float:
    """Time from the batch's start in ticks of the client's clock, rounded to the wire's 0.1 ms."""
    return round(round((t_ms - begin_ms) / step_ms) * step_ms, 1)


def _split(rows: list[Row], n_batches: int) -> dict[int, list[Row]]:
    found: dict[int, list[Row]] = {}
    for row in rows:
        k = min(n_batches - 1, max(0, int(row[0] // BATCH_MS)))
        found.setdefault(k, []).append(row)
    return found


def _split_keys(
    rows: list[tuple[float, float | None, int]],
) -> dict[int, list[tuple[float, float | None, int]]]:
    """Give each key row to the batch that sends it: after its release or one second, never before an earlier row."""
    found: dict[int, list[tuple[float, float | None, int]]] = {}
    ready = 0.0
    for down, up, code in sorted(rows, key=lambda row: row[0]):
        seen = up if up is not None and up - down <= RELEASE_WAIT_MS else None
        ready = max(ready, down + RELEASE_WAIT_MS if seen is None else seen)
        found.setdefault(int(ready // BATCH_MS), []).append((down, seen, code))
    return found


def _field_focus(recording: Recording) -> list[tuple[float, int]]:
    kinds = {"focus": int(FocusKind.FIELD_FOCUS), "blur": int(FocusKind.FIELD_BLUR)}
    return [(t, kinds[act]) for t, _, act in recording.acts if act in kinds]


def _forms(recording: Recording, n_batches: int) -> list[Form | None]:
    """Count, per batch and field, what happened since the previous batch; focus time goes where it is noticed."""
    touched: list[dict[str, FormField]] = [{} for _ in range(n_batches)]
    focused_since: dict[str, float] = {}
    waiting_since: dict[str, float] = {}
    for t, name, act in sorted(recording.acts, key=lambda row: row[0]):
        row = touched[min(n_batches - 1, int(t // BATCH_MS))].setdefault(name, FormField(field=name))
        if act == "focus":
            focused_since[name] = waiting_since[name] = t
            continue
        if name in focused_since:
            row.focus_ms = round(row.focus_ms + t - focused_since[name], 1)
            focused_since[name] = t
        if act == "blur":
            focused_since.pop(name, None)
            waiting_since.pop(name, None)
            continue
        if name in waiting_since:
            row.hesitation_ms = round(t - waiting_since.pop(name), 1)
        _count(row, act)
    submit_ms = recording.submit_ms
    submitted = None if submit_ms is None else min(n_batches - 1, int(submit_ms // BATCH_MS))
    return [
        Form(
            fields=list(rows.values()),
            submitted=k == submitted,
            submit_ms=round(submit_ms, 1) if k == submitted and submit_ms is not None else None,
        )
        if rows or k == submitted
        else None
        for k, rows in enumerate(touched)
    ]


def _count(row: FormField, act: Act) -> None:
    match act:
        case "key":
            row.key_count += 1
        case "input":
            row.input_count += 1
        case "paste":
            row.paste_count += 1
        case "autofill":
            row.autofill_count += 1
        case "correction":
            row.correction_count += 1
        case "ime":
            row.ime_count += 1
        case "silent":
            row.changed_without_input = True
        case "focus" | "blur":
            pass


def _pointer(
    recording: Recording,
    rows: list[tuple[float, float, float, int, int]],
    clicks: list[tuple[float, float]],
    begin: float,
    step: float,
) -> Pointer:
    quick = sum(1 for row in rows if row[3] in {PointerKind.MOVE, PointerKind.DRAG})
    return Pointer(
        t=[tick(row[0], begin, step) for row in rows],
        x=[round(row[1], 1) for row in rows],
        y=[round(row[2], 1) for row in rows],
        kind=[row[3] for row in rows],
        button=[row[4] for row in rows],
        pointer_type=recording.pointer_type,
        untrusted_count=len(rows) if recording.untrusted else 0,
        coalesced_count=quick // 2 if recording.coalesced else 0,
        click_offset_px=[round(px, 1) for _, px in clicks] or None,
    )


def _touch(rows: list[tuple[float, float, float, int, float, float]], begin: float, step: float) -> Touch:
    return Touch(
        t=[tick(row[0], begin, step) for row in rows],
        x=[round(row[1], 1) for row in rows],
        y=[round(row[2], 1) for row in rows],
        kind=[row[3] for row in rows],
        radius_px=[round(row[4], 1) for row in rows],
        force=[round(row[5], 2) for row in rows],
    )


def _scroll(rows: list[tuple[float, float]], begin: float, step: float) -> Scroll:
    return Scroll(
        t=[tick(t, begin, step) for t, _ in rows],
        x=[0.0] * len(rows),
        y=[round(max(0.0, y), 1) for _, y in rows],
    )


def _focus(rows: list[tuple[float, int]], begin: float, step: float) -> Focus:
    return Focus(t=[tick(t, begin, step) for t, _ in rows], kind=[kind for _, kind in rows])


def _keys(
    recording: Recording,
    rows: list[tuple[float, float | None, int]],
    form: Form | None,
    begin: float,
    step: float,
) -> Keys | None:
    ime = sum(field.ime_count for field in form.fields) if form else 0
    if not rows and not ime:
        return None
    return Keys(
        down=[tick(down, begin, step) for down, _, _ in rows],
        up=[None if up is None else tick(up, begin, step) for _, up, _ in rows],
        key_class=[code for _, _, code in rows],
        untrusted_count=2 * len(rows) if recording.untrusted else 0,
        ime_count=ime,
    )
