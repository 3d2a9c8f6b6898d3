"""Simulated bots: families that fill the same forms with scripts, drivers, replays, forged requests and device farms.

Part of the simulation (see the package). Each family is one idea that is common among real ones; no family here says
how well a real one is found.
"""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Callable

import msgspec
import numpy as np

from schemas.base import FLOWS, Flow
from schemas.telemetry import Device, FocusKind, KeyClass, PointerKind
from stream.simulation import paths
from stream.simulation.camera import film
from stream.simulation.devices import DESKTOPS, Machine, hosted, machine
from stream.simulation.page import Page, Target, page_of
from stream.simulation.people import Visit, person
from stream.simulation.recording import Recording
from stream.simulation.typist import pattern

Rng = np.random.Generator

_CODES = {
    "l": KeyClass.LETTER,
    "d": KeyClass.DIGIT,
    "s": KeyClass.SPACE,
    "p": KeyClass.PUNCTUATION,
}


@dataclasses.dataclass(frozen=True, slots=True)
class Stock:
    """What a bot operator owns and uses in many sessions: recordings to replay, and the machines of a farm."""

    recordings: dict[Flow, Visit]
    farm: tuple[Machine, ...]


def stock_of(rng: Rng) -> Stock:
    """Record one simulated person in each flow, and set up a farm of two machines."""
    return Stock(
        {flow: person(rng, "mouse", flow) for flow in FLOWS},
        tuple(machine(rng, DESKTOPS) for _ in range(2)),
    )


class Script:
    """A script at one form.

    `move` is its way to a target (none: it teleports), `keys` its way to type (none: it sets values).
    """

    def __init__(
        self,
        rng: Rng,
        page: Page,
        move: paths.Path | None,
        keys: Callable[[Rng], tuple[float, float]] | None,
        *,
        tabs: bool = False,
        pause_ms: float = 350.0,
    ) -> None:
        self.rng, self.page, self.move, self.keys, self.tabs, self.pause_ms = (
            rng,
            page,
            move,
            keys,
            tabs,
            pause_ms,
        )
        self.t = float(rng.uniform(150, 900))
        self.at: tuple[float, float] = (0.0, 0.0)
        self.off_centre_ratio = 0.0
        self.recording = Recording(coalesced=False)
        self.virtual_camera: str | None = None

    def run(self) -> Recording:
        """Fill the form in order, film where the flow wants it, submit, end."""
        self.recording.focus.append((0.0, int(FocusKind.FOCUS)))
        for field in self.page.fields:
            self.enter(field)
            self.fill(field)
            self.recording.acts.append((self.t, field.name, "blur"))
            self.pause()
        if self.page.camera:
            self.t = film(self.rng, self.recording, self.t, virtual=self.virtual_camera)
        if self.tabs:
            self.strike(KeyClass.ENTER)
        else:
            self.click(self.page.submit)
        self.recording.submit_ms = self.t + 1.0
        if self.rng.random() < 0.85:
            self.recording.end_ms = self.t + 20.0
        return self.recording

    def pause(self) -> None:
        """Wait, evenly random about the script's pause."""
        self.t += self.pause_ms * float(self.rng.uniform(0.8, 1.2))

    def enter(self, field: Target) -> None:
        """Focus a field by click or tab key."""
        if self.tabs:
            self.strike(KeyClass.NAVIGATION)
        else:
            self.click(field)
        self.recording.acts.append((self.t, field.name, "focus"))
        self.pause()

    def click(self, target: Target) -> None:
        """Go there, or not, and click at the centre or near it."""
        off = self.rng.uniform(-self.off_centre_ratio, self.off_centre_ratio, 2)
        goal = (
            target.x + float(off[0]) * target.width,
            target.y + float(off[1]) * target.height,
        )
        if self.move is None:
            self.recording.pointer.append((self.t, round(goal[0]), round(goal[1]), int(PointerKind.CLICK), 1))
        else:
            if math.dist(self.at, goal) > 1.0:
                t, x, y = self.move(self.rng, self.at, goal, self.t)
                self.recording.moves(t, x, y)
                self.t = float(t[-1]) + 1.0
            x_px, y_px = round(goal[0]), round(goal[1])
            up = self.t + (float(self.rng.uniform(40, 90)) if self.off_centre_ratio else 1.0)
            self.recording.pointer += [
                (self.t, x_px, y_px, int(PointerKind.DOWN), 1),
                (up, x_px, y_px, int(PointerKind.UP), 1),
            ]
            self.t = up
        self.recording.click_offsets.append((self.t, math.dist(goal, target.at)))
        self.at = goal

    def strike(self, code: KeyClass) -> None:
        """Press one key: released before the next one, always."""
        hold, gap = self.keys(self.rng) if self.keys else (1.0, 5.0)
        self.recording.keys.append((self.t, self.t + hold, int(code)))
        self.t += hold + gap

    def fill(self, field: Target) -> None:
        """Type a value, or set it with no input at all."""
        if self.keys is None:
            self.recording.acts.append((self.t, field.name, "silent"))
            self.t += 3.0
            return
        for symbol in pattern(self.rng, field.name):
            self.recording.acts += [
                (self.t, field.name, "key"),
                (self.t + 0.2, field.name, "input"),
            ]
            self.strike(_CODES[symbol.lower()])


def _instant(rng: Rng) -> tuple[float, float]:
    return 0.0, float(rng.uniform(0.8, 2.0))


def _constant(_: Rng) -> tuple[float, float]:
    return 18.0, 52.0


def _random(rng: Rng) -> tuple[float, float]:
    return float(rng.uniform(25, 65)), float(rng.uniform(30, 140))


def mouse_straight(rng: Rng, flow: Flow, _stock: Stock) -> Visit:
    """Straight lines at constant speed, clicks at the exact centre, keys sent at once."""
    found = machine(rng, DESKTOPS)
    return Visit(
        Script(rng, page_of(flow, found.viewport), paths.straight, _instant).run(),
        found,
    )


def mouse_bezier(rng: Rng, flow: Flow, _stock: Stock) -> Visit:
    """A "human cursor" library: eased Bezier curves, clicks off the centre, random delays between keys."""
    found = machine(rng, DESKTOPS)
    script = Script(rng, page_of(flow, found.viewport), paths.bezier, _random, pause_ms=600.0)
    script.off_centre_ratio = 0.2
    return Visit(script.run(), found)


def mouse_wind(rng: Rng, flow: Flow, _stock: Stock) -> Visit:
    """A walk in wind and gravity, random delays between keys."""
    found = machine(rng, DESKTOPS)
    script = Script(rng, page_of(flow, found.viewport), paths.wind, _random, pause_ms=500.0)
    script.off_centre_ratio = 0.2
    return Visit(script.run(), found)


def teleport_click(rng: Rng, flow: Flow, _stock: Stock) -> Visit:
    """A page script: element.click() with no way to it, values set without input, events that are not trusted."""
    found = machine(rng, DESKTOPS)
    script = Script(rng, page_of(flow, found.viewport), None, None, pause_ms=250.0)
    script.recording.untrusted = True
    script.virtual_camera = "OBS Virtual Camera"
    return Visit(script.run(), found)


def replay_jitter(rng: Rng, flow: Flow, stock: Stock) -> Visit:
    """One person's recording, played again for each account with a little noise, from changing devices."""
    found = machine(rng, DESKTOPS)
    source = stock.recordings[flow]
    played = copy.deepcopy(source.recording)
    shake = rng.normal(0.0, 0.7, (len(played.pointer), 2))
    lag = np.clip(rng.normal(0.0, 1.2, len(played.pointer)), -2.0, 2.0)
    played.pointer = [
        (
            max(0.0, t + float(dt)),
            round(x + float(dx)),
            round(y + float(dy)),
            kind,
            button,
        )
        for (t, x, y, kind, button), dt, (dx, dy) in zip(played.pointer, lag, shake, strict=True)
    ]
    played.keys = [
        (down + float(d), None if up is None else up + float(d) + float(h), code)
        for (down, up, code), d, h in zip(
            played.keys,
            rng.normal(0, 3.0, len(played.keys)),
            rng.uniform(0.0, 4.0, len(played.keys)),
            strict=True,
        )
    ]
    return Visit(played, dataclasses.replace(found, viewport=source.machine.viewport))


def typist_constant(rng: Rng, flow: Flow, _stock: Stock) -> Visit:
    """Only keys, each held 18 ms and sent 70 ms after the last."""
    found = machine(rng, DESKTOPS)
    return Visit(
        Script(
            rng,
            page_of(flow, found.viewport),
            None,
            _constant,
            tabs=True,
            pause_ms=150.0,
        ).run(),
        found,
    )


def typist_random(rng: Rng, flow: Flow, _stock: Stock) -> Visit:
    """Only keys, with uniformly random holds and delays: no rollover, no rhythm."""
    found = machine(rng, DESKTOPS)
    return Visit(
        Script(rng, page_of(flow, found.viewport), None, _random, tabs=True).run(),
        found,
    )


def headless_webdriver(rng: Rng, flow: Flow, _stock: Stock) -> Visit:
    """A headless browser that does not hide: flag, headless user agent, software rendering, a data centre."""
    found = hosted(rng, machine(rng, ("windows_chrome",)))
    agent = (found.device.user_agent or "").replace("Windows NT 10.0; Win64; x64", "X11; Linux x86_64")
    found.device = msgspec.structs.replace(
        found.device,
        user_agent=agent.replace("Chrome/", "HeadlessChrome/"),
        platform="Linux x86_64",
        ua_platform="Linux",
        webdriver=True,
        plugin_count=0,
        gpu_vendor="Google Inc. (Google)",
        gpu_renderer="ANGLE (Google, Vulkan 1.3.0 (SwiftShader Device (Subzero) (0x0000C0DE)), SwiftShader driver)",
        screen_width_px=800.0, screen_height_px=600.0, avail_width_px=800.0, avail_height_px=600.0,
        automation_globals=["cdc_adoQpoasnfa76pfcZLmcfl_Array"] if rng.random() < 0.5 else [],
        rtt_ms=0.0, timezone="UTC", timezone_offset_min=0, notification_permission="denied",
        worker=None,
    )  # fmt: skip
    script = Script(rng, page_of(flow, found.viewport), paths.steps, _instant, pause_ms=120.0)
    script.virtual_camera = "fake_device_0"
    return Visit(script.run(), found)


def http_forged(rng: Rng, flow: Flow, _stock: Stock) -> Visit:
    """No browser at all: requests with a forged user agent and the least telemetry that a server accepts."""
    found = hosted(rng, machine(rng, ("windows_chrome", "mac_chrome")), tls_class="python")
    found.device = Device(user_agent=found.device.user_agent, webdriver=False)
    found.network.headers_missing = ["Accept-Language", "Sec-Fetch-Mode", "Sec-CH-UA"]
    found.network.header_order_ref = "python-requests-order"
    recording = Recording(coalesced=False)
    t = float(rng.uniform(20, 90))
    for field in page_of(flow, found.viewport).fields:
        recording.acts.append((t, field.name, "silent"))
    recording.submit_ms = t + float(rng.uniform(200, 1800))
    if rng.random() < 0.5:
        recording.end_ms = recording.submit_ms + 5.0
    return Visit(recording, found)


def stealth_worker(rng: Rng, flow: Flow, _stock: Stock) -> Visit:
    """A patched automated browser: it lies well in the window and forgets the worker."""
    found = machine(rng, ("windows_chrome", "mac_chrome"))
    if found.device.worker is not None:
        found.device.worker = msgspec.structs.replace(
            found.device.worker,
            user_agent=(found.device.worker.user_agent or "").replace("Chrome/", "HeadlessChrome/"),
            platform="Linux x86_64",
            hardware_concurrency=2,
            gpu_renderer="ANGLE (Google, Vulkan 1.3.0 (SwiftShader Device (Subzero) (0x0000C0DE)), SwiftShader driver)",
        )
    found.device.webdriver_native = False
    found.device.native_functions_patched = [
        "Navigator.prototype.webdriver",
        "Function.prototype.toString",
    ]
    script = Script(rng, page_of(flow, found.viewport), paths.bezier, _random, pause_ms=450.0)
    script.off_centre_ratio = 0.25
    return Visit(script.run(), found)


def device_farm(rng: Rng, flow: Flow, stock: Stock) -> Visit:
    """Hired hands: a person's behaviour, one machine and address, a new account each time."""
    return person(
        rng,
        "mouse",
        flow,
        copy.deepcopy(stock.farm[int(rng.integers(len(stock.farm)))]),
    )


FAMILIES: dict[str, Callable[[Rng, Flow, Stock], Visit]] = {
    each.__name__: each
    for each in (
        mouse_straight,
        mouse_bezier,
        mouse_wind,
        teleport_click,
        replay_jitter,
        typist_constant,
        typist_random,
        headless_webdriver,
        http_forged,
        stealth_worker,
        device_farm,
    )
}
"""Every bot family, by name."""
