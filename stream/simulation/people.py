"""Simulated people: what each kind of person does on the page, with mouse, touchpad, fingers, keyboard or assistance.

Part of the simulation (see the package). The kinds include those that bot detectors tend to wrong: keyboard-only
people, assistive technology, password managers, touch laptops and privacy browsers.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from schemas.base import FLOWS, Flow
from schemas.telemetry import FocusKind, KeyClass, PointerKind
from stream.simulation.camera import film
from stream.simulation.devices import DESKTOPS, PHONES, Machine, hardened, machine
from stream.simulation.hand import Hand, hand_of, press, reach, rest
from stream.simulation.page import Page, Target, page_of
from stream.simulation.recording import Recording
from stream.simulation.typist import Typist, pattern, type_keys, typist_of

Rng = np.random.Generator

KINDS: dict[str, float] = {
    "mouse": 0.46,
    "touchpad": 0.14,
    "phone": 0.10,
    "password_manager": 0.08,
    "privacy_browser": 0.07,
    "touch_laptop": 0.06,
    "keyboard_only": 0.05,
    "assistive_technology": 0.04,
}
"""Kinds of people and their shares of the simulated crowd (shares are choices, not statistics)."""

FLOW_SHARES: dict[Flow, float] = dict(zip(FLOWS, (0.6, 0.2, 0.05, 0.1, 0.05), strict=True))
"""Shares of the flows in the simulated traffic."""


@dataclasses.dataclass(slots=True)
class Visit:
    """One session before it is cut: what happened, and on which machine it happened."""

    recording: Recording
    machine: Machine


def person(rng: Rng, kind: str, flow: Flow, at: Machine | None = None) -> Visit:
    """Simulate one session of one person of a kind of `KINDS`, at a fitting machine or at the given one."""
    names: tuple[str, ...] = PHONES if kind == "phone" else ("touch_laptop",) if kind == "touch_laptop" else DESKTOPS
    if kind == "privacy_browser":
        names = ("windows_chrome", "windows_firefox", "linux_firefox")
    found = at or machine(rng, names)
    if kind == "privacy_browser":
        hardened(rng, found)
    if kind == "assistive_technology":
        # Browsers don't tell: it is known where the page or its user says so.
        found.device.assistive_technology = True if rng.random() < 0.7 else None
    actor = Person(rng, kind, page_of(flow, found.viewport), found)
    actor.visit()
    return Visit(actor.recording, found)


class Person:
    """One person at one form; `t` is the person's own time line, ms from page load."""

    def __init__(self, rng: Rng, kind: str, page: Page, found: Machine) -> None:
        self.rng = rng
        self.kind = kind
        self.page = page
        self.t = 0.0
        self.hand: Hand = hand_of(rng, touchpad=kind == "touchpad")
        self.typist: Typist = typist_of(rng)
        self.at = (
            float(rng.uniform(0, page.width)),
            float(rng.uniform(0, page.height)),
        )
        self.fingers = kind in {"phone", "touch_laptop"}
        self.no_pointer = kind in {"keyboard_only", "assistive_technology"}
        self.tabs = self.no_pointer or bool(rng.random() < 0.3)
        self.focused: str | None = None
        self.scroll_px = 0.0
        self.recording = Recording(
            pointer_type="touch" if self.fingers else "touchpad" if kind == "touchpad" else "mouse",
            coalesced=found.profile.engine == "chromium",
            # Safari and Firefox tell whole milliseconds.
            clock_step_ms=0.1 if found.profile.engine == "chromium" else 1.0,
        )

    def visit(self) -> None:
        """Read, fill the form, perhaps film, submit; some give up, and some just close the page."""
        rng, recording = self.rng, self.recording
        recording.focus.append((0.0, int(FocusKind.FOCUS)))
        self.wait(900, 0.5)
        self.look_around()
        leaves_after = int(rng.integers(len(self.page.fields))) if rng.random() < 0.07 else None
        for number, field in enumerate(self.page.fields):
            self.enter(field, first=number == 0)
            self.fill(field)
            if leaves_after == number:
                if rng.random() < 0.5:
                    recording.end_ms, recording.end_reason = self.t + 400.0, "abandoned"
                return
            if rng.random() < 0.06:
                self.switch_window()
            if rng.random() < 0.4:
                self.wander()
        self.leave_field()
        self.wait(700, 0.5)
        if self.page.camera:
            self.t = film(rng, recording, self.t, phone=self.kind == "phone")
        self.submit()
        recording.submit_ms = self.t + 2.0
        if rng.random() < 0.9:
            recording.end_ms = self.t + float(rng.uniform(60, 400))

    def wait(self, median_ms: float, sigma: float) -> None:
        """Let log-normal time pass."""
        self.t += median_ms * float(self.rng.lognormal(0.0, sigma))

    def look_around(self) -> None:
        """Read the page: wander with the pointer, scroll a little."""
        for _ in range(int(self.rng.integers(2, 6))):
            if self.rng.random() < 0.25:
                self.scroll()
            self.wander()
            self.wait(260, 0.7)

    def wander(self) -> None:
        """Let the pointer follow the eyes for a movement or a few, with hardly a stop between them."""
        if self.fingers or self.no_pointer:
            return
        for _ in range(int(self.rng.integers(1, 4))):
            spread = self.rng.normal(0.0, 0.17, 2) + 0.5
            x, y = (np.clip(spread, 0.03, 0.97) * (self.page.width, self.page.height)).tolist()
            self.move_to(Target("", x, y, 60.0, 60.0))
            if self.rng.random() < 0.5:
                self.idle(float(self.rng.lognormal(math.log(160), 0.7)))

    def move_to(self, target: Target) -> None:
        """Aim at somewhere in a target, not at its centre."""
        aim = self.rng.normal(0.0, 0.16, 2)
        goal = (
            target.x + float(aim[0]) * target.width,
            target.y + float(aim[1]) * target.height,
        )
        if math.dist(self.at, goal) < 2.0:
            return
        t, x, y = reach(self.rng, self.hand, self.at, goal, min(target.width, target.height), self.t)
        if t.size:
            self.recording.moves(t, x, y)
            self.t, self.at = float(t[-1]), (float(x[-1]), float(y[-1]))

    def idle(self, for_ms: float) -> None:
        """Let the hand rest on the device for a while."""
        t, x, y = rest(self.rng, self.hand, self.at, self.t, for_ms)
        if t.size:
            self.recording.moves(t, x, y)
            self.at = (float(x[-1]), float(y[-1]))
        self.t += for_ms

    def tap(self, target: Target) -> None:
        """Go to a target and press it, by pointer or finger."""
        if not self.fingers:
            self.move_to(target)
            down, up = press(self.rng, self.hand, self.recording, self.at, self.t)
        else:
            aim = self.rng.normal(0.0, 0.14, 2)
            self.at = (
                target.x + float(aim[0]) * target.width,
                target.y + float(aim[1]) * target.height,
            )
            down = self.t + float(self.rng.lognormal(math.log(420), 0.4))
            up = down + float(self.rng.lognormal(math.log(80), 0.3))
            x, y, size = (
                round(self.at[0]),
                round(self.at[1]),
                float(self.rng.uniform(9, 16)),
            )
            self.recording.pointer += [
                (down, x, y, int(PointerKind.DOWN), 1),
                (up, x, y, int(PointerKind.UP), 1),
            ]
            force = float(self.rng.uniform(0.2, 0.6))
            self.recording.touch += [
                (down, x, y, 1, size, force),
                (up, x, y, 2, size * 0.8, force * 0.5),
            ]
        self.recording.click_offsets.append((down, math.dist(self.at, target.at)))
        self.t = up

    def scroll(self) -> None:
        """Turn the wheel, or swipe, a few steps."""
        step = float(self.rng.choice([53.0, 100.0, 120.0]))
        for _ in range(int(self.rng.integers(2, 7))):
            self.scroll_px = max(0.0, self.scroll_px + step * (1 if self.rng.random() < 0.85 else -1))
            self.recording.scroll.append((self.t, self.scroll_px))
            if not (self.fingers or self.no_pointer):
                row = (
                    self.t,
                    round(self.at[0]),
                    round(self.at[1]),
                    int(PointerKind.WHEEL),
                    4,
                )
                self.recording.pointer.append(row)
            self.t += float(self.rng.lognormal(math.log(70), 0.5))

    def key(self, code: KeyClass) -> None:
        """Press one key that puts nothing into a field."""
        hold = self.typist.hold_ms * float(self.rng.lognormal(0.0, self.typist.hold_sigma))
        self.recording.keys.append((self.t, self.t + hold, int(code)))
        self.t += max(
            hold,
            self.typist.gap_ms * float(self.rng.lognormal(0.0, self.typist.gap_sigma)),
        )

    def enter(self, field: Target, *, first: bool) -> None:
        """Focus a field, by pointer or with the tab key; a screen reader's user hears the page first."""
        steps = int(self.rng.integers(2, 7)) if self.kind == "assistive_technology" else 1
        if self.no_pointer or (self.tabs and not first):
            for _ in range(steps):
                self.key(KeyClass.NAVIGATION)
                self.wait(350 if steps > 1 else 60, 0.4)
            self.leave_field()
        else:
            self.tap(field)
            self.leave_field()
        self.focused = field.name
        self.recording.acts.append((self.t, field.name, "focus"))
        self.wait(420, 0.55)

    def leave_field(self) -> None:
        """Blur the focused field, if there is one."""
        if self.focused is not None:
            self.recording.acts.append((self.t, self.focused, "blur"))
            self.focused = None

    def fill(self, field: Target) -> None:
        """Put a value into the focused field the way this person does."""
        rng, acts = self.rng, self.recording.acts
        if self.kind == "password_manager" and field.name in {
            "email",
            "password",
            "name",
        }:
            self.wait(300, 0.4)
            acts += [
                (self.t, field.name, "autofill"),
                (self.t + 1.0, field.name, "input"),
            ]
        elif self.kind == "phone" or (self.kind == "assistive_technology" and rng.random() < 0.25):
            # Soft keyboards and dictation commit words; single keys are not seen.
            for _ in range(int(rng.integers(1, 5))):
                self.wait(650, 0.45)
                acts += [
                    (self.t, field.name, "ime"),
                    (self.t + 1.0, field.name, "input"),
                ]
        elif field.name in {"email", "code", "password"} and rng.random() < 0.08:
            hold = self.typist.hold_ms
            self.recording.keys += [(self.t, self.t + 2.4 * hold, int(KeyClass.MODIFIER))]
            self.recording.keys += [(self.t + hold, self.t + 1.9 * hold, int(KeyClass.LETTER))]
            acts += [(self.t, field.name, "key"), (self.t + hold, field.name, "key")]
            acts += [
                (self.t + hold + 1.0, field.name, "paste"),
                (self.t + hold + 1.5, field.name, "input"),
            ]
            self.t += 2.6 * hold
        else:
            presses, seen = type_keys(rng, self.typist, pattern(rng, field.name), self.t)
            self.recording.keys += presses
            acts += [(t, field.name, act) for t, act in seen]
            self.t = max(up for _, up, _ in presses)
        self.wait(180, 0.5)

    def switch_window(self) -> None:
        """Look something up in another window."""
        self.recording.focus.append((self.t, int(FocusKind.BLUR)))
        self.wait(1800, 0.6)
        self.recording.focus.append((self.t, int(FocusKind.FOCUS)))
        self.wait(300, 0.4)

    def submit(self) -> None:
        """Press the button, or Enter."""
        if self.no_pointer or (self.tabs and not self.fingers and self.rng.random() < 0.5):
            self.key(KeyClass.ENTER)
        else:
            self.tap(self.page.submit)
