"""The generators that the red team attacks with, and which of them a model may learn from.

A generator is whatever makes a part of an attack: a driver, a stealth package, a cursor package, a source of
fingerprints, a way to forge. Its side is committed before it is run, so that figures on the never-train side stay
figures on what nothing has seen. A model card names the generators whose output its model saw (`seen_by`).
"""

from collections.abc import Iterable, Mapping
from hashlib import blake2b
from typing import Final, Literal, NamedTuple

Side = Literal["train", "never_train"]
Kind = Literal["driver", "stealth", "cursor", "fingerprint", "camera", "replay", "agent", "forger"]


class Generator(NamedTuple):
    """One generator. `package`: `pypi:NAME` or `npm:NAME`; empty: code of this repository."""

    kind: Kind
    package: str = ""


GENERATORS: Final[Mapping[str, Generator]] = {
    "playwright": Generator("driver", "pypi:playwright"),
    "puppeteer": Generator("driver", "npm:puppeteer-core"),
    "selenium": Generator("driver", "pypi:selenium"),
    "chromium_flags": Generator("stealth"),
    "playwright_stealth": Generator("stealth", "pypi:playwright-stealth"),
    "patchright": Generator("stealth", "pypi:patchright"),
    "undetected_chromedriver": Generator("stealth", "pypi:undetected-chromedriver"),
    "pydoll": Generator("stealth", "pypi:pydoll-python"),
    "puppeteer_stealth": Generator("stealth", "npm:puppeteer-extra-plugin-stealth"),
    "rebrowser_puppeteer": Generator("stealth", "npm:rebrowser-puppeteer-core"),
    "cursory": Generator("cursor", "pypi:cursory"),
    "humancursor": Generator("cursor", "pypi:humancursor"),
    "windmouse": Generator("cursor", "pypi:windmouse"),
    "ghost_cursor": Generator("cursor", "npm:ghost-cursor"),
    "system_input": Generator("cursor", "pypi:pyautogui"),
    "browserforge": Generator("fingerprint", "pypi:browserforge"),
    "fingerprint_injector": Generator("fingerprint", "npm:fingerprint-injector"),
    "chromium_fake_device": Generator("camera"),
    "virtual_camera_file": Generator("camera"),
    "canvas_camera": Generator("camera"),
    "recorded_person": Generator("replay"),
    "simulated_person": Generator("replay"),
    "agent_script": Generator("agent"),
    "forged_visit": Generator("forger"),
    "nonce_reused": Generator("forger"),
    "clock_skewed": Generator("forger"),
    "clock_backwards": Generator("forger"),
    "sequence_impossible": Generator("forger"),
    "columns_fabricated": Generator("forger"),
    "payload_copied": Generator("forger"),
    "forged_in_form": Generator("forger"),
}
"""Every generator by name; the name is the `bot_family` of its recorded sessions."""

DECIDED: Final[Mapping[str, tuple[Side, str]]] = {
    "playwright": ("train", "as it comes, its own traces give it away: there is nothing to hold out"),
    "puppeteer": ("train", "as it comes, its own traces give it away: there is nothing to hold out"),
    "selenium": ("train", "as it comes, its own traces give it away: there is nothing to hold out"),
    "humancursor": ("train", "the shipped pointer model has learnt from paths of this package"),
    "windmouse": ("train", "the shipped pointer model has learnt from paths of this algorithm"),
    "ghost_cursor": (
        "never_train",
        "the most used cursor package: what is told of it must be told of something unseen",
    ),
    "undetected_chromedriver": (
        "never_train",
        "the most used stealth package in Python: what is told of it must be told of something unseen",
    ),
    "cursory": (
        "never_train",
        "its paths are people's, turned and stretched: who learns them as a bot's learns people",
    ),
    "recorded_person": ("never_train", "its strokes are people's: who learns them as a bot's learns people"),
    "simulated_person": ("never_train", "made to look like people: it never teaches what people are not"),
}
"""Sides that were decided by a reason; all others are decided by the name alone."""


def side_of(name: str) -> Side:
    """Side of a generator, known or new: as decided, else by its name's hash (odd: never train)."""
    if name in DECIDED:
        return DECIDED[name][0]
    return "never_train" if blake2b(name.encode(), digest_size=1).digest()[0] & 1 else "train"


def reason_of(name: str) -> str:
    """Why a generator is on its side."""
    return DECIDED[name][1] if name in DECIDED else "by the hash of its name"


def side_of_all(names: Iterable[str]) -> Side:
    """Side of an attack that several generators make: never train where one of them is."""
    return "never_train" if any(side_of(name) == "never_train" for name in names) else "train"


def may_be_learnt(family: str | None) -> bool:
    """Whether training may use a session of this bot family; what is none of the red team's may."""
    parts = family.split("+") if family else ()
    return not any(name in GENERATORS and side_of(name) == "never_train" for name in parts)


def seen_by(families: Iterable[str]) -> tuple[str, ...]:
    """The generators among the bot families that a model was fitted on, for its card; in the table's order.

    A recorded session's family is its generators' names, joined by `+`. Raises ValueError where one of them may never
    be learnt from.
    """
    seen = {name for family in families for name in family.split("+")}
    forbidden = sorted(name for name in seen & GENERATORS.keys() if side_of(name) == "never_train")
    if forbidden:
        msg = f"{', '.join(forbidden)} may never be learnt from: leave their sessions out"
        raise ValueError(msg)
    return tuple(name for name in GENERATORS if name in seen)
