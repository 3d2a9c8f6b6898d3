"""The table of attacks: who attacks with what, in which flow; and the order in which they are told."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal, NamedTuple

from models.attack_generators import Side, side_of_all
from schemas.base import Flow

Runner = Literal["python", "node", "demo", "forged"]
"""Who runs it: `redteam/attack.py`, `redteam/attack.mjs`, the demo's own driven browser, or code without a browser."""
Group = Literal["driven", "hidden", "fingerprint", "camera", "replay", "agent", "forged", "in_form"]
GROUPS: Final[dict[Group, str]] = {
    "driven": "Browsers driven by tools as they come",
    "hidden": "Stealth settings and humanised cursors",
    "fingerprint": "Fingerprints sampled from the networks that evasion tools use",
    "camera": "Fake and virtual cameras",
    "replay": "People's movements, played again",
    "agent": "A script that acts as language-model agents do",
    "forged": "Forged telemetry, without a browser",
    "in_form": "Forged telemetry in the collector's own form, by one who has read it and these checks",
}
"""Groups in the order of the report, with their titles."""


class Attack(NamedTuple):
    """One attack. `tool` and `hand`: names that its runner knows; `camera`: how its camera is faked, if it has one."""

    name: str
    group: Group
    runner: Runner
    generators: tuple[str, ...]
    words: str
    tool: str = ""
    hand: str = "own"
    flow: Flow = "signup"
    camera: str = ""
    noise_px: float = 0.0
    stretch: float = 0.0

    @property
    def side(self) -> Side:
        """Whether models may learn from its sessions."""
        return side_of_all(self.generators)

    @property
    def family(self) -> str:
        """`bot_family` of its recorded sessions."""
        return "+".join(self.generators)

    @property
    def drives(self) -> bool:
        """Whether it needs a browser."""
        return self.runner != "forged"

    @property
    def headless(self) -> bool:
        """Whether its browser shows no window even where there is a display: tools as they come do so."""
        return self.group == "driven" or self.runner == "demo"


def _python(name: str, group: Group, tool: str, hand: str, words: str, *generators: str, **more: object) -> Attack:
    return Attack(name, group, "python", generators, words, tool, hand, **more)  # type: ignore[arg-type]


def _node(name: str, group: Group, tool: str, hand: str, words: str, *generators: str) -> Attack:
    return Attack(name, group, "node", generators, words, tool, hand)


def _forged(name: str, words: str, *generators: str, group: Group = "forged") -> Attack:
    return Attack(name, group, "forged", generators, words)


ATTACKS: Final[Sequence[Attack]] = (
    _python("playwright", "driven", "playwright", "own", "Playwright, headless, as it comes", "playwright"),
    _node("puppeteer", "driven", "puppeteer", "own", "Puppeteer, headless, as it comes", "puppeteer"),
    _python("selenium", "driven", "selenium", "own", "Selenium, headless, as it comes", "selenium"),
    _python(
        "chromium-flags", "hidden", "chromium_flags", "own", "Playwright with a window and flags that hide it",
        "playwright", "chromium_flags",
    ),
    _python(
        "playwright-stealth", "hidden", "playwright_stealth", "own", "Playwright with playwright-stealth",
        "playwright", "playwright_stealth",
    ),
    _python("patchright", "hidden", "patchright", "own", "Patchright: a patched Playwright", "patchright"),
    _python(
        "undetected-chromedriver", "hidden", "undetected_chromedriver", "own", "Selenium with a patched driver",
        "selenium", "undetected_chromedriver",
    ),
    _python("pydoll", "hidden", "pydoll", "own", "Pydoll with its own humanised mouse and typing", "pydoll"),
    _node(
        "puppeteer-stealth", "hidden", "puppeteer_stealth", "own", "Puppeteer with puppeteer-extra's stealth plugin",
        "puppeteer", "puppeteer_stealth",
    ),
    _node(
        "rebrowser", "hidden", "rebrowser", "own", "rebrowser-puppeteer: a patched Puppeteer", "rebrowser_puppeteer"
    ),
    _python(
        "playwright-stealth-humancursor", "hidden", "playwright_stealth", "humancursor",
        "playwright-stealth, HumanCursor's paths, drawn key times", "playwright", "playwright_stealth", "humancursor",
    ),
    _python(
        "undetected-humancursor", "hidden", "undetected_chromedriver", "humancursor_selenium",
        "undetected-chromedriver with HumanCursor's WebCursor", "selenium", "undetected_chromedriver", "humancursor",
    ),
    _python(
        "patchright-windmouse", "hidden", "patchright", "windmouse", "Patchright, WindMouse's paths, drawn key times",
        "patchright", "windmouse",
    ),
    _python(
        "patchright-cursory", "hidden", "patchright", "cursory", "Patchright, cursory's paths, drawn key times",
        "patchright", "cursory",
    ),
    _node(
        "puppeteer-stealth-ghost-cursor", "hidden", "puppeteer_stealth", "ghost_cursor",
        "Puppeteer with the stealth plugin and ghost-cursor", "puppeteer", "puppeteer_stealth", "ghost_cursor",
    ),
    _node(
        "rebrowser-ghost-cursor", "hidden", "rebrowser", "ghost_cursor", "rebrowser-puppeteer with ghost-cursor",
        "rebrowser_puppeteer", "ghost_cursor",
    ),
    _node(
        "puppeteer-stealth-windmouse", "hidden", "puppeteer_stealth", "windmouse_js",
        "Puppeteer with the stealth plugin, WindMouse's paths", "puppeteer", "puppeteer_stealth", "windmouse",
    ),
    _python(
        "system-input", "hidden", "os_input", "humancursor", "a Chromium that nothing drives, the system's own input",
        "system_input", "humancursor",
    ),
    _python(
        "browserforge-injected", "fingerprint", "browserforge", "humancursor",
        "a sampled fingerprint injected into Playwright by browserforge", "playwright", "browserforge", "humancursor",
    ),
    _node(
        "fingerprint-injector", "fingerprint", "fingerprint_injector", "ghost_cursor",
        "a sampled fingerprint injected into Puppeteer by fingerprint-injector", "puppeteer", "fingerprint_injector",
        "ghost_cursor",
    ),
    _forged(
        "sampled-fingerprint", "a sampled fingerprint with its own headers, no browser", "browserforge",
        "simulated_person", group="fingerprint",
    ),
    _forged(
        "sampled-fingerprint-other-headers", "a sampled fingerprint with another one's headers, no browser",
        "browserforge", "simulated_person", group="fingerprint",
    ),
    Attack(
        "fake-camera-demo", "camera", "demo", ("playwright", "chromium_fake_device"),
        "the demo's driven browser with Chromium's fake camera", flow="kyc_capture", camera="fake",
    ),
    _python(
        "fake-camera", "camera", "patchright", "cursory", "Patchright and cursory with Chromium's fake camera",
        "patchright", "cursory", "chromium_fake_device", flow="kyc_capture", camera="fake",
    ),
    _python(
        "virtual-camera", "camera", "patchright", "cursory", "a video file as a camera called OBS Virtual Camera",
        "patchright", "cursory", "virtual_camera_file", flow="kyc_capture", camera="file",
    ),
    _python(
        "canvas-camera", "camera", "chromium_flags", "cursory", "getUserMedia replaced: a canvas in place of a camera",
        "playwright", "chromium_flags", "cursory", "canvas_camera", flow="kyc_capture", camera="hook",
    ),
    _python(
        "replay-recorded", "replay", "patchright", "replay", "a recorded person's strokes and key times again",
        "patchright", "recorded_person",
    ),
    _python(
        "replay-recorded-noise", "replay", "patchright", "replay", "the same with noise of 1 px and 5 % of time",
        "patchright", "recorded_person", noise_px=1.0, stretch=0.05,
    ),
    _python(
        "replay-simulated", "replay", "patchright", "replay", "a simulated person's strokes and key times again",
        "patchright", "simulated_person",
    ),
    _python(
        "agent", "agent", "patchright", "agent", "thinks, then acts at once: teleported clicks, whole values",
        "patchright", "agent_script",
    ),
    _forged("forged-bare", "made-up telemetry with the headers of a plain HTTP client", "forged_visit"),
    _forged(
        "forged-headers", "a simulated person's telemetry with a browser's headers", "forged_visit", "simulated_person"
    ),
    _forged("nonce-reused", "events with the nonce of another session", "nonce_reused"),
    _forged("clock-skewed", "a clock two hours ahead, also when sending", "clock_skewed"),
    _forged("clock-backwards", "every third event begins half a minute before the one before it", "clock_backwards"),
    _forged("sequence-impossible", "numbers of events that jump by millions and come back", "sequence_impossible"),
    _forged("columns-fabricated", "columns from a table: equal steps, equal times, keys held for no time",
            "columns_fabricated"),
    _forged("payload-copied", "another session's events, again under a token of its own", "payload_copied"),
    _forged("in-form", "a simulated person's telemetry with a browser's headers", "forged_in_form", "simulated_person",
            group="in_form"),
    _forged("in-form-bare", "the same with the headers of a plain HTTP client", "forged_in_form", group="in_form"),
    _forged("in-form-clock-skewed", "a clock two hours ahead, also when sending", "forged_in_form", "clock_skewed",
            group="in_form"),
    _forged("in-form-clock-backwards", "every third event begins half a minute before the one before it",
            "forged_in_form", "clock_backwards", group="in_form"),
    _forged("in-form-copied", "another session's events, again under a token of its own", "forged_in_form",
            "payload_copied", group="in_form"),
)  # fmt: skip
"""Every attack, in the order of the report."""
