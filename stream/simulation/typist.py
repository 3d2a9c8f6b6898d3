"""How a simulated person types: log-normal holds and flights, rollover, shift, slips and their correction.

Part of the simulation (see the package). A text is a pattern of key classes; no character exists anywhere.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from schemas.telemetry import KeyClass
from stream.simulation.recording import Act

Rng = np.random.Generator
Press = tuple[float, float, int]
"""Press and release time in ms, and class of a key."""

LETTER, DIGIT, SPACE = int(KeyClass.LETTER), int(KeyClass.DIGIT), int(KeyClass.SPACE)
PUNCTUATION, MODIFIER, DELETE = (
    int(KeyClass.PUNCTUATION),
    int(KeyClass.MODIFIER),
    int(KeyClass.DELETE),
)
_CODES = {"l": LETTER, "d": DIGIT, "s": SPACE, "p": PUNCTUATION}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Typist:
    """One person's typing habits: medians in ms, spreads of the logarithm."""

    hold_ms: float
    hold_sigma: float
    gap_ms: float
    """From press to press."""
    gap_sigma: float
    slip_ratio: float
    """Slips a key."""
    pause_ratio: float
    """Pauses to think a key."""


def typist_of(rng: Rng) -> Typist:
    """Draw a person: from a hunting two-finger typist to a trained one, whose keys overlap."""
    gap = float(np.clip(rng.lognormal(math.log(165), 0.33), 85, 420))
    return Typist(
        hold_ms=float(np.clip(rng.lognormal(math.log(92), 0.2), 55, 170)),
        hold_sigma=float(rng.uniform(0.16, 0.28)),
        gap_ms=gap,
        gap_sigma=float(rng.uniform(0.3, 0.5)),
        slip_ratio=float(rng.beta(2, 60)),
        pause_ratio=float(rng.uniform(0.005, 0.03)),
    )


def pattern(rng: Rng, kind: str) -> str:
    """Return a field's text as classes: l letter, L shifted letter, d digit, P shifted sign, p sign, s space."""

    def letters(low: int, high: int) -> str:
        return "l" * int(rng.integers(low, high + 1))

    def digits(low: int, high: int) -> str:
        return "d" * int(rng.integers(low, high + 1))

    if kind == "email":
        middle = str(rng.choice(["", "p" + letters(4, 8), digits(1, 3)]))
        return letters(4, 9) + middle + "P" + letters(4, 8) + "pll"
    if kind == "password":
        return "L" + letters(5, 9) + digits(1, 4) + str(rng.choice(["", "P", "p"]))
    if kind == "name":
        return "L" + letters(2, 7) + "sL" + letters(3, 9)
    return {"birthday": "ddpddpdddd", "code": "d" * 6, "phone": "p" + digits(10, 12)}.get(kind) or digits(2, 4)


class _Fingers:
    """Strikes one key after the other and notes what the field sees."""

    def __init__(self, rng: Rng, typist: Typist, t_ms: float) -> None:
        self.rng, self.typist, self.t = rng, typist, t_ms
        self.presses: list[Press] = []
        self.acts: list[tuple[float, Act]] = []

    def hold(self) -> float:
        return self.typist.hold_ms * float(self.rng.lognormal(0.0, self.typist.hold_sigma))

    def gap(self) -> float:
        return max(12.0, self.typist.gap_ms * float(self.rng.lognormal(0.0, self.typist.gap_sigma)))

    def strike(self, code: int) -> None:
        self.presses.append((self.t, self.t + self.hold(), code))
        self.acts += [(self.t, "key"), (self.t + 0.2, "correction" if code == DELETE else "input")]
        self.t += self.gap()

    def shift(self) -> None:
        """Press shift ahead of the next key, released somewhat after that key is down."""
        lead = 0.6 * self.gap()
        self.presses.append((self.t, self.t + lead + self.hold(), MODIFIER))
        self.acts.append((self.t, "key"))
        self.t += lead

    def slip(self) -> None:
        """Strike one or two wrong keys, notice it, delete them."""
        wrong = int(self.rng.integers(1, 3))
        for _ in range(wrong):
            self.strike(LETTER)
        self.t += float(self.rng.lognormal(math.log(330), 0.35))
        for _ in range(wrong):
            self.strike(DELETE)
        self.t += 0.5 * self.gap()


def type_keys(rng: Rng, typist: Typist, text: str, t_ms: float) -> tuple[list[Press], list[tuple[float, Act]]]:
    """Type a pattern from `t_ms` on; returns the presses, and what the field sees (`key`, `input`, `correction`)."""
    fingers = _Fingers(rng, typist, t_ms)
    after_word = True
    for symbol in text:
        if rng.random() < typist.pause_ratio:
            fingers.t += float(rng.lognormal(math.log(600), 0.5))
        if after_word or symbol in "dpP":
            fingers.t += 0.25 * fingers.gap()
        if rng.random() < typist.slip_ratio:
            fingers.slip()
        if symbol.isupper():
            fingers.shift()
        fingers.strike(_CODES[symbol.lower()])
        after_word = symbol == "s"
    return sorted(fingers.presses), sorted(fingers.acts)
